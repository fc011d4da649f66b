"""Model folders are recognised by what lies in them, and only what belongs is taken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairlock.errors import ErrorKind, InvalidInputError, PairlockError, UnsupportedError
from pairlock.layouts import (
    AdapterLayout,
    Layout,
    PeftLayout,
    SentenceTransformersLayout,
    adapter_facts,
    listing_of,
    recognise,
)
from pairlock.layouts.listing import MAX_CONFIG_BYTES
from pairlock.layouts.recognise import ACCEPTED
from pairlock.manifest import Kind, Role
from pairlock.stores import LocalStore

Files = dict[str, Any]
ST = "sentence_transformers.models"
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": f"{ST}.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{ST}.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{ST}.Normalize"},
]
MODEL: Files = {
    "modules.json": MODULES,
    "config.json": {"model_type": "bert"},
    "config_sentence_transformers.json": {"model_type": "SentenceTransformer"},
    "sentence_bert_config.json": {"max_seq_length": 128},
    "model.safetensors": b"weights",
    "tokenizer.json": {},
    "tokenizer_config.json": {},
    "special_tokens_map.json": {},
    "vocab.txt": b"[PAD]",
    "README.md": b"# model",
    "1_Pooling/config.json": {"pooling_mode": "mean"},
}
ENCODER: Files = {
    "config.json": {"model_type": "bert"},
    "model.safetensors": b"weights",
    "tokenizer.json": {},
}
LINEAR = {"in_features": 8, "out_features": 8, "bias": False}
TWO_LAYER = {
    **LINEAR,
    "hidden_features": 16,
    "activation_fn_str": "relu",
    "add_residual": True,
}


def write(root: Path, files: Files) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root


def look(root: Path, files: Files) -> Layout:
    return recognise(listing_of(LocalStore(write(root, files))))


def model(**changes: Any) -> Files:
    """The model's files with some replaced; `__` stands for `/` and `_dot_` for a dot."""
    named = {key.replace("__", "/").replace("_dot_", "."): value for key, value in changes.items()}
    return without({**MODEL, **named}, *(key for key, value in named.items() if value is None))


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


def error_of(root: Path, files: Files) -> PairlockError:
    with pytest.raises(PairlockError) as caught:
        look(root, files)
    return caught.value


def assert_incomplete(root: Path, files: Files) -> None:
    error = error_of(root, files)
    assert isinstance(error, InvalidInputError)
    assert error.kind is ErrorKind.MODEL_INCOMPLETE


def assert_unsupported(root: Path, files: Files) -> None:
    error = error_of(root, files)
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.KIND_UNSUPPORTED


def sentence_transformers(root: Path, files: Files) -> SentenceTransformersLayout:
    layout = look(root, files)
    assert isinstance(layout, SentenceTransformersLayout)
    return layout


# --- Sentence-Transformers folders


def test_a_whole_model_belongs(tmp_path: Path) -> None:
    """Every file that Sentence-Transformers saves belongs to the model, in path order."""
    layout = sentence_transformers(tmp_path, MODEL)
    assert layout.belonging == tuple(sorted(MODEL))
    assert layout.left_out == ()


def test_what_trainers_leave_behind_is_left_out(tmp_path: Path) -> None:
    """Optimizers, checkpoints, other runtimes, pickles, code: left out, each with a reason."""
    junk: Files = {
        ".gitattributes": b"",
        "optimizer.pt": b"",
        "scheduler.pt": b"",
        "training_args.bin": b"",
        "pytorch_model.bin": b"",
        "checkpoint-10/model.safetensors": b"",
        "checkpoint-10/config.json": {},
        "checkpoint-10/optimizer.pt": b"",
        "onnx/model.onnx": b"",
        "openvino/openvino_model.xml": b"",
        "tf_model.h5": b"",
        "modeling_custom.py": b"",
        "eval/results.csv": b"",
        "1_Pooling/notes.txt": b"",
        "3_Dense/config.json": {},
        "3_Dense/model.safetensors": b"",
    }
    layout = sentence_transformers(tmp_path, {**MODEL, **junk})
    assert layout.belonging == tuple(sorted(MODEL))
    reasons = dict(layout.left_out)
    assert list(reasons) == sorted(junk)
    assert all(reasons.values())
    checkpoint, pickle = reasons["checkpoint-10/config.json"], reasons["optimizer.pt"]
    assert reasons["checkpoint-10/optimizer.pt"] == checkpoint
    assert reasons["checkpoint-10/model.safetensors"] == checkpoint
    assert reasons["pytorch_model.bin"] == pickle
    assert reasons["onnx/model.onnx"] == reasons["tf_model.h5"]
    distinct = {
        checkpoint,
        pickle,
        reasons["onnx/model.onnx"],
        reasons["modeling_custom.py"],
        reasons["3_Dense/model.safetensors"],
        reasons[".gitattributes"],
    }
    assert len(distinct) == 6


