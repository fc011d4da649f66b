"""Chroma and Qdrant in local mode: the stamp lies with the vectors, and is there when reopened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings as ChromaSettings
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.vector_stores.types import BasePydanticVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient, models

import pairlock
from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    FormatError,
    IntegrityError,
    NotFoundError,
    PairlockError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.index.stamps import STAMP_KEY, STAMP_VERSION
from support.indexes import build, build_in, hits, nodes

Load = Callable[[str], Any]
STORES = ("chroma", "qdrant")


def chroma_client(folder: Path) -> Any:
    """A client on a folder, as a new process would make it."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient.clear_system_cache()
    return chromadb.PersistentClient(str(folder), ChromaSettings(anonymized_telemetry=False))


@contextmanager
def opened(kind: str, folder: Path, name: str = "docs") -> Iterator[Any]:
    """A vector store on a collection in a folder, closed afterwards."""
    if kind == "chroma":
        collection = chroma_client(folder).get_or_create_collection(name)
        yield ChromaVectorStore(chroma_collection=collection)
        return
    client = QdrantClient(path=str(folder))
    try:
        yield QdrantVectorStore(name, client=client)
    finally:
        client.close()


def refused(act: Callable[..., Any], *arguments: Any, **options: Any) -> PairlockError:
    """The error that an act ends with, which must be of Pairlock's."""
    with pytest.raises(PairlockError) as caught:
        act(*arguments, **options)
    return caught.value


def metadata_of(store: Any) -> dict[str, Any]:
    """The metadata of a store's collection as the database has it."""
    if isinstance(store, ChromaVectorStore):
        collection = store.client
        return dict(collection._client.get_collection(collection.name).metadata or {})
    return dict(store.client.get_collection(store.collection_name).config.metadata or {})


def set_metadata(store: Any, metadata: dict[str, Any]) -> None:
    """Write metadata by the database's own client."""
    if isinstance(store, ChromaVectorStore):
        store.client.modify(metadata={**metadata_of(store), **metadata})
    else:
        store.client.update_collection(store.collection_name, metadata=metadata)


@pytest.mark.parametrize("kind", STORES)
def test_a_stamp_is_there_when_the_store_is_opened_again(
    kind: str, load: Load, tmp_path: Path
) -> None:
    """A collection that was stamped through its index answers v2 and refuses LoRA when reopened."""
    with opened(kind, tmp_path) as store:
        made = pairlock.index.stamp(build_in(store, load("linear")), load("linear"))
    with opened(kind, tmp_path) as store:
        v2, lora = load("linear_bias"), load("lora_1")
        index = VectorStoreIndex.from_vector_store(store, embed_model=v2)
        assert pairlock.index.read(store) == pairlock.index.read(index) == made
        assert pairlock.index.read(index.storage_context) == made
        guarded = pairlock.guard(index, v2, prove=True)
        assert hits(guarded) == hits(build(v2))
        error = refused(pairlock.index.check, store, lora)
        assert isinstance(error, IntegrityError)
        assert error.kind is ErrorKind.SPACE
        assert all(
            pairlock.receipt(one).package_digest in str(error) for one in (load("linear"), lora)
        )
        assert refused(guarded.as_retriever, embed_model=lora).kind is ErrorKind.SPACE


@pytest.mark.parametrize("kind", STORES)
def test_a_collection_is_stamped_only_with_the_model_that_filled_it(
    kind: str, load: Load, tmp_path: Path
) -> None:
    """Vectors in a collection are computed again before it is stamped, and replaced on purpose."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("linear"))
        assert refused(pairlock.index.read, store).kind is ErrorKind.INDEX_NOT_STAMPED
        error = refused(pairlock.index.stamp, store, load("lora_1"))
        assert isinstance(error, IntegrityError)
        assert error.kind is ErrorKind.SPACE
        assert len(error.findings) == 3
        assert STAMP_KEY not in metadata_of(store)
        made = pairlock.index.stamp(store, load("linear"))
        taken = refused(pairlock.index.stamp, store, load("lora_1"), prove=False)
        assert isinstance(taken, AlreadyExistsError)
        assert pairlock.index.read(store) == made
        pairlock.index.stamp(store, load("lora_1"), prove=False, replace=True)
        assert refused(pairlock.index.check, store, load("lora_1"), prove=True).kind is (
            ErrorKind.SPACE
        )


@pytest.mark.parametrize("kind", STORES)
def test_each_collection_has_a_stamp_of_its_own(kind: str, load: Load, tmp_path: Path) -> None:
    """A database holds many: each is stamped, read and refused by itself."""
    built = {"one": "linear", "two": "lora_1"}
    for name, model in {**built, "three": "linear"}.items():
        with opened(kind, tmp_path, name) as store:
            build_in(store, load(model))
            if name in built:
                pairlock.index.stamp(store, load(model))
    for name, model in built.items():
        with opened(kind, tmp_path, name) as store:
            assert pairlock.index.check(store, load(model), prove=True)
            other = load("lora_1" if model == "linear" else "linear")
            assert refused(pairlock.index.check, store, other).kind is ErrorKind.SPACE
    with opened(kind, tmp_path, "three") as store:
        assert refused(pairlock.index.read, store).kind is ErrorKind.INDEX_NOT_STAMPED


@pytest.mark.parametrize("kind", STORES)
def test_other_metadata_stays(kind: str, load: Load, tmp_path: Path) -> None:
    """A stamp is written beside what somebody else wrote meanwhile by another client object."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("linear"))
        other = store
        if kind == "chroma":  # a collection object remembers the metadata it was opened with
            again = store.client._client.get_collection(store.client.name)
            assert again.metadata is None
            other = ChromaVectorStore(
                chroma_collection=chromadb.Collection(client=store.client._client, model=again)
            )
        set_metadata(other, {"team": "search", "shards": 3})
        pairlock.index.stamp(store, load("linear"))
        found = metadata_of(store)
        assert found.pop(STAMP_KEY)
        assert found == {"team": "search", "shards": 3}
        assert pairlock.index.read(other)


