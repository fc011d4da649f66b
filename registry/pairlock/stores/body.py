"""An HTTP body as a stream of bytes that notices when it is broken, silent or starved."""

from __future__ import annotations

import re
import time
from typing import Any

from pairlock.stores.interface import BrokenStreamError

STARVED_AFTER_S = 30.0
"""A connection is given up when it brings less than `STARVED_BYTES` in this time."""

STARVED_BYTES = 64 << 10
"""2 KiB/s: slower than any link on which a model could be fetched."""

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

    def close(self) -> None:
        """Give the connection back when all was read, and close it otherwise."""
        if self._raw.length_remaining == 0:
            self._raw.release_conn()
        else:
            self._raw.close()

    def _watch(self, count: int) -> None:
        self._window_bytes += count
        if self._window_bytes >= STARVED_BYTES:
            self._window_start, self._window_bytes = time.monotonic(), 0
        elif time.monotonic() - self._window_start > STARVED_AFTER_S:
            raise BrokenStreamError(
                f"only {self._window_bytes} bytes in {STARVED_AFTER_S:.0f} seconds"
            )


def check_range(
    status: int, content_range: str | None, content_length: int | None, *, start: int
) -> int | None:
    """Check that a response is the part that was asked for.

    Args:
        status: HTTP status.
        content_range: the header `Content-Range`.
        content_length: the header `Content-Length`.
        start: the first byte that was asked for.

    Returns:
        Size of the whole object; None when the server does not say.

    Raises:
        BrokenStreamError: the body is another part.
    """
    # rclone's server sends a part with status 200
    if status == 206 or content_range is not None:
        found = _CONTENT_RANGE.fullmatch(content_range or "")
        if found is None or int(found[1]) != start:
            raise BrokenStreamError(f"asked for bytes from {start}, got {content_range!r}")
        return None if found[3] == "*" else int(found[3])
    if status == 200 and start == 0:
        return content_length
    raise BrokenStreamError(f"asked for bytes from {start}, got status {status}")
