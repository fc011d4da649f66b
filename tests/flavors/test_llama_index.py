"""Loaded embeddings as LlamaIndex uses them: caches, copies, events, threads, indexes."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.embeddings.utils import resolve_embed_model
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError
from support.models import TEXTS

KINDS = ("tiny_prompts", "relu_residual")
CALLS: dict[str, Callable[[Any], Any]] = {
    "query": lambda own: own.get_query_embedding("card"),
    "text": lambda own: own.get_text_embedding("card"),
    "batch": lambda own: own.get_text_embedding_batch(TEXTS),
    "aquery": lambda own: asyncio.run(own.aget_query_embedding("card")),
    "atext": lambda own: asyncio.run(own.aget_text_embedding("card")),
    "abatch": lambda own: asyncio.run(own.aget_text_embedding_batch(TEXTS)),
}
"""Every public way of embedding."""


@pytest.fixture
def load(packaged: Callable[[str], str], shared_registry: Any) -> Callable[[str], Any]:
    """Load a shared package by name."""
    return lambda name: pairlock.load(packaged(name))


def encoder_of(own: Any) -> torch.nn.Module:
    """The transformer under a loaded embedding."""
    model = own if isinstance(own, HuggingFaceEmbedding) else own._base_embed_model
    module: torch.nn.Module = model._model[0]
    return module


def test_embeddings_are_of_llama_index_s_own_classes(load: Callable[[str], Any]) -> None:
    """A full model is a HuggingFaceEmbedding and an adapter an AdapterEmbeddingModel."""
    full, adapter = load("tiny_prompts"), load("linear")
    assert isinstance(full, HuggingFaceEmbedding)
    assert isinstance(adapter, AdapterEmbeddingModel)
    assert isinstance(adapter, BaseEmbedding)
    assert isinstance(adapter._base_embed_model, HuggingFaceEmbedding)
    assert resolve_embed_model(full) is full
    assert full.class_name() != adapter.class_name()


@pytest.mark.parametrize("name", KINDS)
def test_async_methods_give_what_sync_methods_give(name: str, load: Callable[[str], Any]) -> None:
    """Awaiting changes no vector."""
    own = load(name)
    for sync in ("query", "text", "batch"):
        assert CALLS[f"a{sync}"](own) == CALLS[sync](own)


@pytest.mark.parametrize("name", KINDS)
def test_two_equal_calls_give_equal_vectors(name: str, load: Callable[[str], Any]) -> None:
    """Dropout is off in every module, and two loads agree bit for bit."""
    own, again = load(name), load(name)
    for call in CALLS.values():
        assert call(own) == call(own) == call(again)
    base = own if name == "tiny_prompts" else own._base_embed_model
    modules = list(base._model.modules())
    modules += [] if base is own else list(own._adapter.modules())
    assert not any(module.training for module in modules)


@pytest.mark.parametrize("name", KINDS)
def test_no_module_is_in_training_mode_after_a_load(name: str, load: Callable[[str], Any]) -> None:
    """Dropout is off before the first text is embedded, for code that calls the modules itself."""
    own = load(name)
    base = own if name == "tiny_prompts" else own._base_embed_model
    modules = list(base._model.modules())
    modules += [] if base is own else list(own._adapter.modules())
    assert not any(module.training for module in modules)


@pytest.mark.parametrize("name", KINDS)
def test_vectors_are_plain_lists_of_the_declared_dimension(
    name: str, load: Callable[[str], Any]
) -> None:
    """LlamaIndex gets lists of floats, as many as the manifest says."""
    own = load(name)
    vector = own.get_query_embedding("card")
    assert type(vector) is list
    assert {type(value) for value in vector} == {float}
    assert len(vector) == own.dimension
    assert own.get_text_embedding_batch([]) == []


def test_an_aggregate_of_queries_is_the_mean_of_query_vectors(load: Callable[[str], Any]) -> None:
    """Retrieval by several queries embeds each as a query."""
    own = load("tiny_prompts")
    queries = ["card", "money"]
    expected = np.mean([own.get_query_embedding(query) for query in queries], axis=0)
    assert own.get_agg_embedding_from_queries(queries) == pytest.approx(expected)
    assert asyncio.run(own.aget_agg_embedding_from_queries(queries)) == pytest.approx(expected)


@pytest.mark.parametrize("name", KINDS)
def test_a_dictionary_loads_the_same_embedding(name: str, load: Callable[[str], Any]) -> None:
    """to_dict is JSON with the digest, and from_dict loads what it describes."""
    own = load(name)
    own.embed_batch_size = 7
    data = json.loads(json.dumps(own.to_dict()))
    assert data["package_digest"] == own.package_digest
    again = type(own).from_dict(data)
    assert again.embed_batch_size == 7
    assert again.get_query_embedding("card") == own.get_query_embedding("card")
    assert pairlock.receipt(again).package_digest == own.package_digest


def test_dictionaries_tell_versions_apart(
    tiny_model: Path, tiny_other: Path, linear_adapter: Path, registry: Any
) -> None:
    """What LlamaIndex hashes differs between versions, adapters and bases."""
    uris = [registry.log(model, "base") for model in (tiny_model, tiny_other)]
    uris += [registry.log(linear_adapter, "adapter", base=uri) for uri in uris]
    dictionaries = [json.dumps(pairlock.load(uri).to_dict(), sort_keys=True) for uri in uris]
    digests = {pairlock.load(uri).to_dict()["package_digest"] for uri in uris}
    assert len(set(dictionaries)) == len(digests) == 4


def test_a_dictionary_of_another_version_is_refused(
    tiny_model: Path, tiny_other: Path, registry: Any
) -> None:
    """A digest that does not belong to the URI any more is an error, not another model."""
    own = pairlock.load(registry.log(tiny_model, "again"))
    data, pickled = own.to_dict(), pickle.dumps(own)
    registry.client.delete_registered_model("again")
    registry.log(tiny_other, "again")
    for act in (lambda: type(own).from_dict(data), lambda: pickle.loads(pickled)):
        with pytest.raises(IntegrityError) as caught:
            act()
        assert caught.value.kind is ErrorKind.PACKAGE_DIGEST


@pytest.mark.parametrize("name", KINDS)
def test_a_pickle_is_small_and_loads_the_same_embedding(
    name: str, load: Callable[[str], Any]
) -> None:
    """A pickle holds a reference and no weights."""
    own = load(name)
    pickled = pickle.dumps(own)
    again = pickle.loads(pickled)
    assert len(pickled) < 4096
    for call in CALLS.values():
        assert call(again) == call(own)


def test_a_pickle_of_a_mirrored_adapter_goes_back_to_the_mirror(
    packaged: Callable[[str], str], shared_registry: Any, tiny_model: Path
) -> None:
    """Where the base was taken from is part of the pickle and of the dictionary."""
    own = pairlock.load(packaged("linear"), base=str(tiny_model))
    for again in (pickle.loads(pickle.dumps(own)), type(own).from_dict(own.to_dict())):
        base = pairlock.receipt(again).base
        assert base is not None
        assert base.loaded_from == str(tiny_model)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("copying", [copy.deepcopy, copy.copy], ids=["deep", "shallow"])
def test_a_copy_shares_the_weights(
    name: str, copying: Callable[[Any], Any], load: Callable[[str], Any]
) -> None:
    """A copy gives the same vectors from the same weights, and has settings of its own."""
    own = load(name)
    other = copying(own)
    base, other_base = (
        (own, other) if name == "tiny_prompts" else (own._base_embed_model, other._base_embed_model)
    )
    assert other is not own
    assert other_base._model is base._model
    for call in CALLS.values():
        assert call(other) == call(own)
    before = own.embed_batch_size
    other.embed_batch_size = before + 1
    assert own.embed_batch_size == before
    assert pairlock.receipt(other) == pairlock.receipt(own)


@pytest.mark.parametrize("name", KINDS)
def test_a_cache_keeps_roles_apart(name: str, load: Callable[[str], Any]) -> None:
    """A query and a document of the same text never get each other's cached vector."""
    plain, own = load(name), load(name)
    own.embeddings_cache = SimpleKVStore()
    for _ in range(2):
        for call in CALLS.values():
            assert call(own) == call(plain)
        for call in reversed(CALLS.values()):
            assert call(own) == call(plain)


