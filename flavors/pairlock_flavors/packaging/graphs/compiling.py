"""Makes what the onnx runtime needs of a package: a graph, and how to use it.

An adapter uses the graph of its base, where the base has one: a layer as it is, a LoRA with its own
weights in place of some. Else the pipeline is exported. Whoever calls this compares its vectors
with the golden ones before anything is kept.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from sentence_transformers import SentenceTransformer

from pairlock.bases import Base
from pairlock.manifest import CustomFacts, Manifest, PeftFacts
from pairlock.manifest.compiled import (
    DERIVED,
    Compiled,
    DerivedTensor,
    FilePlace,
    Place,
    TensorPlace,
    read_compiled,
    write_compiled,
)
from pairlock.manifest.format import (
    ADAPTER_FOLDER,
    GRAPH_NAME,
    MAX_GRAPH_BYTES,
    RUNTIME_DOCUMENT,
    RUNTIME_FOLDER,
)
from pairlock_flavors.onnx_runtime.assemble import GraphParts, unpacked
from pairlock_flavors.onnx_runtime.tokens import TextTokenizer
from pairlock_flavors.packaging.graphs.adapting import check_all_bound, lora_weights
from pairlock_flavors.packaging.graphs.binding import (
    Bound,
    WeightFiles,
    bind,
    find_weights,
    serialised,
    shorten,
)
from pairlock_flavors.packaging.graphs.exporting import export
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.packaging.graphs.tokenizing import check_tokens, record_tokenizer
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a graph is made of."""

    manifest: Manifest
    root: Path
    """The package's folder, with its payload."""

    model_folder: Path
    """The model's files, or the base's."""

    bare: SentenceModel
    """The pipeline in float32 on the CPU, without an adapter, with the recorded settings."""

    base: Base | None

    @property
    def folders(self) -> dict[Place, Path]:
        """Where weights may lie."""
        found = {Place.MODEL: self.model_folder}
        if self.manifest.adapter is not None:
            found[Place.ADAPTER] = self.root / ADAPTER_FOLDER
        return found

    def parts(self, runtime_folder: Path) -> GraphParts:
        """What a model on a graph of it is put together from.

        Args:
            runtime_folder: where the graph lies.
        """
        return GraphParts(
            manifest=self.manifest,
            root=self.root,
            model_folder=self.model_folder,
            runtime_folder=runtime_folder,
            loaded_from=str(self.root),
        )


