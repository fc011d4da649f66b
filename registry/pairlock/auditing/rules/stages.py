"""What the ledger, the aliases and the policy say of each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.saying import of_model, of_version
from pairlock.auditing.rules.view import (
    View,
    has_entries,
    held_stages,
    is_sound,
    version_reference,
)
from pairlock.catalog import ARCHIVED, HEAD_TAG, LEDGER_TAG, READY
from pairlock.errors import ErrorKind
from pairlock.inventory import LedgerFacts, ModelFacts, VersionFacts
from pairlock.inventory.tags import pin_of
from pairlock.ledger import Held
from pairlock.policy import Policy, StagePolicy
from pairlock.promotion.rules import notes
from pairlock.promotion.rules.gates import (
    BaseFacts,
    GateOutcome,
    GateResult,
    metrics_gate,
    pairing_gate,
    signature_gate,
)
from pairlock.promotion.rules.projection import project

USUAL_PAIR = ("staging", "production")
"""What is compared where a policy does not say where a stage's versions come from."""


def find(view: View, known: Known) -> Iterator[AuditFinding]:
    """Everything in which ledger, aliases, holders and policy do not agree."""
    for model in view.inventory.models:
        if (problem := known.unreadable_policies.get(model.name)) is not None:
            yield of_model(
                Code.POLICY_UNREADABLE,
                model,
                place="the policy in force",
                expected="a policy",
                found=problem,
                todo=f"Write it again with `pairlock policy store {model.name}`.",
            )
        ledger = model.ledger
        if ledger is not None and not is_sound(ledger):
            yield from _unsound(model, ledger)
            continue
        policy = known.policy(model.name)
        if ledger is not None and has_entries(ledger):
            yield from _aliases(model, ledger, policy, view)
        elif not view.is_whole and {HEAD_TAG, LEDGER_TAG} & model.tags.keys():
            continue  # it was not read
        elif HEAD_TAG in model.tags:
            yield of_model(
                Code.LEDGER_BROKEN,
                model,
                place=f"tag {HEAD_TAG}",
                expected=f"the entry {model.tags[HEAD_TAG]}",
                found="no entries at all",
            )
        else:
            yield from _without_ledger(model, policy)
    for model, stage, held, version in view.holders():
        if version is None:
            if view.is_whole:
                yield _gone(model, stage, held)
        else:
            policy_known = model.name not in known.unreadable_policies
            yield from _holder(model, stage, version, view, known, judged=policy_known)
    for model in view.inventory.models:
        yield from _spaces(model, known.policy(model.name), view)


def _unsound(model: ModelFacts, ledger: LedgerFacts) -> Iterator[AuditFinding]:
    for finding in ledger.findings:
        todo = (
            f"See `pairlock history {model.name}`; bring the files in {ledger.location} back "
            "from a backup or the bucket's versions."
        )
        if finding.kind is ErrorKind.FORMAT_TOO_NEW:
            todo = (
                "A newer Pairlock wrote it: use that release here too, "
                "`pip install --upgrade pairlock`."
            )
        yield of_model(
            Code.LEDGER_BROKEN,
            model,
            place=finding.place,
            expected=finding.expected,
            found=finding.found,
            todo=todo,
        )
    if ledger.problem:
        yield of_model(
            Code.NOT_PROVED,
            model,
            place=ledger.location,
            expected="the ledger's entries",
            found=ledger.problem,
        )


def _aliases(
    model: ModelFacts, ledger: LedgerFacts, policy: Policy, view: View
) -> Iterator[AuditFinding]:
    if HEAD_TAG not in model.tags:
        yield of_model(
            Code.ALIAS_BEHIND,
            model,
            place=f"tag {HEAD_TAG}",
            expected=f"entry {ledger.entries - 1}",
            found="no tag, so that entries could vanish from the end unnoticed",
            todo=_follow(model),
        )
    projection = project(
        ledger.state,
        model.aliases,
        projected=ledger.projected or (ledger.state,),
        noted=notes.noted(model.tags),
        watched=ledger.ever_held | policy.stages.keys(),
    )
    for change in projection.changes:
        if change.version is None or view.version(model.name, change.version):
            yield of_model(
                Code.ALIAS_BEHIND,
                model,
                version=change.version or change.found,
                stage=change.stage,
                place=f"alias {change.stage}",
                expected=_named(change.version),
                found=_named(change.found),
                todo=_follow(model),
            )
    for moved in projection.moved:
        if moved.found is None and moved.expected is not None:
            if not view.version(model.name, moved.expected):
                continue  # it went with the version, which is said of the holder
            todo = f"Run `pairlock repair {model.name}`, which sets it again."
        elif moved.expected is None:
            todo = (
                f"Run `pairlock adopt {model.name} --stage {moved.stage}` to take it over, or "
                f"`pairlock repair {model.name}` to take it away."
            )
        else:
            todo = (
                f"Run `pairlock repair {model.name}` to put it back, or `pairlock promote "
                f"{model.name} {moved.found} --to {moved.stage}` after that."
            )
        is_unspoken = moved.stage not in ledger.ever_held | ledger.state.stages.keys()
        yield of_model(
            Code.ALIAS_UNEXPLAINED,
            model,
            version=moved.found or moved.expected,
            # of a stage that no entry ever spoke of, nobody approved anything else either
            severity=Severity.WARNING if is_unspoken else None,
            stage=moved.stage,
            place=f"alias {moved.stage}",
            expected=f"{_named(moved.expected)}, as the ledger says",
            found=_named(moved.found),
            todo=todo,
        )


