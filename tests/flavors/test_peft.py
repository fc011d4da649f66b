"""PEFT adapters: on their base they compute what the trainer computed; else they never load."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError, UnsupportedError
from support.models import PROMPTS, TEXTS, save_model, tokenizer
from support.peft_adapters import METHODS, expected, fit, save, save_by_peft, save_method, trained
from support.vectors import one_minus_cosine

BAR = 1e-8
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def peft_folders(tmp_path_factory: pytest.TempPathFactory, tiny_dense: Path) -> Any:
    """Every method by name, trained once on `tiny_dense`, head and all."""
    root = tmp_path_factory.mktemp("peft")

    def folder(name: str) -> Path:
        made = root / name
        return made if made.exists() else save_method(name, tiny_dense, made)

    return folder


@pytest.fixture
def lora(peft_folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A LoRA of this test's own, to be damaged."""
    folder = tmp_path / "lora"
    shutil.copytree(peft_folders("lora"), folder)
    shutil.copyfile(peft_folders("lora").with_name("lora.npz"), tmp_path / "lora.npz")
    return folder


def vectors(embedding: Any, role: str) -> np.ndarray:
    """What a loaded model gives for the texts: (n_texts, dim)."""
    if role == "text":
        return np.asarray(embedding.get_text_embedding_batch(TEXTS))
    return np.asarray([embedding.get_query_embedding(text) for text in TEXTS])


def computes(embedding: Any, folder: Path) -> bool:
    """Whether a loaded model gives in both roles what the trainer's model gave."""
    return all(
        one_minus_cosine(vectors(embedding, role), expected(folder, role)) <= BAR
        for role in ("query", "text")
    )


def change_config(folder: Path, **changes: Any) -> None:
    """Edit `adapter_config.json`."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Edit `adapter_model.safetensors`."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / WEIGHTS)


def refusal(folder: object, base: str | None, kind: type[Exception] = IntegrityError) -> ErrorKind:
    """The kind of the error with which an adapter is not packaged."""
    with pytest.raises(kind) as caught:
        pairlock.log_model(folder, base=base, registered_model_name="refused")
    return caught.value.kind  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_computes_what_was_trained(
    name: str, packaged: Any, peft_folders: Any, shared_registry: Any
) -> None:
    """Merged or kept apart, in both roles, the vectors are those of the trainer's own model."""
    folder = peft_folders(name)
    uri = shared_registry.log(folder, f"peft-{name}", base=packaged("tiny_dense"))
    for merge in (None, False):
        own = pairlock.load(uri, merge=merge, golden=True)
        assert computes(own, folder)
        assert pairlock.receipt(own).merged is (merge is None)
    bare = pairlock.load(packaged("tiny_dense"))
    assert one_minus_cosine(vectors(bare, "text"), expected(folder, "text")) > 1e-6


def test_a_lora_on_real_weights_computes_what_was_trained(
    minilm: Path, packaged: Any, shared_registry: Any, tmp_path: Path
) -> None:
    """The same holds on the real MiniLM, for the default load and the one kept apart."""
    config = LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False)
    torch.manual_seed(5)
    model = SentenceTransformer(str(minilm), device="cpu")
    model.add_adapter(config)
    folder = save(model, tmp_path / "lora")
    uri = shared_registry.log(folder, "minilm-lora", base=packaged("minilm"))
    for merge in (None, False):
        assert computes(pairlock.load(uri, merge=merge), folder)


def test_an_adapter_that_peft_saved_alone_gets_the_base_s_pipeline(
    packaged: Any, shared_registry: Any, tiny_dense: Path, tmp_path: Path
) -> None:
    """A folder without modules.json says nothing of pooling or head: those are the base's."""
    folder = save_by_peft(tiny_dense, tmp_path / "alone")
    assert not (folder / "modules.json").exists()
    own = pairlock.load(shared_registry.log(folder, "alone", base=packaged("tiny_dense")))
    assert computes(own, folder)


