"""What a fresh process starts with: no model in memory."""

from __future__ import annotations

import sys

from pairlock._bridge import RESIDENTS


def forget_models() -> None:
    """Let the next load read its model from its files, whoever still holds one."""
    for name in RESIDENTS.values():
        if name in sys.modules:
            sys.modules[name]._held.clear()
