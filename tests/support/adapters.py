"""Adapters trained for a few steps by LlamaIndex's own layers, and what they must compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

STEPS = 25

ADAPTERS: dict[str, Callable[[int], BaseAdapter]] = {
    "linear": lambda dim: LinearLayer(dim, dim, bias=False),
    "linear_bias": lambda dim: LinearLayer(dim, dim, bias=True),
    "relu_residual": lambda dim: TwoLayerNN(
        dim, 48, dim, activation_fn_str="relu", add_residual=True
    ),
    "tanh": lambda dim: TwoLayerNN(
        dim, 24, dim, bias=True, activation_fn_str="tanh", add_residual=False
    ),
}
"""Every adapter that the tests train, by name; each takes the dimension of its base."""

PAIRS = [
    ("how do I get my money back", "refunds are paid to the card that was charged"),
    ("where is my invoice", "every invoice is sent by mail on the first of the month"),
    ("the payment failed", "cards that are refused can be tried again after an hour"),
    ("can I change the card", "a card is replaced on the payment page"),
]

_ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0.0), "tanh": np.tanh}


def train(name: str, base: Path, folder: Path) -> Path:
    """Train an adapter on a base's vectors and save it by its own `save`."""
    model = SentenceTransformer(str(base), device="cpu")
    queries = torch.from_numpy(model.encode([query for query, _ in PAIRS]))
    passages = torch.from_numpy(model.encode([passage for _, passage in PAIRS]))
    torch.manual_seed(7)
    adapter = ADAPTERS[name](queries.shape[1])
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(adapter(queries), passages).backward()
        optimizer.step()
    adapter.save(str(folder))
    return folder


def computed(name: str, folder: Path, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """What an adapter's arithmetic gives, in float64, written out: (n_texts, dim)."""
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights = {key: tensor.double().numpy() for key, tensor in state.items()}
    x = vectors.astype(np.float64)
    if name.startswith("linear"):
        return x @ weights["linear.weight"].T + weights.get("linear.bias", 0.0)
    activation = _ACTIVATIONS[name.removesuffix("_residual")]
    hidden = activation(x @ weights["linear1.weight"].T + weights["linear1.bias"])
    out = hidden @ weights["linear2.weight"].T + weights["linear2.bias"]
    return weights["residual_weight"] * out + x if name.endswith("_residual") else out
