"""Reads a Sentence-Transformers model from a folder of proved files, and cuts every tie to them.

The library is given a local folder and forbidden everything else: no hub, no code from the
artifact, no guessed dtype. Classes that it does not ship are imported here, where they are allowed,
and handed to it: its own way to them would look into the folder for code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from pairlock.errors import ErrorKind, IntegrityError, UnsupportedError
from pairlock.layouts import ModuleFolder, listing_of, read_sentence_transformers
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.foreign_classes import import_class


def load_sentence_transformer(
    folder: AbstractContextManager[Path],
    *,
    device: str,
    dtype: str | None,
    allowed: frozenset[str],
) -> SentenceTransformer:
    """Load a model from a folder of proved files, and cut every tie to them.

    Args:
        folder: gives the folder for the time of the read.
        device: a torch device that is there.
        dtype: float32, float16 or bfloat16; None for what the weights were saved in.
        allowed: classes of other packages that may be imported, as `package.module:Class`.

    Returns:
        The model in `eval()` mode, with weights of its own.

    Raises:
        IntegrityError: the libraries cannot build a model from the files.
        InvalidInputError: files are missing, or an allowed class cannot be imported.
        UnsupportedError: the model needs a class that is not allowed, or code of its own.
    """
    with folder as path, no_progress_bar():
        listing = listing_of(LocalStore(path, follow_links=True))
        # the rules of packaging hold for whoever made the package
        layout = read_sentence_transformers(listing, allowed)
        classes = _foreign_classes(layout.modules, allowed, path)
        with unreadable():
            model = _build(path, classes, device=device, dtype=dtype)
            if dtype is not None:
                _cast(model, getattr(torch, dtype))
            own_weights(model)
    model.eval()
    return model


def walk(model: torch.nn.Module) -> Iterator[tuple[tuple[int | str, ...], torch.nn.Module]]:
    """Every module of a model and of its routes, with its place; see `ModuleFolder.place`."""
    for index, module in enumerate(model.children()):
        yield (index,), module
        yield from _routed((index,), module)


def _routed(
    place: tuple[int | str, ...], module: torch.nn.Module
) -> Iterator[tuple[tuple[int | str, ...], torch.nn.Module]]:
    if not is_router(module):
        return
    for route, modules in module.sub_modules.items():  # type: ignore[union-attr,operator]
        for index, inner in enumerate(modules):
            yield (*place, route, index), inner
            yield from _routed((*place, route, index), inner)


def is_router(module: torch.nn.Module) -> bool:
    """Whether it is a Router of Sentence-Transformers, which sends each role another way."""
    return is_own(module) and isinstance(getattr(module, "sub_modules", None), torch.nn.ModuleDict)


def is_own(module: torch.nn.Module) -> bool:
    """Whether Sentence-Transformers ships the module's class."""
    return type(module).__module__.partition(".")[0] == "sentence_transformers"


def _foreign_classes(
    modules: tuple[ModuleFolder, ...], allowed: frozenset[str], folder: Path
) -> dict[str, type[torch.nn.Module]]:
    """The classes of other packages, by the name that the model's list of modules has for them."""
    paths = dict.fromkeys(module.foreign for module in modules if module.foreign)
    return {
        path.replace(":", "."): import_class(
            path, allowed, base_class=torch.nn.Module, outside=folder
        )
        for path in paths
    }


def _build(
    path: Path, classes: Mapping[str, type[torch.nn.Module]], *, device: str, dtype: str | None
) -> SentenceTransformer:
    options: dict[str, Any] = {
        "device": device,
        "local_files_only": True,
        "trust_remote_code": False,
        "model_kwargs": {"dtype": dtype or "auto"},
    }
    if not classes:
        return SentenceTransformer(str(path), **options)
    # private, and the one way that neither trusts nor looks into the folder (6.2, base/model.py)
    load = getattr(SentenceTransformer, "_load_with_module_classes", None)
    if load is None:
        raise UnsupportedError(
            "this release of Sentence-Transformers cannot be given a model's own classes",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="SentenceTransformer._load_with_module_classes",
            expected="a release that loads the given classes and none from the model's folder: 6.2",
            found="none",
            done="nothing was loaded",
            hint="install sentence-transformers>=6.2",
        )
    return load(str(path), classes, **options)


def _cast(model: SentenceTransformer, dtype: torch.dtype) -> None:
    # Sentence-Transformers gives the dtype to transformers alone, and that one keeps some buffers
    # in float32 on purpose
    for _, module in walk(model):
        if not is_router(module) and not hasattr(module, "auto_model"):
            module.to(dtype)


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
    except (
        SafetensorError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ImportError,
        OSError,
    ) as error:
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
