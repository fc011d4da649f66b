"""Valid manifest documents as JSON data: one fixed sample of each kind, and strategies."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from pairlock.digests import FileRecord, canonical_json, tree_digest

KINDS = ("full", "linear", "two_layer", "custom", "peft")
GOLDEN_FILES = ("payload/golden.json", "payload/golden.safetensors")
ADAPTER_FILE = "payload/adapter/adapter.safetensors"
_OWN_FILES = {
    "full": ["payload/model/config.json"],
    "peft": ["payload/adapter/adapter_config.json", "payload/adapter/adapter_model.safetensors"],
    **{key: [ADAPTER_FILE] for key in ("linear", "two_layer", "custom")},
}
OBJECTS = (
    (),
    ("encode",),
    ("spaces",),
    ("adapter",),
    ("base",),
    ("golden",),
    ("golden", "bars"),
    ("devices",),
    ("devices", "trial"),
    ("provenance",),
    ("provenance", "left_out", 0),
)
"""Where an adapter's manifest holds objects that may carry keys of a newer release."""


def file_data(path: str, size_bytes: int = 3, sha256: str = "ab" * 32) -> dict[str, Any]:
    """One file of a manifest."""
    return {"path": path, "size_bytes": size_bytes, "sha256": sha256}


def short(value: Any) -> str:
    """A readable test id for any value."""
    return ascii(value)[:24]


def digest_of(files: list[dict[str, Any]]) -> str:
    """The tree digest of a manifest's files."""
    return tree_digest([FileRecord(**file) for file in files])


def sample(kind: str = "two_layer") -> dict[str, Any]:
    """A valid document, whose numbers look the same in every JSON writer."""
    is_adapter = kind != "full"
    own = _OWN_FILES[kind]
    document = {
        "format_version": 1,
        "kind": kind,
        "dimension": 8,
        "files": [file_data(path) for path in sorted([*own, *GOLDEN_FILES])],
        "encode": {
            "modules": ["Transformer", "Pooling"],
            "pooling": ["mean"],
            "normalize": True,
            "max_seq_length": 128,
            "query_instruction": "query: ",
            "text_instruction": "",
            "truncate_dim": None,
            "similarity": "cosine",
            "foreign_modules": [],
        },
        "spaces": {"document": f"sha256:{'12' * 32}", "query": f"sha256:{'34' * 32}"},
        "adapter": _sample_adapter(kind) if is_adapter else None,
        "base": _sample_base() if is_adapter else None,
        "golden": {
            "texts": 13,
            "bars": {"one_minus_cosine": 0.25, "max_abs": 0.5, "norm": 0.125},
            "adapter_shift": 0.75 if is_adapter else None,
        },
        "devices": {
            "dtype": "float32",
            "order": ["cuda", "cpu"],
            "weights_bytes": 1000,
            "batch_size": 32,
            "attention": "sdpa",
            "trial": {"batch_size": 2, "max_length": 64, "peak_bytes": 4000},
        },
        "runtimes": ["torch"],
        "provenance": {
            "libraries": {"torch": "2.6"},
            "source": "a folder",
            "left_out": [{"path": "optimizer.pt", "reason": "a pickle"}],
        },
    }
    return deepcopy(document)


def sample_bytes(kind: str = "two_layer") -> bytes:
    """A valid document as its canonical bytes."""
    return canonical_json(sample(kind))


