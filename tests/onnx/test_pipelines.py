"""Whatever Sentence-Transformers saves for dense texts gets a graph, or is told why it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, LayerNorm, Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

import pairlock
from pairlock import ErrorKind, InvalidInputError
from pairlock.manifest.compiled import Place
from pairlock_flavors.packaging.graphs import packing
from support.families import HIDDEN, MAX_TOKENS, save_encoder
from support.graphs import (
    RUNTIME,
    assert_alike,
    assert_as_torch,
    compiled_of,
    going_wrong,
    log,
    log_graph,
    runtimes_of,
)
from support.models import PROMPTS
from support.modules import PIPELINES, build, save
from support.registries import package_folder

EXPORTED = ("layers", "weighted_layers", "dense")
REASONS = {
    "static": "StaticEmbedding",
    "static_normalized": "StaticEmbedding",
    "bow": "BoW",
    "bow_alone": "BoW",
    "words": "WordEmbeddings",
    "word_weights": "WordEmbeddings",
    "cnn": "WordEmbeddings",
    "lstm": "WordEmbeddings",
    "router": "Router",
    "router_lengths": "Router",
    "router_heads": "Router",
    "router_shared": "Router",
}
"""What of a pipeline has no graph; it is named in the warning."""


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bare encoder of a family, made once."""
    root = tmp_path_factory.mktemp("encoders")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else save_encoder(name, root / name)

    return folder


@pytest.fixture
def encoder(encoders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A BERT of this test's own, to be changed."""
    return shutil.copytree(encoders("bert"), tmp_path / "encoder")


def saved(
    folder: Path, encoder: Path, *modules: torch.nn.Module, length: int = MAX_TOKENS, **options: Any
) -> Path:
    """A pipeline on an encoder, saved; returns its folder."""
    first = Transformer(str(encoder), max_seq_length=length)
    rest = modules or (Pooling(HIDDEN, "mean"), Normalize())
    model = SentenceTransformer(modules=[first, *rest], device="cpu", **options)
    return save(model, folder)


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(found))


def test_every_pipeline_of_the_tests_is_named_here() -> None:
    """A module that is packaged either gets a graph, or is known to get none."""
    assert {*EXPORTED, *REASONS} == PIPELINES.keys()


@pytest.mark.parametrize("name", EXPORTED)
def test_a_pipeline_computes_what_torch_does(
    name: str, shared_registry: Any, tmp_path: Path
) -> None:
    """Layers weighted, pooled, projected, normalised: all of it is in the graph."""
    folder = save(build(name, tmp_path / "parts"), tmp_path / name)
    assert_as_torch(log_graph(shared_registry, folder, f"pipeline-{name}"))


@pytest.mark.parametrize("name", REASONS)
def test_a_pipeline_without_a_graph_says_why(
    name: str, shared_registry: Any, tmp_path: Path
) -> None:
    """The warning names what cannot be exported; torch runs it, and the manifest names torch."""
    folder = save(build(name, tmp_path / "parts"), tmp_path / name)
    uri, reason = log(shared_registry, folder, f"none-{name}")
    assert reason is not None
    assert REASONS[name] in reason
    assert runtimes_of(uri) == ["torch"]
    assert pairlock.load(uri).get_query_embedding("card")


