"""What may be handed in to be packaged: a folder, or a live object, saved once by its library."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError, UnsupportedError
from pairlock.golden import BARS
from pairlock.layouts import (
    PeftLayout,
    SentenceTransformersLayout,
    adapter_facts,
    listing_of,
    read_adapter_folder,
    recognise,
)
from pairlock.manifest import EncodeSettings, Kind, LayerFacts, Role
from pairlock.references import absolute_folder
from pairlock.stores import LocalStore
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.packaging.pickles import read_state_dict
from pairlock_flavors.torch_runtime.adapters.custom import class_path_of, construct_custom
from pairlock_flavors.torch_runtime.adapters.tensors import check_tensors, shapes_of
from pairlock_flavors.torch_runtime.models.description import describe, saved_dtype

Embed = Callable[[Sequence[str], Role], NDArray[np.float32]]
"""How a live object embeds texts: (n_texts, dim) float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """A live object to compare the finished package with."""

    embed: Embed
    device_type: str
    """The type of the device that it runs on; one without bars of its own counts as `cuda`."""

    dtype: str
    """What it computes in, as far as anybody can tell: mixed precision counts as bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A full model."""

    store: LocalStore
    layout: SentenceTransformersLayout
    source: str
    settings: EncodeSettings | None = None
    """What the live object does to texts; None for a folder, which says it itself."""

    live: LiveCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnABase:
    """What all adapters have in common."""

    source: str
    """What it is, for provenance."""

    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of files that do not belong to the adapter."""

    base_uri: str | None = None
    """The base of a live adapter, where Pairlock loaded it."""

    settings: EncodeSettings | None = None
    """What the live object does to texts; None for a folder."""

    live: LiveCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource(_OnABase):
    """One of LlamaIndex's own adapter layers."""

    kind: Kind
    facts: LayerFacts
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomSource(_OnABase):
    """An adapter of another package's class."""

    adapter: BaseAdapter
    class_path: str
    tensors: dict[str, torch.Tensor]
    transforms: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftSource(_OnABase):
    """A PEFT adapter."""

    store: LocalStore
    layout: PeftLayout


AdapterSource = LayerSource | CustomSource | PeftSource
Source = ModelSource | AdapterSource


@contextmanager
def open_source(
    source: object,
    *,
    adapter_class: str | None = None,
    allowed: frozenset[str] = frozenset(),
    live: SentenceTransformer | None = None,
) -> Iterator[Source]:
    """Recognise what was handed in.

    Args:
        source: a folder, a `SentenceTransformer`, a `HuggingFaceEmbedding`, an
            `AdapterEmbeddingModel` or a `PeftModel`.
        adapter_class: the class of a folder that LlamaIndex's `BaseAdapter.save` wrote, where it is
            another package's.
        allowed: classes of other packages that a model may be made of.
        live: the model in memory that a folder was saved from, to compare the package with.

    Yields:
        The model or adapter; a live object's files are there as long as the context.

    Raises:
        NotFoundError: there is no such folder.
        InvalidInputError: it is nothing that can be packaged.
        UnsupportedError: it is recognised, and this release does not package it.
        IntegrityError: a pickle in it cannot be read safely.
    """
    if isinstance(source, str | os.PathLike):
        found = _from_folder(Path(source), adapter_class, allowed)
        yield found if live is None else replace(found, live=_live_model(live))
    elif isinstance(source, AdapterEmbeddingModel):
        yield _from_adapter(source)
    elif isinstance(source, HuggingFaceEmbedding | SentenceTransformer):
        with TemporaryDirectory(prefix="pairlock-live-") as folder:
            yield _from_model(source, Path(folder) / "model", allowed)
    elif _is_peft_model(source):
        with TemporaryDirectory(prefix="pairlock-live-") as folder:
            yield _from_peft_model(source, Path(folder))
    else:
        raise InvalidInputError(
            f"a {type(source).__module__}.{type(source).__qualname__} cannot be packaged",
            kind=ErrorKind.LAYOUT_UNKNOWN,
            checked="what was handed in",
            expected="a folder, SentenceTransformer, HuggingFaceEmbedding, AdapterEmbeddingModel "
            "or PeftModel",
            found=type(source).__qualname__,
            done="nothing was written",
            hint="save the model with the library that trained it, and pass the folder",
        )


