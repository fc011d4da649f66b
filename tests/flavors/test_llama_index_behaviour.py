"""What LlamaIndex's own tests ask of an embedding, asked of ours: see docs/llama-index.md."""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core import (
    Document,
    Settings,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.base.embeddings.base import BaseEmbedding, SimilarityMode
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.embeddings.loading import load_embed_model
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.embeddings.utils import resolve_embed_model
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import DocstoreStrategy, get_transformation_hash
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.node_parser import SemanticSplitterNodeParser, SentenceSplitter
from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
from llama_index.core.rate_limiter import BaseRateLimiter, TokenBucketRateLimiter
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from pydantic import ValidationError

import pairlock
from pairlock import ErrorKind, InvalidInputError
from support.models import TEXTS
from support.peft_adapters import METHODS, save, trained

CLASSES: dict[str, type] = {
    "full": HuggingFaceEmbedding,
    "linear": AdapterEmbeddingModel,
    "lora": HuggingFaceEmbedding,
    "lora apart": HuggingFaceEmbedding,
}
"""Every way in which a package is in memory, with the class of LlamaIndex that it is of."""

KINDS = ("full", "linear", "lora")
"""One of every class of ours."""

BAR = 1e-6
"""The most by which a number differs when texts are batched otherwise: `docs/tolerances.md`."""

DOCUMENTS = [text for text in TEXTS if text]
STORY = (
    "How do I get my money back? Refunds are paid to the card. Where is the invoice? "
    "The invoice is in the mail. A cat is a dog of the back. The end."
)

Calls = dict[str, tuple[Callable[[Any], Any], list[list[str]]]]
CALLS: Calls = {
    "query": (lambda own: own.get_query_embedding("card"), [["card"]]),
    "text": (lambda own: own.get_text_embedding("card"), [["card"]]),
    "batch": (lambda own: own.get_text_embedding_batch(TEXTS), [TEXTS[:4], TEXTS[4:]]),
    "aggregate": (
        lambda own: own.get_agg_embedding_from_queries(["card", "money"]),
        [["card"], ["money"]],
    ),
    "aquery": (lambda own: asyncio.run(own.aget_query_embedding("card")), [["card"]]),
    "atext": (lambda own: asyncio.run(own.aget_text_embedding("card")), [["card"]]),
    "abatch": (
        lambda own: asyncio.run(own.aget_text_embedding_batch(TEXTS)),
        [TEXTS[:4], TEXTS[4:]],
    ),
    "aaggregate": (
        lambda own: asyncio.run(own.aget_agg_embedding_from_queries(["card", "money"])),
        [["card"], ["money"]],
    ),
    "nodes": (lambda own: own([TextNode(text=text) for text in DOCUMENTS[:3]]), [DOCUMENTS[:3]]),
    "anodes": (
        lambda own: asyncio.run(own.acall([TextNode(text=text) for text in DOCUMENTS[:3]])),
        [DOCUMENTS[:3]],
    ),
}
"""Every public way of embedding, and the chunks that it reports when batches are of four texts."""


@pytest.fixture(scope="module")
def uris(
    packaged: Callable[[str], str],
    shelf: Any,
    tiny_prompts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """A package of every kind; the model and the base of the LoRA have prompts."""
    from support.registries import active

    adapted = trained(tiny_prompts, METHODS["lora"](), steps=1)
    folder = save(adapted, tmp_path_factory.mktemp("behaviour") / "lora")
    with active(shelf.uri):
        lora = shelf.log(folder, "behaviour-lora", base=packaged("tiny_prompts"))
    return {
        "full": packaged("tiny_prompts"),
        "linear": packaged("linear"),
        "lora": lora,
        "lora apart": lora,
    }


@pytest.fixture
def load(uris: dict[str, str], shared_registry: Any) -> Callable[[str], Any]:
    """Load a kind."""
    return lambda kind: pairlock.load(uris[kind], merge=False if kind == "lora apart" else None)


@pytest.fixture
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """LlamaIndex's global settings, as they were afterwards."""
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setattr(Settings, "_callback_manager", None)


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    """Another process, started afresh: it has imported nothing and loaded nothing."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def encoder_of(own: Any) -> torch.nn.Module:
    """The transformer under a loaded embedding."""
    model = own if isinstance(own, HuggingFaceEmbedding) else own._base_embed_model
    module: torch.nn.Module = model._model[0]
    return module


def count_passes(own: Any) -> list[int]:
    """A list that gets the number of texts of every pass through the model."""
    passes: list[int] = []
    encoder_of(own).register_forward_pre_hook(
        lambda _module, inputs: passes.append(len(inputs[0]["input_ids"]))
    )
    return passes


def both_roles(own: Any) -> np.ndarray:
    """Vectors of the texts as queries and as documents: (2, n_texts, dim)."""
    queries = [own.get_query_embedding(text) for text in TEXTS]
    return np.array([queries, own.get_text_embedding_batch(TEXTS)])


def documents() -> list[Document]:
    """The texts as new documents, because pipelines write vectors into what they get."""
    return [Document(text=text, doc_id=str(number)) for number, text in enumerate(DOCUMENTS)]


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
def watched() -> Iterator[tuple[list[Any], SimpleSpanHandler]]:
    """Every event and span that LlamaIndex's instrumentation reports."""
    root = get_dispatcher()
    events, spans = Events(), SimpleSpanHandler()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events.seen, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)


def public_spans(spans: list[Any]) -> list[str]:
    """The public methods that some spans are of."""
    names = [str(span.id_).partition("-")[0].rpartition(".")[2] for span in spans]
    return [name for name in names if name.startswith(("get_", "aget_"))]


class Counter(BaseRateLimiter):
    """Lets everything pass, and counts it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def acquire(self, num_tokens: int = 0) -> None:
        """Count a call."""
        self.calls.append("sync")

    async def async_acquire(self, num_tokens: int = 0) -> None:
        """Count an awaited call."""
        self.calls.append("async")


# What it is


@pytest.mark.parametrize("kind", CLASSES)
def test_an_embedding_is_of_llama_index_s_classes_under_a_name_of_its_own(
    kind: str, load: Callable[[str], Any]
) -> None:
    """Code that asks for the class gets a yes, and code that asks for the name sees whose it is."""
    own = load(kind)
    assert isinstance(own, BaseEmbedding)
    assert isinstance(own, CLASSES[kind])
    assert isinstance(own, MultiModalEmbedding) is (kind != "linear")
    assert own.class_name() == type(own).class_name() == own.to_dict()["class_name"]
    assert own.class_name() != CLASSES[kind].class_name()
    names = {load(other).class_name() for other in KINDS}
    assert len(names) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_weights_are_in_what_is_printed_or_dumped(kind: str, load: Callable[[str], Any]) -> None:
    """Printing, dumping and the schema tell settings, in few words."""
    own = load(kind)
    own.embeddings_cache = SimpleKVStore()
    both_roles(own)
    for shown in (repr(own), str(own), repr(own.model_dump()), own.model_dump_json()):
        assert len(shown) < 1200
        assert "tensor" not in shown
        assert own.package_digest in shown
    assert json.loads(own.model_dump_json()).keys() == own.to_dict().keys()
    assert "package_digest" in type(own).model_json_schema()["properties"]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_dictionary_goes_through_json_with_a_cache_and_a_limiter_set(
    kind: str, load: Callable[[str], Any]
) -> None:
    """What only this process has stays here; the settings and the way of loading come back."""
    own = load(kind)
    plain = own.to_dict()
    own.embeddings_cache, own.rate_limiter = SimpleKVStore(), Counter()
    own.callback_manager = CallbackManager([TokenCountingHandler(tokenizer=str.split)])
    assert own.to_dict() == plain
    own.embed_batch_size, own.num_workers = 5, 2
    for again in (
        type(own).from_dict(json.loads(json.dumps(own.to_dict()))),
        type(own).from_json(own.to_json()),
    ):
        assert type(again) is type(own)
        assert again.to_dict() == own.to_dict()
        assert (again.embeddings_cache, again.rate_limiter) == (None, None)
        assert np.allclose(both_roles(again), both_roles(load(kind)), rtol=0, atol=BAR)


def test_a_dictionary_of_something_else_is_refused(load: Callable[[str], Any]) -> None:
    """A dictionary of another class, or of LlamaIndex's own, loads nothing that is returned."""
    full, linear = load("full"), load("linear")
    foreign = {"class_name": "HuggingFaceEmbedding", "model_name": "BAAI/bge-small-en"}
    for kind, data in ((type(full), linear.to_dict()), (type(full), foreign)):
        with pytest.raises(InvalidInputError) as caught:
            kind.from_dict(data)
        assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_llama_index_passes_a_loaded_embedding_through(load: Callable[[str], Any]) -> None:
    """`load_embed_model` keeps an embedding; a name that it does not know is its own error."""
    own = load("full")
    assert load_embed_model(own) is own
    with pytest.raises(ValueError, match="Invalid Embedding name"):
        load_embed_model(own.to_dict())


# Settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), [("embed_batch_size", 0), ("embed_batch_size", 4096)])
def test_a_setting_is_checked_as_llama_index_s_constructors_check_it(
    kind: str, name: str, value: int, load: Callable[[str], Any]
) -> None:
    """Set, copied with or read from a dictionary, a wrong value is pydantic's error."""
    own = load(kind)
    before = getattr(own, name)
    for act in (
        lambda: setattr(own, name, value),
        lambda: own.model_copy(update={name: value}),
        lambda: type(own).from_dict({**own.to_dict(), name: value}),
    ):
        with pytest.raises(ValidationError):
            act()
    assert getattr(own, name) == before


def test_a_cache_that_is_none_is_refused(load: Callable[[str], Any]) -> None:
    """What is no key-value store of LlamaIndex's is its TypeError, and is not kept."""
    own = load("full")
    not_a_cache: Any = {"card": [1.0]}
    with pytest.raises(TypeError):
        own.embeddings_cache = not_a_cache
    assert own.embeddings_cache is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_loaded_cannot_be_changed(kind: str, load: Callable[[str], Any]) -> None:
    """A field that would change no vector, and only say something untrue, cannot be set."""
    own = load(kind)
    settings = {*BaseEmbedding.model_fields, "show_progress_bar", "cache_folder"}
    fixed = set(type(own).model_fields) - settings
    assert {"package_digest", "uri", "dtype", "dimension"} <= fixed
    assert kind == "linear" or {"normalize", "query_instruction", "max_length"} <= fixed
    before = own.to_dict()
    for name in fixed:
        for act in (
            lambda name=name: setattr(own, name, getattr(own, name)),
            lambda name=name: own.model_copy(update={name: None}),
        ):
            with pytest.raises(InvalidInputError) as caught:
                act()
            assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert own.to_dict() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_batch_size_changes_nothing_but_the_batches(
    kind: str, size: int, load: Callable[[str], Any]
) -> None:
    """Equal texts get equal vectors in their places, whatever is handed over at once."""
    own = load(kind)
    texts = [TEXTS[0]] * 4 + [TEXTS[5]] * 2 + [TEXTS[3]]
    whole = own.get_text_embedding_batch(texts)
    passes = count_passes(own)
    own.embed_batch_size = size
    found = np.array(own.get_text_embedding_batch(texts))
    assert passes == [min(size, 7 - start) for start in range(0, 7, size)]
    assert np.allclose(found, whole, rtol=0, atol=BAR)
    assert np.allclose(found[:4], found[0], rtol=0, atol=BAR)
    assert np.abs(found[0] - found[4]).max() > 0.01
    awaited = asyncio.run(own.aget_text_embedding_batch(texts))
    assert np.allclose(awaited, whole, rtol=0, atol=BAR)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_bound_what_is_under_way(
    kind: str, load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten batches on two workers, two are under way at once, and the order stays."""
    own = load(kind)
    texts = [f"card {number}" for number in range(20)]
    expected = own.get_text_embedding_batch(texts)
    compute, under_way, most, guard = own.vectors, 0, [], threading.Lock()

    def counted(_own: Any, *args: Any) -> Any:
        nonlocal under_way
        with guard:
            under_way += 1
            most.append(under_way)
        time.sleep(0.005)
        try:
            return compute(*args)
        finally:
            with guard:
                under_way -= 1

    monkeypatch.setattr(type(own), "vectors", counted)
    own.embed_batch_size, own.num_workers = 2, 2
    found = asyncio.run(own.aget_text_embedding_batch(texts))
    assert np.allclose(found, expected, rtol=0, atol=BAR)
    assert len(most) == 10
    assert max(most) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_progress_is_llama_index_s_bar_and_only_on_request(
    kind: str, load: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """One bar for a call that asks for one, awaited or not; none of the model's own."""
    own = load(kind)
    own.embed_batch_size = 2
    expected = own.get_text_embedding_batch(TEXTS)
    assert capsys.readouterr() == ("", "")

    def awaited() -> Any:
        return asyncio.run(own.aget_text_embedding_batch(TEXTS, show_progress=True))

    for workers, call in (
        (None, lambda: own.get_text_embedding_batch(TEXTS, show_progress=True)),
        (None, awaited),
        (2, awaited),
    ):
        own.num_workers = workers
        assert np.allclose(call(), expected, rtol=0, atol=BAR)
        shown = capsys.readouterr().err
        assert "Generating embeddings" in shown
        assert "Batches" not in shown


# Events, callbacks and limits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_events_tell_the_chunks_and_nothing_secret(
    kind: str,
    call: str,
    load: Callable[[str], Any],
    watched: tuple[list[Any], SimpleSpanHandler],
) -> None:
    """Starts and ends match batch by batch, in one span a public call, with names only."""
    own = load(kind)
    own.embed_batch_size = 4
    debug = LlamaDebugHandler(print_trace_on_end=False)
    own.callback_manager = CallbackManager([debug])
    act, chunks = CALLS[call]
    act(own)
    events, spans = watched
    starts = [event for event in events if isinstance(event, EmbeddingStartEvent)]
    ends = [event for event in events if isinstance(event, EmbeddingEndEvent)]
    assert len(starts) + len(ends) == len(events)
    assert [event.chunks for event in ends] == chunks
    assert [np.shape(event.embeddings) for event in ends] == [
        (len(chunk), own.dimension) for chunk in chunks
    ]
    assert [event.model_dict for event in starts] == [own.to_payload()] * len(chunks)
    assert own.to_payload() == {
        "class_name": own.class_name(),
        "model_name": own.model_name,
        "embed_batch_size": 4,
        "package_digest": own.package_digest,
    }
    pairs = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert [pair[1].payload[EventPayload.CHUNKS] for pair in pairs] == chunks
    calls = len(chunks) if "aggregate" in call else 1
    assert len(public_spans(spans.completed_spans)) == calls
    assert not spans.open_spans


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_fails_closes_its_span_and_leaves_no_role_behind(
    kind: str, load: Callable[[str], Any], watched: tuple[list[Any], SimpleSpanHandler]
) -> None:
    """After a query that cannot be embedded, a document is a document in the cache."""
    own, plain = load(kind), load(kind)
    own.embeddings_cache = SimpleKVStore()
    not_a_text: Any = 7
    with pytest.raises((TypeError, ValueError)):
        own.get_query_embedding(not_a_text)
    _, spans = watched
    assert public_spans(spans.dropped_spans) == ["get_query_embedding"]
    assert not spans.open_spans
    assert own.get_query_embedding("card") == plain.get_query_embedding("card")
    assert own.embeddings_cache.get("card", collection="embeddings") is None
    assert own.get_text_embedding("card") == plain.get_text_embedding("card")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_counted_once(kind: str, load: Callable[[str], Any]) -> None:
    """A token counter sees every text once; a base under an adapter reports nothing."""
    own = load(kind)
    own.embed_batch_size = 4
    counter = TokenCountingHandler(tokenizer=str.split)
    own.callback_manager = CallbackManager([counter])
    own.get_query_embedding("get my money")
    own.get_text_embedding_batch(TEXTS)
    asyncio.run(own.aget_text_embedding_batch(TEXTS))
    words = sum(len(text.split()) for text in TEXTS)
    assert counter.total_embedding_token_count == 3 + 2 * words
    assert len(counter.embedding_token_counts) == 1 + 2 * len(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limiter_is_asked_once_a_batch_and_not_for_what_is_cached(
    kind: str, load: Callable[[str], Any]
) -> None:
    """Two embeddings may share a limiter, and a real one lets a burst pass."""
    own, other, limiter = load(kind), load(kind), Counter()
    own.rate_limiter = other.rate_limiter = limiter
    own.embed_batch_size = 5
    own.get_text_embedding("card")
    own.get_text_embedding_batch(["card"] * 12)
    other.get_query_embedding("card")
    assert limiter.calls == ["sync"] * 5
    asyncio.run(own.aget_text_embedding_batch(["card"] * 12))
    asyncio.run(own.aget_query_embedding("card"))
    assert limiter.calls[5:] == ["async"] * 4
    own.embeddings_cache = SimpleKVStore()
    for _ in range(3):
        own.get_query_embedding("card")
        asyncio.run(own.aget_query_embedding("card"))
    assert limiter.calls[9:] == ["sync"]
    own.rate_limiter = TokenBucketRateLimiter(requests_per_minute=600)
    assert own.get_query_embedding("money") == load(kind).get_query_embedding("money")


# Awaiting


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["query", "text", "batch"])
def test_the_event_loop_goes_on_while_the_model_computes(
    kind: str, call: str, load: Callable[[str], Any]
) -> None:
    """The model waits until another task has had five turns: a blocked loop gives it none."""
    own = load(kind)
    five_turns, reached = threading.Event(), []
    encoder_of(own).register_forward_pre_hook(
        lambda *_: reached.append(five_turns.wait(timeout=20))
    )

    async def main() -> Any:
        inside = asyncio.ensure_future(
            {
                "query": lambda: own.aget_query_embedding("card"),
                "text": lambda: own.aget_text_embedding("card"),
                "batch": lambda: own.aget_text_embedding_batch(TEXTS),
            }[call]()
        )
        for _ in range(5):
            await asyncio.sleep(0)
        five_turns.set()
        return await inside

    asyncio.run(main())
    assert reached
    assert all(reached)


# The cache of vectors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_a_vector_is_in_the_cache_after_it_was_embedded(
    kind: str, awaited: bool, load: Callable[[str], Any]
) -> None:
    """As in LlamaIndex's tests: the text's key holds its vector, and a batch reads it."""
    own = load(kind)
    own.embeddings_cache = SimpleKVStore()

    def text() -> Any:
        return asyncio.run(own.aget_text_embedding("Hello"))

    def batch() -> Any:
        return asyncio.run(own.aget_text_embedding_batch(["Hello"]))

    if not awaited:
        text = lambda: own.get_text_embedding("Hello")  # noqa: E731
        batch = lambda: own.get_text_embedding_batch(["Hello"])  # noqa: E731
    vector = text()
    kept = own.embeddings_cache.get(key="Hello", collection="embeddings")
    assert list(kept.values()) == [vector]
    passes = count_passes(own)
    assert batch() == [vector]
    assert passes == []
    assert own.embeddings_cache.get(key="Hello", collection="embeddings") == kept