def test_an_encoder_without_modules_is_taken_as_such(tmp_path: Path) -> None:
    """A bare transformers encoder is accepted, and its provenance tells it from a whole model."""
    layout = sentence_transformers(tmp_path / "encoder", ENCODER)
    assert layout.belonging == tuple(sorted(ENCODER))
    assert layout.source != sentence_transformers(tmp_path / "model", MODEL).source


def test_modules_may_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    """A transformer in a folder of its own belongs, and so do the root's list and settings."""
    modules = [{**MODULES[0], "path": "0_Transformer"}, MODULES[1]]
    files = {f"0_Transformer/{name}": content for name, content in ENCODER.items()}
    # the root is no module's folder, and still the list of modules and the prompts lie there
    root = {"modules.json": modules, "config_sentence_transformers.json": {"prompts": {}}}
    files |= {**root, "1_Pooling/config.json": {}}
    assert sentence_transformers(tmp_path, files).belonging == tuple(sorted(files))


@pytest.mark.parametrize(
    "trace",
    [
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "sentence_xlm-roberta_config.json",
    ],
)
def test_a_model_that_lost_its_modules_is_refused(tmp_path: Path, trace: str) -> None:
    """Without modules.json the pooling would be guessed, so any trace of modules is a refusal."""
    assert_incomplete(tmp_path, {**ENCODER, trace: {}})


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "1_Pooling/config.json"])
def test_a_missing_part_is_refused(tmp_path: Path, name: str) -> None:
    """A model without its configuration, weights or pooling is not complete."""
    assert_incomplete(tmp_path, without(MODEL, name))


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    """A model without a tokenizer would get a guessed one, so it is not complete."""
    tokenizer = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    assert_incomplete(tmp_path, without(MODEL, *tokenizer))


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_weights_in_a_pickle_only_are_refused(tmp_path: Path, pickle: str) -> None:
    """A model whose weights are a pickle is refused for that reason, and the pickle stays shut."""
    files = {**without(MODEL, "model.safetensors"), pickle: b"not even a pickle"}
    error = error_of(tmp_path, files)
    assert isinstance(error, InvalidInputError)
    assert error.kind is ErrorKind.UNSAFE_PICKLE


def test_a_trainers_pickle_is_not_taken_for_weights(tmp_path: Path) -> None:
    """Beside an optimizer, missing weights are missing and not called a pickle."""
    files = {**without(MODEL, "model.safetensors"), "optimizer.pt": b"", "training_args.bin": b""}
    assert_incomplete(tmp_path, files)


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}
SHARDED: Files = {
    **without(MODEL, "model.safetensors"),
    "model.safetensors.index.json": INDEX,
    SHARDS[0]: b"1",
    SHARDS[1]: b"2",
}


def test_sharded_weights_belong(tmp_path: Path) -> None:
    """Every shard that the index names belongs to the model, with the index."""
    assert sentence_transformers(tmp_path, SHARDED).belonging == tuple(sorted(SHARDED))


@pytest.mark.parametrize("shard", SHARDS)
def test_a_missing_shard_is_refused(tmp_path: Path, shard: str) -> None:
    """A model that lacks one of its shards is not complete."""
    assert_incomplete(tmp_path, without(SHARDED, shard))


@pytest.mark.parametrize(
    "index",
    [
        {},
        [],
        {"weight_map": {}},
        {"weight_map": []},
        {"weight_map": None},
        {"weight_map": {"a": 1}},
        {"weight_map": {"a": [SHARDS[0]]}},
        {"weight_map": {"a": "../model.safetensors"}},
    ],
    ids=json.dumps,
)
def test_an_index_that_names_no_shards_is_refused(tmp_path: Path, index: Any) -> None:
    """An index that is malformed or empty is not complete, and no crash."""
    assert_incomplete(tmp_path, {**SHARDED, "model.safetensors.index.json": index})


