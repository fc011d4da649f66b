"""The modules of a Sentence-Transformers model: which there are, where they lie, what each needs.

The rules come from Sentence-Transformers 6.2 (`base/modules/*.py`,
`sentence_transformer/modules/*.py`), and so do the names of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.layouts.encoder_settings import check_encoder_settings
from pairlock.layouts.listing import Listing
from pairlock.layouts.vocabularies import has_vocabulary
from pairlock.manifest.format import CLASS_PATH

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
PEFT_CONFIG = "adapter_config.json"
TOKENIZER_FILES = r"""tokenizer\.json | tokenizer_config\.json | special_tokens_map\.json
    | added_tokens\.json | vocab\.txt | vocab\.json | merges\.txt | unigram\.json | bpe\.codes
    | [\w.-]+\.model | chat_template\.(jinja|json)"""
"""Names of the files that a tokenizer is saved in, for a verbose regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The files that a module cannot be loaded from its folder without."""

    config: str | None = "config.json"
    weights: bool = False
    tokenizers: tuple[str, ...] = ()
    """One of these is enough."""


MODULES = {
    "Transformer": Needs(weights=True),
    "StaticEmbedding": Needs(config=None, weights=True, tokenizers=("tokenizer.json",)),
    "WordEmbeddings": Needs(
        config="wordembedding_config.json",
        weights=True,
        tokenizers=("whitespacetokenizer_config.json", "phrasetokenizer_config.json"),
    ),
    "BoW": Needs(),
    "Router": Needs(config="router_config.json"),
    "WordWeights": Needs(weights=True),
    "WeightedLayerPooling": Needs(weights=True),
    "CNN": Needs(config="cnn_config.json", weights=True),
    "LSTM": Needs(config="lstm_config.json", weights=True),
    "Pooling": Needs(),
    "Dense": Needs(weights=True),
    "LayerNorm": Needs(weights=True),
    "Dropout": Needs(),
    # older releases saved nothing for it
    "Normalize": Needs(config=None),
}
"""Sentence-Transformers modules that this release packages; each is proved by a test."""

_OLD_NAMES = {"Asym": "Router"}
_OLD_CONFIG = {"Router": "config.json"}
_REFUSED = {
    "CLIPModel": "it embeds images; only texts are embedded here",
}
_WORD_TOKENIZERS = {
    "WhitespaceTokenizer": "whitespacetokenizer_config.json",
    "PhraseTokenizer": "phrasetokenizer_config.json",
}
_CODE_KEYS_IN = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)

# A module class of Sentence-Transformers is imported by this dotted path; anything else is code of
# another package, or code that the folder brings along.
_OWN_TYPE = re.compile(r"sentence_transformers\.(?:\w+\.)*(\w+)", re.ASCII)
_SAFE_NAME = re.compile(r"[\w-]+([. ][\w-]+)*")
_SAFE_PATH = re.compile(r"(|[\w-]+(/[\w-]+)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFolder:
    """A module of a model, and where its files lie."""

    place: tuple[int | str, ...]
    """Where it is in the model: its index, and below a Router the route and the index in it."""

    folder: str
    """Its folder; empty for the model's own."""

    name: str
    """Its class, by today's name."""

    foreign: str | None = None
    """Import path of a class that Sentence-Transformers does not ship: `package.module:Class`."""

    def at(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.folder}/{name}" if self.folder else name


def read_modules(listing: Listing, allowed: frozenset[str] | None) -> tuple[ModuleFolder, ...]:
    """Every module that `modules.json` names, and every module of their routes.

    Args:
        listing: the model's folder.
        allowed: foreign classes that may be named; None for every class. Nothing is imported.

    Returns:
        The modules in order. A module that two routes share is there once for each of them.

    Raises:
        InvalidInputError: the list of modules, or of routes, is malformed.
        UnsupportedError: a module is not packaged by this release, or its class is not allowed.
    """
    document = listing.read_json("modules.json")
    if not isinstance(document, list) or not document:
        raise incomplete(listing, "modules.json", "a list of modules", "something else")
    folders: set[str] = set()
    found: list[ModuleFolder] = []
    for index, entry in enumerate(document):
        if not isinstance(entry, dict):
            raise incomplete(listing, "modules.json", "module objects", repr(entry))
        folder = entry.get("path")
        folder = "" if folder == "." else folder  # as model2vec writes it
        if not isinstance(folder, str) or not _SAFE_PATH.fullmatch(folder):
            raise incomplete(listing, "modules.json", "paths inside the folder", repr(folder))
        name, foreign = _class_of(str(entry.get("type")), "modules.json", allowed)
        module = ModuleFolder(place=(index,), folder=folder, name=name, foreign=foreign)
        tree = [module, *_routed(listing, module, allowed)]
        new = {part.folder for part in tree}
        if shared := sorted(new & folders):
            raise incomplete(listing, "modules.json", "a folder for each module", repr(shared[0]))
        folders |= new
        found += tree
    return tuple(found)


