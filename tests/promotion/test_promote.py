"""Promotion as a user knows it: plans, stages, going back, second persons, and what is refused."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pairlock
from pairlock.cli.app import app, main
from pairlock.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from pairlock.ledger import Act
from pairlock.promotion import execute
from support.indexes import build
from support.registries import package_folder
from support.stage_versions import FULL, LINEAR_1, LINEAR_2, LORA_1, LORA_2, OTHER, RESAVED, Stages


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> tuple[int, Any]:
    """Exit status and JSON of a command."""
    found = run(*arguments, "--format", "json")
    return found.exit_code, json.loads(found.stdout)


def failed(error: RefusedError) -> list[str]:
    """The gates that refused."""
    return [finding.place.removeprefix("gate ") for finding in error.findings]


def write_policy(text: str) -> None:
    """A policy in the working directory."""
    Path("pairlock.toml").write_text(text)


def test_a_promotion_leaves_an_entry_and_an_alias(stages: Stages) -> None:
    """The entry says who, what, why and on which evidence; the alias loads the same version."""
    done = stages.promote(LINEAR_1, reason="first release")
    entry = done.entry
    assert (entry.sequence, entry.act, entry.actor) == (0, Act.PROMOTE, "kim")
    assert (entry.stage, entry.reason) == ("production", "first release")
    assert stages.aliases() == {"production": LINEAR_1}
    loaded = pairlock.receipt(pairlock.load(f"models:/{stages.name}@production"))
    subject = entry.subject
    assert subject is not None
    assert subject.package_digest == loaded.package_digest
    assert subject.document_space == loaded.document_space
    assert subject.base_uri == "models:/base/1"
    gates = {gate.gate: gate.outcome for gate in entry.gates}
    assert gates["integrity"] == gates["golden"] == gates["pairing"] == "passed"
    assert entry.reindex is not None
    assert entry.reindex.verdict == "first"
    found = pairlock.history(stages.name)
    assert (found.passed, [one.digest for one in found.entries]) == (True, [done.digest])


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (LINEAR_1, LINEAR_2, "none"),
        (FULL, RESAVED, "none"),
        (LORA_1, LORA_2, "needed"),
        (LINEAR_1, LORA_1, "needed"),
        (FULL, OTHER, "needed"),
    ],
)
def test_the_verdict_says_whether_the_index_has_to_be_made_again(
    stages: Stages, before: int, after: int, verdict: str
) -> None:
    """No new index where documents stay in their space; otherwise somebody has to know of it."""
    stages.promote(before)
    if verdict == "needed":
        unchanged = stages.snapshot()
        with pytest.raises(RefusedError) as refused:
            stages.promote(after)
        assert failed(refused.value) == ["reindex"]
        assert stages.snapshot() == unchanged
        done = stages.promote(after, reindex="planned")
        assert done.entry.reindex.acknowledged == "planned"
    else:
        done = stages.promote(after)
    assert done.entry.reindex.verdict == verdict
    assert stages.aliases() == {"production": after}


def test_a_named_index_has_to_answer_under_the_version(stages: Stages, tmp_path: Path) -> None:
    """Its stamp counts, and not only what is in the stage now."""
    model = pairlock.load(f"models:/{stages.name}/{LINEAR_1}")
    index, folder = build(model), tmp_path / "index"
    pairlock.index.stamp(index, model)
    index.storage_context.persist(folder)
    with pytest.raises(RefusedError) as refused:
        stages.promote(OTHER, index=folder)
    assert failed(refused.value) == ["index"]
    done = stages.promote(LINEAR_2, index=folder)
    gates = {gate.gate: gate.outcome for gate in done.entry.gates}
    assert (gates["index"], gates["reindex"]) == ("passed", "passed")
    with pytest.raises(RefusedError) as refused:
        stages.promote(OTHER, index=folder)
    assert failed(refused.value) == ["reindex", "index"]
    stages.promote(OTHER, index=folder, reindex="done")
    assert stages.aliases() == {"production": OTHER}


def test_a_dry_run_prints_the_plan_and_changes_nothing(stages: Stages) -> None:
    """The printed plan is the one that is executed."""
    stages.promote(LINEAR_1)
    before = stages.snapshot()
    command = ("promote", stages.name, str(LINEAR_2), "--to", "production", "--reason", "better")
    status, dry = document(*command, "--dry-run")
    assert (status, dry["executed"], dry["plan"]["passed"]) == (0, False, True)
    assert stages.snapshot() == before
    status, done = document(*command)
    assert (status, done["plan"], done["sequence"]) == (0, dry["plan"], 1)
    refused = ("promote", stages.name, str(OTHER), "--to", "production")
    assert run(*refused, "--dry-run").exit_code == run(*refused).exit_code == 1


def test_a_refusal_comes_after_its_plan_where_both_go_into_one_pipe(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of a CI job shows the plan first, and ends with what to do."""
    log = tmp_path / "log"
    arguments = [stages.name, "1", "--to", "production", "--require", "ndcg@10>=0.7"]
    monkeypatch.setattr(sys, "argv", ["pairlock", "promote", *arguments])
    # as Python opens both for a process that has one pipe: blocks to stdout, lines to stderr
    with log.open("a") as stdout, log.open("a", buffering=1) as stderr:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1
    said = log.read_text()
    assert said.index("change ") < said.index("error: ") < said.index("hint: ")