def test_the_distance_of_an_old_chroma_collection_stays(load: Load, tmp_path: Path) -> None:
    """`hnsw:space`, which Chroma takes in no change, goes; the distance and the rest stay."""
    client = chroma_client(tmp_path)
    old = {"hnsw:space": "cosine", "hnsw:M": 32, "team": "search"}
    collection = client.create_collection("docs", metadata=old)
    pairlock.index.stamp(collection, load("linear"))
    again = chroma_client(tmp_path).get_collection("docs")
    assert again.configuration_json["hnsw"]["space"] == "cosine"
    assert again.metadata["team"] == "search"
    assert again.metadata["hnsw:M"] == 32
    assert pairlock.index.read(again)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("damage", ["{", "{}", '{"format_version": "x"}', 7])
def test_a_damaged_stamp_is_an_error(kind: str, damage: Any, load: Load, tmp_path: Path) -> None:
    """A stamp in metadata that is none is refused, until it is replaced on purpose."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("linear"))
        set_metadata(store, {STAMP_KEY: damage})
        error = refused(pairlock.index.read, store)
        assert isinstance(error, FormatError)
        assert error.kind is ErrorKind.INDEX_STAMP_INVALID
        assert isinstance(refused(pairlock.index.stamp, store, load("linear")), FormatError)
        pairlock.index.stamp(store, load("linear"), replace=True)
        assert pairlock.index.check(store, load("linear"), prove=True)


@pytest.mark.parametrize("kind", STORES)
def test_a_newer_stamp_is_told_from_damage(kind: str, load: Load, tmp_path: Path) -> None:
    """A stamp of a later format asks for an upgrade."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("linear"))
        set_metadata(store, {STAMP_KEY: f'{{"format_version": {STAMP_VERSION + 1}}}'})
        assert refused(pairlock.index.read, store).kind is ErrorKind.FORMAT_TOO_NEW


@pytest.mark.parametrize("kind", STORES)
def test_the_dimension_is_asked_of_the_collection(kind: str, load: Load, tmp_path: Path) -> None:
    """A collection whose vectors have another dimension is refused without computing one."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("tiny_wide"))
        error = refused(pairlock.index.stamp, store, load("linear"), prove=False)
        assert error.kind is ErrorKind.DIMENSION


@pytest.mark.parametrize("kind", STORES)
def test_vectors_of_any_length_are_proved(kind: str, load: Load, tmp_path: Path) -> None:
    """A model that does not normalise is proved where norms are kept, and where they are not."""
    with opened(kind, tmp_path) as store:
        build_in(store, load("tiny_unnormalized"))
        assert pairlock.index.stamp(store, load("tiny_unnormalized"))


@pytest.mark.parametrize("kind", STORES)
def test_a_collection_that_is_gone_is_an_error(kind: str, load: Load, tmp_path: Path) -> None:
    """A collection that was never made, or was deleted under a store, gives an error."""
    with opened(kind, tmp_path) as store:
        if kind == "chroma":
            store.client._client.delete_collection(store.client.name)
        error = refused(pairlock.index.read, store)
        assert isinstance(error, UnavailableError if kind == "chroma" else NotFoundError)
        assert isinstance(refused(pairlock.index.stamp, store, load("linear")), type(error))


def test_a_collection_filled_by_chroma_itself_is_proved_by_its_documents(
    load: Load, tmp_path: Path
) -> None:
    """Without LlamaIndex's metadata the document is the text; without one nothing is proved."""
    model, collection = load("linear"), chroma_client(tmp_path).create_collection("docs")
    collection.add(
        ids=["a"], documents=["a refund"], embeddings=[model.get_text_embedding("a refund")]
    )
    assert pairlock.index.stamp(collection, model)
    assert refused(pairlock.index.stamp, collection, load("lora_1"), replace=True).kind is (
        ErrorKind.SPACE
    )
    collection.add(ids=["b"], embeddings=[model.get_text_embedding("a card")])
    error = refused(pairlock.index.stamp, collection, model)
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.INDEX_UNSUPPORTED
    assert pairlock.index.stamp(collection, model, prove=False)


