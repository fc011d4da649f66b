"""Numbers in sentences."""

from __future__ import annotations

import pytest

from pairlock.wording import counted


@pytest.mark.parametrize(
    ("count", "found"),
    [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (11, "11 entries")],
)
def test_one_is_no_plural(count: int, found: str) -> None:
    """One thing has the word for one; none and several have the other."""
    assert counted(count, "entry", "entries") == found


def test_most_words_take_an_s() -> None:
    """The plural need not be given where it is regular."""
    assert [counted(count, "gate") for count in (1, 2)] == ["1 gate", "2 gates"]
