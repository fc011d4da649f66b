"""What a loaded model does to a text, as a manifest records it, and whether it still does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, Finding, IntegrityError
from pairlock.layouts import ModuleFolder
from pairlock.manifest import EncodeSettings
from pairlock.manifest.format import DTYPES
from pairlock_flavors.torch_runtime.models.loading import (
    is_own,
    is_router,
    no_progress_bar,
    unreadable,
    walk,
)

_UNLIMITED = 1_000_000
"""Tokenizers without a limit report 1e30 tokens, WordEmbeddings this number, StaticEmbedding
infinity."""


def describe(model: SentenceTransformer, *, normalize: bool = False) -> EncodeSettings:
    """What a loaded model does to a text, as a manifest records it.

    Args:
        model: the model.
        normalize: whether a wrapper normalises on top of the model's own modules.
    """
    names: list[str] = []
    pooling: list[str] = []
    for place, module in walk(model):
        name = type(module).__name__
        # a module of a route is told from one that every text passes through
        names.append("/".join([str(part) for part in place[1:] if isinstance(part, str)] + [name]))
        if name == "Pooling" and is_own(module):
            mode = module.pooling_mode
            pooling += [mode] if isinstance(mode, str) else list(mode)  # type: ignore[arg-type]
    return EncodeSettings(
        modules=tuple(names),
        pooling=tuple(str(mode) for mode in pooling),
        normalize=normalize,
        max_seq_length=max_seq_length(model),
        query_instruction=effective_prompt(model, ("query",)),
        text_instruction=effective_prompt(model, ("document", "passage", "corpus")),
        truncate_dim=model.truncate_dim,
        similarity=_similarity(model),
        foreign_modules=foreign_modules(model),
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


def dimension_of(model: SentenceTransformer, settings: EncodeSettings) -> int:
    """Dimension of a model's vectors with settings that may cut them."""
    own = int(model.get_embedding_dimension())
    return min(own, settings.truncate_dim or own)


