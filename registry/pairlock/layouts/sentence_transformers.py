"""The folder that Sentence-Transformers writes: which files belong to the model, and which do not.

The rules come from Sentence-Transformers 6.2 (`base/model.py`, `sentence_transformer/model.py`) and
transformers 5.23. Trainers leave optimizer pickles and checkpoints inside the folder, so files are
taken from a list of what belongs, and everything else is reported with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.layouts.listing import Listing
from pairlock.layouts.modules import (
    PEFT_CONFIG,
    SHARD,
    TOKENIZER_FILES,
    WEIGHTS,
    ModuleFolder,
    check_module,
    incomplete,
    read_modules,
    router_config,
)

_BELONGS = re.compile(
    rf"""config\.json | modules\.json | config_sentence_transformers\.json
    | sentence_[a-z0-9-]+_config\.json | README\.md | LICENSE([.]\w+)?
    | model\.safetensors | {SHARD.pattern} | model\.safetensors\.index\.json
    | (cnn|lstm|wordembedding|whitespacetokenizer|phrasetokenizer)_config\.json
    | {TOKENIZER_FILES} | generation_config\.json
    | (pre)?processor_config\.json""",
    re.VERBOSE,
)
_FOREIGN_CONFIG = re.compile(r"\w+_config\.json")
"""How a class of another package may call its configuration (`Module.config_file_name`)."""

_PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)")
_OTHER_RUNTIME = re.compile(r"(onnx|openvino)/.*|.*\.(onnx|h5|msgpack|ot|gguf|xml)")
_ROOT_ONLY = ("modules.json", "config_sentence_transformers.json", "README.md", "LICENSE")
"""What belongs to a model whose encoder has a folder of its own, in the folder above it."""

_SIMILARITIES = (None, "cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceTransformersLayout:
    """A recognised model folder."""

    source: str
    """What it is, for provenance."""

    belonging: tuple[str, ...]
    """Files of the model, in path order."""

    modules: tuple[ModuleFolder, ...]
    """Its modules in order, with those of every route."""

    left_out: tuple[tuple[str, str], ...]
    """Path and reason of every other file."""


def is_sentence_transformers(listing: Listing) -> bool:
    """Whether this looks like a model folder at all, damaged or not."""
    if listing.has("modules.json") or listing.has("config_sentence_transformers.json"):
        return True
    return listing.has("config.json") and "model_type" in listing.read_object("config.json")


def read_sentence_transformers(
    listing: Listing, allowed: frozenset[str] | None = frozenset()
) -> SentenceTransformersLayout:
    """Find the files of a Sentence-Transformers model, or of a bare transformers encoder.

    Args:
        listing: the folder.
        allowed: classes of other packages that it may be made of, as `package.module:Class`; None
            for every class. Nothing is imported.

    Returns:
        The files that belong to the model, and those that do not.

    Raises:
        InvalidInputError: files that the model needs are missing.
        UnsupportedError: the model needs something this release does not package, or a class that
            is not allowed.
    """
    if listing.has("modules.json"):
        modules = read_modules(listing, allowed)
        source = "sentence-transformers folder"
    else:
        _refuse_damaged(listing)
        modules = (ModuleFolder(place=(0,), folder="", name="Transformer"),)
        source = "transformers folder without modules.json (mean pooling)"
    check_settings(listing)
    for module in modules:
        check_module(listing, module)
    folders = {module.folder: module for module in modules}
    belonging, left_out = [], []
    for path in sorted(listing.sizes):
        folder, _, name = path.rpartition("/")
        module_of = folders.get(folder)
        if (module_of and belongs(listing, module_of, name)) or path in _ROOT_ONLY:
            belonging.append(path)
        else:
            # a name that is no Unicode cannot be written down as it is
            name_in_text = path.encode("utf-8", "backslashreplace").decode()
            left_out.append((name_in_text, _why_not(path, folder in folders)))
    return SentenceTransformersLayout(
        source=source,
        belonging=tuple(belonging),
        modules=modules,
        left_out=tuple(left_out),
    )


def belongs(listing: Listing, module: ModuleFolder, name: str) -> bool:
    """Whether a file in a module's folder is one that the module is loaded from."""
    if module.foreign:
        own = bool(_FOREIGN_CONFIG.fullmatch(name)) and name != PEFT_CONFIG
    elif module.name == "Router":
        # whatever else lies in its folder belongs to no route
        return module.at(name) == router_config(listing, module)
    else:
        own = False
    return (own or bool(_BELONGS.fullmatch(name))) and not _shadowed(listing, module, name)


