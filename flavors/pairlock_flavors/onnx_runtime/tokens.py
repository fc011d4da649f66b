"""Texts to tokens by `tokenizers` alone, as the recorded tokenizer of transformers does it."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pairlock.digests import digest_bytes
from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest.compiled import FilePlace, Place, TokenizerFacts

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""The names of a graph's inputs, to those of what `tokenizers` gives."""

KNOWN_INPUTS = tuple(_FIELDS)


class TextTokenizer:
    """A tokenizer with the recorded settings, safe to use from several threads.

    Args:
        path: a proved `tokenizer.json`.
        facts: where to cut, and how to fill up.
        inputs: which of the graph's inputs to make.
        content: the file's bytes, where they were read already.

    Raises:
        IntegrityError: `tokenizers` cannot read the file.
    """

    def __init__(
        self, path: Path, facts: TokenizerFacts, inputs: Sequence[str], content: bytes | None = None
    ) -> None:
        self._inputs = tuple(inputs)
        self._facts = facts
        self._lock = threading.Lock()
        try:
            content = path.read_bytes() if content is None else content
            self._tokenizer = Tokenizer.from_str(content.decode())
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


_held: WeakValueDictionary[Hashable, TextTokenizer] = WeakValueDictionary()
_guard = threading.Lock()


def shared_tokenizer(path: Path, facts: TokenizerFacts, inputs: Sequence[str]) -> TextTokenizer:
    """The tokenizer of a file with some settings, held once per process while anybody uses it.

    A large vocabulary takes a second to read and a hundred megabytes to keep, which all adapters on
    a base would pay again.

    Args:
        path: a proved `tokenizer.json`.
        facts: where to cut, and how to fill up.
        inputs: which of the graph's inputs to make.

    Raises:
        IntegrityError: `tokenizers` cannot read the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    # the same bytes may lie in several places
    settings = replace(facts, file=FilePlace(Place.MODEL, ""))
    key = digest_bytes(content), settings, tuple(inputs)
    with _guard:
        found = _held.get(key)
        if found is None:
            found = _held[key] = TextTokenizer(path, facts, inputs, content)
        return found


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
