"""Digests cover everything they stand for, and a copy is recorded as it was written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.digests import (
    CHUNK_BYTES,
    FileRecord,
    canonical_json,
    copy_hashing,
    digest_bytes,
    hash_file,
    tree_digest,
)

RECORD = FileRecord(path="a/b.json", size_bytes=3, sha256="ab" * 32)
CONTENTS = (b"", b"x", b"x" * CHUNK_BYTES, b"xy" * CHUNK_BYTES + b"z")


def test_a_digest_of_bytes_names_its_algorithm() -> None:
    """A package digest is `sha256:` and the hex digits of SHA-256."""
    assert digest_bytes(b"pair") == f"sha256:{hashlib.sha256(b'pair').hexdigest()}"


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_a_file_is_hashed_whole(tmp_path: Path, content: bytes) -> None:
    """The hash of a file is of all its bytes, and progress adds up to its size."""
    path = tmp_path / "file"
    path.write_bytes(content)
    counts: list[int] = []
    assert hash_file(path, on_bytes=counts.append) == hashlib.sha256(content).hexdigest()
    assert hash_file(path) == hashlib.sha256(content).hexdigest()
    assert sum(counts) == len(content)


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_a_copy_is_recorded_as_it_was_written(tmp_path: Path, content: bytes) -> None:
    """The record of a copy holds the size and hash of the bytes that lie in the target."""
    source, target = tmp_path / "source", tmp_path / "new" / "folder" / "target"
    source.write_bytes(content)
    counts: list[int] = []
    record = copy_hashing(source, target, recorded_as="payload/x", on_bytes=counts.append)
    assert target.read_bytes() == content
    assert record == FileRecord(
        path="payload/x", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    assert sum(counts) == len(content)


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    """A target that is there stays as it is."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        copy_hashing(source, target, recorded_as="x")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    "other",
    [
        replace(RECORD, path="a/c.json"),
        replace(RECORD, size_bytes=4),
        replace(RECORD, sha256="ac" * 32),
    ],
    ids=["path", "size", "content"],
)
def test_a_tree_digest_covers_path_size_and_content(other: FileRecord) -> None:
    """Renaming, resizing or rewriting one file changes the digest of the tree."""
    assert tree_digest([other]) != tree_digest([RECORD])


def test_a_tree_digest_covers_every_file() -> None:
    """Adding a file changes the digest, and swapping two contents does too."""
    second = replace(RECORD, path="z", sha256="cd" * 32)
    swapped = [replace(RECORD, sha256=second.sha256), replace(second, sha256=RECORD.sha256)]
    digests = {tree_digest(files) for files in ([], [RECORD], [RECORD, second], swapped)}
    assert len(digests) == 4


@given(paths=st.lists(st.text("abc/é", min_size=1), unique=True, max_size=6), seed=st.randoms())
def test_a_tree_digest_does_not_depend_on_order(paths: list[str], seed: st.DataObject) -> None:
    """The order in which files are listed does not matter."""
    records = [replace(RECORD, path=path) for path in paths]
    shuffled = list(records)
    seed.shuffle(shuffled)
    assert tree_digest(shuffled) == tree_digest(records)


def test_canonical_json_is_rfc_8785() -> None:
    """Keys are sorted, numbers are written as ECMAScript does, and only controls are escaped."""
    document = {"b": [1e-8, 0.5, 5.0, 1e21], "a": {"é": None, "": True}, "\u20ac": "\n"}
    expected = '{"a":{"":true,"é":null},"b":[1e-8,0.5,5,1e+21],"€":"\\n"}'
    assert canonical_json(document) == expected.encode()
