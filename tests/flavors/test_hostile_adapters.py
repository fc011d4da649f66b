"""Files that lead a library astray are refused, when packaging and when loading.

A package may be made by hand: its digest says that it was approved, and nothing of how it was made.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from peft import LoraConfig, OFTConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling

import pairlock
from pairlock import (
    ErrorKind,
    IntegrityError,
    PairlockError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.layouts import listing_of, read_peft_config, recognise
from pairlock.layouts.peft_settings import wrong_setting
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.adapters.custom import construct_custom
from pairlock_flavors.torch_runtime.adapters.peft import put_peft
from pairlock_flavors.torch_runtime.models.residents import ModelKey, ResidentModel
from support import acme
from support.forgery import Change, forge
from support.golden import stored_vectors
from support.models import TEXTS, tokenizer
from support.modules import transformer
from support.peft_adapters import METHODS, save, trained

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
GATED = "support.acme:Gated"

Forge = Callable[..., str]


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_dense: Path) -> Path:
    """A LoRA with a head, as Sentence-Transformers saves it; nobody changes it."""
    return save(
        trained(tiny_dense, METHODS["lora"](), steps=2), tmp_path_factory.mktemp("h") / "lora"
    )


@pytest.fixture(scope="module")
def packages(shelf: Any, packaged: Any, lora: Path, tmp_path_factory: Any) -> dict[str, Path]:
    """A package of each sort, by name."""
    from support.registries import active

    gated = tmp_path_factory.mktemp("h") / "gated"
    acme.make("Gated", 32, gated)
    bases = packaged("tiny_dense"), packaged("tiny_model")
    with active(shelf.uri):
        uris = {
            "lora": shelf.log(lora, "hostile-lora", base=bases[0]),
            "gated": shelf.log(gated, "hostile-gated", base=bases[1], adapter_class=GATED),
            "full": bases[0],
        }
        return {name: shelf.folder_of(uri) for name, uri in uris.items()}


@pytest.fixture
def forged(packages: dict[str, Path], shared_registry: Any, tmp_path: Path) -> Forge:
    """Makes a package by hand from one of `packages`."""

    numbers = itertools.count()

    def make(name: str, files: dict[str, Change], **manifest: Any) -> str:
        return forge(packages[name], tmp_path / f"forged-{next(numbers)}", files, manifest)

    return make


def config_of(folder: Path) -> dict[str, Any]:
    """An adapter's configuration."""
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    return found


def load_error(uri: str, **kwargs: Any) -> PairlockError:
    """The error with which a package does not load."""
    with pytest.raises(PairlockError) as caught:
        pairlock.load(uri, **kwargs)
    return caught.value


def packaging_error(folder: Path) -> PairlockError:
    """The error with which a folder is not recognised, before anything is read further."""
    with pytest.raises(PairlockError) as caught:
        recognise(listing_of(LocalStore(folder)))
    return caught.value


# --- adapter_config.json

