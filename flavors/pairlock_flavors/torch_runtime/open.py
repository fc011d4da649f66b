"""From a located package to an embedding with a receipt: find, prove, assemble, prove again."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pairlock.bases import Base, open_base
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.errors import ErrorKind, IntegrityError, PairlockError
from pairlock.hashing import ProvedFiles
from pairlock.manifest import Manifest
from pairlock.packages import Package, open_package
from pairlock.progress import Progress
from pairlock.receipts import BaseReceipt, Check, Receipt
from pairlock.resolution import age_s
from pairlock_flavors.torch_runtime.assemble import Identity, Placement, assemble
from pairlock_flavors.torch_runtime.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.torch_runtime.golden_vectors import GoldenResult, check_golden
from pairlock_flavors.torch_runtime.placement.devices import Choice, choose_device

GOLDEN_PLACEMENT = Placement(device="cpu", dtype="float32")
"""Golden vectors are recorded and compared in float32 on the CPU, whatever the model runs in."""

LIBRARIES = (
    "pairlock",
    "torch",
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "safetensors",
    "llama-index-core",
    "mlflow",
)
"""Distributions whose versions are recorded: those that a vector depends on, and MLflow."""


def open_embedding(
    located: Located,
    *,
    settings: Settings,
    device: str = "auto",
    base: str | None = None,
    golden: bool = False,
    expected_digest: str | None = None,
    progress: Progress,
) -> PackageEmbedding:
    """Load a package as an embedding.

    Args:
        located: where it lies.
        settings: which cache and mirrors, and whether the network may be used.
        device: `auto` or a torch device.
        base: another place to take an adapter's base from; it must hold the pinned bytes.
        golden: whether to recompute the golden vectors, in float32 on the CPU.
        expected_digest: a package digest known from elsewhere.
        progress: told about the work.

    Returns:
        The embedding, carrying its receipt.

    Raises:
        IntegrityError: anything differs from what was approved.
        NotFoundError: the package, or its base, is not there.
        UnavailableError: the device is not there.
        PairlockError: every other reason not to load.
    """
    opening = _Opening(located, settings, device, base, golden, expected_digest, progress)
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
    device: str
    base: str | None
    golden: bool
    expected_digest: str | None
    progress: Progress
    from_cache: bool = False

    def run(self) -> PackageEmbedding:
        package = open_package(
            self.located,
            settings=self.settings,
            progress=self.progress,
            expected_digest=self.expected_digest,
        )
        manifest = package.manifest
        base = None
        if manifest.base is not None:
            base = open_base(
                manifest.base,
                instead=self.base,
                settings=self.settings,
                progress=self.progress,
            )
        proved = _all_proved(package, base)
        self.from_cache = any(files.store.write_once for files in proved)
        choice = choose_device(self.device, manifest.devices.order)
        placement = Placement(device=choice.device, dtype=manifest.devices.dtype)
        try:
            embedding, result = self._assemble(package, base, placement)
        except PairlockError:
            for files in proved:
                files.check_unchanged()  # says so, if that is why
            raise
        for files in proved:
            files.check_unchanged()
        embedding._pairlock_receipt = _receipt(package, base, choice, placement, result)
        return embedding

    def _assemble(
        self, package: Package, base: Base | None, placement: Placement
    ) -> tuple[PackageEmbedding, GoldenResult | None]:
        uri = self.located.uri
        identity = Identity(uri=uri, package_digest=package.digest, base=self.base)
        with self.progress.step("load"):
            embedding = assemble(
                package.manifest, package.root, base, identity=identity, placement=placement
            )
        if not self.golden:
            return embedding, None
        with self.progress.step("golden vectors"):
            result = golden_result(package, base, embedding)
        if result.findings:
            raise golden_error(uri, result)
        return embedding, result


def golden_result(
    package: Package, base: Base | None, embedding: PackageEmbedding | None = None
) -> GoldenResult:
    """Recompute a proved package's golden vectors.

    Args:
        package: the package.
        base: its proved base.
        embedding: the model as it was loaded; used when it is in float32 on the CPU.

    Returns:
        The deviations and findings.
    """
    manifest = package.manifest
    recorded_in_float32 = manifest.devices.dtype == GOLDEN_PLACEMENT.dtype
    if embedding is None or embedding.device != "cpu" or not recorded_in_float32:
        identity = Identity(uri=package.located.uri, package_digest=package.digest)
        embedding = assemble(
            manifest, package.root, base, identity=identity, placement=GOLDEN_PLACEMENT
        )
    return check_golden(embedding, manifest, package.root)


def golden_error(uri: str, result: GoldenResult) -> IntegrityError:
    """The error for a model whose bytes are right and whose vectors are not."""
    return IntegrityError(
        f"{uri} does not compute the vectors that were recorded when it was packaged",
        kind=result.findings[0].kind,
        checked="golden vectors, in float32 on the CPU",
        findings=result.findings,
        done="nothing was loaded",
        hint="the bytes are right, so a library differs: install the versions in the package's "
        "requirements.txt, or compare `pairlock show` with `pairlock doctor`",
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that vectors depend on, and of Python."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _all_proved(package: Package, base: Base | None) -> list[ProvedFiles]:
    return [package.proved] if base is None else [package.proved, base.proved]


def _receipt(
    package: Package,
    base: Base | None,
    choice: Choice,
    placement: Placement,
    golden: GoldenResult | None,
) -> Receipt:
    manifest: Manifest = package.manifest
    proved = _all_proved(package, base)
    checks = [Check(name="files", detail=f"{len(manifest.files)} files by path, size and sha256")]
    if package.anchors:
        checks.append(Check(name="package digest", detail=", ".join(package.anchors)))
    base_receipt = None
    if base is not None and manifest.base is not None:
        detail = f"{len(manifest.base.files)} files by path, size and sha256"
        checks.append(Check(name="base", detail=detail))
        base_receipt = BaseReceipt(
            uri=manifest.base.uri,
            loaded_from=base.requested,
            tree_digest=manifest.base.tree_digest,
            package_digest=base.package_digest,
        )
    structure = "modules, pooling, maximum length, dimension"
    structure += ", adapter tensors" if manifest.adapter is not None else ""
    checks.append(Check(name="structure", detail=structure))
    if golden is not None:
        detail = f"{manifest.golden.texts} texts, 1 - cosine at most {golden.worst():.1e}"
        checks.append(Check(name="golden vectors", detail=detail))
    return Receipt(
        requested=package.located.requested,
        uri=package.located.uri,
        kind=manifest.kind.value,
        package_digest=package.digest,
        anchors=dict(package.anchors),
        dimension=manifest.dimension,
        device=choice.device,
        device_reason=choice.reason,
        dtype=placement.dtype,
        runtime="torch",
        base=base_receipt,
        checks=tuple(checks),
        location=package.located.location,
        loaded_from=str(package.root),
        answer_age_s=age_s(package.located),
        bytes_verified=sum(files.size_bytes for files in proved),
        bytes_hashed=sum(files.hashed_bytes for files in proved),
        bytes_fetched=package.fetched_bytes + (base.fetched_bytes if base else 0),
        warnings=(*package.located.warnings, *(base.warnings if base else ())),
        libraries=library_versions(),
    )