def test_every_shard_that_is_counted_on_belongs(tmp_path: Path) -> None:
    """A shard under a name of its own is packaged or refused, and never counted and left out."""
    index = {"weight_map": {"a": SHARDS[0], "b": "other.safetensors"}}
    files = {**SHARDED, "model.safetensors.index.json": index, "other.safetensors": b"3"}
    try:
        layout = sentence_transformers(tmp_path, files)
    except PairlockError as error:
        assert error.kind is ErrorKind.MODEL_INCOMPLETE
    else:
        assert "other.safetensors" in layout.belonging


def test_shards_beside_whole_weights_are_left_out(tmp_path: Path) -> None:
    """Where the weights are whole nobody reads shards, so they are not packaged."""
    layout = sentence_transformers(tmp_path, {**SHARDED, "model.safetensors": b"whole"})
    assert "model.safetensors" in layout.belonging
    assert not {*SHARDS, "model.safetensors.index.json"} & set(layout.belonging)
    assert {*SHARDS, "model.safetensors.index.json"} == {path for path, _ in layout.left_out}


@pytest.mark.parametrize("type_", ["SparseEncoder", "CrossEncoder"])
def test_an_encoder_of_another_kind_is_refused(tmp_path: Path, type_: str) -> None:
    """A SparseEncoder would load as a dense model and give other vectors, so it is refused."""
    files = {**MODEL, "config_sentence_transformers.json": {"model_type": type_}}
    assert_unsupported(tmp_path, files)


@pytest.mark.parametrize(
    "type_",
    [
        f"{ST}.Transformer\n",
        "Transformer",
        "my_package.MyModule()",
        "my package.MyModule",
        "",
        None,
        f"{ST}.CLIPModel",
        "sentence_transformers.sparse_encoder.models.SpladePooling",
        "sentence_transformers.SentenceTransformer",
    ],
)
@pytest.mark.parametrize("allowed", [frozenset(), None, frozenset({"a:B"})], ids=str)
def test_another_module_is_refused(
    tmp_path: Path, type_: str | None, allowed: frozenset[str] | None
) -> None:
    """Modules that are not proved, and what is no class, are refused whatever is allowed."""
    files = {**MODEL, "modules.json": [*MODULES, foreign(type_)]}
    with pytest.raises(UnsupportedError) as caught:
        recognise(listing_of(LocalStore(write(tmp_path, files))), allowed)
    assert caught.value.kind is ErrorKind.KIND_UNSUPPORTED


FOREIGN = [
    "my_package.MyModule",
    "modeling.Transformer",
    "os.system",
    "sentence_transformersx.models.Transformer",
    "x.sentence_transformers.models.Transformer",
]


def foreign(type_: str | None) -> dict[str, Any]:
    return {"idx": 3, "name": "3", "path": "3_Other", "type": type_}


@pytest.mark.parametrize("type_", FOREIGN)
def test_a_class_of_another_package_has_to_be_allowed(tmp_path: Path, type_: str) -> None:
    """A class that Sentence-Transformers does not ship is refused by name until it is allowed."""
    path = ":".join(type_.rsplit(".", 1))
    files = {**MODEL, "modules.json": [*MODULES, foreign(type_)], "3_Other/config.json": {}}
    listing = listing_of(LocalStore(write(tmp_path, files)))
    for allowed in (frozenset[str](), frozenset({f"{path}x", type_, "other:Class"})):
        with pytest.raises(UnsupportedError) as caught:
            recognise(listing, allowed)
        assert caught.value.kind is ErrorKind.CLASS_NOT_ALLOWED
        assert path in caught.value.hint
    for allowed_now in (frozenset({path}), None):
        layout = recognise(listing, allowed_now)
        assert isinstance(layout, SentenceTransformersLayout)
        assert layout.modules[-1].foreign == path


