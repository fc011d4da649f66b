"""Puts a model together from proved files: the one way in which packages become graphs in memory.

Packaging goes through here too, so that what is proved there is what a load computes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairlock.bases import model_records
from pairlock.digests import digest_bytes, record_file, tree_digest
from pairlock.errors import ErrorKind, IntegrityError, UnsupportedError
from pairlock.manifest import CustomFacts, LayerFacts, Manifest, PeftFacts, Role
from pairlock.manifest.compiled import Compiled, DerivedTensor, Place, read_compiled
from pairlock.manifest.format import (
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    GRAPH_NAME,
    RUNTIME_DOCUMENT,
    STORED_WEIGHTS,
)
from pairlock_flavors.onnx_runtime.beside import Beside
from pairlock_flavors.onnx_runtime.layers import Layer
from pairlock_flavors.onnx_runtime.models import GraphModel, PackageModel
from pairlock_flavors.onnx_runtime.sessions import (
    GraphFiles,
    Session,
    SessionKey,
    shared,
    thread_count,
)
from pairlock_flavors.onnx_runtime.tokens import KNOWN_INPUTS, shared_tokenizer
from pairlock_flavors.onnx_runtime.weights import derived_weights

_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphParts:
    """What a model is put together from."""

    manifest: Manifest
    root: Path
    """The package's folder, proved."""

    model_folder: Path
    """The folder of the model, or of the base: proved, and written to by nobody."""

    runtime_folder: Path
    """The folder with `runtime.json`: the package's own, or a compiled artifact's."""

    loaded_from: str
    """Where the model, or the base, was found."""

    @property
    def folders(self) -> dict[Place, Path]:
        """The folders that `runtime.json` speaks of."""
        return {
            Place.MODEL: self.model_folder,
            Place.ADAPTER: self.root / ADAPTER_FOLDER,
            Place.RUNTIME: self.runtime_folder,
        }

    @property
    def model_digest(self) -> str:
        """Digest of the model's files."""
        pin = self.manifest.base
        return pin.tree_digest if pin else tree_digest(model_records(self.manifest))

    @property
    def weights_bytes(self) -> int:
        """Bytes of the model's weights in float32."""
        width = 4 if self.manifest.devices.dtype == "float32" else 2
        return self.manifest.devices.weights_bytes * 4 // width


def assemble(parts: GraphParts, *, alone: bool = False) -> PackageModel:
    """Put a model together.

    Args:
        parts: the proved files.
        alone: make a session of its own, even if there is one in memory.

    Raises:
        IntegrityError: the files are not what a graph of this package needs.
        FormatError: `runtime.json` cannot be read.
        UnsupportedError: it is a kind that has no graph.
    """
    facts = parts.manifest.adapter
    if isinstance(facts, CustomFacts) or parts.manifest.encode.foreign_modules:
        raise _foreign(parts.manifest)
    content = (parts.runtime_folder / RUNTIME_DOCUMENT).read_bytes()
    compiled = read_compiled(content, where=RUNTIME_DOCUMENT)
    if strange := sorted(set(compiled.inputs) - set(KNOWN_INPUTS)):
        raise _wrong("the graph's inputs", ", ".join(KNOWN_INPUTS), ", ".join(strange))
    model = _graph_model(parts, compiled, alone=alone, bare=False)
    bare = partial(_graph_model, parts, compiled, alone=alone, bare=True)
    if isinstance(facts, LayerFacts):
        layer = Layer(parts.root / ADAPTER_WEIGHTS, facts)
        return PackageModel(model, layer, facts.transforms, lambda: model)
    roles = tuple(Role) if isinstance(facts, PeftFacts) else ()
    return PackageModel(model, None, roles, bare if roles else lambda: model)


def precision_of(runtime_folder: Path) -> str:
    """The precision that a graph computes in.

    Raises:
        FormatError: `runtime.json` cannot be read.
    """
    content = (runtime_folder / RUNTIME_DOCUMENT).read_bytes()
    return read_compiled(content, where=RUNTIME_DOCUMENT).precision