def test_a_plan_that_somebody_overtook_is_a_conflict(stages: Stages) -> None:
    """The loser learns who won, and changes nothing."""
    plan = pairlock.plan_promotion(stages.name, LINEAR_1, to="production")
    stages.promote(LINEAR_2)
    before = stages.snapshot()
    with pytest.raises(ConflictError) as lost:
        execute(plan)
    assert lost.value.kind is ErrorKind.LEDGER_CONFLICT
    assert f"version {LINEAR_2}" in lost.value.found
    assert "kim" in lost.value.found
    assert stages.snapshot() == before


def test_an_act_on_another_stage_is_not_in_the_way(stages: Stages) -> None:
    """A plan holds as long as its own stage is as it was."""
    plan = pairlock.plan_promotion(stages.name, LINEAR_1, to="production")
    stages.promote(LINEAR_2, to="staging")
    assert execute(plan).entry.sequence == 1
    assert stages.aliases() == {"production": LINEAR_1, "staging": LINEAR_2}
    assert pairlock.history(stages.name).passed


def test_rollback_goes_back_step_by_step(stages: Stages) -> None:
    """Each rollback goes one further back, a named entry brings its version, and then it ends."""
    for version in (LINEAR_1, LINEAR_2):
        stages.promote(version)
    stages.promote(OTHER, reindex="done")
    with pytest.raises(RefusedError) as refused:
        pairlock.rollback(stages.name, stage="production")
    assert failed(refused.value) == ["reindex"]
    back = pairlock.rollback(stages.name, stage="production", reindex="done", reason="worse")
    assert (back.entry.act, back.entry.returns_to) == (Act.ROLLBACK, 1)
    assert stages.aliases() == {"production": LINEAR_2}
    pairlock.rollback(stages.name, stage="production")
    assert stages.aliases() == {"production": LINEAR_1}
    before = stages.snapshot()
    with pytest.raises(NotFoundError) as nothing:
        pairlock.rollback(stages.name, stage="production")
    assert nothing.value.kind is ErrorKind.STAGE_EMPTY
    assert stages.snapshot() == before
    pairlock.rollback(stages.name, stage="production", to_entry=1)
    with pytest.raises(AlreadyExistsError):
        pairlock.rollback(stages.name, stage="production", to_entry=1)
    assert stages.aliases() == {"production": LINEAR_2}
    assert pairlock.history(stages.name).passed


@pytest.mark.parametrize("entry", [0, 7])
def test_a_rollback_to_an_entry_that_brought_nobody_else_is_refused(
    stages: Stages, entry: int
) -> None:
    """The entry has to be there, and to have brought another version than the present one."""
    stages.promote(LINEAR_1)
    with pytest.raises(NotFoundError) as nothing:
        pairlock.rollback(stages.name, stage="production", to_entry=entry)
    assert nothing.value.kind is ErrorKind.STAGE_EMPTY


def test_a_demotion_empties_a_stage_and_a_named_entry_fills_it_again(stages: Stages) -> None:
    """The alias goes, the history stays."""
    stages.promote(LINEAR_1)
    pairlock.demote(stages.name, stage="production", reason="recalled")
    assert stages.aliases() == {}
    with pytest.raises(NotFoundError):
        pairlock.demote(stages.name, stage="production")
    with pytest.raises(NotFoundError):
        pairlock.rollback(stages.name, stage="production")
    pairlock.rollback(stages.name, stage="production", to_entry=0)
    assert stages.aliases() == {"production": LINEAR_1}