def test_what_belongs_to_an_allowed_class(tmp_path: Path) -> None:
    """Its configuration, weights and tokenizer belong; its code, pickles and adapters never do."""
    taken = ("gate_config.json", "config.json", "model.safetensors", "tokenizer.json")
    left = ("gate.py", "weights.pt", "notes.txt", "data/x.json")
    files = {**MODEL, "modules.json": [*MODULES, foreign("acme.Gate")]}
    files |= {f"3_Other/{name}": {} for name in (*taken, *left)}
    listing = listing_of(LocalStore(write(tmp_path, files)))
    layout = recognise(listing, frozenset({"acme:Gate"}))
    assert isinstance(layout, SentenceTransformersLayout)
    belonging = {path for path in layout.belonging if path.startswith("3_Other/")}
    assert belonging == {f"3_Other/{name}" for name in taken}
    assert {path for path, _ in layout.left_out} == {f"3_Other/{name}" for name in left}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("adapter_config.json", {}, ErrorKind.KIND_UNSUPPORTED),
        ("config.json", {"auto_map": {}}, ErrorKind.KIND_UNSUPPORTED),
        ("tokenizer_config.json", {"auto_map": {}}, ErrorKind.KIND_UNSUPPORTED),
        ("pytorch_model.bin", b"", ErrorKind.UNSAFE_PICKLE),
    ],
)
def test_an_allowed_class_brings_nothing_else_along(
    tmp_path: Path, name: str, content: Any, kind: ErrorKind
) -> None:
    """To allow a class allows neither other code, nor an adapter, nor a pickle."""
    files = {**MODEL, "modules.json": [*MODULES, foreign("acme.Gate")], f"3_Other/{name}": content}
    with pytest.raises(PairlockError) as caught:
        recognise(listing_of(LocalStore(write(tmp_path, files))), frozenset({"acme:Gate"}))
    assert caught.value.kind is kind


ROUTED: Files = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": f"{ST}.Router"}, MODULES[2]],
    "router_config.json": {
        "types": {
            "query_0_StaticEmbedding": f"{ST}.StaticEmbedding",
            "document_0_Transformer": f"{ST}.Transformer",
        },
        "structure": {"query": ["query_0_StaticEmbedding"], "document": ["document_0_Transformer"]},
        "parameters": {},
    },
    "query_0_StaticEmbedding/model.safetensors": b"1",
    "query_0_StaticEmbedding/tokenizer.json": {},
    **{f"document_0_Transformer/{name}": content for name, content in ENCODER.items()},
}


def test_the_folders_of_routes_belong(tmp_path: Path) -> None:
    """A Router's configuration and its modules' folders belong, and nothing else beside them."""
    junk = {"config.json": {}, "model.safetensors": b"", "audio_0_Other/config.json": {}}
    layout = sentence_transformers(tmp_path, {**ROUTED, **junk})
    assert layout.belonging == tuple(sorted(ROUTED))
    assert [(m.place, m.folder, m.name) for m in layout.modules] == [
        ((0,), "", "Router"),
        ((0, "query", 0), "query_0_StaticEmbedding", "StaticEmbedding"),
        ((0, "document", 0), "document_0_Transformer", "Transformer"),
        ((1,), "2_Normalize", "Normalize"),
    ]


def test_code_in_a_route_is_refused(tmp_path: Path) -> None:
    """A route's module is held to the rules of any module."""
    config = {"model_type": "bert", "auto_map": {"AutoModel": "modeling.Model"}}
    assert_unsupported(tmp_path / "a", {**ROUTED, "document_0_Transformer/config.json": config})
    adapter = {"document_0_Transformer/adapter_config.json": {}}
    assert_unsupported(tmp_path / "b", {**ROUTED, **adapter})


@pytest.mark.parametrize(
    "prefix",
    [
        ST,
        "sentence_transformers.base.modules",
        "sentence_transformers.models.Pooling",
        "sentence_transformers.sentence_transformer.modules.pooling",
    ],
)
def test_old_and_new_module_paths_are_known(tmp_path: Path, prefix: str) -> None:
    """Modules are known by the paths that older and newer releases write."""
    modules = [{**m, "type": m["type"].replace(ST, prefix)} for m in MODULES]
    layout = sentence_transformers(tmp_path, {**MODEL, "modules.json": modules})
    assert layout.belonging == tuple(sorted(MODEL))


def test_code_that_a_model_brings_along_is_refused(tmp_path: Path) -> None:
    """An auto_map means code from the folder, which is never run."""
    config = {"model_type": "bert", "auto_map": {"AutoModel": "modeling.Model"}}
    assert_unsupported(tmp_path / "model", {**MODEL, "config.json": config})
    assert_unsupported(tmp_path / "encoder", {**ENCODER, "config.json": config})


