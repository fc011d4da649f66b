"""Configurations of libraries as plain JSON data, and its digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Set
from enum import Enum
from typing import Any

from pairlock.manifest.format import MAX_SAFE_INTEGER

_LARGEST = float(MAX_SAFE_INTEGER)


def plain(value: Any) -> Any:
    """Anything as JSON data that RFC 8785 can write, the same in every process.

    Numbers that JSON cannot hold become strings, sets become sorted lists, and an object that is
    no data becomes the name of its class: its `repr` could hold an address.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int | float):
        return value if math.isfinite(value) and abs(value) <= _LARGEST else str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Set):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, type):
        return value.__qualname__
    return type(value).__qualname__


def without_empty(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are set. Libraries add new ones in each release, switched off."""
    return {
        name: value
        for name, value in config.items()
        if not (value is None or value is False or value in ("", [], {}))
    }


def json_digest(value: Any) -> str:
    """SHA-256, 64 hex digits, of JSON data with sorted keys, by Python's own fast writer.

    A vocabulary of 250 000 words takes RFC 8785's Python writer seconds. Floats are written as the
    shortest text that reads back as the same number, by every Python.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
