"""Any sequence of acts, changes by hand and crashes, against a model of what must be so."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pairlock.catalog import HEAD_TAG
from pairlock.errors import (
    AlreadyExistsError,
    NotFoundError,
    PairlockError,
    RefusedError,
)
from pairlock.promotion import (
    adopt,
    approve,
    demote,
    execute,
    history,
    promote,
    repair,
    request,
    rollback,
)
from pairlock.promotion.execution import following
from pairlock.promotion.facts.opened import open_model
from pairlock.promotion.rules import notes
from support.promotions import NAME, dispose, make_stock, planned, proofs_reused, recorded
from support.registries import Registry, active

STAGES = ("staging", "production")
VERSIONS = 5
BEFORE = (("production", 1), ("production", 2), ("staging", 1), ("production", 3))
"""What was promoted at the beginning, so that there is something to go back to."""

OTHER_SPACE = 5
"""The version whose vectors lie in another space."""

stage_names = st.sampled_from(STAGES)
versions = st.integers(1, VERSIONS)


class Killed(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Holder:
    """Who holds a stage, by the model."""

    version: int
    entry: int
    previous: int | None


class Stages(RuleBasedStateMachine):
    """One registered model with two stages, in which some versions were already."""

    start: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pairlock-stages-"))
        shutil.copytree(self.start, self.folder, dirs_exist_ok=True)
        self.registry = Registry(self.folder)
        self.before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.registry.uri)
        mlflow.set_registry_uri(self.registry.uri)
        self.client = self.registry.client
        self.holders: dict[str, Holder] = {}
        self.came: dict[int, tuple[str, Holder]] = {}
        self.aliases: dict[str, int] = {}
        self.behind: set[str] = set()
        self.deleted: set[int] = set()
        self.requests: dict[str, tuple[str, int]] = {}
        self.acts: list[str] = []
        self.digests: list[str] = []
        for stage, version in BEFORE:
            held = self.holders.get(stage)
            self.acted("promote", stage, version, None if held is None else held.entry)

    def teardown(self) -> None:
        """Leave nothing open."""
        mlflow.set_tracking_uri(self.before)
        mlflow.set_registry_uri(self.before)
        dispose(self.registry.uri)
        shutil.rmtree(self.folder)

    # what must be so

    def holder(self, stage: str) -> int | None:
        """The version in a stage."""
        held = self.holders.get(stage)
        return None if held is None else held.version

    def is_moved(self, stage: str) -> bool:
        """Whether somebody moved an alias by hand."""
        ever = stage in self.holders or any(stage == one for one, _ in self.came.values())
        differs = self.aliases.get(stage) != self.holder(stage)
        return ever and differs and stage not in self.behind

    def is_in_the_way(self, stage: str) -> bool:
        """Whether an alias has another version than the ledger says; a removed one has none."""
        alias = self.aliases.get(stage)
        return alias is not None and alias != self.holder(stage) and stage not in self.behind

    def needs_reindex(self, stage: str, version: int) -> bool:
        """Whether the index has to be made again."""
        held = self.holder(stage)
        return held is not None and (held == OTHER_SPACE) != (version == OTHER_SPACE)

    def acted(self, act: str, stage: str, version: int | None, previous: int | None) -> None:
        """The ledger has an entry more, and the stage's alias is the holder's."""
        number = len(self.acts)
        self.acts.append(act)
        if version is None:
            del self.holders[stage]
        else:
            self.holders[stage] = Holder(version, number, previous)
            self.came[number] = (stage, self.holders[stage])
        self.aliases.pop(stage, None)
        if version is not None:
            self.aliases[stage] = version
        self.heal()

    def heal(self) -> None:
        """What a killed process left is brought up."""
        for stage in self.behind:
            self.aliases.pop(stage, None)
            if (version := self.holder(stage)) is not None and version not in self.deleted:
                self.aliases[stage] = version
        self.behind.clear()

    def snapshot(self) -> tuple[Any, ...]:
        """All that a refused act must not change."""
        model = self.client.get_registered_model(NAME)
        return recorded(self.folder), dict(model.aliases), dict(model.tags)

    @contextmanager
    def refused(self, *errors: type[PairlockError]) -> Iterator[None]:
        """The act is refused with one of these, and nothing is changed."""
        before = self.snapshot()
        with pytest.raises(errors):
            yield
        assert self.snapshot() == before

    # acts

    @rule(version=versions, stage=stage_names, says=st.sampled_from([None, "planned", "done"]))
    def promote(self, version: int, stage: str, says: str | None) -> None:
        """Bring a version into a stage."""
        held = self.holders.get(stage)

        def act() -> None:
            done = promote(NAME, version, to=stage, reindex=says)
            assert stage not in {one.stage for one in done.followed.moved}

        if version in self.deleted:
            with self.refused(NotFoundError):
                act()
        elif held is not None and held.version == version:
            with self.refused(AlreadyExistsError):
                act()
        elif self.is_in_the_way(stage) or (says is None and self.needs_reindex(stage, version)):
            with self.refused(RefusedError):
                act()
        else:
            act()
            self.acted("promote", stage, version, None if held is None else held.entry)
            self.requests = {
                key: asked for key, asked in self.requests.items() if asked != (stage, version)
            }

    @rule(stage=stage_names)
    def rollback(self, stage: str) -> None:
        """Go back to the holder before."""
        self.roll_back(stage, None)

    @rule(stage=stage_names, to=st.integers(0, 8))
    def rollback_to(self, stage: str, to: int) -> None:
        """Go back to who came by an entry."""
        self.roll_back(stage, to)

    def roll_back(self, stage: str, to: int | None) -> None:
        """Go back."""
        held = self.holders.get(stage)
        number = to if to is not None or held is None else held.previous
        target = self.came.get(-1 if number is None else number)

        def act() -> None:
            done = rollback(NAME, stage=stage, to_entry=to, reindex="done")
            assert stage not in {one.stage for one in done.followed.moved}

        is_target = target is not None and target[0] == stage and target[1] != held
        if target is None or not is_target or target[1].version in self.deleted:
            with self.refused(NotFoundError):
                act()
        elif held is not None and held.version == target[1].version:
            with self.refused(AlreadyExistsError):
                act()
        elif self.is_in_the_way(stage):
            with self.refused(RefusedError):
                act()
        else:
            act()
            self.acted("rollback", stage, target[1].version, target[1].previous)

    @rule(stage=stage_names)
    def demote(self, stage: str) -> None:
        """Empty a stage."""
        if stage not in self.holders:
            with self.refused(NotFoundError):
                demote(NAME, stage=stage)
        elif self.is_in_the_way(stage):
            with self.refused(RefusedError):
                demote(NAME, stage=stage)
        else:
            done = demote(NAME, stage=stage)
            assert stage not in {one.stage for one in done.followed.moved}
            self.acted("demote", stage, None, None)

    @rule(stage=stage_names)
    @precondition(lambda self: not self.behind)
    def adopt(self, stage: str) -> None:
        """Take over what somebody set by hand."""
        alias, held = self.aliases.get(stage), self.holders.get(stage)
        if alias is None or (held is not None and alias == held.version):
            with self.refused(NotFoundError):
                adopt(NAME, stage=stage, reindex="done")
        else:
            done = adopt(NAME, stage=stage, reindex="done")
            assert stage not in {one.stage for one in done.followed.moved}
            self.acted("adopt", stage, alias, None if held is None else held.entry)

    @rule(version=versions, stage=stage_names)
    def request(self, version: int, stage: str) -> None:
        """Ask for a promotion."""
        if version in self.deleted:
            with self.refused(NotFoundError):
                request(NAME, version, to=stage)
        elif (stage, version) in self.requests.values():
            with self.refused(AlreadyExistsError):
                request(NAME, version, to=stage)
        else:
            made = request(NAME, version, to=stage).entry.request
            assert made is not None
            self.requests[made] = (stage, version)
            self.acts.append("request")
            self.heal()

    @rule(index=st.integers(0, 3))
    @precondition(lambda self: self.requests)
    def approve(self, index: int) -> None:
        """Agree to one's own request, which is refused."""
        key = sorted(self.requests)[index % len(self.requests)]
        errors = (RefusedError, NotFoundError)
        with self.refused(*errors):
            approve(NAME, key)

    @rule(
        version=versions,
        stage=stage_names,
        where=st.sampled_from(["note", "alias", "tag"]),
    )
    def crash(self, version: int, stage: str, where: str) -> None:
        """A promotion whose process ends between the entry and the alias, or before the tag."""
        held = self.holders.get(stage)
        if version in self.deleted or self.holder(stage) == version or self.is_in_the_way(stage):
            return
        before = len(self.acts)
        with pytest.MonkeyPatch.context() as patch:
            self.heal_first()
            patch.setattr(following, "set_alias", self._dies(following.set_alias, where, "alias"))
            tag = {"note": notes.PREFIX, "tag": HEAD_TAG}.get(where, "-")
            patch.setattr(
                following, "set_model_tag", self._dies(following.set_model_tag, tag, None)
            )
            with pytest.raises(Killed):
                promote(NAME, version, to=stage, reindex="done")
        alias = dict(self.aliases)
        self.acted("promote", stage, version, None if held is None else held.entry)
        self.requests = {
            key: asked for key, asked in self.requests.items() if asked != (stage, version)
        }
        if where != "tag":
            self.aliases = alias
            if self.aliases.get(stage) != version:
                self.behind = {stage}
        assert len(self.acts) == before + 1

    def heal_first(self) -> None:
        """So that the crash is in the act's own alias."""
        history(NAME)
        self.heal()

    @staticmethod
    def _dies(original: Callable[..., Any], where: str, what: str | None) -> Callable[..., Any]:
        def call(name: str, key: str, text: Any) -> Any:
            if what == where or (what is None and key.startswith(where)):
                raise Killed
            return original(name, key, text)

        return call

    # by hand

    @rule(version=st.integers(0, VERSIONS), stage=stage_names)
    @precondition(lambda self: not self.behind and not any(map(self.is_in_the_way, STAGES)))
    def move_alias(self, version: int, stage: str) -> None:
        """Somebody sets the alias in MLflow, or removes it."""
        if version == 0:
            self.client.delete_registered_model_alias(NAME, stage)
            self.aliases.pop(stage, None)
        elif version not in self.deleted:
            self.client.set_registered_model_alias(NAME, stage, str(version))
            self.aliases[stage] = version

    @rule(version=versions)
    @precondition(lambda self: not self.behind and len(self.deleted) < 2)
    def delete_version(self, version: int) -> None:
        """Somebody deletes a version in MLflow, and its aliases go too."""
        if version not in self.deleted:
            self.client.delete_model_version(NAME, str(version))
            self.deleted.add(version)
            self.aliases = {key: one for key, one in self.aliases.items() if one != version}

    # looking

    @rule()
    def history(self) -> None:
        """Everything that was done, and every alias that was moved."""
        found = history(NAME)
        self.heal()
        assert {one.stage for one in found.moved} == {s for s in STAGES if self.is_moved(s)}
        assert found.findings == ()
        assert [one.entry.act.value for one in found.entries][::-1] == self.acts
        assert [one.digest for one in found.entries][::-1][: len(self.digests)] == self.digests
        self.digests = [one.digest for one in found.entries][::-1]

    @rule()
    def repair(self) -> None:
        """Every alias that the ledger has a say in is put back."""
        moved = {stage for stage in STAGES if self.is_moved(stage)}
        found = repair(NAME)
        self.behind |= moved
        gone = {stage for stage in moved if self.holder(stage) in self.deleted}
        assert {one.stage for one in found.followed.gone} == gone
        for stage in gone:
            self.behind.discard(stage)
        self.heal()

    @invariant()
    def ledger_and_aliases_are_as_they_must_be(self) -> None:
        """No entry is lost or made up, holders and aliases are the model's."""
        opened = open_model(NAME)
        assert len(self.acts) == (0 if opened.head is None else opened.head.entry.sequence + 1)
        assert opened.ledger.check(opened.anchor) == ()
        held = {
            stage: Holder(one.version, one.entry, one.previous)
            for stage, one in opened.state.stages.items()
        }
        assert held == self.holders
        asked = {one.id: (one.stage, one.version) for one in opened.state.requests}
        assert asked == self.requests
        if not self.behind:
            assert dict(opened.model.aliases) == self.aliases


def test_stages_are_what_the_ledger_says(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    tiny_other: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever happens in whatever order."""
    stock = make_stock(
        tmp_path_factory.mktemp("stock"),
        registry_template,
        [(tiny_model, VERSIONS - 1), (tiny_other, 1)],
    )
    # what was moved by hand is so at the second look too, and no process here is still alive
    monkeypatch.setattr(following, "_LOOK_AGAIN_S", ())
    monkeypatch.setattr(notes, "_KEPT_S", -1.0)
    start = stock.copy(tmp_path_factory.mktemp("start"))
    with active(start.uri), proofs_reused(stock):
        for stage, version in BEFORE:
            execute(planned(version, to=stage))
    dispose(start.uri)
    machine = type("Machine", (Stages,), {"start": start.folder})
    with proofs_reused(stock):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=int(os.environ.get("PAIRLOCK_STATEFUL_EXAMPLES", "8")),
                stateful_step_count=18,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],  # to shrink an example takes minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
