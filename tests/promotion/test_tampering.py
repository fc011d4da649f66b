"""A ledger that is not what was written is reported by every command, and changed by none."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairlock.catalog import HEAD_TAG, LEDGER_TAG
from pairlock.errors import (
    ConflictError,
    ErrorKind,
    IntegrityError,
    PairlockError,
    StorageError,
    UnavailableError,
)
from pairlock.ledger.document import read_entry, write_entry
from pairlock.promotion import demote, execute, history, promote, repair, rollback
from pairlock.promotion.facts.opened import open_model
from pairlock.promotion.planning.requesting import plan_request
from pairlock.promotion.rules.wishes import Wish
from pairlock.stores import s3_clients
from support.promotions import (
    NAME,
    STAGE,
    Stock,
    faults,
    make_stock,
    planned,
    proofs_reused,
    recorded,
)
from support.proxy import Action, Fault
from support.registries import Registry, active


@pytest.fixture(scope="module")
def stock(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Stock:
    """Five versions of one package."""
    return make_stock(tmp_path_factory.mktemp("stock"), registry_template, [(tiny_model, 5)])


@pytest.fixture(scope="module")
def promoted(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Four promotions, one after the other."""
    registry = stock.copy(tmp_path_factory.mktemp("promoted"))
    with active(registry.uri), proofs_reused(stock):
        for version in (1, 2, 3, 4):
            execute(planned(version))
        yield registry


def entry(folder: Path, number: int) -> Path:
    """The file of an entry."""
    return next(folder.rglob(f"{number:012}.json"))


