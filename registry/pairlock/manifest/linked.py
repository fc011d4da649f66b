"""`graph.json`: a graph that was made for a package after it was registered.

A version never changes, so such a graph lies beside the payload and has a digest of its own, the
SHA-256 of this document, which names its files. Nobody promoted it: whoever loads it recomputes the
package's own golden vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pairlock.digests import FileRecord, canonical_json, digest_bytes
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest.compiled import PRECISIONS
from pairlock.manifest.document import GoldenBars
from pairlock.manifest.fields import ObjectReader, Problem, findings_of, form_problems
from pairlock.manifest.format import LINKED_DOCUMENT, RUNTIME_DOCUMENT
from pairlock.manifest.paths import path_problem
from pairlock.wording import counted

LINKED_VERSION = 1
"""The version of `graph.json` that this release writes."""

_MOST_FILES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What a graph costs in retrieval, measured when it was made."""

    metric: str
    """Such as `ndcg@10`."""

    dataset_digest: str
    torch: float
    """The package's value in the torch runtime, from 0 to 1."""

    graph: float
    """The graph's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedGraph:
    """The whole of `graph.json`."""

    package_digest: str
    """The package it was made for."""

    precision: str
    files: tuple[FileRecord, ...]
    """`runtime.json` and what it needs, by path beside this document."""

    bars: GoldenBars
    """How far its vectors may lie from the package's golden ones."""

    one_minus_cosine: float
    """How far the worst of them lay when it was made."""

    libraries: Mapping[str, str] = field(default_factory=dict)
    """Distribution name to version, as installed when it was made."""

    retrieval: Retrieval | None = None

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the document."""
        return digest_bytes(write_linked(self))


def write_linked(linked: LinkedGraph) -> bytes:
    """The bytes of `graph.json`, in canonical form."""
    bars, retrieval = linked.bars, linked.retrieval
    return canonical_json(
        {
            "format_version": LINKED_VERSION,
            "package_digest": linked.package_digest,
            "precision": linked.precision,
            "files": [record.to_dict() for record in linked.files],
            "bars": {
                "one_minus_cosine": bars.one_minus_cosine,
                "max_abs": bars.max_abs,
                "norm": bars.norm,
            },
            "one_minus_cosine": linked.one_minus_cosine,
            "libraries": dict(linked.libraries),
            "retrieval": None
            if retrieval is None
            else {
                "metric": retrieval.metric,
                "dataset_digest": retrieval.dataset_digest,
                "torch": retrieval.torch,
                "graph": retrieval.graph,
            },
        }
    )


def read_linked(content: bytes, *, where: str) -> LinkedGraph:
    """Parse `graph.json`.

    Args:
        content: its bytes.
        where: what to call it in messages.

    Raises:
        FormatError: it is not what `write_linked` writes, or is of a newer release.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [Problem("$", f"is not JSON: {error}")]) from error
    problems = form_problems(document, content)
    reader = ObjectReader(document, "$", problems)
    if reader.integer("format_version", at_least=1) > LINKED_VERSION:
        reader.report("format_version", f"is newer than {LINKED_VERSION}: upgrade Pairlock")
    linked = _linked(reader)
    if problems:
        raise _invalid(where, problems)
    return linked


def _linked(reader: ObjectReader) -> LinkedGraph:
    bars = reader.child("bars")
    retrieval = reader.optional_child("retrieval")
    digest = r"sha256:[0-9a-f]{64}"
    return LinkedGraph(
        package_digest=reader.text("package_digest", pattern=digest, what="sha256:<hex>"),
        precision=reader.choice("precision", PRECISIONS),
        files=tuple(_file(item) for item in reader.children("files", at_most=_MOST_FILES)),
        bars=GoldenBars(
            one_minus_cosine=bars.number("one_minus_cosine"),
            max_abs=bars.number("max_abs"),
            norm=bars.number("norm"),
        ),
        one_minus_cosine=reader.number("one_minus_cosine"),
        libraries=reader.text_map("libraries"),
        retrieval=None
        if retrieval is None
        else Retrieval(
            metric=retrieval.text("metric"),
            dataset_digest=retrieval.text("dataset_digest", pattern=digest, what="sha256:<hex>"),
            torch=retrieval.number("torch"),
            graph=retrieval.number("graph"),
        ),
    )


def _file(reader: ObjectReader) -> FileRecord:
    path = reader.text("path")
    if problem := path_problem(path):
        reader.report("path", f"{path!r} {problem}")
    if path == LINKED_DOCUMENT:
        reader.report("path", "names the document itself")
    return FileRecord(
        path=path,
        size_bytes=reader.integer("size_bytes", at_least=0),
        sha256=reader.text("sha256", pattern=r"[0-9a-f]{64}", what="64 lower-case hex digits"),
    )


def _invalid(where: str, problems: list[Problem]) -> FormatError:
    return FormatError(
        f"{where} is not a valid description of a graph",
        kind=ErrorKind.RUNTIME_INVALID,
        checked=f"{LINKED_DOCUMENT}, which names {RUNTIME_DOCUMENT} and its files",
        expected="a document as docs/package-format.md specifies it",
        found=counted(len(problems), "problem"),
        findings=findings_of(problems, kind=ErrorKind.RUNTIME_INVALID, expected="a valid one"),
        done="nothing was loaded",
        hint="make the graph again with `pairlock compile`, or load with runtime='torch'",
    )
