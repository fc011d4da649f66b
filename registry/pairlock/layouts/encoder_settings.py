"""What the settings of an encoder may ask of Sentence-Transformers and transformers.

Sentence-Transformers 6.2 hands `sentence_bert_config.json` to its constructor as it is
(`base/modules/transformer.py`), which also takes a path to another tokenizer, and arguments for
transformers that name kernels on the hub, other files, or weights that may be made up. No file of a
model decides on any of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.layouts.listing import Listing

SETTINGS_FILE = re.compile(r"sentence_[\w-]+_config\.json")
"""Older releases wrote the name of the architecture into it."""

_SETTINGS = (
    "transformer_task",
    "modality_config",
    "module_output_name",
    "processing_kwargs",
    "unpad_inputs",
    "query_length",
    "document_length",
    "query_expansion",
    "max_seq_length",
    "do_lower_case",
)
"""What Sentence-Transformers itself saves, by today's and by older names."""

_MODEL = ("add_pooling_layer",)
_TOKENIZER = ("model_max_length", "padding_side", "truncation_side", "do_lower_case")
_ARGUMENTS = {
    "model_args": _MODEL,
    "model_kwargs": _MODEL,
    "tokenizer_args": _TOKENIZER,
    "processor_kwargs": _TOKENIZER,
    "config_args": (),
    "config_kwargs": (),
}
"""Arguments for transformers, and those that change nothing but the numbers of the model's own."""

_TASK = "feature-extraction"
_ATTENTION = ("eager", "sdpa", "flash_attention_2")
"""Implementations that transformers ships; another name is looked up on the hub."""


def check_encoder_settings(listing: Listing, folder: str) -> None:
    """Refuse an encoder whose settings lead out of the model's folder.

    Args:
        listing: the model's folder.
        folder: the encoder's own; empty for the model's.

    Raises:
        UnsupportedError: they do.
    """
    for path in sorted(listing.sizes):
        parent, _, name = path.rpartition("/")
        if parent == folder and SETTINGS_FILE.fullmatch(name):
            _check(path, listing.read_object(path))
    path = f"{folder}/config.json" if folder else "config.json"
    if listing.has(path):
        for name in ("attn_implementation", "_attn_implementation"):
            found = listing.read_object(path).get(name)
            if found is not None and found not in _ATTENTION:
                raise _refused(path, name, found, ", ".join(_ATTENTION))


def _check(path: str, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name in _ARGUMENTS:
            if not isinstance(value, dict):
                raise _refused(path, name, value, "an object")
            for key, inner in value.items():
                if key not in _ARGUMENTS[name] and inner is not None:
                    expected = ", ".join(_ARGUMENTS[name]) or "no argument"
                    raise _refused(path, f"{name}: {key}", inner, expected)
        elif name not in _SETTINGS and value is not None:
            raise _refused(path, name, value, ", ".join(_SETTINGS))
    if (task := settings.get("transformer_task", _TASK)) != _TASK:
        raise _refused(path, "transformer_task", task, _TASK)


def _refused(path: str, name: str, found: object, expected: str) -> UnsupportedError:
    return UnsupportedError(
        "the encoder's settings ask for more than its own files",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked=f"{name[:80]} in {path}",
        expected=expected,
        found=repr(found)[:200],
        done="nothing was loaded or written",
        hint="load the model with Sentence-Transformers where you trust it, and save it again with "
        "SentenceTransformer.save",
    )
