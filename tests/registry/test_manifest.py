"""The manifest: one document, one encoding, every problem at once, and never a foreign error."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from manifest_documents import (
    ADAPTER_FILE,
    KINDS,
    OBJECTS,
    at,
    digest_of,
    documents,
    file_data,
    loose_bytes,
    sample,
    sample_bytes,
    short,
)

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest import (
    FORMAT_VERSION,
    BaseOrigin,
    Kind,
    Role,
    manifest_data,
    package_digest,
    read_manifest,
    write_manifest,
)
from pairlock.manifest.format import MAX_FILES, MAX_MANIFEST_BYTES, MAX_SAFE_INTEGER

Change = Callable[[dict[str, Any]], object]


def refusal(content: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read_manifest(content, where="the manifest")
    return caught.value


def refused_kind(document: Any) -> ErrorKind:
    return refusal(loose_bytes(document)).kind


def changed(kind: str, change: Change) -> dict[str, Any]:
    document = sample(kind)
    change(document)
    return document


def replaced(kind: str, place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    document = sample(kind)
    at(document, place[:-1])[place[-1]] = value
    return document


def refused_or_round_trips(content: bytes) -> bool:
    """Whether reading ends in one of the two ways it may end in."""
    try:
        manifest = read_manifest(content, where="the manifest")
    except FormatError as error:
        return error.kind in {ErrorKind.MANIFEST_INVALID, ErrorKind.FORMAT_TOO_NEW}
    return write_manifest(manifest) == content


# --- round trip


@pytest.mark.parametrize("kind", KINDS)
def test_sample_is_read(kind: str) -> None:
    """A valid document of each kind is read into the data it holds."""
    manifest = read_manifest(sample_bytes(kind), where="m")
    assert manifest.kind is Kind(kind)
    assert manifest.kind.is_adapter == (kind != "full")
    assert manifest.dimension == 8
    assert manifest.size_bytes == sum(file["size_bytes"] for file in sample(kind)["files"])
    assert manifest_data(manifest) == sample(kind)


def test_sample_is_read_into_enums() -> None:
    """Origins and roles are read as enum members, not as bare strings."""
    manifest = read_manifest(sample_bytes(), where="m")
    assert manifest.base is not None
    assert manifest.adapter is not None
    assert manifest.base.origin is BaseOrigin.PACKAGE
    assert manifest.adapter.transforms == (Role.QUERY,)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_write_after_read_gives_the_same_bytes(kind: str, data: st.DataObject) -> None:
    """Whatever can be read is written back byte for byte, unknown keys included."""
    document = data.draw(documents(kind))
    content = canonical_json(document)
    manifest = read_manifest(content, where="m")
    assert write_manifest(manifest) == content
    assert read_manifest(write_manifest(manifest), where="m") == manifest


@pytest.mark.parametrize("place", OBJECTS, ids=lambda place: ".".join(map(str, place)) or "root")
def test_unknown_keys_survive_at_every_level(place: tuple[str | int, ...]) -> None:
    """A key of a newer release keeps its value through a read and a write, at every level."""
    document = sample()
    at(document, place)["zz-new"] = {"deep": [1, {"er": None}], "unknown": True}
    content = canonical_json(document)
    manifest = read_manifest(content, where="m")
    assert write_manifest(manifest) == content
    written = json.loads(write_manifest(manifest))
    assert at(written, place)["zz-new"] == {"deep": [1, {"er": None}], "unknown": True}


@pytest.mark.parametrize("place", OBJECTS, ids=lambda place: ".".join(map(str, place)) or "root")
def test_a_key_called_unknown_survives(place: tuple[str | int, ...]) -> None:
    """A newer key that is called as our own field for unknown keys is kept like any other."""
    document = sample()
    at(document, place)["unknown"] = {"a": 1}
    content = canonical_json(document)
    assert write_manifest(read_manifest(content, where="m")) == content


@pytest.mark.parametrize("place", [("files",), ("base", "files")])
def test_an_unknown_key_of_a_file_is_refused(place: tuple[str, ...]) -> None:
    """A file record holds three keys; a fourth one is refused and not silently dropped."""
    document = sample()
    at(document, place)[0]["mode"] = "0755"
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


def test_package_digest_is_of_the_bytes() -> None:
    """The package digest changes with any byte of the manifest."""
    content = sample_bytes()
    assert package_digest(content) == package_digest(bytes(content))
    assert package_digest(content) != package_digest(content + b"\n")
    assert package_digest(content).startswith("sha256:")


# --- one encoding only


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(sample(), indent=1, sort_keys=True).encode(),
        json.dumps(sample(), sort_keys=True).encode(),
        json.dumps(dict(reversed(sample().items())), separators=(",", ":")).encode(),
        sample_bytes() + b"\n",
        b" " + sample_bytes(),
        b"\xef\xbb\xbf" + sample_bytes(),
        sample_bytes().decode().encode("utf-16"),
        sample_bytes().decode().encode("utf-32-be"),
        sample_bytes().replace(b'"cosine"', b'"\\u0063osine"'),
        sample_bytes().replace(b"0.25", b"2.5e-1"),
        sample_bytes().replace(b'"dimension":8', b'"dimension":8,"dimension":8', 1),
        sample_bytes().replace(b'"batch_size":32', b'"batch_size":-0', 1),
    ],
    ids=[
        "indented",
        "spaces",
        "key-order",
        "newline",
        "leading-space",
        "bom",
        "utf-16",
        "utf-32",
        "escape",
        "exponent",
        "duplicate-key",
        "minus-zero",
    ],
)
def test_other_encodings_of_a_valid_document_are_refused(content: bytes) -> None:
    """One document has one encoding, so that it has one digest; every other one is refused."""
    assert refusal(content).kind is ErrorKind.MANIFEST_INVALID


@given(document=documents(), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_shuffled_keys_are_refused(document: dict[str, Any], seed: int) -> None:
    """A document whose keys stand in another order is refused, unless the order is the same."""
    keys = list(document)
    random.Random(seed).shuffle(keys)
    canonical = canonical_json(document)
    parsed = json.loads(canonical)
    content = json.dumps(
        {key: parsed[key] for key in keys}, separators=(",", ":"), ensure_ascii=False
    ).encode()
    if content == canonical:
        assert write_manifest(read_manifest(content, where="m")) == content
    else:
        assert refusal(content).kind is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b"1", b"\xff\xfe", b"\x00" * 8, b"not json", b"{}"],
)
def test_what_is_not_a_json_object_is_refused(content: bytes) -> None:
    """Bytes that are no JSON object, or an empty one, are refused."""
    assert refusal(content).kind is ErrorKind.MANIFEST_INVALID


def test_oversize_is_refused_before_it_is_parsed() -> None:
    """A document over the limit is refused, even where it would be valid."""
    document = sample()
    document["zz"] = "x" * MAX_MANIFEST_BYTES
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID
    assert refusal(b" " * (MAX_MANIFEST_BYTES + 1)).kind is ErrorKind.MANIFEST_INVALID


# --- versions


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 99, MAX_SAFE_INTEGER, 10**30])
def test_a_newer_format_is_refused_as_such(version: int) -> None:
    """A newer version is told apart from a broken document."""
    assert refused_kind(replaced("full", ("format_version",), version)) is (
        ErrorKind.FORMAT_TOO_NEW
    )


def test_a_newer_format_is_refused_before_its_contents_are_judged() -> None:
    """A newer document may look like nothing we know, and is still called newer."""
    assert refusal(b'{"format_version":2}').kind is ErrorKind.FORMAT_TOO_NEW


@pytest.mark.parametrize("version", [0, -1, True, False, "1", "2", 2.5, None, [], {}])
def test_a_version_that_is_no_version_is_refused(version: Any) -> None:
    """Only a whole number from one on is a version; true is not one."""
    assert refused_kind(replaced("full", ("format_version",), version)) is (
        ErrorKind.MANIFEST_INVALID
    )


# --- every problem at once


def test_three_mistakes_are_listed_at_once() -> None:
    """A document with three mistakes names all three places in one error."""
    document = sample()
    document["dimension"] = "eight"
    del document["encode"]["normalize"]
    document["base"]["files"][1]["sha256"] = "ABC"
    error = refusal(loose_bytes(document))
    assert error.kind is ErrorKind.MANIFEST_INVALID
    for place in ("$.dimension", "$.encode.normalize", "$.base.files[1].sha256"):
        assert place in str(error)


def test_every_missing_key_of_an_empty_object_is_listed() -> None:
    """An object that lost all its keys names each of them."""
    document = sample()
    document["encode"] = {}
    error = refusal(loose_bytes(document))
    for key in sample()["encode"]:
        assert f"$.encode.{key}" in str(error)


def _required_places() -> list[tuple[str | int, ...]]:
    document = sample()
    places: list[tuple[str | int, ...]] = [(key,) for key in document]
    places += [(*place, key) for place in OBJECTS[1:] for key in at(document, place)]
    places += [("files", 0, key) for key in document["files"][0]]
    places += [("base", "files", 0, key) for key in document["base"]["files"][0]]
    return places


@pytest.mark.parametrize("place", _required_places(), ids=lambda p: ".".join(map(str, p)))
def test_a_missing_key_is_refused(place: tuple[str | int, ...]) -> None:
    """No key of the format has a default: each one that is missing is refused."""
    document = sample()
    del at(document, place[:-1])[place[-1]]
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


# --- wrong values


NUMBER_PLACES = (
    ("dimension",),
    ("files", 0, "size_bytes"),
    ("encode", "max_seq_length"),
    ("encode", "truncate_dim"),
    ("adapter", "in_features"),
    ("adapter", "hidden_features"),
    ("adapter", "out_features"),
    ("base", "dimension"),
    ("base", "files", 0, "size_bytes"),
    ("golden", "texts"),
    ("devices", "weights_bytes"),
    ("devices", "batch_size"),
    ("devices", "trial", "batch_size"),
    ("devices", "trial", "max_length"),
    ("devices", "trial", "peak_bytes"),
)
FLOAT_PLACES = (
    ("golden", "bars", "one_minus_cosine"),
    ("golden", "bars", "max_abs"),
    ("golden", "bars", "norm"),
    ("golden", "adapter_shift"),
)


@pytest.mark.parametrize("place", NUMBER_PLACES, ids=lambda p: ".".join(map(str, p)))
@pytest.mark.parametrize(
    "value",
    [True, False, 1.5, "8", -1, 2**53, 10**30, 10**400, [], {}, float("nan"), float("inf")],
    ids=short,
)
def test_a_whole_number_is_nothing_else(place: tuple[str | int, ...], value: Any) -> None:
    """Booleans, fractions, negative and unwritably large numbers are no sizes or dimensions."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "place", [place for place in NUMBER_PLACES if not place[-1].endswith("_bytes")]
)
def test_zero_is_no_dimension(place: tuple[str | int, ...]) -> None:
    """Dimensions, lengths and counts start at one."""
    assert refused_kind(replaced("two_layer", place, 0)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize("place", FLOAT_PLACES, ids=lambda p: ".".join(map(str, p)))
@pytest.mark.parametrize(
    "value",
    [True, "0.5", -0.5, -1, 10**400, float("nan"), float("inf"), float("-inf"), [], {}],
    ids=short,
)
def test_a_bar_is_a_finite_number(place: tuple[str | int, ...], value: Any) -> None:
    """NaN or infinity as a bar would let every vector pass, so only finite numbers are bars."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize("place", FLOAT_PLACES, ids=lambda p: ".".join(map(str, p)))
def test_a_number_that_overflows_is_refused(place: tuple[str | int, ...]) -> None:
    """A literal too large for a float is refused as infinity is."""
    content = loose_bytes(replaced("two_layer", place, "@")).replace(b'"@"', b"1e999")
    assert refusal(content).kind is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "place",
    [
        ("kind",),
        ("encode", "query_instruction"),
        ("encode", "similarity"),
        ("spaces", "document"),
        ("adapter", "class_name"),
        ("adapter", "activation"),
        ("base", "uri"),
        ("base", "origin"),
        ("base", "tree_digest"),
        ("base", "package_digest"),
        ("devices", "dtype"),
        ("provenance", "source"),
        ("provenance", "left_out", 0, "path"),
        ("provenance", "libraries", "torch"),
        ("files", 0, "sha256"),
    ],
    ids=lambda p: ".".join(map(str, p)),
)
@pytest.mark.parametrize("value", [1, True, [], {}, "\ud800"], ids=short)
def test_a_text_is_valid_unicode_text(place: tuple[str | int, ...], value: Any) -> None:
    """Other types, and halves of a surrogate pair, are no text."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "place",
    [
        ("encode", "normalize"),
        ("adapter", "bias"),
        ("adapter", "add_residual"),
    ],
)
@pytest.mark.parametrize("value", [0, 1, "true", None, []])
def test_a_boolean_is_nothing_else(place: tuple[str, ...], value: Any) -> None:
    """Zero and one are no booleans."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("files", 0, "sha256"), ""),
        (("files", 0, "sha256"), "AB" * 32),
        (("files", 0, "sha256"), "ab" * 31),
        (("files", 0, "sha256"), "ab" * 32 + "\n"),
        (("files", 0, "sha256"), f"sha256:{'ab' * 32}"),
        (("base", "tree_digest"), ""),
        (("base", "tree_digest"), "ab" * 32),
        (("base", "package_digest"), ""),
        (("base", "package_digest"), "ab" * 32),
        (("base", "revision"), ""),
        (("base", "revision"), "main"),
        (("adapter", "activation"), ""),
        (("adapter", "activation"), "gelu"),
        (("adapter", "transforms"), ["passage"]),
        (("adapter", "class_name"), "DeepLayer"),
        (("base", "origin"), "s3"),
        (("devices", "dtype"), "int8"),
        (("runtimes",), ["onnx"]),
        (("kind",), "lora"),
        (("spaces", "document"), "ab" * 32),
        (("spaces", "query"), f"sha256:{'AB' * 32}"),
        (("encode", "foreign_modules"), ["acme.modules.Gate"]),
        (("encode", "foreign_modules"), ["acme.modules:Gate()"]),
    ],
    ids=short,
)
def test_a_value_outside_its_form_is_refused(place: tuple[str | int, ...], value: Any) -> None:
    """Digests, commits and choices have one form; the empty text is none of them."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("files",), {}),
        (("files",), [1]),
        (("files",), ["payload/a"]),
        (("encode",), []),
        (("spaces",), None),
        (("encode", "modules"), "Transformer"),
        (("encode", "modules"), [1]),
        (("adapter",), []),
        (("base",), "models:/minilm/1"),
        (("base", "files"), [None]),
        (("golden",), None),
        (("golden", "bars"), None),
        (("devices", "order"), ["cuda", 1]),
        (("provenance", "libraries"), []),
        (("provenance", "left_out"), ["a"]),
    ],
    ids=short,
)
def test_a_wrong_shape_is_refused(place: tuple[str | int, ...], value: Any) -> None:
    """Objects and lists cannot stand for each other."""
    assert refused_kind(replaced("two_layer", place, value)) is ErrorKind.MANIFEST_INVALID


