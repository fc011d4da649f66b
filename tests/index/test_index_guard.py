"""LlamaIndex's own storage: stamps that stay with their index, and indexes that refuse others."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    MockEmbedding,
    Settings,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.chat_engine import CondensePlusContextChatEngine
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import pairlock
from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
    UnsupportedError,
)
from support.adapters import train
from support.indexes import DOCUMENTS, QUESTION, build, hits, nodes
from support.registries import active

Load = Callable[[str], Any]
PLACES = ("index", "context", "folder")

IN_ANOTHER_PROCESS = """
import sys, json, pairlock
from llama_index.core import StorageContext, load_index_from_storage
from support.indexes import hits
folder, *uris = sys.argv[1:]
context = StorageContext.from_defaults(persist_dir=folder)
said = []
for uri in uris:
    embedding = pairlock.load(uri)
    try:
        index = load_index_from_storage(context, embed_model=embedding)
        said.append(hits(pairlock.guard(index, embedding)))
    except pairlock.PairlockError as error:
        said.append(str(error.kind))
print(json.dumps(said))
"""


def refused(act: Callable[..., Any], *arguments: Any, **options: Any) -> PairlockError:
    """The error that an act ends with, which must be of Pairlock's."""
    with pytest.raises(PairlockError) as caught:
        act(*arguments, **options)
    return caught.value


def is_space(error: PairlockError, *embeddings: Any) -> bool:
    """Whether an error says that spaces differ, and names these models by URI and digest."""
    known = [pairlock.receipt(embedding) for embedding in embeddings]
    named = all(one.uri in str(error) and one.package_digest in str(error) for one in known)
    return isinstance(error, IntegrityError) and error.kind is ErrorKind.SPACE and named


@pytest.fixture
def stamped(load: Load) -> VectorStoreIndex:
    """An index that was built with `linear`, and says so."""
    index = build(load("linear"))
    pairlock.index.stamp(index, load("linear"))
    return index


@pytest.fixture
def folder(stamped: VectorStoreIndex, tmp_path: Path) -> Path:
    """The same, persisted."""
    stamped.storage_context.persist(tmp_path / "storage")
    return tmp_path / "storage"


def reopened(folder: Path, embedding: Any, **kwargs: Any) -> Any:
    """The index of a folder."""
    context = StorageContext.from_defaults(persist_dir=str(folder))
    return load_index_from_storage(context, embed_model=embedding, **kwargs)


@pytest.mark.parametrize("place", PLACES)
def test_a_stamp_survives_persisting_and_loading(load: Load, tmp_path: Path, place: str) -> None:
    """A stamp on an index, its context or its folder is there after a round trip over the disk."""
    index, target = build(load("linear")), tmp_path / "storage"
    given: dict[str, Any] = {"index": index, "context": index.storage_context, "folder": target}
    if place == "folder":
        index.storage_context.persist(target)
    made = pairlock.index.stamp(given[place], load("linear"))
    if place != "folder":
        index.storage_context.persist(target)
    again = reopened(target, load("linear"))
    again.storage_context.persist(tmp_path / "second")
    for there in (target, str(target), again, again.storage_context, tmp_path / "second"):
        assert pairlock.index.read(there) == made
        assert pairlock.index.check(there, load("linear"), prove=True) == made
    assert made.uri == pairlock.receipt(load("linear")).uri
    assert made.dimension == 32


def test_a_stamp_survives_a_dictionary(stamped: VectorStoreIndex) -> None:
    """A storage context that was made a dictionary and back still has its stamp."""
    again = StorageContext.from_dict(json.loads(json.dumps(stamped.storage_context.to_dict())))
    assert pairlock.index.read(again) == pairlock.index.read(stamped)


def test_another_index_persisted_over_a_folder_takes_the_stamp_away(
    folder: Path, load: Load
) -> None:
    """The stamp goes with the index it is of: it never speaks for one that replaced it."""
    build(load("lora_1")).storage_context.persist(folder)
    assert refused(pairlock.index.read, folder).kind is ErrorKind.INDEX_NOT_STAMPED


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", ["lora_1", "tiny_other"])
def test_a_model_of_another_space_is_refused(
    stamped: VectorStoreIndex, folder: Path, load: Load, place: str, other: str
) -> None:
    """A check with a model of another document space is an error that names both models."""
    target = {"index": stamped, "context": stamped.storage_context, "folder": folder}[place]
    error = refused(pairlock.index.check, target, load(other))
    assert is_space(error, load("linear"), load(other))


