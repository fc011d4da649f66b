"""Takes the weights out of a graph again: each becomes a place in the model's own files.

A weight is found by its content, so that it does not matter what the exporter calls it, or whether
it turned it around. A graph of MiniLM is 38 kB then, where one with its weights has 91 MB.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from pairlock.manifest.compiled import DERIVED, DerivedTensor, Place, TensorPlace
from pairlock.manifest.format import STORED_WEIGHTS
from pairlock_flavors.onnx_runtime.weights import SafetensorsFile
from pairlock_flavors.packaging.graphs.refusal import NotExportedError

_INLINE_BYTES = 1024
"""Smaller constants stay in the graph, wherever they come from, if they are no matrices: a LoRA
may add to any matrix."""

_MOST_CONSTANTS_BYTES = 1 << 20
"""Constants that are in no file of the model: tables of positions and the like."""

Content = tuple[tuple[int, ...], bytes]
"""A tensor's shape and the SHA-256 of its float32 bytes."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A weight of a graph, and where it lies."""

    initializer: str
    place: TensorPlace
    shape: tuple[int, ...]
    """As it lies in the file."""


class WeightFiles:
    """The tensors of some safetensors files, found by content.

    Args:
        folders: where to look, with what the place is called.
    """

    def __init__(self, folders: Mapping[Place, Path]) -> None:
        self._files = {
            (place, path.relative_to(folder).as_posix()): SafetensorsFile(path)
            for place, folder in folders.items()
            for path in sorted(folder.rglob("*.safetensors"))
        }
        self._by_content: dict[Content, TensorPlace] = {}
        self._twins: dict[TensorPlace, TensorPlace] = {}
        for tensor in self._all():
            first = self._by_content.setdefault(content_of(self.float32(tensor)), tensor)
            if first != tensor:
                self._twins[first] = tensor

    def float32(self, tensor: TensorPlace) -> NDArray[np.float32]:
        """A tensor as float32."""
        return self._files[tensor.place, tensor.path].float32(tensor.name)

    def find(self, array: NDArray[Any]) -> TensorPlace | None:
        """The tensor with just this content."""
        return self._by_content.get(content_of(array))

    def twin(self, tensor: TensorPlace) -> TensorPlace | None:
        """Another tensor with the content of one that `find` gave."""
        return self._twins.get(tensor)

    def mapped(self, tensor: TensorPlace) -> tuple[str, int, int] | None:
        """File, offset and length of a tensor that a graph can use as it lies there."""
        if tensor.place is not Place.MODEL:
            return None
        facts = self._files[tensor.place, tensor.path].tensors[tensor.name]
        if facts.dtype != "F32":
            return None
        return tensor.path, facts.offset, facts.size_bytes

    def at(self, path: str, offset: int) -> TensorPlace | None:
        """The tensor of the model that lies at an offset."""
        file = self._files.get((Place.MODEL, path))
        for name, facts in (file.tensors if file is not None else {}).items():
            if facts.offset == offset:
                return TensorPlace(Place.MODEL, path, name)
        return None

    def _all(self) -> Iterator[TensorPlace]:
        for (place, path), file in self._files.items():
            for name, facts in file.tensors.items():
                if facts.dtype in {"F32", "F16", "BF16"} and facts.size_bytes:
                    yield TensorPlace(place, path, name)


def content_of(array: NDArray[Any]) -> Content:
    """What tells a tensor from others."""
    content = np.ascontiguousarray(array, dtype=np.float32)
    return tuple(content.shape), hashlib.sha256(content.data).digest()


def find_weights(
    model: ir.Model, files: WeightFiles, stored: dict[str, NDArray[Any]] | None = None
) -> list[Bound]:
    """Say where the weights of a graph lie, and turn around those that the exporter turned.

    Args:
        model: the graph with its weights. Nodes that use a turned weight are changed.
        files: where to look for them.
        stored: takes the weights that are in no file; None where there may be none.

    Raises:
        NotExportedError: the graph has large constants that are in no file.
    """
    found: list[Bound] = []
    left_bytes = 0
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        assert tensor is not None
        place = None if _is_small(tensor) else _found_place(model, value, files)
        if place is None and stored is not None and _is_weight(tensor):
            stored[name] = tensor.numpy()
            place = TensorPlace(Place.RUNTIME, STORED_WEIGHTS, name)
        if place is None:
            left_bytes += tensor.nbytes
        else:
            assert value.shape is not None
            found.append(Bound(name, place, tuple(value.shape.numpy())))
    if left_bytes > _MOST_CONSTANTS_BYTES:
        raise NotExportedError(
            f"{left_bytes:,} bytes of its graph are in no safetensors file of the model, and would "
            "be stored again"
        )
    return found