def _from_folder(path: Path, adapter_class: str | None, allowed: frozenset[str]) -> Source:
    path = absolute_folder(path)
    if not path.is_dir():
        raise NotFoundError(
            f"there is no folder {path}",
            kind=ErrorKind.FOLDER_MISSING,
            checked=str(path),
            expected="the folder that a trainer saved",
            found="a file" if path.exists() else "nothing",
            done="nothing was written",
            hint="check the path",
        )
    store = LocalStore(path, follow_links=True)
    if adapter_class is not None:
        return _from_custom_folder(store, adapter_class)
    layout = recognise(listing_of(store), allowed)
    if isinstance(layout, SentenceTransformersLayout):
        return ModelSource(store=store, layout=layout, source=layout.source)
    if isinstance(layout, PeftLayout):
        return _peft_source(store, layout, layout.source)
    return LayerSource(
        kind=layout.kind,
        facts=layout.facts,
        tensors=read_state_dict(store.local_path(layout.weights)),
        source=layout.source,
        left_out=layout.left_out,
    )


def _from_custom_folder(store: LocalStore, class_path: str) -> CustomSource:
    listing = listing_of(store)
    folder = read_adapter_folder(listing)
    # whoever names the class allows it
    adapter = construct_custom(class_path, folder.config, frozenset([class_path]))
    tensors = read_state_dict(store.local_path(folder.weights))
    check_tensors(shapes_of(adapter.state_dict()), tensors, what=class_path, where=store.location)
    adapter.load_state_dict(tensors, strict=True)
    return CustomSource(
        adapter=adapter,
        class_path=class_path,
        tensors=tensors,
        transforms=(Role.QUERY,),
        source="llama-index adapter folder",
        left_out=folder.left_out,
    )


def _peft_source(store: LocalStore, layout: PeftLayout, source: str) -> PeftSource:
    return PeftSource(store=store, layout=layout, source=source, left_out=layout.left_out)


def _is_peft_model(source: object) -> bool:
    # recognised by what it offers, so that PEFT need not be imported
    return isinstance(source, torch.nn.Module) and all(
        hasattr(source, name) for name in ("peft_config", "active_adapter", "save_pretrained")
    )


