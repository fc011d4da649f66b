"""Whether packages on this machine are as a journal says that they were.

This is a module of the package, and also a script that `pairlock.inventory.ahead` runs in a process
of its own, without waiting for imports: it needs the standard library and nothing else. As a script
it is given a journal's path, and writes lines of JSON: first which journal it has read, then now
and then how many of its places it has looked at, and at which of those since the last line
something is not as it was.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import zlib
from functools import cache
from stat import S_ISREG

TYPE_CHECKING = False  # as `typing` has it, whose import would be most of the script's start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PLACES = b"places"
"""What a line is called that says how packages lay at their places."""

PLACES_AT_ONCE = 200
"""For so many places there is one line of the script."""

_MANIFEST = "pairlock.json"


def checked_texts(content: bytes, what: bytes) -> Iterator[memoryview]:
    """The JSON of one sort in a journal. A line that was torn or damaged is left out."""
    view = memoryview(content)
    end = -1
    while end < len(content):
        start = end + 1
        end = content.find(b"\n", start)
        if end < 0:
            end = len(content)
        blank = content.find(b" ", start, end)
        check, _, sort = content[start : max(start, blank)].partition(b":")
        if sort == what:
            text = view[blank + 1 : end]
            try:
                is_whole = int(check, 16) == zlib.crc32(text)
            except ValueError:
                continue
            if is_whole:
                yield text


@cache
def folders_of(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Every folder that some relative paths lie in; the one that they are relative to is empty."""
    found = {""}
    for path in paths:
        while path := path.rpartition("/")[0]:
            found.add(path)
    return tuple(sorted(found))


def in_short(stamp: tuple[int, ...]) -> int:
    """A stamp as one number of 64 bits, so that ten thousand are read in no time.

    Python's hash of whole numbers is the same in every process. By another Python's it is another
    number, so that packages are read anew.
    """
    return hash(stamp)


def manifest_stamp(location: str) -> tuple[int, ...]:
    """What tells the manifest there from another one.

    Args:
        location: a folder, with a slash at its end; or nothing for the working directory.

    Raises:
        OSError: there is none that can be looked at.
    """
    found = os.stat(location + _MANIFEST)  # noqa: PTH116 - a Path costs more than this
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, found.st_dev)


def folder_stamps(location: str, paths: tuple[str, ...]) -> tuple[int, ...]:
    """Times of change and inode of every folder that some paths lie in, one folder after the other.

    Args:
        location: as `manifest_stamp`.
        paths: relative to it.

    Raises:
        OSError: one is not there, or cannot be looked at.
    """
    lstat = os.lstat
    stamps: list[int] = []
    for folder in _folders_to_ask(paths):
        found = lstat(location + folder)
        stamps += (found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return tuple(stamps)


def is_as_it_was(
    location: str,
    manifest: int,
    folders: int | None,
    *,
    paths: tuple[str, ...],
    sizes: tuple[int, ...],
) -> bool:
    """Whether a package is as it was: its manifest, the names in its folders, the files' sizes.

    Args:
        location: where it lies, as `manifest_stamp`.
        manifest: the stamp that its manifest had, in short.
        folders: the `folder_stamps` that it had, in short; None where they are not known.
        paths: the files of its payload.
        sizes: theirs, in bytes.
    """
    # ten thousand packages are looked at, so what can be done once for many is not done here
    if folders is None:
        return False
    lstat = os.lstat
    try:
        if in_short(manifest_stamp(location)) != manifest:
            return False
        if in_short(folder_stamps(location, paths)) != folders:
            return False
        for path, size_bytes in zip(paths, sizes, strict=True):
            found = lstat(location + path)
            if found.st_size != size_bytes or not S_ISREG(found.st_mode):
                return False
    except OSError:
        return False
    return True


@cache
def _folders_to_ask(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder or "." for folder in folders_of(paths))


def mark_of(content: bytes, places: int) -> list[int]:
    """What tells one reading of a journal from that of a journal that says something else.

    Args:
        content: the journal.
        places: how many it was found to name.
    """
    return [len(content), zlib.crc32(content), places]


def places_in(content: bytes) -> dict[str, Any]:
    """What a journal says of each place, in the order in which it first names them."""
    places: dict[str, Any] = {}
    for text in checked_texts(content, PLACES):
        document = json.loads(bytes(text))
        paths = [tuple(one) for one in document["paths"]]
        for location, place, number, sizes in document["places"]:
            places[location] = (*place, paths[number], sizes)
    return places


def look(places: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """Look at every place that a journal names, a few hundred at once.

    The working directory of this process is moved into each package in turn: the system finds a
    file sooner by a short path.

    Args:
        places: as `places_in`.

    Returns:
        How many places were looked at, in their order; and those among the last few hundred where
        something is not as it was.
    """
    changed: list[str] = []
    for count, (location, place) in enumerate(places.items(), 1):
        stamp, _, folders, paths, sizes = place
        if not (_enter(location) and is_as_it_was("", stamp, folders, paths=paths, sizes=sizes)):
            changed.append(location)
        if count % PLACES_AT_ONCE == 0:
            yield count, changed
            changed = []
    yield len(places), changed


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
    gc.disable()  # there is no garbage, and a hundred thousand things to look for it in
    with open(sys.argv[1], "rb") as stream:  # noqa: PTH123
        content = stream.read()
    places = places_in(content)
    _tell(mark_of(content, len(places)))
    for told in look(places):
        _tell(told)


def _tell(told: object) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