def test_an_adapter_around_the_whole_pipeline_is_the_same_adapter(
    packaged: Any, shared_registry: Any, tiny_dense: Path, tmp_path: Path
) -> None:
    """PEFT put around a SentenceTransformer names its tensors from there; they are the same."""
    torch.manual_seed(3)
    model = SentenceTransformer(str(tiny_dense), device="cpu")
    config = LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(str(tmp_path / "around"))
    uri = shared_registry.log(tmp_path / "around", "around", base=packaged("tiny_dense"))
    assert one_minus_cosine(vectors(pairlock.load(uri), "text"), model.encode(TEXTS)) <= BAR


def test_live_models_with_an_adapter_are_packaged(
    packaged: Any, shared_registry: Any, tiny_dense: Path
) -> None:
    """A SentenceTransformer with an adapter, and a PeftModel whatever its adapter is called."""
    model = trained(tiny_dense, METHODS["lora"]())
    uri = shared_registry.log(model, "live", base=packaged("tiny_dense"))
    want = model.encode_document(TEXTS)
    assert one_minus_cosine(vectors(pairlock.load(uri), "text"), want) <= BAR
    assert one_minus_cosine(model.encode_document(TEXTS), want) == 0  # it was not touched
    for name in ("default", "helpdesk"):
        pipeline = SentenceTransformer(str(tiny_dense), device="cpu").requires_grad_(False)
        adapted: Any = get_peft_model(pipeline[0].auto_model, METHODS["lora"](), adapter_name=name)
        fit(pipeline, 3)
        uri = shared_registry.log(adapted, f"peft-model-{name}", base=packaged("tiny_dense"))
        got = vectors(pairlock.load(uri), "text")
        assert one_minus_cosine(got, pipeline.encode(TEXTS)) <= BAR


def test_prompts_of_the_trainer_are_applied(
    packaged: Any, shared_registry: Any, tiny_dense: Path, tmp_path: Path
) -> None:
    """Prompts that were saved with the adapter are used, though the base has none."""
    model = trained(tiny_dense, METHODS["lora"]())
    model.prompts = PROMPTS
    folder = save(model, tmp_path / "prompted")
    uri = shared_registry.log(folder, "prompted-lora", base=packaged("tiny_dense"))
    assert computes(pairlock.load(uri), folder)
    assert one_minus_cosine(expected(folder, "query"), expected(folder, "text")) > 1e-6


def test_a_shorter_maximum_length_is_kept(
    packaged: Any, shared_registry: Any, tiny_dense: Path, tmp_path: Path
) -> None:
    """The length that the adapter was trained with cuts its texts, and no other model's."""
    model = trained(tiny_dense, METHODS["lora"]())
    model.max_seq_length = 6
    folder = save(model, tmp_path / "short")
    uri = shared_registry.log(folder, "short-lora", base=packaged("tiny_dense"))
    base = pairlock.load(packaged("tiny_dense"))
    before = vectors(base, "text")
    own = pairlock.load(uri)
    assert computes(own, folder)
    assert own.max_length == 6
    assert np.array_equal(vectors(base, "text"), before)