def test_one_cache_serves_two_packages_in_both_roles(load: Callable[[str], Any]) -> None:
    """Whoever comes first, and awaited or not, each gets its own vectors, and no more are made."""
    store = SimpleKVStore()
    pairs = [(load(kind), load(kind)) for kind in ("full", "lora")]
    passes = []
    for own, _ in pairs:
        own.embeddings_cache = store
        passes.append(count_passes(own))
    for _ in range(2):
        for own, plain in pairs:
            assert own.get_query_embedding("card") == plain.get_query_embedding("card")
            found = asyncio.run(own.aget_text_embedding_batch(["card", "money"]))
            assert np.allclose(found, plain.get_text_embedding_batch(["card", "money"]), atol=BAR)
            assert asyncio.run(own.aget_query_embedding("money")) == plain.get_query_embedding(
                "money"
            )
            assert np.allclose(own.get_text_embedding("card"), found[0], rtol=0, atol=0)
    assert passes == [[1, 2, 1]] * 2
    assert store.get("card", collection="embeddings") is None


def test_a_cache_keeps_dtypes_and_merged_adapters_apart(
    uris: dict[str, str], shared_registry: Any
) -> None:
    """What was rounded in one way is not given to whoever asked for the other."""
    assert shared_registry
    store = SimpleKVStore()
    ways: list[dict[str, Any]] = [
        {"dtype": dtype, "merge": merge} for dtype in (None, "bfloat16") for merge in (True, False)
    ]
    expected = [pairlock.load(uris["lora"], **way).get_query_embedding("card") for way in ways]
    assert len({tuple(vector) for vector in expected}) == len(ways)
    for _ in range(2):
        for way, vector in zip(ways, expected, strict=True):
            own = pairlock.load(uris["lora"], **way)
            own.embeddings_cache = store
            assert own.get_query_embedding("card") == vector


