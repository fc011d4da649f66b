"""Keeps processes from fetching the same bytes at once. Nothing else depends on it.

A lock may be refused, may do nothing (some network disks), or may be held by a process that hangs:
whoever waits then goes on without it, and the outcome is the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pairlock.cache.folder import CacheFolder

HANGING_AFTER_S = 30.0
"""A holder whose staged files did not grow for so long is not waited for."""

_POLL_S = 0.1


@contextmanager
def alone(folder: CacheFolder, name: str, *, locking: bool) -> Iterator[None]:
    """Wait until no other process works on something, as long as that makes sense.

    Args:
        folder: the cache.
        name: what is worked on.
        locking: whether to lock at all.
    """
    if not locking:
        yield
        return
    from filelock import FileLock, Timeout

    lock = FileLock(folder.locks / f"{name}.lock", mode=0o600)
    before, since = _staged_bytes(folder), time.monotonic()
    held = False
    while not held:
        try:
            lock.acquire(timeout=1.0, poll_interval=_POLL_S)
            held = True
        except Timeout:
            now = _staged_bytes(folder)
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > HANGING_AFTER_S:
                break
        except (OSError, NotImplementedError):
            break
    try:
        yield
    finally:
        if held:
            lock.release(force=True)


def _staged_bytes(folder: CacheFolder) -> int:
    total = 0
    for path in folder.staging.glob("*.partial"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