HOSTILE: list[dict[str, Any]] = [
    # writes to the base's weights, where torch does not count it
    {"init_lora_weights": "olora"},
    {"init_lora_weights": "OLoRA"},
    {"kasa_config": {"beta": 1e-4, "gamma": 1e-3}},
    {"target_parameters": ["encoder.layer.0.attention.self.query.weight"]},
    # reads other files, or imports a module
    {"corda_config": {"cache_file": "/etc/passwd", "covariance_file": "/etc/passwd"}},
    {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
    {"megatron_core": "antigravity"},
    {"loftq_config": {"loftq_bits": 4}, "init_lora_weights": "loftq"},
    {"lora_ga_config": {"direction": "random"}, "init_lora_weights": "lora_ga"},
    {"init_lora_weights": "mica"},
    # random, or of another machine
    {"arrow_config": {"top_k": 1}},
    {"monteclora_config": {"num_samples": 2}},
    {"velora_config": {"num_groups": 2}},
    {"use_qalora": True},
    {"use_bdlora": {"target_modules_bd_a": ["query"], "nblocks": 2}},
    {"alora_invocation_tokens": [1]},
    {"layer_replication": [[0, 2]]},
    {"runtime_config": {"ephemeral_gpu_offload": True}},
    {"ensure_weight_tying": True},
    # of another type than PEFT's
    {"r": "4"},
    {"r": True},
    {"lora_alpha": float("nan")},
    {"lora_alpha": float("inf")},
    {"lora_alpha": [8]},
    {"use_dora": "yes"},
    {"target_modules": {"query": 1}},
    {"target_modules": [1, 2]},
    {"modules_to_save": 5},
    {"modules_to_save": [5]},
    {"rank_pattern": {"query": "4"}},
    {"layers_to_transform": ["0"]},
    {"trainable_token_indices": {"word_embeddings": [1.5]}},
    {"bias": "some"},
    {"peft_version": 1},
    # of no release that is known
    {"use_new_machine": True},
    {"new_number": 0},
    {"peft_type": "lora"},
    {"peft_type": None},
    {"peft_type": ["LORA"]},
    {"peft_type": "XLORA"},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=lambda changes: next(iter(changes)))
def test_a_setting_that_is_not_proved_is_refused_twice(
    changes: dict[str, Any], lora: Path, tmp_path: Path, tiny_dense: Path
) -> None:
    """By the rule of packaging, and by the code that puts an adapter inside, whoever calls it."""
    config = {**config_of(lora), **changes}
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(config))
    shutil.copyfile(lora / WEIGHTS, folder / WEIGHTS)
    error = packaging_error(folder)
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.KIND_UNSUPPORTED
    assert any(name in error.checked for name in changes)

    model = SentenceTransformer(str(tiny_dense), device="cpu")
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pipeline = ResidentModel(ModelKey("x", "cpu", "float32"), model, loaded_from="").pipeline()
    with pytest.raises(UnsupportedError):
        put_peft(pipeline, folder / CONFIG, folder / WEIGHTS, merge=False)
    assert "antigravity" not in sys.modules
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    "content",
    [[], 5, b'"LORA"', b"not json", b"{" * 200_000, b" " * (9 << 20) + b"{}"],
    ids=range(6),
)
def test_a_configuration_that_is_none_is_refused_at_load(content: Change, forged: Forge) -> None:
    """Lists, numbers, no JSON at all, JSON too deep or too large: an error, and no traceback."""
    uri = forged("lora", {f"adapter/{CONFIG}": content})
    assert load_error(uri).kind in {
        ErrorKind.KIND_UNSUPPORTED,
        ErrorKind.MODEL_INCOMPLETE,
        ErrorKind.STORAGE_FAILED,
    }


@pytest.mark.parametrize(
    "changes",
    [{"init_lora_weights": "olora"}, {"megatron_config": {"a": 1}}],
    ids=["olora", "mega"],
)
def test_a_package_made_by_hand_obeys_the_rule(
    changes: dict[str, Any], lora: Path, forged: Forge, packaged: Any
) -> None:
    """OLoRA would rewrite the base under everybody else on it; the base's vectors stay."""
    base = pairlock.load(packaged("tiny_dense"))
    before = base.get_text_embedding_batch(TEXTS)
    uri = forged("lora", {f"adapter/{CONFIG}": {**config_of(lora), **changes}})
    for merge in (None, False):
        assert load_error(uri, merge=merge).kind is ErrorKind.KIND_UNSUPPORTED
    assert base.get_text_embedding_batch(TEXTS) == before


def test_every_method_that_is_proved_passes_the_rule() -> None:
    """PEFT's own defaults, as it writes them down, are no reason to refuse an adapter."""
    for make in METHODS.values():
        config = make()
        kept = {
            name: list(value) if isinstance(value, set) else value
            for name, value in config.to_dict().items()
        }
        assert wrong_setting(json.loads(json.dumps(kept))) is None


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [
        ({"coft": True}, False),
        ({"use_cayley_neumann": True, "peft_version": "0.17.1"}, False),
        ({"use_cayley_neumann": True, "peft_version": None}, False),
        ({"use_cayley_neumann": True, "peft_version": "0.18.0.dev0@abc"}, True),
        ({"use_cayley_neumann": True, "peft_version": "1.0"}, True),
        ({"use_cayley_neumann": False, "peft_version": None}, True),
    ],
    ids=str,
)
def test_oft_that_computes_something_else_by_now_is_refused(
    changes: dict[str, Any], is_right: bool
) -> None:
    """COFT writes to its weights at every forward pass; before 0.18 Cayley-Neumann was another."""
    config = {**OFTConfig(oft_block_size=8, r=0).to_dict(), "target_modules": ["query"], **changes}
    assert (wrong_setting(config) is None) is is_right


