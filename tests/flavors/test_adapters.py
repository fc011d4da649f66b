"""Adapters: on the right base they compute what was trained; on any other they never load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import LinearLayer, TwoLayerNN
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError
from support.adapters import ADAPTERS, computed
from support.faults import FILE_FAULTS, damaged
from support.models import PROMPTS, TEXTS, save_model
from support.vectors import one_minus_cosine, same_norms

BAR = 1e-8


def base_vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """What the base alone gives, by its own library: (n_texts, dim) float32."""
    return SentenceTransformer(str(folder), device="cpu").encode(texts)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_on_its_base_computes_what_was_trained(
    name: str,
    packaged: Callable[[str], str],
    adapter_folders: Callable[[str], Path],
    shared_registry: Any,
    tiny_model: Path,
) -> None:
    """Queries are the trained layer on the base's vectors, documents are the base's vectors."""
    own = pairlock.load(packaged(name))
    base = base_vectors(tiny_model, TEXTS)
    expected = computed(name, adapter_folders(name), base)
    queries = [own.get_query_embedding(text) for text in TEXTS]
    assert one_minus_cosine(queries, expected) <= BAR
    assert same_norms(queries, expected)
    assert one_minus_cosine(own.get_text_embedding_batch(TEXTS), base) <= BAR
    assert one_minus_cosine([own.get_text_embedding(text) for text in TEXTS], base) <= BAR
    # the trained adapters do move their queries, so that the above says something
    assert one_minus_cosine(expected, base) > 1e-4


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_computes_what_llama_index_computes_on_the_same_files(
    name: str,
    packaged: Callable[[str], str],
    adapter_folders: Callable[[str], Path],
    shared_registry: Any,
    tiny_model: Path,
) -> None:
    """LlamaIndex's own wrapper, told the right class, gives the same vectors in both roles."""
    own = pairlock.load(packaged(name))
    theirs = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"),
        str(adapter_folders(name)),
        adapter_cls=type(ADAPTERS[name](32)),
        device="cpu",
    )
    for text in TEXTS:
        mine = own.get_query_embedding(text), own.get_text_embedding(text)
        others = theirs.get_query_embedding(text), theirs.get_text_embedding(text)
        assert one_minus_cosine(mine, others) <= BAR


