"""Graphs and descriptions as somebody could make them, or as they rot: never wrong vectors."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy

import pairlock
from pairlock import (
    ErrorKind,
    FormatError,
    IntegrityError,
    NotFoundError,
    PairlockError,
    StorageError,
)
from pairlock.digests import canonical_json
from pairlock.verification import GRAPH
from pairlock_flavors.onnx_runtime import open as opening
from support.faults import PACKAGE_FAULTS, damaged
from support.forgery import forge
from support.graphs import RUNTIME
from support.models import TEXTS
from support.registries import package_folder

Stock = Callable[[str], str]
GRAPH_FILE, DOCUMENT = "runtimes/onnx/graph.onnx.gz", "runtimes/onnx/runtime.json"


@pytest.fixture(autouse=True)
def _registry(shared_registry: Any) -> None:
    """All of these only load what is there."""


@pytest.fixture
def forged(stock: Stock, tmp_path: Path) -> Callable[..., str]:
    """A package with other files under a manifest that lists them as they are."""

    def make(name: str, files: dict[str, Any]) -> str:
        return forge(package_folder(stock(name)), tmp_path / "forged", files)

    return make


def refusal(uri: str, **options: Any) -> PairlockError:
    """The error with which a package does not load in the onnx runtime."""
    with pytest.raises(PairlockError) as caught:
        pairlock.load(uri, runtime="onnx", interface="callable", **options)
    return caught.value


def graph_of(uri: str) -> onnx.ModelProto:
    """A package's graph."""
    packed = (package_folder(uri) / RUNTIME / "graph.onnx.gz").read_bytes()
    return onnx.load_from_string(gzip.decompress(packed))


def document_of(uri: str) -> dict[str, Any]:
    """What a package says of its graph."""
    found: dict[str, Any] = json.loads(
        (package_folder(uri) / RUNTIME / "runtime.json").read_bytes()
    )
    return found


def with_graph(uri: str, change: Callable[[onnx.ModelProto], Any]) -> dict[str, Any]:
    """The files of a runtime with a changed graph."""
    graph = graph_of(uri)
    change(graph)
    content = graph.SerializeToString()
    document = {**document_of(uri), "graph_bytes": len(content)}
    return {GRAPH_FILE: gzip.compress(content), DOCUMENT: canonical_json(document)}


def with_document(uri: str, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The files of a runtime with a changed description."""
    document = document_of(uri)
    change(document)
    return {DOCUMENT: canonical_json(document)}


def externals(graph: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The weights of a graph that lie in files."""
    return [tensor for tensor in graph.graph.initializer if tensor.external_data]


def place(tensor: onnx.TensorProto, **changes: str) -> None:
    """Say that a weight lies elsewhere."""
    known = {entry.key: entry.value for entry in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in known.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def place_of(tensor: onnx.TensorProto) -> dict[str, str]:
    """Where a weight lies."""
    return {entry.key: entry.value for entry in tensor.external_data}


# --- graphs that somebody packaged


def _secret(folder: Path) -> None:
    (folder / "secret").write_bytes(os.urandom(1 << 20))


@pytest.mark.parametrize("where", ["../../secret", "../secret", "absolute", "nowhere", "a/../../b"])
def test_a_graph_reads_no_file_outside_the_model(
    where: str, stock: Stock, forged: Callable[..., str], tmp_path: Path
) -> None:
    """A weight that is said to lie outside the model's folder is an error, there or not."""
    for folder in (tmp_path, tmp_path / "cache"):
        folder.mkdir(exist_ok=True)
        _secret(folder)
    location = str(tmp_path / "secret") if where == "absolute" else where
    files = with_graph(
        stock("base"), lambda graph: place(externals(graph)[0], location=location, offset="0")
    )
    error = refusal(forged("base", files))
    assert isinstance(error, IntegrityError)
    assert error.kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": "99999999"},
        {"offset": "-8"},
        {"length": "4"},
        {"length": "99999999"},
        {"offset": "x"},
        {"location": ""},
    ],
    ids=str,
)
def test_weights_beyond_their_file_are_an_error(
    changes: Any, stock: Stock, forged: Callable[..., str]
) -> None:
    """Offsets and lengths that do not fit the file, or the weight, make no session."""
    files = with_graph(stock("base"), lambda graph: place(externals(graph)[0], **changes))
    error = refusal(forged("base", files))
    assert isinstance(error, IntegrityError)
    assert error.kind is ErrorKind.RUNTIME_INVALID


