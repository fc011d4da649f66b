"""Reads a folder as the BEIR benchmark has them.

    corpus.jsonl        {"_id": …, "title": …, "text": …} in each line; the title may be missing
    queries.jsonl       {"_id": …, "text": …}
    qrels/<split>.tsv   a title line, then query-id, corpus-id and score, with tabs between

As BEIR does (beir 2.2, `GenericDataLoader` and `models.SentenceBERT`): title and text are joined by
a space and stripped, and only queries of the split count. A score above 0 says relevant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pairlock.evaluation.dataset import Dataset, Problems, make_dataset, text_problem


def read_beir(folder: Path, *, name: str, split: str, problems: Problems) -> Dataset:
    """Read a folder.

    Args:
        folder: with the three files.
        name: what to call the dataset.
        split: which file of `qrels`, without its ending.
        problems: takes what is wrong.

    Raises:
        InvalidInputError: anything is wrong.
        OSError: a file cannot be read.
    """
    corpus = dict(_texts(folder, "corpus.jsonl", problems))
    queries = dict(_texts(folder, "queries.jsonl", problems))
    relevant = _relevant(folder, split, queries, corpus, problems)
    return make_dataset(name, queries, corpus, relevant, problems)


def _texts(folder: Path, name: str, problems: Problems) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for place, line in _lines(folder, name, problems):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.report(place, "a JSON object", str(error))
            continue
        if not isinstance(item, dict):
            problems.report(place, "a JSON object", line[:80])
            continue
        fields = {name: item.get(name) for name in ("_id", "text", "title")}
        if fields["title"] is None:
            fields["title"] = ""
        wrong = {field: text_problem(value) for field, value in fields.items()}
        for field, found in wrong.items():
            if found is not None:
                problems.report(f"{place}: {field}", "a text", found)
        if any(wrong.values()):
            continue
        key, text = str(fields["_id"]), str(fields["text"])
        if not key or re.search(r"[\t\r\n]", key):
            problems.report(f"{place}: _id", "an id without tabs and line ends", repr(key))
        elif key in seen:
            problems.report(f"{place}: _id", "an id of its own", f"{key!r} a second time")
        elif name == "queries.jsonl" and not text.strip():
            problems.report(f"{place}: text", "a query", "no text")
        else:
            seen.add(key)
            # as beir.retrieval.models.SentenceBERT.encode_corpus joins them
            yield key, f"{fields['title']} {text}".strip() if name == "corpus.jsonl" else text


def _relevant(
    folder: Path, split: str, queries: dict[str, str], corpus: dict[str, str], problems: Problems
) -> dict[str, set[str]]:
    name = f"qrels/{split}.tsv"
    relevant: dict[str, set[str]] = {}
    pairs: set[tuple[str, str]] = set()
    title = True
    for place, line in _lines(folder, name, problems):
        fields = line.split("\t")
        is_title, title = title, False
        is_row = len(fields) == 3 and re.fullmatch(r"[+-]?\d{1,9}", fields[2].strip())
        if is_title:
            if is_row or len(fields) != 3:
                problems.report(place, "the titles query-id, corpus-id, score", line)
            continue
        if not is_row:
            problems.report(place, "query-id, corpus-id and a whole number, tabs between", line)
            continue
        query, text = fields[0], fields[1]
        known = True
        for what, key, among in (("queries", query, queries), ("corpus", text, corpus)):
            if key not in among:
                problems.report(place, f"an id of {what}.jsonl", repr(key))
                known = False
        if (query, text) in pairs:
            problems.report(place, "each pair once", f"{query!r} and {text!r} a second time")
        pairs.add((query, text))
        if known and int(fields[2]) > 0:
            relevant.setdefault(query, set()).add(text)
    return relevant


def _lines(folder: Path, name: str, problems: Problems) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, and where they are."""
    path = folder / name
    if not path.is_file():
        beside = sorted(found.name for found in path.parent.glob(f"*{path.suffix}"))
        found = f"only {', '.join(beside)}" if beside else "nothing"
        problems.report(name, "a file", found)
        return
    with path.open("rb") as stream:
        for number, content in enumerate(stream, start=1):
            place = f"{name}:{number}"
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                problems.report(place, "UTF-8", str(error))
                continue
            if line.strip():
                yield place, line