def test_a_cache_keeps_models_apart(
    packaged: Callable[[str], str], load: Callable[[str], Any]
) -> None:
    """Base, adapters and versions on one cache never get each other's vectors."""
    names = ("tiny_model", "tiny_other", "linear", "tanh")
    plain = {name: {key: call(load(name)) for key, call in CALLS.items()} for name in names}
    store = SimpleKVStore()
    cached = {name: load(name) for name in names}
    for own in cached.values():
        own.embeddings_cache = store
    for _ in range(2):
        for name, own in cached.items():
            assert {key: call(own) for key, call in CALLS.items()} == plain[name]


@pytest.mark.parametrize("name", KINDS)
def test_a_cache_is_used(
    name: str, load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that is in the cache is not embedded again, by this object or by its copy."""
    own = load(name)
    own.embeddings_cache = SimpleKVStore()
    first = {key: call(own) for key, call in CALLS.items()}

    def embedded_again(*_args: Any) -> Any:
        raise AssertionError("embedded again")

    monkeypatch.setattr(type(own), "vectors", embedded_again)
    assert {key: call(own) for key, call in CALLS.items()} == first
    assert {key: call(copy.deepcopy(own)) for key, call in CALLS.items()} == first
    with pytest.raises(AssertionError):
        own.get_query_embedding("a text that is not in the cache")


def test_a_cache_may_be_taken_away_again(load: Callable[[str], Any]) -> None:
    """An embedding works with a cache, without one, and as a dictionary in between."""
    own = load("tiny_prompts")
    before = own.get_query_embedding("card")
    own.embeddings_cache = SimpleKVStore()
    assert own.get_query_embedding("card") == before
    assert type(own).from_dict(own.to_dict()).get_query_embedding("card") == before
    assert pickle.loads(pickle.dumps(own)).get_query_embedding("card") == before
    own.embeddings_cache = None
    assert own.get_query_embedding("card") == before


def test_a_pipeline_with_a_cache_keeps_adapters_apart(load: Callable[[str], Any]) -> None:
    """An ingestion cache that two adapters share gives each its own vectors."""
    cache = IngestionCache()
    documents = [Document(text=text, id_=str(index)) for index, text in enumerate(TEXTS) if text]
    for name in ("tiny_model", "tiny_other", "tiny_cls", "tiny_unnormalized"):
        own = load(name)
        pipeline = IngestionPipeline(transformations=[own], cache=cache)
        for _ in range(2):
            found = [node.embedding for node in pipeline.run(documents=documents)]
            expected = own.get_text_embedding_batch([d.text for d in documents])
            assert found == expected


class Events(BaseEventHandler):
    """Keeps every event."""

    seen: list[Any] = []  # noqa: RUF012 - a pydantic field

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "Events"

    def handle(self, event: Any, **_kwargs: Any) -> None:
        """Keep it."""
        self.seen.append(event)


@pytest.fixture
def watched() -> Iterator[tuple[Events, SimpleSpanHandler]]:
    """Everything that LlamaIndex's instrumentation reports."""
    root = get_dispatcher()
    events, spans = Events(), SimpleSpanHandler()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)