def test_oft_of_an_old_format_is_refused(tmp_path: Path, tiny_dense: Path) -> None:
    """PEFT checks the format of OFT in its own loader alone, which is not used here."""
    config = {"peft_type": "OFT", "target_modules": ["query"]}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / WEIGHTS)
    pipeline = SentenceTransformer(str(tiny_dense), device="cpu")
    with pytest.raises(UnavailableError) as caught:
        put_peft(pipeline, tmp_path / CONFIG, tmp_path / WEIGHTS, merge=False)
    assert caught.value.kind is ErrorKind.LIBRARY_VERSION


def test_a_setting_that_the_installed_peft_drops_is_refused(
    lora: Path, tmp_path: Path, tiny_dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier PEFT drops a setting that it does not know, warns, and computes without."""
    from pairlock_flavors.torch_runtime.adapters import peft as putting

    (tmp_path / CONFIG).write_text(json.dumps({**config_of(lora), "use_rslora": True}))
    fields = dataclasses.fields(LoraConfig)
    # what a release without it would say
    monkeypatch.setattr(
        putting.dataclasses, "fields", lambda _: [f for f in fields if f.name != "use_rslora"]
    )
    pipeline = SentenceTransformer(str(tiny_dense), device="cpu")
    with pytest.raises(UnavailableError) as caught:
        put_peft(pipeline, tmp_path / CONFIG, lora / WEIGHTS, merge=False)
    assert caught.value.kind is ErrorKind.LIBRARY_VERSION


def test_what_is_empty_is_nothing(lora: Path) -> None:
    """A later PEFT names settings that are off; they say nothing, and refuse nothing."""
    config = config_of(lora)
    for value in (None, False, "", [], {}):
        assert wrong_setting({**config, "use_new_machine": value}) is None
    assert read_peft_config(listing_of(LocalStore(lora)), CONFIG) == config


# --- modules, tokenizer and settings that an adapter brings along


def module(type_: str, path: str = "1_Pooling", name: str = "1") -> dict[str, Any]:
    """An entry of `modules.json`."""
    return {"idx": 1, "name": name, "path": path, "type": type_}


FIRST = module("sentence_transformers.models.Transformer", "", "0")


@pytest.mark.parametrize(
    "entry",
    [
        module("sentence_transformers.SentenceTransformer"),
        module("sentence_transformers.util.import_from_string"),
        module("sentence_transformers.models.CLIPModel"),
        module("sentence_transformers.models.Pooling", "../../model"),
        module("sentence_transformers.models.Pooling", "/etc"),
        module("sentence_transformers.models.Pooling", ""),
        module("sentence_transformers.nowhere.Pooling"),
        module("support.acme.Gated"),
        module("os.system"),
        module("sentence_transformers.models.Pooling", "not_there"),
        {"idx": 1, "name": "1"},
        ["sentence_transformers.models.Pooling"],
        5,
    ],
    ids=str,
)
def test_modules_of_an_adapter_obey_the_rule_at_load(entry: Any, forged: Forge) -> None:
    """No other class, no other folder, no missing file: whatever `modules.json` says."""
    error = load_error(forged("lora", {"adapter/modules.json": [FIRST, entry]}))
    assert error.kind in {
        ErrorKind.KIND_UNSUPPORTED,
        ErrorKind.CLASS_NOT_ALLOWED,
        ErrorKind.MODEL_INCOMPLETE,
        ErrorKind.TENSOR_KEYS,
    }


@pytest.mark.parametrize("content", [[], {}, 5, [FIRST, FIRST], [module("a.B")]], ids=str)
def test_a_list_of_modules_that_is_none_is_refused_at_load(content: Any, forged: Forge) -> None:
    """The first module is the encoder, and it is there once."""
    error = load_error(forged("lora", {"adapter/modules.json": content}))
    assert error.kind in {
        ErrorKind.KIND_UNSUPPORTED,
        ErrorKind.CLASS_NOT_ALLOWED,
        ErrorKind.MODEL_INCOMPLETE,
    }


def test_a_module_is_not_put_in_the_encoder_s_place(lora: Path, forged: Forge) -> None:
    """Modules go by their place in the list: one that is called `0` too replaces nothing."""
    want = pairlock.load(forged("lora", {})).get_text_embedding_batch(TEXTS)
    modules = json.loads((lora / "modules.json").read_text())
    for entry in modules[1:]:
        entry["name"] = "0"
    uri = forged("lora", {"adapter/modules.json": modules})
    assert pairlock.load(uri).get_text_embedding_batch(TEXTS) == want


@pytest.mark.parametrize(
    "activation",
    ["os.system", "support.acme.Gated", "torch.nn.functional.relu", "torch.hub.load", 5],
)
def test_an_activation_that_is_no_module_of_torch_is_refused_at_load(
    activation: Any, lora: Path, forged: Forge
) -> None:
    """The name of an activation is imported by Sentence-Transformers: only torch's own are."""
    path = "2_Dense/config.json"
    config = {**json.loads((lora / path).read_text()), "activation_function": activation}
    for name, target in (("lora", f"adapter/{path}"), ("full", f"model/{path}")):
        uri = forged(name, {target: config})
        assert load_error(uri).kind in {ErrorKind.KIND_UNSUPPORTED, ErrorKind.TENSOR_KEYS}


SETTINGS: list[Change] = [
    [],
    5,
    {"prompts": ["a"]},
    {"prompts": {"query": 5}},
    {"prompts": 5},
    {"default_prompt_name": "nowhere"},
    {"default_prompt_name": 5},
    {"truncate_dim": "8"},
    {"truncate_dim": -1},
    {"similarity_fn_name": "nothing"},
    {"model_type": "SparseEncoder"},
]


@pytest.mark.parametrize("content", SETTINGS, ids=str)
def test_settings_of_a_pipeline_are_checked_at_load(content: Change, forged: Forge) -> None:
    """Of an adapter and of a full model alike: wrong types are errors, and no tracebacks."""
    for name, folder in (("lora", "adapter"), ("full", "model")):
        uri = forged(name, {f"{folder}/config_sentence_transformers.json": content})
        assert load_error(uri).kind in {ErrorKind.MODEL_INCOMPLETE, ErrorKind.KIND_UNSUPPORTED}


@pytest.mark.parametrize("content", SETTINGS, ids=str)
def test_settings_of_a_pipeline_are_checked_when_packaging(
    content: Change, lora: Path, tmp_path: Path
) -> None:
    """An adapter with settings that the library passes over or trips over is not packaged."""
    shutil.copytree(lora, tmp_path / "lora")
    (tmp_path / "lora/config_sentence_transformers.json").write_text(json.dumps(content))
    error = packaging_error(tmp_path / "lora")
    assert error.kind in {ErrorKind.MODEL_INCOMPLETE, ErrorKind.KIND_UNSUPPORTED}


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_tokenizer_that_names_code_is_refused(
    name: str, forged: Forge, packages: dict[str, Path], lora: Path, tmp_path: Path
) -> None:
    """`auto_map` names a file of the folder as code: at load, and of an adapter when packaging."""
    config = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    words = (packages["full"] / "payload/model/tokenizer.json").read_bytes()
    code = b"raise SystemExit('ran')"
    folder = "adapter" if name == "lora" else "model"
    files: dict[str, Change] = {
        f"{folder}/tokenizer_config.json": config,
        f"{folder}/tokenizer.json": words,
        f"{folder}/mine.py": code,
    }
    facts = {"adapter": {"own_tokenizer": True}} if name == "lora" else {}
    assert load_error(forged(name, files, **facts)).kind is ErrorKind.KIND_UNSUPPORTED
    shutil.copytree(lora, tmp_path / "lora")
    (tmp_path / "lora/tokenizer_config.json").write_text(json.dumps(config))
    assert packaging_error(tmp_path / "lora").kind is ErrorKind.KIND_UNSUPPORTED


@pytest.mark.parametrize("class_", ["BertTokenizer", "XLMRobertaTokenizer", "GPT2Tokenizer"])
def test_a_tokenizer_without_its_words_is_refused(
    class_: str, lora: Path, tmp_path: Path, tiny_dense: Path
) -> None:
    """transformers makes up a vocabulary for a tokenizer's settings alone: all words unknown."""
    for name, source in (("lora", lora), ("model", tiny_dense)):
        folder = tmp_path / name
        shutil.copytree(source, folder)
        (folder / "tokenizer.json").unlink()
        path = folder / "tokenizer_config.json"
        for named in (class_, None):
            path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": named}))
            assert packaging_error(folder).kind is ErrorKind.MODEL_INCOMPLETE
        (folder / "vocab.json").write_text("{}")
        assert packaging_error(folder).kind is ErrorKind.MODEL_INCOMPLETE
        (folder / "vocab.txt").write_text("[UNK]")
        recognise(listing_of(LocalStore(folder)))


def test_a_tokenizer_of_bytes_needs_no_words(tiny_dense: Path, tmp_path: Path) -> None:
    """ByT5 and its like have no vocabulary to lose."""
    shutil.copytree(tiny_dense, tmp_path / "model")
    (tmp_path / "model/tokenizer.json").unlink()
    path = tmp_path / "model/tokenizer_config.json"
    path.write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    recognise(listing_of(LocalStore(tmp_path / "model")))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}},
        {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}, "vocab.json": {}},
    ],
    ids=["nothing", "settings", "half"],
)
def test_an_adapter_that_misses_its_tokenizer_does_not_load(
    files: dict[str, Change], forged: Forge
) -> None:
    """A manifest that promises a tokenizer where there is none: nothing is guessed."""
    kept = {f"adapter/{name}": content for name, content in files.items()}
    uri = forged("lora", kept, adapter={"own_tokenizer": True})
    assert load_error(uri).kind is ErrorKind.MODEL_INCOMPLETE


