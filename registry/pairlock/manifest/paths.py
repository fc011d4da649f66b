"""Which file paths a manifest may name: only paths that stay inside the package, everywhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Names that Windows gives to devices in every folder, with or without an extension:
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_MAX_BYTES = 1024


def path_problem(path: str) -> str | None:
    """Why a path may not stand in a manifest, or None when it may.

    Refused: absolute paths, `..`, `.`, empty parts, backslashes, colons, control characters,
    device names, parts that end in a dot or a space, and paths over 1024 bytes.
    """
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in path):
        return "is not valid Unicode"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path or ":" in path:
        return "holds a backslash or a colon"
    if _CONTROL.search(path):
        return "holds a control character"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return f"has a part {part!r} that leaves or blurs its folder"
        if part.endswith((".", " ")):
            return f"has a part {part!r} that ends in a dot or a space"
        if _DEVICE.fullmatch(part):
            return f"has a part {part!r} that is a device name on Windows"
    return None


def parents(path: str) -> list[str]:
    """The folders that a path lies in."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def colliding_paths(paths: Iterable[str]) -> list[str]:
    """Paths that are the same file on a file system that ignores case or Unicode form."""
    seen: dict[str, str] = {}
    collisions = []
    for path in paths:
        # folding can compose and decompose, so the form is normalised before and after
        folded = unicodedata.normalize("NFD", path).casefold()
        folded = unicodedata.normalize("NFD", folded)
        if folded in seen:
            collisions.append(f"{seen[folded]} and {path}")
        seen[folded] = path
    return collisions
