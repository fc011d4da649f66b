"""Starts the program `pullers.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.cached import Made

_PROGRAM = Path(__file__).parent / "pullers.py"


@contextmanager
def pullers(made: Made, uri: str, cache: Path, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Fetch in other processes for a while; `pullers.py` says what else they can be told."""
    job = {
        "cache": str(cache),
        "uri": uri,
        "records": [record.to_dict() for record in made.records],
        "key": made.key.digest,
        **more,
    }
    with subprocess.Popen(
        [sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def run_pullers(made: Made, uri: str, cache: Path, **more: Any) -> list[dict[str, Any]]:
    """Fetch in other processes; returns what came of each."""
    with pullers(made, uri, cache, **more) as process:
        return answers_of(process)


def answers_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What came of the processes, when they are done."""
    assert process.stdout is not None
    found: list[dict[str, Any]] = json.loads(process.stdout.read())
    assert process.wait(10) == 0
    return found
