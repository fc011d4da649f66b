"""The folder that Sentence-Transformers writes: which files belong to the model, and which do not.

The rules come from Sentence-Transformers 6.2 (`base/model.py`, `base/modules/*.py`) and
transformers 5.23. Trainers leave optimizer pickles and checkpoints inside the folder, so files are
taken from a list of what belongs, and everything else is reported with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.layouts.listing import Listing

PROVED_MODULES = ("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm")
"""Sentence-Transformers modules that this release packages; each is proved by a test."""

BELONGS = re.compile(
    r"""config\.json | modules\.json | config_sentence_transformers\.json
    | sentence_[a-z0-9-]+_config\.json | README\.md | LICENSE([.]\w+)?
    | model\.safetensors | model-\d{5}-of-\d{5}\.safetensors | model\.safetensors\.index\.json
    | tokenizer\.json | tokenizer_config\.json | special_tokens_map\.json | added_tokens\.json
    | vocab\.txt | vocab\.json | merges\.txt | unigram\.json | bpe\.codes
    | [\w.-]+\.model | chat_template\.(jinja|json) | generation_config\.json
    | (pre)?processor_config\.json""",
    re.VERBOSE,
)
"""Names of files that a module is loaded from."""

_PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)")
_OTHER_RUNTIME = re.compile(r"(onnx|openvino)/.*|.*\.(onnx|h5|msgpack|ot|gguf|xml)")
# A module class of Sentence-Transformers is imported by this dotted path; anything else is code
# that the artifact brings along.
_MODULE_TYPE = re.compile(r"sentence_transformers\.(?:[a-z_]+\.)*([A-Za-z]+)")
_SAFE_PATH = re.compile(r"(|[\w-]+(/[\w-]+)*)")
_ROOT_ONLY = ("modules.json", "config_sentence_transformers.json", "README.md", "LICENSE")
"""What belongs to a model whose encoder has a folder of its own, in the folder above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceTransformersLayout:
    """A recognised model folder."""

    source: str
    """What it is, for provenance."""

    belonging: tuple[str, ...]
    """Files of the model, in path order."""

    encoder_folder: str
    """Where the encoder's weights are; empty for the folder itself."""

    left_out: tuple[tuple[str, str], ...]
    """Path and reason of every other file."""


def is_sentence_transformers(listing: Listing) -> bool:
    """Whether this looks like a model folder at all, damaged or not."""
    if listing.has("modules.json") or listing.has("config_sentence_transformers.json"):
        return True
    return listing.has("config.json") and "model_type" in listing.read_object("config.json")


def read_sentence_transformers(listing: Listing) -> SentenceTransformersLayout:
    """Find the files of a Sentence-Transformers model, or of a bare transformers encoder.

    Args:
        listing: the folder.

    Returns:
        The files that belong to the model, and those that do not.

    Raises:
        InvalidInputError: files that the model needs are missing.
        UnsupportedError: the model needs something this release does not package.
    """
    if listing.has("modules.json"):
        folders = module_folders(listing)
        source = "sentence-transformers folder"
    else:
        _refuse_damaged(listing)
        folders = {"": "Transformer"}
        source = "transformers folder without modules.json (mean pooling)"
    _refuse_other_architectures(listing)
    for folder, module in folders.items():
        check_module(listing, folder, module)
    belonging, left_out = [], []
    for path in sorted(listing.sizes):
        folder, _, name = path.rpartition("/")
        belongs = BELONGS.fullmatch(name) and not _shadowed(listing, path)
        if (folder in folders and belongs) or path in _ROOT_ONLY:
            belonging.append(path)
        else:
            # a name that is no Unicode cannot be written down as it is
            name_in_text = path.encode("utf-8", "backslashreplace").decode()
            left_out.append((name_in_text, _why_not(path, folder in folders)))
    return SentenceTransformersLayout(
        source=source,
        belonging=tuple(belonging),
        encoder_folder=next(iter(folders)),
        left_out=tuple(left_out),
    )


def module_folders(listing: Listing) -> dict[str, str]:
    """The modules of a pipeline, in order: folder to module name.

    Raises:
        InvalidInputError: modules.json is damaged.
        UnsupportedError: a module is of a class that this release does not package.
    """
    modules = listing.read_json("modules.json")
    if not isinstance(modules, list) or not modules:
        raise _incomplete(listing, "modules.json", "a list of modules", "something else")
    folders: dict[str, str] = {}
    for module in modules:
        if not isinstance(module, dict):
            raise _incomplete(listing, "modules.json", "module objects", repr(module))
        folder, type_ = module.get("path"), str(module.get("type"))
        if not isinstance(folder, str) or not _SAFE_PATH.fullmatch(folder):
            raise _incomplete(listing, "modules.json", "paths inside the folder", repr(folder))
        if folder in folders:
            raise _incomplete(listing, "modules.json", "a folder for each module", repr(folder))
        folders[folder] = _module_name(type_)
    return folders


def _module_name(type_: str) -> str:
    match = _MODULE_TYPE.fullmatch(type_)
    if match is None:
        raise UnsupportedError(
            f"the model runs code of its own: {type_}",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the module types in modules.json",
            expected="modules that Sentence-Transformers ships",
            found=type_,
            done="nothing was written; the code was not imported",
            hint="rebuild the model from Sentence-Transformers' own modules",
        )
    if match.group(1) not in PROVED_MODULES:
        raise UnsupportedError(
            f"models with a {match.group(1)} module are not packaged by this release",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the module types in modules.json",
            expected=", ".join(PROVED_MODULES),
            found=type_,
            done="nothing was written",
            hint="package a model made of the modules listed",
        )
    return match.group(1)


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