def test_a_saved_cache_serves_the_next_process(load: Callable[[str], Any], tmp_path: Path) -> None:
    """A store that was written and read again holds the same vectors for the same package."""
    own, store = load("linear"), SimpleKVStore()
    own.embeddings_cache = store
    expected = both_roles(own)
    store.persist(str(tmp_path / "cache.json"))
    later = load("linear")
    later.embeddings_cache = SimpleKVStore.from_persist_path(str(tmp_path / "cache.json"))
    passes = count_passes(later)
    assert np.array_equal(both_roles(later), expected)
    assert passes == []


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_changes_a_vector_changes_his_own(kind: str, load: Callable[[str], Any]) -> None:
    """A list that was given out is not the one in the cache, embedded just now or found there."""
    own = load(kind)
    own.embeddings_cache = SimpleKVStore()
    expected = load(kind).get_query_embedding("card")
    for _ in range(3):
        found = own.get_query_embedding("card")
        assert found == expected
        found[0] = 99.0
        awaited = asyncio.run(own.aget_query_embedding("card"))
        assert awaited == expected
        awaited[0] = 99.0


# Copies, processes and threads


@pytest.mark.parametrize("kind", CLASSES)
def test_another_process_gives_the_same_vectors(
    kind: str, load: Callable[[str], Any], worker: ProcessPoolExecutor
) -> None:
    """Handed to a fresh process, an embedding is loaded there again, and agrees bit for bit."""
    own = load(kind)
    assert worker.submit(os.getpid).result() != os.getpid()
    calls = [methodcaller("get_query_embedding", text) for text in TEXTS]
    queries = [worker.submit(call, own) for call in calls]
    texts = worker.submit(methodcaller("get_text_embedding_batch", TEXTS), own)
    there = np.array([[query.result() for query in queries], texts.result()])
    assert np.array_equal(there, both_roles(own))


