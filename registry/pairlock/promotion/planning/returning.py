"""Plans to bring back who held a stage, to empty it, and to take over what MLflow says of it.

What a stage asks for was passed when a version came there; only that its bytes, its base and its
vectors are still right is asked again, and whether the index has to be made again.
"""

from __future__ import annotations

from pairlock.catalog import legacy_holders
from pairlock.config import Settings
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.ledger import Act, Held, Reindex, held_by
from pairlock.policy import Acknowledgement, StagePolicy
from pairlock.progress import SILENT, Progress
from pairlock.promotion.facts.aliases import moved_by_hand
from pairlock.promotion.facts.opened import Opened, stage_policy
from pairlock.promotion.facts.versions import (
    Version,
    base_facts,
    read_version,
    space_verdict,
    verify_version,
)
from pairlock.promotion.planning.drafting import begin, draft, require_other
from pairlock.promotion.rules import gates
from pairlock.promotion.rules.gates import GateResult
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import Wish, acknowledgement


def plan_rollback(
    name: str,
    *,
    stage: str,
    wish: Wish,
    to_entry: int | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """Plan to bring back who held a stage before.

    What the stage asks for was passed when that version came there; only that its bytes, its base
    and its vectors are still right is asked again, and whether the index has to be made again.

    Args:
        name: the registered model.
        stage: the stage.
        wish: how to examine the version.
        to_entry: the entry by which it came; None for the holder before the present one.
        progress: told about the work.

    Raises:
        NotFoundError: nobody held the stage before, by that entry.
        PairlockError: as `plan_promotion`.
    """
    settings, opened, in_force = begin(name, wish)
    acknowledged = acknowledgement(wish.reindex)
    held = opened.state.stages.get(stage)
    target = _target(opened, stage, held, to_entry)
    found = read_version(name, target.version, settings)
    require_other(held, found, name, stage)
    if found.subject.package_digest != target.package_digest:
        raise NotFoundError(
            f"models:/{name}/{target.version} is not what held {stage} before",
            kind=ErrorKind.PACKAGE_DIGEST,
            checked=f"the package against entry {target.entry}",
            expected=target.package_digest,
            found=found.subject.package_digest,
            done="nothing was changed",
            hint="name an entry whose version is still there: --to-entry N",
        )
    policy = in_force.policy.stages.get(stage, StagePolicy())
    proved, reindex = _proved(found, held, opened, policy, wish, acknowledged, settings, progress)
    return draft(
        Act.ROLLBACK,
        opened,
        stage,
        found,
        in_force,
        wish.reason,
        gates=(*proved, _alias(opened, stage)),
        reindex=reindex,
        returns_to=target,
    )


def plan_demotion(name: str, *, stage: str, wish: Wish) -> Plan:
    """Plan to empty a stage.

    Raises:
        NotFoundError: nothing is in it.
        PairlockError: every other reason why it could not be looked at.
    """
    _, opened, in_force = begin(name, wish)
    if stage not in opened.state.stages:
        raise _empty(name, stage, opened)
    return draft(
        Act.DEMOTE, opened, stage, None, in_force, wish.reason, gates=(_alias(opened, stage),)
    )


def plan_adoption(name: str, *, stage: str, wish: Wish, progress: Progress = SILENT) -> Plan:
    """Plan to take over what MLflow says, from before there was a ledger or by hand.

    The alias of the stage's name counts first, then MLflow's legacy stage of that name.

    Raises:
        NotFoundError: MLflow has no version there.
        PairlockError: as `plan_promotion`.
    """
    settings, opened, in_force = begin(name, wish)
    policy = stage_policy(in_force, stage)
    acknowledged = acknowledgement(wish.reindex)
    version = opened.model.aliases.get(stage) or legacy_holders(name).get(stage.lower())
    held = opened.state.stages.get(stage)
    if version is None or (held is not None and held.version == version):
        raise NotFoundError(
            f"there is nothing to adopt as {stage} of {name}",
            kind=ErrorKind.STAGE_EMPTY,
            checked=f"the alias {stage}, and MLflow's stage of that name",
            expected="a version that the ledger does not know there",
            found="none" if version is None else f"version {version}, which the ledger knows",
            done="nothing was changed",
            hint=f"promote one: pairlock promote {name} VERSION --to {stage}",
        )
    found = read_version(name, version, settings)
    proved, reindex = _proved(found, held, opened, policy, wish, acknowledged, settings, progress)
    return draft(
        Act.ADOPT,
        opened,
        stage,
        found,
        in_force,
        wish.reason,
        gates=proved,
        reindex=reindex,
    )


def _proved(
    found: Version,
    held: Held | None,
    opened: Opened,
    policy: StagePolicy,
    wish: Wish,
    acknowledged: Acknowledgement | None,
    settings: Settings,
    progress: Progress,
) -> tuple[tuple[GateResult, ...], Reindex]:
    """What is asked of a version that a stage has had, or has in MLflow, and the verdict."""
    verification = verify_version(found, wish, progress)
    verdict = space_verdict(
        found, held, opened.ledger, name=opened.model.name, settings=settings, progress=progress
    )
    results = (
        gates.integrity_gate(verification),
        gates.golden_gate(verification),
        gates.pairing_gate(base_facts(found.manifest.base), StagePolicy()),
        gates.reindex_gate(verdict, acknowledged, policy),
    )
    return results, gates.reindex_record(verdict, acknowledged)


def _alias(opened: Opened, stage: str) -> GateResult:
    return gates.alias_gate(moved_by_hand(opened, stage), opened.model.name)


def _target(opened: Opened, stage: str, held: Held | None, to_entry: int | None) -> Held:
    if to_entry is None:
        if held is None:
            raise _empty(opened.model.name, stage, opened)
        to_entry = held.previous
    newest = -1 if opened.head is None else opened.head.entry.sequence
    target = None
    if to_entry is not None and 0 <= to_entry <= newest:
        # read by way of all after it: an entry that was sealed anew proves nothing by itself
        history = opened.ledger.history(opened.head)
        named = next(one for one in history if one.entry.sequence == to_entry)
        target = held_by(named.entry, stage)
    if target is None or target == held:
        raise NotFoundError(
            f"there is nothing to go back to in stage {stage} of {opened.model.name}",
            kind=ErrorKind.STAGE_EMPTY,
            checked="the ledger",
            expected="an entry by which another version came into the stage",
            found="none before the present holder"
            if to_entry is None
            else f"entry {to_entry}, by which none came there, or the present holder did",
            done="nothing was changed",
            hint=f"`pairlock history {opened.model.name}` lists the entries; "
            f"`pairlock demote` empties the stage",
        )
    return target


def _empty(name: str, stage: str, opened: Opened) -> NotFoundError:
    held = ", ".join(
        f"{key}: version {value.version}" for key, value in opened.state.stages.items()
    )
    return NotFoundError(
        f"nothing is in stage {stage} of {name}",
        kind=ErrorKind.STAGE_EMPTY,
        checked="the ledger's newest entry",
        expected=f"a version in {stage}",
        found=held or "no stage is held",
        done="nothing was changed",
        hint=f"`pairlock history {name}` shows what was done; `pairlock rollback {name} --stage "
        f"{stage} --to-entry N` brings back the version that came by entry N",
    )