# --- the encoder of a full model


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_name_or_path": "OTHER"},
        {"model_args": {"attn_implementation": "org/kernel"}},
        {"model_kwargs": {"ignore_mismatched_sizes": True}},
        {"model_args": {"use_kernels": True}},
        {"model_args": {"gguf_file": "/etc/passwd"}},
        {"tokenizer_args": {"tokenizer_file": "OTHER/tokenizer.json"}},
        {"processor_kwargs": {"vocab_file": "OTHER/vocab.txt"}},
        {"config_args": {"hidden_act": "relu"}},
        {"config_args": []},
        {"transformer_task": "fill-mask"},
        {"backend": "onnx"},
    ],
    ids=str,
)
@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_xlnet_config.json"])
def test_settings_of_an_encoder_do_not_lead_out_of_its_folder(
    settings: dict[str, Any],
    file: str,
    forged: Forge,
    tiny_dense: Path,
    tmp_path: Path,
) -> None:
    """Neither to another tokenizer, nor to kernels on the hub, nor to weights that are made up."""
    other = tmp_path / "other"
    tokenizer().save_pretrained(other)
    known = json.loads((tiny_dense / "sentence_bert_config.json").read_text())
    content = {**known, **json.loads(json.dumps(settings).replace("OTHER", str(other)))}
    files: dict[str, Change] = {"model/sentence_bert_config.json": None, f"model/{file}": content}
    assert load_error(forged("full", files)).kind is ErrorKind.KIND_UNSUPPORTED
    shutil.copytree(tiny_dense, tmp_path / "model")
    (tmp_path / "model" / file).write_text(json.dumps(content))
    assert packaging_error(tmp_path / "model").kind is ErrorKind.KIND_UNSUPPORTED


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_an_encoder_asks_for_no_kernel_of_the_hub(
    name: str, tiny_dense: Path, tmp_path: Path
) -> None:
    """An implementation of attention that transformers does not ship is code from somewhere."""
    shutil.copytree(tiny_dense, tmp_path / "model")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, name: "eager"}))
    recognise(listing_of(LocalStore(tmp_path / "model")))
    path.write_text(json.dumps({**config, name: "org/kernel"}))
    assert packaging_error(tmp_path / "model").kind is ErrorKind.KIND_UNSUPPORTED


