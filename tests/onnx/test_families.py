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

HALF = {"roberta": torch.float16, "qwen3": torch.bfloat16}
"""Families that are saved in half precision here; the others are in float32."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_computes_what_torch_does(name: str, shared_registry: Any, tmp_path: Path) -> None:
    """By its own tokenizer, positions, attention and pooling, on any text in any batch."""
    folder = save_family(name, tmp_path / name, dtype=HALF.get(name, torch.float32))
    uri = log_graph(shared_registry, folder, f"family-{name}")
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx")
    proof = pairlock.receipt(lean)
    assert (proof.runtime, proof.device, proof.dtype) == ("onnx", "cpu", "float32")
    (held,) = [one for one in pairlock.resident() if one.runtime == "onnx"]
    size = (package_folder(uri) / "payload" / "model" / "model.safetensors").stat().st_size
    # bytes of the weights in float32: a file's header is a small part of it
    times = 2 if name in HALF else 1
    assert 0.7 * times * size < held.weights_bytes < 1.3 * times * size
    # weights are mapped from the model's own file, or all of them are widened
    assert bool(compiled_of(uri).derived) == (name in HALF)
    assert all(tensor.added is None for tensor in compiled_of(uri).derived)