def method(span: Any) -> str:
    """The method that a span is of, without class and number."""
    return str(span.id_).partition("-")[0].rpartition(".")[2]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", KINDS)
def test_one_call_is_one_event_and_one_span(
    name: str,
    call: str,
    load: Callable[[str], Any],
    watched: tuple[Events, SimpleSpanHandler],
) -> None:
    """Callbacks, instrumentation events and the public method's span come once for one call."""
    own = load(name)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    own.callback_manager = CallbackManager([debug])
    events, spans = watched
    CALLS[call](own)
    found = [type(event) for event in events.seen]
    assert found == [EmbeddingStartEvent, EmbeddingEndEvent]
    assert events.seen[0].model_dict["package_digest"] == own.package_digest
    assert len(debug.get_event_pairs(CBEventType.EMBEDDING)) == 1
    public = [span for span in spans.completed_spans if method(span).startswith(("get", "aget"))]
    assert len(public) == 1
    assert not spans.open_spans


@pytest.mark.parametrize("call", CALLS)
def test_spans_are_those_of_llama_index_s_own_class(
    call: str,
    load: Callable[[str], Any],
    watched: tuple[Events, SimpleSpanHandler],
    tiny_prompts: Path,
) -> None:
    """A trace of a loaded model has the spans that one of HuggingFaceEmbedding has."""
    own, theirs = load("tiny_prompts"), HuggingFaceEmbedding(str(tiny_prompts), device="cpu")
    traces = []
    for embedding in (own, theirs):
        watched[1].completed_spans.clear()
        CALLS[call](embedding)
        traces.append(sorted(method(span) for span in watched[1].completed_spans))
    assert traces[0] == traces[1]


def test_a_large_batch_is_handed_over_in_pieces(load: Callable[[str], Any]) -> None:
    """embed_batch_size is LlamaIndex's own setting, and changes no vector."""
    own = load("linear")
    texts = [f"card {number}" for number in range(20)]
    whole = own.get_text_embedding_batch(texts)
    own.embed_batch_size = 3
    debug = LlamaDebugHandler(print_trace_on_end=False)
    own.callback_manager = CallbackManager([debug])
    assert np.allclose(own.get_text_embedding_batch(texts), whole, rtol=0, atol=1e-6)
    assert len(debug.get_event_pairs(CBEventType.EMBEDDING)) == 7


def test_workers_change_no_vector(load: Callable[[str], Any]) -> None:
    """An asynchronous batch over several workers gives the vectors in order."""
    own = load("tiny_prompts")
    texts = [f"card {number}" for number in range(20)]
    expected = own.get_text_embedding_batch(texts)
    own.embed_batch_size, own.num_workers = 4, 3
    found = asyncio.run(own.aget_text_embedding_batch(texts))
    assert np.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny_prompts", "linear", "relu_residual"])