@pytest.mark.parametrize("kind", CLASSES)
def test_a_deep_copy_of_a_whole_pipeline_shares_the_weights(
    kind: str, load: Callable[[str], Any]
) -> None:
    """What holds an embedding can be copied; one embedding in it stays one embedding."""
    own = load(kind)
    held = {"pipeline": [own, {"again": own}]}
    made = copy.deepcopy(held)
    copied: Any = made["pipeline"][0]
    assert made["pipeline"][1]["again"] is copied is not own  # type: ignore[index]
    assert copied.resident_model is own.resident_model
    assert own.model_copy(deep=True).resident_model is own.resident_model
    assert np.array_equal(both_roles(copied), both_roles(own))


def test_a_copy_with_another_cache_keeps_roles_apart_in_it(load: Callable[[str], Any]) -> None:
    """`model_copy(update=…)` is as good as setting the field."""
    plain = load("full")
    own = plain.model_copy(update={"embeddings_cache": SimpleKVStore(), "embed_batch_size": 3})
    assert (own.embed_batch_size, plain.embeddings_cache) == (3, None)
    for _ in range(2):
        assert own.get_query_embedding("card") == plain.get_query_embedding("card")
        assert own.get_text_embedding("card") == plain.get_text_embedding("card")


def test_threads_on_every_kind_give_what_one_thread_gives(load: Callable[[str], Any]) -> None:
    """Adapters that share a base with it, used at once, each give their own vectors."""
    embeddings = [load(kind) for kind in CLASSES]
    work = [(own, number) for number in range(6) for own in embeddings]

    def embed(item: tuple[Any, int]) -> Any:
        own, number = item
        text = TEXTS[number]
        return own.get_query_embedding(text), own.get_text_embedding(text)

    serial = [embed(item) for item in work]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(embed, work)) == serial


