"""A load in the onnx runtime: what it returns, what it shares, and what it refuses."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from typer.testing import CliRunner

import pairlock
from pairlock import (
    ErrorKind,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    UnavailableError,
)
from pairlock.cli.app import app
from pairlock.encoder import Encoder
from pairlock.manifest import Role
from pairlock.verification import GOLDEN, GRAPH
from pairlock_flavors.onnx_runtime.embedding import OnnxEmbedding
from support.forgery import forge
from support.graphs import assert_alike, assert_as_torch, chance_texts, log_graph
from support.models import TEXTS
from support.registries import package_folder

Stock = Callable[[str], str]
KINDS = ("base", "linear", "tanh", "lora")


@pytest.fixture(autouse=True)
def _registry(shared_registry: Any) -> None:
    """All of these only load what is there."""


def load(uri: str, **options: Any) -> Any:
    """A LlamaIndex embedding in the onnx runtime."""
    return pairlock.load(uri, runtime="onnx", **options)


def encoder(uri: str, **options: Any) -> Encoder:
    """A function of texts in the onnx runtime."""
    return pairlock.load(uri, runtime="onnx", interface="callable", **options)


def refusal(uri: str, **options: Any) -> PairlockError:
    """The error with which a package does not load."""
    with pytest.raises(PairlockError) as caught:
        load(uri, **options)
    return caught.value


# --- what is returned


@pytest.mark.parametrize("name", KINDS)
def test_a_load_is_a_llama_index_embedding_with_a_receipt(name: str, stock: Stock) -> None:
    """Its class, its receipt and its vectors: the golden ones, and the base's beside them."""
    uri = stock(name)
    found, base = load(uri, golden=True), load(stock("base"))
    assert isinstance(found, OnnxEmbedding)
    proof = pairlock.receipt(found)
    assert (proof.runtime, proof.device, proof.dtype) == ("onnx", "cpu", "float32")
    assert "golden vectors" in {check.name for check in proof.checks}
    assert {"onnxruntime", "tokenizers", "numpy"} <= proof.libraries.keys()
    roles = {"base": (), "lora": tuple(Role)}.get(name, (Role.QUERY,))
    assert found.adapted_roles == roles
    for role in Role:
        assert_alike(base.vectors(TEXTS, role), found.base_vectors(TEXTS, role))
        moved = np.abs(found.vectors(TEXTS, role) - found.base_vectors(TEXTS, role)).max()
        assert (moved > 1e-4) == (role in roles)


def test_llama_index_s_ways_to_embed_agree(stock: Stock) -> None:
    """One by one, in a batch and awaited, the vectors are the same."""
    found = load(stock("linear"))
    queries = found.vectors(TEXTS, Role.QUERY)
    texts = found.vectors(TEXTS, Role.TEXT)

    async def awaited() -> tuple[Any, Any, Any]:
        return (
            [await found.aget_query_embedding(text) for text in TEXTS],
            [await found.aget_text_embedding(text) for text in TEXTS],
            await found.aget_text_embedding_batch(TEXTS),
        )

    one, two, three = asyncio.run(awaited())
    assert_alike(queries, np.asarray(one))
    assert_alike(texts, np.asarray(two))
    assert_alike(texts, np.asarray(three))
    assert_alike(queries, np.asarray([found.get_query_embedding(text) for text in TEXTS]))
    assert_alike(texts, np.asarray(found.get_text_embedding_batch(TEXTS)))


def test_thousands_of_texts_are_embedded_in_their_order(stock: Stock) -> None:
    """However many texts are given at once, each gets the vector that it has by itself."""
    found = encoder(stock("base"))
    texts = chance_texts(2000)
    vectors = found(texts)
    some = list(range(0, 2000, 67))
    assert_alike(np.concatenate([found([texts[index]]) for index in some]), vectors[some])
    assert found([]).shape == (0, found.dimension)


