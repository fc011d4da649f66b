"""Reads a Sentence-Transformers model from a folder of proved files, and cuts every tie to them.

The library is given a local folder and forbidden everything else: no hub, no code from the
artifact, no guessed dtype.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from pairlock.errors import ErrorKind, IntegrityError


def load_sentence_transformer(
    folder: AbstractContextManager[Path], *, device: str, dtype: str | None
) -> SentenceTransformer:
    """Load a model from a folder of proved files, and cut every tie to them.

    Args:
        folder: gives the folder for the time of the read.
        device: a torch device that is there.
        dtype: float32, float16 or bfloat16; None for what the weights were saved in.

    Returns:
        The model in `eval()` mode, with weights of its own.

    Raises:
        IntegrityError: the libraries cannot build a model from the files.
    """
    with folder as path, no_progress_bar(), unreadable():
        model = SentenceTransformer(
            str(path),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": dtype or "auto"},
        )
        own_weights(model)
    model.eval()
    return model


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar for a load, which no library call should."""
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


@contextmanager
def unreadable() -> Iterator[None]:
    """Turn whatever the libraries say of files that are no model into one error.

    Raises:
        IntegrityError: in place of what a library raised.
    """
    try:
        yield
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, OSError) as error:
        raise IntegrityError(
            "no model can be built from the files",
            kind=ErrorKind.TENSOR_KEYS,
            checked="configuration, tokenizer and weights, by Sentence-Transformers",
            expected="a model whose weights fit its configuration",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}",
            done="nothing was loaded or written",
            hint="save the model again with SentenceTransformer.save; if it loads elsewhere, "
            "compare the library versions there with `pairlock doctor`",
        ) from error


def own_weights(model: torch.nn.Module) -> None:
    """Copy every tensor out of the files it is mapped from.

    transformers maps safetensors files into memory: a store written to in place would change the
    vectors of a live process, and a truncated file would kill it.
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()
