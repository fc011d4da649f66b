"""Full models: a load computes what Sentence-Transformers computes on the folder it came from."""

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
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, InvalidInputError
from support.models import MAX_TOKENS, TEXTS, save_encoder, save_model
from support.vectors import one_minus_cosine

FULL_MODELS = (
    "tiny_model",
    "tiny_wide",
    "tiny_prompts",
    "tiny_unnormalized",
    "tiny_dense",
    "tiny_cls",
)


def reference(folder: Path, **kwargs: Any) -> SentenceTransformer:
    """The model as its own library loads it."""
    return SentenceTransformer(str(folder), device="cpu", **kwargs)


def manifest_of(folder: Path) -> dict[str, Any]:
    """A package's manifest as data."""
    return json.loads((folder / "pairlock.json").read_bytes())


@pytest.mark.parametrize("name", FULL_MODELS)
def test_query_and_text_methods_equal_encode_query_and_encode_document(
    name: str,
    model_folders: Callable[[str], Path],
    packaged: Callable[[str], str],
    shared_registry: Any,
) -> None:
    """A full model gives, bit for bit, what encode_query and encode_document give."""
    own, model = pairlock.load(packaged(name)), reference(model_folders(name))
    for text in TEXTS:
        assert own.get_query_embedding(text) == model.encode_query([text])[0].tolist()
        assert own.get_text_embedding(text) == model.encode_document([text])[0].tolist()
    assert own.get_text_embedding_batch(TEXTS) == model.encode_document(TEXTS).tolist()


def test_saved_prompts_are_applied_and_differ_by_role(
    packaged: Callable[[str], str], shared_registry: Any, tiny_prompts: Path
) -> None:
    """Saved prompts survive LlamaIndex, and a query is not embedded as a document."""
    own = pairlock.load(packaged("tiny_prompts"))
    model = reference(tiny_prompts)
    assert own.query_instruction == model.prompts["query"]
    assert own.text_instruction == model.prompts["document"]
    query, text = own.get_query_embedding(TEXTS[0]), own.get_text_embedding(TEXTS[0])
    assert one_minus_cosine(query, text) > 1e-4
    assert one_minus_cosine(query, model.encode([TEXTS[0]], prompt="")) > 1e-4


@pytest.mark.parametrize(
    ("prompts", "default"),
    [
        ({"query": "q: ", "passage": "p: "}, None),
        ({"query": "q: ", "corpus": "c: "}, None),
        ({"any": "a: "}, "any"),
        ({"query": "q: ", "any": "a: "}, "any"),
        ({"query": "q: ", "document": "d: ", "any": "a: "}, "any"),
        ({"clustering": "x: "}, None),
        ({}, None),
    ],
)
def test_every_way_of_naming_prompts_is_resolved_as_the_library_does(
    prompts: dict[str, str], default: str | None, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Prompts under other names, and a default prompt, are what encode_query and _document use."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = folder / "config_sentence_transformers.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "prompts": prompts, "default_prompt_name": default}))
    own, model = pairlock.load(registry.log(folder, "prompted")), reference(folder)
    assert own.get_query_embedding("card") == model.encode_query(["card"])[0].tolist()
    assert own.get_text_embedding("card") == model.encode_document(["card"])[0].tolist()


def test_a_prompt_that_pooling_leaves_out_is_left_out(
    tiny_prompts: Path, tmp_path: Path, registry: Any
) -> None:
    """A pooling that excludes the prompt's tokens excludes them through Pairlock too."""
    folder = shutil.copytree(tiny_prompts, tmp_path / "model")
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "include_prompt": False}))
    own, model = pairlock.load(registry.log(folder, "excluding")), reference(folder)
    assert own.get_query_embedding(TEXTS[0]) == model.encode_query([TEXTS[0]])[0].tolist()