def test_a_newer_adapter_on_one_base_answers_from_the_old_index(load: Load, folder: Path) -> None:
    """An index that was built with linear v1 gives under v2 what one built with v2 gives."""
    v2 = load("linear_bias")
    index = pairlock.guard(reopened(folder, v2), v2, prove=True)
    assert hits(index) == hits(build(v2))
    assert pairlock.index.read(index).uri == pairlock.receipt(load("linear")).uri


def test_the_base_of_an_adapter_answers_from_its_index(stamped: Any, load: Load) -> None:
    """A base and the linear adapters on it have one document space."""
    assert hits(pairlock.guard(stamped, load("tiny_model"), prove=True))


def test_a_newer_lora_does_not_answer_from_the_old_index(load: Load) -> None:
    """An index that was built with LoRA v1 is refused under v2."""
    v1, v2 = load("lora_1"), load("lora_2")
    index = build(v1)
    pairlock.index.stamp(index, v1)
    assert hits(pairlock.guard(index, v1))
    assert is_space(refused(pairlock.guard, index, v2), v1, v2)


def test_another_process_reads_the_stamp_and_holds_to_it(
    folder: Path, load: Load, shared_registry: Any
) -> None:
    """A stamp made here lets one model answer in a process of its own, and refuses another."""
    uris = [pairlock.receipt(load(name)).uri for name in ("linear_bias", "lora_1")]
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(folder), *uris],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [hits(build(load("linear_bias"))), "space"]


def test_real_weights(
    shelf: Any, packaged: Load, load: Load, minilm: Path, minilm_adapter: Path, tmp_path: Path
) -> None:
    """On MiniLM, linear v2 answers from v1's index as from its own, and another model does not."""
    base = packaged("minilm")
    other = train("linear_bias", minilm, tmp_path / "v2")
    with active(shelf.uri):
        uris = [shelf.log(one, "minilm-guarded", base=base) for one in (minilm_adapter, other)]
        v1, v2 = (pairlock.load(uri) for uri in uris)
    index = build(v1)
    pairlock.index.stamp(index, v1)
    index.storage_context.persist(tmp_path / "storage")
    guarded = pairlock.guard(reopened(tmp_path / "storage", v2), v2, prove=True)
    assert hits(guarded) == hits(build(v2))
    error = refused(pairlock.index.check, tmp_path / "storage", load("tiny_model"))
    assert is_space(error, v1, load("tiny_model"))


# stamping


def test_an_index_that_is_not_stamped_is_refused(load: Load, tmp_path: Path) -> None:
    """Without a stamp nothing is checked, read or guarded, but refused."""
    index = build(load("linear"))
    index.storage_context.persist(tmp_path)
    for act, target in (
        (pairlock.index.check, index),
        (pairlock.index.check, tmp_path),
        (pairlock.guard, index),
    ):
        error = refused(act, target, load("linear"))
        assert isinstance(error, NotFoundError)
        assert error.kind is ErrorKind.INDEX_NOT_STAMPED
    assert refused(pairlock.index.read, tmp_path).kind is ErrorKind.INDEX_NOT_STAMPED


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", ["lora_1", "tiny_other"])
def test_an_index_is_not_stamped_with_a_model_that_did_not_build_it(
    load: Load, tmp_path: Path, place: str, wrong: str
) -> None:
    """A stamp of another model is refused, by vectors that are computed again."""
    index = build(load("linear"))
    index.storage_context.persist(tmp_path)
    target = {"index": index, "context": index.storage_context, "folder": tmp_path}[place]
    error = refused(pairlock.index.stamp, target, load(wrong))
    assert is_space(error, load(wrong))
    assert len(error.findings) == 3
    assert refused(pairlock.index.read, target).kind is ErrorKind.INDEX_NOT_STAMPED


def test_a_wrong_stamp_is_made_only_on_purpose_and_found_by_proof(load: Load) -> None:
    """Without its proof a wrong stamp can be made; a check with the proof still finds it."""
    index = build(load("linear"))
    pairlock.index.stamp(index, load("lora_1"), prove=False)
    pairlock.index.check(index, load("lora_1"))
    assert is_space(refused(pairlock.index.check, index, load("lora_1"), prove=True))
    assert is_space(refused(pairlock.guard, index, load("lora_1"), prove=True))


