"""From a located package to an embedding with a receipt: find, prove, assemble, prove again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pairlock.bases import Base
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.encoder import Encoder
from pairlock.errors import ErrorKind, IntegrityError, PairlockError
from pairlock.hashing import ProvedFiles
from pairlock.packages import Package
from pairlock.progress import Progress
from pairlock.receipts import Check
from pairlock_flavors.golden_vectors import GoldenResult, check_adapter, check_golden
from pairlock_flavors.proving import Proved, prove_base, prove_package
from pairlock_flavors.receiving import Running, make_receipt, proof, versions_of
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, Placement, assemble
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding
from pairlock_flavors.torch_runtime.foreign_classes import allowed_classes
from pairlock_flavors.torch_runtime.placement.choosing import Candidate, choose
from pairlock_flavors.torch_runtime.placement.choosing import Wish as DeviceWish
from pairlock_flavors.torch_runtime.placement.machine import machine_states
from pairlock_flavors.torch_runtime.placement.walking import Choice, first_that_fits
from pairlock_flavors.wish import Wish

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


def open_model(
    located: Located,
    *,
    settings: Settings,
    wish: Wish,
    progress: Progress,
    proved: Proved | None = None,
) -> TorchEmbedding | Encoder:
    """Load a package in the torch runtime.

    Args:
        located: where it lies.
        settings: which cache and mirrors, whether the network may be used, which classes may run.
        wish: what else the caller asks for; see `pairlock.load`.
        progress: told about the work.
        proved: its files, where they were proved already.

    Returns:
        The embedding, or an encoder where the wish says so, carrying its receipt.

    Raises:
        IntegrityError: anything differs from what was approved.
        NotFoundError: the package, or its base, is not there.
        UnavailableError: the device is not there.
        PairlockError: every other reason not to load.
    """
    opening = _Opening(located, settings, wish, progress, proved)
    try:
        embedding = opening.run()
    except IntegrityError as error:
        # a view in the cache may be pruned or repaired under a load; what it is made anew of is
        # proved again
        if error.kind is not ErrorKind.FILE_CHANGED or not opening.from_cache:
            raise
        embedding = opening.run()
    if wish.interface == "callable":
        return embedding.as_encoder()
    return embedding


@dataclass(slots=True)
class _Opening:
    """One load: what was asked for, and from where it was served."""

    located: Located
    settings: Settings
    wish: Wish
    progress: Progress
    proved_before: Proved | None = None
    """Files that were proved before this began; used once, and what has to be tried again is proved
    again."""

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

    def run(self) -> TorchEmbedding:
        before, self.proved_before = self.proved_before, None
        self.base = None if before is None else before.base
        self.package = package = before.package if before is not None else self.open_package()
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
        embedding._pairlock_receipt = make_receipt(
            package,
            self.base,
            _running(embedding, choice),
            base_in_memory=embedding.resident_model.loaded_from,
            proofs=proofs,
            proved=self.proved,
        )
        embedding._allowed = self.settings.allowed_classes
        return embedding

    def open_package(self) -> Package:
        """The package, found and proved."""
        return prove_package(
            self.located, settings=self.settings, wish=self.wish, progress=self.progress
        )

    def open_base(self) -> Base:
        """The base under an adapter, found and proved once."""
        assert self.package is not None
        if self.base is None:
            self.base = prove_base(
                self.package, settings=self.settings, wish=self.wish, progress=self.progress
            )
        return self.base

    def _attempt(
        self, parts: Parts, digest: str, candidate: Candidate
    ) -> tuple[TorchEmbedding, list[Check]]:
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

    def _prove(self, parts: Parts, identity: Identity, embedding: TorchEmbedding) -> list[Check]:
        """What digests cannot say: that the libraries and the device compute what was recorded."""
        manifest, root, uri = parts.manifest, parts.root, self.located.uri
        proofs = []
        if isinstance(embedding, AdapterEmbedding):
            result = check_adapter(
                embedding, manifest, root, device_type=embedding.device.partition(":")[0]
            )
            proofs.append(proof("adapter", "on the base's recorded vectors", result, uri))
        is_recorded_way = (embedding.device, embedding.dtype) == ("cpu", manifest.devices.dtype)
        if not is_recorded_way:
            with self.progress.step("golden vectors"):
                device_type = embedding.device.partition(":")[0]
                result = check_golden(
                    embedding, manifest, root, device_type=device_type, dtype=embedding.dtype
                )
            where = f"in {embedding.dtype} on {embedding.device}"
            proofs.append(proof("golden vectors there", where, result, uri))
        # code that is in no package can only be proved by what it computes
        if self.wish.golden or manifest.encode.foreign_modules:
            with self.progress.step("golden vectors"):
                result = _golden_result(parts, identity, embedding)
            proofs.append(proof("golden vectors", "in float32 on the CPU", result, uri))
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


def _golden_result(parts: Parts, identity: Identity, embedding: TorchEmbedding) -> GoldenResult:
    """Recompute golden vectors for a load: by the loaded model where it is comparable."""
    key = embedding.resident_model.key
    if (key.device, key.dtype) != (GOLDEN_PLACEMENT.device, GOLDEN_PLACEMENT.dtype):
        embedding = assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT)
    return check_golden(embedding, parts.manifest, parts.root)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that vectors depend on, and of Python."""
    return versions_of(LIBRARIES)


def _running(embedding: TorchEmbedding, choice: Choice) -> Running:
    return Running(
        runtime="torch",
        device=choice.device,
        device_reason=choice.reason,
        passed_over=choice.passed_over,
        dtype=choice.dtype,
        merged=embedding.merge,
        libraries=LIBRARIES,
    )
