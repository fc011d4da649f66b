"""Which files are pickles: by their names, and by their first bytes. No I/O.

A pickle runs code when it is opened. Pairlock never opens one, and other tools do.
"""

from __future__ import annotations

import re
from functools import cache

HEAD_BYTES = 256
"""So many first bytes are enough for `is_pickle_content`."""

# What Python, torch, joblib and the trainers of transformers write; `.bin` is torch's too, but for
# OpenVINO's weights, which are no pickle.
_NAME = re.compile(r".*\.(pkl|pickle|dill|joblib|pt|pth|ckpt|bin)", re.IGNORECASE)
_NOT = re.compile(r"openvino_\w+\.bin", re.IGNORECASE)
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
"""PROTO and its number begin every pickle of protocol 2 to 5 (CPython's `pickletools`)."""


def is_pickle_name(path: str) -> bool:
    """Whether a file is named as a pickle is.

    Args:
        path: its path.
    """
    name = path.rpartition("/")[2]
    return _NAME.fullmatch(name) is not None and _NOT.fullmatch(name) is None


@cache
def pickles_in(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Which of some files are named as pickles are."""
    return tuple(path for path in paths if is_pickle_name(path))


def is_pickle_content(head: bytes) -> bool:
    """Whether a file begins as a pickle, or as torch's zip archive that begins with one.

    Protocols 0 and 1 have no mark of their own, and are not seen.

    Args:
        head: its first `HEAD_BYTES` bytes, or all of them.
    """
    if head[:4] == b"PK\x03\x04":
        return b"data.pkl" in head
    return _PROTOCOL.match(head) is not None
