"""Retrieval datasets: two forms, one digest; what is wrong is listed with its place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.errors import ErrorKind, InvalidInputError, StorageError
from pairlock.evaluation.dataset import content_digest, dataset_key
from pairlock.evaluation.datasets import read_dataset
from pairlock_flavors.training.data import evaluated_on
from support.finetuning import evaluator, questions
from support.retrieval import CORPUS, QUERIES, RELEVANT, write_beir, write_questions

TITLES = "query-id\tcorpus-id\tscore\n"


def beir(folder: Path, *, corpus: str = "", queries: str = "", qrels: str | None = None) -> Path:
    """A small folder; what is given takes the place of a file's good lines."""
    (folder / "qrels").mkdir(parents=True)
    files = {
        "corpus.jsonl": corpus or '{"_id": "d", "text": "text"}\n',
        "queries.jsonl": queries or '{"_id": "q", "text": "query"}\n',
        "qrels/test.tsv": f"{TITLES}q\td\t1\n" if qrels is None else qrels,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def places(path: Path, **options: Any) -> list[str]:
    """Where the problems are of a dataset that is refused."""
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(path, **options)
    assert caught.value.kind is ErrorKind.DATASET_INVALID
    assert {finding.kind for finding in caught.value.findings} == {ErrorKind.DATASET_INVALID}
    return [finding.place for finding in caught.value.findings]


def test_both_forms_give_the_same_content_and_digest(tmp_path: Path) -> None:
    """Order, titles, blank lines, other splits and grades of the files change nothing."""
    one = read_dataset(write_beir(tmp_path / "beir"))
    other = read_dataset(write_questions(tmp_path / "questions.json"))
    assert (one.name, other.name) == ("beir/test", "questions")
    for dataset in (one, other):
        assert list(dataset.queries.items()) == sorted(QUERIES.items())
        assert list(dataset.corpus.items()) == sorted(CORPUS.items())
        assert dict(dataset.relevant) == RELEVANT
    assert one.digest == other.digest


def test_the_digest_is_that_of_a_trainers_evaluator(tmp_path: Path) -> None:
    """What LlamaIndex saves has the digest that logging a trainer records for its evaluator."""
    path = tmp_path / "own.json"
    questions().save_json(str(path))
    (recorded,) = evaluated_on(evaluator(), [])
    assert read_dataset(path).digest == recorded.digest


@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.sets(st.text(max_size=3), max_size=3), max_size=3),
)
def test_the_digest_is_of_one_json_document(
    queries: dict[str, str], corpus: dict[str, str], relevant: dict[str, set[str]]
) -> None:
    """Written piece by piece, the digest is that of the whole document as JSON."""
    document = {
        "queries": queries,
        "corpus": corpus,
        "relevant_docs": {query: sorted(ids) for query, ids in relevant.items()},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert content_digest(queries, corpus, relevant) == digest


@pytest.mark.parametrize(
    "changes",
    [
        {"queries": {**QUERIES, "q0": "another question"}},
        {"corpus": {**CORPUS, "d11": "another text"}},
        {"corpus": {**CORPUS, "d12": "one more text"}},
        {"relevant_docs": {**{q: sorted(ids) for q, ids in RELEVANT.items()}, "q0": ["d0"]}},
    ],
)
def test_other_content_has_another_digest(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A changed query, text or judgement is another dataset."""
    whole = read_dataset(write_questions(tmp_path / "whole.json"))
    other = read_dataset(write_questions(tmp_path / "other.json", **changes))
    assert other.digest != whole.digest


def test_a_query_that_nothing_answers_does_not_count(tmp_path: Path) -> None:
    """Queries without a relevant text are in neither content nor digest: nothing scores them."""
    path = write_questions(
        tmp_path / "more.json",
        queries={**QUERIES, "idle": "who asks"},
        relevant_docs={**{q: sorted(ids) for q, ids in RELEVANT.items()}, "idle": []},
    )
    found = read_dataset(path)
    assert "idle" not in found.queries
    assert found.digest == read_dataset(write_questions(tmp_path / "whole.json")).digest


def test_digests_are_compared_by_what_mlflow_keeps() -> None:
    """A whole digest and its first 32 digits are of one dataset; nothing is like no digest."""
    digest = f"sha256:{'ab' * 32}"
    assert dataset_key(digest) == dataset_key("ab" * 16) == "ab" * 16
    assert dataset_key("1a2b3c4d") == "1a2b3c4d"
    assert dataset_key(None) is None


def test_all_problems_of_a_folder_are_listed_with_their_lines(tmp_path: Path) -> None:
    """Each mistake in each of the three files is named with file and line, in one error."""
    folder = beir(
        tmp_path / "set",
        corpus='{"_id": "d", "text": "t"}\nno json\n[]\n{"_id": "d", "text": "again"}\n\n'
        '{"_id": 7, "text": null, "title": 3}\n{"_id": "e", "text": "\\ud800"}\n',
        queries='{"_id": "q", "text": " "}\n{"_id": "", "text": "x"}\n{"text": "x"}\n',
        qrels=f"{TITLES}q\td\t1\nz\ty\t1\nq d 1\nq\td\tx\nq\td\t1\nq\td\t1.5\n",
    )
    assert places(folder) == [
        "corpus.jsonl:2",
        "corpus.jsonl:3",
        "corpus.jsonl:4: _id",
        "corpus.jsonl:6: _id",
        "corpus.jsonl:6: text",
        "corpus.jsonl:6: title",
        "corpus.jsonl:7: text",
        "queries.jsonl:1: text",
        "queries.jsonl:2: _id",
        "queries.jsonl:3: _id",
        "qrels/test.tsv:2",
        "qrels/test.tsv:3",
        "qrels/test.tsv:3",
        "qrels/test.tsv:4",
        "qrels/test.tsv:5",
        "qrels/test.tsv:6",
        "qrels/test.tsv:6",
        "qrels/test.tsv:7",
    ]


def test_all_problems_of_a_file_are_listed_with_their_places(tmp_path: Path) -> None:
    """Each mistake in a JSON document is named with its place, in one error."""
    path = write_questions(
        tmp_path / "set.json",
        queries={"q": "", "r": 3, "s": "fine"},
        corpus={"d": None, "e": "fine"},
        relevant_docs={"s": ["e", "e", "x", 3], "t": ["e"], "q": "e"},
        mode="image",
    )
    assert places(path) == [
        "mode",
        "queries.'r'",
        "corpus.'d'",
        "queries.q",
        "relevant_docs.s[1]",
        "relevant_docs.s[2]",
        "relevant_docs.s[3]",
        "relevant_docs.t",
        "relevant_docs.q",
    ]


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"corpus": "\n"}, "corpus"),
        ({"queries": "\n"}, "queries"),
        ({"qrels": ""}, "relevant texts"),
        ({"qrels": TITLES}, "relevant texts"),
        ({"qrels": f"{TITLES}q\td\t0\n"}, "relevant texts"),
        ({"qrels": "q\td\t1\n"}, "qrels/test.tsv:1"),
        ({"qrels": f"{TITLES}q\td\t1\t1\n"}, "qrels/test.tsv:2"),
        ({"qrels": f"{TITLES}q\td\t1\nq\td\t0\n"}, "qrels/test.tsv:3"),
        ({"corpus": '{"_id": "d\\tx", "text": "t"}\n'}, "corpus.jsonl:1: _id"),
        ({"corpus": "[" * 100_000}, "corpus.jsonl:1"),
    ],
)
def test_what_is_empty_or_malformed_is_refused(
    tmp_path: Path, files: dict[str, str], place: str
) -> None:
    """Nothing to measure, and rows that BEIR would drop or misread, are errors."""
    if "corpus" in files or "queries" in files:
        files = {**files, "qrels": files.get("qrels", TITLES)}
    assert places(beir(tmp_path / "set", **files))[0] == place


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    """Text in another encoding is a problem of its line, not of the program."""
    folder = beir(tmp_path / "set")
    (folder / "corpus.jsonl").write_bytes(
        b'\xef\xbb\xbf{"_id": "d", "text": "t"}\r\n{"_id": "e", "text": "\xff"}\r\n'
    )
    assert places(folder) == ["corpus.jsonl:2"]


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "3", "{}", "{", "[" * 100_000, '{"a": 1, "a": 2}', "\xff"]
)
def test_a_file_that_is_no_dataset_is_refused(tmp_path: Path, text: str) -> None:
    """What is no JSON, or not the document, is one error with its problems."""
    path = tmp_path / "set.json"
    path.write_text(text, encoding="latin-1")
    assert places(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """JSON readers keep the last of two texts of one id, which nobody meant."""
    path = write_questions(tmp_path / "set.json")
    path.write_text(path.read_text().replace('"d1":', '"d0":', 1))
    assert "set.json" in places(path)


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    """Another split is another dataset; a missing one is answered with what there is."""
    folder = write_beir(tmp_path / "set", split="dev")
    assert read_dataset(folder, split="dev").name == "set/dev"
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(folder)
    (finding,) = caught.value.findings
    assert finding.place == "qrels/test.tsv"
    assert "dev.tsv" in finding.found


@pytest.mark.parametrize("split", ["", "../test", "a/b", ".hidden", "x y"])
def test_a_split_is_a_name_and_no_path(tmp_path: Path, split: str) -> None:
    """No split leads out of the folder."""
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(write_beir(tmp_path / "set"), split=split)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """Neither folder nor file: said at once."""
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(tmp_path / "gone")
    assert caught.value.kind is ErrorKind.DATASET_INVALID


def test_files_that_cannot_be_read_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails is told as a failing disk, not as a wrong dataset."""
    folder = write_beir(tmp_path / "set")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error", "corpus.jsonl")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(StorageError) as caught:
        read_dataset(folder)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_a_file_of_another_kind_does_not_flood_the_error(tmp_path: Path) -> None:
    """Beyond a thousand problems they are counted, and no longer listed."""
    folder = beir(tmp_path / "set", corpus="x\n" * 3000)
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(folder)
    assert len(caught.value.findings) == 1000
    assert caught.value.found.startswith("3001 problems")