def test_an_unnormalised_model_stays_unnormalised(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Vectors of a model without Normalize keep their lengths."""
    own = pairlock.load(packaged("tiny_unnormalized"))
    norms = np.linalg.norm(own.get_text_embedding_batch(TEXTS), axis=1)
    assert np.abs(norms - 1).min() > 1e-2
    assert own.normalize is False


def test_instructions_and_normalisation_may_be_given_at_packaging(
    tiny_unnormalized: Path, registry: Any
) -> None:
    """What the caller says about instructions and normalisation wins over the folder."""
    uri = registry.log(
        tiny_unnormalized, "told", query_instruction="q: ", text_instruction="t: ", normalize=True
    )
    own, model = pairlock.load(uri), reference(tiny_unnormalized)
    expected = model.encode(["q: card"], normalize_embeddings=True)[0].tolist()
    assert own.get_query_embedding("card") == expected
    assert (
        one_minus_cosine(
            own.get_text_embedding("card"), model.encode(["t: card"], normalize_embeddings=True)
        )
        <= 1e-12
    )


def test_the_return_value_is_the_field_s_class_with_a_receipt(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """A load returns a HuggingFaceEmbedding whose receipt names what was checked."""
    uri = packaged("tiny_model")
    own = pairlock.load(uri)
    receipt = pairlock.receipt(own)
    assert isinstance(own, HuggingFaceEmbedding)
    assert receipt.uri == receipt.requested == uri
    assert receipt.kind == "full"
    assert receipt.base is None
    assert receipt.package_digest == own.package_digest
    assert set(receipt.anchors.values()) == {own.package_digest}
    assert {check.name for check in receipt.checks} >= {"files", "package digest", "structure"}
    files = manifest_of(shared_registry.folder_of(uri))["files"]
    assert receipt.bytes_verified == sum(record["size_bytes"] for record in files)
    assert json.loads(json.dumps(receipt.to_dict()))["package_digest"] == own.package_digest


def test_the_bytes_of_the_model_are_kept(
    packaged: Callable[[str], str], shared_registry: Any, tiny_prompts: Path
) -> None:
    """A package holds the trainer's files verbatim."""
    inside = shared_registry.folder_of(packaged("tiny_prompts")) / "payload" / "model"
    found = {p.relative_to(inside): p.read_bytes() for p in inside.rglob("*") if p.is_file()}
    wanted = {
        p.relative_to(tiny_prompts): p.read_bytes() for p in tiny_prompts.rglob("*") if p.is_file()
    }
    assert found == wanted


def test_one_model_packaged_twice_has_one_digest(tiny_model: Path, registry: Any) -> None:
    """Packaging is deterministic: the same folder gives the same package digest."""
    first = pairlock.log_model(tiny_model, registered_model_name="twice")
    second = pairlock.log_model(str(tiny_model), registered_model_name="twice")
    assert (first.uri, second.uri) == ("models:/twice/1", "models:/twice/2")
    assert first.package_digest == second.package_digest


def test_what_trainers_leave_behind_is_left_out_and_listed(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Optimizer pickles, checkpoints, code and other runtimes are not packaged, and are listed."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    left = [
        "optimizer.pt",
        "pytorch_model.bin",
        "checkpoint-10/model.safetensors",
        "modeling.py",
        "onnx/model.onnx",
        "notes.docx",
    ]
    for path in left:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(b"not read by anybody")
    logged = pairlock.log_model(folder, registered_model_name="left")
    inside = registry.folder_of(logged.uri) / "payload"
    assert sorted(logged.left_out) == sorted(left)
    assert not [p for p in inside.rglob("*") if p.name in {Path(path).name for path in left[1:2]}]
    assert b"not read by anybody" not in b"".join(
        p.read_bytes() for p in inside.rglob("*") if p.is_file()
    )


def test_a_bare_encoder_is_packaged_as_mean_pooling_with_a_warning(
    tmp_path: Path, registry: Any
) -> None:
    """A folder without modules.json embeds as the library would embed it, and says so."""
    folder = save_encoder(tmp_path / "encoder")
    logged = pairlock.log_model(folder, registered_model_name="encoder")
    own, model = pairlock.load(logged.uri), reference(folder)
    assert logged.warnings
    assert own.get_text_embedding(TEXTS[0]) == model.encode_document([TEXTS[0]])[0].tolist()


def test_a_model_with_a_layer_norm_is_packaged(tmp_path: Path, registry: Any) -> None:
    """A LayerNorm module is kept, and the vectors are the library's own."""
    folder = save_model(tmp_path / "norm", layer_norm=True, normalize=False)
    own = pairlock.load(registry.log(folder, "norm"), golden=True)
    expected = reference(folder).encode_document([TEXTS[0]])[0]
    assert own.get_text_embedding(TEXTS[0]) == expected.tolist()


def test_a_transformer_in_a_folder_of_its_own_is_packaged(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """The older layout, with the encoder in 0_Transformer, is packaged and loads."""
    folder = tmp_path / "model"
    inner = folder / "0_Transformer"
    shutil.copytree(tiny_model, inner)
    for name in ("1_Pooling", "2_Normalize", "modules.json", "config_sentence_transformers.json"):
        shutil.move(inner / name, folder / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    own = pairlock.load(registry.log(folder, "older"), golden=True)
    assert own.get_text_embedding(TEXTS[0]) == (
        reference(folder).encode_document([TEXTS[0]])[0].tolist()
    )


def test_a_half_precision_model_runs_in_what_it_was_saved_in(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """The dtype of the weights is recorded and applied; golden vectors are checked in float32."""
    folder = tmp_path / "half"
    model = reference(tiny_model)
    model.to(torch.bfloat16).save(str(folder), create_model_card=False)
    uri = registry.log(folder, "half")
    own = pairlock.load(uri, golden=True)
    assert pairlock.receipt(own).dtype == "bfloat16"
    assert next(own._model.parameters()).dtype is torch.bfloat16
    assert pairlock.verify(uri).passed
    assert one_minus_cosine(own.get_text_embedding_batch(TEXTS), model.encode(TEXTS)) < 5e-4


def test_the_recorded_length_is_applied(tiny_model: Path, tmp_path: Path, registry: Any) -> None:
    """A model that reads fewer tokens than it could is cut there after loading too."""
    folder = tmp_path / "short"
    model = reference(tiny_model)
    model.max_seq_length = 12
    model.save(str(folder), create_model_card=False)
    own = pairlock.load(registry.log(folder, "short"))
    assert own.max_length == own._model.max_seq_length == 12 < MAX_TOKENS
    assert own.get_text_embedding(TEXTS[-1]) == model.encode_document([TEXTS[-1]])[0].tolist()


def test_a_text_gives_the_same_vector_alone_and_in_a_batch(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Batching changes no vector beyond rounding, and keeps the order of the texts."""
    own = pairlock.load(packaged("tiny_model"))
    texts = [f"{text} {number}" for number in range(60) for text in TEXTS]
    together = own.get_text_embedding_batch(texts)
    alone = [own.get_text_embedding(text) for text in texts[::37]]
    assert one_minus_cosine(together[::37], alone) <= 1e-10
    assert own.get_text_embedding_batch([]) == []


def test_weights_written_over_in_the_store_do_not_reach_a_loaded_model(
    tiny_model: Path, registry: Any
) -> None:
    """A loaded model keeps the proved weights when the files are overwritten or cut in place."""
    uri = registry.log(tiny_model, "live")
    own = pairlock.load(uri)
    before = own.get_text_embedding_batch(TEXTS)
    weights = registry.folder_of(uri) / "payload" / "model" / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 4096)
        stream.truncate(16384)
    assert own.get_text_embedding_batch(TEXTS) == before


def test_real_weights_give_the_real_vectors(
    minilm: Path, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """MiniLM through a package gives what Sentence-Transformers gives on its folder."""
    own, model = pairlock.load(packaged("minilm"), golden=True), reference(minilm)
    assert own.get_query_embedding(TEXTS[0]) == model.encode_query([TEXTS[0]])[0].tolist()
    assert own.get_text_embedding_batch(TEXTS) == model.encode_document(TEXTS).tolist()


@pytest.mark.parametrize(
    "tensor",
    [
        "encoder.layer.1.output.LayerNorm.weight",
        "encoder.layer.0.attention.self.query.weight",
        "embeddings.word_embeddings.weight",
    ],
)
def test_missing_weights_are_refused(
    tensor: str, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A model whose file lacks a tensor is refused, by name, and no version is made."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = folder / "model.safetensors"
    tensors = safetensors.torch.load(weights.read_bytes())
    del tensors[tensor]
    safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(pairlock.IntegrityError) as caught:
        registry.log(folder, "lacking")
    assert caught.value.kind is ErrorKind.TENSOR_KEYS
    assert [finding.place for finding in caught.value.findings] == [tensor]
    assert registry.versions("lacking") == []


def test_a_full_model_on_a_base_is_refused(
    tiny_model: Path, tiny_other: Path, registry: Any
) -> None:
    """A full model stands on no base, so naming one is an error."""
    with pytest.raises(InvalidInputError) as caught:
        registry.log(tiny_model, "wrong", base=str(tiny_other))
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert registry.versions("wrong") == []


def test_a_device_that_is_not_there_is_an_error(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """An explicit device is taken or refused, never replaced; nonsense is an input error."""
    uri = packaged("tiny_model")
    with pytest.raises(pairlock.UnavailableError) as caught:
        pairlock.load(uri, device="cuda:93")
    assert caught.value.kind is ErrorKind.DEVICE_UNAVAILABLE
    with pytest.raises(InvalidInputError) as wrong:
        pairlock.load(uri, device="toaster")
    assert wrong.value.kind is ErrorKind.ARGUMENT_INVALID


def test_a_receipt_is_given_for_loaded_embeddings_only() -> None:
    """An object that Pairlock did not load has no receipt."""
    with pytest.raises(InvalidInputError) as caught:
        pairlock.receipt(object())
    assert caught.value.kind is ErrorKind.NOT_A_PAIRLOCK_EMBEDDING