def test_the_last_node_is_looked_at_too(load: Load) -> None:
    """An index that went on with another model is not stamped."""
    index = build(load("linear"))
    index._embed_model = load("lora_1")
    index.insert_nodes([TextNode(text="how it goes on")])
    assert is_space(refused(pairlock.index.stamp, index, load("linear")))


def test_a_vector_that_left_its_text_is_noticed(load: Load) -> None:
    """What is compared is the text with the metadata that LlamaIndex embeds along."""
    index = build(load("linear"))
    node = index.docstore.get_document(nodes()[0].node_id)
    index.docstore.add_documents([node.model_copy(update={"metadata": {"title": "other"}})])
    assert is_space(refused(pairlock.index.stamp, index, load("linear")))


def test_stored_vectors_of_another_dimension_are_refused(load: Load) -> None:
    """The dimension is compared also where nothing is computed again."""
    index = build(load("tiny_wide"))
    error = refused(pairlock.index.stamp, index, load("linear"), prove=False)
    assert error.kind is ErrorKind.DIMENSION


def test_a_stamp_of_another_space_is_replaced_only_on_purpose(load: Load) -> None:
    """A stamp of another space needs `replace=True`; one of the index's own space does not."""
    index = build(load("linear"))
    pairlock.index.stamp(index, load("linear_bias"))
    renewed = pairlock.index.stamp(index, load("linear"))
    assert pairlock.index.read(index) == renewed
    error = refused(pairlock.index.stamp, index, load("lora_1"), prove=False)
    assert isinstance(error, AlreadyExistsError)
    assert error.kind is ErrorKind.SPACE
    assert pairlock.index.read(index) == renewed
    replaced = pairlock.index.stamp(index, load("lora_1"), prove=False, replace=True)
    assert pairlock.index.read(index) == replaced


def test_an_empty_index_can_be_stamped_before_it_is_filled(load: Load) -> None:
    """An index without vectors is stamped, and filled through its guard."""
    index = VectorStoreIndex([], embed_model=load("linear"))
    pairlock.index.stamp(index, load("linear"))
    guarded = pairlock.guard(index, load("linear"))
    guarded.insert_nodes(nodes())
    assert hits(guarded) == hits(build(load("linear")))
    assert pairlock.index.check(guarded, load("linear"), prove=True)


@pytest.mark.parametrize("embedding", [None, MockEmbedding(embed_dim=32)])
def test_only_what_pairlock_loaded_can_stamp(load: Load, embedding: Any) -> None:
    """An embedding without a receipt says nothing about an index."""
    error = refused(pairlock.index.stamp, build(load("linear")), embedding)
    assert error.kind is ErrorKind.NOT_A_PAIRLOCK_EMBEDDING


def test_an_embedding_of_another_kind_is_refused(stamped: VectorStoreIndex, load: Load) -> None:
    """An embedding that Pairlock did not load has no known space, and is no answer to a stamp."""
    assert is_space(refused(pairlock.index.check, stamped, MockEmbedding(embed_dim=32)))
    assert is_space(refused(pairlock.guard, stamped, MockEmbedding(embed_dim=32)), load("linear"))


def test_copies_of_a_model_are_the_model(stamped: VectorStoreIndex, load: Load) -> None:
    """A copy of an embedding, deep or not, is admitted as the embedding is."""
    for copied in (copy.copy(load("linear")), copy.deepcopy(load("linear"))):
        assert pairlock.index.check(stamped, copied, prove=True)


def test_indexes_that_share_a_context_have_stamps_of_their_own(load: Load, tmp_path: Path) -> None:
    """Of two indexes in one context each is stamped, loaded and refused by itself."""
    first = build(load("linear"))
    context = first.storage_context
    pairlock.index.stamp(first, load("linear"))
    second = VectorStoreIndex(
        [TextNode(text="of the second")], embed_model=load("lora_1"), storage_context=context
    )
    assert refused(pairlock.index.read, context).kind is ErrorKind.INDEX_NOT_STAMPED
    assert is_space(refused(pairlock.index.stamp, context, load("lora_1"), replace=True))
    pairlock.index.stamp(context, load("lora_1"), index_id=second.index_id)
    context.persist(tmp_path)
    for place in (context, tmp_path):
        for index, name in ((first, "linear"), (second, "lora_1")):
            uri = pairlock.receipt(load(name)).uri
            assert pairlock.index.read(place, index_id=index.index_id).uri == uri
        assert isinstance(refused(pairlock.index.read, place), InvalidInputError)
        assert is_space(refused(pairlock.index.check, place, load("linear")))
        missing = refused(pairlock.index.read, place, index_id="third")
        assert isinstance(missing, NotFoundError)
    again = reopened(tmp_path, load("lora_1"), index_id=second.index_id)
    assert pairlock.guard(again, load("lora_1"))
    assert is_space(refused(pairlock.guard, again, load("linear")))