def router_config(listing: Listing, module: ModuleFolder) -> str:
    """Path of a Router's configuration, under today's name or the older one."""
    path = module.at("router_config.json")
    old = module.at(_OLD_CONFIG["Router"])
    return old if not listing.has(path) and listing.has(old) else path


def check_module(listing: Listing, module: ModuleFolder) -> None:
    """Refuse a module whose files are not all there, or that would run code of the folder's.

    Raises:
        InvalidInputError: a file is missing, or the weights are there only as a pickle.
        UnsupportedError: it holds an adapter or code, or something that this release does not do.
    """
    for name in _CODE_KEYS_IN:
        refuse_code(listing, module.at(name))
    if module.name == "Transformer" or module.foreign:
        _refuse_adapter(listing, module)
        check_encoder_settings(listing, module.folder)
    if module.foreign:
        if _pickled_weights(listing, module):
            need_weights(listing, module)
        return
    needs = MODULES[module.name]
    config: dict[str, Any] = {}
    if module.name == "Router":
        config = _need_config(listing, router_config(listing, module))
    elif needs.config:
        config = _need_config(listing, module.at(needs.config))
    if needs.tokenizers and not any(listing.has(module.at(name)) for name in needs.tokenizers):
        raise incomplete(listing, module.at(needs.tokenizers[0]), "a tokenizer", "none")
    if module.name == "Transformer":
        check_tokenizer(listing, module.folder)
    if module.name == "WordEmbeddings":
        _check_word_tokenizer(listing, module, str(config.get("tokenizer_class")))
    if module.name == "Dense":
        _check_activation(module, str(config.get("activation_function", "")))
    if needs.weights:
        need_weights(listing, module)


def refuse_code(listing: Listing, path: str) -> None:
    """Refuse a configuration that names code in its folder.

    Raises:
        UnsupportedError: it does.
    """
    if listing.has(path) and "auto_map" in (config := listing.read_object(path)):
        raise UnsupportedError(
            "the model needs code that it brings along",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"auto_map in {path}",
            expected="an architecture that transformers ships",
            found=str(config["auto_map"]),
            done="nothing was loaded or written; the code was not imported",
            hint="use a model whose architecture is part of transformers",
        )


def check_tokenizer(listing: Listing, folder: str) -> None:
    """Refuse a tokenizer of transformers that would be made up, or that needs code of its own.

    Args:
        listing: the model's folder, or the adapter's.
        folder: the tokenizer's; empty for the folder itself.

    Raises:
        InvalidInputError: its words are not there.
        UnsupportedError: it names code.
    """
    prefix = f"{folder}/" if folder else ""
    refuse_code(listing, f"{prefix}tokenizer_config.json")
    if not has_vocabulary(listing, folder):
        # transformers would guess one, and change every vector
        raise incomplete(listing, f"{prefix}tokenizer.json", "a tokenizer with its words", "none")


def need_weights(listing: Listing, module: ModuleFolder) -> None:
    """Refuse a module that has no weights as safetensors.

    Raises:
        InvalidInputError: they are missing, or there only as a pickle.
    """
    if listing.has(module.at(WEIGHTS)):
        return
    index = module.at(WEIGHTS_INDEX)
    if listing.has(index):
        weight_map = listing.read_object(index).get("weight_map")
        shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        # a shard under another name would not be packaged
        missing = sorted(
            shard
            for shard in shards
            if not SHARD.fullmatch(shard) or not listing.has(module.at(shard))
        )
        if shards and not missing:
            return
        raise incomplete(
            listing, index, "names of shards that are there", f"missing: {', '.join(missing)}"
        )
    if pickles := _pickled_weights(listing, module):
        raise InvalidInputError(
            f"{listing.location} holds its weights only as a pickle",
            kind=ErrorKind.UNSAFE_PICKLE,
            checked=f"weights in {module.folder or 'the folder itself'}",
            expected=WEIGHTS,
            found=", ".join(pickles[:5]),
            done="nothing was written; the pickle was not opened",
            hint="save the model as safetensors: SentenceTransformer(path).save(other_path)",
        )
    raise incomplete(listing, module.at(WEIGHTS), "the weights", "nothing")


def incomplete(listing: Listing, path: str, expected: str, found: str) -> InvalidInputError:
    """The error for a model that lacks something."""
    return InvalidInputError(
        f"the model in {listing.location} is not complete",
        kind=ErrorKind.MODEL_INCOMPLETE,
        checked=path,
        expected=expected,
        found=found,
        done="nothing was written",
        hint="save the model again with SentenceTransformer.save, or restore the file",
    )


