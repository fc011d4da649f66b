"""From a located package to an embedding with a receipt: find, prove, assemble, prove again."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from pairlock.bases import Base, open_base
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.errors import ErrorKind, IntegrityError, PairlockError
from pairlock.hashing import ProvedFiles
from pairlock.packages import Package, open_package
from pairlock.progress import Progress
from pairlock.receipts import BaseReceipt, Check, Receipt
from pairlock.resolution import age_s
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, Placement, assemble
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.torch_runtime.foreign_classes import allowed_classes
from pairlock_flavors.torch_runtime.golden_vectors import GoldenResult, check_adapter, check_golden
from pairlock_flavors.torch_runtime.placement.choosing import Candidate, choose
from pairlock_flavors.torch_runtime.placement.choosing import Wish as DeviceWish
from pairlock_flavors.torch_runtime.placement.machine import machine_states
from pairlock_flavors.torch_runtime.placement.walking import Choice, first_that_fits

GOLDEN_PLACEMENT = Placement(device="cpu", dtype="float32")
"""Golden vectors are recorded and compared in float32 on the CPU, whatever the model runs in."""

LIBRARIES = (
    "pairlock",
    "torch",
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "llama-index-core",
    "mlflow",
)
"""Distributions whose versions are recorded: those that a vector depends on, and MLflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller of a load asks for beyond the model."""

    device: str = "auto"
    dtype: str | None = None
    merge: bool | None = None
    base: str | None = None
    golden: bool = False
    expected_digest: str | None = None


def open_embedding(
    located: Located, *, settings: Settings, wish: Wish, progress: Progress
) -> PackageEmbedding:
    """Load a package as an embedding.

    Args:
        located: where it lies.
        settings: which cache and mirrors, whether the network may be used, which classes may run.
        wish: what else the caller asks for; see `pairlock.load`.
        progress: told about the work.

    Returns:
        The embedding, carrying its receipt.

    Raises:
        IntegrityError: anything differs from what was approved.
        NotFoundError: the package, or its base, is not there.
        UnavailableError: the device is not there.
        PairlockError: every other reason not to load.
    """
    opening = _Opening(located, settings, wish, progress)
    try:
        return opening.run()
    except IntegrityError as error:
        # a view in the cache may be pruned or repaired under a load; what it is made anew of is
        # proved again
        if error.kind is not ErrorKind.FILE_CHANGED or not opening.from_cache:
            raise
    return opening.run()


@dataclass(slots=True)
class _Opening:
    """One load: what was asked for, and from where it was served."""

    located: Located
    settings: Settings
    wish: Wish
    progress: Progress
    package: Package | None = None
    base: Base | None = None
    """The base, once it had to be opened; a base that is in memory was proved when it was read."""

    has_failed: bool = False
    """Whether a device was tried and passed over."""

    @property
    def proved(self) -> list[ProvedFiles]:
        return [found.proved for found in (self.package, self.base) if found is not None]

    @property
    def from_cache(self) -> bool:
        return any(files.store.write_once for files in self.proved)

    def run(self) -> PackageEmbedding:
        self.base = None
        self.package = package = open_package(
            self.located,
            settings=self.settings,
            progress=self.progress,
            expected_digest=self.wish.expected_digest,
        )
        parts = Parts(
            manifest=package.manifest,
            root=package.root,
            base=self.open_base,
            allowed=allowed_classes(self.settings),
        )
        if package.manifest.base is not None and (self.wish.base or self.settings.rehash):
            self.open_base()  # the caller wants just this one proved, or all of it again
        wished = DeviceWish(device=self.wish.device, dtype=self.wish.dtype)
        plan = choose(package.manifest.devices, machine_states(wished.device), wished)
        try:
            (embedding, proofs), choice = first_that_fits(
                plan, lambda candidate: self._attempt(parts, package.digest, candidate)
            )
        except PairlockError:
            for files in self.proved:
                files.check_unchanged()  # says so, if that is why
            raise
        for files in self.proved:
            files.check_unchanged()
        embedding._pairlock_receipt = _receipt(
            package, self.base, embedding, choice, proofs, self.proved
        )
        embedding._allowed = self.settings.allowed_classes
        return embedding

    def open_base(self) -> Base:
        """The base under an adapter, found and proved once."""
        assert self.package is not None
        pin = self.package.manifest.base
        assert pin is not None
        if self.base is None:
            self.base = open_base(
                pin, instead=self.wish.base, settings=self.settings, progress=self.progress
            )
        return self.base

    def _attempt(
        self, parts: Parts, digest: str, candidate: Candidate
    ) -> tuple[PackageEmbedding, list[Check]]:
        """Put the model on a device, and prove it there."""
        placement = Placement(device=candidate.device, dtype=candidate.dtype, merge=self.wish.merge)
        identity = Identity(uri=self.located.uri, package_digest=digest, base=self.wish.base)
        if self.has_failed and torch.cuda.is_available():
            torch.cuda.empty_cache()  # what the device before held
        self.has_failed = True
        with self.progress.step("load"):
            embedding = assemble(parts, identity=identity, placement=placement)
        proofs = self._prove(parts, identity, embedding)
        self.has_failed = False
        return embedding, proofs

    def _prove(self, parts: Parts, identity: Identity, embedding: PackageEmbedding) -> list[Check]:
        """What digests cannot say: that the libraries and the device compute what was recorded."""
        manifest, root, uri = parts.manifest, parts.root, self.located.uri
        proofs = []
        if isinstance(embedding, AdapterEmbedding):
            result = check_adapter(embedding, manifest, root)
            proofs.append(_proof("adapter", "on the base's recorded vectors", result, uri))
        is_recorded_way = (embedding.device, embedding.dtype) == ("cpu", manifest.devices.dtype)
        if not is_recorded_way:
            with self.progress.step("golden vectors"):
                device_type = embedding.device.partition(":")[0]
                result = check_golden(
                    embedding, manifest, root, device_type=device_type, dtype=embedding.dtype
                )
            where = f"in {embedding.dtype} on {embedding.device}"
            proofs.append(_proof("golden vectors there", where, result, uri))
        # code that is in no package can only be proved by what it computes
        if self.wish.golden or manifest.encode.foreign_modules:
            with self.progress.step("golden vectors"):
                result = _golden_result(parts, identity, embedding)
            proofs.append(_proof("golden vectors", "in float32 on the CPU", result, uri))
        return proofs


def golden_result(package: Package, base: Base | None, settings: Settings) -> GoldenResult:
    """Recompute a proved package's golden vectors, by a model that is read for it alone.

    Args:
        package: the package.
        base: its proved base.
        settings: which classes may run.

    Returns:
        The deviations and findings.
    """

    def opened_base() -> Base:
        assert base is not None
        return base

    parts = Parts(
        manifest=package.manifest,
        root=package.root,
        base=opened_base,
        allowed=allowed_classes(settings),
    )
    identity = Identity(uri=package.located.uri, package_digest=package.digest)
    embedding = assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT, fresh=True)
    return check_golden(embedding, package.manifest, package.root)


def _golden_result(parts: Parts, identity: Identity, embedding: PackageEmbedding) -> GoldenResult:
    """Recompute golden vectors for a load: by the loaded model where it is comparable."""
    key = embedding.resident_model.key
    if (key.device, key.dtype) != (GOLDEN_PLACEMENT.device, GOLDEN_PLACEMENT.dtype):
        embedding = assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT)
    return check_golden(embedding, parts.manifest, parts.root)


def _proof(name: str, where: str, result: GoldenResult, uri: str) -> Check:
    """The check that a comparison passed.

    Raises:
        IntegrityError: it did not: the bytes are right, and the vectors are not.
    """
    if result.findings:
        raise IntegrityError(
            f"{uri} does not compute the vectors that were recorded when it was packaged",
            kind=result.findings[0].kind,
            checked=f"{name}, {where}",
            findings=result.findings,
            done="nothing was loaded",
            hint="the bytes are right, so a library differs: install the versions in the package's "
            "requirements.txt, or compare `pairlock show` with `pairlock doctor`",
        )
    return Check(name=name, detail=f"{where}, 1 - cosine at most {result.worst():.1e}")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that vectors depend on, and of Python."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _receipt(
    package: Package,
    base: Base | None,
    embedding: PackageEmbedding,
    choice: Choice,
    proofs: list[Check],
    proved: list[ProvedFiles],
) -> Receipt:
    manifest = package.manifest
    pin = manifest.base
    checks = [Check(name="files", detail=f"{len(manifest.files)} files by path, size and sha256")]
    if package.anchors:
        checks.append(Check(name="package digest", detail=", ".join(package.anchors)))
    base_receipt = None
    if pin is not None:
        detail = f"{len(pin.files)} files by path, size and sha256"
        detail += "" if base is not None else ", when they were read into memory"
        checks.append(Check(name="base", detail=detail))
        base_receipt = BaseReceipt(
            uri=pin.uri,
            loaded_from=base.requested if base else embedding.resident_model.loaded_from,
            tree_digest=pin.tree_digest,
            package_digest=pin.package_digest if base is None else base.package_digest,
        )
    # a base that is in memory was proved when it was read
    in_memory = pin.size_bytes if pin is not None and base is None else 0
    structure = "modules, pooling, maximum length, dimension"
    structure += ", adapter tensors" if manifest.adapter is not None else ""
    checks.append(Check(name="structure", detail=structure))
    checks += proofs
    return Receipt(
        requested=package.located.requested,
        uri=package.located.uri,
        kind=manifest.kind.value,
        package_digest=package.digest,
        anchors=dict(package.anchors),
        dimension=manifest.dimension,
        document_space=manifest.spaces.document,
        query_space=manifest.spaces.query,
        device=choice.device,
        device_reason=choice.reason,
        passed_over=choice.passed_over,
        dtype=choice.dtype,
        merged=embedding.merge,
        runtime="torch",
        base=base_receipt,
        checks=tuple(checks),
        location=package.located.location,
        loaded_from=str(package.root),
        answer_age_s=age_s(package.located),
        bytes_verified=sum(files.size_bytes for files in proved) + in_memory,
        bytes_hashed=sum(files.hashed_bytes for files in proved),
        bytes_fetched=package.fetched_bytes + (base.fetched_bytes if base else 0),
        warnings=(*package.located.warnings, *(base.warnings if base else ())),
        libraries=library_versions(),
    )
