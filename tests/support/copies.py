"""Copies with something else in them, of both kinds of frozen data."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from msgspec import Struct, structs

T = TypeVar("T")


def replace(one: T, /, **changes: Any) -> T:
    """A copy of a dataclass's or a struct's instance with other fields."""
    if isinstance(one, Struct):
        return structs.replace(one, **changes)
    return dataclasses.replace(one, **changes)  # type: ignore[type-var]