def _refuse_other_architectures(listing: Listing) -> None:
    if listing.has("config_sentence_transformers.json"):
        config = listing.read_object("config_sentence_transformers.json")
        model_type = config.get("model_type", "SentenceTransformer")
        if model_type != "SentenceTransformer":
            raise UnsupportedError(
                f"{listing.location} is a {model_type}, which gives no dense embeddings",
                kind=ErrorKind.KIND_UNSUPPORTED,
                checked="model_type in config_sentence_transformers.json",
                expected="SentenceTransformer",
                found=str(model_type),
                done="nothing was written",
                hint="package a SentenceTransformer model",
            )


def check_module(listing: Listing, folder: str, module: str) -> None:
    """Check that a module's files are there, and that nothing in them is code.

    Raises:
        InvalidInputError: a file is missing.
        UnsupportedError: the module needs something this release does not package.
    """

    def at(name: str) -> str:
        return f"{folder}/{name}" if folder else name

    if module == "Transformer":
        if listing.has(at("adapter_config.json")):
            raise UnsupportedError(
                "the model carries a PEFT adapter: recognised, but not packaged by this release",
                kind=ErrorKind.KIND_UNSUPPORTED,
                checked=at("adapter_config.json"),
                expected="a model without one",
                found="an adapter beside the encoder",
                done="nothing was written",
                hint="merge the adapter into the model and save the merged model",
            )
        config = _need_config(listing, at("config.json"))
        if "auto_map" in config:
            raise UnsupportedError(
                "the model needs code that it brings along",
                kind=ErrorKind.KIND_UNSUPPORTED,
                checked=f"auto_map in {at('config.json')}",
                expected="an architecture that transformers ships",
                found=str(config["auto_map"]),
                done="nothing was written; the code was not imported",
                hint="use a model whose architecture is part of transformers",
            )
        tokenizers = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer_config.json")
        if not any(listing.has(at(name)) for name in tokenizers):
            # transformers would guess a tokenizer from the config alone, and change every vector
            raise _incomplete(listing, at("tokenizer.json"), "a tokenizer", "none")
        _need_weights(listing, folder)
    elif module == "Dense":
        activation = str(_need_config(listing, at("config.json")).get("activation_function", ""))
        if activation and not activation.startswith("torch.nn."):
            # Sentence-Transformers logs a line and uses Tanh instead
            raise UnsupportedError(
                f"the Dense module in {folder} uses {activation}",
                kind=ErrorKind.KIND_UNSUPPORTED,
                checked=f"activation_function in {at('config.json')}",
                expected="an activation of torch",
                found=activation,
                done="nothing was written; the code was not imported",
                hint="rebuild the module with an activation of torch.nn",
            )
        _need_weights(listing, folder)
    elif module == "LayerNorm":
        _need_config(listing, at("config.json"))
        _need_weights(listing, folder)
    elif module == "Pooling":
        _need_config(listing, at("config.json"))


def _need_config(listing: Listing, path: str) -> dict[str, Any]:
    if not listing.has(path):
        raise _incomplete(listing, path, "the module's configuration", "nothing")
    return listing.read_object(path)


def _need_weights(listing: Listing, folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    index = f"{prefix}model.safetensors.index.json"
    if listing.has(f"{prefix}model.safetensors"):
        return
    if listing.has(index):
        weight_map = listing.read_object(index).get("weight_map")
        shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        # a shard under another name would not be packaged
        missing = sorted(
            shard
            for shard in shards
            if not BELONGS.fullmatch(shard) or not listing.has(f"{prefix}{shard}")
        )
        if shards and not missing:
            return
        raise _incomplete(
            listing, index, "names of shards that are there", f"missing: {', '.join(missing)}"
        )
    pickles = [
        path
        for path in sorted(listing.sizes)
        if re.fullmatch(re.escape(prefix) + r"pytorch_model(-\d+-of-\d+)?\.bin", path)
    ]
    if pickles:
        raise InvalidInputError(
            f"{listing.location} holds its weights only as a pickle",
            kind=ErrorKind.UNSAFE_PICKLE,
            checked=f"weights in {folder or 'the folder itself'}",
            expected="model.safetensors",
            found=", ".join(pickles[:5]),
            done="nothing was written; the pickle was not opened",
            hint="save the model as safetensors: SentenceTransformer(path).save(other_path)",
        )
    raise _incomplete(listing, f"{prefix}model.safetensors", "the weights", "nothing")


def _shadowed(listing: Listing, path: str) -> bool:
    # transformers prefers model.safetensors; shards beside it are never read
    folder = path.rpartition("/")[0]
    single = f"{folder}/model.safetensors" if folder else "model.safetensors"
    name = path.rpartition("/")[2]
    return listing.has(single) and bool(re.match(r"model-\d{5}|model\.safetensors\.index", name))


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


def _incomplete(listing: Listing, path: str, expected: str, found: str) -> InvalidInputError:
    return InvalidInputError(
        f"the model in {listing.location} is not complete",
        kind=ErrorKind.MODEL_INCOMPLETE,
        checked=path,
        expected=expected,
        found=found,
        done="nothing was written",
        hint="save the model again with SentenceTransformer.save, or restore the file",
    )