def test_every_thread_may_have_an_event_loop(load: Callable[[str], Any]) -> None:
    """One embedding serves several event loops at once."""
    own = load("lora apart")
    own.embeddings_cache = SimpleKVStore()
    expected = both_roles(load("lora apart"))

    async def all_of_them() -> Any:
        queries = [own.aget_query_embedding(text) for text in TEXTS]
        texts = [own.aget_text_embedding(text) for text in TEXTS]
        return [await asyncio.gather(*queries), await asyncio.gather(*texts)]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: asyncio.run(all_of_them()), range(4)):
            assert np.allclose(found, expected, rtol=0, atol=BAR)


# Arithmetic


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_are_those_of_the_vectors(kind: str, load: Callable[[str], Any]) -> None:
    """Cosine, dot product and distance of a query to documents rank as written out here."""
    own = load(kind)
    query = np.array(own.get_query_embedding("money back"))
    texts = np.array(own.get_text_embedding_batch(DOCUMENTS))
    written_out = {
        SimilarityMode.DEFAULT: texts @ query / np.linalg.norm(texts, axis=1),
        SimilarityMode.DOT_PRODUCT: texts @ query,
        SimilarityMode.EUCLIDEAN: -np.linalg.norm(texts - query, axis=1),
    }
    written_out[SimilarityMode.DEFAULT] /= np.linalg.norm(query)
    for mode, expected in written_out.items():
        found = [own.similarity(list(query), list(text), mode=mode) for text in texts]
        assert found == pytest.approx(list(expected))
    assert own.similarity(list(query), list(texts[0])) == pytest.approx(
        written_out[SimilarityMode.DEFAULT][0]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_queries_are_aggregated_as_asked(kind: str, load: Callable[[str], Any]) -> None:
    """The mean of query vectors, or what the caller's function makes of them; never of none."""
    own = load(kind)
    queries = ["money back", "card"]
    vectors = np.array([own.get_query_embedding(query) for query in queries])
    assert own.get_agg_embedding_from_queries(queries) == pytest.approx(list(vectors.mean(axis=0)))
    texts = np.array([own.get_text_embedding(query) for query in queries])
    assert np.abs(texts.mean(axis=0) - vectors.mean(axis=0)).max() > 1e-3

    def largest(found: list[list[float]]) -> list[float]:
        highest: list[float] = np.max(found, axis=0).tolist()
        return highest

    expected = pytest.approx(list(vectors.max(axis=0)))
    assert own.get_agg_embedding_from_queries(queries, agg_fn=largest) == expected
    assert asyncio.run(own.aget_agg_embedding_from_queries(queries, agg_fn=largest)) == expected
    with pytest.raises(ValueError, match="No embeddings to aggregate"):
        own.get_agg_embedding_from_queries([])


def test_the_private_method_of_hugging_face_s_class_gives_lists(load: Callable[[str], Any]) -> None:
    """`_embed`, which LlamaIndex tests by itself, embeds texts as documents or as queries."""
    own = load("full")
    assert own._embed(["card"]) == [own.get_text_embedding("card")]
    assert own._embed(["card"], prompt_name="text") == [own.get_text_embedding("card")]
    assert own._embed(["card"], prompt_name="query") == [own.get_query_embedding("card")]


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_pictures_are_refused_by_every_method_for_them(
    kind: str, load: Callable[[str], Any]
) -> None:
    """One or many, awaited or not: the path of a picture is never embedded as a text."""
    own = load(kind)
    for act in (
        lambda: own.get_image_embedding("picture.png"),
        lambda: own.get_image_embedding_batch(["picture.png"]),
        lambda: asyncio.run(own.aget_image_embedding("picture.png")),
        lambda: asyncio.run(own.aget_image_embedding_batch(["picture.png"])),
    ):
        with pytest.raises(InvalidInputError) as caught:
            act()
        assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


# Indexes


def holds_its_texts(index: VectorStoreIndex, own: Any) -> bool:
    """Whether every vector in an index is that of its node's text as a document."""
    store: Any = index.vector_store
    nodes = {
        key: index.docstore.get_node(node) for key, node in index.index_struct.nodes_dict.items()
    }
    texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes.values()]
    found = np.array([store.get(key) for key in nodes])
    return np.allclose(found, own.get_text_embedding_batch(texts), rtol=0, atol=BAR)


