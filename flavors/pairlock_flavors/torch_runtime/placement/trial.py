"""What a model takes: its weights, and a batch that is really embedded when it is packaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from pairlock.golden import golden_texts
from pairlock.manifest import DeviceHints, Trial
from pairlock_flavors.torch_runtime.models.description import max_seq_length
from pairlock_flavors.torch_runtime.placement.live_tensors import counting, weights_bytes

ORDER = ("cuda", "mps", "cpu")
"""Device types to try for `device="auto"`, best first."""

_BUDGET = 25_000_000_000
"""Tokens times weights that a trial may multiply: 5e10 floating-point operations, some 1.2 s on one
busy core, where MiniLM at 32 x 256 tokens was measured at 44 GFLOP/s."""

_FLOAT16_COSTS = 8
"""How much longer float16 takes on a CPU without float16 arithmetic: MiniLM took 3.1 s where
bfloat16 took 0.4 s (torch 2.13, one core)."""


def measure_hints(
    model: SentenceTransformer,
    *,
    dtype: str,
    batch_size: int,
    max_length: int | None,
    extra_weights_bytes: int = 0,
) -> DeviceHints:
    """Measure what a model takes, for its manifest.

    Args:
        model: the model, or an adapter's base, on the CPU, in the dtype it is to run in.
        dtype: that dtype's name.
        batch_size: texts that are to be encoded at once.
        max_length: tokens after which a text is cut; None where nothing is cut.
        extra_weights_bytes: bytes of what is put on the model, such as an adapter.

    Returns:
        The hints. The same model under the same library versions has the same hints.
    """
    return DeviceHints(
        dtype=dtype,
        order=ORDER,
        weights_bytes=weights_bytes(model) + extra_weights_bytes,
        batch_size=batch_size,
        attention=attention_of(model),
        trial=try_batch(model, batch_size=batch_size, max_length=max_length),
    )


def try_batch(model: SentenceTransformer, *, batch_size: int, max_length: int | None) -> Trial:
    """Embed one batch of the longest texts, and measure what is alive beside the weights.

    The texts are as long as the model reads, or some 800 tokens where it has no limit. The batch is
    as large as `batch_size` or as a second of computing allows, whichever is less, and at least one
    text: that one costs no more than one of the four times that packaging embeds the longest golden
    text.

    Measured: the tensors of the batch that was tried, on the CPU. Extrapolated, by
    `DeviceHints.batch_bytes`: a larger batch, in proportion to its texts. Not counted: what kernels
    take for themselves, what an allocator rounds up, the libraries and a device's own context, and,
    where only one text was tried, the mask that padding needs.

    Args:
        model: the model, on the CPU.
        batch_size: texts that are to be encoded at once.
        max_length: tokens after which a text is cut; None where nothing is cut.

    Returns:
        The batch and its peak, in bytes.
    """
    text = long_text(max_length)
    with _cut_at(model, max_length):
        features = _preprocess(model, [text])
        tokens = _tokens(features, text)
        texts = [text] * _affordable(model, tokens, batch_size)
        if len(texts) > 1 and "attention_mask" in features:
            texts[-1] = "short"  # padding needs a mask, which takes memory of its own
        with counting(model) as live:
            model.encode(
                texts,
                batch_size=len(texts),
                task="document",
                convert_to_tensor=True,
                show_progress_bar=False,
            )
    return Trial(batch_size=len(texts), max_length=tokens, peak_bytes=live.peak_bytes)


def attention_of(model: torch.nn.Module) -> str | None:
    """The name of the attention implementation, such as `sdpa`; None without a transformer."""
    for module in model.modules():
        name = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if name is not None:
            return str(name)
    return None


def long_text(max_length: int | None) -> str:
    """A text of at least as many tokens as a model reads."""
    return golden_texts(max_length)[-1]


@contextmanager
def _cut_at(model: SentenceTransformer, max_length: int | None) -> Iterator[None]:
    before = model.max_seq_length
    # routes may have lengths of their own, and some modules cut nothing
    cuts = max_length not in (None, max_seq_length(model))
    if cuts:
        model.max_seq_length = max_length
    try:
        yield
    finally:
        if cuts:
            model.max_seq_length = before


def _affordable(model: SentenceTransformer, tokens: int, batch_size: int) -> int:
    each = max(1, tokens * _multiplied_weights(model))
    if any(parameter.dtype is torch.float16 for parameter in model.parameters()):
        each *= _FLOAT16_COSTS
    return min(batch_size, max(1, _BUDGET // each))


def _multiplied_weights(model: torch.nn.Module) -> int:
    """Weights that every token is multiplied with: all but those that are looked up."""
    looked_up = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, looked_up)}
    return sum(p.numel() for p in model.parameters() if id(p) not in tables)


def _preprocess(model: SentenceTransformer, texts: Sequence[str]) -> dict[str, Any]:
    # `tokenize` before Sentence-Transformers 5.2
    found: dict[str, Any] = getattr(model, "preprocess", model.tokenize)(list(texts))
    return found


def _tokens(features: dict[str, Any], text: str) -> int:
    """Tokens of the one text: rows of padded ids, or all ids in one flat row."""
    ids = features.get("input_ids")
    return max(1, int(ids.shape[-1]) if isinstance(ids, torch.Tensor) else len(text.split()))
