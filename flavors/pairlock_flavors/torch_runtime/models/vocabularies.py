"""What a tokenizer does to a text, as data: independent of the files that it came in."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from pairlock_flavors.torch_runtime.models.plain_data import json_digest, plain


def describe_fast_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any] | None:
    """What turns texts into tokens, apart from where they are cut and how they are filled up.

    Both are set at every call. How tokens become texts again plays no part either.

    Returns:
        JSON data; None for a tokenizer that is written in Python.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    known: dict[str, Any] = json.loads(backend.to_str())
    for name in ("truncation", "padding", "decoder"):
        known.pop(name, None)
    return {
        "backend": known,
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "special": sorted(map(str, tokenizer.all_special_tokens)),
    }


def vocabulary_digest(vocabulary: Any) -> str | None:
    """Digest of what a tokenizer does to a text; None for an object that is no tokenizer.

    The order in which a table of words is written does not matter, nor the class that reads it.

    Args:
        vocabulary: what a module keeps: a tokenizer of transformers, tokenizers or
            Sentence-Transformers, or anything else.
    """
    if isinstance(vocabulary, PreTrainedTokenizerBase):
        known = describe_fast_tokenizer(vocabulary) or _describe_python_tokenizer(vocabulary)
        known["inputs"] = list(vocabulary.model_input_names)
        known["template"] = plain(getattr(vocabulary, "chat_template", None))
        known["pad"] = vocabulary.pad_token_id
        return json_digest(known)
    if isinstance(vocabulary, Tokenizer):
        # used as it is, so that what it cuts and fills up counts
        return json_digest(json.loads(vocabulary.to_str()))
    if _is_word_tokenizer(vocabulary):
        own = {name: value for name, value in vars(vocabulary).items() if name != "vocab"}
        inner = own.pop("tokenizer", None)
        known = {"class": type(vocabulary).__name__, "inner": vocabulary_digest(inner)}
        return json_digest({**known, "settings": plain(own)})
    return None


def _is_word_tokenizer(value: Any) -> bool:
    # Sentence-Transformers' own, which split at white space or into known phrases; the base class
    # lies elsewhere in each release
    return any(base.__name__ == "WordTokenizer" for base in type(value).__mro__)


def _describe_python_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Conservative: its class, its words, and every file of them byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_vocabulary(folder)
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    return {
        "class": type(tokenizer).__name__,
        "files": files,
        "words": plain(tokenizer.get_vocab()),
        "settings": plain(
            {
                name: value
                for name, value in tokenizer.init_kwargs.items()
                if isinstance(value, bool | int | float | str)
                and not name.endswith(("_file", "_path", "name_or_path", "local_files_only"))
                and name not in ("is_local", "model_max_length", "max_length")
            }
        ),
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "special": plain(tokenizer.special_tokens_map),
    }