def retrieved(index: VectorStoreIndex, query: str = "money back") -> list[tuple[str, float]]:
    """Texts and scores that an index gives for a query, best first."""
    found = index.as_retriever(similarity_top_k=3).retrieve(QueryBundle(query))
    return [(node.get_content(), float(node.score or 0)) for node in found]


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("kind", CLASSES)
def test_an_index_from_settings_embeds_documents_and_queries_in_their_roles(
    kind: str, load: Callable[[str], Any]
) -> None:
    """Documents get the document prompt, queries the query prompt or the adapter."""
    own = load(kind)
    Settings.embed_model = own
    index = VectorStoreIndex.from_documents(documents())
    assert Settings.embed_model is own
    assert holds_its_texts(index, own)
    texts = np.array(own.get_text_embedding_batch(DOCUMENTS))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)

    def scores(vector: list[float]) -> list[float]:
        found: list[float] = sorted(texts @ vector / np.linalg.norm(vector), reverse=True)[:3]
        return found

    found = [score for _, score in retrieved(index)]
    assert found == pytest.approx(scores(own.get_query_embedding("money back")), abs=BAR)
    assert np.abs(np.array(found) - scores(own.get_text_embedding("money back"))).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_holds_the_right_vectors_whatever_is_done_to_it(
    kind: str, load: Callable[[str], Any]
) -> None:
    """Built at once or asynchronously, inserted into, updated, refreshed and deleted from."""
    own = load(kind)
    index = VectorStoreIndex.from_documents(documents(), embed_model=own, use_async=True)
    assert holds_its_texts(index, own)
    index.insert(Document(text="a new card", metadata={"topic": "cards"}))
    index.insert(Document(text=""))
    assert holds_its_texts(index, own)
    index.delete_ref_doc("0", delete_from_docstore=True)
    index.update_ref_doc(Document(text="the invoice is here", doc_id="1"))
    assert index.refresh_ref_docs([Document(text="the invoice is there", doc_id="1")]) == [True]
    assert holds_its_texts(index, own)

    async def later() -> None:
        await index.ainsert(Document(text="one more card"))
        await index.aupdate_ref_doc(Document(text="PayPal", doc_id="3"))
        await index.arefresh_ref_docs([Document(text="where is it", doc_id="2")])
        await index.adelete_ref_doc("4", delete_from_docstore=True)

    asyncio.run(later())
    assert holds_its_texts(index, own)
    texts = {node.get_content() for node in index.docstore.docs.values()}
    expected = {"a new card", "one more card", "the invoice is there", "PayPal", "where is it"}
    assert texts - {""} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_the_same_after_it_was_saved_or_pickled(
    kind: str, load: Callable[[str], Any], tmp_path: Path
) -> None:
    """Read again with the same package, it gives the same texts with the same scores."""
    own = load(kind)
    index = VectorStoreIndex.from_documents(documents(), embed_model=own)
    expected = retrieved(index)
    index.storage_context.persist(str(tmp_path))
    storage = StorageContext.from_defaults(persist_dir=str(tmp_path))
    saved = load_index_from_storage(storage, embed_model=load(kind))
    pickled = pickle.loads(pickle.dumps(index))
    assert saved.index_id == index.index_id
    for again in (saved, pickled):
        assert retrieved(again) == expected
        assert holds_its_texts(again, own)


