"""`pairlock compile`: a graph for a version that has none, or one in another precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pairlock._bridge import evaluating, graph_making, loading
from pairlock.config import Settings, current_settings
from pairlock.errors import ErrorKind, InvalidInputError, StorageError
from pairlock.evaluation.datasets import read_dataset
from pairlock.graphs import FoundGraph, keep_graph, store_graph
from pairlock.manifest.compiled import PRECISIONS
from pairlock.manifest.linked import Retrieval
from pairlock.packages import Package
from pairlock.progress import SILENT, Progress
from pairlock.resolution import resolve

_DEPTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledVersion:
    """A version, and the graph that was made for it."""

    uri: str
    package_digest: str
    graph_digest: str
    precision: str
    one_minus_cosine: float
    """How far the worst golden vector lies from the recorded one."""

    bar: float
    """How far it may lie when the graph is loaded."""

    size_bytes: int
    """Of the graph's files."""

    retrieval: Retrieval | None
    stored_as: str | None
    """The tag on the version that names the graph; None where only this machine's cache has it."""

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        retrieval = self.retrieval
        return {
            "uri": self.uri,
            "package_digest": self.package_digest,
            "graph_digest": self.graph_digest,
            "precision": self.precision,
            "one_minus_cosine": self.one_minus_cosine,
            "bar": self.bar,
            "size_bytes": self.size_bytes,
            "retrieval": None
            if retrieval is None
            else {
                "metric": retrieval.metric,
                "dataset_digest": retrieval.dataset_digest,
                "torch": retrieval.torch,
                "graph": retrieval.graph,
            },
            "stored_as": self.stored_as,
        }


def compile_version(
    uri: str,
    *,
    precision: str = "float32",
    dataset: Path | None = None,
    store: bool = True,
    base: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    progress: Progress = SILENT,
) -> CompiledVersion:
    """Make a graph for the onnx runtime of a version that exists, prove it, and link it to it.

    The version itself does not change. The graph lies beside its payload, a tag of the version
    names its digest, and each load recomputes the version's golden vectors with it.

    Args:
        uri: as `pairlock.load`.
        precision: `float32`, proved by the bars of torch; or `int8`, whose own bars are twice what
            was measured.
        dataset: a retrieval dataset, as `pairlock.evaluate` takes it: the loss is measured on it.
        store: whether to link the graph to the registered version; else, and for what is no
            registered version, it stays in this machine's cache.
        base: as `pairlock.load`.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`; nothing is stored then.
        progress: told about the work.

    Returns:
        What was made.

    Raises:
        InvalidInputError: an argument cannot be.
        UnsupportedError: the onnx runtime cannot run the model.
        IntegrityError: the version is not what was approved, or the graph computes other vectors.
        UnavailableError: torch is not installed, or the store or registry cannot be reached.
        PairlockError: every other reason not to load.
    """
    if precision not in PRECISIONS:
        raise InvalidInputError(
            f"there are no graphs in {precision}",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="precision",
            expected=", ".join(PRECISIONS),
            found=precision,
            done="nothing was made",
            hint="choose one of these",
        )
    settings = replace(current_settings(offline=offline, allow=allow), in_place=False)
    wish = loading().Wish(base=base)
    proved = loading().prove(
        resolve(uri, settings), settings=settings, wish=wish, progress=progress
    )
    package: Package = proved.package
    graph = _made(package, proved.base, precision, settings, progress)
    if dataset is not None:
        graph = _measured(package, graph, dataset, settings, progress)
    located = package.located
    tag = None
    if store and located.version is not None and not settings.offline:
        tag = store_graph(package, graph, progress=progress)
    linked = graph.linked
    return CompiledVersion(
        uri=located.uri,
        package_digest=package.digest,
        graph_digest=linked.digest,
        precision=precision,
        one_minus_cosine=linked.one_minus_cosine,
        bar=linked.bars.one_minus_cosine,
        size_bytes=sum(record.size_bytes for record in linked.files),
        retrieval=linked.retrieval,
        stored_as=tag,
    )


def _made(
    package: Package, base: Any, precision: str, settings: Settings, progress: Progress
) -> FoundGraph:
    with TemporaryDirectory(prefix="pairlock-") as name:
        folder = Path(name)
        with progress.step("export graph"):
            try:
                linked = graph_making().make_graph(
                    package, base, precision, folder, settings=settings
                )
            except OSError as error:
                raise StorageError.of(
                    error,
                    "writing the graph failed",
                    checked=str(error.filename or folder),
                    done="nothing was stored",
                    hint="check free space and permissions there; TMPDIR moves it",
                ) from error
        return keep_graph(folder, linked, settings=settings, progress=progress)


def _measured(
    package: Package, graph: FoundGraph, path: Path, settings: Settings, progress: Progress
) -> FoundGraph:
    """The same graph, with what it costs in retrieval."""
    dataset = read_dataset(path)
    values = {}
    for runtime, dtype in (("torch", "float32"), ("onnx", graph.linked.precision)):
        wish = loading().Wish(runtime=runtime, dtype=dtype, device="cpu")
        embedding = loading().load_located(
            package.located, settings=settings, wish=wish, progress=progress
        )
        found = evaluating().evaluate_retrieval(
            embedding,
            dataset,
            similarity=package.manifest.encode.similarity,
            k=[_DEPTH],
            progress=progress,
        )
        values[runtime] = float(found.metrics[f"ndcg@{_DEPTH}"])
    retrieval = Retrieval(
        metric=f"ndcg@{_DEPTH}",
        dataset_digest=dataset.digest,
        torch=values["torch"],
        graph=values["onnx"],
    )
    with TemporaryDirectory(prefix="pairlock-") as name:
        folder = Path(name)
        for record in graph.linked.files:
            (folder / record.path).write_bytes((graph.folder / record.path).read_bytes())
        linked = replace(graph.linked, retrieval=retrieval)
        return keep_graph(folder, linked, settings=settings, progress=progress)
