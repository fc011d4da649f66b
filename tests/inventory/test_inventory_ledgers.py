"""What an inventory says of the ledgers of a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairlock.catalog import HEAD_TAG, LEDGER_TAG
from pairlock.inventory import LedgerFacts, take
from pairlock.inventory import ledgers as reading
from pairlock.ledger import Ledger, Sealed
from pairlock.stores import LocalStore
from support.ledgers import STAGE, entry_after
from support.registries import Registry


@pytest.fixture
def entries(registry: Registry, tmp_path: Path) -> Path:
    """The folder of a ledger with three entries; the last one is the tag's."""
    registry.client.create_registered_model("support")
    made = registry.client.get_registered_model("support")
    registry.client.set_registered_model_tag("support", LEDGER_TAG, str(tmp_path / "ledger"))
    ledger = Ledger(
        LocalStore(tmp_path / "ledger"),
        model="support",
        model_created_ms=int(made.creation_timestamp),
    )
    add(registry, ledger, 3)
    return tmp_path / "ledger" / "entries"


def add(registry: Registry, ledger: Ledger, count: int) -> None:
    """Promote so many versions, and note the newest entry."""
    made = registry.client.get_registered_model("support")
    head: Sealed | None = ledger.head()
    for version in range(1, count + 1):
        head = ledger.append(
            entry_after(head, version=version, model_created_ms=int(made.creation_timestamp))
        )
    assert head is not None
    text = f"{head.entry.sequence}:{head.digest}"
    registry.client.set_registered_model_tag("support", HEAD_TAG, text)


def facts(**options: Any) -> LedgerFacts:
    """What an inventory says of the one ledger."""
    (model,) = take(**options).models
    assert model.ledger is not None
    return model.ledger


def test_state_and_history(entries: Path) -> None:
    """Who holds which stage, how many entries there are, and which stages were ever held."""
    found = facts()

    assert found.location == str(entries.parent)
    assert found.state.stages[STAGE].version == 3
    assert (found.entries, found.ever_held) == (3, {STAGE})
    assert not found.findings and not found.problem


def test_entries_are_read_once(
    entries: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a ledger that grew only what is new is read, and the stages of before are remembered."""
    facts()
    read: list[int] = []
    real = reading.Ledger.history

    def noted(self: Ledger, head: Sealed | None = None) -> Any:
        for one in real(self, head):
            read.append(one.entry.sequence)
            yield one

    monkeypatch.setattr(reading.Ledger, "history", noted)
    ledger = Ledger(
        LocalStore(entries.parent),
        model="support",
        model_created_ms=int(registry.client.get_registered_model("support").creation_timestamp),
    )
    add(registry, ledger, 1)

    found = facts()

    assert (found.entries, found.ever_held) == (4, {STAGE})
    assert read == [3, 2]


@pytest.mark.parametrize("damage", ["changed", "missing", "cut"])
def test_damage_at_the_end_is_found(entries: Path, damage: str) -> None:
    """A newest entry that was changed, removed or cut is said, and nothing is raised."""
    facts()
    newest = sorted(entries.iterdir())[-1]
    if damage == "missing":
        newest.unlink()
    else:
        content = newest.read_bytes()
        newest.write_bytes(content.replace(b"ada", b"eve") if damage == "changed" else content[:9])

    found = facts()

    assert found.findings and found.problem


def test_damage_in_the_middle_is_found_by_deep(entries: Path) -> None:
    """An old entry that was changed since it was read shows when the whole chain is checked."""
    facts()
    old = sorted(entries.iterdir())[1]
    old.write_bytes(old.read_bytes().replace(b"ada", b"eve"))

    assert not facts().findings
    found = facts(deep=True)

    assert found.findings and found.problem
    assert found.state.stages[STAGE].version == 3


def test_damage_in_the_middle_is_found_the_first_time(entries: Path) -> None:
    """A history that was never read is read whole, and a gap in it is said."""
    sorted(entries.iterdir())[0].unlink()

    assert facts().findings


def test_a_ledger_out_of_reach_is_not_a_broken_one(
    entries: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its store does not answer nothing is known of it, and nothing is wrong with it."""
    for name, text in {
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, text)
    registry.client.set_registered_model_tag("support", LEDGER_TAG, "s3://pairlock/ledger")

    found = facts()

    assert found.problem and not found.findings


def test_a_tag_that_is_no_anchor(entries: Path, registry: Registry) -> None:
    """A head tag that somebody wrote over is a finding, and the ledger is read all the same."""
    registry.client.set_registered_model_tag("support", HEAD_TAG, "nonsense")

    found = facts()

    assert found.findings
    assert found.entries == 3


@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_damaged_entry_is_named(entries: Path, damage: str, deep: bool) -> None:
    """Whatever is wrong inside an entry's file, the finding says which entry it is."""
    file = entries / "000000000001.json"
    content = file.read_bytes()
    file.write_bytes(content[:99] if damage == "cut" else content.replace(b"ada", b"eve"))

    (finding,) = facts(deep=deep).findings
    assert finding.place.startswith("entry 1 (entries/000000000001.json)")


def test_a_head_without_a_place_names_the_tag(entries: Path, registry: Registry) -> None:
    """Where nothing says where the ledger lies, the finding names the tag that should."""
    assert entries.is_dir()
    registry.client.delete_registered_model_tag("support", LEDGER_TAG)

    (finding,) = facts().findings
    assert finding.place == f"tag {LEDGER_TAG}"