def _without_ledger(model: ModelFacts, policy: Policy) -> Iterator[AuditFinding]:
    """Aliases that are called as a stage, of a model of which nothing was ever promoted."""
    for stage in sorted(policy.stages.keys() & model.aliases.keys()):
        yield of_model(
            Code.ALIAS_UNEXPLAINED,
            model,
            version=model.aliases[stage],
            severity=Severity.NOTE,  # nobody said that this model's stages are kept by a ledger
            stage=stage,
            place=f"alias {stage}",
            expected="an entry of a ledger",
            found="no ledger",
            todo=f"Run `pairlock adopt {model.name} --stage {stage}` to begin its history.",
        )


def _follow(model: ModelFacts) -> str:
    return f"Run `pairlock audit --fix`, or `pairlock repair {model.name}`."


def _named(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"


def _gone(model: ModelFacts, stage: str, held: Held) -> AuditFinding:
    return of_model(
        Code.HOLDER_GONE,
        model,
        version=held.version,
        stage=stage,
        place=f"stage {stage}",
        expected=f"version {held.version}, {held.package_digest}",
        found="no such version",
        todo=f"Run `pairlock rollback {model.name} --stage {stage}`, or promote another version.",
    )


def _holder(
    model: ModelFacts, stage: str, version: VersionFacts, view: View, known: Known, *, judged: bool
) -> Iterator[AuditFinding]:
    if version.state == ARCHIVED:
        yield of_version(
            Code.HOLDER_ARCHIVED,
            version,
            stage=stage,
            place=f"stage {stage}",
            expected="a version in use",
            found="MLflow's stage Archived",
            todo=f"Run `pairlock demote {model.name} --stage {stage}`, or take the version out of "
            "Archived.",
        )
    if not judged:
        return
    policy = known.policy(model.name).stages.get(stage)
    if policy is None:
        yield of_version(
            Code.HOLDER_FAILS_GATE,
            version,
            stage=stage,
            place="policy",
            expected="a stage that the policy names",
            found=f"the policy names no stage {stage}",
            todo=f"Add the stage to the policy, or run `pairlock demote {model.name} --stage "
            f"{stage}`.",
        )
        return
    ledger = model.ledger
    assert ledger is not None  # it names the holder
    bypassed = ledger.bypassed.get(stage, frozenset())
    for result in _gates(version, policy, view, known):
        if result.outcome is GateOutcome.FAILED:
            was = result.gate.value in bypassed
            yield of_version(
                Code.HOLDER_FAILS_GATE,
                version,
                severity=Severity.NOTE if was else None,
                stage=stage,
                place=f"gate {result.gate.value}",
                expected="passed",
                found=result.detail + ("; bypassed when it was promoted" if was else ""),
                figures=result.figures,
            )


def _gates(
    version: VersionFacts, policy: StagePolicy, view: View, known: Known
) -> Iterator[GateResult]:
    """The gates that can be judged of a version that is in a stage already.

    - `pairing`: of it the stages of the base, where the base is there; all else of a base is said
      of the base.
    - `metrics`: bounds may have been raised, or a newer measurement may be worse.
    - `signature`: it is a property of the version.

    The others are not asked. `integrity` and `golden` are what the package's rules, `--deep` and
    `--golden` are for. `from`, `regression`, `reindex` and `index` compare the version with what
    was there before it, and it is what is there. `age` only grows. `approvals` belong to a request,
    which its promotion fulfilled. `alias` has rules of its own.
    """
    if (base := _base(version, view)) is not None:
        yield pairing_gate(base, policy)
    measured = known.measured.get((version.name, version.version))
    if measured is not None:
        yield metrics_gate(measured, policy.require)
    yield signature_gate(policy)


def _base(version: VersionFacts, view: View) -> BaseFacts | None:
    """The base as the gate asks it; None where it has nothing to say of stages."""
    pin = pin_of(version)
    if pin is None or not view.is_whole:
        return None
    reference = version_reference(pin.uri)
    if reference is None:
        return BaseFacts(uri=pin.uri, is_version=False)
    target = view.version(reference.name, reference.version)
    copies = [copy for copy in view.with_digest(pin.package_digest or "") if copy.state == READY]
    is_own = target is not None and (target in copies or pin.package_digest is None)
    bases = [target] if target is not None and is_own else copies
    if not bases:
        return None
    stages = frozenset().union(*(view.stages(one) for one in bases))
    return BaseFacts(uri=pin.uri, is_version=True, state=READY, stages=stages)


def _spaces(model: ModelFacts, policy: Policy, view: View) -> Iterator[AuditFinding]:
    """Stages whose next version embeds documents into another space than the present one."""
    held = dict(held_stages(model))
    if len(held) < 2:
        return
    for before, after in stage_pairs(policy):
        if before not in held or after not in held:
            continue
        versions = [view.version(model.name, held[stage].version) for stage in (before, after)]
        packages = [None if one is None else one.package for one in versions]
        if versions[0] is None or None in packages:
            continue
        coming, present = (package.document_space for package in packages if package is not None)
        if coming != present:
            yield of_version(
                Code.SPACE_CHANGES,
                versions[0],
                stage=before,
                place=f"{before} to {after}",
                expected=f"the document space of {after}, {present}",
                found=coming,
                todo=f"Plan a re-index; `pairlock promote {model.name} {versions[0].version} --to "
                f"{after} --dry-run` compares the vectors.",
            )


def stage_pairs(policy: Policy) -> list[tuple[str, str]]:
    """Pairs of a stage and the one that its versions go to next, in order."""
    pairs = {
        (before, stage)
        for stage, wanted in policy.stages.items()
        for before, stage in product(frozenset().union(*wanted.from_stages), [stage])
    }
    has_order = any(wanted.from_stages for wanted in policy.stages.values())
    if not has_order and policy.stages.keys() >= set(USUAL_PAIR):
        pairs.add(USUAL_PAIR)
    return sorted(pairs)
