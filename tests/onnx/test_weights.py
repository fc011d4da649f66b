"""Safetensors files, mapped by our own reader, and what is derived of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest.compiled import DerivedTensor, LowRank, Place, TensorPlace
from pairlock_flavors.onnx_runtime.weights import SafetensorsFile, derive, derived_weights


def written(folder: Path, header: Any, body: bytes = b"") -> Path:
    """A file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "made.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def place(name: str) -> TensorPlace:
    """A tensor of the file `t.safetensors`."""
    return TensorPlace(Place.MODEL, "t.safetensors", name)


def test_tensors_are_those_that_the_library_reads(tmp_path: Path) -> None:
    """float32 as it is, half precision widened without a difference; scalars and empty ones too."""
    torch.manual_seed(1)
    tensors = {
        "f32": torch.randn(3, 4),
        "f16": torch.randn(5, 2).half(),
        "bf16": torch.randn(2, 2, 2).bfloat16() * 1e30,
        "odd": torch.tensor([float("inf"), -0.0, 1e-40]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "whole": torch.arange(4),
    }
    path = tmp_path / "t.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"a": "b"})
    file = SafetensorsFile(path)
    assert file.tensors.keys() == tensors.keys()
    for name in tensors.keys() - {"whole"}:
        found = file.float32(name)
        assert found.dtype == np.float32
        assert np.array_equal(found, tensors[name].float().numpy(), equal_nan=True), name
    assert bytes(file.bytes_of("f32")) == tensors["f32"].numpy().tobytes()
    for name in ("whole", "nothing"):
        with pytest.raises(IntegrityError) as caught:
            file.float32(name)
        assert caught.value.kind is ErrorKind.TENSOR_KEYS


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
        {"a": 1},
        ["a"],
        1,
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda header: str(header)[:60],
)
def test_a_header_that_cannot_be_is_an_error(header: Any, tmp_path: Path) -> None:
    """Places outside the file, sizes that are no shape's, and what is no header at all."""
    with pytest.raises(IntegrityError) as caught:
        SafetensorsFile(written(tmp_path, header, bytes(8)))
    assert caught.value.kind is ErrorKind.TENSOR_KEYS


@given(content=st.binary(max_size=64))
def test_any_bytes_are_a_file_or_an_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No other exception comes out, whatever lies there."""
    path = tmp_path_factory.mktemp("any") / "t.safetensors"
    path.write_bytes(content)
    try:
        assert SafetensorsFile(path).tensors == {}
    except IntegrityError as error:
        assert error.kind is ErrorKind.TENSOR_KEYS


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It is no zeros."""
    with pytest.raises(IntegrityError) as caught:
        SafetensorsFile(tmp_path / "nothing")
    assert caught.value.kind is ErrorKind.TENSOR_KEYS


@pytest.mark.parametrize("transposed", [False, True])
def test_a_lora_adds_its_product(transposed: bool) -> None:
    """scale * b @ a, turned where the weight is stored the other way round."""
    random = np.random.default_rng(1)
    weight, a, b = (
        random.normal(size=size).astype(np.float32) for size in ((6, 5), (2, 5), (6, 2))
    )
    stored = weight.T.copy() if transposed else weight
    tensors = {"w": stored, "a": a, "b": b}
    added = LowRank(a=place("a"), b=place("b"), scale=1.5, transposed=transposed)
    tensor = DerivedTensor(name="w", source=place("w"), added=added)
    found = derive(tensor, lambda one: tensors[one.name])
    expected = weight + 1.5 * (b @ a)
    assert np.allclose(found, expected.T if transposed else expected, atol=1e-6)
    assert np.array_equal(tensors["w"], stored)  # nobody else's weight was changed


@pytest.mark.parametrize(
    ("a", "b"), [((2, 4), (6, 2)), ((3, 5), (6, 2)), ((5,), (6, 1)), ((2, 5), (5, 2))], ids=str
)
def test_matrices_that_do_not_fit_are_an_error(a: Any, b: Any) -> None:
    """Nothing is filled up to fit: numpy would do it for some shapes."""
    tensors = {"w": np.ones((6, 5)), "a": np.ones(a), "b": np.ones(b)}
    added = LowRank(a=place("a"), b=place("b"), scale=1.0, transposed=False)
    with pytest.raises(IntegrityError) as caught:
        derive(
            DerivedTensor(name="w", source=place("w"), added=added),
            lambda one: tensors[one.name].astype(np.float32),
        )
    assert caught.value.kind is ErrorKind.TENSOR_VALUES


def test_weights_are_given_as_onnxruntime_reads_them(tmp_path: Path) -> None:
    """Contiguous and aligned, also where a header of odd length moves all tensors."""
    body = np.arange(4, dtype=np.float32).tobytes()
    text = json.dumps({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}})
    text += " " * ((3 - len(text)) % 8)
    path = written(tmp_path, text.encode(), body).rename(tmp_path / "t.safetensors")
    assert SafetensorsFile(path).tensors["a"].offset % 4
    tensor = DerivedTensor(name="w", source=place("a"), added=None)
    (found,) = derived_weights([tensor], {Place.MODEL: tmp_path}).values()
    assert found.flags["ALIGNED"]
    assert found.flags["C_CONTIGUOUS"]
    assert found.tolist() == [[0, 1], [2, 3]]