# --- what canonical JSON cannot write, in keys that this release does not know


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        10**400,
        "\ud800",
        {"\udc00": 1},
        [[["\ud800"]]],
    ],
    ids=short,
)
@pytest.mark.parametrize("place", OBJECTS, ids=lambda place: ".".join(map(str, place)) or "root")
def test_an_unwritable_unknown_value_is_refused(place: tuple[str | int, ...], value: Any) -> None:
    """A newer key whose value has no canonical form makes the document invalid, and no crash."""
    document = sample()
    at(document, place)["zz"] = value
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize("depth", [*range(20, 1000, 20), 5000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_never_escapes_as_a_recursion_error(depth: int, brackets: str) -> None:
    """A deeply nested value is refused or kept; the interpreter's limit is never the answer."""
    opening, closing = (b"[", b"]") if brackets == "[]" else (b'{"a":', b"}")
    nested = opening * depth + b"1" + closing * depth
    content = loose_bytes({**sample(), "zz": "@"}).replace(b'"@"', nested)
    assert refused_or_round_trips(content)


# --- rules between fields


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("two_layer", lambda d: d["adapter"].update(in_features=9)),
        ("two_layer", lambda d: d["adapter"].update(out_features=9)),
        ("two_layer", lambda d: d["base"].update(dimension=9)),
        ("two_layer", lambda d: d.update(dimension=9)),
        ("two_layer", lambda d: d.update(kind="linear")),
        ("two_layer", lambda d: d.update(kind="full")),
        ("two_layer", lambda d: d["adapter"].update(class_name="LinearLayer")),
        ("two_layer", lambda d: d["adapter"].update(hidden_features=None)),
        ("two_layer", lambda d: d["adapter"].update(activation=None)),
        ("linear", lambda d: d.update(kind="two_layer")),
        ("linear", lambda d: d["adapter"].update(class_name="TwoLayerNN")),
        ("linear", lambda d: d["adapter"].update(hidden_features=4, activation="relu")),
        ("linear", lambda d: d["adapter"].update(hidden_features=4)),
        ("linear", lambda d: d["adapter"].update(activation="relu")),
        ("linear", lambda d: d.update(adapter=None)),
        ("linear", lambda d: d.update(base=None)),
        ("linear", lambda d: d.update(adapter=None, base=None)),
        ("full", lambda d: d.update(kind="linear")),
        ("full", lambda d: d.update(adapter=sample("linear")["adapter"])),
        ("full", lambda d: d.update(base=sample("linear")["base"])),
    ],
)
def test_kind_adapter_and_base_belong_together(kind: str, change: Change) -> None:
    """A document whose kind, adapter, base and dimensions disagree is refused."""
    assert refused_kind(changed(kind, change)) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("full", "payload/golden.json"),
        ("full", "payload/golden.safetensors"),
        ("full", "payload/model/config.json"),
        ("linear", "payload/golden.json"),
        ("linear", "payload/golden.safetensors"),
        ("linear", ADAPTER_FILE),
        ("two_layer", ADAPTER_FILE),
    ],
)
def test_the_files_of_a_kind_must_be_listed(kind: str, path: str) -> None:
    """A package without its golden vectors, its adapter or its model is refused."""
    document = sample(kind)
    document["files"] = [file for file in document["files"] if file["path"] != path]
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files[0].update(path="config.jsn"),
        lambda files: files[0].update(size_bytes=4),
        lambda files: files[0].update(sha256="00" * 32),
        lambda files: files.append(file_data("vocab.txt")),
        lambda files: files.pop(),
        lambda files: files.clear(),
    ],
    ids=["path", "size", "content", "added", "removed", "empty"],
)
def test_a_tree_digest_that_is_not_of_the_files_is_refused(
    change: Callable[[list[dict[str, Any]]], object],
) -> None:
    """The base's tree digest covers path, size and content of every file listed with it."""
    document = sample()
    change(document["base"]["files"])
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


