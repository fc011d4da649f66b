"""Changes to a pipeline of one's own: modules and a tokenizer that an adapter brought along.

Sentence-Transformers saves a PEFT adapter in place of the encoder and the rest of the pipeline
around it, and loses that rest when such an adapter is loaded onto a base.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pairlock.layouts import check_tokenizer, listing_of, read_peft_modules
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.models.loading import own_weights, unreadable
from pairlock_flavors.torch_runtime.models.residents import (
    SharedSentenceTransformer,
    TokenizerLock,
)
from pairlock_flavors.torch_runtime.models.vocabularies import describe_fast_tokenizer


def put_modules(model: SentenceTransformer, folder: Path) -> None:
    """Replace everything after a pipeline's encoder by what a folder's `modules.json` names.

    Args:
        model: a pipeline of the caller's own.
        folder: proved files, as Sentence-Transformers saved them, without the encoder.

    Raises:
        IntegrityError: Sentence-Transformers cannot build a module from the files.
        InvalidInputError: files are missing, or a list or a setting is malformed.
        UnsupportedError: a module is not packaged by this release.
    """
    listing = listing_of(LocalStore(folder, follow_links=True))
    # the rules of packaging hold for whoever made the package
    modules = {module.place: module for module in read_peft_modules(listing)}
    types = [str(entry["type"]) for entry in listing.read_json("modules.json")]
    for name in list(model._modules)[1:]:
        del model._modules[name]
    for index, type_ in enumerate(types[1:], start=1):
        with unreadable():
            module = _module_class(type_).load(str(folder / modules[index,].folder))
        own_weights(module)
        model.add_module(str(index), module.to(model.device))
    config = "config_sentence_transformers.json"
    known = listing.read_object(config) if listing.has(config) else {}
    model.prompts = {"query": "", "document": "", **(known.get("prompts") or {})}
    model.default_prompt_name = known.get("default_prompt_name")
    model.truncate_dim = known.get("truncate_dim")
    similarity = known.get("similarity_fn_name")
    if similarity in model.SUPPORTED_SIMILARITY_FN_NAMES:
        model.similarity_fn_name = similarity
    model.eval()
    model.requires_grad_(False)


def _module_class(type_: str) -> Any:
    module_path, _, name = type_.rpartition(".")
    if not module_path.startswith("sentence_transformers."):
        raise ValueError(f"{type_} is no module of Sentence-Transformers")
    found = getattr(import_module(module_path), name)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        # one error for whatever a file says
        raise ValueError(f"{type_} is no module of Sentence-Transformers")  # noqa: TRY004
    return found


def put_tokenizer(model: SharedSentenceTransformer, folder: Path) -> None:
    """Give a pipeline the tokenizer in a folder of proved files.

    Raises:
        IntegrityError: transformers cannot build a tokenizer from the files.
        InvalidInputError: its words are not there.
        UnsupportedError: it names code.
    """
    encoder = model[0]
    # Sentence-Transformers 6 calls it a processor, and so does every release for other modalities
    name = "processor" if "processor" in vars(encoder) else "tokenizer"
    setattr(encoder, name, read_tokenizer(folder))
    model.tokenizing = TokenizerLock()


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        IntegrityError: transformers cannot build a tokenizer from the files.
        InvalidInputError: its words are not there.
        UnsupportedError: it names code.
    """
    listing = listing_of(LocalStore(folder, follow_links=True))
    check_tokenizer(listing, "")
    with unreadable():
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    return found


def same_vocabulary(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers turn every text into the same tokens, apart from where they cut it."""
    known = describe_fast_tokenizer(one)
    # one that is written in Python has nothing to compare it by, so it is like no other
    return known is not None and known == describe_fast_tokenizer(other)


def embeddings_rows(model: SentenceTransformer) -> int | None:
    """How many tokens the encoder knows; None where it has no table of them."""
    table = model[0].auto_model.get_input_embeddings()
    return table.num_embeddings if isinstance(table, torch.nn.Embedding) else None