def test_a_picture_in_an_index_of_texts_counts_for_its_text(load: Callable[[str], Any]) -> None:
    """A node with a picture is embedded by its text, never by the picture, and is found again."""
    own = load("full")
    index = VectorStoreIndex([], embed_model=own)
    index.insert_nodes([ImageNode(image="potato"), ImageNode(image="cat", text="the card")])
    assert holds_its_texts(index, own)
    found = index.as_retriever().retrieve("card")
    assert {node.node.image for node in found if isinstance(node.node, ImageNode)} == {
        "potato",
        "cat",
    }


@pytest.mark.usefixtures("_settings")
def test_resolving_sets_callbacks_on_this_object_alone(load: Callable[[str], Any]) -> None:
    """LlamaIndex overwrites the callbacks of what it is given; copies keep theirs."""
    own = load("linear")
    first, second = (TokenCountingHandler(tokenizer=str.split) for _ in range(2))
    own.callback_manager = CallbackManager([first])
    copied, base = copy.deepcopy(own), own._base_embed_model
    manager = CallbackManager([second])
    assert resolve_embed_model(own, callback_manager=manager) is own
    assert own.callback_manager is manager
    own.get_query_embedding("get my money")
    assert (first.total_embedding_token_count, second.total_embedding_token_count) == (0, 3)
    copied.get_query_embedding("card")
    assert (first.total_embedding_token_count, second.total_embedding_token_count) == (1, 3)
    assert base.callback_manager is not manager
    with pytest.raises(ValueError, match="embed_model must start with"):
        resolve_embed_model(own.uri)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_llama_index_that_take_an_embedding_take_ours(
    kind: str, load: Callable[[str], Any]
) -> None:
    """A splitter and an optimizer that embed sentences keep the object and compute with it."""
    own = load(kind)
    splitter = SemanticSplitterNodeParser(embed_model=own, breakpoint_percentile_threshold=50)
    assert splitter.embed_model is own
    assert splitter.to_dict()["embed_model"]["package_digest"] == own.package_digest
    pieces = [
        node.get_content() for node in splitter.get_nodes_from_documents([Document(text=STORY)])
    ]
    assert len(pieces) > 1
    assert "".join(pieces).split() == STORY.split()
    sentences = STORY.split(". ")
    optimizer = SentenceEmbeddingOptimizer(
        embed_model=own,
        percentile_cutoff=0.3,
        tokenizer_fn=lambda text: text.split(". "),
        context_before=0,
        context_after=0,
    )
    node = NodeWithScore(node=TextNode(text=STORY))
    optimizer.postprocess_nodes([node], query_str="money back")
    query = np.array(own.get_query_embedding("money back"))
    texts = np.array(own.get_text_embedding_batch(sentences))
    best = sentences[int(np.argmax(texts @ query / np.linalg.norm(texts, axis=1)))]
    assert node.get_content() == best