def test_a_base_without_files_is_refused() -> None:
    """A pin that names no file pins nothing, even when its digest is right."""
    document = sample()
    document["base"].update(files=[], tree_digest=digest_of([]))
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


@pytest.mark.parametrize("origin", ["mlflow.sentence_transformers", "hub", "folder"])
def test_only_a_package_has_a_package_digest(origin: str) -> None:
    """A package digest on a base that is no package is refused."""
    assert refused_kind(replaced("two_layer", ("base", "origin"), origin)) is (
        ErrorKind.MANIFEST_INVALID
    )


def test_a_package_base_needs_its_package_digest() -> None:
    """A base that is a package is pinned by its package digest too."""
    assert refused_kind(replaced("two_layer", ("base", "package_digest"), None)) is (
        ErrorKind.MANIFEST_INVALID
    )


def test_too_many_files_are_refused() -> None:
    """More files than any model has are refused, in the payload and in the base."""
    many = [file_data(f"payload/model/{number:06}") for number in range(MAX_FILES + 1)]
    assert refused_kind(replaced("full", ("files",), many)) is ErrorKind.MANIFEST_INVALID
    document = sample()
    document["base"].update(files=many, tree_digest=digest_of(many))
    assert refused_kind(document) is ErrorKind.MANIFEST_INVALID