def test_an_index_retrieves_by_the_vectors_of_both_roles(
    name: str, load: Callable[[str], Any]
) -> None:
    """A VectorStoreIndex ranks documents by query vector against document vectors."""
    own = load(name)
    texts = [text for text in TEXTS if text]
    nodes = [TextNode(text=text, id_=str(index)) for index, text in enumerate(texts)]
    index = VectorStoreIndex(nodes, embed_model=own)
    query = np.array(own.get_query_embedding("money back"))
    documents = np.array(own.get_text_embedding_batch(texts))
    scores = documents @ query
    scores /= np.linalg.norm(documents, axis=1) * np.linalg.norm(query)
    found = index.as_retriever(similarity_top_k=3).retrieve("money back")
    assert [int(node.node_id) for node in found] == list(np.argsort(-scores)[:3])
    assert [node.score for node in found] == pytest.approx(sorted(scores)[::-1][:3])
    again = asyncio.run(index.as_retriever(similarity_top_k=3).aretrieve("money back"))
    assert [node.node_id for node in again] == [node.node_id for node in found]


def test_threads_give_what_one_thread_gives(load: Callable[[str], Any]) -> None:
    """Eight threads that mix roles, lengths and models get the vectors of a serial run."""
    embeddings = [load("tiny_prompts"), load("relu_residual")]
    embeddings.append(copy.deepcopy(embeddings[0]))
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    work = [
        (own, role, text)
        for text in texts
        for own in embeddings
        for role in ("get_query_embedding", "get_text_embedding")
    ]

    def embed(item: tuple[Any, str, str]) -> list[float]:
        own, role, text = item
        vector: list[float] = getattr(own, role)(text)
        return vector

    serial = [embed(item) for item in work]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(embed, work)) == serial


def test_threads_take_turns_with_the_tokenizer(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread at a time makes tokens, because a tokenizer keeps settings in itself."""
    own = load("tiny_prompts")
    inside: list[int] = []
    most: list[int] = []
    tokenizer = type(own._model.tokenizer)
    made = tokenizer.__call__

    def counted(*args: Any, **kwargs: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        found = made(*args, **kwargs)
        inside.clear()
        return found

    monkeypatch.setattr(tokenizer, "__call__", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(own.get_query_embedding, [f"card {number}" for number in range(12)]))
    assert len(most) >= 12
    assert set(most) == {1}


def test_threads_on_one_cache_keep_roles_apart(load: Callable[[str], Any]) -> None:
    """The role of a cached text belongs to the call, not to the object."""
    own, plain = load("tiny_prompts"), load("tiny_prompts")
    own.embeddings_cache = SimpleKVStore()
    texts = [f"card {number % 5}" for number in range(80)]
    roles = ["get_query_embedding", "get_text_embedding"] * 40
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda role, text: getattr(own, role)(text), roles, texts))
    assert found == [getattr(plain, role)(text) for role, text in zip(roles, texts, strict=True)]


def test_awaited_calls_on_one_cache_keep_roles_apart(load: Callable[[str], Any]) -> None:
    """Queries and documents that are awaited together do not mix in the cache."""
    own, plain = load("tiny_prompts"), load("tiny_prompts")
    own.embeddings_cache = SimpleKVStore()

    async def together() -> list[Any]:
        return await asyncio.gather(
            *(call("card") for call in (own.aget_query_embedding, own.aget_text_embedding) * 4)
        )

    expected = [plain.get_query_embedding("card"), plain.get_text_embedding("card")]
    assert asyncio.run(together()) == expected * 4


@pytest.mark.parametrize("call", ["aquery", "atext", "abatch"])
@pytest.mark.parametrize("name", KINDS)
def test_awaited_calls_leave_the_event_loop_free(
    name: str, call: str, load: Callable[[str], Any]
) -> None:
    """What is awaited is computed in another thread than the event loop's."""
    own = load(name)
    threads: set[int] = set()
    encoder_of(own).register_forward_pre_hook(lambda *_: threads.add(threading.get_ident()))
    CALLS[call](own)
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("name", KINDS)
def test_documents_go_through_the_model_in_batches(name: str, load: Callable[[str], Any]) -> None:
    """Seventy documents are three passes of the recorded 32 texts, awaited or not."""
    own = load(name)
    passes: list[int] = []
    encoder_of(own).register_forward_pre_hook(
        lambda _module, inputs: passes.append(len(inputs[0]["input_ids"]))
    )
    texts = [f"card {number}" for number in range(70)]
    own.get_text_embedding_batch(texts)
    assert passes == [32, 32, 6]
    asyncio.run(own.aget_text_embedding_batch(texts))
    assert passes == [32, 32, 6] * 2


def test_images_are_refused(load: Callable[[str], Any]) -> None:
    """HuggingFaceEmbedding has methods for images; a text model refuses them."""
    with pytest.raises(InvalidInputError) as caught:
        load("tiny_prompts").get_image_embedding("picture.png")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