def test_the_base_s_tokenizer_is_not_packaged_again(
    packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """A tokenizer that is the base's but for its formatting adds no byte; another one is kept."""
    uri = shared_registry.log(lora, "same-tokens", base=packaged("tiny_dense"))
    folder = shared_registry.folder_of(uri) / "payload" / "adapter"
    assert (lora / "tokenizer.json").exists()
    assert not (folder / "tokenizer.json").exists()
    words = json.loads((lora / "tokenizer.json").read_text())
    words["normalizer"]["lowercase"] = False
    (lora / "tokenizer.json").write_text(json.dumps(words))
    uri = shared_registry.log(lora, "other-tokens", base=packaged("tiny_dense"))
    folder = shared_registry.folder_of(uri) / "payload" / "adapter"
    assert (folder / "tokenizer.json").exists()
    own = pairlock.load(uri, golden=True)
    shouted, said = (own.get_text_embedding(text) for text in ("REFUND", "refund"))
    assert shouted != said
    base = pairlock.load(packaged("tiny_dense"))
    assert base.get_text_embedding("REFUND") == base.get_text_embedding("refund")


def test_a_vocabulary_that_the_base_does_not_have_is_refused(
    packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """Tokens without a row in the base's table would crash the first text that has one."""
    words = tokenizer()
    words.add_tokens(["helpdesk", "chargeback"])
    words.save_pretrained(lora)
    assert refusal(lora, packaged("tiny_dense"), InvalidInputError) is ErrorKind.DIMENSION


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda tensors: tensors.pop(sorted(tensors)[0]), ErrorKind.TENSOR_KEYS),
        (lambda tensors: tensors.update(more=torch.ones(2)), ErrorKind.TENSOR_KEYS),
        (
            lambda tensors: tensors.update({sorted(tensors)[0]: torch.ones(3, 32)}),
            ErrorKind.TENSOR_KEYS,
        ),
        (lambda tensors: tensors[sorted(tensors)[0]].fill_(torch.nan), ErrorKind.TENSOR_VALUES),
        (
            lambda tensors: [
                tensors.update({name.replace("model.", "model.bert.", 1): tensors.pop(name)})
                for name in list(tensors)
            ],
            ErrorKind.TENSOR_KEYS,
        ),
        (lambda tensors: tensors.clear(), ErrorKind.TENSOR_KEYS),
    ],
    ids=["missing", "unexpected", "mismatched", "not-finite", "other-prefix", "none"],
)
def test_tensors_that_do_not_fit_are_refused(
    change: Any, kind: ErrorKind, packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """PEFT logs a line for each of these and gives the base's vectors; here nothing is made."""
    change_tensors(lora, change)
    assert refusal(lora, packaged("tiny_dense")) is kind


@pytest.mark.parametrize(
    "changes",
    [{"r": 8}, {"target_modules": ["query", "key"]}, {"target_modules": ["nowhere"]}],
    ids=["rank", "targets", "no-target"],
)
def test_a_configuration_that_does_not_fit_the_tensors_is_refused(
    changes: Any, packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """Another rank or other targets need other tensors than there are."""
    change_config(lora, **changes)
    assert refusal(lora, packaged("tiny_dense")) is ErrorKind.TENSOR_KEYS


@pytest.mark.parametrize("name", ["tiny_wide", "tiny_cls_6"])
def test_a_base_of_another_shape_is_refused_when_packaging(
    name: str, shared_registry: Any, lora: Path, model_folders: Any, tmp_path: Path
) -> None:
    """An adapter for 32 dimensions does not go into an encoder of 48."""
    base = (
        model_folders("tiny_wide")
        if name == "tiny_wide"
        else save_model(tmp_path / "wide", hidden=64)
    )
    assert refusal(lora, str(base)) is ErrorKind.TENSOR_KEYS


def test_another_base_is_refused_at_load(
    registry: Any, tiny_dense: Path, lora: Path, tmp_path: Path
) -> None:
    """The same shape with other weights: the pin says no, wherever the base is taken from."""
    base = registry.log(tiny_dense, "base")
    uri = registry.log(lora, "support", base=base)
    other = save_model(tmp_path / "other", seed=9, dense=20)
    with pytest.raises(IntegrityError):
        pairlock.load(uri, base=str(other))
    weights = registry.folder_of(base) / "payload/model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError):
        pairlock.load(uri)


def test_the_base_is_never_looked_up_by_the_name_in_the_folder(
    packaged: Any, shared_registry: Any, lora: Path, tiny_other: Path
) -> None:
    """What the configuration calls the base is a note; a model of that name changes nothing."""
    want = expected(lora, "text")
    change_config(lora, base_model_name_or_path=str(tiny_other), revision="main")
    uri = shared_registry.log(lora, "renamed", base=packaged("tiny_dense"))
    assert one_minus_cosine(vectors(pairlock.load(uri), "text"), want) <= BAR


def test_an_adapter_needs_its_base(shared_registry: Any, lora: Path) -> None:
    """The base that the folder names is not taken on trust: the caller says which."""
    assert refusal(lora, None, InvalidInputError) is ErrorKind.ARGUMENT_INVALID


def test_an_adapter_that_changes_nothing_is_reported(
    packaged: Any, shared_registry: Any, tiny_dense: Path, tmp_path: Path
) -> None:
    """A LoRA as it is before training is packaged with a warning; a trained one without."""
    model = SentenceTransformer(str(tiny_dense), device="cpu")
    model.add_adapter(METHODS["lora"]())
    logged = pairlock.log_model(
        save(model, tmp_path / "idle"), base=packaged("tiny_dense"), registered_model_name="idle"
    )
    assert len(logged.warnings) == 1
    trained_one = pairlock.log_model(
        save_by_peft(tiny_dense, tmp_path / "busy"),
        base=packaged("tiny_dense"),
        registered_model_name="busy",
    )
    assert trained_one.warnings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"peft_type": "VERA"},
        {"peft_type": "NEW_METHOD"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
        {"layer_replication": [[0, 1], [0, 2]]},
        {"megatron_config": {"x": 1}},
        {"alora_invocation_tokens": [1, 2]},
    ],
    ids=str,
)
def test_methods_that_cannot_be_proved_are_refused(
    changes: Any, packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """Prompt learning, made-up projections and changed bases are recognised and not packaged."""
    change_config(lora, **changes)
    assert refusal(lora, packaged("tiny_dense"), UnsupportedError) is ErrorKind.KIND_UNSUPPORTED


def test_a_prompt_tuned_model_is_refused(
    packaged: Any, shared_registry: Any, tiny_dense: Path
) -> None:
    """A live PeftModel of such a method is refused as its folder is."""
    model = SentenceTransformer(str(tiny_dense), device="cpu")
    config = PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)
    adapted: Any = get_peft_model(model[0].auto_model, config)
    assert refusal(adapted, packaged("tiny_dense"), UnsupportedError) is ErrorKind.KIND_UNSUPPORTED


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickled_adapter_is_read_as_tensors_only(
    packaged: Any, shared_registry: Any, lora: Path, tmp_path: Path
) -> None:
    """`adapter_model.bin` is kept as safetensors; one with code in it is refused and not run."""
    tensors = safetensors.torch.load_file(lora / WEIGHTS)
    (lora / WEIGHTS).unlink()
    torch.save(tensors, lora / "adapter_model.bin")
    uri = shared_registry.log(lora, "pickled", base=packaged("tiny_dense"))
    assert computes(pairlock.load(uri), lora)
    assert not list(shared_registry.folder_of(uri).rglob("*.bin"))
    bomb = tmp_path / "exploded"
    (lora / "adapter_model.bin").write_bytes(pickle.dumps({"a": _Bomb(bomb)}))
    assert refusal(lora, packaged("tiny_dense")) is ErrorKind.UNSAFE_PICKLE
    assert not bomb.exists()