def test_a_second_module_in_one_folder_hides_nothing(tmp_path: Path) -> None:
    """A module that names the transformer's folder again cannot switch off its checks."""
    modules = [*MODULES, {"idx": 3, "name": "3", "path": "", "type": f"{ST}.Normalize"}]
    files = {**without(MODEL, "model.safetensors"), "modules.json": modules}
    assert error_of(tmp_path, files).kind is ErrorKind.MODEL_INCOMPLETE


def dense(config: Any, **changes: Any) -> Files:
    modules = [*MODULES[:2], {"idx": 2, "name": "2", "path": "2_Dense", "type": f"{ST}.Dense"}]
    files = {"2_Dense/config.json": config, "2_Dense/model.safetensors": b"d"}
    return {**MODEL, "modules.json": modules, **files, **changes}


def test_a_dense_module_belongs(tmp_path: Path) -> None:
    """A Dense module with an activation of torch is packaged with its weights."""
    files = dense({"activation_function": "torch.nn.modules.activation.Tanh"})
    layout = sentence_transformers(tmp_path, files)
    assert {"2_Dense/config.json", "2_Dense/model.safetensors"} <= set(layout.belonging)


@pytest.mark.parametrize("activation", ["my_code.Activation", "os.system", "torchx.Tanh", "Tanh"])
def test_a_dense_module_with_a_foreign_activation_is_refused(
    tmp_path: Path, activation: str
) -> None:
    """An activation from elsewhere would be replaced in silence by another, so it is refused."""
    assert_unsupported(tmp_path, dense({"activation_function": activation}))


@pytest.mark.parametrize("name", ["2_Dense/config.json", "2_Dense/model.safetensors"])
def test_an_incomplete_dense_module_is_refused(tmp_path: Path, name: str) -> None:
    """A Dense module without its configuration or weights is not complete."""
    assert_incomplete(tmp_path, without(dense({}), name))


def test_a_dense_pickle_is_refused(tmp_path: Path) -> None:
    """A Dense module whose weights are a pickle is refused for that reason."""
    files = without(dense({}), "2_Dense/model.safetensors")
    error = error_of(tmp_path, {**files, "2_Dense/pytorch_model.bin": b""})
    assert error.kind is ErrorKind.UNSAFE_PICKLE


@pytest.mark.parametrize(
    "modules",
    [
        [],
        {},
        None,
        "text",
        [1],
        [{}],
        [{"path": None, "type": f"{ST}.Transformer"}],
        [{"path": 1, "type": f"{ST}.Transformer"}],
        [{"path": "../x", "type": f"{ST}.Transformer"}],
        [{"path": "..", "type": f"{ST}.Transformer"}],
        [{"path": "/etc", "type": f"{ST}.Transformer"}],
        [{"path": "a/../../x", "type": f"{ST}.Transformer"}],
        [{"path": "a\\..\\x", "type": f"{ST}.Transformer"}],
        [{"path": "a/", "type": f"{ST}.Transformer"}],
        [{"path": "./x", "type": f"{ST}.Transformer"}],
    ],
    ids=json.dumps,
)
def test_a_list_of_modules_that_leaves_the_folder_is_refused(tmp_path: Path, modules: Any) -> None:
    """A malformed list, or a path out of the folder, is refused."""
    assert_incomplete(tmp_path, {**MODEL, "modules.json": modules})


