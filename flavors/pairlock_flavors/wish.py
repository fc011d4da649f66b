"""What the caller of a load asks for beyond the model."""

from __future__ import annotations

from dataclasses import dataclass

INTERFACES = ("llama_index", "callable")
"""What a load returns: a LlamaIndex embedding, or a plain function of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The arguments of `pairlock.load` that say how, and not what."""

    runtime: str | None = None
    """`torch`, `onnx` or `auto`; None for what the settings say."""

    interface: str = "llama_index"
    """See `INTERFACES`."""

    device: str = "auto"
    dtype: str | None = None
    merge: bool | None = None
    base: str | None = None
    golden: bool = False
    expected_digest: str | None = None
