"""How long work reports itself, without knowing whether anybody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Somebody who may watch: the command line on a terminal. A library call is silent."""

    def step(
        self, name: str, total_bytes: int | None = None
    ) -> AbstractContextManager[Callable[[int], None]]:
        """One step of the work; the value it gives is called with each number of bytes done."""


class Silent:
    """Nobody watches."""

    @contextmanager
    def step(
        self,
        name: str,  # noqa: ARG002 - the protocol's
        total_bytes: int | None = None,  # noqa: ARG002 - the protocol's
    ) -> Iterator[Callable[[int], None]]:
        """Run the step."""
        yield lambda _count: None


SILENT = Silent()
