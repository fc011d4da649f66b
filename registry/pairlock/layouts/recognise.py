"""Tells by content, never by name, what a folder is."""

from __future__ import annotations

from collections.abc import Callable

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.layouts.listing import Listing
from pairlock.layouts.llama_index import (
    AdapterLayout,
    is_llama_index_adapter,
    read_llama_index_adapter,
)
from pairlock.layouts.peft import PeftLayout, is_peft, read_peft
from pairlock.layouts.sentence_transformers import (
    SentenceTransformersLayout,
    is_sentence_transformers,
    read_sentence_transformers,
)
from pairlock.manifest import MANIFEST_NAME

Layout = SentenceTransformersLayout | AdapterLayout | PeftLayout

# PEFT comes first: a LoRA saved by Sentence-Transformers also holds modules.json.
_ADAPTERS: tuple[tuple[Callable[[Listing], bool], Callable[[Listing], Layout]], ...] = (
    (is_peft, read_peft),
    (is_llama_index_adapter, read_llama_index_adapter),
)

ACCEPTED = (
    "a Sentence-Transformers folder (modules.json and the folders that it names)",
    "a transformers encoder folder (config.json with model_type, model.safetensors, a tokenizer)",
    "a LlamaIndex adapter folder (config.json with in_features, pytorch_model.bin)",
    "a PEFT folder (adapter_config.json)",
)
"""What is recognised, for messages."""


def recognise(listing: Listing, allowed: frozenset[str] | None = frozenset()) -> Layout:
    """Say what a folder holds.

    Args:
        listing: the folder.
        allowed: classes of other packages that a model may be made of, as `package.module:Class`;
            None for every class, where only the files are asked for. Nothing is imported.

    Returns:
        The layout, with the files that belong to it.

    Raises:
        InvalidInputError: it is none of the layouts, or an incomplete one.
        UnsupportedError: it is one that this release does not package.
    """
    if listing.has(MANIFEST_NAME) or listing.has("MLmodel"):
        raise _unknown(listing, "an MLflow model", "pass its URI, or the folder it was made from")
    for matches, read in _ADAPTERS:
        if matches(listing):
            return read(listing)
    if is_sentence_transformers(listing):
        return read_sentence_transformers(listing, allowed)
    raise _unknown(listing, _summary(listing), "point at the folder that the trainer saved")


def _unknown(listing: Listing, found: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"{listing.location} is no model folder that Pairlock knows",
        kind=ErrorKind.LAYOUT_UNKNOWN,
        checked="the files in it",
        expected="one of: " + "; ".join(ACCEPTED),
        found=found,
        done="nothing was written",
        hint=hint,
    )


def _summary(listing: Listing) -> str:
    paths = sorted(listing.sizes)
    if not paths:
        return "an empty folder"
    more = f" and {len(paths) - 12} more" if len(paths) > 12 else ""
    return ", ".join(paths[:12]) + more