def test_the_offsets_of_another_weight_are_noticed_by_vectors(
    stock: Stock, forged: Callable[..., str]
) -> None:
    """Bytes that fit and mean something else are what golden vectors are for: load and verify."""

    def swap(graph: onnx.ModelProto) -> None:
        first, second = [tensor for tensor in externals(graph) if list(tensor.dims) == [32, 32]][:2]
        one, two = place_of(first), place_of(second)
        place(first, offset=two["offset"])
        place(second, offset=one["offset"])

    uri = forged("base", with_graph(stock("base"), swap))
    assert refusal(uri, golden=True).kind is ErrorKind.GOLDEN
    found = pairlock.verify(uri)
    assert [check.name for check in found.checks if check.findings] == [GRAPH]
    assert pairlock.load(uri, runtime="torch", golden=True)


def test_a_graph_that_is_larger_than_it_says_is_not_unpacked(
    stock: Stock, forged: Callable[..., str]
) -> None:
    """A gzip bomb is unpacked up to the size that is written down, and that has a limit."""
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    assert refusal(forged("base", {GRAPH_FILE: bomb})).kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"", mtime=0), b"\x1f\x8b"], ids=repr
)
def test_a_graph_that_is_none_is_an_error(
    content: bytes, stock: Stock, forged: Callable[..., str]
) -> None:
    """Whatever else lies in its place."""
    assert refusal(forged("base", {GRAPH_FILE: content})).kind is ErrorKind.RUNTIME_INVALID


def test_bytes_after_a_graph_are_an_error(stock: Stock, forged: Callable[..., str]) -> None:
    """A second gzip member, or anything else, is not left aside."""
    packed = (package_folder(stock("base")) / RUNTIME / "graph.onnx.gz").read_bytes()
    assert refusal(forged("base", {GRAPH_FILE: packed + b"x"})).kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x08\x01"], ids=repr)
def test_bytes_that_are_no_graph_are_an_error(
    content: bytes, stock: Stock, forged: Callable[..., str]
) -> None:
    """Unpacked, they are given to onnxruntime, whose errors become one of ours."""
    document = canonical_json({**document_of(stock("base")), "graph_bytes": len(content)})
    uri = forged("base", {GRAPH_FILE: gzip.compress(content), DOCUMENT: document})
    assert refusal(uri).kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize("width", [0, 1, 3])
def test_a_graph_that_gives_something_else_is_an_error(
    width: int, stock: Stock, forged: Callable[..., str]
) -> None:
    """Vectors of another width than the manifest's are never given to anybody."""

    def change(graph: onnx.ModelProto) -> None:
        name = graph.graph.output[0].name
        if width == 0:
            graph.graph.output[0].name = "nothing"
            return
        helper = onnx.helper
        graph.graph.initializer.extend(
            [
                helper.make_tensor("from", onnx.TensorProto.INT64, [1], [0]),
                helper.make_tensor("to", onnx.TensorProto.INT64, [1], [width]),
                helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
            ]
        )
        graph.graph.node.append(helper.make_node("Slice", [name, "from", "to", "axis"], ["narrow"]))
        graph.graph.output[0].name = "narrow"
        del graph.graph.output[0].type.tensor_type.shape.dim[1]
        graph.graph.output[0].type.tensor_type.shape.dim.add().dim_value = width

    uri = forged("base", with_graph(stock("base"), change))
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri, runtime="onnx", interface="callable")(["card"])
    assert caught.value.kind is ErrorKind.RUNTIME_INVALID


# --- descriptions that somebody packaged


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        inner: Any = document
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("tokenizer", "place", value="network"),
        _set("tokenizer", "path", value="../../../secret.json"),
        _set("tokenizer", "path", value="/etc/passwd"),
        _set("derived", 0, "source", value="model/../../secret#a"),
        _set("derived", 0, "source", value="elsewhere/model.safetensors#a"),
        _set("derived", 0, "source", value="model/model.safetensors"),
        _set("graph_bytes", value=1 << 40),
        _set("precision", value="int4"),
    ],
    ids=lambda change: str(change.__closure__[0].cell_contents),
)
def test_a_description_that_leads_elsewhere_is_refused(
    change: Any, stock: Stock, forged: Callable[..., str]
) -> None:
    """Unknown places, and paths that leave their folder, are found before anything is opened."""
    error = refusal(forged("lora", with_document(stock("lora"), change)), base=stock("base"))
    assert isinstance(error, FormatError)
    assert error.kind is ErrorKind.RUNTIME_INVALID


