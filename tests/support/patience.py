"""An inventory that lets the process which looks ahead come to its end, so that tests have one way.

By itself it asks what was told by then, and looks at the rest: which are left is a matter of luck.
"""

from __future__ import annotations

from typing import Any

import pytest

from pairlock.inventory import ahead


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for nothing before the process has told everything."""
    real = ahead.Ahead.told

    def told(self: Any, *arguments: Any) -> Any:
        if self._reader is not None:
            self._reader.join(60)
        return real(self, *arguments)

    monkeypatch.setattr(ahead.Ahead, "told", told)
