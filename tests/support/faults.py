"""Ways to damage one file, undone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pairlock.errors import ErrorKind

Damage = Callable[[Path, Path], None]


def _missing(_path: Path, _original: Path) -> None:
    """Leave nothing."""


def _truncated(path: Path, original: Path) -> None:
    content = original.read_bytes()
    path.write_bytes(content[: len(content) - max(1, len(content) // 3)])


def _emptied(path: Path, _original: Path) -> None:
    path.touch()


def _bit_flipped(path: Path, original: Path) -> None:
    content = bytearray(original.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _same_size(path: Path, original: Path) -> None:
    path.write_bytes(bytes(255 - byte for byte in original.read_bytes()))


def _linked(path: Path, original: Path) -> None:
    path.symlink_to(original)


def _linked_elsewhere(path: Path, original: Path) -> None:
    other = original.with_suffix(".other")
    _same_size(other, original)
    path.symlink_to(other)


def _dangling(path: Path, original: Path) -> None:
    path.symlink_to(original.with_suffix(".nowhere"))


def _folder(path: Path, _original: Path) -> None:
    path.mkdir()


FILE_FAULTS: dict[str, tuple[Damage, ErrorKind]] = {
    "missing": (_missing, ErrorKind.FILE_MISSING),
    "truncated": (_truncated, ErrorKind.FILE_SIZE),
    "emptied": (_emptied, ErrorKind.FILE_SIZE),
    "bit-flipped": (_bit_flipped, ErrorKind.FILE_DIGEST),
    "same-size": (_same_size, ErrorKind.FILE_DIGEST),
    "a-folder": (_folder, ErrorKind.FILE_MISSING),
}
"""Damages of one file and the kind of finding that each must give, in any store."""

PACKAGE_FAULTS = FILE_FAULTS | {
    "linked": (_linked, ErrorKind.FILE_NOT_REGULAR),
    "linked-elsewhere": (_linked_elsewhere, ErrorKind.FILE_NOT_REGULAR),
}
"""A package holds no links, not even to the right bytes."""

FOLDER_FAULTS = FILE_FAULTS | {
    "linked-elsewhere": (_linked_elsewhere, ErrorKind.FILE_DIGEST),
    "dangling": (_dangling, ErrorKind.FILE_MISSING),
}
"""A folder may be made of links, as a hub cache is; what counts is what they point to."""


@contextmanager
def damaged(path: Path, damage: Damage, aside: Path) -> Iterator[None]:
    """Damage a file for a while.

    Args:
        path: the file; its own inode comes back afterwards.
        damage: puts something else in its place.
        aside: an existing folder on the same disk that holds the original meanwhile.
    """
    original = aside / "original"
    path.rename(original)
    try:
        damage(path, original if not original.is_symlink() else original.resolve())
        yield
    finally:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        original.rename(path)
        for leftover in aside.iterdir():
            leftover.unlink()


@contextmanager
def added(path: Path, content: bytes | Path) -> Iterator[None]:
    """Add a file (or a link, when `content` is a path) for a while."""
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        path.symlink_to(content)
    else:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()
        if made:
            path.parent.rmdir()