def test_arguments_that_stay_in_the_folder_are_taken(tiny_dense: Path, tmp_path: Path) -> None:
    """Older releases and some models save arguments that change no more than their own numbers."""
    shutil.copytree(tiny_dense, tmp_path / "model")
    settings = {
        "max_seq_length": 16,
        "do_lower_case": False,
        "model_args": {"add_pooling_layer": False},
        "tokenizer_args": {"padding_side": "right"},
        "config_args": {},
        "tokenizer_name_or_path": None,
    }
    (tmp_path / "model/sentence_bert_config.json").write_text(json.dumps(settings))
    recognise(listing_of(LocalStore(tmp_path / "model")))


# --- classes, tensors and golden vectors of other kinds


def test_a_model_in_memory_is_not_handed_to_a_caller_who_does_not_allow_its_class(
    tmp_path: Path, registry: Any, linear_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loaded it first allowed its class for himself: everybody else is still refused."""
    model = SentenceTransformer(
        modules=[transformer(tmp_path / "parts"), Pooling(32), acme.Scaling(2.0)], device="cpu"
    )
    path = "support.acme:Scaling"
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", path)
    base = registry.log(model, "scaled")
    adapter = registry.log(linear_adapter, "on-scaled", base=base)
    monkeypatch.delenv("PAIRLOCK_ALLOW_CLASSES")
    held = [pairlock.load(base, allow=[path]), pairlock.load(adapter, allow=[path])]
    assert len(pairlock.resident()) == 1
    for uri in (base, adapter):
        assert load_error(uri).kind is ErrorKind.CLASS_NOT_ALLOWED
        assert load_error(uri, allow=["support.acme:Gated"]).kind is ErrorKind.CLASS_NOT_ALLOWED
        assert pairlock.load(uri, allow=[path])
    assert held


@pytest.mark.parametrize("name", ["Restless", "Hidden"])
def test_a_class_that_computes_something_else_each_time_is_not_packaged(
    name: str, tmp_path: Path, packaged: Any, shared_registry: Any
) -> None:
    """By chance, or by a tensor that its files do not hold."""
    acme.make(name, 32, tmp_path / name)
    with pytest.raises(IntegrityError) as caught:
        shared_registry.log(
            tmp_path / name,
            "restless",
            base=packaged("tiny_model"),
            adapter_class=f"support.acme:{name}",
        )
    assert caught.value.kind is ErrorKind.NOT_REPRODUCIBLE


def test_tied_weights_are_packaged_and_are_still_one(
    tmp_path: Path, packaged: Any, shared_registry: Any
) -> None:
    """Weights under two names have one value; a file with two is refused, for one would be lost."""
    adapter = acme.make("Tied", 32, tmp_path / "tied")
    path = "support.acme:Tied"
    uri = shared_registry.log(
        tmp_path / "tied", "tied", base=packaged("tiny_model"), adapter_class=path
    )
    own = pairlock.load(uri, allow=[path], golden=True)
    base = np.asarray([pairlock.load(packaged("tiny_model")).get_query_embedding("card")])
    with torch.inference_mode():
        want = adapter(torch.tensor(base, dtype=torch.float32)).numpy()
    assert abs(np.asarray([own.get_query_embedding("card")]) - want).max() < 1e-6
    package = shared_registry.folder_of(uri)
    tensors = safetensors.torch.load_file(package / "payload/adapter/adapter.safetensors")
    tensors["second.weight"] = tensors["second.weight"] + 1
    content = safetensors.torch.save(tensors)
    forgery = forge(package, tmp_path / "forged", {"adapter/adapter.safetensors": content})
    assert load_error(forgery, allow=[path]).kind is ErrorKind.TENSOR_VALUES


def test_a_vector_that_an_adapter_writes_to_is_its_own(
    tmp_path: Path, packaged: Any, shared_registry: Any
) -> None:
    """The base's vectors stay, so that whoever compares with them compares with them."""
    acme.make("Tied", 32, tmp_path / "tied")
    path = "support.acme:Tied"
    uri = shared_registry.log(
        tmp_path / "tied", "tied-2", base=packaged("tiny_model"), adapter_class=path
    )
    vectors = np.ones((2, 32), dtype=np.float32)
    pairlock.load(uri, allow=[path]).adapt(vectors)
    assert (vectors == 1).all()


def test_a_constructor_that_writes_to_its_arguments_changes_no_manifest() -> None:
    """Every load builds from what was recorded, however often it was built from before."""
    recorded = {"in_features": 32, "out_features": 32, "seen": [7]}
    path = "support.acme:Growing"
    for _ in range(2):
        built = construct_custom(path, recorded, frozenset([path]))
        assert built.get_config_dict()["seen"] == [7, 1]
    assert recorded["seen"] == [7]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["gated", "lora"])
