"""Plans to bring a version into a stage: finds out, asks the gates, and says what would change."""

from __future__ import annotations

import time

from pairlock.index import read as read_stamp
from pairlock.ledger import Act
from pairlock.progress import SILENT, Progress
from pairlock.promotion.facts.aliases import moved_by_hand
from pairlock.promotion.facts.opened import stage_policy
from pairlock.promotion.facts.versions import (
    base_facts,
    holder_facts,
    measured_of,
    read_version,
    request_for,
    space_verdict,
    spaces_of,
    stages_of,
    verify_version,
)
from pairlock.promotion.planning.drafting import begin, draft, require_other
from pairlock.promotion.rules.gates import reindex_record
from pairlock.promotion.rules.judging import Examined, judge
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import Wish, asked_of


def plan_promotion(
    name: str, version: int, *, to: str, wish: Wish, progress: Progress = SILENT
) -> Plan:
    """Plan to bring a version into a stage. Nothing is written.

    Args:
        name: the registered model.
        version: its version.
        to: the stage.
        wish: how to examine it, and what is said of it.
        progress: told about the work.

    Raises:
        InvalidInputError: there is no such stage, or an argument cannot be.
        RefusedError: a gate that may not be bypassed was named.
        NotFoundError: there is no such model or version.
        PairlockError: every other reason why it could not be examined.
    """
    settings, opened, in_force = begin(name, wish)
    asked = asked_of(stage_policy(in_force, to), wish, to)
    found = read_version(name, version, settings)
    held = opened.state.stages.get(to)
    require_other(held, found, name, to)
    verification = verify_version(found, wish, progress)
    digest = found.subject.package_digest
    request = request_for(opened.state, to, version, digest)
    verdict = space_verdict(
        found, held, opened.ledger, name=name, settings=settings, progress=progress
    )
    examined = Examined(
        model=name,
        verification=verification,
        spaces=found.manifest.spaces,
        base=base_facts(found.manifest.base),
        stages=stages_of(opened.state, version),
        created_ms=found.located.created_ms,
        now_ms=int(time.time() * 1000),
        measured=measured_of(found.located, digest) if asked.metrics else (),
        holder=holder_facts(name, held, settings) if asked.policy.no_regression else None,
        request=request,
        how_to_ask=f"pairlock request {name} {version} --to {to}",
        before=spaces_of(opened.ledger, held),
        verdict=verdict,
        index=None if wish.index is None else read_stamp(wish.index),
        moved=moved_by_hand(opened, to),
    )
    return draft(
        Act.PROMOTE,
        opened,
        to,
        found,
        in_force,
        wish.reason,
        gates=judge(examined, asked),
        reindex=reindex_record(verdict, asked.acknowledged),
        request=None if request is None else request.id,
    )