def check_settings(listing: Listing) -> None:
    """Refuse settings of a whole pipeline that Sentence-Transformers would pass over or trip over.

    Raises:
        InvalidInputError: a setting is malformed.
        UnsupportedError: the pipeline gives no dense embeddings.
    """
    path = "config_sentence_transformers.json"
    if not listing.has(path):
        return
    config = listing.read_json(path)
    if not isinstance(config, dict):
        raise incomplete(listing, path, "an object", type(config).__name__)
    model_type = config.get("model_type", "SentenceTransformer")
    if model_type != "SentenceTransformer":
        raise UnsupportedError(
            f"{listing.location} is a {model_type}, which gives no dense embeddings",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"model_type in {path}",
            expected="SentenceTransformer",
            found=str(model_type),
            done="nothing was written",
            hint="package a SentenceTransformer model",
        )
    dimension, similarity = config.get("truncate_dim"), config.get("similarity_fn_name")
    if dimension is not None and (type(dimension) is not int or dimension < 1):
        raise incomplete(listing, path, "a dimension of one or more", f"truncate_dim={dimension!r}")
    if similarity not in _SIMILARITIES:
        # Sentence-Transformers passes over a name that it does not know, and uses cosine
        names = ", ".join(filter(None, _SIMILARITIES))
        raise incomplete(listing, path, names, f"similarity_fn_name={similarity!r}")
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(
        prompt is None or isinstance(prompt, str) for prompt in prompts.values()
    ):
        raise incomplete(listing, path, "a text for each prompt", f"prompts={prompts!r}"[:200])
    if default is not None and default not in [*prompts, "query", "document"]:
        raise incomplete(
            listing, path, "the name of a prompt", f"default_prompt_name={default!r}"[:200]
        )


def _refuse_damaged(listing: Listing) -> None:
    # Without modules.json Sentence-Transformers silently uses mean pooling and no Normalize.
    traces = [
        path
        for path in sorted(listing.sizes)
        if path == "config_sentence_transformers.json"
        or re.fullmatch(r"\d+_[A-Z]\w*/.*|sentence_[\w-]+_config\.json", path)
    ]
    if traces:
        raise InvalidInputError(
            f"{listing.location} is a Sentence-Transformers model without its modules.json",
            kind=ErrorKind.MODEL_INCOMPLETE,
            checked="modules.json",
            expected="the list of modules, beside " + ", ".join(traces[:3]),
            found="no modules.json",
            done="nothing was written; loading it would guess the pooling and change the vectors",
            hint="restore modules.json, or save the model again with SentenceTransformer.save",
        )


def _shadowed(listing: Listing, module: ModuleFolder, name: str) -> bool:
    # transformers prefers model.safetensors; shards beside it are never read
    return listing.has(module.at(WEIGHTS)) and bool(
        re.match(r"model-\d{5}|model\.safetensors\.index", name)
    )


def _why_not(path: str, in_module_folder: bool) -> str:
    if re.search(r"(^|/)checkpoint-\d+/", path):
        return "a training checkpoint"
    if _OTHER_RUNTIME.fullmatch(path):
        return "weights for another runtime"
    if _PICKLE.fullmatch(path):
        return "a pickle; the weights are kept as safetensors"
    if path.endswith(".py"):
        return "code; packages hold none"
    if not in_module_folder:
        return "not in a folder that modules.json names"
    return "not a file that the model is loaded from"