def _class_of(type_: str, where: str, allowed: frozenset[str] | None) -> tuple[str, str | None]:
    """A module's name, and the import path of its class where another package ships it."""
    if own := _OWN_TYPE.fullmatch(type_):
        name = _OLD_NAMES.get(own[1], own[1])
        if name in MODULES:
            return name, None
        raise UnsupportedError(
            f"models with a {name} module are not packaged by this release",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"the module types in {where}",
            expected=", ".join(MODULES),
            found=type_,
            done="nothing was written",
            hint=_REFUSED.get(name, "package a model made of the modules listed"),
        )
    path = ":".join(type_.rsplit(".", 1))
    if not re.fullmatch(CLASS_PATH, path):
        raise UnsupportedError(
            f"the model has a module of no class: {type_!r}",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"the module types in {where}",
            expected="classes such as sentence_transformers.models.Pooling",
            found=type_,
            done="nothing was written; nothing was imported",
            hint="save the model again with SentenceTransformer.save",
        )
    if allowed is not None and path not in allowed:
        raise UnsupportedError(
            f"the model runs a class that Sentence-Transformers does not ship: {path}",
            kind=ErrorKind.CLASS_NOT_ALLOWED,
            checked=f"the module types in {where}",
            expected="modules that Sentence-Transformers ships, and classes that are allowed: "
            + (", ".join(sorted(allowed)) or "none"),
            found=type_,
            done="nothing was written; the code was not imported",
            hint="if you trust that class as it is installed here, allow it: "
            f"PAIRLOCK_ALLOW_CLASSES={path}. Code in the model's folder is never run",
        )
    return type_.rpartition(".")[2], path


def _routed(
    listing: Listing, router: ModuleFolder, allowed: frozenset[str] | None
) -> Iterator[ModuleFolder]:
    """The modules under a Router, in the order of its routes."""
    if router.name != "Router" or router.foreign:
        return
    path = router_config(listing, router)
    config = _need_config(listing, path)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict) or not structure:
        raise incomplete(listing, path, "types and structure of the routes", str(sorted(config)))
    if not all(_SAFE_NAME.fullmatch(key) for key in types):
        raise incomplete(listing, path, "names of folders", ", ".join(map(repr, types)))
    for route, keys in structure.items():
        if not isinstance(keys, list) or not keys or not set(map(str, keys)) <= types.keys():
            raise incomplete(listing, path, "routes made of the types", f"{route}: {keys}")
        for index, key in enumerate(keys):
            name, foreign = _class_of(str(types[key]), path, allowed)
            module = ModuleFolder(
                place=(*router.place, route, index),
                folder=router.at(key),
                name=name,
                foreign=foreign,
            )
            yield module
            yield from _routed(listing, module, allowed)


def _need_config(listing: Listing, path: str) -> dict[str, Any]:
    if not listing.has(path):
        raise incomplete(listing, path, "the module's configuration", "nothing")
    return listing.read_object(path)


def _pickled_weights(listing: Listing, module: ModuleFolder) -> list[str]:
    if listing.has(module.at(WEIGHTS)) or listing.has(module.at(WEIGHTS_INDEX)):
        return []
    pattern = re.escape(module.at("")) + r"pytorch_model(-\d+-of-\d+)?\.bin"
    return [path for path in sorted(listing.sizes) if re.fullmatch(pattern, path)]


def _refuse_adapter(listing: Listing, module: ModuleFolder) -> None:
    if listing.has(module.at(PEFT_CONFIG)):
        raise UnsupportedError(
            "the model carries a PEFT adapter: recognised, but not packaged by this release",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=module.at(PEFT_CONFIG),
            expected="a model without one",
            found="an adapter beside the encoder",
            done="nothing was written",
            hint="merge the adapter into the model and save the merged model",
        )


def _check_activation(module: ModuleFolder, activation: str) -> None:
    if activation and not activation.startswith("torch.nn."):
        # Sentence-Transformers logs a line and uses Tanh instead
        raise UnsupportedError(
            f"the Dense module in {module.folder} uses {activation}",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"activation_function in {module.at('config.json')}",
            expected="an activation of torch",
            found=activation,
            done="nothing was written; the code was not imported",
            hint="rebuild the module with an activation of torch.nn",
        )


def _check_word_tokenizer(listing: Listing, module: ModuleFolder, class_: str) -> None:
    own = _OWN_TYPE.fullmatch(class_)
    name = own[1] if own else class_
    if own is None or name not in _WORD_TOKENIZERS:
        raise UnsupportedError(
            f"the WordEmbeddings module in {module.folder or 'the folder'} splits texts by {name}",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"tokenizer_class in {module.at('wordembedding_config.json')}",
            expected=" or ".join(_WORD_TOKENIZERS),
            found=class_,
            done="nothing was written; the code was not imported",
            hint="Sentence-Transformers 6.2 can embed neither queries nor documents with a "
            "TransformersTokenizerWrapper; use StaticEmbedding for a tokenizer of transformers",
        )
    if not listing.has(module.at(_WORD_TOKENIZERS[name])):
        raise incomplete(listing, module.at(_WORD_TOKENIZERS[name]), "a tokenizer", "none")