def unpacked(packed: bytes, size_bytes: int) -> bytes:
    """A graph, unpacked.

    Args:
        packed: the bytes of its file.
        size_bytes: how large it has to be; no more is unpacked.

    Raises:
        IntegrityError: it is not packed as it should be.
    """
    try:
        unpacking = zlib.decompressobj(wbits=_GZIP)
        graph = unpacking.decompress(packed, size_bytes + 1)
    except zlib.error as error:
        raise _wrong("the graph", "a gzip file", str(error)) from error
    if len(graph) != size_bytes or not unpacking.eof or unpacking.unused_data:
        raise _wrong("the graph", f"{size_bytes} bytes", "another size")
    return graph


def _graph_model(parts: GraphParts, compiled: Compiled, *, alone: bool, bare: bool) -> GraphModel:
    file = compiled.tokenizer.file
    tokenizer_path = parts.folders[file.place] / file.path
    # both take long without Python, so that they need not take turns
    with Beside(
        lambda: shared_tokenizer(tokenizer_path, compiled.tokenizer, compiled.inputs)
    ) as made:
        session = _session(parts, compiled, alone=alone, bare=bare)
    if sorted(session.inputs) != sorted(compiled.inputs):
        raise _wrong("the graph's inputs", ", ".join(compiled.inputs), ", ".join(session.inputs))
    manifest = parts.manifest
    pin = manifest.base
    is_layer = isinstance(manifest.adapter, LayerFacts)
    return GraphModel(
        session,
        made.outcome(),
        manifest.encode,
        batch_size=manifest.devices.batch_size,
        dimension=pin.dimension if pin is not None and is_layer else manifest.dimension,
    )


def _session(parts: GraphParts, compiled: Compiled, *, alone: bool, bare: bool) -> Session:
    packed = (parts.runtime_folder / GRAPH_NAME).read_bytes()
    derived = compiled.bare_derived if bare else compiled.derived
    key = SessionKey(
        tree_digest=parts.model_digest,
        runtime_digest=digest_bytes(packed + _origin(derived, parts)),
        threads=thread_count(),
    )

    def make() -> Session:
        return Session(
            key,
            GraphFiles(
                graph=unpacked(packed, compiled.graph_bytes),
                model_folder=parts.model_folder,
                weights=derived_weights(derived, parts.folders),
            ),
            loaded_from=parts.loaded_from,
            weights_bytes=parts.weights_bytes,
        )

    return make() if alone else shared(key, make)


def _origin(derived: tuple[DerivedTensor, ...], parts: GraphParts) -> bytes:
    """What weights are made of beside the model's files, in a few bytes."""
    if not derived:
        return b""
    places = {part.place for tensor in derived for part in tensor.parts}
    found = repr(derived)
    if Place.ADAPTER in places:
        records = parts.manifest.files
        found += tree_digest([one for one in records if one.path.startswith(f"{ADAPTER_FOLDER}/")])
    if Place.RUNTIME in places:
        # of a graph that was made later: one that is made anew has the same folder
        if not (parts.runtime_folder / STORED_WEIGHTS).is_file():
            raise _wrong("the weights beside the graph", STORED_WEIGHTS, "no such file")
        found += record_file(parts.runtime_folder, STORED_WEIGHTS).sha256
    return found.encode()


def _wrong(checked: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        "the package's graph is not what its description says",
        kind=ErrorKind.RUNTIME_INVALID,
        checked=checked,
        expected=expected,
        found=found,
        done="nothing was loaded",
        hint="load with runtime='torch', or package the model again",
    )


def _foreign(manifest: Manifest) -> UnsupportedError:
    return UnsupportedError(
        "this model needs code of another package, which the onnx runtime does not run",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked="the classes that the package names",
        expected="none",
        found=", ".join(manifest.foreign_classes),
        done="nothing was loaded",
        hint="load with runtime='torch'",
    )