def _from_peft_model(source: Any, path: Path) -> PeftSource:
    name = source.active_adapter
    if not isinstance(name, str):
        raise UnsupportedError(
            "a mix of several PEFT adapters cannot be packaged",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the model's active adapters",
            expected="one",
            found=str(name),
            done="nothing was written",
            hint="activate one adapter with set_adapter, or merge them into one",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.save_pretrained(str(path), selected_adapters=[name])
    # PEFT puts an adapter that is not called "default" into a folder of its name
    store = LocalStore(path if name == "default" else path / name)
    layout = recognise(listing_of(store))
    assert isinstance(layout, PeftLayout)
    return _peft_source(store, layout, f"live {type(source).__name__}")


def _from_model(
    source: HuggingFaceEmbedding | SentenceTransformer, path: Path, allowed: frozenset[str]
) -> ModelSource | PeftSource:
    if isinstance(source, SentenceTransformer):
        model, settings = source, describe(source)
    else:
        model, settings = source._model, _wrapper_settings(source)
    model.save(str(path), create_model_card=False, safe_serialization=True)
    store = LocalStore(path)
    layout = recognise(listing_of(store), allowed)
    if isinstance(source, SentenceTransformer):
        live = _live_model(source)
    else:
        live = _live_check(_llama_index_embedder(source), model)
    name = f"live {type(source).__name__}"
    if isinstance(layout, PeftLayout):
        return replace(_peft_source(store, layout, name), settings=settings, live=live)
    assert isinstance(layout, SentenceTransformersLayout)
    return ModelSource(store=store, layout=layout, source=name, settings=settings, live=live)


def _from_adapter(source: AdapterEmbeddingModel) -> LayerSource | CustomSource:
    base, adapter = source._base_embed_model, source._adapter
    inner = base._model if isinstance(base, HuggingFaceEmbedding) else None
    transforms = (Role.QUERY,) if source._transform_query else ()
    tensors = {name: tensor.detach() for name, tensor in adapter.state_dict().items()}
    name = f"live {type(source).__name__}"
    base_uri = base.uri if isinstance(base, PackageEmbedding) else None
    settings = _wrapper_settings(base) if isinstance(base, HuggingFaceEmbedding) else None
    live = _live_check(_evaluating(source), inner)
    if type(adapter) not in (LinearLayer, TwoLayerNN):
        return CustomSource(
            adapter=adapter,
            class_path=class_path_of(adapter),
            tensors=tensors,
            transforms=transforms,
            source=name,
            base_uri=base_uri,
            settings=settings,
            live=live,
        )
    kind, facts = adapter_facts(adapter.get_config_dict(), where="the live adapter")
    return LayerSource(
        kind=kind,
        facts=replace(facts, transforms=transforms),
        tensors=tensors,
        source=name,
        base_uri=base_uri,
        settings=settings,
        live=live,
    )


def _wrapper_settings(source: HuggingFaceEmbedding) -> EncodeSettings:
    """What LlamaIndex's wrapper does: its own prompts and normalisation, on top of the model's."""
    described = describe(source._model, normalize=source.normalize)
    if isinstance(source, PackageEmbedding):
        query, text = source.query_instruction, source.text_instruction
    else:
        # what the wrapper decided on, by argument or by model name, is in the model's prompts
        query, text = (source._model.prompts.get(name) for name in ("query", "text"))
    return replace(described, query_instruction=query or "", text_instruction=text or "")


def _live_model(model: SentenceTransformer) -> LiveCheck:
    return _live_check(_sentence_embedder(model), model)


def _live_check(embed: Embed, model: SentenceTransformer | None) -> LiveCheck:
    # of another library's base nothing is known, and accelerate leaves a model that it trained in
    # mixed precision with autocast around it
    if model is None or hasattr(model, "_original_forward"):
        return LiveCheck(embed=embed, device_type="cuda", dtype="bfloat16")
    device_type = torch.device(model.device).type
    has_bars = (device_type, "float32") in BARS
    return LiveCheck(
        embed=embed,
        device_type=device_type if has_bars else "cuda",
        dtype=saved_dtype(model) if has_bars else "bfloat16",
    )


def _sentence_embedder(model: SentenceTransformer) -> Embed:
    def embed(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        encode = model.encode_query if role is Role.QUERY else model.encode_document
        with _evaluation_mode(model):  # encode() switches dropout off for good
            return np.asarray(encode(list(texts), show_progress_bar=False), dtype=np.float32)

    return embed


def _llama_index_embedder(embedding: BaseEmbedding) -> Embed:
    def embed(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        one = (
            embedding._get_query_embedding if role is Role.QUERY else embedding._get_text_embedding
        )
        return np.asarray([one(text) for text in texts], dtype=np.float32)

    return embed


def _evaluating(source: AdapterEmbeddingModel) -> Embed:
    inner = _llama_index_embedder(source)

    def embed(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        # LlamaIndex leaves dropout on; the package never does
        with _evaluation_mode(source._adapter):
            return inner(texts, role)

    return embed


@contextmanager
def _evaluation_mode(module: torch.nn.Module) -> Iterator[None]:
    """Switch to `eval()`, and each part back to what it was: a trainer may freeze some of them."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