def test_golden_vectors_that_are_no_numbers_prove_nothing(
    value: float, name: str, forged: Forge, packages: dict[str, Path]
) -> None:
    """NaN compares to nothing: recorded by hand, it must not count as equal."""
    vectors = stored_vectors(packages[name])
    for array in vectors.values():
        array[0, 0] = value
    uri = forged(name, {"golden.safetensors": safetensors.numpy.save(vectors)})
    assert isinstance(load_error(uri, allow=[GATED], golden=True), IntegrityError)


@pytest.mark.parametrize(
    "change",
    [
        lambda vectors: vectors.pop("query"),
        lambda vectors: vectors.pop("base_query"),
        lambda vectors: vectors.update(more=vectors["query"]),
        lambda vectors: vectors.update(query=vectors["query"][:-1]),
        lambda vectors: vectors.update(query=vectors["query"][:, :-1]),
        lambda vectors: vectors.update(base_query=vectors["base_query"][:, :-1]),
        lambda vectors: vectors.update(query=vectors["query"].astype(np.int64)),
        lambda vectors: vectors.update(query=vectors["query"][:, :, None]),
        lambda vectors: vectors.update(query=np.float32(1.0).reshape(())),
        lambda vectors: vectors.update(query=vectors["query"][:, 0]),
    ],
    ids=["role", "base", "more", "rows", "columns", "base-columns", "ints", "cube", "one", "flat"],
)
def test_golden_vectors_of_another_shape_are_refused(
    change: Callable[[Any], Any], forged: Forge, packages: dict[str, Path]
) -> None:
    """An adapter that runs code is proved at every load, and needs all it is proved by."""
    vectors = stored_vectors(packages["gated"])
    change(vectors)
    kept = {name: np.ascontiguousarray(array) for name, array in vectors.items()}
    uri = forged("gated", {"golden.safetensors": safetensors.numpy.save(kept)})
    assert load_error(uri, allow=[GATED]).kind is ErrorKind.GOLDEN_INVALID


@pytest.mark.parametrize("content", [b"", b"[]", b'{"texts": 5}', b"{", b'{"texts": [1]}'])
def test_golden_texts_that_are_none_are_refused(content: bytes, forged: Forge) -> None:
    """Whatever lies where the texts should be."""
    uri = forged("gated", {"golden.json": content})
    assert load_error(uri, allow=[GATED]).kind is ErrorKind.GOLDEN_INVALID


def test_golden_vectors_that_are_no_safetensors_are_refused(forged: Forge) -> None:
    """An error that says so, and no traceback of a library."""
    uri = forged("gated", {"golden.safetensors": b"nothing"})
    assert load_error(uri, allow=[GATED]).kind is ErrorKind.GOLDEN_INVALID