def test_a_description_of_a_later_release_says_so(stock: Stock, forged: Callable[..., str]) -> None:
    """It is not guessed at."""
    files = with_document(stock("base"), _set("format_version", value=2))
    assert refusal(forged("base", files)).kind is ErrorKind.FORMAT_TOO_NEW


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1.0", "1e400"])
def test_a_scale_that_is_no_factor_is_refused(
    text: str, stock: Stock, forged: Callable[..., str]
) -> None:
    """A LoRA is not scaled by what JSON does not know."""
    content = (package_folder(stock("lora")) / RUNTIME / "runtime.json").read_text()
    before, _, rest = content.partition('"scale":')
    changed = f'{before}"scale":{text}{rest[rest.index(",") :]}'
    error = refusal(forged("lora", {DOCUMENT: changed.encode()}), base=stock("base"))
    assert error.kind is ErrorKind.RUNTIME_INVALID


def test_a_weight_that_is_forgotten_is_an_error_and_not_zeros(
    stock: Stock, forged: Callable[..., str]
) -> None:
    """The graph says that its weights are given to it; one that is not makes no session."""
    files = with_document(stock("lora"), lambda document: document["derived"].pop(3))
    error = refusal(forged("lora", files), base=stock("base"))
    assert error.kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize(
    "source", ["model/model.safetensors#nothing", "adapter/adapter_model.safetensors#nothing"]
)
def test_a_tensor_that_is_not_there_is_an_error(
    source: str, stock: Stock, forged: Callable[..., str]
) -> None:
    """By the model's file and by the adapter's."""
    files = with_document(stock("lora"), _set("derived", 0, "source", value=source))
    error = refusal(forged("lora", files), base=stock("base"))
    assert error.kind is ErrorKind.TENSOR_KEYS


@pytest.mark.parametrize("where", ["model/nothing.safetensors#a", "runtime/nothing.safetensors#a"])
def test_a_file_that_is_not_there_is_an_error(
    where: str, stock: Stock, forged: Callable[..., str]
) -> None:
    """What a description names and the manifest does not is not looked for elsewhere."""
    files = with_document(stock("lora"), _set("derived", 0, "source", value=where))
    assert isinstance(refusal(forged("lora", files), base=stock("base")), IntegrityError)


def test_a_tokenizer_that_is_not_there_is_an_error(
    stock: Stock, forged: Callable[..., str]
) -> None:
    """Nor is one that cannot be read."""
    files = with_document(stock("base"), _set("tokenizer", "place", value="runtime"))
    assert isinstance(refusal(forged("base", files)), IntegrityError)


def test_weights_of_another_shape_are_an_error(stock: Stock, forged: Callable[..., str]) -> None:
    """A derived weight has the shape that the graph has for it."""

    def swap(document: dict[str, Any]) -> None:
        derived = document["derived"]
        one = next(tensor for tensor in derived if tensor["source"].endswith("query.weight"))
        two = next(tensor for tensor in derived if tensor["source"].endswith("linear.weight"))
        one["source"], two["source"] = two["source"], one["source"]

    uri = forged("lora", with_document(stock("lora"), swap))
    assert isinstance(refusal(uri, base=stock("base")), IntegrityError)


@pytest.mark.parametrize("input_", ["position_ids", "secrets"])
def test_an_input_that_nobody_makes_is_an_error(
    input_: str, stock: Stock, forged: Callable[..., str]
) -> None:
    """Only what tokenizers gives can be given to a graph."""
    files = with_document(stock("base"), lambda document: document["inputs"].append(input_))
    assert refusal(forged("base", files)).kind is ErrorKind.RUNTIME_INVALID


def test_inputs_that_the_graph_does_not_take_are_an_error(
    stock: Stock, forged: Callable[..., str]
) -> None:
    """A description that leaves an input out would fail at the first text."""
    files = with_document(stock("base"), lambda document: document["inputs"].pop())
    assert refusal(forged("base", files)).kind is ErrorKind.RUNTIME_INVALID


