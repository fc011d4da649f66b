"""Content digests: of bytes, of files, of trees, and canonical JSON.

Rules this module keeps:

- SHA-256 everywhere, written as 64 lower-case hex digits for a file and as `sha256:<hex>` for a
  package or a tree, so that the two kinds are never mixed up.
- A tree digest covers path, size and content of every file: renaming a file changes it.
- JSON that is hashed is RFC 8785 canonical, so that one document has one digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
"""How much is read at a time: 1 MiB, past which larger reads no longer help SHA-256."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes just processed, for progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file by path, size and content."""

    path: str
    """Relative POSIX path."""

    size_bytes: int
    """Length of the content."""

    sha256: str
    """SHA-256 of the content, 64 lower-case hex digits."""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON data, as manifests hold it."""
        return {"path": self.path, "size_bytes": self.size_bytes, "sha256": self.sha256}


def canonical_json(document: Any) -> bytes:
    """Serialise JSON data canonically (RFC 8785).

    Args:
        document: JSON data: dict, list, str, int, float, bool, None.

    Returns:
        The one canonical UTF-8 encoding.
    """
    import rfc8785

    return rfc8785.dumps(document)


def digest_bytes(content: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hash_file(path: Path, *, on_bytes: OnBytes | None = None) -> str:
    """SHA-256 of a file's content.

    Args:
        path: the file.
        on_bytes: told how many bytes were just read.

    Returns:
        64 lower-case hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
            if on_bytes is not None:
                on_bytes(count)
    return digest.hexdigest()


def record_file(root: Path, path: str) -> FileRecord:
    """The record of a file that lies in a folder.

    Args:
        root: the folder.
        path: the file, relative to it, as the record shall name it.

    Raises:
        OSError: the file cannot be read.
    """
    target = root / path
    return FileRecord(path=path, size_bytes=target.stat().st_size, sha256=hash_file(target))


def copy_hashing(
    source: Path, target: Path, *, recorded_as: str, on_bytes: OnBytes | None = None
) -> FileRecord:
    """Copy a file and record what was written, in one pass.

    The record is of the bytes that were read and written, so a source that changes meanwhile
    cannot make the record wrong.

    Args:
        source: the file to copy.
        target: where to; its folder is made. It must not exist.
        recorded_as: the path in the record.
        on_bytes: told how many bytes were just copied.

    Returns:
        The record of the copy.

    Raises:
        OSError: reading or writing failed; `FileExistsError` when the target is there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    size_bytes = 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
            size_bytes += len(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return FileRecord(path=recorded_as, size_bytes=size_bytes, sha256=digest.hexdigest())


def tree_digest(records: Iterable[FileRecord]) -> str:
    """The digest of a folder: over path, size and content of every file, in path order."""
    ordered = sorted(records, key=lambda record: record.path)
    return digest_bytes(canonical_json([record.to_dict() for record in ordered]))
