"""Adapter classes as another package would offer them, and one that nobody should run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter


class Gated(BaseAdapter):
    """A layer whose output is mixed with its input by a learned gate."""

    def __init__(self, in_features: int, out_features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        self.layer = torch.nn.Linear(in_features, out_features)
        self.gate = torch.nn.Parameter(torch.tensor([0.5]))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Mix: (n, in_features) to (n, out_features)."""
        mixed = torch.tanh(self.layer(embed)) * self.scale
        return self.dropout(self.gate * mixed + (1 - self.gate) * embed)

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "scale": self.scale,
        }


class Twin(Gated):
    """The same tensors with another activation: another adapter."""

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Mix: (n, in_features) to (n, out_features)."""
        mixed = torch.relu(self.layer(embed)) * self.scale
        return self.gate * mixed + (1 - self.gate) * embed


class Linear(BaseAdapter):
    """Looks like LlamaIndex's LinearLayer in its folder, and computes something else."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.config = {"in_features": in_features, "out_features": out_features, "bias": bias}
        self.linear = torch.nn.Linear(in_features, out_features, bias=bias)

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Turn: (n, in_features) to (n, out_features)."""
        return -self.linear(embed).flip(-1)

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self.config


class Unwritable(Gated):
    """Its configuration is no JSON."""

    def get_config_dict(self) -> dict[str, Any]:
        """Something that cannot be written down."""
        return {"in_features": self.in_features, "activation": torch.tanh}


def make(name: str, dim: int, folder: Path) -> BaseAdapter:
    """A seeded adapter, saved by its own `save`."""
    torch.manual_seed(21)
    classes: dict[str, type[BaseAdapter]] = {"Gated": Gated, "Twin": Twin, "Linear": Linear}
    adapter = classes[name](dim, dim)
    adapter.save(str(folder))
    return adapter.eval()