@pytest.mark.parametrize("lie", ["offset", "length", "header", "dtype"])
def test_a_header_that_lies_is_an_error(lie: str, stock: Stock, forged: Callable[..., str]) -> None:
    """Tensors of a LoRA that lie outside their file, or have another size than they say."""
    package = package_folder(stock("lora"))
    content = (package / "payload" / "adapter" / "adapter_model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in header if name != "__metadata__")
    start, end = header[name]["data_offsets"]
    if lie == "offset":
        header[name]["data_offsets"] = [start + (1 << 40), end + (1 << 40)]
    elif lie == "length":
        header[name]["data_offsets"] = [start, end + 4]
    elif lie == "dtype":
        header[name]["dtype"] = "I64"
    text = json.dumps(header).encode()
    size = len(text) if lie != "header" else 1 << 60
    forgery = struct.pack("<Q", size) + text + content[8 + length :]
    files = {"adapter/adapter_model.safetensors": forgery}
    error = refusal(forged("lora", files), base=stock("base"))
    assert error.kind is ErrorKind.TENSOR_KEYS


def test_a_layer_s_tensors_are_exactly_its_own(stock: Stock, forged: Callable[..., str]) -> None:
    """One too many, or of another shape, is another layer."""
    weight = np.eye(20, dtype=np.float32)
    for tensors in ({"linear.weight": weight, "more": weight}, {"linear.weight": weight[:, :19]}):
        content = safetensors.numpy.save(
            {key: np.ascontiguousarray(v) for key, v in tensors.items()}
        )
        uri = forged("linear", {"adapter/adapter.safetensors": content})
        assert refusal(uri, base=stock("base")).kind is ErrorKind.TENSOR_KEYS
        shutil.rmtree(uri)


def test_another_layer_is_noticed_by_every_load(stock: Stock, forged: Callable[..., str]) -> None:
    """The base's recorded vectors are put through it, without a text."""
    content = safetensors.numpy.save({"linear.weight": np.eye(20, dtype=np.float32)})
    uri = forged("linear", {"adapter/adapter.safetensors": content})
    assert refusal(uri, base=stock("base")).kind is ErrorKind.ADAPTER_NOT_APPLIED


# --- bytes that rot


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
@pytest.mark.parametrize(
    "path", [f"payload/{GRAPH_FILE}", f"payload/{DOCUMENT}", "payload/model/model.safetensors"]
)
def test_a_damaged_store_is_not_loaded_from(
    path: str, fault: str, stock: Stock, tmp_path: Path
) -> None:
    """Whatever happens to a file in the store, a machine without a copy gets an error."""
    folder = shutil.copytree(package_folder(stock("base")), tmp_path / "copy")
    (tmp_path / "aside").mkdir()
    with damaged(folder / path, PACKAGE_FAULTS[fault][0], tmp_path / "aside"):
        if fault == "linked":
            # a link to the right bytes: they are copied, and proved on their way
            assert pairlock.load(str(folder), runtime="onnx", interface="callable", golden=True)
        else:
            assert isinstance(refusal(str(folder)), IntegrityError | NotFoundError | StorageError)
    assert pairlock.load(str(folder), runtime="onnx", interface="callable")(["card"]).any()


@pytest.mark.parametrize("path", [GRAPH_FILE, DOCUMENT, "model/model.safetensors"])
def test_a_damaged_cache_is_noticed_and_made_anew(path: str, stock: Stock, tmp_path: Path) -> None:
    """A byte that flips in the cache: with `rehash` always, without it where the stamp changed."""
    uri = stock("base")
    expected = pairlock.load(uri, runtime="onnx", interface="callable")(TEXTS)
    for rehash in (True, False):
        for file in _cached(tmp_path / "cache", path):
            file.chmod(0o644)
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        found = pairlock.load(uri, runtime="onnx", interface="callable", rehash=rehash)
        assert np.array_equal(found(TEXTS), expected)


def _cached(cache: Path, path: str) -> list[Path]:
    """A payload's file in every view of the cache."""
    found = [file for file in cache.rglob(Path(path).name) if str(file).endswith(path)]
    assert found
    return found


def test_a_view_that_is_pruned_during_a_load_is_made_anew(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that go between proof and read cost another round, and no error."""
    uri = stock("linear")
    expected = pairlock.load(uri, runtime="onnx", interface="callable")(TEXTS)
    whole = opening.assemble
    rounds = []

    def assemble(parts: Any, **options: Any) -> Any:
        made = whole(parts, **options)
        rounds.append(parts)
        if len(rounds) == 1:
            shutil.rmtree(parts.root)
        return made

    monkeypatch.setattr(opening, "assemble", assemble)
    found = pairlock.load(uri, runtime="onnx", interface="callable")
    assert len(rounds) == 2
    assert np.array_equal(found(TEXTS), expected)


def test_a_store_that_is_written_to_changes_no_live_vector(stock: Stock, tmp_path: Path) -> None:
    """Weights are mapped from the cache: the store may be overwritten, or cut, under a model."""
    folder = shutil.copytree(package_folder(stock("base")), tmp_path / "copy")
    found = pairlock.load(str(folder), runtime="onnx", interface="callable")
    expected = found(TEXTS)
    weights = folder / "payload" / "model" / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.write(bytes(weights.stat().st_size))
    assert np.array_equal(found(TEXTS), expected)
    os.truncate(weights, 10)
    assert np.array_equal(found(TEXTS), expected)
    assert np.array_equal(
        pairlock.load(stock("base"), runtime="onnx", interface="callable")(TEXTS), expected
    )


def test_the_cache_may_be_pruned_under_a_model(stock: Stock, tmp_path: Path) -> None:
    """What is mapped stays, whoever removes its name."""
    found = pairlock.load(stock("base"), runtime="onnx", interface="callable")
    expected = found(TEXTS)
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(found(TEXTS), expected)
