"""Many processes promote to one stage at once: one wins, and everybody learns who."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pairlock.ledger import Act
from pairlock.promotion.facts.opened import open_model
from support.promotions import NAME, STAGE, Stock, faults, make_stock
from support.registries import active
from support.remote import point_to

RACERS = Path(__file__).parent.parent / "support" / "promotion_racers.py"
PROCESSES = 16
ROUNDS = int(os.environ.get("PAIRLOCK_RACE_ROUNDS", "6"))
"""50 take minutes, most of them in S3; the ledger alone is raced for 50 in tests/ledger."""


@pytest.fixture(scope="module")
def stock(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Stock:
    """Two versions for each process."""
    return make_stock(
        tmp_path_factory.mktemp("stock"), registry_template, [(tiny_model, 2 * PROCESSES)]
    )


@pytest.mark.parametrize("place", ["local", "seaweedfs"])
def test_of_16_processes_one_promotes_in_each_round(
    request: pytest.FixtureRequest,
    stock: Stock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """One winner for every number, named to the 15 others; the alias is the head."""
    if place == "seaweedfs":
        point_to(monkeypatch, request.getfixturevalue("seaweedfs").environment())
        monkeypatch.setenv("PAIRLOCK_LEDGER", f"s3://pairlock/race-{os.urandom(6).hex()}")
    registry = stock.copy(tmp_path / "registry", placed=False)
    stock.save(tmp_path / "stock")
    command = [sys.executable, str(RACERS), str(tmp_path / "stock"), str(registry.folder)]
    done = subprocess.run(
        [*command, str(PROCESSES), str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["wrong"] == []
    said: list[list[Any]] = answer["said"]
    with active(registry.uri):
        opened = open_model(NAME)
        history = list(opened.ledger.history(opened.head))[::-1]
        assert faults() == []
    assert opened.ledger.location.startswith("s3:") is (place == "seaweedfs")
    assert len(history) == ROUNDS
    for number, one in enumerate(history):
        entry = one.entry
        assert entry.act is Act.PROMOTE
        assert entry.subject is not None
        winners = [worker for worker in range(PROCESSES) if said[worker][number] == number]
        assert [f"worker-{worker}" for worker in winners] == [entry.actor]
        others = [said[worker][number] for worker in range(PROCESSES) if worker not in winners]
        who = f"promote version {entry.subject.version} in stage {STAGE}, by {entry.actor}"
        for text in others:
            assert str(text).startswith("ledger-conflict"), text
            assert who in text