@pytest.mark.parametrize(
    "name",
    ["modules.json", "config.json", "config_sentence_transformers.json"],
)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000], ids=lambda c: len(c))
def test_a_broken_configuration_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Configuration that is no JSON is refused, however it is broken."""
    assert_incomplete(tmp_path, {**MODEL, name: content})


def test_an_oversize_configuration_is_refused(tmp_path: Path) -> None:
    """A configuration file over the limit is not read into memory."""
    error = error_of(tmp_path, {**MODEL, "modules.json": b" " * (MAX_CONFIG_BYTES + 1)})
    assert error.kind is ErrorKind.STORAGE_FAILED


def test_links_do_not_count_as_files(tmp_path: Path) -> None:
    """A link in the place of the weights is not packaged, so the weights are missing."""
    write(tmp_path, {**without(MODEL, "model.safetensors")})
    write(tmp_path.parent, {"elsewhere.safetensors": b"weights"})
    (tmp_path / "model.safetensors").symlink_to(tmp_path.parent / "elsewhere.safetensors")
    with pytest.raises(InvalidInputError) as caught:
        recognise(listing_of(LocalStore(tmp_path)))
    assert caught.value.kind is ErrorKind.MODEL_INCOMPLETE


def test_a_name_that_is_no_unicode_can_be_written_down(tmp_path: Path) -> None:
    """What is left out goes into the manifest, so that its name must be valid text there."""
    listing = listing_of(LocalStore(write(tmp_path, MODEL)))
    layout = recognise(replace(listing, sizes={**listing.sizes, "notes-\udcff.txt": 1}))
    assert isinstance(layout, SentenceTransformersLayout)
    ((path, _),) = layout.left_out
    assert path.encode("utf-8")


# --- adapters


def adapter(config: Any) -> Files:
    return {"config.json": config, "pytorch_model.bin": b"never opened here"}


def test_a_linear_adapter_is_recognised(tmp_path: Path) -> None:
    """The constructor arguments of a LinearLayer are read, and the rest is left out."""
    layout = look(tmp_path, {**adapter(LINEAR), "optimizer.pt": b"", "sub/x": b""})
    assert isinstance(layout, AdapterLayout)
    assert layout.kind is Kind.LINEAR
    assert layout.facts.class_name == "LinearLayer"
    assert (layout.facts.in_features, layout.facts.out_features) == (8, 8)
    assert layout.facts.bias is False
    assert layout.facts.hidden_features is None
    assert layout.facts.activation is None
    assert layout.facts.add_residual is False
    assert layout.facts.transforms == (Role.QUERY,)
    assert layout.weights == "pytorch_model.bin"
    assert [path for path, reason in layout.left_out if reason] == ["optimizer.pt", "sub/x"]


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "leaky_relu"])
def test_a_two_layer_adapter_is_recognised(tmp_path: Path, activation: str) -> None:
    """The constructor arguments of a TwoLayerNN are read, with each activation."""
    layout = look(tmp_path, adapter({**TWO_LAYER, "activation_fn_str": activation}))
    assert isinstance(layout, AdapterLayout)
    assert layout.kind is Kind.TWO_LAYER
    assert layout.facts.class_name == "TwoLayerNN"
    assert layout.facts.hidden_features == 16
    assert layout.facts.activation == activation
    assert layout.facts.add_residual is True
    assert layout.left_out == ()


@pytest.mark.parametrize(
    "config",
    [
        without(LINEAR, "bias"),
        {**LINEAR, "dropout": 0.1},
        {**LINEAR, "hidden_features": 16},
        without(TWO_LAYER, "activation_fn_str"),
        without(TWO_LAYER, "add_residual"),
        {**TWO_LAYER, "extra": 1},
    ],
    ids=lambda config: ",".join(config),
)
def test_an_adapter_with_other_arguments_is_refused(tmp_path: Path, config: Files) -> None:
    """Other constructor arguments mean another class, which would load as the wrong one."""
    assert_unsupported(tmp_path, adapter(config))


@pytest.mark.parametrize(
    "change",
    [
        {"in_features": 0},
        {"in_features": -8},
        {"in_features": "8"},
        {"in_features": 8.0},
        {"in_features": True},
        {"in_features": None},
        {"out_features": 0},
        {"hidden_features": 0},
        {"hidden_features": None},
        {"bias": 1},
        {"bias": "true"},
        {"add_residual": 0},
        {"add_residual": None},
        {"activation_fn_str": "gelu"},
        {"activation_fn_str": ""},
        {"activation_fn_str": None},
        {"activation_fn_str": ["relu"]},
    ],
    ids=str,
)
def test_an_adapter_with_wrong_values_is_refused(tmp_path: Path, change: Files) -> None:
    """Arguments that cannot be are refused before anything is built from them."""
    assert_incomplete(tmp_path, adapter({**TWO_LAYER, **change}))


def test_every_wrong_value_is_named(tmp_path: Path) -> None:
    """An adapter with three wrong values names all three arguments."""
    wrong = {"in_features": 0, "bias": 1, "activation_fn_str": "gelu"}
    error = error_of(tmp_path, adapter({**TWO_LAYER, **wrong}))
    assert all(key in error.found for key in wrong)


def test_an_adapter_without_weights_is_refused(tmp_path: Path) -> None:
    """An adapter without its state dict is not complete."""
    assert_incomplete(tmp_path, {"config.json": LINEAR})


def test_adapter_facts_of_a_live_adapter() -> None:
    """The facts of an adapter in memory are those of its folder."""
    kind, facts = adapter_facts(dict(TWO_LAYER), where="a live adapter")
    assert kind is Kind.TWO_LAYER
    assert (facts.in_features, facts.hidden_features, facts.out_features) == (8, 16, 8)


def test_a_model_is_no_adapter(tmp_path: Path) -> None:
    """A model's configuration that happens to name features is still a model's."""
    config = {**LINEAR, "model_type": "bert"}
    layout = sentence_transformers(tmp_path, {**ENCODER, "config.json": config})
    assert "model.safetensors" in layout.belonging


# --- PEFT


PEFT: Files = {
    "adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "org/name"},
    "adapter_model.safetensors": b"lora",
}


def test_a_peft_folder_is_recognised(tmp_path: Path) -> None:
    """A LoRA is told by its configuration; what it calls its base is kept as a note."""
    layout = look(tmp_path, {**PEFT, "training_args.bin": b"pickle"})
    assert isinstance(layout, PeftLayout)
    assert (layout.peft_type, layout.base_name) == ("LORA", "org/name")
    assert (layout.config, layout.weights) == ("adapter_config.json", "adapter_model.safetensors")
    assert not layout.has_modules
    assert [path for path, _ in layout.left_out] == ["training_args.bin"]


@pytest.mark.parametrize("beside", [MODEL, adapter(LINEAR)], ids=["model", "adapter"])
def test_an_adapter_beside_other_weights_is_refused(tmp_path: Path, beside: Files) -> None:
    """Nobody can say which of the two was meant, and transformers would take the adapter alone."""
    with pytest.raises(UnsupportedError) as caught:
        look(tmp_path, {**beside, **PEFT})
    assert caught.value.kind is ErrorKind.KIND_UNSUPPORTED


def test_a_folder_around_an_adapter_keeps_its_modules(tmp_path: Path) -> None:
    """What Sentence-Transformers saved after the encoder belongs to the adapter."""
    files = {name: content for name, content in MODEL.items() if name != "model.safetensors"}
    layout = look(tmp_path, {**files, **PEFT})
    assert isinstance(layout, PeftLayout)
    assert layout.has_modules
    assert {"modules.json", "1_Pooling/config.json"} <= set(layout.settings)
    assert not {"adapter_config.json", "adapter_model.safetensors"} & set(layout.settings)


def test_a_lora_inside_a_module_is_not_lost(tmp_path: Path) -> None:
    """A LoRA in the transformer's own folder is recognised or refused, never left out."""
    modules = [{**MODULES[0], "path": "0_Transformer"}, MODULES[1]]
    files = {f"0_Transformer/{name}": content for name, content in {**ENCODER, **PEFT}.items()}
    files |= {"modules.json": modules, "1_Pooling/config.json": {}}
    try:
        layout = look(tmp_path, files)
    except PairlockError as error:
        assert error.kind in {ErrorKind.KIND_UNSUPPORTED, ErrorKind.MODEL_INCOMPLETE}
    else:
        assert isinstance(layout, PeftLayout)