def bind(
    model: ir.Model,
    weights: Iterable[Bound],
    derived: Mapping[TensorPlace, DerivedTensor],
    files: WeightFiles,
) -> tuple[DerivedTensor, ...]:
    """Put places for weights.

    Args:
        model: the graph.
        weights: which of its weights lie where.
        derived: weights that are changed on the way, by where they lie; they are named here.
        files: where they lie.

    Returns:
        What has to be derived when the graph is loaded.
    """
    weights = tuple(weights)
    places = [files.mapped(weight.place) for weight in weights]
    if not derived and None not in places:
        for weight, mapped in zip(weights, places, strict=True):
            assert mapped is not None
            _put(model, weight, *mapped)
        return ()
    for weight in weights:
        _put(model, weight, DERIVED, 0, None)
    unchanged = DerivedTensor(name="", source=TensorPlace(Place.MODEL, "", ""), added=None)
    return tuple(
        replace(
            derived.get(weight.place, replace(unchanged, source=weight.place)),
            name=weight.initializer,
        )
        for weight in weights
    )


def shorten(model: ir.Model) -> None:
    """Give the weights of a graph short names."""
    for number, (name, value) in enumerate(list(model.graph.initializers.items())):
        del model.graph.initializers[name]
        value.name = f"w{number}"
        model.graph.initializers[value.name] = value


def serialised(model: ir.Model) -> bytes:
    """A graph's bytes, without what only tells where it came from.

    The same pipeline gives the same bytes: values and nodes get no names of the exporter's.
    """
    model.doc_string = None
    model.producer_name, model.producer_version = "pairlock", None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.name, model.graph.doc_string = "graph", None
    values = itertools.count()
    for number, node in enumerate(ir.traversal.RecursiveGraphIterator(model.graph)):
        node.name, node.doc_string = f"n{number}", None
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()
            if not output.is_graph_output():
                output.type = output.shape = None
                output.name = f"v{next(values)}"
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _is_small(tensor: ir.TensorProtocol) -> bool:
    """Whether a constant stays in the graph, wherever it comes from; no small matrix does."""
    return tensor.nbytes < _INLINE_BYTES and tensor.shape.rank() != 2


def _found_place(model: ir.Model, value: ir.Value, files: WeightFiles) -> TensorPlace | None:
    tensor = value.const_value
    assert tensor is not None
    if tensor.dtype != ir.DataType.FLOAT:
        return None
    array = tensor.numpy()
    place = files.find(array)
    if place is None and array.ndim == 2 and (place := files.find(array.T)) is not None:
        _use_turned(model, value)
        value.shape = ir.Shape(array.T.shape)
    return place


def _put(model: ir.Model, weight: Bound, location: str, offset: int, length: int | None) -> None:
    value = model.graph.initializers[weight.initializer]
    tensor = value.const_value
    assert tensor is not None
    value.const_value = ir.ExternalTensor(
        location,
        offset,
        tensor.nbytes if length is None else length,
        tensor.dtype,
        shape=ir.Shape(weight.shape),
        name=weight.initializer,
        base_dir="",
    )
    value.shape = ir.Shape(weight.shape)


def _use_turned(model: ir.Model, value: ir.Value) -> None:
    """Let the nodes that use a matrix take it as it lies in its file."""
    turned: ir.Value | None = None
    for node, index in list(value.uses()):
        if node.op_type == "MatMul" and node.domain == "" and index == 1:
            # the operator of onnxruntime that multiplies by the transposed matrix without a copy
            node.op_type, node.domain = "FusedMatMul", "com.microsoft"
            node.attributes["transB"] = ir.AttrInt64("transB", 1)
            model.opset_imports["com.microsoft"] = 1
            continue
        if turned is None:
            turning = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", [1, 0])])
            model.graph.insert_before(next(iter(model.graph)), turning)
            turned = turning.outputs[0]
            turned.name = f"{value.name}_turned"
        node.replace_input_with(index, turned)


def _is_weight(tensor: ir.TensorProtocol) -> bool:
    kinds = {ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32}
    return tensor.nbytes >= _INLINE_BYTES and tensor.dtype in kinds
