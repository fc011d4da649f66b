"""The rule that compares the files a document lists with the files that are there.

Pure: it takes what was observed and decides. Everything is listed, not only the first finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind, Finding
from pairlock.stores.interface import Entry, EntryType


def compare_entries(
    expected: Iterable[FileRecord], observed: Mapping[str, Entry]
) -> tuple[Finding, ...]:
    """Compare paths, types and sizes; cheap, and done before any byte is hashed.

    Args:
        expected: the files a manifest or a pin lists.
        observed: everything that lies there, by the same paths.

    Returns:
        Missing, extra, wrongly sized and irregular files, in path order.
    """
    records = {record.path: record for record in expected}
    findings = []
    for path in sorted(records.keys() | observed.keys()):
        record, entry = records.get(path), observed.get(path)
        if record is None:
            findings.append(_finding(ErrorKind.FILE_EXTRA, path, "no such file", "a file"))
        elif entry is None:
            found = "nothing"
            findings.append(
                _finding(ErrorKind.FILE_MISSING, path, f"{record.size_bytes} bytes", found)
            )
        elif entry.type is not EntryType.FILE:
            findings.append(
                _finding(ErrorKind.FILE_NOT_REGULAR, path, "a regular file", f"a {entry.type}")
            )
        elif entry.size_bytes != record.size_bytes:
            findings.append(
                _finding(
                    ErrorKind.FILE_SIZE,
                    path,
                    f"{record.size_bytes} bytes",
                    f"{entry.size_bytes} bytes",
                )
            )
    return tuple(findings)


def compare_digest(record: FileRecord, sha256: str) -> Finding | None:
    """Compare the content of one file.

    Args:
        record: what a manifest or a pin says.
        sha256: what was computed, 64 hex digits.

    Returns:
        A finding when they differ.
    """
    if sha256 == record.sha256:
        return None
    return _finding(
        ErrorKind.FILE_DIGEST, record.path, f"sha256 {record.sha256}", f"sha256 {sha256}"
    )


def compare_anchors(digest: str, anchors: Mapping[str, str]) -> tuple[Finding, ...]:
    """Compare a package digest with what was recorded outside the package.

    Args:
        digest: what was found.
        anchors: what was recorded, by where.

    Returns:
        A finding for every record that names another digest.
    """
    return tuple(
        _finding(ErrorKind.PACKAGE_DIGEST, f"the manifest, against the {where}", anchor, digest)
        for where, anchor in anchors.items()
        if anchor != digest
    )


def _finding(kind: ErrorKind, path: str, expected: str, found: str) -> Finding:
    return Finding(kind=kind, place=path, expected=expected, found=found)