def test_an_adapter_without_weights_is_refused(
    packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """A configuration alone is no adapter."""
    (lora / WEIGHTS).unlink()
    assert refusal(lora, packaged("tiny_dense"), InvalidInputError) is ErrorKind.MODEL_INCOMPLETE


def test_the_encoder_settings_of_the_trainer_must_be_the_base_s(
    packaged: Any, shared_registry: Any, lora: Path
) -> None:
    """An adapter trained on another output of the encoder is not put on this one."""
    path = lora / "sentence_bert_config.json"
    settings = json.loads(path.read_text())
    settings["module_output_name"] = "something_else"
    path.write_text(json.dumps(settings))
    assert refusal(lora, packaged("tiny_dense")) is ErrorKind.ENCODE_SETTINGS


@pytest.mark.parametrize(
    "path", [WEIGHTS, CONFIG, "modules.json", "2_Dense/model.safetensors", "1_Pooling/config.json"]
)
@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_damaged_package_never_loads(
    path: str, fault: str, registry: Any, packaged: Any, tiny_dense: Path, lora: Path
) -> None:
    """Every file that the adapter brought along is proved: weights, settings and head."""
    uri = registry.log(lora, "support", base=str(tiny_dense))
    file = registry.folder_of(uri) / "payload" / "adapter" / path
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-2] + b"\x00\x00")
    with pytest.raises(IntegrityError):
        pairlock.load(uri)
