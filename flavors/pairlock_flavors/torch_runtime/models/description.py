"""What a loaded model does to a text, as a manifest records it, and whether it still does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, Finding, IntegrityError
from pairlock.manifest import EncodeSettings
from pairlock_flavors.torch_runtime.models.loading import no_progress_bar, unreadable

_UNLIMITED = 1_000_000
"""Tokenizers without a limit report 1e30 tokens."""


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
    with no_progress_bar(), unreadable():
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