def test_a_stage_whose_alias_is_gone_is_emptied_with_an_entry(stages: Stages) -> None:
    """MLflow has nothing left to remove, and the history says all the same who emptied it."""
    stages.promote(LINEAR_1)
    stages.registry.client.delete_registered_model_alias(stages.name, "production")
    done = pairlock.demote(stages.name, stage="production", reason="recalled")
    assert (done.entry.act, done.entry.replaced.version) == (Act.DEMOTE, LINEAR_1)
    assert (done.entry.state.stages, done.entry.reason) == ({}, "recalled")
    assert pairlock.history(stages.name).passed


def test_a_version_that_is_in_the_stage_is_not_promoted_again(stages: Stages) -> None:
    """An entry that changes nothing would be what a rollback goes back to."""
    stages.promote(LINEAR_1)
    before = stages.snapshot()
    with pytest.raises(AlreadyExistsError):
        stages.promote(LINEAR_1)
    assert stages.snapshot() == before


def test_an_alias_from_before_the_ledger_is_adopted_on_purpose_only(stages: Stages) -> None:
    """A promotion over it is refused; `adopt` takes it over, proved, with an entry."""
    stages.registry.client.set_registered_model_alias(stages.name, "production", "1")
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_2)
    assert failed(refused.value) == ["alias"]
    done = pairlock.adopt(stages.name, stage="production", reason="as it was")
    assert (done.entry.act, done.entry.subject.version) == (Act.ADOPT, LINEAR_1)
    stages.promote(LINEAR_2)
    pairlock.rollback(stages.name, stage="production")
    assert stages.aliases() == {"production": LINEAR_1}
    with pytest.raises(NotFoundError):
        pairlock.adopt(stages.name, stage="production")


def test_mlflows_legacy_stages_are_read_and_taken_over(stages: Stages) -> None:
    """`models:/name/Production` loads, and becomes the ledger's production."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stages.registry.client.transition_model_version_stage(stages.name, "2", "Production")
    receipt = pairlock.receipt(pairlock.load(f"models:/{stages.name}/Production"))
    assert receipt.uri == f"models:/{stages.name}/{LINEAR_2}"
    pairlock.adopt(stages.name, stage="production")
    assert stages.aliases() == {"production": LINEAR_2}


def test_an_alias_moved_by_hand_is_reported_and_never_adopted(stages: Stages) -> None:
    """History says so, a promotion is refused, and only `repair` puts it back."""
    stages.promote(LINEAR_1)
    stages.registry.client.set_registered_model_alias(stages.name, "production", str(OTHER))
    assert run("history", stages.name).exit_code == 1
    status, found = document("history", stages.name)
    assert (status, len(found["moved_by_hand"])) == (1, 1)
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_2)
    assert failed(refused.value) == ["alias"]
    assert stages.aliases() == {"production": OTHER}
    assert run("repair", stages.name).exit_code == 0
    assert stages.aliases() == {"production": LINEAR_1}
    assert run("history", stages.name).exit_code == 0


def test_a_second_person_has_to_agree_where_the_policy_says_so(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking, agreeing and promoting are three entries; nobody agrees to what they asked for."""
    write_policy("[stages.production]\napprovals = 1\n")
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_1)
    assert failed(refused.value) == ["approvals"]
    status, asked = document("request", stages.name, "1", "--to", "production", "--reason", "go")
    assert status == 0
    request = asked["request"]
    with pytest.raises(AlreadyExistsError):
        pairlock.request(stages.name, LINEAR_1, to="production")
    assert run("approve", stages.name, request).exit_code == 1
    with pytest.raises(RefusedError):
        stages.promote(LINEAR_1)
    with pytest.raises(NotFoundError) as unknown:
        pairlock.approve(stages.name, "nothing")
    assert unknown.value.kind is ErrorKind.REQUEST_NOT_FOUND
    monkeypatch.setenv("PAIRLOCK_ACTOR", "lee")
    assert run("approve", stages.name, request, "--reason", "looked").exit_code == 0
    with pytest.raises(RefusedError):
        pairlock.approve(stages.name, request)
    done = stages.promote(LINEAR_1)
    assert (done.entry.sequence, done.entry.request) == (2, request)
    assert done.entry.state.requests == ()
    acts = [one.entry.act for one in pairlock.history(stages.name).entries]
    assert acts == [Act.PROMOTE, Act.APPROVE, Act.REQUEST]


