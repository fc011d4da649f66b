"""LlamaIndex's own adapter layers, rebuilt from what the manifest says about them."""

from __future__ import annotations

from pathlib import Path

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN

from pairlock.manifest import LayerFacts
from pairlock_flavors.layer_shapes import layer_shapes
from pairlock_flavors.torch_runtime.adapters.tensors import (
    check_taken,
    check_tensors,
    read_tensors,
)


def load_layer(path: Path, facts: LayerFacts, *, device: str) -> BaseAdapter:
    """Rebuild a layer from a package.

    Args:
        path: the safetensors file.
        facts: what the manifest says about it.
        device: where to put it.

    Returns:
        The layer in float32 and `eval()` mode.

    Raises:
        IntegrityError: the tensors are not exactly those of the recorded class.
    """
    tensors = read_tensors(path)
    check_tensors(layer_shapes(facts), tensors, what=f"a {facts.class_name}", where=path.name)
    return settle(_construct(facts), tensors, device=device)


def settle(adapter: BaseAdapter, tensors: dict[str, torch.Tensor], *, device: str) -> BaseAdapter:
    """Fill an adapter with proved tensors: float32, on its device, never training.

    Raises:
        IntegrityError: the adapter did not take every one of them, as when two share one place.
    """
    adapter.load_state_dict(tensors, strict=True)
    check_taken(
        adapter.state_dict(),
        tensors,
        who=f"the {type(adapter).__name__}",
        hint="install the version of the package that the adapter was trained with",
    )
    adapter.to(device=torch.device(device), dtype=torch.float32)
    adapter.eval()
    adapter.requires_grad_(False)
    return adapter


def _construct(facts: LayerFacts) -> BaseAdapter:
    if facts.class_name == "LinearLayer":
        # LinearLayer seeds itself with eye(in, out), which only fits a square weight; the seed is
        # replaced at once, so a non-square layer is built without it
        layer = LinearLayer(facts.in_features, facts.in_features, bias=facts.bias)
        if facts.out_features != facts.in_features:
            layer.linear = torch.nn.Linear(facts.in_features, facts.out_features, bias=facts.bias)
            layer.out_features = facts.out_features
        return layer
    return TwoLayerNN(
        facts.in_features,
        facts.hidden_features,
        facts.out_features,
        bias=facts.bias,
        activation_fn_str=facts.activation,
        add_residual=facts.add_residual,
    )
