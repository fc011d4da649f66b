"""Live objects: packaged as they are, with what only the object in memory knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llama_index.core.embeddings import MockEmbedding
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import LinearLayer, TwoLayerNN
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError
from support.adapters import ADAPTERS
from support.models import PROMPTS, TEXTS
from support.vectors import one_minus_cosine, same_norms


def same_vectors(own: Any, live: Any, bar: float = 1e-8) -> None:
    """Both embed every text alike in both roles."""
    for role in ("query", "text"):
        mine = [getattr(own, f"get_{role}_embedding")(text) for text in TEXTS]
        theirs = [getattr(live, f"get_{role}_embedding")(text) for text in TEXTS]
        assert one_minus_cosine(mine, theirs) <= bar
        assert same_norms(mine, theirs)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prompts": PROMPTS},
        {"prompts": {"any": "a: "}, "default_prompt_name": "any"},
        {"truncate_dim": 16},
    ],
    ids=["plain", "prompts", "default-prompt", "truncated"],
)
def test_a_sentence_transformer_is_packaged_as_it_encodes(
    settings: dict[str, Any], tiny_model: Path, registry: Any
) -> None:
    """A live SentenceTransformer's prompts and dimension come along."""
    live = SentenceTransformer(str(tiny_model), device="cpu", **settings)
    own = pairlock.load(registry.log(live, "live"), golden=True)
    for text in TEXTS:
        assert own.get_query_embedding(text) == live.encode_query([text])[0].tolist()
        assert own.get_text_embedding(text) == live.encode_document([text])[0].tolist()
    assert own.dimension == settings.get("truncate_dim", 32)


def test_a_changed_sentence_transformer_is_packaged_as_it_is_now(
    tiny_model: Path, registry: Any
) -> None:
    """Weights and lengths that were changed in memory are what is packaged."""
    live = SentenceTransformer(str(tiny_model), device="cpu")
    before = live.encode([TEXTS[0]])
    live.max_seq_length = 10
    with torch.no_grad():
        live[0].auto_model.encoder.layer[1].output.dense.weight.mul_(1.5)
    own = pairlock.load(registry.log(live, "tuned"), golden=True)
    assert own.get_text_embedding_batch(TEXTS) == live.encode_document(TEXTS).tolist()
    assert one_minus_cosine(before, own.get_text_embedding(TEXTS[0])) > 1e-6


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"query_instruction": "as a query: ", "text_instruction": "as a text: "},
        {"query_instruction": "only a query: "},
        {"max_length": 16},
        {"normalize": False},
    ],
    ids=["plain", "instructions", "query-only", "short", "not-normalised"],
)
@pytest.mark.parametrize("name", ["tiny_model", "tiny_prompts", "tiny_unnormalized"])
def test_a_hugging_face_embedding_is_packaged_as_it_embeds(
    name: str, settings: dict[str, Any], model_folders: Callable[[str], Path], registry: Any
) -> None:
    """Instructions, length and normalisation of LlamaIndex's wrapper come along."""
    live = HuggingFaceEmbedding(str(model_folders(name)), device="cpu", **settings)
    own = pairlock.load(registry.log(live, "live"), golden=True)
    same_vectors(own, live, bar=1e-12)
    assert own.query_instruction == settings.get("query_instruction", "")
    assert own.text_instruction == settings.get("text_instruction", "")


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_live_adapter_is_packaged_as_it_embeds(
    name: str, adapter_folders: Callable[[str], Path], tiny_model: Path, registry: Any
) -> None:
    """A live AdapterEmbeddingModel keeps its class, and its base's wrapper settings."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu", query_instruction="q: "),
        str(adapter_folders(name)),
        adapter_cls=type(ADAPTERS[name](32)),
        device="cpu",
    )
    own = pairlock.load(registry.log(live, "live", base=str(tiny_model)), golden=True)
    same_vectors(own, live)


@pytest.mark.parametrize("settings", [{"max_length": 16}, {"truncate_dim": 16}], ids=str)
def test_a_live_adapter_keeps_what_only_its_base_in_memory_knows(
    settings: dict[str, int], tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A length and a dimension that the base's folder does not name are applied at a load."""
    dimension = settings.get("truncate_dim", 32)
    layer = LinearLayer(dimension, dimension)
    layer.linear.weight.data += 0.1
    layer.save(str(tmp_path / "adapter"))
    base = HuggingFaceEmbedding(str(tiny_model), device="cpu", **settings)
    live = AdapterEmbeddingModel(base, str(tmp_path / "adapter"), device="cpu")
    own = pairlock.load(registry.log(live, "live", base=str(tiny_model)), golden=True)
    assert own.dimension == dimension
    same_vectors(own, live)