def apply_settings(model: SentenceTransformer, settings: EncodeSettings) -> None:
    """Give a model the recorded settings, and refuse one that is built otherwise.

    Raises:
        IntegrityError: modules or pooling differ from what was recorded.
    """
    # a Router hands one length to all its routes, which may have lengths of their own
    if settings.max_seq_length not in (None, max_seq_length(model)):
        model.max_seq_length = settings.max_seq_length
    # a model that names a dimension would cut vectors for which none was recorded
    model.truncate_dim = settings.truncate_dim
    found = describe(model)
    findings = tuple(
        Finding(kind=ErrorKind.ENCODE_SETTINGS, place=name, expected=str(wanted), found=str(has))
        for name, wanted, has in (
            ("modules", settings.modules, found.modules),
            ("pooling", settings.pooling, found.pooling),
            ("max_seq_length", settings.max_seq_length, found.max_seq_length),
            ("foreign_modules", settings.foreign_modules, found.foreign_modules),
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


def weight_findings(
    model: SentenceTransformer, root: Path, modules: tuple[ModuleFolder, ...]
) -> tuple[Finding, ...]:
    """Weights that a loaded model did not take from its files, so that a library made them up.

    Args:
        model: the model as it was loaded from the files, in the dtype they were saved in.
        root: the model's folder.
        modules: its modules; see `pairlock.layouts`.

    Returns:
        A finding for every tensor that the files do not hold, or hold with other values.

    Raises:
        IntegrityError: the files cannot be read.
    """
    loaded = dict(walk(model))
    findings: list[Finding] = []
    # a module that two routes share is looked at once
    for folder, part in {module.folder: module for module in modules}.items():
        inner = loaded[part.place]
        path = root / folder
        missing: list[str] = []
        changed: list[str] = []
        with no_progress_bar(), unreadable():
            if hasattr(inner, "auto_model"):
                missing = _missing_from_encoder(inner.auto_model, path)
            elif is_router(inner):
                continue
            else:
                missing, changed = _compare_with_file(inner, path / "model.safetensors")
        findings += [
            Finding(kind=ErrorKind.TENSOR_KEYS, place=place, expected="a tensor", found="nothing")
            for place in map(part.at, missing)
        ]
        findings += [
            Finding(
                kind=ErrorKind.TENSOR_VALUES,
                place=place,
                expected="the values in the file",
                found="values that are not in the file",
            )
            for place in map(part.at, changed)
        ]
    return tuple(findings)


def _missing_from_encoder(encoder: Any, path: Path) -> list[str]:
    """Tensors that transformers would make up, by its own report.

    A pooler that nothing reads is not counted: many encoders are saved without one.
    """
    _, report = type(encoder).from_pretrained(
        str(path), config=encoder.config, output_loading_info=True, local_files_only=True
    )
    named = list(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    return sorted(
        key for key in named if not key.startswith(("pooler.", "embeddings.position_ids"))
    )


def _compare_with_file(module: torch.nn.Module, path: Path) -> tuple[list[str], list[str]]:
    """Tensors that a module's file lacks, and those that the module has with other values.

    Sentence-Transformers itself never reads the weights of some modules that it saves them for
    (WordWeights, 6.2), and code of other packages may do anything.
    """
    wanted = module.state_dict()
    if not wanted or not path.exists():
        return sorted(wanted), []
    with safe_open(path, framework="pt") as file:
        there = set(file.keys())
        if "embedding.weight" in wanted and "embeddings" in there:
            # model2vec's own names: Sentence-Transformers folds its tensors into one
            return [], []
        # safetensors writes tensors that share their memory once
        held = {wanted[name].data_ptr() for name in there & wanted.keys()}
        missing = [name for name in wanted.keys() - there if wanted[name].data_ptr() not in held]
        changed = [
            name
            for name in there & wanted.keys()
            if not torch.equal(file.get_tensor(name).to(wanted[name].dtype), wanted[name].cpu())
        ]
    return sorted(missing), sorted(changed)


def saved_dtype(model: SentenceTransformer) -> str:
    """The torch dtype of a model's weights, by its manifest name; one without any: float32.

    Where modules differ, the first one's is given, or one that no manifest has a name for.
    """
    found = [
        str(tensor.dtype).removeprefix("torch.")
        for tensor in model.parameters()
        if tensor.dtype.is_floating_point
    ]
    strange = [name for name in found if name not in DTYPES]
    return next(iter([*strange, *found]), "float32")


def max_seq_length(model: SentenceTransformer) -> int | None:
    """Tokens after which texts are cut; the longest where routes differ, as the library has it."""
    modules = dict(walk(model))
    inputs = [modules[(0,)]]
    if is_router(inputs[0]):
        inputs = [inner for place, inner in modules.items() if place[0] == 0 and place[-1] == 0]
    known = [length_of(module) for module in inputs if not is_router(module)]
    return max((length for length in known if length is not None), default=None)


def length_of(module: torch.nn.Module) -> int | None:
    """Tokens after which one module cuts texts; None where it has no limit, or takes no texts."""
    length: Any = getattr(module, "max_seq_length", None)
    return int(length) if length is not None and length < _UNLIMITED else None


def foreign_modules(model: SentenceTransformer) -> tuple[str, ...]:
    """Import paths of the classes of other packages that a model is made of, each once."""
    # a class is called as the model's list of modules calls it, and may lie elsewhere by now
    named = {class_: name for name, class_ in getattr(model, "_module_classes", {}).items()}
    found = []
    for _, module in walk(model):
        if not is_own(module):
            class_ = type(module)
            name = named.get(class_, f"{class_.__module__}.{class_.__qualname__}")
            found.append(":".join(name.rsplit(".", 1)))
    return tuple(dict.fromkeys(found))


def _similarity(model: SentenceTransformer) -> str | None:
    # the property fills in cosine when it is read; the attribute below is what was saved
    name = getattr(model, "_similarity_fn_name", None)
    return None if name is None else str(getattr(name, "value", name))
