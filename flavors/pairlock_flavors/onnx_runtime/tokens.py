"""Texts to tokens by `tokenizers` alone, as the recorded tokenizer of transformers does it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest.compiled import TokenizerFacts

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""The names of a graph's inputs, to those of what `tokenizers` gives."""

KNOWN_INPUTS = tuple(_FIELDS)


class TextTokenizer:
    """A tokenizer with the recorded settings, safe to use from several threads.

    Args:
        path: a proved `tokenizer.json`.
        facts: where to cut, and how to fill up.
        inputs: which of the graph's inputs to make.

    Raises:
        IntegrityError: `tokenizers` cannot read the file.
    """

    def __init__(self, path: Path, facts: TokenizerFacts, inputs: Sequence[str]) -> None:
        self._inputs = tuple(inputs)
        self._facts = facts
        self._lock = threading.Lock()
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:
            # tokenizers raises bare Exceptions for whatever a file says
            raise _unreadable(path, error) from error
        self._tokenizer.no_padding()
        if facts.max_tokens is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(
                facts.max_tokens, strategy="longest_first", direction=facts.cut_side
            )

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokens of each text, cut and not filled up."""
        with self._lock:  # a tokenizer keeps its settings in itself
            return self._tokenizer.encode_batch(list(texts))

    def batch(self, encodings: Sequence[Encoding]) -> dict[str, NDArray[np.int64]]:
        """Tokens of some texts as the graph's inputs, filled up to the longest.

        Returns:
            Every input, (n_texts, n_tokens) int64.
        """
        # a text without a token is a row of filling, as it is beside a longer one
        longest = max(1, *(len(encoding) for encoding in encodings))
        facts = self._facts
        fillers = {
            "input_ids": facts.pad_id,
            "attention_mask": 0,
            "token_type_ids": facts.pad_type_id,
        }
        made = {}
        for name in self._inputs:
            rows = np.full((len(encodings), longest), fillers[name], dtype=np.int64)
            for row, encoding in zip(rows, encodings, strict=True):
                values = getattr(encoding, _FIELDS[name])
                if facts.pad_side == "right":
                    row[: len(values)] = values
                elif values:
                    row[-len(values) :] = values
            made[name] = rows
        return made


def _unreadable(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{path.name} is no tokenizer that the installed tokenizers can read",
        kind=ErrorKind.LIBRARY_VERSION,
        checked=str(path),
        expected="a tokenizer.json",
        found=str(error)[:300],
        done="nothing was loaded",
        hint="install the version of tokenizers that the package was made with; `pairlock show` "
        "names it",
    )
