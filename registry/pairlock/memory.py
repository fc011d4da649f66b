"""Which models this process holds in memory."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

from pairlock._bridge import RESIDENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model in memory. Embeddings on it share its weights, and it goes with the last of them."""

    tree_digest: str
    """Digest of its files: what a base's pin names."""

    runtime: str
    """What computes its vectors: torch or onnx."""

    device: str
    dtype: str
    weights_bytes: int
    """Bytes of its weights; what an adapter adds is its own."""

    loaded_from: str

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON data."""
        return asdict(self)


def resident() -> tuple[Resident, ...]:
    """The models that this process holds in memory, each once, by content, device and dtype.

    In the onnx runtime an adapter that changes the weights is a model of its own on the same files.
    Imports nothing: where no model was loaded yet there is none.
    """
    return tuple(
        Resident(
            tree_digest=found.key.tree_digest,
            runtime=runtime,
            device=found.key.device,
            dtype=found.key.dtype,
            weights_bytes=found.weights_bytes,
            loaded_from=found.loaded_from,
        )
        for runtime, name in RESIDENTS.items()
        if (module := sys.modules.get(name)) is not None
        for found in module.all_residents()
    )