# --- none of them


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": b"", "data.csv": b""},
        {"config.json": {"hello": 1}},
        {"config.json": []},
        {"model.safetensors": b"", "tokenizer.json": {}},
        {"pytorch_model.bin": b""},
        {"sub/modules.json": MODULES, "sub/config.json": {"model_type": "bert"}},
    ],
    ids=lambda files: ",".join(files),
)
def test_an_unknown_folder_says_what_was_found_and_accepted(tmp_path: Path, files: Files) -> None:
    """A folder that is nothing we know lists what lies in it and all that is accepted."""
    error = error_of(tmp_path, files)
    assert isinstance(error, InvalidInputError)
    assert error.kind is ErrorKind.LAYOUT_UNKNOWN
    assert all(name in error.found for name in files)
    assert all(layout in error.expected for layout in ACCEPTED)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """An empty folder is no model, and is told from a folder with files."""
    error = error_of(tmp_path, {})
    assert error.kind is ErrorKind.LAYOUT_UNKNOWN
    assert error.found


@pytest.mark.parametrize("marker", ["MLmodel", "pairlock.json"])
def test_a_logged_model_is_no_trainers_folder(tmp_path: Path, marker: str) -> None:
    """A folder that MLflow or Pairlock wrote is refused, even when a model lies beside."""
    error = error_of(tmp_path, {**MODEL, marker: b"flavors: {}"})
    assert error.kind is ErrorKind.LAYOUT_UNKNOWN
