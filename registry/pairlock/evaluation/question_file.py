"""Reads what LlamaIndex's `EmbeddingQAFinetuneDataset.save_json` writes.

{"queries": {id: text}, "corpus": {id: text}, "relevant_docs": {query id: [corpus id, …]},
 "mode": "text"}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairlock.evaluation.dataset import Dataset, Problems, make_dataset, text_problem


def read_question_file(path: Path, *, name: str, problems: Problems) -> Dataset:
    """Read a file.

    Args:
        path: the JSON file.
        name: what to call the dataset.
        problems: takes what is wrong.

    Raises:
        InvalidInputError: anything is wrong.
        OSError: the file cannot be read.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            for key, count in Counter(key for key, _ in pairs).items():
                if count > 1:
                    problems.report(path.name, "each key of an object once", f"{key!r} again")
        return found

    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        problems.report(path.name, "JSON", str(error))  # a JSON error names line and column
        raise problems.error() from error
    if not isinstance(document, dict):
        problems.report(path.name, "a JSON object", type(document).__name__)
        raise problems.error()
    mode = document.get("mode", "text")
    if mode != "text":
        problems.report("mode", "text", repr(mode))
    queries = _texts(document, "queries", problems)
    corpus = _texts(document, "corpus", problems)
    for key in [key for key, text in queries.items() if not text.strip()]:
        problems.report(f"queries.{key}", "a query", "no text")
    relevant = _relevant(document, queries, corpus, problems)
    return make_dataset(name, queries, corpus, relevant, problems)


def _texts(document: Mapping[str, Any], part: str, problems: Problems) -> dict[str, str]:
    found = {}
    for key, text in _object(document, part, problems).items():
        wrong = text_problem(key) or text_problem(text)
        if wrong is None:
            found[key] = text
        else:
            problems.report(f"{part}.{key!a}", "a text", wrong)
    return found


def _relevant(
    document: Mapping[str, Any],
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    problems: Problems,
) -> dict[str, set[str]]:
    relevant: dict[str, set[str]] = {}
    for query, keys in _object(document, "relevant_docs", problems).items():
        place = f"relevant_docs.{query}"
        if query not in queries:
            problems.report(place, "an id of queries", repr(query))
        if not isinstance(keys, list):
            problems.report(place, "a list of ids", type(keys).__name__)
            continue
        found = relevant.setdefault(query, set())
        for index, key in enumerate(keys):
            if not isinstance(key, str) or key not in corpus:
                problems.report(f"{place}[{index}]", "an id of corpus", repr(key))
            elif key in found:
                problems.report(f"{place}[{index}]", "each id once", f"{key!r} a second time")
            else:
                found.add(key)
    return relevant


def _object(document: Mapping[str, Any], part: str, problems: Problems) -> Mapping[str, Any]:
    found = document.get(part)
    if isinstance(found, dict):
        return found
    problems.report(part, "an object", "nothing" if found is None else type(found).__name__)
    return {}
