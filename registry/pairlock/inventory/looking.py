"""Whether packages on this machine are as a journal says that they were.

This is a module of the package, and also a script that `pairlock.inventory.ahead` runs in a process
of its own, without waiting for imports: it needs the standard library and nothing else. As a script
it is given a journal's path, and writes lines of JSON: the places it has looked at since the last
line, each with the digest of the package that lies there as it was, or with null.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

PLACES_AT_ONCE = 200
"""For so many places there is one line."""

_MANIFEST = "/pairlock.json"


def checked_lines(content: bytes) -> Iterator[Any]:
    """The documents in a journal. A line that was torn or damaged is left out."""
    for line in content.split(b"\n"):
        check, _, text = line.partition(b" ")
        try:
            if int(check, 16) == zlib.crc32(text):
                yield json.loads(text)
        except (ValueError, RecursionError):
            continue


@cache
def folders_of(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Every folder that some relative paths lie in; the one that they are relative to is empty."""
    found = {""}
    for path in paths:
        while path := path.rpartition("/")[0]:
            found.add(path)
    return tuple(sorted(found))


@cache
def ends_of(paths: tuple[str, ...]) -> tuple[str, ...]:
    """What comes behind a location, for some relative paths."""
    return tuple(f"/{path}" if path else "" for path in paths)


def manifest_stamp(location: str) -> tuple[int, ...]:
    """What tells the manifest there from another one.

    Raises:
        OSError: there is none that can be looked at.
    """
    found = os.stat(location + _MANIFEST)  # noqa: PTH116 - a Path costs more than this
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, found.st_dev)


def is_as_it_was(
    location: str,
    manifest: tuple[int, ...],
    folders: tuple[int, ...],
    *,
    paths: tuple[str, ...],
    sizes: tuple[int, ...],
) -> bool:
    """Whether a package is as it was: its manifest, the names in its folders, the files' sizes.

    Args:
        location: where it lies.
        manifest: the stamp that its manifest had.
        folders: time and inode that its folders had; empty where they are not known.
        paths: the files of its payload.
        sizes: theirs, in bytes.
    """
    # ten thousand packages are looked at, so what can be done once for many is not done here
    if not folders:
        return False
    lstat = os.lstat
    try:
        if manifest_stamp(location) != manifest:
            return False
        stamps: list[int] = []
        for end in ends_of(folders_of(paths)):
            found = lstat(location + end)
            stamps += (found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if tuple(stamps) != folders:
            return False
        for end, size_bytes in zip(ends_of(paths), sizes, strict=True):
            found = lstat(location + end)
            if found.st_size != size_bytes or not stat.S_ISREG(found.st_mode):
                return False
    except OSError:
        return False
    return True


def look(content: bytes) -> Iterator[dict[str, str | None]]:
    """Look at every place that a journal names, a few hundred at once.

    The working directory of this process is moved into each package in turn: the system finds a
    file sooner by a short path.

    Args:
        content: the journal.

    Returns:
        Places, each with the digest of the package that lies there as it was, or with None.
    """
    packages: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for document in checked_lines(content):
        forms = [tuple(form[-1]) for form in document["forms"]]
        packages.update((row[0], (forms[row[1]], tuple(row[-1]))) for row in document["packages"])
        places.update((row[0], row[1:]) for row in document["places"])
    told: dict[str, str | None] = {}
    for location, (stamp, digest, folders) in places.items():
        is_same = False
        if digest in packages and _enter(location):
            paths, sizes = packages[digest]
            is_same = is_as_it_was(".", tuple(stamp), tuple(folders), paths=paths, sizes=sizes)
        told[location] = digest if is_same else None
        if len(told) == PLACES_AT_ONCE:
            yield told
            told = {}
    yield told


def _enter(location: str) -> bool:
    if not os.path.isabs(location):  # noqa: PTH117 - pathlib would be most of the script's start
        return False
    try:
        os.chdir(location)
    except OSError:
        return False
    return True


def main() -> None:
    """Look at what the journal of the first argument names, and write what was seen."""
    with open(sys.argv[1], "rb") as stream:  # noqa: PTH123
        content = stream.read()
    for told in look(content):
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
