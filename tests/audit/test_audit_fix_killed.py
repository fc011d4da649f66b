"""An `audit --fix` that is killed half-way: what it had done stands, and the next one goes on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import pairlock
from pairlock.auditing.codes import Code
from support.registries import active

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

from synthetic_registry import make_registry

VERSIONS = 6
LEFT = {1, 2, 3}
"""Of these versions of a model the tags are gone."""

PROGRAM = """
import os, signal, sys
from pairlock.auditing import fixing
from pairlock.cli.app import main
real, left = fixing.store_evidence, [int(sys.argv.pop())]
def write(*arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
fixing.store_evidence = write
main()
"""


def fix(uri: str, *, killed_at: int) -> int:
    """Run it as a process, which is killed before it writes so many tags; 0 for not at all."""
    registry = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    command = [sys.executable, "-c", PROGRAM, "audit", "--fix", "--format", "json"]
    done = subprocess.run(
        [*command, str(killed_at)],
        env=os.environ | registry,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode


def tags(database: Path) -> set[tuple[int, str, str]]:
    """Every tag of the model's versions."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT version, key, value FROM model_version_tags WHERE name = 'model-00000'"
        )
        return set(rows)


def lacking() -> set[int | None]:
    """The versions of which an audit says that their tags are missing; it says nothing worse."""
    found = pairlock.audit().findings
    assert {one.code for one in found if one.severity == "error"} <= {Code.TAGS_MISSING}
    return {one.version for one in found if one.code is Code.TAGS_MISSING}


def test_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any tag, it leaves each version with all its tags or still found to lack some; one
    that is not killed writes the rest, and every tag is what it was."""
    uri = make_registry(tmp_path / "registry", VERSIONS)
    database = tmp_path / "registry/mlflow.db"
    before = tags(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "DELETE FROM model_version_tags WHERE name = 'model-00000' AND version IN (1, 2, 3)"
        )
    monkeypatch.chdir(tmp_path)
    with active(uri):
        for killed_at, left in ((1, LEFT), (6, LEFT), (6, {2, 3})):
            assert fix(uri, killed_at=killed_at) == -signal.SIGKILL
            assert lacking() == left
            assert tags(database) < before
        assert fix(uri, killed_at=0) in {0, 1}
        assert lacking() == set()
    assert tags(database) == before
