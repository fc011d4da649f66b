"""Reads a whole registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.inventory.facts import Inventory
from pairlock.progress import SILENT, Progress


def take(
    *,
    names: Iterable[str] = (),  # noqa: ARG001 - the interface's
    deep: bool = False,  # noqa: ARG001
    jobs: int | None = None,  # noqa: ARG001
    remembered: bool = True,  # noqa: ARG001
    progress: Progress = SILENT,  # noqa: ARG001
    stop: Callable[[], bool] | None = None,  # noqa: ARG001
) -> Inventory:
    """Read a registry.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError("this release takes no inventory", kind=ErrorKind.KIND_UNSUPPORTED)