@pytest.mark.parametrize("name", ["base", "lora"])
def test_a_pickle_and_a_copy_are_the_same_model(name: str, stock: Stock) -> None:
    """A pickle names version, digest and runtime; a copy is on the same session."""
    found = load(stock(name))
    found.embed_batch_size = 7
    again, twin = pickle.loads(pickle.dumps(found)), copy.deepcopy(found)
    from_data = OnnxEmbedding.from_dict(found.to_dict())
    for other in (again, twin, from_data):
        assert isinstance(other, OnnxEmbedding)
        assert other.runtime == "onnx"
        assert other.embed_batch_size == 7
        assert other.package_digest == found.package_digest
        assert other.get_query_embedding("card") == found.get_query_embedding("card")
    assert twin._encoder.session is again._encoder.session is found._encoder.session
    assert len(pickle.dumps(found)) < 2000


def test_an_encoder_is_pickled_and_copied_as_well(stock: Stock) -> None:
    """`interface="callable"` gives a function that another process can load again."""
    found = encoder(stock("lora"))
    for other in (
        pickle.loads(pickle.dumps(found)), copy.deepcopy(found), load(stock("lora")).as_encoder()
    ):  # fmt: skip
        assert isinstance(other, Encoder)
        assert pairlock.receipt(other).runtime == "onnx"
        assert np.array_equal(other(TEXTS), found(TEXTS))
        assert np.array_equal(other(TEXTS, role="text"), found(TEXTS, role="text"))


def test_the_pickle_of_another_runtime_stays_with_it(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was loaded by torch is loaded by torch again, whatever this machine prefers."""
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    torch = pairlock.load(stock("base"), runtime="torch")
    assert pickle.loads(pickle.dumps(torch)).runtime == "torch"
    with pytest.raises(InvalidInputError) as caught:
        OnnxEmbedding.from_dict(torch.to_dict())
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_caches_and_pipelines_tell_versions_apart(stock: Stock) -> None:
    """One cache under base and adapter mixes no vectors, and a pipeline hashes them apart."""
    cache = SimpleKVStore()
    found = {name: load(stock(name)) for name in KINDS}
    alone = {name: one.get_query_embedding("card") for name, one in found.items()}
    for one in found.values():
        one.embeddings_cache = cache
    for _ in range(2):
        assert {name: one.get_query_embedding("card") for name, one in found.items()} == alone
    node = TextNode(text="card")
    assert len({get_transformation_hash([node], one) for one in found.values()}) == len(KINDS)
    (made,) = IngestionPipeline(transformations=[found["linear"]]).run(nodes=[node])
    assert_alike(np.asarray([found["linear"].get_text_embedding("card")]), [made.embedding])


# --- what is shared


def test_threads_get_what_one_gets(stock: Stock) -> None:
    """Eight threads with batches by chance on three models: every vector is its own."""
    models = [encoder(stock(name)) for name in ("base", "linear", "lora")]
    texts = chance_texts(24)

    def embed(number: int) -> Any:
        some = texts[number % 20 : number % 20 + 1 + number % 5]
        return models[number % 3](some, role=("query", "text")[number % 2])

    alone = [embed(number) for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        for expected, found in zip(alone, pool.map(embed, range(120)), strict=True):
            assert_alike(expected, found)


def test_adapters_on_a_base_are_one_session(stock: Stock) -> None:
    """Layers on a base share its session, whoever loads it first, and from many threads at once."""
    names = ["linear", "linear_bias", "relu_residual", "tanh", "base"] * 2
    uris = [stock(name) for name in names]
    with ThreadPoolExecutor(5) as pool:
        loaded = list(pool.map(load, uris))
    (only,) = pairlock.resident()
    assert (only.runtime, only.device, only.dtype) == ("onnx", "cpu", "float32")
    assert only.tree_digest == pairlock.receipt(loaded[0]).base.tree_digest
    assert len({id(one._encoder.session) for one in loaded}) == 1
    assert len({id(one._encoder.graph._tokenizer) for one in loaded}) == 1
    held = weakref.ref(loaded[0]._encoder.session)
    del loaded[1:]
    assert held() is not None
    del loaded
    gc.collect()
    assert held() is None
    assert pairlock.resident() == ()


def test_weights_in_half_precision_are_widened_once(tmp_path: Path, registry: Any) -> None:
    """Layers on a base whose weights are derived share them; a LoRA's are its own."""
    import torch

    from support.adapters import train
    from support.families import save_family
    from support.peft_adapters import save_by_peft

    folder = save_family("distilbert", tmp_path / "half", dtype=torch.bfloat16)
    base = log_graph(registry, folder, "half")
    uris = [base]
    for name in ("linear", "tanh"):
        layer = train(name, folder, tmp_path / name)
        uris.append(log_graph(registry, layer, name, base=base))
    config = _lora_on("q_lin")
    lora = save_by_peft(folder, tmp_path / "lora", config)
    uris.append(log_graph(registry, lora, "lora", base=base))
    loaded = [load(uri) for uri in uris]
    sessions = [id(one._encoder.session) for one in loaded]
    assert sessions[0] == sessions[1] == sessions[2] != sessions[3]
    assert len(pairlock.resident()) == 2
    again = load(uris[3])
    assert id(again._encoder.session) == sessions[3]
    # the base alone, under the LoRA, is the base
    before = weakref.ref(loaded[0]._encoder.session)
    loaded[3].base_vectors(["card"], Role.TEXT)
    assert len(pairlock.resident()) == 2
    assert before() is not None


def _lora_on(module: str) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules=[module])


