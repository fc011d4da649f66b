"""A retrieval dataset as data, whatever file it was in, and what is wrong with one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pairlock.errors import ErrorKind, Finding, InvalidInputError
from pairlock.wording import counted

_MOST_FINDINGS = 1000
"""Findings that an error holds: a file of another format is wrong in every line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Queries, the texts to find, and which belong together."""

    name: str
    """A file's or folder's name, and the split."""

    queries: Mapping[str, str]
    """Texts by id, of the queries with a relevant text."""

    corpus: Mapping[str, str]
    """Texts by id."""

    relevant: Mapping[str, frozenset[str]]
    """Ids of texts by the query's id; none is empty."""

    digest: str
    """`sha256:<hex>` of the content; see `content_digest`."""


def content_digest(
    queries: Mapping[str, str], corpus: Mapping[str, str], relevant: Mapping[str, Iterable[str]]
) -> str:
    """The digest of a dataset's content.

    It is that of `{"corpus": {…}, "queries": {…}, "relevant_docs": {query: [sorted ids]}}` as JSON
    with sorted keys and no spaces, ASCII: the same that logging a trainer records for its
    evaluator. Neither the order nor the format of files changes it.

    Returns:
        `sha256:<hex>`.
    """
    sha256 = hashlib.sha256()
    parts: dict[str, Mapping[str, str | list[str]]] = {
        "corpus": corpus,
        "queries": queries,
        "relevant_docs": {query: sorted(ids) for query, ids in relevant.items()},
    }
    # piece by piece: a corpus has millions of texts
    before = "{"
    for name, part in parts.items():
        sha256.update(f"{before}{json.dumps(name)}:{{".encode())
        for index, key in enumerate(sorted(part)):
            comma = "," if index else ""
            value = json.dumps(part[key], separators=(",", ":"))
            sha256.update(f"{comma}{json.dumps(key)}:{value}".encode())
        before = "},"
    sha256.update(b"}}")
    return f"sha256:{sha256.hexdigest()}"


def dataset_key(digest: str | None) -> str | None:
    """What digests of one dataset have in common, as MLflow has no room for a whole one.

    Args:
        digest: `sha256:<hex>`, or what MLflow keeps: its first 32 digits, or a digest of its own.

    Returns:
        The first 32 characters without `sha256:`; None where there is no digest.
    """
    return None if digest is None else digest.removeprefix("sha256:")[:32]


class Problems:
    """What is wrong with a dataset, collected."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self._findings: list[Finding] = []

    def report(self, place: str, expected: str, found: str) -> None:
        """Note one problem.

        Args:
            place: a file and line, or a path in the JSON document.
            expected: what should be there.
            found: what is there.
        """
        self.count += 1
        if self.count <= _MOST_FINDINGS:
            self._findings.append(
                Finding(
                    kind=ErrorKind.DATASET_INVALID,
                    place=place,
                    expected=expected,
                    found=found[:200],
                )
            )

    def error(self) -> InvalidInputError:
        """The error that holds what was noted."""
        more = self.count - len(self._findings)
        return InvalidInputError(
            f"{self.where} is not a retrieval dataset that can be used",
            kind=ErrorKind.DATASET_INVALID,
            checked=self.where,
            expected="a folder as BEIR has them, or an EmbeddingQAFinetuneDataset's JSON",
            found=counted(self.count, "problem")
            + (f", of which {more} are not listed" if more else ""),
            findings=self._findings,
            done="nothing was measured",
            hint="mend what is listed; docs/evaluation.md describes both forms",
        )


def make_dataset(
    name: str,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    relevant: Mapping[str, set[str]],
    problems: Problems,
) -> Dataset:
    """A dataset of what was read, in the order of the ids.

    Queries without a relevant text are left out, as the evaluator leaves them out.

    Raises:
        InvalidInputError: there are problems, or there is nothing to measure.
    """
    for what, found in (("queries", queries), ("corpus", corpus)):
        if not found and not problems.count:
            problems.report(what, "at least one text", "none")
    asked = {query: frozenset(ids) for query, ids in relevant.items() if ids}
    if not asked and not problems.count:
        problems.report("relevant texts", "at least one query with one", "none")
    if problems.count:
        raise problems.error()
    # in one order, whatever the file's was: sums of floats depend on it in their last digit
    kept = {query: queries[query] for query in sorted(asked)}
    return Dataset(
        name=name,
        queries=kept,
        corpus=dict(sorted(corpus.items())),
        relevant={query: asked[query] for query in kept},
        digest=content_digest(kept, corpus, asked),
    )


def text_problem(value: object) -> str | None:
    """Why something is no text that a tokenizer takes, in words; None when it is one."""
    if not isinstance(value, str):
        return f"{type(value).__name__} {value!r}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return None
