"""Stamps as data: what is written is read again, and damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock import AlreadyExistsError, ErrorKind, FormatError, IntegrityError, UnsupportedError
from pairlock.index.checking import (
    Sample,
    proof_bar,
    require_dimension,
    require_same_vectors,
    require_unstamped,
)
from pairlock.index.stamps import STAMP_VERSION, Stamp, read_stamp, stamp_of
from pairlock.receipts import BaseReceipt, Receipt

SPACE, OTHER = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
STAMP = Stamp(
    document_space=SPACE,
    package_digest=OTHER,
    uri="models:/support/1",
    kind="linear",
    dimension=3,
    base_uri="models:/minilm/1",
    stamped_at="2026-01-01T12:00:00+00:00",
)
DOCUMENT = STAMP.to_document()
RECEIPT = Receipt(
    requested="models:/support@production",
    uri="models:/support/1",
    kind="linear",
    package_digest=OTHER,
    anchors={},
    dimension=3,
    document_space=SPACE,
    query_space=OTHER,
    device="cpu",
    device_reason="asked for",
    passed_over=(),
    dtype="float32",
    merged=None,
    runtime="torch",
    base=BaseReceipt(
        uri="models:/minilm/1", loaded_from="b", tree_digest=SPACE, package_digest=None
    ),
    checks=(),
    location="/here",
    loaded_from="/here",
    answer_age_s=None,
    bytes_verified=0,
    bytes_hashed=0,
    bytes_fetched=0,
    warnings=(),
    libraries={},
)
VECTOR = [0.6, 0.0, 0.8]

DAMAGE: dict[str, Any] = {
    "no object": [DOCUMENT],
    "null": None,
    "not JSON": "{",
    "another text": '"stamped"',
    "too deep": "[" * 100_000,
    "no version": {key: DOCUMENT[key] for key in DOCUMENT if key != "format_version"},
    "version 0": {**DOCUMENT, "format_version": 0},
    "version as text": {**DOCUMENT, "format_version": "1"},
    "version true": {**DOCUMENT, "format_version": True},
    "another key": {**DOCUMENT, "query_space": SPACE},
    "another kind": {**DOCUMENT, "kind": "magic"},
    "a short digest": {**DOCUMENT, "package_digest": "sha256:ab"},
    "a space without sha256": {**DOCUMENT, "document_space": "ab" * 32},
    "no URI": {**DOCUMENT, "uri": ""},
    "no dimension": {**DOCUMENT, "dimension": 0},
    "half a dimension": {**DOCUMENT, "dimension": 1.5},
    "a number as base": {**DOCUMENT, "base_uri": 1},
    "no time": {**DOCUMENT, "stamped_at": "yesterday"},
    **{
        f"without {key}": {name: DOCUMENT[name] for name in DOCUMENT if name != key}
        for key in DOCUMENT
    },
}


@given(
    uri=st.text(min_size=1),
    base_uri=st.none() | st.text(),
    dimension=st.integers(min_value=1, max_value=2**53 - 1),
)
def test_a_stamp_is_read_as_it_was_written(uri: str, base_uri: str | None, dimension: int) -> None:
    """Both forms of a stamp, the mapping and the text, give the same stamp again."""
    stamp = replace(STAMP, uri=uri, base_uri=base_uri, dimension=dimension)
    assert read_stamp(stamp.to_document(), where="it") == stamp
    assert read_stamp(stamp.to_json(), where="it") == stamp
    assert read_stamp(json.loads(json.dumps(stamp.to_document())), where="it") == stamp


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_stamp_is_no_stamp(name: str) -> None:
    """Whatever is not exactly a stamp is refused, and never taken for one."""
    with pytest.raises(FormatError) as caught:
        read_stamp(DAMAGE[name], where="it")
    assert caught.value.kind is ErrorKind.INDEX_STAMP_INVALID
    assert caught.value.findings


def test_a_stamp_of_a_newer_format_says_so() -> None:
    """A newer stamp is told from a damaged one, whatever else is in it."""
    with pytest.raises(FormatError) as caught:
        read_stamp({"format_version": STAMP_VERSION + 1, "spaces": []}, where="it")
    assert caught.value.kind is ErrorKind.FORMAT_TOO_NEW


def test_every_problem_of_a_stamp_is_named() -> None:
    """A stamp with several problems is refused with all of them."""
    with pytest.raises(FormatError) as caught:
        read_stamp({**DOCUMENT, "kind": "x", "dimension": -1, "more": 1}, where="it")
    assert {one.place for one in caught.value.findings} == {"$.kind", "$.dimension", "$.more"}


def test_a_stamp_says_what_the_receipt_says() -> None:
    """A stamp takes its facts from what was loaded, not from what was asked for."""
    stamp = stamp_of(RECEIPT)
    assert replace(stamp, stamped_at=STAMP.stamped_at) == STAMP
    assert stamp_of(replace(RECEIPT, base=None)).base_uri is None


def test_a_stamp_of_the_same_space_may_be_renewed_and_another_not() -> None:
    """What is stamped is stamped again for the same space only."""
    require_unstamped(STAMP, replace(STAMP, package_digest=SPACE), where="it")
    with pytest.raises(AlreadyExistsError) as caught:
        require_unstamped(STAMP, replace(STAMP, document_space=OTHER), where="it")
    assert caught.value.kind is ErrorKind.SPACE


def test_stored_vectors_of_another_dimension_are_refused() -> None:
    """The dimension of stored vectors is the model's, where it is known."""
    require_dimension(3, RECEIPT, where="it")
    require_dimension(None, RECEIPT, where="it")
    with pytest.raises(IntegrityError) as caught:
        require_dimension(4, RECEIPT, where="it")
    assert caught.value.kind is ErrorKind.DIMENSION