def test_indexes_of_one_space_are_read_as_one(load: Load) -> None:
    """A context whose indexes are of one space is stamped and read as a whole."""
    first = build(load("linear"))
    VectorStoreIndex(
        [TextNode(text="more")], embed_model=load("linear"), storage_context=first.storage_context
    )
    made = pairlock.index.stamp(first.storage_context, load("linear"))
    assert pairlock.index.read(first.storage_context) == made


# damage


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a folder's index store."""
    path = folder / "index_store.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def only_stamp(document: dict[str, Any]) -> dict[str, Any]:
    """The stamp in an index store."""
    (found,) = document["pairlock/index_stamps"].values()
    return found


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no digest": lambda document: only_stamp(document).pop("package_digest"),
    "another key": lambda document: only_stamp(document).update(more=1),
    "no collection": lambda document: document.update({"pairlock/index_stamps": "lost"}),
    "no object": lambda document: document.update(
        {"pairlock/index_stamps": dict.fromkeys(document["pairlock/index_stamps"], "lost")}
    ),
    "no structures": lambda document: document.update({"index_store/data": []}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_stamp_is_an_error(folder: Path, load: Load, name: str) -> None:
    """A stamp that was changed is not read, and not taken for none."""
    edit(folder, DAMAGE[name])
    for act in (pairlock.index.read, lambda place: pairlock.index.stamp(place, load("linear"))):
        error = refused(act, folder)
        assert isinstance(error, FormatError)
        assert error.kind is ErrorKind.INDEX_STAMP_INVALID


def test_a_damaged_stamp_is_replaced_on_purpose(folder: Path, load: Load) -> None:
    """`replace=True` stamps over damage; what else is in the index store stays."""
    before = json.loads((folder / "index_store.json").read_text())["index_store/data"]
    edit(folder, DAMAGE["no collection"])
    made = pairlock.index.stamp(folder, load("linear"), replace=True)
    assert pairlock.index.read(folder) == made
    assert json.loads((folder / "index_store.json").read_text())["index_store/data"] == before
    assert hits(pairlock.guard(reopened(folder, load("linear")), load("linear")))


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_index_store_is_an_error(folder: Path, content: str) -> None:
    """A file that is no index store is refused as what it is."""
    (folder / "index_store.json").write_text(content)
    assert refused(pairlock.index.read, folder).kind is ErrorKind.INDEX_STAMP_INVALID


def test_what_is_no_index_is_refused(tmp_path: Path, load: Load) -> None:
    """A folder without an index, a file, and what is no index at all are told apart."""
    (tmp_path / "file").touch()
    (tmp_path / "chroma").mkdir()
    (tmp_path / "chroma" / "chroma.sqlite3").touch()
    kinds = {
        tmp_path / "nowhere": ErrorKind.FOLDER_MISSING,
        tmp_path / "file": ErrorKind.FOLDER_MISSING,
        tmp_path: ErrorKind.FOLDER_MISSING,
        tmp_path / "chroma": ErrorKind.INDEX_UNSUPPORTED,
        3: ErrorKind.ARGUMENT_INVALID,
        None: ErrorKind.ARGUMENT_INVALID,
        StorageContext: ErrorKind.ARGUMENT_INVALID,
    }
    for target, kind in kinds.items():
        assert refused(pairlock.index.read, target).kind is kind
    assert refused(pairlock.guard, tmp_path, load("linear")).kind is ErrorKind.ARGUMENT_INVALID
    empty = StorageContext.from_defaults()
    assert refused(pairlock.index.read, empty).kind is ErrorKind.INDEX_NOT_STAMPED


def test_a_folder_that_lost_its_vectors_is_not_stamped(load: Load, tmp_path: Path) -> None:
    """A folder whose vectors or texts are missing or unreadable is stamped without proof only."""
    index = build(load("linear"))
    index.storage_context.persist(tmp_path)
    (tmp_path / "docstore.json").write_text("{")
    assert isinstance(refused(pairlock.index.stamp, tmp_path, load("linear")), UnavailableError)
    index.docstore.delete_document(nodes()[0].node_id)
    index.storage_context.persist(tmp_path)
    (tmp_path / "default__vector_store.json").unlink()
    error = refused(pairlock.index.stamp, tmp_path, load("linear"))
    assert error.kind is ErrorKind.INDEX_UNSUPPORTED
    assert pairlock.index.stamp(tmp_path, load("linear"), prove=False)


def test_a_folder_that_cannot_be_written_keeps_what_it_has(
    folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stamp that cannot be written is an error, and the index store stays whole."""
    before = (folder / "index_store.json").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    error = refused(pairlock.index.stamp, folder, load("linear"))
    assert isinstance(error, StorageError)
    assert (folder / "index_store.json").read_bytes() == before
    assert not list(folder.glob(".*"))


def test_other_kinds_of_indexes_are_not_supported(load: Load) -> None:
    """An index without stored vectors has no space to stamp or guard."""
    index = SummaryIndex([TextNode(text="x")])
    for act in (pairlock.index.stamp, pairlock.guard):
        error = refused(act, index, load("linear"))
        assert isinstance(error, UnsupportedError)
        assert error.kind is ErrorKind.INDEX_UNSUPPORTED


# the guard


@pytest.fixture
def guarded(stamped: VectorStoreIndex, load: Load) -> VectorStoreIndex:
    """The stamped index, guarded with the model that built it."""
    return pairlock.guard(stamped, load("linear"))


def test_a_guarded_index_is_the_index(guarded: Any, stamped: Any, load: Load) -> None:
    """It has the index's class and storage, and finds the same; the index stays as it was."""
    assert isinstance(guarded, VectorStoreIndex)
    assert guarded.storage_context is stamped.storage_context
    assert type(stamped) is VectorStoreIndex
    assert hits(guarded) == hits(stamped)
    assert type(pairlock.guard(guarded, load("linear_bias"))) is type(guarded)


def test_a_guarded_index_embeds_with_the_model_it_is_given(
    stamped: VectorStoreIndex, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the index or `Settings` had, the guarded one asks with the guard's model."""
    stamped._embed_model = load("lora_1")
    monkeypatch.setattr(Settings, "_embed_model", load("lora_1"))
    guarded = pairlock.guard(stamped, load("linear_bias"))
    assert hits(guarded) == hits(build(load("linear_bias")))
    engine = guarded.as_query_engine(llm=MockLLM())
    assert engine.retriever._embed_model is load("linear_bias")
    chat = guarded.as_chat_engine(llm=MockLLM())
    assert isinstance(chat, CondensePlusContextChatEngine)
    assert chat._retriever._embed_model is load("linear_bias")


WAYS_IN: dict[str, Callable[[Any, Any], Any]] = {
    "retriever": lambda index, model: index.as_retriever(embed_model=model),
    "query engine": lambda index, model: index.as_query_engine(llm=MockLLM(), embed_model=model),
    "chat engine": lambda index, model: index.as_chat_engine(llm=MockLLM(), embed_model=model),
    "index": lambda index, model: setattr(index, "_embed_model", model),
    "made retriever": lambda index, model: setattr(index.as_retriever(), "_embed_model", model),
    "another guard": lambda index, model: pairlock.guard(index, model),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_no_other_model_comes_in(guarded: VectorStoreIndex, load: Load, way: str) -> None:
    """Another space is refused with both models' names wherever a model can be given."""
    error = refused(WAYS_IN[way], guarded, load("lora_1"))
    assert is_space(error, load("linear"), load("lora_1"))
    assert is_space(refused(WAYS_IN[way], guarded, MockEmbedding(embed_dim=32)), load("linear"))
    assert hits(guarded) == hits(build(load("linear")))


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_model_of_the_same_space_comes_in(
    guarded: VectorStoreIndex, load: Load, way: str
) -> None:
    """Another adapter on the same base is taken wherever a model can be given."""
    WAYS_IN[way](guarded, load("linear_bias"))


def test_asynchronous_queries_are_guarded(guarded: VectorStoreIndex, load: Load) -> None:
    """An awaited query finds what another finds, with the guard's model."""
    retriever = guarded.as_retriever(similarity_top_k=3)
    found: list[NodeWithScore] = asyncio.run(retriever.aretrieve(QUESTION))
    assert [one.node.node_id for one in found] == hits(guarded)
    with pytest.raises(IntegrityError):
        retriever._embed_model = load("lora_1")


def with_vectors(model: Any) -> list[TextNode]:
    """New nodes with their vectors, as an ingestion pipeline makes them."""
    fresh = [TextNode(text=f"{text} again") for text in DOCUMENTS.values()]
    made = IngestionPipeline(transformations=[model]).run(nodes=fresh)
    assert all(node.embedding for node in made)
    return [node for node in made if isinstance(node, TextNode)]


INSERTS: dict[str, Callable[[Any, Any], Any]] = {
    "insert": lambda index, new: index.insert_nodes(new),
    "ainsert": lambda index, new: asyncio.run(index.ainsert_nodes(new)),
}


@pytest.mark.parametrize("way", INSERTS)
def test_nodes_of_another_space_are_not_inserted(
    guarded: VectorStoreIndex, load: Load, way: str
) -> None:
    """Nodes with vectors of another space are refused together; those of this one are not."""
    before = len(guarded.index_struct.nodes_dict)
    wrong = with_vectors(load("lora_1"))
    assert is_space(refused(INSERTS[way], guarded, wrong), load("linear"))
    last = [TextNode(text="without a vector"), wrong[-1]]
    assert is_space(refused(INSERTS[way], guarded, last))
    wide = refused(INSERTS[way], guarded, with_vectors(load("tiny_wide")))
    assert wide.kind is ErrorKind.DIMENSION
    assert len(guarded.index_struct.nodes_dict) == before
    INSERTS[way](guarded, with_vectors(load("linear_bias")))
    assert len(guarded.index_struct.nodes_dict) == before + len(DOCUMENTS)


def test_documents_are_inserted_with_the_guards_model(
    guarded: VectorStoreIndex, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is inserted is embedded in the index's space, whatever `Settings` says."""
    monkeypatch.setattr(Settings, "_embed_model", load("lora_1"))
    guarded.insert(Document(text=QUESTION, id_="new"))
    asyncio.run(guarded.ainsert(Document(text="an invoice", id_="newer")))
    guarded.refresh_ref_docs([Document(text=f"{QUESTION}!", id_="new")])
    assert pairlock.index.check(guarded, load("linear"), prove=True)


def test_copies_of_a_guarded_index_are_guarded(guarded: VectorStoreIndex, load: Load) -> None:
    """A copy, also a deep one, of an index or its retriever refuses what that refuses."""
    shallow, deep = copy.copy(guarded), copy.deepcopy(guarded)
    for copied in (shallow, deep, copy.copy(guarded.as_retriever())):
        with pytest.raises(IntegrityError):
            copied._embed_model = load("lora_1")
    retriever = guarded.as_retriever()
    assert type(copy.copy(retriever)) is type(retriever)
    assert hits(shallow) == hits(deep) == hits(guarded)
    assert deep.storage_context is not guarded.storage_context


def test_a_pickled_guarded_index_is_guarded(
    guarded: VectorStoreIndex, load: Load, shared_registry: Any
) -> None:
    """A guarded index that went through a pickle finds the same, and refuses the same."""
    again = pickle.loads(pickle.dumps(guarded))
    assert type(again) is type(guarded)
    assert hits(again) == hits(guarded)
    assert is_space(refused(again.as_retriever, embed_model=load("lora_1")), load("lora_1"))


def test_the_class_of_a_guarded_index_makes_no_index(guarded: VectorStoreIndex, load: Load) -> None:
    """A new index cannot be made by the guarded class, which would have nothing to hold to."""
    error = refused(type(guarded), nodes(), embed_model=load("linear"))
    assert isinstance(error, InvalidInputError)


def test_a_query_may_bring_its_own_vector(guarded: VectorStoreIndex, load: Load) -> None:
    """Nobody can say where a vector comes from that a query brings along: it is used as it is."""
    vector = load("lora_1").get_query_embedding(QUESTION)
    retriever = guarded.as_retriever(similarity_top_k=3)
    assert len(retriever.retrieve(QueryBundle(query_str=QUESTION, embedding=vector))) == 3


def test_a_guarded_query_costs_next_to_nothing(guarded: VectorStoreIndex) -> None:
    """What a guarded retriever adds to a query is far below a tenth of a millisecond."""
    retriever: Any = guarded.as_retriever()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(1000):
            retriever._embed_model  # noqa: B018 - the property is what a query pays for
        times.append((time.perf_counter() - start) / 1000)
    assert min(times) < 20e-6