def loose_bytes(document: Any) -> bytes:
    """JSON in canonical key order and without white space, whatever the values are."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def at(document: Any, place: tuple[str | int, ...]) -> Any:
    """The value at a place of a document."""
    for step in place:
        document = document[step]
    return document


def _sample_adapter(kind: str) -> dict[str, Any]:
    if kind == "peft":
        return {
            "peft_type": "LORA",
            "summary": "r=8, alpha=16, on query, value",
            "own_modules": False,
            "own_tokenizer": False,
        }
    if kind == "custom":
        return {
            "class_path": "acme.adapters:Gated",
            "distribution": "acme-adapters==1.2",
            "config": {"in_features": 8, "out_features": 8, "gate": [0.5, None]},
            "in_features": 8,
            "out_features": 8,
            "transforms": ["query"],
        }
    two_layer = kind == "two_layer"
    return {
        "class_name": "TwoLayerNN" if two_layer else "LinearLayer",
        "in_features": 8,
        "hidden_features": 16 if two_layer else None,
        "out_features": 8,
        "bias": True,
        "activation": "relu" if two_layer else None,
        "add_residual": two_layer,
        "transforms": ["query"],
    }


def _sample_base() -> dict[str, Any]:
    files = [file_data("config.json"), file_data("model.safetensors", 100, "cd" * 32)]
    return {
        "uri": "models:/minilm/1",
        "requested": "models:/minilm@production",
        "origin": "package",
        "revision": None,
        "package_digest": f"sha256:{'ef' * 32}",
        "tree_digest": digest_of(files),
        "dimension": 8,
        "files": files,
    }


_HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)  # one draw, not one for each digit
_TEXT = st.text(max_size=12)
_DIMENSION = st.integers(1, 2**53 - 1)
_SIZE = st.integers(0, 2**53 - 1)
# A whole float from 2^53 to 1e21 is written without an exponent and read back as an integer that
# no canonical writer accepts; a document with one is refused, so it is not valid.
_JSON_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(-1e15, 1e15)
    | st.floats(min_value=1e21, allow_infinity=False)
    | _TEXT
)
_JSON = st.recursive(
    _JSON_LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
# few at each of the twelve levels: most of the time goes into drawing them
_UNKNOWN = st.dictionaries(
    _TEXT.map(lambda text: f"x-{text}") | st.just("unknown"), _JSON, max_size=2
)
_CLASS_PATH = st.sampled_from(["acme:Gate", "acme.adapters:Gated_2", "_a.b1.C:D"])
_NAME = st.text("bcdghkt0189-_é漢", max_size=8).map(lambda text: f"f{text}")
_NUMBER = st.floats(0, 2**53 - 1)


@st.composite
def documents(draw: st.DrawFn, kind: str | None = None) -> dict[str, Any]:
    """Any valid document, with unknown keys everywhere."""
    kind = kind or draw(st.sampled_from(KINDS))
    is_adapter = kind != "full"
    own = _OWN_FILES[kind]
    extra = [f"payload/model/{name}" for name in draw(_names(max_size=4))]
    dimension = draw(_DIMENSION)
    base = draw(_bases()) if is_adapter else None
    adapter = None if base is None else draw(_adapters(kind, base["dimension"], dimension))
    golden = {
        "texts": draw(st.integers(1, 1000)),
        "bars": _with_unknown(
            draw, {key: draw(_NUMBER) for key in ("one_minus_cosine", "max_abs", "norm")}
        ),
        "adapter_shift": draw(_NUMBER) if is_adapter else None,
    }
    document = {
        "format_version": 1,
        "kind": kind,
        "dimension": dimension,
        "files": draw(_files([*own, *extra, *GOLDEN_FILES])),
        "encode": draw(_encodes()),
        "spaces": _with_unknown(
            draw, {key: f"sha256:{draw(_HEX)}" for key in ("document", "query")}
        ),
        "adapter": adapter,
        "base": base,
        "golden": _with_unknown(draw, golden),
        "devices": draw(_devices()),
        "runtimes": ["torch"],
        "provenance": draw(_provenances()),
    }
    return _with_unknown(draw, document)


def _with_unknown(draw: st.DrawFn, known: dict[str, Any]) -> dict[str, Any]:
    return {**draw(_UNKNOWN), **known}


def _names(*, max_size: int, min_size: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(_NAME, min_size=min_size, max_size=max_size, unique=True)


@st.composite
def _files(draw: st.DrawFn, paths: list[str]) -> list[dict[str, Any]]:
    return [file_data(path, draw(_SIZE), draw(_HEX)) for path in sorted(paths)]


@st.composite
def _encodes(draw: st.DrawFn) -> dict[str, Any]:
    encode = {
        "modules": draw(st.lists(_TEXT, max_size=3)),
        "pooling": draw(st.lists(_TEXT, max_size=3)),
        "normalize": draw(st.booleans()),
        "max_seq_length": draw(st.none() | _DIMENSION),
        "query_instruction": draw(_TEXT),
        "text_instruction": draw(_TEXT),
        "truncate_dim": draw(st.none() | _DIMENSION),
        "similarity": draw(st.none() | _TEXT),
        "foreign_modules": draw(st.lists(_CLASS_PATH, max_size=2)),
    }
    return _with_unknown(draw, encode)


@st.composite
def _adapters(draw: st.DrawFn, kind: str, in_features: int, out_features: int) -> dict[str, Any]:
    transforms = draw(st.sampled_from([["query"], ["text"], ["query", "text"]]))
    if kind == "peft":
        peft = {
            "peft_type": draw(st.sampled_from(["LORA", "IA3", "LOHA"])),
            "summary": draw(_TEXT),
            "own_modules": draw(st.booleans()),
            "own_tokenizer": draw(st.booleans()),
        }
        return _with_unknown(draw, peft)
    if kind == "custom":
        custom = {
            "class_path": draw(_CLASS_PATH),
            "distribution": draw(st.none() | _TEXT),
            "config": draw(_UNKNOWN),
            "in_features": in_features,
            "out_features": out_features,
            "transforms": transforms,
        }
        return _with_unknown(draw, custom)
    two_layer = kind == "two_layer"
    activations = st.sampled_from(["relu", "sigmoid", "tanh", "leaky_relu"])
    adapter = {
        "class_name": "TwoLayerNN" if two_layer else "LinearLayer",
        "in_features": in_features,
        "hidden_features": draw(_DIMENSION) if two_layer else None,
        "out_features": out_features,
        "bias": draw(st.booleans()),
        "activation": draw(activations) if two_layer else None,
        "add_residual": two_layer and in_features == out_features and draw(st.booleans()),
        "transforms": transforms,
    }
    return _with_unknown(draw, adapter)


@st.composite
def _bases(draw: st.DrawFn) -> dict[str, Any]:
    origin = draw(st.sampled_from(["package", "mlflow.sentence_transformers", "hub", "folder"]))
    files = draw(_files(draw(_names(min_size=1, max_size=4))))
    commit = st.binary(min_size=20, max_size=20).map(bytes.hex)
    base = {
        "uri": draw(st.text(min_size=1, max_size=12)),
        "requested": draw(st.text(min_size=1, max_size=12)),
        "origin": origin,
        "revision": draw(commit) if origin == "hub" else None,
        "package_digest": f"sha256:{draw(_HEX)}" if origin == "package" else None,
        "tree_digest": digest_of(files),
        "dimension": draw(_DIMENSION),
        "files": files,
    }
    return _with_unknown(draw, base)


@st.composite
def _devices(draw: st.DrawFn) -> dict[str, Any]:
    devices = {
        "dtype": draw(st.sampled_from(["float32", "float16", "bfloat16"])),
        "order": draw(st.permutations(["cuda", "mps", "cpu"])),
        "weights_bytes": draw(_SIZE),
        "batch_size": draw(_DIMENSION),
        "attention": draw(st.none() | _TEXT),
        "trial": _with_unknown(
            draw,
            {
                "batch_size": draw(_DIMENSION),
                "max_length": draw(_DIMENSION),
                "peak_bytes": draw(_SIZE),
            },
        ),
    }
    return _with_unknown(draw, devices)


@st.composite
def _provenances(draw: st.DrawFn) -> dict[str, Any]:
    left_out = [
        _with_unknown(draw, {"path": path, "reason": draw(_TEXT)})
        for path in draw(_names(max_size=2))
    ]
    provenance = {
        "libraries": draw(st.dictionaries(_TEXT, _TEXT, max_size=3)),
        "source": draw(_TEXT),
        "left_out": left_out,
    }
    return _with_unknown(draw, provenance)
