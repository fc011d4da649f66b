"""Texts to tokens without transformers: cut, filled up and told apart as it does it."""

from __future__ import annotations

import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.errors import ErrorKind, IntegrityError
from pairlock.manifest.compiled import FilePlace, Place, TokenizerFacts
from pairlock_flavors.onnx_runtime.tokens import KNOWN_INPUTS, TextTokenizer, shared_tokenizer
from support.graphs import chance_texts
from support.models import tokenizer

WORDS = tokenizer()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.json`."""
    folder = tmp_path_factory.mktemp("tokens")
    WORDS.save_pretrained(folder)
    return folder / "tokenizer.json"


def facts(**changes: Any) -> TokenizerFacts:
    """Settings of a tokenizer."""
    known: dict[str, Any] = {
        "file": FilePlace(Place.MODEL, "tokenizer.json"), "max_tokens": 12, "cut_side": "right",
        "pad_id": 0, "pad_token": "[PAD]", "pad_type_id": 0, "pad_side": "right",
    }  # fmt: skip
    return TokenizerFacts(**{**known, **changes})


def made(file: Path, texts: list[str], **changes: Any) -> dict[str, Any]:
    """The inputs of a graph for some texts."""
    own = TextTokenizer(file, facts(**changes), KNOWN_INPUTS)
    return {name: rows.tolist() for name, rows in own.batch(own.encode(texts)).items()}


@pytest.mark.parametrize("cut", ["left", "right"])
@pytest.mark.parametrize("fill", ["left", "right"])
@pytest.mark.parametrize("length", [2, 7, 64])
def test_tokens_are_those_of_transformers(cut: str, fill: str, length: int, file: Path) -> None:
    """Whatever the length, and on whichever side texts are cut and filled up."""
    texts = ["", "card", *chance_texts(12)]
    WORDS.truncation_side, WORDS.padding_side = cut, fill
    try:
        expected = WORDS(
            texts, padding=True, truncation=True, max_length=length, return_token_type_ids=True
        )
    finally:
        WORDS.truncation_side, WORDS.padding_side = "right", "right"
    found = made(file, texts, max_tokens=length, cut_side=cut, pad_side=fill)
    assert found == {name: expected[name] for name in KNOWN_INPUTS}


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_has_the_tokens_of_transformers(file: Path, texts: list[str]) -> None:
    """Scripts, marks and white space of any kind."""
    expected = WORDS(texts, padding=True, truncation=True, max_length=12)
    assert made(file, texts)["input_ids"] == expected["input_ids"]


def test_without_a_limit_nothing_is_cut(file: Path) -> None:
    """Nor by what `tokenizer.json` itself says of length and filling."""
    state = json.loads(file.read_text())
    state["truncation"] = {
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0
    }  # fmt: skip
    state["padding"] = {
        "strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    other = file.with_name("other.json")
    other.write_text(json.dumps(state))
    assert len(made(other, ["card " * 30], max_tokens=None)["input_ids"][0]) == 32
    assert len(made(other, ["card"], max_tokens=None)["input_ids"][0]) == 3


def test_a_text_without_a_token_is_filled_up(file: Path) -> None:
    """A graph is never given a row of no token."""
    state = json.loads(file.read_text())
    state["post_processor"] = None
    other = file.with_name("bare.json")
    other.write_text(json.dumps(state))
    for side in ("left", "right"):
        found = made(other, ["", ""], pad_id=4, pad_side=side)
        assert found["input_ids"] == [[4], [4]]
        assert found["attention_mask"] == [[0], [0]]


def test_only_the_inputs_of_the_graph_are_made(file: Path) -> None:
    """In int64, as every graph takes them."""
    own = TextTokenizer(file, facts(), ("attention_mask",))
    found = own.batch(own.encode(["card"]))
    assert found.keys() == {"attention_mask"}
    assert found["attention_mask"].dtype == np.int64


def test_a_vocabulary_is_held_once(file: Path, tmp_path: Path) -> None:
    """By content and settings, wherever the file lies, and no longer than anybody uses it."""
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(file.read_bytes())
    one = shared_tokenizer(file, facts(), KNOWN_INPUTS)
    beside = facts(file=FilePlace(Place.RUNTIME, "tokenizer.json"))
    assert shared_tokenizer(copy, beside, KNOWN_INPUTS) is one
    assert shared_tokenizer(file, facts(max_tokens=5), KNOWN_INPUTS) is not one
    assert shared_tokenizer(file, facts(pad_side="left"), KNOWN_INPUTS) is not one
    assert shared_tokenizer(file, facts(), KNOWN_INPUTS[:1]) is not one
    copy.write_bytes(file.read_bytes().replace(b'"refund"', b'"rebate"'))
    assert shared_tokenizer(copy, facts(), KNOWN_INPUTS) is not one
    held = weakref.ref(one)
    del one
    assert held() is None


def test_threads_do_not_disturb_each_other(file: Path) -> None:
    """Eight threads get the tokens that one gets."""
    own = TextTokenizer(file, facts(), KNOWN_INPUTS)
    texts = chance_texts(64)
    alone = [own.encode([text])[0].ids for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: own.encode([text])[0].ids, texts)) == alone


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"model": 1}'], ids=repr)
def test_a_file_that_is_no_tokenizer_is_an_error(content: bytes, tmp_path: Path) -> None:
    """Whatever tokenizers raises."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        TextTokenizer(path, facts(), KNOWN_INPUTS)
    assert caught.value.kind is ErrorKind.LIBRARY_VERSION