# --- nothing but a FormatError


def _places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [place] if place else []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        items = []
    for key, item in items:
        found += _places(item, (*place, key))
    return found


HOSTILE = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        2,
        2**53,
        -(2**53),
        10**400,
        0.5,
        1e300,
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        "\ud800",
        "\x00",
        "../x",
        "payload/../x",
        "models:/a/1",
        [],
        [None],
        [[]],
        {},
        {"": None},
        {"\ud800": 1},
        {"path": "\ud800", "size_bytes": 2**53, "sha256": ""},
        [{"path": "\ud800", "size_bytes": 10**400, "sha256": None}],
    ]
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_replaced_values_are_refused_or_kept(kind: str, data: st.DataObject) -> None:
    """Whatever stands in any place of a document, it is refused as such or read back the same."""
    document = sample(kind)
    for place in data.draw(st.lists(st.sampled_from(_places(document)), max_size=3)):
        value = deepcopy(data.draw(HOSTILE))
        try:
            parent = at(document, place[:-1])
            if isinstance(parent, dict) != isinstance(place[-1], str):
                continue  # an earlier change made another kind of container of it
            parent[place[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change took the place away
    assert refused_or_round_trips(loose_bytes(document))


@pytest.mark.parametrize("place", _places(sample()), ids=lambda p: ".".join(map(str, p)))
@pytest.mark.parametrize("value", [10**400, "\ud800", float("nan"), {"\ud800": 1}], ids=short)
def test_a_hostile_value_in_any_one_place_is_no_crash(
    place: tuple[str | int, ...], value: Any
) -> None:
    """A value that canonical JSON cannot write is refused wherever it stands."""
    assert refused_kind(replaced("two_layer", place, value)) is (
        ErrorKind.FORMAT_TOO_NEW
        if place == ("format_version",) and isinstance(value, int)
        else ErrorKind.MANIFEST_INVALID
    )


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "delete", "insert"]),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", KINDS)
@given(edits=EDITS)
@example(edits=[("insert", 1, b'"":NaN,')])
@example(edits=[("insert", 1, b'"":1e999,')])
@example(edits=[("insert", 1, b'"":"\xed\xa0\x80",')])
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_changed_bytes_are_refused_or_kept(kind: str, edits: list[tuple[str, int, bytes]]) -> None:
    """However the bytes are damaged, they are refused as such or read back the same."""
    content = bytearray(sample_bytes(kind))
    for edit, position, added in edits:
        index = position % max(len(content), 1)
        if edit == "insert":
            content[index:index] = added
        elif edit == "delete":
            del content[index : index + len(added)]
        elif content:
            content[index] ^= added[0] or 1
    assert refused_or_round_trips(bytes(content))


@given(content=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_are_refused_or_kept(content: bytes) -> None:
    """Arbitrary bytes never give anything but a FormatError."""
    assert refused_or_round_trips(content)
