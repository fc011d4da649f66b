"""Adapters use the graph of their base: a layer behind it, a LoRA in its weights."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import mlflow.sentence_transformers
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from llama_index.embeddings.adapter.utils import TwoLayerNN
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

import pairlock
from pairlock.manifest import LayerFacts, Role
from pairlock.manifest.compiled import Place
from pairlock_flavors.onnx_runtime.layers import Layer
from support import acme
from support.families import save_family
from support.forgery import forge
from support.graphs import (
    RUNTIME,
    assert_alike,
    assert_as_torch,
    compiled_of,
    log,
    log_graph,
    runtimes_of,
)
from support.hub_caches import COMMIT, fill_hub_cache
from support.models import save_model
from support.peft_adapters import METHODS, save, save_by_peft, trained
from support.registries import package_folder

Stock = Callable[[str], str]
ATTENTION = ["query", "value"]

CONFIGURATIONS: dict[str, LoraConfig] = {
    "plain": LoraConfig(r=4, lora_alpha=8, target_modules=ATTENTION),
    "ranks": LoraConfig(
        r=4, lora_alpha=6, target_modules=["query", "key", "value", "dense"],
        rank_pattern={"query": 2, "layer.0.attention.self.value": 7}, alpha_pattern={"value": 3.3},
    ),
    "rslora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear"),
    "one_layer": LoraConfig(
        r=4, target_modules=ATTENTION, layers_to_transform=[1], layers_pattern="layer"
    ),
    "unused": LoraConfig(r=4, target_modules=["query", "pooler.dense"]),
}  # fmt: skip
"""LoRAs that a graph of their base does for."""

OTHER_METHODS = sorted(METHODS.keys() - {"lora", "lora_all_linear", "rslora"})


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_lora_changes_weights_of_its_base_s_graph(
    name: str, stock: Stock, prompted: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """Ranks, factors and targets of any kind are added to the weights that they are for."""
    folder = save_by_peft(prompted, tmp_path / name, CONFIGURATIONS[name])
    uri = log_graph(shared_registry, folder, f"lora-{name}", base=stock("base"))
    assert_as_torch(uri)
    base = pairlock.load(stock("base"), runtime="onnx", interface="callable")
    lean = pairlock.load(uri, runtime="onnx")
    assert_alike(base(["card"]), lean.base_vectors(["card"], Role.QUERY))
    assert np.abs(base(["card"]) - lean.vectors(["card"], Role.QUERY)).max() > 1e-4


def test_a_lora_with_a_head_and_words_of_its_own(
    stock: Stock, prompted: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """The modules, length and tokenizer that it was trained with are in place of the base's."""
    model = trained(prompted, METHODS["lora"]())
    model.max_seq_length = 9
    folder = save(model, tmp_path / "own")
    words = json.loads((folder / "tokenizer.json").read_text())
    words["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(words))
    uri = log_graph(shared_registry, folder, "lora-own", base=stock("base"))
    assert compiled_of(uri).tokenizer.file.place is Place.ADAPTER
    assert_as_torch(uri)


def test_an_adapter_in_half_precision_on_one_in_half_precision(
    shared_registry: Any, tmp_path: Path
) -> None:
    """Base and LoRA in bfloat16 are widened, then added, as torch does it."""
    base = save_family("distilbert", tmp_path / "half", dtype=torch.bfloat16)
    folder = save_by_peft(base, tmp_path / "lora", LoraConfig(r=4, target_modules=["q_lin"]))
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    halves = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    safetensors.torch.save_file(halves, path)
    uri = log_graph(shared_registry, folder, "lora-half", base=str(base))
    assert_as_torch(uri)


def test_matrices_that_are_stored_the_other_way_round(shared_registry: Any, tmp_path: Path) -> None:
    """GPT-2's layers hold (in, out): what is added to them is turned around."""
    base = save_family("gpt2", tmp_path / "gpt2")
    config = LoraConfig(r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    uri = log_graph(
        shared_registry,
        save_by_peft(base, tmp_path / "lora", config),
        "lora-turned",
        base=str(base),
    )
    assert any(tensor.added and tensor.added.transposed for tensor in compiled_of(uri).derived)
    assert_as_torch(uri)


def test_the_smallest_matrices_are_changed_too(shared_registry: Any, tmp_path: Path) -> None:
    """A weight of a few hundred bytes is no constant of the graph: a LoRA on it is not lost."""
    base = save_model(tmp_path / "small", hidden=8)
    folder = save_by_peft(base, tmp_path / "lora", LoraConfig(r=2, target_modules=ATTENTION))
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    for tensor in tensors.values():
        tensor.mul_(1e-4)  # less than golden vectors can tell
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    uri = log_graph(
        shared_registry, folder, "lora-small", base=log_graph(shared_registry, base, "small")
    )
    assert sum(tensor.added is not None for tensor in compiled_of(uri).derived) == 4


def test_two_weights_of_one_content_are_not_mistaken(
    shared_registry: Any, prompted: Path, tmp_path: Path
) -> None:
    """Weights are found by content: of two that are the same nobody knows which the graph means."""
    twins = shutil.copytree(prompted, tmp_path / "twins")
    model = AutoModel.from_pretrained(twins)
    model.encoder.layer[1].load_state_dict(model.encoder.layer[0].state_dict())
    model.save_pretrained(twins)
    base = log_graph(shared_registry, twins, "twins")
    assert_as_torch(base)
    folder = save_by_peft(twins, tmp_path / "lora", CONFIGURATIONS["one_layer"])
    uri, reason = log(shared_registry, folder, "lora-twins", base=base)
    assert reason is not None
    assert "same values" in reason
    assert pairlock.load(uri).get_query_embedding("card")


@pytest.mark.parametrize("name", OTHER_METHODS)
def test_other_methods_say_why_they_have_no_graph(
    name: str, stock: Stock, prompted: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """What is more than LoRA's two matrices runs on torch alone, and the warning names it."""
    folder = save_by_peft(prompted, tmp_path / name, METHODS[name]())
    uri, reason = log(shared_registry, folder, f"method-{name}", base=stock("base"))
    assert reason is not None
    assert "computes other vectors" not in reason
    assert "adapter" in reason or "LoRA" in reason
    assert runtimes_of(uri) == ["torch"]


def test_an_adapter_stores_no_weight_of_its_base(stock: Stock, shared_registry: Any) -> None:
    """The graph of a layer's package, and of a LoRA's, has some kilobytes."""
    for name in ("linear", "lora"):
        folder = package_folder(stock(name)) / RUNTIME
        assert {path.name for path in folder.iterdir()} == {"graph.onnx.gz", "runtime.json"}
        assert sum(path.stat().st_size for path in folder.iterdir()) < 40_000


@pytest.mark.parametrize("kind", ["folder", "mlflow", "hub"])
def test_a_base_of_any_kind_will_do(
    kind: str, prompted: Path, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare folder, a model of MLflow's flavor and a hub's snapshot have no graph: one is made."""
    base = str(prompted)
    if kind == "mlflow":
        model = SentenceTransformer(str(prompted), device="cpu")
        mlflow.sentence_transformers.log_model(
            model, name="plain", pip_requirements=[], registered_model_name="plain"
        )
        base = "models:/plain/1"
    elif kind == "hub":
        fill_hub_cache(tmp_path / "hub", "org/prompted", prompted)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        base = f"hf://org/prompted@{COMMIT}"
    folder = save_by_peft(prompted, tmp_path / "lora", CONFIGURATIONS["plain"])
    assert_as_torch(log_graph(registry, folder, "lora", base=base))


# --- layers


def test_layers_in_both_roles_may_have_any_shape(
    stock: Stock, shared_registry: Any, tmp_path: Path
) -> None:
    """A layer that queries and texts pass through gives vectors of its own dimension."""
    package = package_folder(stock("linear"))
    weight = np.random.default_rng(2).normal(size=(6, 20)).astype(np.float32)
    golden = safetensors.numpy.load_file(package / "payload" / "golden.safetensors")
    for role in ("query", "text"):
        golden[role] = golden[f"base_{role}"] @ weight.T
    files = {
        "adapter/adapter.safetensors": safetensors.numpy.save({"linear.weight": weight}),
        "golden.safetensors": safetensors.numpy.save(golden),
    }
    facts = {"out_features": 6, "transforms": ["query", "text"]}
    uri = forge(package, tmp_path / "both", files, {"dimension": 6, "adapter": facts})
    assert_as_torch(uri)
    lean = pairlock.load(uri, runtime="onnx")
    assert lean.dimension == len(lean.get_text_embedding("card")) == 6


def test_a_class_of_another_package_has_no_graph(
    stock: Stock, shared_registry: Any, tmp_path: Path
) -> None:
    """Only torch runs code that no package holds; the warning names the class."""
    acme.make("Gated", 20, tmp_path / "gated")
    name = "support.acme:Gated"
    uri, reason = log(
        shared_registry, tmp_path / "gated", "gated", base=stock("base"), adapter_class=name
    )
    assert reason is not None
    assert name in reason
    assert runtimes_of(uri) == ["torch"]
    assert pairlock.load(uri, allow=[name]).get_query_embedding("card")


@pytest.mark.parametrize("name", ["linear", "linear_bias", "relu_residual", "tanh"])
def test_a_layer_on_a_graph_computes_what_torch_does(
    name: str, stock: Stock, shared_registry: Any
) -> None:
    """LlamaIndex's adapters as they are trained, on queries; texts stay the base's."""
    uri = stock(name)
    assert_as_torch(uri)
    lean, base = (pairlock.load(one, runtime="onnx") for one in (uri, stock("base")))
    assert lean.get_text_embedding("card") == base.get_text_embedding("card")
    assert lean.get_query_embedding("card") != base.get_query_embedding("card")


@pytest.mark.parametrize(
    ("activation", "residual", "bias"),
    itertools.product(["relu", "sigmoid", "tanh", "leaky_relu"], [True, False], [True]),
)
def test_every_layer_is_that_of_llama_index(
    activation: str, residual: bool, bias: bool, tmp_path: Path
) -> None:
    """Every activation, with and without the residual, on vectors far from zero as well."""
    torch.manual_seed(5)
    layer = TwoLayerNN(8, 12, 8, bias=bias, activation_fn_str=activation, add_residual=residual)
    if residual:
        layer.residual_weight.data.fill_(0.7)
    path = tmp_path / "adapter.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in layer.state_dict().items()}, path)
    facts = LayerFacts(
        class_name="TwoLayerNN", in_features=8, out_features=8, hidden_features=12, bias=bias,
        activation=activation, add_residual=residual, transforms=(Role.QUERY,),
    )  # fmt: skip
    vectors = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    vectors = np.concatenate([vectors, 200 * vectors, np.zeros((1, 8), np.float32)])
    with torch.inference_mode():
        expected = layer(torch.from_numpy(vectors)).numpy()
    with np.errstate(all="raise", under="ignore"):
        found = Layer(path, facts).apply(vectors)
    assert found.dtype == np.float32
    assert_alike(expected, found)