def test_a_live_adapter_on_a_loaded_base_knows_its_base(
    linear_adapter: Path, tiny_prompts: Path, registry: Any
) -> None:
    """A base that Pairlock loaded is pinned without being named again."""
    uri = registry.log(tiny_prompts, "base")
    live = AdapterEmbeddingModel(pairlock.load(uri), str(linear_adapter), device="cpu")
    logged = pairlock.log_model(live, registered_model_name="live")
    assert logged.base_uri == uri
    same_vectors(pairlock.load(logged.uri), live)


def test_a_live_adapter_on_any_base_needs_its_base_named(
    linear_adapter: Path, tiny_model: Path, registry: Any
) -> None:
    """A base that LlamaIndex loaded has no pin, so it must be named."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"), str(linear_adapter), device="cpu"
    )
    with pytest.raises(InvalidInputError) as caught:
        registry.log(live, "live")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


@pytest.mark.parametrize("other", ["tiny_other", "tiny_cls"])
def test_a_live_adapter_on_another_base_than_named_is_refused(
    other: str,
    linear_adapter: Path,
    model_folders: Callable[[str], Path],
    tiny_model: Path,
    registry: Any,
) -> None:
    """Packaging compares the live object with the package, so a wrong base is found out."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"), str(linear_adapter), device="cpu"
    )
    with pytest.raises(IntegrityError):
        registry.log(live, "live", base=str(model_folders(other)))
    assert registry.versions("live") == []


def test_the_side_that_is_transformed_is_recorded(
    linear_adapter: Path, tiny_model: Path, registry: Any
) -> None:
    """An adapter that LlamaIndex was told not to apply to queries is not applied."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"),
        str(linear_adapter),
        transform_query=False,
        device="cpu",
    )
    own = pairlock.load(registry.log(live, "live", base=str(tiny_model)))
    same_vectors(own, live)
    assert own.get_query_embedding("card") == own.get_text_embedding("card")


def test_a_live_adapter_with_dropout_in_training_mode_is_packaged_without_it(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """LlamaIndex leaves adapters in training mode; packages never are, and the object stays so."""
    torch.manual_seed(5)
    TwoLayerNN(32, 16, 32, activation_fn_str="tanh").save(str(tmp_path / "adapter"))
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"),
        str(tmp_path / "adapter"),
        adapter_cls=TwoLayerNN,
        device="cpu",
    )
    assert live._adapter.training
    own = pairlock.load(registry.log(live, "live", base=str(tiny_model)))
    assert live._adapter.training
    assert not own._adapter.training


def test_a_loaded_model_may_be_packaged_again(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """What Pairlock loaded can be logged again and gives the same vectors."""
    for name in ("tiny_prompts", "tiny_unnormalized", "relu_residual"):
        first = pairlock.load(packaged(name))
        again = pairlock.load(shared_registry.log(first, f"again-{name}"), golden=True)
        same_vectors(again, first, bar=1e-12)


def test_packaging_changes_nothing_about_the_live_object(
    tiny_prompts: Path, linear_adapter: Path, registry: Any
) -> None:
    """Mode, prompts, length and vectors of the object are as before."""
    live = SentenceTransformer(str(tiny_prompts), device="cpu")
    live.train()
    before = (live.training, dict(live.prompts), live.max_seq_length, live.truncate_dim)
    registry.log(live, "live")
    assert (live.training, dict(live.prompts), live.max_seq_length, live.truncate_dim) == before


def test_an_embedding_of_another_kind_is_refused(registry: Any) -> None:
    """An embedding that is no model in this process cannot be packaged."""
    with pytest.raises(InvalidInputError) as caught:
        registry.log(MockEmbedding(embed_dim=8), "mock")
    assert caught.value.kind is ErrorKind.LAYOUT_UNKNOWN


def test_the_manifest_says_that_it_was_a_live_object(tiny_model: Path, registry: Any) -> None:
    """Provenance names the class that was handed in."""
    uri = registry.log(SentenceTransformer(str(tiny_model), device="cpu"), "live")
    manifest = json.loads((registry.folder_of(uri) / "pairlock.json").read_bytes())
    assert "SentenceTransformer" in manifest["provenance"]["source"]


def test_an_adapter_kept_in_another_dtype_is_rebuilt_in_float32(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A half-precision adapter keeps its values, and computes in float32."""
    layer = LinearLayer(32, 32)
    layer.linear.weight.data += 0.05
    layer.half().save(str(tmp_path / "adapter"))
    own = pairlock.load(registry.log(tmp_path / "adapter", "half", base=str(tiny_model)))
    weight = next(own._adapter.parameters())
    assert weight.dtype is torch.float32
    assert torch.equal(weight, layer.linear.weight.float())