def compile_graph(source: Source, target: Path, texts: tuple[str, ...]) -> Compiled:
    """Write graph and description.

    Args:
        source: what it is made of.
        target: the folder to write to; made here.
        texts: what tokenizers are compared on.

    Returns:
        The description.

    Raises:
        NotExportedError: the onnx runtime cannot run it; nothing that counts was written.
    """
    _check_adapter(source.manifest)
    files = WeightFiles(source.folders)
    known = _graph_of_base(source, files)
    model, inputs, weights = known if known is not None else _exported(source.bare.model, files)
    derived = _changed_weights(source, files)
    check_all_bound(source.bare.model, derived, weights, files)
    graph = Graph(model=model, inputs=inputs, derived=bind(model, weights, derived, files))
    return write_graph(source, graph, target, texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph that is ready to be written."""

    model: ir.Model
    """Without weights."""

    inputs: tuple[str, ...]
    derived: tuple[DerivedTensor, ...]
    precision: str = "float32"


def write_graph(source: Source, graph: Graph, target: Path, texts: tuple[str, ...]) -> Compiled:
    """Write a graph and its description, once `tokenizers` was found to give the same tokens.

    Args:
        source: what it was made of.
        graph: the graph.
        target: the folder to write to; made here.
        texts: what tokenizers are compared on.

    Returns:
        The description.

    Raises:
        NotExportedError: its tokens cannot be made without transformers, or it is too large.
    """
    target.mkdir(parents=True, exist_ok=True)
    settings, pipeline = source.manifest.encode, source.bare.model
    place, path = _tokenizer_file(source)
    tokenizer = record_tokenizer(pipeline, settings, place, path, target)
    kept = {**source.folders, Place.RUNTIME: target}[tokenizer.file.place] / tokenizer.file.path
    check_tokens(pipeline, settings, TextTokenizer(kept, tokenizer, graph.inputs), texts)
    content = serialised(graph.model)
    if len(content) > MAX_GRAPH_BYTES:
        raise NotExportedError(f"its graph has {len(content):,} bytes without weights")
    compiled = Compiled(
        precision=graph.precision,
        inputs=graph.inputs,
        graph_bytes=len(content),
        tokenizer=tokenizer,
        derived=graph.derived,
    )
    (target / GRAPH_NAME).write_bytes(gzip.compress(content, mtime=0))
    (target / RUNTIME_DOCUMENT).write_bytes(write_compiled(compiled))
    return compiled


def _check_adapter(manifest: Manifest) -> None:
    """Refuse adapters that no graph does for, before anything is exported for them."""
    facts = manifest.adapter
    if isinstance(facts, CustomFacts):
        raise NotExportedError(f"its adapter runs code of another package ({facts.class_path})")
    if isinstance(facts, PeftFacts) and facts.peft_type != "LORA":
        raise NotExportedError(f"its adapter is of the method {facts.peft_type}, no LoRA")


def _exported(
    model: SentenceTransformer, files: WeightFiles
) -> tuple[ir.Model, tuple[str, ...], list[Bound]]:
    graph, inputs = export(model)
    shorten(graph)
    return graph, inputs, find_weights(graph, files)


def _graph_of_base(
    source: Source, files: WeightFiles
) -> tuple[ir.Model, tuple[str, ...], list[Bound]] | None:
    """The graph that a base's package holds, if the adapter's pipeline is the base's."""
    base, facts = source.base, source.manifest.adapter
    if base is None or base.manifest is None or "onnx" not in base.manifest.runtimes:
        return None
    if isinstance(facts, PeftFacts) and facts.own_modules:
        return None
    folder = base.proved.store.root / RUNTIME_FOLDER
    compiled = read_compiled((folder / RUNTIME_DOCUMENT).read_bytes(), where=RUNTIME_DOCUMENT)
    if compiled.precision != "float32":
        return None
    packed = (folder / GRAPH_NAME).read_bytes()
    model = _read_graph(unpacked(packed, compiled.graph_bytes))
    return model, compiled.inputs, _bound_weights(model, compiled, files)


def _read_graph(content: bytes) -> ir.Model:
    try:
        model: ir.Model = ir.from_proto(onnx.load_from_string(content))
    except Exception as error:
        # protobuf and onnx_ir raise whatever comes
        raise NotExportedError(f"the base's graph cannot be read: {error}") from error
    return model


def _bound_weights(model: ir.Model, compiled: Compiled, files: WeightFiles) -> list[Bound]:
    """Where the weights of a graph lie that were taken out of it before."""
    derived = {tensor.name: tensor.source for tensor in compiled.derived}
    found = []
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        path = str(tensor.location)
        place = derived.get(name) if path == DERIVED else files.at(path, tensor.offset or 0)
        if place is None:
            raise NotExportedError("the base's graph names weights that are not in its files")
        found.append(Bound(name, place, tuple(tensor.shape.numpy())))
    return found


def _changed_weights(source: Source, files: WeightFiles) -> Mapping[TensorPlace, DerivedTensor]:
    facts = source.manifest.adapter
    if not isinstance(facts, PeftFacts):
        return {}
    pipeline = source.bare.resident.pipeline()
    return lora_weights(pipeline, source.root, files)


def _tokenizer_file(source: Source) -> tuple[FilePlace | None, Path | None]:
    """The `tokenizer.json` that the pipeline was built from, if it was from one."""
    facts = source.manifest.adapter
    own = isinstance(facts, PeftFacts) and facts.own_tokenizer
    place = Place.ADAPTER if own else Place.MODEL
    folder = source.folders[place]
    found = sorted(folder.rglob("tokenizer.json"))
    if len(found) != 1:
        return None, None
    return FilePlace(place, found[0].relative_to(folder).as_posix()), found[0]