# Pipelines


def ingest(own: Any, cache: IngestionCache, *, awaited: bool = False) -> list[list[float]]:
    """Vectors that a pipeline gives for the documents."""
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), own], cache=cache)
    nodes = asyncio.run(pipeline.arun(documents=documents())) if awaited else None
    nodes = nodes or pipeline.run(documents=documents())
    assert [node.ref_doc_id for node in nodes] == [str(n) for n in range(len(DOCUMENTS))]
    return [node.embedding or [] for node in nodes]


def test_a_new_version_gets_no_vector_of_the_version_before(
    registry: Any, tiny_model: Path, tiny_other: Path
) -> None:
    """A pipeline's cache serves a version again, and another version of the name never."""
    first = pairlock.load(registry.log(tiny_model, "moving"))
    second = pairlock.load(registry.log(tiny_other, "moving"))
    assert [first.uri, second.uri] == ["models:/moving/1", "models:/moving/2"]  # type: ignore[attr-defined]
    cache, nodes = IngestionCache(), [TextNode(text="card")]
    assert get_transformation_hash(nodes, first) != get_transformation_hash(nodes, second)
    for own in (first, second):
        expected = own.get_text_embedding_batch(DOCUMENTS)
        passes = count_passes(own)
        for awaited in (False, True, False):
            assert ingest(own, cache, awaited=awaited) == expected
        assert len(passes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_of_vectors_changes_no_hash_of_a_pipeline(
    kind: str, load: Callable[[str], Any]
) -> None:
    """What LlamaIndex hashes is what is computed, and not how it is kept."""
    own, nodes = load(kind), [TextNode(text="card")]
    before = get_transformation_hash(nodes, own)
    own.embeddings_cache = SimpleKVStore()
    assert get_transformation_hash(nodes, own) == before
    assert get_transformation_hash(nodes, load(kind)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_replaces_the_vectors_of_a_changed_document(
    kind: str, load: Callable[[str], Any]
) -> None:
    """With a document store and upserts, a vector store holds the new text's vector alone."""
    own, store = load(kind), SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=[own],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    pipeline.run(documents=[Document(text="the old text", doc_id="1")])
    assert pipeline.run(documents=[Document(text="the old text", doc_id="1")]) == []
    asyncio.run(pipeline.arun(documents=[Document(text="the new text", doc_id="1")]))
    vectors = [store.get(key) for key in store.data.embedding_dict]
    assert vectors == [own.get_text_embedding("the new text")]


def test_a_pipeline_works_in_several_processes(load: Callable[[str], Any]) -> None:
    """Fresh processes load the package again, forked ones too; the cache that they fill is used."""
    own = load("linear")
    pipeline = IngestionPipeline(transformations=[own])
    expected = [own.get_text_embedding(text) for text in DOCUMENTS]
    # `run` starts fresh processes. One document keeps all but one from importing torch
    nodes = pipeline.run(documents=documents()[:1], num_workers=2)
    assert [node.embedding for node in nodes] == expected[:1]
    collection = pipeline.cache.collection
    for _ in range(2):
        # `arun` forks, where the platform does
        nodes = asyncio.run(pipeline.arun(documents=documents()[1:3], num_workers=2))
        assert [node.embedding for node in nodes] == expected[1:3]
        assert len(pipeline.cache.cache.get_all(collection=collection)) == 3