def test_an_adapter_on_real_weights_computes_what_was_trained(
    minilm: Path, minilm_adapter: Path, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """The same holds for a linear adapter on the real MiniLM, in both roles."""
    uri = shared_registry.log(minilm_adapter, "support", base=packaged("minilm"))
    own = pairlock.load(uri, golden=True)
    base = base_vectors(minilm, TEXTS)
    queries = [own.get_query_embedding(text) for text in TEXTS]
    assert one_minus_cosine(queries, computed("linear", minilm_adapter, base)) <= BAR
    assert one_minus_cosine(own.get_text_embedding_batch(TEXTS), base) <= BAR


def test_the_base_s_prompts_are_under_the_adapter(
    tiny_prompts: Path, linear_adapter: Path, registry: Any
) -> None:
    """An adapter gets the base's vectors with the base's prompts, by role."""
    base_uri = registry.log(tiny_prompts, "base")
    own = pairlock.load(registry.log(linear_adapter, "prompted", base=base_uri))
    model = SentenceTransformer(str(tiny_prompts), device="cpu")
    expected = computed("linear", linear_adapter, model.encode_query(TEXTS))
    assert model.prompts["query"] == PROMPTS["query"]
    assert one_minus_cosine([own.get_query_embedding(t) for t in TEXTS], expected) <= BAR
    assert own.get_text_embedding_batch(TEXTS) == model.encode_document(TEXTS).tolist()


def test_a_base_packaged_with_instructions_keeps_them_under_an_adapter(
    tiny_unnormalized: Path, linear_adapter: Path, registry: Any
) -> None:
    """Instructions and normalisation that were given with the base are the adapter's input too."""
    base_uri = registry.log(tiny_unnormalized, "base", query_instruction="q: ", normalize=True)
    own = pairlock.load(registry.log(linear_adapter, "told", base=base_uri))
    model = SentenceTransformer(str(tiny_unnormalized), device="cpu")
    base = model.encode([f"q: {text}" for text in TEXTS], normalize_embeddings=True)
    expected = computed("linear", linear_adapter, base)
    assert one_minus_cosine([own.get_query_embedding(t) for t in TEXTS], expected) <= BAR


def test_documents_in_a_batch_equal_documents_one_by_one(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Batching an adapter's documents changes no vector beyond rounding."""
    own = pairlock.load(packaged("tanh"))
    alone = [own.get_text_embedding(text) for text in TEXTS]
    assert one_minus_cosine(own.get_text_embedding_batch(TEXTS), alone) <= 1e-10


def test_facts_that_llama_index_does_not_record_are_in_the_manifest(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Class, dimensions, bias, activation, residual and transformed side are recorded."""
    folder = shared_registry.folder_of(packaged("relu_residual"))
    manifest = json.loads((folder / "pairlock.json").read_bytes())
    assert manifest["kind"] == "two_layer"
    assert manifest["adapter"] == {
        "class_name": "TwoLayerNN",
        "in_features": 32,
        "hidden_features": 48,
        "out_features": 32,
        "bias": False,
        "activation": "relu",
        "add_residual": True,
        "transforms": ["query"],
    }


def test_the_pin_names_base_version_digest_and_files(
    packaged: Callable[[str], str], shared_registry: Any, tiny_model: Path
) -> None:
    """The pin holds the resolved URI, the base's package digest, and every file of the model."""
    folder = shared_registry.folder_of(packaged("linear"))
    pin = json.loads((folder / "pairlock.json").read_bytes())["base"]
    base_receipt = pairlock.receipt(pairlock.load(packaged("tiny_model")))
    assert pin["uri"] == packaged("tiny_model")
    assert pin["package_digest"] == base_receipt.package_digest
    assert pin["dimension"] == 32
    files = [path for path in tiny_model.rglob("*") if path.is_file()]
    assert [record["path"] for record in pin["files"]] == sorted(
        path.relative_to(tiny_model).as_posix() for path in files
    )


def test_a_package_holds_safetensors_and_no_pickle(
    packaged: Callable[[str], str], shared_registry: Any, linear_adapter: Path
) -> None:
    """The pickled weights are converted, and the pickle does not travel."""
    folder = shared_registry.folder_of(packaged("linear"))
    names = {path.name for path in folder.rglob("*")}
    content = (folder / "payload" / "adapter" / "adapter.safetensors").read_bytes()
    original = torch.load(linear_adapter / "pytorch_model.bin", weights_only=True)
    assert "pytorch_model.bin" not in names
    assert torch.equal(safetensors.torch.load(content)["linear.weight"], original["linear.weight"])


def test_the_receipt_names_the_base(packaged: Callable[[str], str], shared_registry: Any) -> None:
    """An adapter is an AdapterEmbeddingModel whose receipt says which base it is on."""
    own = pairlock.load(packaged("linear"))
    receipt = pairlock.receipt(own)
    assert isinstance(own, AdapterEmbeddingModel)
    assert receipt.kind == "linear"
    assert receipt.base is not None
    assert receipt.base.uri == receipt.base.loaded_from == packaged("tiny_model")
    assert {check.name for check in receipt.checks} >= {"files", "base", "structure"}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_base_of_another_dimension_is_refused_at_packaging(
    name: str, adapter_folders: Callable[[str], Path], tiny_wide: Path, registry: Any
) -> None:
    """An adapter that does not fit its base is never packaged."""
    with pytest.raises(InvalidInputError) as caught:
        registry.log(adapter_folders(name), "misfit", base=str(tiny_wide))
    assert caught.value.kind is ErrorKind.DIMENSION
    assert registry.versions("misfit") == []


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("other", ["tiny_other", "tiny_wide", "tiny_cls", "tiny_unnormalized"])
def test_another_base_is_refused_at_load(
    name: str, other: str, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """A base of the same shape with other weights, of another dimension or pooling, is refused."""
    adapter = packaged(name)
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(adapter, base=packaged(other))
    assert caught.value.kind is ErrorKind.BASE_FILES
    verification = pairlock.verify(adapter, base=packaged(other))
    assert not verification.passed


@pytest.mark.parametrize("other", ["tiny_other", "tiny_wide"])
def test_a_bare_folder_of_another_base_is_refused_at_load(
    other: str,
    packaged: Callable[[str], str],
    model_folders: Callable[[str], Path],
    shared_registry: Any,
) -> None:
    """The same holds when the other base is offered as a plain folder."""
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(packaged("linear"), base=str(model_folders(other)))
    assert "model.safetensors" in {finding.place for finding in caught.value.findings}


def test_another_copy_of_the_base_is_accepted(
    packaged: Callable[[str], str], shared_registry: Any, tiny_model: Path
) -> None:
    """A mirror that holds exactly the pinned bytes is as good, and the receipt names it."""
    there = pairlock.load(packaged("linear"))
    mirrored = pairlock.load(packaged("linear"), base=str(tiny_model))
    assert mirrored.get_query_embedding("card") == there.get_query_embedding("card")
    base = pairlock.receipt(mirrored).base
    assert base is not None
    assert (base.uri, base.loaded_from) == (packaged("tiny_model"), str(tiny_model))


def test_one_changed_byte_of_a_mirror_is_refused(
    packaged: Callable[[str], str], shared_registry: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """A mirror with one changed byte is not the pinned base."""
    mirror = shutil.copytree(tiny_model, tmp_path / "mirror")
    aside = tmp_path / "aside"
    aside.mkdir()
    damage, kind = FILE_FAULTS["bit-flipped"]
    with damaged(mirror / "model.safetensors", damage, aside):
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(packaged("linear"), base=str(mirror))
        assert caught.value.kind is kind
    assert pairlock.load(packaged("linear"), base=str(mirror))


def test_an_adapter_cannot_be_the_base_of_an_adapter(
    packaged: Callable[[str], str], shared_registry: Any, linear_adapter: Path
) -> None:
    """Only a full model can be a base, at packaging and at load."""
    with pytest.raises(InvalidInputError) as caught:
        shared_registry.log(linear_adapter, "stacked", base=packaged("linear"))
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    with pytest.raises(InvalidInputError):
        pairlock.load(packaged("linear"), base=packaged("tanh"))


def test_an_adapter_needs_a_base(linear_adapter: Path, registry: Any) -> None:
    """An adapter without a base is not packaged."""
    with pytest.raises(InvalidInputError) as caught:
        registry.log(linear_adapter, "baseless")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_a_base_whose_folder_now_holds_another_model_is_refused(
    tiny_model: Path, tiny_other: Path, tiny_wide: Path, linear_adapter: Path, registry: Any
) -> None:
    """Swapping the files under the pinned version never gives vectors on the other model."""
    base_uri = registry.log(tiny_model, "base")
    adapter = registry.log(linear_adapter, "swapped", base=base_uri)
    inside = registry.folder_of(base_uri) / "payload" / "model"
    for other in (tiny_other, tiny_wide):
        shutil.copyfile(other / "model.safetensors", inside / "model.safetensors")
        shutil.copyfile(other / "config.json", inside / "config.json")
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(adapter)
        places = {finding.place for finding in caught.value.findings}
        assert "payload/model/model.safetensors" in places
    shutil.copyfile(tiny_model / "model.safetensors", inside / "model.safetensors")
    shutil.copyfile(tiny_model / "config.json", inside / "config.json")
    assert pairlock.load(adapter)


def test_a_base_name_that_was_made_again_is_refused(
    tiny_model: Path, tiny_other: Path, linear_adapter: Path, registry: Any
) -> None:
    """Version 1 of a name that was deleted and made again is not the version 1 that was pinned."""
    adapter = registry.log(linear_adapter, "kept", base=registry.log(tiny_model, "base"))
    registry.client.delete_registered_model("base")
    assert registry.log(tiny_other, "base") == "models:/base/1"
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(adapter)
    assert caught.value.kind is ErrorKind.PACKAGE_DIGEST


def test_a_base_that_is_gone_is_reported_as_the_base(
    tiny_model: Path, linear_adapter: Path, registry: Any
) -> None:
    """A deleted base is a missing base, not a missing adapter; a mirror still works."""
    adapter = registry.log(linear_adapter, "orphan", base=registry.log(tiny_model, "base"))
    registry.client.delete_registered_model("base")
    with pytest.raises(pairlock.NotFoundError) as caught:
        pairlock.load(adapter)
    assert caught.value.kind is ErrorKind.BASE_NOT_FOUND
    assert pairlock.load(adapter, base=str(tiny_model))


def test_a_truncated_base_fits_an_adapter_of_the_cut_dimension(
    tmp_path: Path, registry: Any
) -> None:
    """The dimension that counts is the one that vectors have after a Matryoshka cut."""
    base = save_model(tmp_path / "base", seed=5)
    adapter = LinearLayer(16, 16)
    adapter.linear.weight.data += 0.1
    adapter.save(str(tmp_path / "adapter"))
    live = SentenceTransformer(str(base), device="cpu", truncate_dim=16)
    base_uri = registry.log(live, "cut")
    own = pairlock.load(registry.log(tmp_path / "adapter", "on-cut", base=base_uri))
    assert own.dimension == len(own.get_query_embedding("card")) == 16
    expected = computed("linear", tmp_path / "adapter", live.encode(TEXTS))
    assert one_minus_cosine([own.get_query_embedding(t) for t in TEXTS], expected) <= BAR


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "leaky_relu"])
@pytest.mark.parametrize("residual", [True, False])
def test_every_activation_of_a_two_layer_network_is_rebuilt(
    activation: str, residual: bool, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Activation and residual are what LlamaIndex's own layer was built with."""
    torch.manual_seed(3)
    layer = TwoLayerNN(32, 8, 32, activation_fn_str=activation, add_residual=residual)
    layer.residual_weight.data.fill_(0.7)
    layer.save(str(tmp_path / "adapter"))
    own = pairlock.load(registry.log(tmp_path / "adapter", "network", base=str(tiny_model)))
    with torch.inference_mode():
        expected = layer(torch.from_numpy(base_vectors(tiny_model, TEXTS))).numpy()
    assert one_minus_cosine([own.get_query_embedding(t) for t in TEXTS], expected) <= BAR


def test_an_adapter_too_small_to_tell_is_packaged_with_a_warning(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """An adapter that moves nothing measurable loads, and packaging says that it cannot be told."""
    LinearLayer(32, 32).save(str(tmp_path / "identity"))
    logged = pairlock.log_model(
        tmp_path / "identity", base=str(tiny_model), registered_model_name="identity"
    )
    assert logged.warnings
    assert pairlock.load(logged.uri, golden=True)


def test_one_adapter_packaged_twice_has_one_digest(
    linear_adapter: Path, tiny_model: Path, registry: Any
) -> None:
    """Packaging an adapter is deterministic."""
    logged = [
        pairlock.log_model(linear_adapter, base=str(tiny_model), registered_model_name="twice")
        for _ in range(2)
    ]
    assert logged[0].package_digest == logged[1].package_digest