def test_an_approval_is_of_one_version_for_one_stage(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was agreed to for one version does not let another one through."""
    write_policy("[stages.production]\napprovals = 1\n[stages.staging]\napprovals = 1\n")
    asked = pairlock.request(stages.name, LINEAR_1, to="production").entry.request
    monkeypatch.setenv("PAIRLOCK_ACTOR", "lee")
    pairlock.approve(stages.name, asked or "")
    for version, stage in ((LINEAR_2, "production"), (LINEAR_1, "staging")):
        with pytest.raises(RefusedError) as refused:
            stages.promote(version, to=stage)
        assert failed(refused.value) == ["approvals"]


def test_a_stage_may_be_reached_from_another_one_only(stages: Stages) -> None:
    """`from` is about what the version holds now, and not about another one's stage."""
    write_policy('[stages.staging]\n[stages.production]\nfrom = ["staging"]\n')
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_1)
    assert failed(refused.value) == ["from"]
    stages.promote(LINEAR_1, to="staging")
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_2)
    assert failed(refused.value) == ["from"]
    stages.promote(LINEAR_1)
    assert stages.aliases() == {"staging": LINEAR_1, "production": LINEAR_1}


def test_a_bypass_is_allowed_named_explained_and_stays_visible(stages: Stages) -> None:
    """Not without the policy's leave, not without a reason, and never for integrity."""
    write_policy('[stages.production]\nmin_age_hours = 24\nbypass = ["age"]\n')
    with pytest.raises(RefusedError) as refused:
        stages.promote(LINEAR_1)
    assert failed(refused.value) == ["age"]
    with pytest.raises(InvalidInputError):
        stages.promote(LINEAR_1, bypass=["age"])
    with pytest.raises(RefusedError) as forbidden:
        stages.promote(LINEAR_1, bypass=["integrity"], reason="hurry")
    assert forbidden.value.kind is ErrorKind.BYPASS_NOT_ALLOWED
    with pytest.raises(InvalidInputError):
        stages.promote(LINEAR_1, bypass=["nothing"], reason="hurry")
    assert stages.files() == {}
    command = ("promote", stages.name, "1", "--to", "production")
    assert run(*command, "--bypass", "age", "--reason", "outage").exit_code == 0
    stages.promote(LINEAR_2, bypass=["age"], reason="again")
    shown = run("history", stages.name).stdout
    title, newest, oldest = shown.splitlines()[:3]
    column = title.index("bypassed")
    for number, row, reason in ((1, newest, "again"), (0, oldest, "outage")):
        assert row.startswith(f"{number} ")
        assert row[column:].split() == ["age", reason]
    outcomes = [
        gate.outcome
        for one in pairlock.history(stages.name).entries
        for gate in one.entry.gates
        if gate.gate == "age"
    ]
    assert outcomes == ["bypassed", "bypassed"]


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_a_tolerance_is_a_number_that_the_ledger_can_keep(stages: Stages, tolerance: float) -> None:
    """What would let everything through, or could not be recorded, is refused at once."""
    with pytest.raises(InvalidInputError) as refused:
        stages.promote(LINEAR_1, no_regression=["ndcg@10"], tolerance=tolerance)
    assert refused.value.kind is ErrorKind.ARGUMENT_INVALID


