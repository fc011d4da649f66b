"""An HTTP body as a stream of bytes that notices when it is broken, silent or starved."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from pairlock.stores.failures import NOTHING_DONE, too_large, unreachable
from pairlock.stores.interface import BrokenStreamError, OtherSizeError

STARVED_AFTER_S = 30.0
"""A connection is given up when it brings less than `STARVED_BYTES` in this time."""

STARVED_BYTES = 64 << 10
"""2 KiB/s: slower than any link on which a model could be fetched."""

_TRIES = 3
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HttpBody:
    """The rest of a response.

    Args:
        raw: urllib3's response, which both botocore and requests hold.
        total_bytes: size of the whole object, when the server said so.
    """

    def __init__(self, raw: Any, total_bytes: int | None) -> None:
        self._raw = raw
        self._total_bytes = total_bytes
        self._window_start = time.monotonic()
        self._window_bytes = 0

    @property
    def total_bytes(self) -> int | None:
        """Size of the whole object as the server told it."""
        return self._total_bytes

    def read(self, at_most_bytes: int) -> bytes:
        """What has arrived; empty at the end.

        Raises:
            BrokenStreamError: the connection broke, or brings next to nothing.
        """
        import http.client

        import urllib3

        try:
            # one read from the socket: a larger wish would wait until it is filled, however slowly
            data: bytes = self._raw.read1(at_most_bytes, decode_content=False)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise BrokenStreamError(f"{type(error).__name__}: {error}") from error
        self._watch(len(data))
        return data

    def _watch(self, count: int) -> None:
        self._window_bytes += count
        if self._window_bytes >= STARVED_BYTES:
            self._window_start, self._window_bytes = time.monotonic(), 0
        elif time.monotonic() - self._window_start > STARVED_AFTER_S:
            raise BrokenStreamError(
                f"only {self._window_bytes} bytes in {STARVED_AFTER_S:.0f} seconds"
            )


def open_body(raw: Any, *, status: int, headers: Mapping[str, str], start: int) -> HttpBody:
    """The body of a response to a request for the part from a byte on.

    Args:
        raw: urllib3's response.
        status: HTTP status, 200 or 206.
        headers: with `content-range` and `content-length` in lower case.
        start: the first byte that was asked for.

    Returns:
        The body, which begins with that byte.

    Raises:
        BrokenStreamError: it is another part.
    """
    content_range = headers.get("content-range")
    # rclone's server sends a part with status 200
    if status == 206 or content_range is not None:
        found = _CONTENT_RANGE.fullmatch(content_range or "")
        if found is None or int(found[1]) != start:
            raise BrokenStreamError(f"asked for bytes from {start}, got {content_range!r}")
        return HttpBody(raw, None if found[3] == "*" else int(found[3]))
    length = headers.get("content-length")
    body = HttpBody(raw, int(length) if length else None)
    left = start
    while left:  # a server that gives whole files only
        data = body.read(min(left, 1 << 20))
        if not data:
            raise OtherSizeError(f"{start - left} bytes")
        left -= len(data)
    return body


def give_back(raw: Any) -> None:
    """Give a connection back when all was read from it, and close it otherwise."""
    if raw.length_remaining == 0:
        raw.release_conn()
    else:
        raw.close()


def read_small(
    ask: Callable[[], AbstractContextManager[HttpBody]], place: str, *, at_most_bytes: int
) -> bytes:
    """A whole small file, asked for again when the connection breaks.

    Args:
        ask: sends the request.
        place: what is asked for, for messages.
        at_most_bytes: the largest that it may be.

    Raises:
        StorageError: it is larger.
        UnavailableError: the connection broke each time.
        PairlockError: whatever `ask` raises.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            with ask() as body:
                content = _read_whole(body, at_most_bytes)
        except BrokenStreamError as error:
            if not tries_left:
                raise unreachable(place, f"{error}, {_TRIES} times", done=NOTHING_DONE) from error
            continue
        if len(content) > at_most_bytes:
            raise too_large(place, at_most_bytes)
        return content
    raise AssertionError("unreachable")


def _read_whole(body: HttpBody, at_most_bytes: int) -> bytes:
    """All of a small body, or one byte more than is wanted of a larger one."""
    content = bytearray()
    while len(content) <= at_most_bytes and (data := body.read(at_most_bytes + 1 - len(content))):
        content += data
    if len(content) < min(body.total_bytes or 0, at_most_bytes):
        raise BrokenStreamError(f"{len(content)} of {body.total_bytes} bytes")
    return bytes(content)
