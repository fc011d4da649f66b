"""What an index remembers of the model that built it: data, reading and writing.

A stamp is small and has no optional keys, so that reading it is strict: a key that is not known is
damage, and a new one raises `STAMP_VERSION`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest import Kind
from pairlock.manifest.fields import ObjectReader, Problem, findings_of
from pairlock.receipts import Receipt
from pairlock.wording import counted

STAMP_VERSION = 1
"""Version of the stamp's own format."""

STAMP_KEY = "pairlock.stamp"
"""The name under which a vector store's collection keeps its stamp."""

_DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which model the vectors of an index come from."""

    document_space: str
    """Space of the vectors, `sha256:<hex>`: whatever answers from this index must have the same."""

    package_digest: str
    """Digest of the package that the vectors come from."""

    uri: str
    """Where that package was loaded from."""

    kind: str
    """Its kind: full, linear, …"""

    dimension: int
    """Dimension of the vectors."""

    base_uri: str | None
    """Where its base was pinned; None for a full model."""

    stamped_at: str
    """UTC, ISO 8601, to the second, by the clock of the machine that stamped."""

    def to_document(self) -> dict[str, Any]:
        """The stamp as JSON data, with its format version."""
        return {"format_version": STAMP_VERSION, **asdict(self)}

    def to_json(self) -> str:
        """The stamp as one line of JSON, for stores whose metadata holds texts."""
        return json.dumps(self.to_document(), sort_keys=True)

    def __str__(self) -> str:
        return describe(self.uri, self.package_digest, self.document_space)


def describe(uri: str, package_digest: str, document_space: str) -> str:
    """A model in one line: where it is, what it is, and where its document vectors lie."""
    return f"{uri} (package {package_digest}, document space {document_space})"


def stamp_of(receipt: Receipt) -> Stamp:
    """The stamp of an index whose vectors come from what a receipt is of."""
    return Stamp(
        document_space=receipt.document_space,
        package_digest=receipt.package_digest,
        uri=receipt.uri,
        kind=receipt.kind,
        dimension=receipt.dimension,
        base_uri=receipt.base.uri if receipt.base is not None else None,
        stamped_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def read_stamp(stored: object, *, where: str) -> Stamp:
    """Parse what is stored as a stamp.

    Args:
        stored: a mapping, or the JSON text of one.
        where: the index, for messages.

    Raises:
        FormatError: it is no stamp, with every problem listed, or one of a newer format.
    """
    problems: list[Problem] = []
    document = _parse(stored, problems)
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is int and version > STAMP_VERSION:
        raise FormatError(
            f"{where} was stamped by a newer Pairlock",
            kind=ErrorKind.FORMAT_TOO_NEW,
            checked="format_version of the stamp",
            expected=str(STAMP_VERSION),
            found=str(version),
            done="nothing was read",
            hint="upgrade with `pip install --upgrade pairlock`",
        )
    reader = ObjectReader(document, "$", problems)
    reader.integer("format_version", at_least=1)
    found = Stamp(
        document_space=reader.text("document_space", pattern=_DIGEST, what="sha256:<hex>"),
        package_digest=reader.text("package_digest", pattern=_DIGEST, what="sha256:<hex>"),
        uri=reader.text("uri", pattern=r"(?s).+", what="a URI"),
        kind=reader.choice("kind", tuple(kind.value for kind in Kind)),
        dimension=reader.integer("dimension", at_least=1),
        base_uri=reader.optional_text("base_uri"),
        stamped_at=reader.text("stamped_at"),
    )
    for key in reader.unknown():
        reader.report(key, "is not known")
    if "base_uri" not in reader.keys():  # noqa: SIM118 - no mapping
        reader.report("base_uri", "is missing")
    _require_time(found.stamped_at, problems)
    if problems:
        raise _damaged(where, problems)
    return found


def _parse(stored: object, problems: list[Problem]) -> object:
    if not isinstance(stored, str):
        return stored
    try:
        return json.loads(stored)
    except (ValueError, RecursionError) as error:
        problems.append(Problem("$", f"is not JSON: {error}"))
        return {}


def _require_time(text: str, problems: list[Problem]) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        problems.append(Problem("$.stamped_at", f"must be a time, is {text!r}"))


def _damaged(where: str, problems: list[Problem]) -> FormatError:
    kind = ErrorKind.INDEX_STAMP_INVALID
    return FormatError(
        f"the stamp of {where} cannot be read",
        kind=kind,
        checked="the stamp",
        expected="a stamp as docs/index-guard.md specifies it",
        found=counted(len(problems), "problem"),
        findings=findings_of(problems, kind=kind, expected="a valid stamp"),
        done="nothing was read",
        hint="if you know which model built the index, stamp it again with replace=True",
    )
