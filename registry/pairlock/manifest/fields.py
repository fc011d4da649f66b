"""Reads JSON data field by field and collects every problem instead of stopping at the first.

A missing or wrong field gives a harmless placeholder and a problem; the document is built only
when no problem was found, so a placeholder never leaves this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, Finding
from pairlock.manifest.format import MAX_SAFE_INTEGER

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document."""

    place: str
    """JSON path, such as `$.base.files[3].sha256`."""

    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def findings_of(problems: Iterable[Problem], *, kind: ErrorKind, expected: str) -> list[Finding]:
    """Problems of a document as an error carries them.

    Args:
        problems: what is wrong.
        kind: the error's kind.
        expected: what should stand at each place, such as `a valid manifest`.
    """
    return [
        Finding(
            kind=kind,
            place=problem.place,
            expected=expected,
            found=f"a value that {problem.message}",
        )
        for problem in problems
    ]


def form_problems(document: Any, content: bytes) -> list[Problem]:
    """Whether a document's bytes are its RFC 8785 canonical form."""
    try:
        canonical = canonical_json(document)
    except (ValueError, RecursionError) as error:
        # numbers and strings that JSON can hold and RFC 8785 cannot
        return [Problem("$", f"cannot be written as RFC 8785 canonical JSON: {error}")]
    return [] if canonical == content else [Problem("$", "is not RFC 8785 canonical JSON")]


class ObjectReader:
    """One JSON object being read. Keys that nobody asked for are kept for `unknown`."""

    def __init__(self, value: Any, place: str, problems: list[Problem]) -> None:
        self.place = place
        self.problems = problems
        self._asked: set[str] = set()
        if isinstance(value, Mapping):
            self._value: Mapping[str, Any] = value
        else:
            self._value = {}
            self._report(place, f"must be an object, is {_kind_of(value)}")

    def unknown(self) -> dict[str, Any]:
        """The keys that were not asked for."""
        return {key: value for key, value in self._value.items() if key not in self._asked}

    def text(self, key: str, *, pattern: str | None = None, what: str = "") -> str:
        """A string; when `pattern` is given it must match whole."""
        value: str = self._get(key, str, "a string", "")
        is_there = isinstance(self._value.get(key), str)
        if is_there and pattern and not re.fullmatch(pattern, value):
            self._report(self._at(key), f"must be {what}, is {value!r}")
        return value

    def optional_text(self, key: str, *, pattern: str | None = None, what: str = "") -> str | None:
        """A string or null."""
        return None if self._is_null(key) else self.text(key, pattern=pattern, what=what)

    def integer(self, key: str, *, at_least: int) -> int:
        """A whole number in the range that canonical JSON can write."""
        value: int = self._get(key, int, "a whole number", at_least)
        if not at_least <= value <= MAX_SAFE_INTEGER:
            self._report(self._at(key), f"must lie in {at_least}..2^53-1, is {value}")
        return value

    def optional_integer(self, key: str, *, at_least: int) -> int | None:
        """A whole number or null."""
        return None if self._is_null(key) else self.integer(key, at_least=at_least)

    def number(self, key: str) -> float:
        """A number, not negative."""
        value: int | float = self._get(key, (int, float), "a number", 0.0)
        if not 0 <= value <= MAX_SAFE_INTEGER:
            self._report(self._at(key), f"must lie in 0..2^53-1, is {value}")
            return 0.0
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A number, not negative, or null."""
        return None if self._is_null(key) else self.number(key)

    def boolean(self, key: str) -> bool:
        """True or false."""
        value: bool = self._get(key, bool, "true or false", False)
        return value

    def texts(
        self,
        key: str,
        *,
        choices: tuple[str, ...] | None = None,
        pattern: str | None = None,
        what: str = "",
    ) -> tuple[str, ...]:
        """A list of strings, each one of `choices`, or matching `pattern`, where given."""
        found = []
        for index, item in enumerate(self._get(key, list, "a list", [])):
            place = f"{self._at(key)}[{index}]"
            if not isinstance(item, str):
                self._report(place, f"must be a string, is {_kind_of(item)}")
            elif choices is not None and item not in choices:
                self._report(place, f"must be one of {', '.join(choices)}, is {item!r}")
            elif pattern is not None and not re.fullmatch(pattern, item):
                self._report(place, f"must be {what}, is {item!r}")
            else:
                found.append(item)
        return tuple(found)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object of whatever JSON can hold."""
        value: Mapping[str, Any] = self._get(key, Mapping, "an object", {})
        return value

    def text_map(self, key: str) -> dict[str, str]:
        """An object whose values are strings."""
        child = self.child(key)
        return {name: child.text(name) for name in child.keys()}  # noqa: SIM118 - no mapping

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of some strings; the first one stands in when it is not."""
        value: str = self._get(key, str, "a string", choices[0])
        if value not in choices:
            self._report(self._at(key), f"must be one of {', '.join(choices)}, is {value!r}")
            return choices[0]
        return value

    def child(self, key: str) -> ObjectReader:
        """A nested object."""
        return ObjectReader(self._get(key, Mapping, "an object", {}), self._at(key), self.problems)

    def optional_child(self, key: str) -> ObjectReader | None:
        """A nested object or null."""
        return None if self._is_null(key) else self.child(key)

    def children(self, key: str, *, at_most: int) -> list[ObjectReader]:
        """A list of objects."""
        items = self._get(key, list, "a list", [])
        if len(items) > at_most:
            self._report(self._at(key), f"may hold {at_most} items, holds {len(items)}")
            return []
        return [
            ObjectReader(item, f"{self._at(key)}[{index}]", self.problems)
            for index, item in enumerate(items)
        ]

    def count_problems(self) -> int:
        """How many problems the whole document has so far."""
        return len(self.problems)

    def keys(self) -> list[str]:
        """The keys of the object."""
        return list(self._value)

    def report(self, key: str, message: str) -> None:
        """Add a problem at a key."""
        self._report(self._at(key), message)

    def _is_null(self, key: str) -> bool:
        self._asked.add(key)
        return self._value.get(key, _MISSING) is None

    def _get(self, key: str, wanted: Any, name: str, placeholder: Any) -> Any:
        self._asked.add(key)
        value = self._value.get(key, _MISSING)
        if value is _MISSING:
            self._report(self._at(key), f"is missing, must be {name}")
            return placeholder
        # bool is an int in Python and must not pass for a number
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            self._report(self._at(key), f"must be {name}, is {_kind_of(value)}")
            return placeholder
        return value

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}"

    def _report(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))


def _kind_of(value: Any) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
