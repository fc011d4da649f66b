"""One call beside another, in a thread.

`concurrent.futures` takes longer to be imported than what this is for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """A call that goes on in a thread while a block runs, and is over at the end of the block.

    Args:
        call: what is called.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True, name="pairlock-beside")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.join()

    def outcome(self) -> T:
        """What the call returned; once the block is over.

        Raises:
            Exception: what the call raised.
        """
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again by `outcome`
            self._error = error
