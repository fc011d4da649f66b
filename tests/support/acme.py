"""Adapter classes as another package would offer them, and one that nobody should run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter
from sentence_transformers.models import Module


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


class Tied(Gated):
    """Two layers with one weight."""

    def __init__(self, in_features: int, out_features: int, scale: float = 1.0) -> None:
        super().__init__(in_features, out_features, scale)
        self.second = torch.nn.Linear(in_features, out_features, bias=False)
        self.second.weight = self.layer.weight

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Mix twice, and write to what it was given: (n, in_features) to (n, out_features)."""
        return embed.add_(self.second(self.layer(embed)))


class Growing(Gated):
    """A constructor that writes to its arguments."""

    def __init__(self, in_features: int, out_features: int, seen: list[int]) -> None:
        super().__init__(in_features, out_features)
        seen.append(len(seen))
        self.seen = seen

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments, as they are by now."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "seen": self.seen,
        }


class Restless(Gated):
    """Another output at every call."""

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Noise: (n, in_features) to (n, out_features)."""
        return embed + 0.1 * torch.randn_like(embed)


class Hidden(Gated):
    """A tensor that no file holds."""

    def __init__(self, in_features: int, out_features: int, scale: float = 1.0) -> None:
        super().__init__(in_features, out_features, scale)
        self.register_buffer("noise", torch.randn(out_features), persistent=False)

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Shift: (n, in_features) to (n, out_features)."""
        return embed + self.noise


class Scaling(Module):
    """A module of a model, such as Sentence-Transformers does not ship."""

    config_keys: ClassVar[list[str]] = ["factor"]

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        """Scale the vectors of texts."""
        return {**features, "sentence_embedding": features["sentence_embedding"] * self.factor}

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the configuration, which is all there is."""
        self.save_config(output_path)


def make(name: str, dim: int, folder: Path) -> BaseAdapter:
    """A seeded adapter, saved by its own `save`."""
    torch.manual_seed(21)
    own = [Gated, Twin, Linear, Tied, Restless, Hidden]
    classes: dict[str, type[BaseAdapter]] = {found.__name__: found for found in own}
    adapter = classes[name](dim, dim)
    adapter.save(str(folder))
    return adapter.eval()
