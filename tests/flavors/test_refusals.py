"""What is refused at packaging: code in pickles, broken weights, kinds that are not packaged."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError, PairlockError, UnsupportedError


def refused(
    model: object, registry: Any, error: type[PairlockError], kind: ErrorKind, **kwargs: Any
) -> PairlockError:
    """Packaging refuses with this error, and makes neither a version nor a logged model."""
    with pytest.raises(error) as caught:
        pairlock.log_model(model, registered_model_name="refused", **kwargs)
    assert caught.value.kind is kind
    assert caught.value.done
    assert caught.value.hint
    assert registry.versions("refused") == []
    assert registry.client.search_logged_models(experiment_ids=["0"]) == []
    return caught.value


class Payload:
    """An object whose unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "the code ran")


def _whole_object(path: Path, payload: Payload, _weights: dict[str, torch.Tensor]) -> None:
    torch.save(payload, path)


def _beside_tensors(path: Path, payload: Payload, weights: dict[str, torch.Tensor]) -> None:
    torch.save({**weights, "linear.bias": payload}, path)


def _as_a_key(path: Path, payload: Payload, weights: dict[str, torch.Tensor]) -> None:
    torch.save({"linear.weight": [weights["linear.weight"], payload]}, path)


def _legacy_container(path: Path, payload: Payload, weights: dict[str, torch.Tensor]) -> None:
    torch.save({**weights, "more": payload}, path, _use_new_zipfile_serialization=False)


def _plain_pickle(path: Path, payload: Payload, _weights: dict[str, torch.Tensor]) -> None:
    path.write_bytes(pickle.dumps(payload))


DANGEROUS = (_whole_object, _beside_tensors, _as_a_key, _legacy_container, _plain_pickle)