def test_both_runtimes_are_listed(stock: Stock) -> None:
    """A model that both runtimes hold is in memory twice, and listed twice."""
    loaded = load(stock("base")), pairlock.load(stock("base"), runtime="torch")
    found = pairlock.resident()
    assert {one.runtime for one in found} == {"torch", "onnx"}
    assert len({one.tree_digest for one in found}) == 1
    assert all(one.weights_bytes > 50_000 for one in found)
    assert len(loaded) == 2


def test_no_framework_is_imported(stock: Stock, tmp_path: Path) -> None:
    """A fresh process embeds by a LoRA without torch, transformers or LlamaIndex in it."""
    code = (
        "import sys, pairlock\n"
        "found = pairlock.load(sys.argv[1], base=sys.argv[2], runtime='onnx', interface='callable',"
        " golden=True)\n"
        "assert found(['card']).shape == (1, found.dimension)\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'llama_index', 'mlflow'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    lora, base = (str(package_folder(stock(name))) for name in ("lora", "base"))
    subprocess.run([sys.executable, "-c", code, lora, base], check=True)


# --- what is refused


def test_an_expected_digest_is_compared(stock: Stock) -> None:
    """Another digest than the caller's is refused, by either interface."""
    digest = load(stock("base")).package_digest
    assert load(stock("base"), expected_digest=digest).package_digest == digest
    wrong = "sha256:" + "1" * 64
    for interface in ("llama_index", "callable"):
        error = refusal(stock("base"), expected_digest=wrong, interface=interface)
        assert isinstance(error, IntegrityError)


@pytest.mark.parametrize(
    ("options", "error", "kind"),
    [
        ({"device": "cuda"}, UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        ({"device": "cuda:1"}, UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        ({"device": "mps"}, UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        ({"dtype": "float16"}, InvalidInputError, ErrorKind.ARGUMENT_INVALID),
        ({"merge": False}, InvalidInputError, ErrorKind.ARGUMENT_INVALID),
        ({"interface": "langchain"}, InvalidInputError, ErrorKind.ARGUMENT_INVALID),
    ],
    ids=str,
)
def test_what_the_runtime_has_not_got_is_refused(
    options: Any, error: type[PairlockError], kind: ErrorKind, stock: Stock
) -> None:
    """A device, a dtype or a way to merge that would be left aside in silence."""
    found = refusal(stock("lora"), **options)
    assert isinstance(found, error)
    assert found.kind is kind
    assert found.hint


def test_what_the_runtime_has_is_taken(stock: Stock) -> None:
    """Saying what it does anyway changes nothing."""
    found = load(stock("lora"), device="cpu", dtype="float32", merge=True)
    assert found.get_query_embedding("card") == load(stock("lora")).get_query_embedding("card")


def test_a_package_without_a_graph_is_not_run_by_another_runtime(packaged: Any) -> None:
    """Asked for the onnx runtime, nothing else is taken in its place."""
    found = refusal(packaged("tiny_model"))
    assert isinstance(found, NotFoundError)
    assert found.kind is ErrorKind.RUNTIME_MISSING


def test_a_runtime_that_is_none_is_refused(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the argument and by the environment, before anything is looked up."""
    with pytest.raises(InvalidInputError) as caught:
        pairlock.load(stock("base"), runtime="tensorrt")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "nonsense")
    with pytest.raises(InvalidInputError) as caught:
        pairlock.load(stock("base"))
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_the_environment_chooses_where_the_caller_does_not(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PAIRLOCK_RUNTIME` is for who says nothing; `auto` is torch where torch is installed."""
    assert pairlock.load(stock("base")).runtime == "torch"
    assert pairlock.load(stock("base"), runtime="auto").runtime == "torch"
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    assert pairlock.load(stock("base")).runtime == "onnx"
    assert pairlock.load(stock("base"), runtime="torch").runtime == "torch"


# --- other ways in


def test_mlflow_s_pyfunc_runs_on_it(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow.pyfunc.load_model` follows the environment, and gives the same vectors."""
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    model = mlflow.pyfunc.load_model(stock("linear"))
    assert model.get_raw_model().runtime == "onnx"
    expected = encoder(stock("linear"))(["card", "refund"], role="query")
    assert_alike(expected, model.predict(["card", "refund"], params={"role": "query"}))


def test_embed_takes_a_runtime(stock: Stock) -> None:
    """`pairlock embed --runtime onnx` says in the receipt what computed the vectors."""
    found = {}
    for runtime in ("onnx", "torch"):
        arguments = ["embed", stock("lora"), "card", "--runtime", runtime, "--format", "json"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        data = json.loads(result.stdout)
        assert data["receipt"]["runtime"] == runtime
        found[runtime] = np.asarray(data["vectors"])
    assert_alike(found["torch"], found["onnx"])
    assert CliRunner().invoke(app, ["embed", stock("lora"), "a", "--runtime", "no"]).exit_code == 2


def test_verify_recomputes_by_the_graph_too(stock: Stock) -> None:
    """A package that names two runtimes is proved in both."""
    found = pairlock.verify(stock("lora"))
    assert found.passed
    assert {GOLDEN, GRAPH} <= {check.name for check in found.checks}


def test_profile_measures_torch(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are kept by torch's devices and dtypes, so that is what they are of."""
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    found = pairlock.profile(stock("base"), device="cpu", texts=1, store=False)
    assert found.within_bars
    assert "torch" in found.libraries
    assert "onnxruntime" not in found.libraries


def test_a_folder_of_this_machine_needs_no_network(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in a local folder is brought into the cache offline as well."""
    monkeypatch.setenv("PAIRLOCK_OFFLINE", "1")
    assert load(stock("linear")).get_query_embedding("card")


def test_a_text_is_embedded_while_others_are_loaded(stock: Stock) -> None:
    """Loads in one thread do not disturb what another one embeds."""
    found, stop, wrong = encoder(stock("base")), threading.Event(), []
    expected = found(TEXTS)

    def embed() -> None:
        while not stop.is_set():
            if not np.allclose(found(TEXTS), expected, atol=1e-6):
                wrong.append(1)

    thread = threading.Thread(target=embed)
    thread.start()
    try:
        for name in KINDS * 2:
            load(stock(name), golden=True)
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_nothing_of_a_forged_base_is_shared(stock: Stock, tmp_path: Path) -> None:
    """A package with another graph on the same weights has a session of its own."""
    from support.graphs import RUNTIME

    package = package_folder(stock("base"))
    graph = (package / RUNTIME / "graph.onnx.gz").read_bytes()
    other = forge(package, tmp_path / "other", {"runtimes/onnx/graph.onnx.gz": _repacked(graph)})
    one, two = load(stock("base")), load(other)
    assert one._encoder.session is not two._encoder.session
    assert_as_torch(other)


def _repacked(content: bytes) -> bytes:
    import gzip

    return gzip.compress(gzip.decompress(content), compresslevel=1, mtime=0)