def _changed_byte(folder: Path, _: Registry) -> None:
    path = entry(folder, 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _missing(folder: Path, _: Registry) -> None:
    entry(folder, 1).unlink()


def _swapped(folder: Path, _: Registry) -> None:
    one, other = entry(folder, 1), entry(folder, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _sealed_anew(folder: Path, _: Registry) -> None:
    path = entry(folder, 1)
    there = read_entry(path.read_bytes(), where="entry 1").entry
    path.write_bytes(write_entry(replace(there, reason="none")))


def _cut_short(folder: Path, _: Registry) -> None:
    entry(folder, 3).unlink()


def _changed_head(folder: Path, _: Registry) -> None:
    path = entry(folder, 3)
    path.write_bytes(path.read_bytes().replace(b'"version":4', b'"version":5'))


def _tag_of_another(_: Path, registry: Registry) -> None:
    registry.client.set_registered_model_tag(NAME, HEAD_TAG, f"3:sha256:{'0' * 64}")


def _tag_too_high(_: Path, registry: Registry) -> None:
    registry.client.set_registered_model_tag(NAME, HEAD_TAG, f"7:sha256:{'0' * 64}")


def _tag_garbled(_: Path, registry: Registry) -> None:
    registry.client.set_registered_model_tag(NAME, HEAD_TAG, "newest")


def _moved_away(_: Path, registry: Registry) -> None:
    registry.client.set_registered_model_tag(NAME, LEDGER_TAG, "pairlock-ledger/other/1")


DAMAGES: dict[str, tuple[Callable[[Path, Registry], None], str, bool]] = {
    "changed-byte": (_changed_byte, "entry 1 ", False),
    "missing": (_missing, "entry 1 ", False),
    "swapped": (_swapped, "entry 1 ", False),
    "sealed-anew": (_sealed_anew, "entry 2 ", False),
    "cut-short": (_cut_short, "entry 3 ", True),
    "changed-head": (_changed_head, "entry 3 ", True),
    "tag-of-another": (_tag_of_another, "entry 3 ", True),
    "tag-too-high": (_tag_too_high, "entries 4 to 7", True),
    "tag-garbled": (_tag_garbled, HEAD_TAG, True),
    "moved-away": (_moved_away, "entries 0 to 3", True),
}
"""What is done, where it is reported, and whether it touches the end of the history, which is all
that an act reads."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_tampering_is_located_by_every_command_and_changed_by_none(
    promoted: Registry, stock: Stock, tmp_path: Path, damage: str
) -> None:
    """history and repair read everything; promote and rollback what they stand on."""
    harm, place, at_the_end = DAMAGES[damage]
    shutil.copytree(promoted.folder, tmp_path / "registry")
    registry = Registry(tmp_path / "registry")
    with active(registry.uri), proofs_reused(stock):
        harm(registry.folder, registry)
        model = registry.client.get_registered_model(NAME)
        before = recorded(registry.folder), dict(model.aliases), dict(model.tags)
        found = history(NAME)
        assert not found.passed
        assert any(place in finding.place for finding in found.findings), found.findings
        with pytest.raises(IntegrityError) as caught:
            repair(NAME)
        assert any(place in finding.place for finding in caught.value.findings)
        refused = [lambda: rollback(NAME, stage=STAGE, to_entry=1)]
        if at_the_end:
            refused += [lambda: promote(NAME, 5, to=STAGE), lambda: rollback(NAME, stage=STAGE)]
        for act in refused:
            with pytest.raises(PairlockError) as error:
                act()
            assert error.value.kind in {ErrorKind.LEDGER_BROKEN, ErrorKind.LEDGER_INVALID}
        model = registry.client.get_registered_model(NAME)
        assert before == (recorded(registry.folder), dict(model.aliases), dict(model.tags))


@pytest.fixture
def registry(stock: Stock, tmp_path: Path) -> Iterator[Registry]:
    """A registry whose ledger has no place yet."""
    made = stock.copy(tmp_path / "registry", placed=False)
    with active(made.uri), proofs_reused(stock):
        yield made


def test_a_disk_that_takes_no_more_changes_nothing(registry: Registry) -> None:
    """No entry and no alias, and the promotion can be made when there is room again."""
    execute(planned(1))
    plan = planned(2)
    before = recorded(registry.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageError) as caught:
            execute(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.done == "nothing is recorded"
    assert recorded(registry.folder) == before
    assert faults() == []
    assert open_model(NAME).model.aliases == {STAGE: 1}
    assert execute(plan).entry.sequence == 1
    assert faults() == []


def test_a_ledger_that_cannot_be_written_changes_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first act finds it out before any alias is set."""
    monkeypatch.setenv("PAIRLOCK_LEDGER", "/proc/pairlock")
    plan = planned(1)
    with pytest.raises(StorageError) as caught:
        execute(plan)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert "/proc/pairlock" in caught.value.checked
    assert open_model(NAME).model.aliases == {}


@pytest.fixture
def remote(s3_proxy: Any, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Any:
    """The ledger on S3 behind a proxy; one promotion was made, and another one is planned."""
    monkeypatch.setattr(s3_clients, "_ATTEMPTS", 2)
    monkeypatch.setenv("PAIRLOCK_LEDGER", f"s3://pairlock/lost-{os.urandom(6).hex()}")
    execute(planned(1))
    return s3_proxy


@pytest.mark.parametrize("times", [1, None])
def test_a_lost_answer_is_neither_a_conflict_nor_a_second_entry(
    remote: Any, times: int | None
) -> None:
    """The store took the entry, and its answer is lost, once or every time: it is promoted."""
    plan = planned(2)
    remote.fault(Fault(Action.LOSE_REPLY, method="PUT", times=times))
    done = execute(plan)
    assert remote.hits == (times or 2)
    remote.clear()
    assert done.entry.sequence == 1
    found = history(NAME)
    assert found.passed
    assert len(found.entries) == 2
    assert faults() == []


def test_a_store_that_goes_away_records_nothing_or_says_that_it_may_have(remote: Any) -> None:
    """Before the entry arrived nothing is recorded; where nobody knows, the next command does."""
    plan = planned(2)
    remote.fault(Fault(Action.GONE, method="PUT"))
    with pytest.raises(UnavailableError) as caught:
        execute(plan)
    assert caught.value.done == "nothing is recorded"
    remote.clear()
    assert faults() == []
    remote.fault(Fault(Action.LOSE_REPLY, method="PUT"))
    remote.fault(Fault(Action.GONE, method="GET", suffix=f"{1:012}.json"))
    with pytest.raises(UnavailableError) as caught:
        execute(plan)
    assert "not known" in caught.value.done
    remote.clear()
    found = history(NAME)
    assert found.passed
    assert found.state.stages[STAGE].version == 2
    assert faults() == []


def test_a_registry_that_goes_away_after_the_entry_is_told(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that the entry is written, and the next command sets the alias."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("the database is locked")

    plan = planned(1)
    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyStore, "set_registered_model_alias", refuse)
        with pytest.raises(UnavailableError) as caught:
            execute(plan)
    assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert "entry 0 is written" in caught.value.done
    assert open_model(NAME).model.aliases == {}
    assert history(NAME).passed
    assert faults() == []


def test_a_conflict_names_who_changed_the_stage(registry: Registry) -> None:
    """Not whoever wrote the next entry, about another stage."""
    late = planned(3)
    execute(planned(1, to="staging"))
    execute(planned(2))
    execute(planned(4, to="staging"))
    with pytest.raises(ConflictError) as caught:
        execute(late)
    assert "promote version 2 in stage production" in caught.value.found
    assert len(history(NAME).entries) == 3


def test_a_request_is_in_nobodys_way(registry: Registry) -> None:
    """An act on the stage since a request was planned is none on the request; a twin of it is."""
    execute(planned(1))
    asked, twin = (plan_request(NAME, 3, to=STAGE, wish=Wish()) for _ in range(2))
    execute(planned(2))
    execute(asked)
    with pytest.raises(ConflictError):
        execute(twin)
    assert len(history(NAME).state.requests) == 1


def test_a_version_that_left_its_stage_meanwhile_is_a_conflict(registry: Registry) -> None:
    """A policy lets a version come from a stage: it must still be there when the entry is made."""
    policy = registry.folder / "policy.toml"
    policy.write_text('[stages.staging]\n[stages.production]\nfrom = ["staging"]\n')
    promote(NAME, 1, to="staging", policy=policy)
    plan = planned(1, policy=policy)
    demote(NAME, stage="staging", policy=policy)
    with pytest.raises(ConflictError) as caught:
        execute(plan)
    assert "demote in stage staging" in caught.value.found


def test_an_alias_between_the_noted_entry_and_the_newest_has_not_followed(
    registry: Registry,
) -> None:
    """A process that was overtaken and killed leaves an older note of the head; that is healed."""
    opened = [open_model(NAME) for version in (1, 2, 3) if execute(planned(version))]
    first = opened[0].head
    assert first is not None
    registry.client.set_registered_model_tag(NAME, HEAD_TAG, f"0:{first.digest}")
    registry.client.set_registered_model_alias(NAME, STAGE, "2")
    assert history(NAME).passed
    assert faults() == []


def test_an_alias_that_was_moved_is_reported_and_left(registry: Registry) -> None:
    """Also where it names a version that held the stage before, or none; repair puts it back."""
    for version in (1, 2):
        execute(planned(version))
    for wrong in ("1", "5", None):
        if wrong is None:
            registry.client.delete_registered_model_alias(NAME, STAGE)
        else:
            registry.client.set_registered_model_alias(NAME, STAGE, wrong)
        assert [one.stage for one in history(NAME).moved] == [STAGE]
        assert open_model(NAME).model.aliases.get(STAGE) == (None if wrong is None else int(wrong))
        repair(NAME)
        assert faults() == []
