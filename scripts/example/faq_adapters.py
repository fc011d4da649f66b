"""An adapter class of one's own, as another package would offer it.

A package of such an adapter names the class and holds none of its code. So the code has to be
importable where it is loaded, and allowed there by name:

    PYTHONPATH=. pairlock verify models:/faq/1 --allow-class faq_adapters:Gated
"""

from __future__ import annotations

from typing import Any

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter


class Gated(BaseAdapter):
    """A layer whose output is mixed with its input by a learned gate."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.layer = torch.nn.Linear(in_features, out_features)
        self.gate = torch.nn.Parameter(torch.tensor([0.5]))

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Mix vectors with what the layer makes of them: (n, in_features) to (n, out_features)."""
        return self.gate * torch.tanh(self.layer(embed)) + (1 - self.gate) * embed

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments; LlamaIndex's `save` writes them to `config.json`."""
        return {"in_features": self.in_features, "out_features": self.out_features}
