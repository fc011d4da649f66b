"""Registered models to promote, and short ways to ask about their stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock.promotion.facts.opened import open_ledger
from support.models import save_model
from support.peft_adapters import METHODS, save, trained

LINEAR_1, LINEAR_2, LORA_1, LORA_2, FULL, RESAVED, OTHER = range(1, 8)
"""Versions of `model`: two linear adapters and two LoRAs on `models:/base/1`, a full model, the
same saved again by its own library, and a full model with other weights."""

VERSIONS = range(LINEAR_1, OTHER + 1)


def fill(registry: Any, folder: Path) -> None:
    """Log the base and every version, once."""
    base = save_model(folder / "base", seed=1)
    full = save_model(folder / "full", seed=2)
    registry.log(str(base), "base")
    for seed in (1, 2):
        registry.log(
            str(save_linear(folder / f"linear{seed}", seed)), "model", base="models:/base/1"
        )
    for steps in (2, 8):
        lora = save(trained(base, METHODS["lora"](), steps=steps), folder / f"lora{steps}")
        registry.log(str(lora), "model", base="models:/base/1")
    registry.log(str(full), "model")
    again = folder / "again"
    SentenceTransformer(str(full), device="cpu").save(str(again), create_model_card=False)
    registry.log(str(again), "model")
    registry.log(str(save_model(folder / "other", seed=3)), "model")


def save_linear(folder: Path, seed: int, *, dim: int = 32) -> Path:
    """A linear adapter near the identity."""
    from llama_index.embeddings.adapter import LinearLayer

    torch.manual_seed(seed)
    layer = LinearLayer(dim, dim)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.eye(dim) + 0.1 * torch.randn(dim, dim))
    layer.save(str(folder))
    return folder


class Stages:
    """The stages of one registered model.

    Args:
        registry: where it is.
        name: its name; it is made, with a copy of every version of `model`.
    """

    def __init__(self, registry: Any, name: str) -> None:
        self.registry = registry
        self.name = name
        for version in VERSIONS:
            registry.client.copy_model_version(f"models:/model/{version}", name)

    def promote(self, version: int, to: str = "production", **kwargs: Any) -> Any:
        """Promote a version."""
        return pairlock.promote(self.name, version, to=to, **kwargs)

    def aliases(self) -> dict[str, int]:
        """MLflow's aliases."""
        found = self.registry.client.get_registered_model(self.name).aliases
        return {alias: int(version) for alias, version in found.items()}

    def tags(self) -> dict[str, str]:
        """The tags of the registered model."""
        return dict(self.registry.client.get_registered_model(self.name).tags)

    def ledger(self) -> Path:
        """The folder of the ledger's entries."""
        return Path(open_ledger(self.name)[1].location) / "entries"

    def files(self) -> dict[str, bytes]:
        """The ledger as it lies on disk."""
        return {path.name: path.read_bytes() for path in sorted(self.ledger().glob("*.json"))}

    def snapshot(self) -> tuple[Any, ...]:
        """Everything that an act can change."""
        return self.files(), self.aliases(), self.tags()
