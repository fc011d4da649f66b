"""Records how texts become tokens, and proves that `tokenizers` alone does the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from pairlock.manifest import EncodeSettings, Role
from pairlock.manifest.compiled import FilePlace, Place, TokenizerFacts
from pairlock_flavors.onnx_runtime.tokens import TextTokenizer
from pairlock_flavors.packaging.graphs.exporting import features_of
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.torch_runtime.models.vocabularies import describe_fast_tokenizer

OWN_NAME = "tokenizer.json"
"""A tokenizer beside the graph, where the model's own file does not say all of it."""

_TASKS = {Role.QUERY: "query", Role.TEXT: "document"}


def record_tokenizer(
    model: SentenceTransformer,
    settings: EncodeSettings,
    kept: FilePlace | None,
    kept_file: Path | None,
    runtime_folder: Path,
) -> TokenizerFacts:
    """Say how a pipeline's texts become tokens.

    Args:
        model: the pipeline.
        settings: what was recorded of it.
        kept: the `tokenizer.json` among the proved files, if there is one.
        kept_file: where it lies.
        runtime_folder: where one is written that says more.

    Raises:
        NotExportedError: its tokenizer is written in Python.
    """
    tokenizer: Any = model.tokenizer
    known = describe_fast_tokenizer(tokenizer)
    if known is None:
        raise NotExportedError(f"its tokenizer, {type(tokenizer).__name__}, is written in Python")
    if tokenizer.pad_token is None:
        raise NotExportedError("its tokenizer has nothing to fill texts up with")
    file = kept
    if kept_file is None or not _says_all(kept_file, known["backend"]):
        file = FilePlace(Place.RUNTIME, OWN_NAME)
        whole = {"truncation": None, "padding": None, "decoder": None, **known["backend"]}
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        (runtime_folder / OWN_NAME).write_text(text, encoding="utf-8")
    assert file is not None
    return TokenizerFacts(
        file=file,
        max_tokens=settings.max_seq_length,
        cut_side=tokenizer.truncation_side,
        pad_id=tokenizer.pad_token_id,
        pad_token=tokenizer.pad_token,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_side=tokenizer.padding_side,
    )


def check_tokens(
    model: SentenceTransformer,
    settings: EncodeSettings,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
) -> None:
    """Prove that a recorded tokenizer gives what the pipeline's own does.

    Args:
        model: the pipeline.
        settings: what was recorded of it.
        tokenizer: the recorded one.
        texts: what to compare on.

    Raises:
        NotExportedError: it does not.
    """
    for role in Role:
        is_query = role is Role.QUERY
        prompt = settings.query_instruction if is_query else settings.text_instruction
        expected, _ = features_of(model, list(texts), prompt=prompt, task=_TASKS[role])
        found = tokenizer.batch(tokenizer.encode([prompt + text for text in texts]))
        same = expected.keys() == found.keys() and all(
            np.array_equal(expected[name].numpy(), found[name]) for name in found
        )
        if not same:
            raise NotExportedError("tokenizers alone gives other tokens than transformers with it")


def _says_all(path: Path, backend: dict[str, Any]) -> bool:
    """Whether a file gives just this tokenizer, apart from what is set at every call."""
    try:
        found: dict[str, Any] = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception:  # noqa: BLE001 - tokenizers raises bare Exceptions
        return False
    for name in ("truncation", "padding", "decoder"):
        found.pop(name, None)
    return found == backend