def compare(stored: list[float], computed: list[float], *, keeps_norms: bool = True) -> None:
    """Compare one stored vector with one that is computed."""
    sample = Sample(id="a", text="", vector=stored)
    found = np.asarray([computed], dtype=np.float32)
    require_same_vectors([sample], found, keeps_norms=keeps_norms, loaded=RECEIPT, where="it")


def tilted(one_minus_cosine: float) -> list[float]:
    """A unit vector at a distance from `VECTOR`."""
    angle = float(np.arccos(1 - one_minus_cosine))
    return [0.6 * np.cos(angle), np.sin(angle), 0.8 * np.cos(angle)]


@pytest.mark.parametrize("keeps_norms", [True, False])
def test_a_stored_vector_may_be_rounded_and_no_more(keeps_norms: bool) -> None:
    """A vector passes up to 1e-5 in 1 - cosine, and not beyond."""
    compare(VECTOR, VECTOR, keeps_norms=keeps_norms)
    compare(np.asarray(VECTOR, dtype=np.float16).tolist(), VECTOR, keeps_norms=keeps_norms)
    compare(tilted(0.9e-5), VECTOR, keeps_norms=keeps_norms)
    with pytest.raises(IntegrityError) as caught:
        compare(tilted(1.1e-5), VECTOR, keeps_norms=keeps_norms)
    assert caught.value.kind is ErrorKind.SPACE


def test_norms_count_where_a_store_keeps_them() -> None:
    """A vector of another length is refused, except by a store that normalises what it is given."""
    doubled = [2 * value for value in VECTOR]
    compare(doubled, VECTOR, keeps_norms=False)
    with pytest.raises(IntegrityError) as caught:
        compare(doubled, VECTOR)
    assert caught.value.kind is ErrorKind.SPACE


@pytest.mark.parametrize(
    "stored", [[0.0, 0.0, 0.0], [0.6, 0.8], [float("nan")] * 3, [float("inf")] * 3]
)
def test_what_is_no_such_vector_is_refused(stored: list[float]) -> None:
    """Zeros, another dimension and what is no number do not pass for a vector."""
    with pytest.raises(IntegrityError) as caught:
        compare(stored, VECTOR)
    assert caught.value.kind is ErrorKind.SPACE


def test_two_vectors_of_nothing_are_the_same() -> None:
    """A model that gives zeros for a text is not refused for that."""
    compare([0.0] * 3, [0.0] * 3)


def test_the_bar_is_wider_for_a_model_that_rounds_more() -> None:
    """A model in bfloat16 is judged by the bar for it; where there is none, nothing is proved."""
    assert proof_bar(RECEIPT) == 1e-5
    assert proof_bar(replace(RECEIPT, device="cuda:1", dtype="bfloat16")) > 1e-5
    with pytest.raises(UnsupportedError):
        proof_bar(replace(RECEIPT, dtype="float8"))


def test_a_folder_is_read_without_any_library(tmp_path: Any) -> None:
    """Reading a folder's stamp imports no framework, nor LlamaIndex."""
    document = {
        "index_store/data": {"a": {"__type__": "vector_store", "__data__": "{}"}},
        "pairlock/index_stamps": {"a": DOCUMENT},
    }
    (tmp_path / "index_store.json").write_text(json.dumps(document))
    code = (
        "import json, sys, pairlock\n"
        "found = pairlock.index.read(sys.argv[1]).uri\n"
        "print(json.dumps([found, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    uri, modules = json.loads(done.stdout)
    assert uri == STAMP.uri
    heavy = {"torch", "mlflow", "numpy", "llama_index", "chromadb", "qdrant_client"}
    assert heavy & set(modules) == set()
