"""Tensors in safetensors files, mapped and not read; and weights that are derived from them.

The format is an eight-byte length, a JSON header with dtype, shape and byte offsets of every
tensor, and the bytes (https://github.com/huggingface/safetensors#format). The library's own reader
copies every tensor it is asked for, and does not say where its bytes lie.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest.compiled import DerivedTensor, Place, TensorPlace

_MAX_HEADER_BYTES = 100_000_000
"""What the library allows."""

_FLOATS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What comes of reading a file that is something else, or not there."""

_STORED: dict[str, np.dtype[Any]] = {
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
}
"""What a quantised graph's own file holds."""


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """Where a tensor lies in a file."""

    dtype: str
    """The format's name: F32, F16, BF16, …"""

    shape: tuple[int, ...]
    offset: int
    """From the beginning of the file, in bytes."""

    size_bytes: int


class SafetensorsFile:
    """A safetensors file, mapped for reading.

    Args:
        path: the file; nobody may write to it while this is in use.

    Raises:
        IntegrityError: it is no safetensors file, or not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self.tensors = _header(self._bytes)
        except _UNREADABLE as error:
            raise _not_tensors(path, f"{type(error).__name__}: {error}") from error

    def bytes_of(self, name: str) -> memoryview:
        """A tensor's bytes, as they are in the file."""
        tensor = self._tensor(name)
        return memoryview(self._bytes)[tensor.offset : tensor.offset + tensor.size_bytes]

    def float32(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32: mapped where it is saved so, widened where it is in half precision.

        Raises:
            IntegrityError: there is no such tensor, or it holds no numbers of these kinds.
        """
        tensor = self._tensor(name)
        dtype = _FLOATS.get(tensor.dtype)
        if dtype is None:
            raise _not_tensors(self.path, f"{name} in {tensor.dtype}")
        count = math.prod(tensor.shape)
        flat: NDArray[Any] = np.frombuffer(
            self._bytes, dtype=dtype, count=count, offset=tensor.offset
        )
        if tensor.dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.astype(np.float32, copy=False).reshape(tensor.shape)

    def integers(self, name: str) -> NDArray[Any]:
        """A tensor of small integers, or of float32, as it is saved.

        Raises:
            IntegrityError: there is no such tensor, or it is of another kind.
        """
        tensor = self._tensor(name)
        dtype = _STORED.get(tensor.dtype)
        if dtype is None:
            raise _not_tensors(self.path, f"{name} in {tensor.dtype}")
        flat = np.frombuffer(self.bytes_of(name), dtype=dtype)
        return flat.reshape(tensor.shape)

    def _tensor(self, name: str) -> MappedTensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise _not_tensors(self.path, f"no tensor {name}") from None


def derived_weights(
    derived: Iterable[DerivedTensor], folders: Mapping[Place, Path]
) -> dict[str, NDArray[Any]]:
    """The weights that a graph is given by name.

    Args:
        derived: what they are made of.
        folders: where the proved files lie.

    Returns:
        The weights, C-contiguous, by the graph's names for them.

    Raises:
        IntegrityError: a tensor is not there, or has another shape.
    """
    opened: dict[tuple[Place, str], SafetensorsFile] = {}

    def read(tensor: TensorPlace) -> NDArray[Any]:
        key = tensor.place, tensor.path
        if key not in opened:
            opened[key] = SafetensorsFile(folders[tensor.place] / tensor.path)
        file = opened[key]
        if tensor.place is Place.RUNTIME:
            return file.integers(tensor.name)
        return file.float32(tensor.name)

    # onnxruntime reads them where they are; in a file that no library wrote that may be anywhere
    return {
        tensor.name: np.require(derive(tensor, read), requirements=["C", "A"]) for tensor in derived
    }


def derive(tensor: DerivedTensor, read: Callable[[TensorPlace], NDArray[Any]]) -> NDArray[Any]:
    """One weight: a tensor, with what a LoRA adds to it.

    Args:
        tensor: what to make.
        read: gives a tensor: float32, or integers of a quantised graph's own.

    Returns:
        Of the tensor's shape, in the dtype that was read.

    Raises:
        IntegrityError: the tensors do not fit each other.
    """
    found = read(tensor.source)
    if tensor.added is not None:
        a, b = read(tensor.added.a), read(tensor.added.b)
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise _other_shapes(
                tensor, "two matrices that can be multiplied", f"{b.shape} @ {a.shape}"
            )
        delta = (b @ a) * np.float32(tensor.added.scale)
        delta = delta.T if tensor.added.transposed else delta
        if delta.shape != found.shape:
            raise _other_shapes(tensor, f"a product of {found.shape}", str(delta.shape))
        found = found + delta
    return found


def _header(content: mmap.mmap) -> dict[str, MappedTensor]:
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"a header of {length} bytes")
    known: dict[str, Any] = json.loads(content[8 : 8 + length])
    known.pop("__metadata__", None)
    found = {}
    for name, facts in known.items():
        start, end = (8 + length + int(offset) for offset in facts["data_offsets"])
        if not 8 + length <= start <= end <= len(content):
            raise ValueError(f"{name} lies outside the file")
        shape = tuple(facts["shape"])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name} has the shape {shape}")
        tensor = MappedTensor(str(facts["dtype"]), shape, start, end - start)
        item = _FLOATS.get(tensor.dtype)
        if item is not None and tensor.size_bytes != item.itemsize * math.prod(tensor.shape):
            raise ValueError(f"{name} has another size than its shape")
        found[name] = tensor
    return found


def _not_tensors(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        f"{path.name} does not hold the weights that the graph needs",
        kind=ErrorKind.TENSOR_KEYS,
        checked=str(path),
        expected="a safetensors file with every tensor that runtime.json names",
        found=found[:300],
        done="nothing was loaded",
        hint="load with runtime='torch', or package the model again",
    )


def _other_shapes(tensor: DerivedTensor, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        f"the weight {tensor.source.name} cannot be made",
        kind=ErrorKind.TENSOR_VALUES,
        checked="the shapes of what it is made of",
        expected=expected,
        found=found,
        done="nothing was loaded",
        hint="load with runtime='torch', or package the model again",
    )
