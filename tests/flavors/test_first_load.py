"""The first load of a process: what goes on beside its imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import gc, json, sys, threading
import pairlock
from pairlock_flavors import loading
prove, proved = loading.prove, []
def told(*arguments, **settings):
    proved.append("sentence_transformers" in sys.modules)
    assert not gc.isenabled()
    return prove(*arguments, **settings)
loading.prove = told
vectors = []
for _ in range(2):
    embedding = pairlock.load(sys.argv[1], runtime="torch")
    vectors.append(embedding.get_query_embedding("hello"))
left = [thread.name for thread in threading.enumerate() if "pairlock" in thread.name]
print(json.dumps([proved, gc.isenabled(), gc.get_freeze_count(), left, vectors[0] == vectors[1]]))
"""


@pytest.fixture(scope="module")
def told(packaged: Any, shelf: Any) -> Any:
    """What a fresh process says that loads a model twice."""
    registry = {"MLFLOW_TRACKING_URI": shelf.uri, "MLFLOW_REGISTRY_URI": shelf.uri}
    environment = os.environ | registry
    command = [sys.executable, "-c", CODE, packaged("tiny_model")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_files_are_proved_while_libraries_are_imported(told: Any) -> None:
    """The first load proves files before its imports are done; a later one shares what is there."""
    proved, _, _, _, same = told
    assert proved == [False]
    assert same


def test_nothing_of_a_first_load_stays_behind(told: Any) -> None:
    """Afterwards the collector is on, nothing is frozen, and no thread imports anything."""
    _, enabled, frozen, left, _ = told
    assert enabled
    assert frozen == 0
    assert left == []
