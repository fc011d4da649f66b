"""A process that is killed at any step of an act leaves nothing that is in the way of the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.promotions import make_stock
from support.remote import point_to

CRASHES = Path(__file__).parent.parent / "support" / "promotion_crashes.py"
SCENARIOS = {
    # two lanes of about the same length
    "first": "alias",
    "promote": "tag pairlock.ledger.head",
    "rollback": "alias",
    "demote": "alias removed",
    "overtaken-at-alias": "alias",
    "overtaken-at-removal": "alias removed",
    "overtaken-at-tag": "tag pairlock.ledger.head",
}
"""What is killed with the ledger in a folder, and a step that it must have."""

IN_S3 = "promote-s3"


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    seaweedfs: Any,
) -> dict[str, Any]:
    """What one program left that kills in all scenarios: of five versions of one package."""
    folder = tmp_path_factory.mktemp("killed")
    stock = make_stock(tmp_path_factory.mktemp("stock"), registry_template, [(tiny_model, 5)])
    stock.save(folder / "stock")
    with pytest.MonkeyPatch.context() as patched:
        point_to(patched, seaweedfs.environment())
        # only for the scenario that is named after it
        patched.setenv("PAIRLOCK_LEDGER", f"s3://pairlock/kills-{os.urandom(6).hex()}")
        done = subprocess.run(
            [sys.executable, str(CRASHES), str(folder / "stock"), str(folder), *SCENARIOS, IN_S3],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check(left: list[dict[str, Any]]) -> None:
    """After every step: ledger and alias agree after the next command, which does what it says."""
    for after in left[-1]["next"]:
        # nobody was killed, so nothing is left for the next command
        assert after["alias"] == after["holder"]
    for number, crash in enumerate(left):
        where = f"after step {number}: {(crash['steps'] or ['none'])[-1]}"
        for after in crash["next"]:
            what = f"{where}, then {after['command']}: {after}"
            assert after["wrong"] == [], what
            assert after["moved"] == [], what
            acts = after["command"] in {"promote", "rollback"}
            if after["command"] == "rollback" and after["error"]:
                # nobody held the stage before, or nobody holds it now
                assert after["error"].startswith("NotFoundError"), what
                assert after["rolls_back_to"] is None, what
                acts = False
            else:
                assert after["error"] is None, what
            assert after["after"] == after["before"] + acts, what


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_next_command_goes_on_after_a_kill_at_any_step(
    killed: dict[str, Any], scenario: str
) -> None:
    """Files, links, flushes, aliases, tags: killed after any of them, nothing needs a person."""
    left = killed[scenario]
    assert [crash["ended"] for crash in left] == [-9] * (len(left) - 1) + [0]
    steps = left[-1]["steps"]
    assert SCENARIOS[scenario] in steps
    assert {"an empty file", "half of a file", "fsync", "link", "unlink"} <= set(steps)
    assert [len(crash["steps"]) for crash in left[:-1]] == list(
        range(len(left[0]["steps"]), len(left[0]["steps"]) + len(left) - 1)
    )
    check(left)


def test_a_kill_around_a_put_to_s3_is_healed_too(killed: dict[str, Any]) -> None:
    """With the ledger on S3: before the put, after it, and around the alias and the tag."""
    left = killed[IN_S3]
    assert "put" in left[-1]["steps"]
    check(left)