@pytest.mark.parametrize("setting", ["unset", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
@pytest.mark.parametrize("write", DANGEROUS)
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    write: Callable[[Path, Payload, dict[str, torch.Tensor]], None],
    setting: str,
    linear_adapter: Path,
    tiny_model: Path,
    tmp_path: Path,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code in an adapter's pickle never runs, even where torch is told to allow it."""
    if setting != "unset":
        monkeypatch.setenv(setting, "1")
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    marker = tmp_path / "marker"
    write(folder / "pytorch_model.bin", Payload(marker), weights)
    refused(folder, registry, IntegrityError, ErrorKind.UNSAFE_PICKLE, base=str(tiny_model))
    assert not marker.exists()


def test_the_dangerous_pickles_are_dangerous(tmp_path: Path) -> None:
    """Read without care, the pickles of these tests do run their code."""
    torch.save(Payload(tmp_path / "marker"), tmp_path / "file.bin")
    torch.load(tmp_path / "file.bin", weights_only=False)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle at all", b"PK\x03\x04 cut short", b"\x80\x05."],
    ids=["empty", "text", "zip", "pickle"],
)
def test_a_file_that_is_no_pickle_is_refused(
    content: bytes, linear_adapter: Path, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Weights that are no state dict at all are refused the same way."""
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    (folder / "pytorch_model.bin").write_bytes(content)
    refused(folder, registry, IntegrityError, ErrorKind.UNSAFE_PICKLE, base=str(tiny_model))


@pytest.mark.parametrize("found", [[torch.ones(2)], torch.ones(2), {"a": {"b": torch.ones(1)}}])
def test_a_safe_pickle_that_is_no_state_dict_is_refused(
    found: object, linear_adapter: Path, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Tensors in any other arrangement than names to tensors are refused."""
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    torch.save(found, folder / "pytorch_model.bin")
    refused(folder, registry, IntegrityError, ErrorKind.UNSAFE_PICKLE, base=str(tiny_model))


def test_pickles_beside_the_weights_are_never_opened(
    tiny_model: Path, linear_adapter: Path, tmp_path: Path, registry: Any
) -> None:
    """Optimizer states of a trainer are left out without being read."""
    marker = tmp_path / "marker"
    full = shutil.copytree(tiny_model, tmp_path / "full")
    adapter = shutil.copytree(linear_adapter, tmp_path / "adapter")
    for path in (full / "pytorch_model.bin", full / "training_args.bin", adapter / "optimizer.pt"):
        torch.save(Payload(marker), path)
    pairlock.load(registry.log(full, "full"))
    pairlock.load(registry.log(adapter, "adapter", base=str(tiny_model)))
    assert not marker.exists()


def test_a_full_model_with_pickled_weights_only_is_refused(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A full model must bring safetensors; its pickle is not opened."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save(Payload(tmp_path / "marker"), folder / "pytorch_model.bin")
    refused(folder, registry, InvalidInputError, ErrorKind.UNSAFE_PICKLE)
    assert not (tmp_path / "marker").exists()


def test_a_module_with_pickled_weights_only_is_refused(
    tiny_dense: Path, tmp_path: Path, registry: Any
) -> None:
    """The same holds for a Dense module inside a model."""
    folder = shutil.copytree(tiny_dense, tmp_path / "model")
    (folder / "2_Dense" / "model.safetensors").unlink()
    torch.save(Payload(tmp_path / "marker"), folder / "2_Dense" / "pytorch_model.bin")
    refused(folder, registry, InvalidInputError, ErrorKind.UNSAFE_PICKLE)
    assert not (tmp_path / "marker").exists()


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _own_module(folder: Path) -> None:
    (folder / "evil.py").write_text("import pathlib; pathlib.Path('marker').touch()")
    _rewrite(folder / "modules.json", lambda found: [*found[:-1], {**found[-1], "type": "evil.E"}])


def _own_architecture(folder: Path) -> None:
    _rewrite(
        folder / "config.json", lambda found: {**found, "auto_map": {"AutoModel": "evil.Model"}}
    )


def _sparse_encoder(folder: Path) -> None:
    _rewrite(
        folder / "config_sentence_transformers.json",
        lambda found: {**found, "model_type": "SparseEncoder"},
    )


def _unproved_module(folder: Path) -> None:
    images = {"type": "sentence_transformers.sentence_transformer.modules.clip_model.CLIPModel"}
    _rewrite(folder / "modules.json", lambda found: [*found[:-1], {**found[-1], **images}])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_own_module, ErrorKind.CLASS_NOT_ALLOWED),
        (_own_architecture, ErrorKind.KIND_UNSUPPORTED),
        (_sparse_encoder, ErrorKind.KIND_UNSUPPORTED),
        (_unproved_module, ErrorKind.KIND_UNSUPPORTED),
    ],
)
def test_models_that_need_other_code_are_refused(
    change: Callable[[Path], None], kind: ErrorKind, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Code that an artifact brings along, and kinds that are not proved, are not packaged."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    change(folder)
    refused(folder, registry, UnsupportedError, kind)


def test_a_dense_module_with_its_own_activation_is_refused(
    tiny_dense: Path, tmp_path: Path, registry: Any
) -> None:
    """An activation from elsewhere, which the library would replace silently, is refused."""
    folder = shutil.copytree(tiny_dense, tmp_path / "model")
    _rewrite(
        folder / "2_Dense" / "config.json", lambda found: {**found, "activation_function": "evil.F"}
    )
    refused(folder, registry, UnsupportedError, ErrorKind.KIND_UNSUPPORTED)


@pytest.mark.parametrize(
    "gone",
    ["modules.json", "config.json", "model.safetensors", "tokenizer*", "1_Pooling/config.json"],
)
def test_an_incomplete_model_is_refused(
    gone: str, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A model without a file that it needs is refused, not completed by guesses."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for path in folder.glob(gone):
        path.unlink()
    refused(folder, registry, InvalidInputError, ErrorKind.MODEL_INCOMPLETE)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_a_setting_that_is_no_json_is_refused(
    name: str, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A damaged settings file is an error that names it."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / name).write_text("{not json")
    error = refused(folder, registry, InvalidInputError, ErrorKind.MODEL_INCOMPLETE)
    assert name in str(error)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _text(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def _other_shape(path: Path) -> None:
    tensors = safetensors.torch.load(path.read_bytes())
    name = "embeddings.LayerNorm.weight" if "embeddings.LayerNorm.weight" in tensors else None
    name = name or "linear.weight"
    tensors[name] = torch.ones(7)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("change", [_cut, _text, _other_shape])
@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_unreadable_weights_are_refused_with_an_error_of_ours(
    change: Callable[[Path], None], name: str, tiny_dense: Path, tmp_path: Path, registry: Any
) -> None:
    """Weights that are cut, a pointer file, or of another shape give an IntegrityError."""
    folder = shutil.copytree(tiny_dense, tmp_path / "model")
    change(folder / name)
    with pytest.raises(PairlockError) as caught:
        registry.log(folder, "refused")
    assert isinstance(caught.value, IntegrityError)
    assert registry.versions("refused") == []


def test_a_dense_module_that_lacks_a_tensor_is_refused(
    tiny_dense: Path, tmp_path: Path, registry: Any
) -> None:
    """Missing weights are refused in every module, not only in the encoder."""
    folder = shutil.copytree(tiny_dense, tmp_path / "model")
    weights = folder / "2_Dense" / "model.safetensors"
    tensors = safetensors.torch.load(weights.read_bytes())
    del tensors["linear.bias"]
    safetensors.torch.save_file(tensors, weights)
    with pytest.raises(PairlockError) as caught:
        registry.log(folder, "refused")
    assert isinstance(caught.value, IntegrityError)


def test_weights_that_are_not_numbers_are_refused(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A model whose vectors are NaN is not packaged."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    tensors["embeddings.LayerNorm.weight"][0] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError):
        registry.log(folder, "refused")
    assert registry.versions("refused") == []


def _not_a_number(weights: dict[str, torch.Tensor]) -> None:
    weights["linear.weight"][0, 0] = float("nan")


def _infinite(weights: dict[str, torch.Tensor]) -> None:
    weights["linear.weight"][3, 3] = float("inf")


def _integers(weights: dict[str, torch.Tensor]) -> None:
    weights["linear.weight"] = weights["linear.weight"].to(torch.int32)


def _renamed(weights: dict[str, torch.Tensor]) -> None:
    weights["module.linear.weight"] = weights.pop("linear.weight")


def _with_more(weights: dict[str, torch.Tensor]) -> None:
    weights["linear.bias"] = torch.zeros(32)


def _without(weights: dict[str, torch.Tensor]) -> None:
    weights.clear()


def _smaller(weights: dict[str, torch.Tensor]) -> None:
    weights["linear.weight"] = weights["linear.weight"][:31]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_not_a_number, ErrorKind.TENSOR_VALUES),
        (_infinite, ErrorKind.TENSOR_VALUES),
        (_integers, ErrorKind.TENSOR_VALUES),
        (_renamed, ErrorKind.TENSOR_KEYS),
        (_with_more, ErrorKind.TENSOR_KEYS),
        (_without, ErrorKind.TENSOR_KEYS),
        (_smaller, ErrorKind.TENSOR_KEYS),
    ],
)
def test_an_adapter_s_tensors_must_be_exactly_its_class_s(
    change: Callable[[dict[str, torch.Tensor]], None],
    kind: ErrorKind,
    linear_adapter: Path,
    tiny_model: Path,
    tmp_path: Path,
    registry: Any,
) -> None:
    """Names, shapes, dtypes and values of every tensor are checked."""
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    weights = dict(torch.load(folder / "pytorch_model.bin", weights_only=True))
    change(weights)
    torch.save(weights, folder / "pytorch_model.bin")
    refused(folder, registry, IntegrityError, kind, base=str(tiny_model))


@pytest.mark.parametrize(
    ("config", "error", "kind"),
    [
        (
            {"in_features": 32, "out_features": 32, "bias": False, "rank": 4},
            UnsupportedError,
            ErrorKind.KIND_UNSUPPORTED,
        ),
        (
            {"in_features": 32, "out_features": 32, "bias": "no"},
            InvalidInputError,
            ErrorKind.MODEL_INCOMPLETE,
        ),
        (
            {"in_features": -32, "out_features": 32, "bias": False},
            InvalidInputError,
            ErrorKind.MODEL_INCOMPLETE,
        ),
        (
            {
                "in_features": 32,
                "hidden_features": 8,
                "out_features": 32,
                "bias": False,
                "activation_fn_str": "gelu",
                "add_residual": False,
            },
            InvalidInputError,
            ErrorKind.MODEL_INCOMPLETE,
        ),
    ],
)
def test_adapter_settings_of_another_class_are_refused(
    config: dict[str, Any],
    error: type[PairlockError],
    kind: ErrorKind,
    linear_adapter: Path,
    tiny_model: Path,
    tmp_path: Path,
    registry: Any,
) -> None:
    """An adapter folder that is not exactly a LinearLayer's or a TwoLayerNN's is refused."""
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, registry, error, kind, base=str(tiny_model))


def test_an_adapter_folder_without_weights_is_refused(
    linear_adapter: Path, tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """An adapter needs its weights."""
    folder = shutil.copytree(linear_adapter, tmp_path / "adapter")
    (folder / "pytorch_model.bin").unlink()
    kind = ErrorKind.MODEL_INCOMPLETE
    refused(folder, registry, InvalidInputError, kind, base=str(tiny_model))


def test_an_adapter_that_leaves_the_base_s_space_on_one_side_is_refused(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """Queries of 16 dimensions cannot be compared with documents of 32."""
    adapter = LinearLayer(32, 32)
    adapter.linear = torch.nn.Linear(32, 16, bias=False)
    adapter.out_features = 16
    adapter.save(str(tmp_path / "adapter"))
    kind = ErrorKind.DIMENSION
    refused(tmp_path / "adapter", registry, InvalidInputError, kind, base=str(tiny_model))


class Doubling(BaseAdapter):
    """An adapter of a user's own class."""

    def get_config_dict(self) -> dict[str, Any]:
        """The keys of a LinearLayer, so that only the class tells."""
        return {"in_features": 32, "out_features": 32, "bias": False}

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """Anything at all."""
        return embed * 2

    @classmethod
    def load(cls, input_path: str) -> BaseAdapter:
        """No weights to load."""
        return cls()


def test_an_adapter_that_cannot_be_built_again_is_refused(
    linear_adapter: Path, tiny_model: Path, registry: Any
) -> None:
    """A class whose constructor does not take its own configuration would never load."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"),
        str(linear_adapter),
        adapter_cls=Doubling,
        device="cpu",
    )
    refused(live, registry, InvalidInputError, ErrorKind.CLASS_MISSING, base=str(tiny_model))


def test_what_is_no_model_is_refused(
    tmp_path: Path, tiny_model: Path, registry: Any, packaged: Callable[[str], str], shelf: Any
) -> None:
    """Empty folders, other files, other objects and whole packages are refused by kind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing")
    (tmp_path / "file").write_text("nothing")
    unknown = ErrorKind.LAYOUT_UNKNOWN
    refused(tmp_path / "empty", registry, InvalidInputError, unknown)
    refused(tmp_path / "other", registry, InvalidInputError, unknown)
    refused(torch.nn.Linear(2, 2), registry, InvalidInputError, unknown)
    missing = ErrorKind.FOLDER_MISSING
    refused(tmp_path / "nowhere", registry, pairlock.NotFoundError, missing)
    refused(tmp_path / "file", registry, pairlock.NotFoundError, missing)
    again = registry.folder_of(registry.log(tiny_model, "one"))
    with pytest.raises(InvalidInputError) as caught:
        registry.log(again, "two")
    assert caught.value.kind is unknown


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "a%b"])
def test_a_name_that_cannot_be_loaded_again_is_refused(
    name: str, tiny_model: Path, registry: Any
) -> None:
    """A registered name must survive in a models:/ URI."""
    with pytest.raises(InvalidInputError) as caught:
        pairlock.log_model(tiny_model, "logged", registered_model_name=name)
    assert caught.value.kind is ErrorKind.NAME_INVALID
    assert registry.client.search_logged_models(experiment_ids=["0"]) == []
