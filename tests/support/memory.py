"""What a fresh process starts with: no model in memory."""

from __future__ import annotations

import sys

RESIDENTS = "pairlock_flavors.torch_runtime.models.residents"


def forget_models() -> None:
    """Let the next load read its model from its files, whoever still holds one."""
    if RESIDENTS in sys.modules:
        sys.modules[RESIDENTS]._held.clear()