def test_the_last_node_of_a_chroma_collection_is_looked_at_too(load: Load, tmp_path: Path) -> None:
    """A collection that went on with another model is not stamped."""
    with opened("chroma", tmp_path) as store:
        index = build_in(store, load("linear"))
        index._embed_model = load("lora_1")
        again = nodes()[0].model_copy(update={"id_": "last"})
        index.insert_nodes([again])
        assert refused(pairlock.index.stamp, store, load("linear")).kind is ErrorKind.SPACE


def test_named_vectors_of_qdrant_are_found(load: Load) -> None:
    """A collection with several vectors per point is judged by LlamaIndex's dense one."""
    client, model = QdrantClient(":memory:"), load("linear")
    dense = models.VectorParams(size=32, distance=models.Distance.DOT)
    other = models.VectorParams(size=7, distance=models.Distance.DOT)
    client.create_collection("docs", vectors_config={"text-dense": dense, "other": other})
    store = QdrantVectorStore("docs", client=client)
    point = models.PointStruct(
        id=1,
        vector={"text-dense": model.get_text_embedding("a refund"), "other": [0.0] * 7},
        payload={"text": "a refund"},
    )
    client.upsert("docs", [point])
    assert pairlock.index.stamp(store, model)
    assert refused(pairlock.index.stamp, store, load("lora_1"), replace=True).kind is (
        ErrorKind.SPACE
    )
    client.upsert("docs", [models.PointStruct(id=2, vector=point.vector, payload={})])
    assert refused(pairlock.index.stamp, store, model).kind is ErrorKind.INDEX_UNSUPPORTED


def test_an_old_qdrant_server_that_drops_metadata_is_noticed(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stamp that the database does not keep is an error, and no stamp."""
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("docs", client=client)
    build_in(store, load("linear"))
    monkeypatch.setattr(
        client, "update_collection", lambda *_, **__: True
    )  # as servers before 1.16
    error = refused(pairlock.index.stamp, store, load("linear"))
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.INDEX_UNSUPPORTED


def test_a_server_that_does_not_answer_is_unavailable(load: Load) -> None:
    """A Qdrant server that is not there is an error of Pairlock's."""
    client = QdrantClient(":memory:")
    store = QdrantVectorStore("docs", client=client)
    store._client = QdrantClient("http://127.0.0.1:9", check_compatibility=False, timeout=1)
    assert isinstance(refused(pairlock.index.read, store), UnavailableError)


def test_an_asynchronous_client_alone_is_not_enough() -> None:
    """A store without a synchronous client says what it needs."""
    store = QdrantVectorStore("docs", aclient=AsyncQdrantClient(":memory:"))
    assert refused(pairlock.index.read, store).kind is ErrorKind.INDEX_UNSUPPORTED


class FileOfVectors(BasePydanticVectorStore):
    """A vector store that Pairlock knows nothing of."""

    stores_text: bool = False
    kept: dict[str, Any] = {}  # noqa: RUF012 - a pydantic field

    @property
    def client(self) -> None:
        return None

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self.kept.update({node.node_id: node.embedding for node in nodes})
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
        raise NotImplementedError

    def query(self, query: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def test_another_vector_store_is_stamped_in_the_index_store(load: Load, tmp_path: Path) -> None:
    """A store that keeps no stamps is refused by itself, and stamped in its context on purpose."""
    store = FileOfVectors()
    index = build_in(store, load("linear"))
    for target in (store, index, index.storage_context):
        error = refused(pairlock.index.stamp, target, load("linear"))
        assert isinstance(error, UnsupportedError)
        assert error.kind is ErrorKind.INDEX_UNSUPPORTED
    made = pairlock.index.stamp(index, load("linear"), prove=False)
    index.storage_context.index_store.persist(str(tmp_path / "index_store.json"))
    assert pairlock.index.read(tmp_path) == pairlock.index.read(index) == made
    assert refused(pairlock.guard, index, load("lora_1")).kind is ErrorKind.SPACE


@pytest.mark.parametrize("kind", STORES)
def test_the_folder_of_a_database_says_what_to_give_instead(
    kind: str, load: Load, tmp_path: Path
) -> None:
    """A database's own folder may hold any number of collections, and is no index."""
    with opened(kind, tmp_path) as store:
        pairlock.index.stamp(build_in(store, load("linear")), load("linear"))
    assert refused(pairlock.index.read, tmp_path).kind is ErrorKind.INDEX_UNSUPPORTED


@pytest.mark.parametrize("kind", STORES)
def test_a_folder_without_its_vectors_does_not_speak_for_them(
    kind: str, load: Load, tmp_path: Path
) -> None:
    """What is persisted beside a vector store holds no stamp, and cannot be proved."""
    with opened(kind, tmp_path / "database") as store:
        context = StorageContext.from_defaults(vector_store=store)
        index = build(load("linear"), storage_context=context)
        pairlock.index.stamp(index, load("linear"))
        context.persist(tmp_path / "storage")
    assert refused(pairlock.index.read, tmp_path / "storage").kind is ErrorKind.INDEX_NOT_STAMPED
    error = refused(pairlock.index.stamp, tmp_path / "storage", load("linear"))
    assert error.kind is ErrorKind.INDEX_UNSUPPORTED
