"""Whether a folder holds the words of its tokenizer.

transformers 5.23 builds most tokenizers from their settings alone, with a vocabulary of a few
special tokens: every word is unknown then, and no error says so.
"""

from __future__ import annotations

import re

from pairlock.layouts.listing import Listing

_WITHOUT_WORDS = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Tokenizers whose tokens are bytes or characters."""

_WORDS = re.compile(r"tokenizer\.json|vocab\.txt|unigram\.json|bpe\.codes|[\w.-]+\.model")


def has_vocabulary(listing: Listing, folder: str) -> bool:
    """Whether a tokenizer in a folder has its words there, or needs none.

    Args:
        listing: the model's folder, or the adapter's.
        folder: the tokenizer's; empty for the folder itself.
    """
    prefix = f"{folder}/" if folder else ""
    names = {
        path.removeprefix(prefix) for path in listing.sizes if path.rpartition("/")[0] == folder
    }
    if any(_WORDS.fullmatch(name) for name in names):
        return True
    if {"vocab.json", "merges.txt"} <= names:  # neither says enough without the other
        return True
    path = f"{prefix}tokenizer_config.json"
    known = listing.read_object(path) if listing.has(path) else {}
    return known.get("tokenizer_class") in _WITHOUT_WORDS