def test_wrong_bytes_are_never_promoted(registry: Any, tiny_model: Path, tmp_path: Path) -> None:
    """One changed byte in the package: refused by integrity, and nothing is changed."""
    for _ in range(2):
        registry.log(str(tiny_model), "broken")
    pairlock.promote("broken", 1, to="production")
    victim = next(package_folder("models:/broken/2").rglob("model.safetensors"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)
    with pytest.raises(RefusedError) as refused:
        pairlock.promote("broken", 2, to="production")
    assert failed(refused.value) == ["integrity", "golden"]
    assert registry.client.get_registered_model("broken").aliases == {"production": 1}
    assert len(pairlock.history("broken").entries) == 1


@pytest.mark.parametrize("what", ["deleted", "archived"])
def test_an_adapter_whose_base_is_out_of_use_is_refused(
    registry: Any, tiny_model: Path, tmp_path: Path, what: str
) -> None:
    """The base's bytes may be found all the same: its version is what the team withdrew."""
    from support.stage_versions import save_linear

    base = registry.log(str(tiny_model), "base")
    registry.log(str(save_linear(tmp_path / "linear", 1)), "adapter", base=base)
    pairlock.load("models:/adapter/1")
    if what == "deleted":
        folder = package_folder(base)
        registry.client.delete_model_version("base", "1")
        kwargs = {"base": str(folder)}
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            registry.client.transition_model_version_stage("base", "1", "Archived")
        kwargs = {}
    with pytest.raises(RefusedError) as refused:
        pairlock.promote("adapter", 1, to="production", **kwargs)
    assert failed(refused.value) == ["pairing"]
    assert what in str(refused.value)


def test_a_policy_may_ask_for_a_promoted_base(
    registry: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's own ledger says which stages it holds; its alias alone does not."""
    from support.stage_versions import save_linear

    monkeypatch.chdir(tmp_path)
    write_policy('[stages.production]\nbase_stages = ["production"]\n')
    base = registry.log(str(tiny_model), "base")
    registry.log(str(save_linear(tmp_path / "linear", 1)), "adapter", base=base)
    registry.client.set_registered_model_alias("base", "production", "1")
    with pytest.raises(RefusedError) as refused:
        pairlock.promote("adapter", 1, to="production")
    assert failed(refused.value) == ["pairing"]
    pairlock.adopt("base", stage="production")
    pairlock.promote("adapter", 1, to="production")


def test_a_version_that_was_deleted_is_not_promoted_and_not_returned_to(stages: Stages) -> None:
    """Nor does a deleted holder keep others from coming into its stage."""
    client = stages.registry.client
    plan = pairlock.plan_promotion(stages.name, FULL, to="staging")
    client.delete_model_version(stages.name, str(FULL))
    with pytest.raises(NotFoundError):
        execute(plan)
    stages.promote(LINEAR_1)
    stages.promote(LINEAR_2)
    client.delete_model_version(stages.name, str(LINEAR_1))
    with pytest.raises(NotFoundError):
        pairlock.rollback(stages.name, stage="production")
    client.delete_model_version(stages.name, str(LINEAR_2))
    assert not pairlock.history(stages.name).passed
    done = stages.promote(LORA_1, reindex="planned")
    assert stages.aliases() == {"production": LORA_1}
    assert done.entry.replaced.version == LINEAR_2
    assert pairlock.history(stages.name).passed


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("promote", "NAME", "1", "--to", "prod"), 2),
        (("promote", "NAME", "1", "--to", "latest"), 2),
        (("promote", "NAME", "1", "--to", "production", "--require", "ndcg"), 2),
        (("promote", "NAME", "1", "--to", "production", "--require", "ndcg@10>=0.5"), 1),
        (("promote", "NAME", "1", "--to", "production", "--no-regression", "ndcg@10>=0.5"), 2),
        (("promote", "NAME", "1", "--to", "production", "--no-regression", ""), 2),
        (("promote", "NAME", "1", "--to", "production", "--tolerance", "inf"), 2),
        (("promote", "NAME", "1", "--to", "production", "--reindex", "soon"), 2),
        (("promote", "NAME", "1", "--to", "production", "--index", "nowhere"), 3),
        (("promote", "NAME", "99", "--to", "production"), 3),
        (("promote", "nobody", "1", "--to", "production"), 3),
        (("promote", "a/b", "1", "--to", "production"), 2),
        (("rollback", "NAME", "--stage", "production"), 3),
        (("demote", "NAME", "--stage", "production"), 3),
        (("adopt", "NAME", "--stage", "production"), 3),
        (("approve", "NAME", "x"), 3),
        (("history", "nobody"), 3),
        (("repair", "nobody"), 3),
        (("history", "NAME"), 0),
        (("repair", "NAME"), 0),
    ],
)
def test_every_mistake_has_its_exit_status_and_changes_nothing(
    stages: Stages, arguments: tuple[str, ...], status: int
) -> None:
    """No traceback, a hint, and the ledger and the aliases as they were."""
    before = stages.files(), stages.aliases()
    found = run(*(stages.name if one == "NAME" else one for one in arguments))
    assert found.exit_code == status, found.output
    assert status == 0 or "hint:" in found.output
    assert (stages.files(), stages.aliases()) == before
