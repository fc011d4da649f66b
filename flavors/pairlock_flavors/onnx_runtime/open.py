"""From a located package to a model on onnxruntime with a receipt: find, prove, assemble.

The weights are mapped from their files, so those have to lie where nobody writes: everything is
brought into the cache first, also what lies in a local folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.encoder import Encoder
from pairlock.errors import (
    ErrorKind,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
)
from pairlock.graphs import FoundGraph, find_graph
from pairlock.hashing import ProvedFiles
from pairlock.manifest import LayerFacts, Manifest
from pairlock.manifest.compiled import PRECISIONS
from pairlock.manifest.format import MODEL_FOLDER, RUNTIME_FOLDER
from pairlock.packages import Package
from pairlock.progress import Progress
from pairlock.receipts import Check, Receipt
from pairlock_flavors.golden_vectors import check_adapter, check_golden
from pairlock_flavors.onnx_runtime.assemble import GraphParts, assemble
from pairlock_flavors.onnx_runtime.models import PackageModel
from pairlock_flavors.proving import Proved, prove
from pairlock_flavors.receiving import Running, make_receipt, proof
from pairlock_flavors.wish import Wish

if TYPE_CHECKING:
    from pairlock_flavors.onnx_runtime.embedding import OnnxEmbedding

LIBRARIES = ("pairlock", "onnxruntime", "tokenizers", "numpy", "llama-index-core")
"""Distributions whose versions are recorded: those that a vector depends on here."""


def open_model(
    located: Located,
    *,
    settings: Settings,
    wish: Wish,
    progress: Progress,
    proved: Proved | None = None,
) -> OnnxEmbedding | Encoder:
    """Load a package in the onnx runtime.

    Args:
        located: where it lies.
        settings: which cache and mirrors, and whether the network may be used.
        wish: what else the caller asks for; see `pairlock.load`.
        progress: told about the work.
        proved: its files, where they were proved already, in the cache.

    Returns:
        The embedding, or an encoder where the wish says so, carrying its receipt.

    Raises:
        IntegrityError: anything differs from what was approved.
        NotFoundError: the package, or its base, is not there, or it has no graph.
        InvalidInputError: a device or dtype that this runtime has not got.
        PairlockError: every other reason not to load.
    """
    _check_wish(wish)
    settings = replace(settings, in_place=False)
    opening = _Opening(located, settings, wish, progress)
    try:
        return opening.run(proved)
    except IntegrityError as error:
        # a view in the cache may be pruned or repaired under a load; what it is made anew of is
        # proved again
        if error.kind is not ErrorKind.FILE_CHANGED:
            raise
    return opening.run(None)


@dataclass(slots=True)
class _Opening:
    """One load: what was asked for."""

    located: Located
    settings: Settings
    wish: Wish
    progress: Progress

    def run(self, proved: Proved | None) -> OnnxEmbedding | Encoder:
        if proved is None:
            proved = prove(
                self.located, settings=self.settings, wish=self.wish, progress=self.progress
            )
        manifest = proved.package.manifest
        graph = self._later_graph(proved.package)
        parts = (proved.package, proved.base, graph)
        files = [found.proved for found in parts if found is not None]
        with _unchanged(files):
            with self.progress.step("load"):
                model = assemble(_parts(proved, graph))
            proofs = self._prove(proved, model, graph)
        receipt = make_receipt(
            proved.package,
            proved.base,
            _running(manifest, self.precision),
            base_in_memory=None,
            proofs=proofs,
            proved=files,
        )
        return self._returned(manifest, model, receipt)

    @property
    def precision(self) -> str:
        return self.wish.dtype or "float32"

    def _later_graph(self, package: Package) -> FoundGraph | None:
        """The graph that was made later, where the package itself has none of this precision."""
        if self.precision == "float32" and "onnx" in package.manifest.runtimes:
            return None
        graph = find_graph(package, self.precision, settings=self.settings, progress=self.progress)
        if graph is None:
            raise _no_graph(package, self.precision)
        return graph

    def _prove(self, proved: Proved, model: PackageModel, graph: FoundGraph | None) -> list[Check]:
        """What digests cannot say: that the libraries compute what was recorded."""
        manifest, root, uri = proved.package.manifest, proved.package.root, self.located.uri
        proofs = []
        if graph is not None:
            # nobody promoted it, so that its vectors have to be those that were
            with self.progress.step("golden vectors"):
                own = graph.linked.bars if self.precision == "int8" else None
                result = check_golden(model, manifest, root, bars=own)
            proofs.append(proof("golden vectors", f"in {self.precision} on the CPU", result, uri))
        if isinstance(manifest.adapter, LayerFacts):
            result = check_adapter(model, manifest, root)
            proofs.append(proof("adapter", "on the base's recorded vectors", result, uri))
        if self.wish.golden and graph is None:
            with self.progress.step("golden vectors"):
                result = check_golden(model, manifest, root)
            proofs.append(proof("golden vectors", "in float32 on the CPU", result, uri))
        return proofs

    def _returned(
        self, manifest: Manifest, model: PackageModel, receipt: Receipt
    ) -> OnnxEmbedding | Encoder:
        fields = {
            "uri": receipt.uri,
            "package_digest": receipt.package_digest,
            "device": receipt.device,
            "dtype": receipt.dtype,
            "merge": receipt.merged,
            "base": self.wish.base,
            "runtime": receipt.runtime,
        }
        if self.wish.interface == "callable":
            expected = {"expected_digest": fields.pop("package_digest")}
            return Encoder(model, receipt, fields | expected)
        from pairlock_flavors.onnx_runtime.embedding import OnnxEmbedding

        embedding = OnnxEmbedding(
            model, **fields, model_name=receipt.uri, dimension=manifest.dimension
        )
        embedding._pairlock_receipt = receipt
        return embedding


@contextmanager
def _unchanged(files: list[ProvedFiles]) -> Iterator[None]:
    """Prove that files stay as they were while they are read.

    Raises:
        IntegrityError: they did not; whatever else went wrong then comes of that.
        StorageError: they did, and cannot be read.
    """
    try:
        yield
    except (PairlockError, OSError) as error:
        for found in files:
            found.check_unchanged()
        if isinstance(error, PairlockError):
            raise
        raise StorageError.of(
            error,
            "the model's files cannot be read",
            checked=str(error.filename or "the cache"),
            done="nothing was loaded",
            hint="check the disk and its permissions, then load again",
        ) from error
    for found in files:
        found.check_unchanged()


def _parts(proved: Proved, graph: FoundGraph | None) -> GraphParts:
    package, base = proved.package, proved.base
    if base is None:
        folder, loaded_from = package.root / MODEL_FOLDER, str(package.root)
    else:
        assert base.model_folder is not None  # what is in the cache is used where it lies
        folder = base.proved.store.local_path(base.model_folder)
        loaded_from = base.requested
    return GraphParts(
        manifest=package.manifest,
        root=package.root,
        model_folder=folder,
        runtime_folder=package.root / RUNTIME_FOLDER if graph is None else graph.folder,
        loaded_from=loaded_from,
    )


def _running(manifest: Manifest, precision: str) -> Running:
    return Running(
        runtime="onnx",
        device="cpu",
        device_reason="the onnx runtime computes on the CPU",
        passed_over=(),
        dtype=precision,
        merged=True if manifest.kind.value == "peft" else None,
        libraries=LIBRARIES,
    )


def _check_wish(wish: Wish) -> None:
    if wish.device.partition(":")[0] not in {"auto", "cpu"}:
        raise UnavailableError(
            f"the onnx runtime does not compute on {wish.device}",
            kind=ErrorKind.DEVICE_UNAVAILABLE,
            checked="the device",
            expected="auto or cpu",
            found=wish.device,
            done="nothing was loaded",
            hint="load with runtime='torch'",
        )
    wrong = (
        ("dtype", wish.dtype, (None, *PRECISIONS)),
        ("merge", wish.merge, (None, True)),
    )
    for name, value, known in wrong:
        if value not in known:
            raise InvalidInputError(
                f"the onnx runtime has no {name} {value}",
                kind=ErrorKind.ARGUMENT_INVALID,
                checked=name,
                expected=", ".join(str(option) for option in known[1:]) + ", or none",
                found=str(value),
                done="nothing was loaded",
                hint="leave it out, or load with runtime='torch'",
            )


def _no_graph(package: Package, precision: str) -> NotFoundError:
    uri, wish = package.located.uri, "" if precision == "float32" else f" --precision {precision}"
    return NotFoundError(
        f"{uri} has no {precision} graph for the onnx runtime",
        kind=ErrorKind.RUNTIME_MISSING,
        checked="the runtimes that its manifest names, the version's tags, and the cache",
        expected=f"a graph in {precision}",
        found=f"a package for {' and '.join(package.manifest.runtimes)}",
        done="nothing was loaded",
        hint=f"make one with `pairlock compile {uri}{wish}`, or load with runtime='torch'",
    )
