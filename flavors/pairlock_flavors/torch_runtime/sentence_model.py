"""A Sentence-Transformers model that was loaded from proved files, and how it encodes.

The library is given a local folder and forbidden everything else: no hub, no code from the
artifact, no guessed dtype.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from pairlock.errors import ErrorKind, Finding, IntegrityError
from pairlock.manifest import EncodeSettings, Role

_UNLIMITED = 1_000_000
"""Tokenizers without a limit report 1e30 tokens."""


class SentenceModel:
    """A model on a device, safe to use from several threads.

    Args:
        model: the loaded model.
        settings: what was recorded; applied to the model here.
        batch_size: texts that are encoded at once.
    """

    def __init__(
        self, model: SentenceTransformer, settings: EncodeSettings, *, batch_size: int
    ) -> None:
        self.model = model
        self.settings = settings
        self.batch_size = batch_size
        # A fast tokenizer keeps padding and truncation in itself: two threads would mix them.
        self._lock = threading.Lock()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: any number of texts.
            role: which instruction they get.

        Returns:
            (n_texts, dim) float32.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        is_query = role is Role.QUERY
        settings = self.settings
        with self._lock:
            vectors = self.model.encode(
                list(texts),
                prompt=settings.query_instruction if is_query else settings.text_instruction,
                task="query" if is_query else "document",
                batch_size=self.batch_size,
                normalize_embeddings=settings.normalize,
                truncate_dim=settings.truncate_dim,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return np.asarray(vectors, dtype=np.float32)

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        own = int(self.model.get_embedding_dimension())
        return min(own, self.settings.truncate_dim or own)


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
    with folder as path, _no_progress_bar(), _unreadable():
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
def _no_progress_bar() -> Iterator[None]:
    # transformers draws a bar for every load, which no library call should
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


@contextmanager
def _unreadable() -> Iterator[None]:
    # whatever the libraries say of files that are no model they can build
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


def describe(model: SentenceTransformer, *, normalize: bool = False) -> EncodeSettings:
    """What a loaded model does to a text, as a manifest records it.

    Args:
        model: the model.
        normalize: whether a wrapper normalises on top of the model's own modules.
    """
    names, pooling = [], []
    for module in model:
        name = type(module).__name__
        names.append(name)
        if name == "Pooling":
            mode = module.pooling_mode
            pooling += [mode] if isinstance(mode, str) else list(mode)
    length = model.max_seq_length
    return EncodeSettings(
        modules=tuple(names),
        pooling=tuple(str(mode) for mode in pooling),
        normalize=normalize,
        max_seq_length=None if length is None or length > _UNLIMITED else int(length),
        query_instruction=effective_prompt(model, ("query",)),
        text_instruction=effective_prompt(model, ("document", "passage", "corpus")),
        truncate_dim=model.truncate_dim,
        similarity=_similarity(model),
    )


def effective_prompt(model: SentenceTransformer, names: tuple[str, ...]) -> str:
    """The prompt that `encode_query` or `encode_document` would use.

    They take the first of the names that the model has, else its default prompt
    (Sentence-Transformers 6.2, `sentence_transformer/model.py`).
    """
    for name in names:
        if name in model.prompts:
            return str(model.prompts[name] or "")
    return str(model.prompts.get(model.default_prompt_name) or "")


def apply_settings(model: SentenceTransformer, settings: EncodeSettings) -> None:
    """Give a model the recorded settings, and refuse one that is built otherwise.

    Raises:
        IntegrityError: modules or pooling differ from what was recorded.
    """
    if settings.max_seq_length is not None:
        model.max_seq_length = settings.max_seq_length
    found = describe(model)
    findings = tuple(
        Finding(kind=ErrorKind.ENCODE_SETTINGS, place=name, expected=str(wanted), found=str(has))
        for name, wanted, has in (
            ("modules", settings.modules, found.modules),
            ("pooling", settings.pooling, found.pooling),
            ("max_seq_length", settings.max_seq_length, found.max_seq_length),
        )
        if wanted != has
    )
    if findings:
        raise IntegrityError(
            "the model was built otherwise than recorded",
            kind=ErrorKind.ENCODE_SETTINGS,
            checked="the modules that Sentence-Transformers built from the proved files",
            findings=findings,
            done="nothing was loaded",
            hint="install the library versions listed in the package's requirements.txt",
        )


def missing_weights(model: SentenceTransformer, path: Path) -> list[str]:
    """Weights that the files do not hold, so that transformers would make them up.

    A pooler that nothing reads is not counted: many encoders are saved without one.
    """
    inner: Any = model[0].auto_model
    with _no_progress_bar(), _unreadable():
        _, report = type(inner).from_pretrained(
            str(path), config=inner.config, output_loading_info=True, local_files_only=True
        )
    named = list(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    return sorted(
        key for key in named if not key.startswith(("pooler.", "embeddings.position_ids"))
    )


def saved_dtype(model: SentenceTransformer) -> str:
    """The torch dtype of a model's weights, by its manifest name."""
    parameter = next(model.parameters())
    return str(parameter.dtype).removeprefix("torch.")


def _similarity(model: SentenceTransformer) -> str | None:
    # the property fills in cosine when it is read; the attribute below is what was saved
    name = getattr(model, "_similarity_fn_name", None)
    return None if name is None else str(getattr(name, "value", name))