def test_a_graph_that_computes_other_vectors_is_not_packaged(
    encoder: Path, shared_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that goes wrong is noticed when the package is made; torch runs it then."""
    monkeypatch.setattr(packing, "compile_graph", going_wrong(packing.compile_graph))
    folder = saved(tmp_path / "wrong", encoder, Pooling(HIDDEN, "mean"))
    uri, reason = log(shared_registry, folder, "wrong-graph")
    assert reason is not None
    assert "computes other vectors" in reason
    assert runtimes_of(uri) == ["torch"]
    assert not (package_folder(uri) / RUNTIME).exists()


def test_settings_around_the_graph_are_applied(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """Vectors are cut, then normalised, and both roles have their own instruction."""
    folder = saved(
        tmp_path / "cut", encoder, Pooling(HIDDEN, "mean"), truncate_dim=12, prompts=PROMPTS
    )
    uri = log_graph(shared_registry, folder, "cut", normalize=True)
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx", interface="callable")
    queries, texts = (lean(["card", "refund"], role=role) for role in ("query", "text"))
    assert lean.dimension == queries.shape[1] == 12
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    assert not np.allclose(queries, texts, atol=1e-3)


def test_a_head_without_normalize_is_kept_as_it_is(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """Dense layers with and without bias, a LayerNorm, and vectors of other lengths than one."""
    torch.manual_seed(2)
    head = (
        Pooling(HIDDEN, "mean"),
        Dense(HIDDEN, 64, activation_function=torch.nn.GELU()),
        Dense(64, 20, bias=False, activation_function=torch.nn.Identity()),
        LayerNorm(20),
    )
    folder = saved(tmp_path / "head", encoder, *head)
    uri = log_graph(
        shared_registry, folder, "head", query_instruction="Instruct: \n", normalize=False
    )
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx")
    assert abs(np.linalg.norm(lean.get_text_embedding("card")) - 1) > 0.1


def test_a_text_is_cut_where_it_was_recorded(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """A length below the tokenizer's own, and texts that are cut at their beginning."""
    AutoTokenizer.from_pretrained(encoder, truncation_side="left").save_pretrained(encoder)
    uri = log_graph(shared_registry, saved(tmp_path / "short", encoder, length=7), "short")
    assert_as_torch(uri)
    facts = compiled_of(uri).tokenizer
    assert (facts.max_tokens, facts.cut_side) == (7, "left")


def test_a_tokenizer_that_another_file_changes_lies_beside_the_graph(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """`tokenizer.json` alone keeps the case that `tokenizer_config.json` lowers."""
    folder = saved(tmp_path / "lower", encoder)
    tokens = json.loads((folder / "tokenizer.json").read_text())
    tokens["normalizer"]["lowercase"] = tokens["normalizer"]["strip_accents"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    uri = log_graph(shared_registry, folder, "lower")
    assert compiled_of(uri).tokenizer.file.place is Place.RUNTIME
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx")
    assert lean.get_text_embedding("REFUND") == lean.get_text_embedding("refund")


def test_what_a_tokenizer_file_says_of_length_and_padding_is_not_applied(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """A trainer's truncation and padding stay in `tokenizer.json`; transformers replaces them."""
    folder = saved(tmp_path / "padded", encoder)
    rewrite(
        folder / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 6, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": 8, "pad_id": 1,
            "pad_type_id": 0, "pad_token": "[UNK]",
        },
    )  # fmt: skip
    uri = log_graph(shared_registry, folder, "padded")
    assert compiled_of(uri).tokenizer.file.place is Place.MODEL
    assert_as_torch(uri)


def test_words_without_a_tokenizer_file_are_enough(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """A model from before `tokenizer.json` has a list of words; what comes of it is kept."""
    folder = saved(tmp_path / "words", encoder)
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)) + "\n")
    uri = log_graph(shared_registry, folder, "words")
    assert compiled_of(uri).tokenizer.file.place is Place.RUNTIME
    assert_as_torch(uri)


def test_shards_in_a_folder_of_their_own_are_found(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """Weights in several files, in the older layout with a folder for the encoder."""
    folder = saved(tmp_path / "sharded", encoder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        if path.name not in {"modules.json", "config_sentence_transformers.json"}:
            path.rename(inner / path.name)
    model = AutoModel.from_pretrained(inner)
    (inner / "model.safetensors").unlink()
    model.save_pretrained(inner, max_shard_size="30KB")
    assert len(list(inner.glob("*.safetensors"))) > 2
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    uri = log_graph(shared_registry, folder, "sharded")
    assert_as_torch(uri)
    assert compiled_of(uri).derived == ()


def test_pickled_weights_are_refused_whatever_runs_them(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """`pytorch_model.bin` is packaged for no runtime; it is refused before it is opened."""
    folder = saved(tmp_path / "pickled", encoder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidInputError) as caught:
        log(shared_registry, folder, "pickled-weights")
    assert caught.value.kind is ErrorKind.UNSAFE_PICKLE
    assert shared_registry.versions("pickled-weights") == []


def test_instructions_that_pooling_leaves_out_have_no_graph(
    encoder: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """A graph sees tokens, and not which of them are the instruction's."""
    pooling = Pooling(HIDDEN, "mean", include_prompt=False)
    folder = saved(tmp_path / "left-out", encoder, pooling, prompts=PROMPTS)
    uri, reason = log(shared_registry, folder, "left-out")
    assert reason is not None
    assert "instruction" in reason
    assert pairlock.load(uri).get_query_embedding("card")


def test_a_text_without_a_token_is_what_it_is_beside_others(
    encoders: Callable[[str], Path], shared_registry: Any, tmp_path: Path
) -> None:
    """Where a tokenizer adds nothing the empty text has no token; alone it is still embedded."""
    encoder = shutil.copytree(encoders("distilbert"), tmp_path / "encoder")
    rewrite(encoder / "tokenizer.json", post_processor=None)
    rewrite(encoder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    uri = log_graph(shared_registry, saved(tmp_path / "bare", encoder), "no-token")
    lean = pairlock.load(uri, runtime="onnx", interface="callable", golden=True)
    beside = lean(["", "how do i get my money back"])[:1]
    assert_alike(beside, lean([""]))
    expected = pairlock.load(uri, runtime="torch", interface="callable")(["", "card"])[:1]
    assert_alike(expected, beside)
