"""`runtime.json`: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest.compiled import (
    Compiled,
    DerivedTensor,
    FilePlace,
    LowRank,
    Place,
    TensorPlace,
    TokenizerFacts,
    read_compiled,
    write_compiled,
)
from pairlock.manifest.format import MAX_GRAPH_BYTES, STORED_WEIGHTS

SOURCE = TensorPlace(Place.MODEL, "model.safetensors", "layer.0.weight")
ADDED = LowRank(
    a=TensorPlace(Place.ADAPTER, "adapter_model.safetensors", "a#b/c"),
    b=TensorPlace(Place.ADAPTER, "adapter_model.safetensors", "b"),
    scale=0.5,
    transposed=True,
)
WHOLE = Compiled(
    precision="float32",
    inputs=("input_ids", "attention_mask"),
    graph_bytes=100,
    tokenizer=TokenizerFacts(
        file=FilePlace(Place.RUNTIME, "tokenizer.json"), max_tokens=None, cut_side="left",
        pad_id=0, pad_token="[PAD]", pad_type_id=0, pad_side="left",
    ),
    derived=(
        DerivedTensor(name="w0", source=SOURCE, added=ADDED),
        DerivedTensor(name="w1", source=SOURCE, added=None),
    ),
)  # fmt: skip


def refused(content: bytes) -> FormatError:
    """The error with which a document is not read."""
    with pytest.raises(FormatError) as caught:
        read_compiled(content, where="runtime.json")
    return caught.value


def changed(*keys: Any, value: Any) -> bytes:
    """A document with another value at a place."""
    document = json.loads(write_compiled(WHOLE))
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return canonical_json(document)


def test_what_is_written_is_read() -> None:
    """A document with everything in it comes back as it was."""
    assert read_compiled(write_compiled(WHOLE), where="") == WHOLE
    small = replace(WHOLE, derived=(), tokenizer=replace(WHOLE.tokenizer, max_tokens=7))
    assert read_compiled(write_compiled(small), where="") == small


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
FILES = st.from_regex(r"[a-z_]{3,8}(/[a-z_]{3,8})?\.safetensors", fullmatch=True)
TENSORS = st.builds(TensorPlace, st.sampled_from(Place), FILES, NAMES)
LOW_RANKS = st.builds(
    LowRank,
    a=TENSORS,
    b=TENSORS,
    scale=st.floats(0, 1e6, allow_nan=False),
    transposed=st.booleans(),
)


@given(st.builds(DerivedTensor, name=NAMES, source=TENSORS, added=st.none() | LOW_RANKS))
def test_any_tensor_is_read_as_it_was_written(tensor: DerivedTensor) -> None:
    """Names may hold whatever a tensor's name holds, slashes and hashes among it."""
    whole = replace(WHOLE, derived=(tensor,))
    assert read_compiled(write_compiled(whole), where="").derived == (tensor,)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8,
).map(lambda data: json.dumps(data).encode()))  # fmt: skip
def test_anything_else_is_an_error_of_ours(content: bytes) -> None:
    """Whatever bytes lie in its place."""
    assert refused(content).kind in {ErrorKind.RUNTIME_INVALID, ErrorKind.FORMAT_TOO_NEW}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("format_version",), 0),
        (("format_version",), "1"),
        (("precision",), "float16"),
        (("precision",), None),
        (("inputs",), "input_ids"),
        (("inputs",), [1]),
        (("graph_bytes",), 0),
        (("graph_bytes",), MAX_GRAPH_BYTES + 1),
        (("graph_bytes",), 1.5),
        (("tokenizer",), None),
        (("tokenizer", "place"), "hub"),
        (("tokenizer", "path"), "../tokenizer.json"),
        (("tokenizer", "path"), "/tokenizer.json"),
        (("tokenizer", "path"), ""),
        (("tokenizer", "max_tokens"), 0),
        (("tokenizer", "max_tokens"), True),
        (("tokenizer", "cut_side"), "middle"),
        (("tokenizer", "pad_side"), ""),
        (("tokenizer", "pad_id"), -1),
        (("tokenizer", "pad_token"), 0),
        (("tokenizer", "pad_type_id"), None),
        (("derived",), {}),
        (("derived", 0), "w0"),
        (("derived", 0, "name"), 1),
        (("derived", 0, "source"), "model/model.safetensors"),
        (("derived", 0, "source"), "model/model.safetensors#"),
        (("derived", 0, "source"), "model/../model.safetensors#a"),
        (("derived", 0, "source"), "model//etc/passwd#a"),
        (("derived", 0, "source"), "disk/model.safetensors#a"),
        (("derived", 0, "source"), "#a"),
        (("derived", 0, "added"), 1),
        (("derived", 0, "added", "a"), "model"),
        (("derived", 0, "added", "b"), None),
        (("derived", 0, "added", "scale"), -0.5),
        (("derived", 0, "added", "scale"), "1"),
        (("derived", 0, "added", "transposed"), 1),
    ],
    ids=str,
)
def test_every_field_is_checked(keys: tuple[Any, ...], value: Any) -> None:
    """A value that cannot be is told with its place."""
    error = refused(changed(*keys, value=value))
    assert error.kind is ErrorKind.RUNTIME_INVALID
    assert error.findings
    assert str(keys[-1]) in " ".join(finding.place for finding in error.findings)


@pytest.mark.parametrize(
    "path", [(), ("tokenizer",), ("derived", 0), ("derived", 0, "added")], ids=str
)
def test_every_key_is_needed(path: tuple[Any, ...]) -> None:
    """None has a value by default: what is left out would be guessed."""
    document = json.loads(write_compiled(WHOLE))
    inner: Any = document
    for key in path:
        inner = inner[key]
    for name in list(inner):
        value = inner.pop(name)
        assert refused(canonical_json(document)).kind is ErrorKind.RUNTIME_INVALID, name
        inner[name] = value


def test_another_form_of_the_same_is_refused() -> None:
    """One description has one digest."""
    content = json.dumps(json.loads(write_compiled(WHOLE)), indent=1).encode()
    assert refused(content).kind is ErrorKind.RUNTIME_INVALID


def test_a_later_version_says_so() -> None:
    """Whatever else is in it."""
    assert refused(canonical_json({"format_version": 2})).kind is ErrorKind.FORMAT_TOO_NEW


def test_the_files_that_it_needs_are_named() -> None:
    """A tokenizer and weights of its own are, those of the model are not."""
    assert WHOLE.file_names == ("graph.onnx.gz", "tokenizer.json")
    other = replace(WHOLE.tokenizer, file=FilePlace(Place.MODEL, "tokenizer.json"))
    assert replace(WHOLE, tokenizer=other).file_names == ("graph.onnx.gz",)
    stored = DerivedTensor(
        name="w", source=TensorPlace(Place.RUNTIME, STORED_WEIGHTS, "w"), added=None
    )
    assert STORED_WEIGHTS in replace(WHOLE, derived=(stored,)).file_names


def test_the_bare_weights_are_without_the_adapter() -> None:
    """Names and sources stay."""
    assert WHOLE.bare_derived == tuple(replace(tensor, added=None) for tensor in WHOLE.derived)
    assert WHOLE.derived[0].parts == (SOURCE, ADDED.a, ADDED.b)
