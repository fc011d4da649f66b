"""Every family that people finetune gets a graph, and it computes what torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pairlock
from support.families import FAMILIES, save_family
from support.graphs import assert_as_torch, compiled_of, log_graph
from support.registries import package_folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_computes_what_torch_does(name: str, shared_registry: Any, tmp_path: Path) -> None:
    """By its own tokenizer, positions, attention and pooling, on any text in any batch."""
    uri = log_graph(shared_registry, save_family(name, tmp_path / name), f"family-{name}")
    assert_as_torch(uri)
    assert compiled_of(uri).derived == ()  # every weight is mapped from the model's own file


@pytest.mark.parametrize(
    ("name", "dtype"), [("roberta", torch.float16), ("qwen3", torch.bfloat16)], ids=str
)
def test_half_precision_is_widened(
    name: str, dtype: torch.dtype, shared_registry: Any, tmp_path: Path
) -> None:
    """A model that is saved in half precision is computed in float32, by its golden vectors."""
    folder = save_family(name, tmp_path / name, dtype=dtype)
    uri = log_graph(shared_registry, folder, f"half-{name}")
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx")
    proof = pairlock.receipt(lean)
    assert (proof.runtime, proof.device, proof.dtype) == ("onnx", "cpu", "float32")
    assert all(tensor.added is None for tensor in compiled_of(uri).derived)
    (held,) = [one for one in pairlock.resident() if one.runtime == "onnx"]
    size = (package_folder(uri) / "payload" / "model" / "model.safetensors").stat().st_size
    # twice the bytes of the file, whose header is a small part of it
    assert held.dtype == "float32"
    assert 1.5 * size < held.weights_bytes < 2.5 * size
