"""What a user calls: one function for each act. Each makes a plan and executes that plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Unpack

from pairlock.garbage import collector_off
from pairlock.progress import SILENT, Progress
from pairlock.promotion.execution.delivering import Sent, execute_sending
from pairlock.promotion.execution.executing import Executed, execute
from pairlock.promotion.planning import promoting, requesting, returning
from pairlock.promotion.planning.sending import plan_sending
from pairlock.promotion.rules.plan import Plan
from pairlock.promotion.rules.wishes import PromotionOptions, Wish


def plan_promotion(
    name: str,
    version: int,
    *,
    to: str,
    progress: Progress = SILENT,
    **options: Unpack[PromotionOptions],
) -> Plan:
    """Find out what a promotion would do, and what every gate says. Nothing is changed.

    Args:
        name: the registered model.
        version: its version.
        to: the stage, such as `production`.
        progress: told about the work.
        **options: what else is asked of the version, and said of it:

            - require: requirements beside the policy's, such as `["ndcg@10>=0.7"]`. A metric's
              newest measurement counts.
            - no_regression: metrics that may not be worse than those of the version in the stage,
              on a dataset that both were measured on. More has to be better.
            - tolerance: by how much they may be worse, in the metric's unit; 0.
            - reindex: `planned` or `done`, where the index has to be made again.
            - index: a persisted LlamaIndex index that shall answer under the version.
            - bypass: gates to pass over, where the policy lets them be; it takes a reason.
            - reason: why; kept in the ledger.
            - policy: the policy's file; else `PAIRLOCK_POLICY`, or the nearest `pairlock.toml`.
            - base: as `pairlock.load`.
            - allow: as `pairlock.load`.

    Returns:
        The plan; `promote` makes and executes such a one.

    Raises:
        InvalidInputError: there is no such stage, or an argument cannot be.
        RefusedError: a gate was named that may not be bypassed.
        AlreadyExistsError: the version is in the stage already.
        NotFoundError: there is no such model or version, or its base is not there.
        FormatError: the policy cannot be read.
        PairlockError: every other reason why it could not be examined.
    """
    wish = Wish.of(**options)
    with collector_off():  # MLflow and the model's libraries are imported here
        return promoting.plan_promotion(name, version, to=to, wish=wish, progress=progress)


def promote(
    name: str,
    version: int,
    *,
    to: str,
    progress: Progress = SILENT,
    **options: Unpack[PromotionOptions],
) -> Executed:
    """Bring a version into a stage: gates, one entry in the ledger, then the alias.

    Args:
        name: the registered model.
        version: its version.
        to: the stage.
        progress: told about the work.
        **options: as `plan_promotion`.

    Returns:
        The plan, the entry, and what became of the aliases.

    Raises:
        RefusedError: a gate failed. Nothing was changed.
        ConflictError: somebody else changed the stage meanwhile; it says who.
        PairlockError: as `plan_promotion`.
    """
    return execute(plan_promotion(name, version, to=to, progress=progress, **options))


def send(
    name: str,
    version: int,
    *,
    to: str,
    to_registry: str,
    progress: Progress = SILENT,
    **options: Unpack[PromotionOptions],
) -> Sent:
    """Promote a version in another registry: gates, the packages, an entry there and one here.

    Package and base are copied byte for byte, under their own names and with their own digests;
    what is there by its digest is used as it is. Run again after whatever interrupted it, it goes
    on where it stopped. Other threads keep the registry that MLflow is set to.

    Args:
        name: the registered model's name, here and there.
        version: its version here.
        to: the stage there.
        to_registry: the other registry, as `MLFLOW_TRACKING_URI` takes it.
        progress: told about the work.
        **options: as `plan_promotion`.

    Returns:
        What is there now, and the entries on both sides.

    Raises:
        InvalidInputError: the other registry is none, or this one.
        RefusedError: a gate failed. Nothing was changed on either side.
        AlreadyExistsError: the package is in the stage there, and both sides know.
        ConflictError: somebody else changed the stage there meanwhile.
        UnavailableError: one of the registries, or of their stores, does not answer or refuses.
        PairlockError: as `plan_promotion`.
    """
    plan = plan_sending(name, version, to=to, to_registry=to_registry, progress=progress, **options)
    return execute_sending(plan, progress=progress)


def rollback(
    name: str,
    *,
    stage: str,
    to_entry: int | None = None,
    reindex: str | None = None,
    reason: str = "",
    policy: str | Path | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Executed:
    """Bring back who held a stage before.

    A second rollback goes one further back. Bytes, base and golden vectors are proved again; what
    else the policy asks for was passed when that version came into the stage.

    Args:
        name: the registered model.
        stage: the stage.
        to_entry: the ledger's entry by which the version came; None for the holder before.
        reindex: as `plan_promotion`, and so are all others.
        reason: see `reindex`.
        policy: see `reindex`.
        base: see `reindex`.
        allow: see `reindex`.
        progress: see `reindex`.

    Raises:
        NotFoundError: nobody held the stage before, or that version is gone.
        RefusedError: a gate failed. Nothing was changed.
        ConflictError: somebody else changed the stage meanwhile.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(reindex=reindex, reason=reason, policy=policy, base=base, allow=allow)
    return execute(
        returning.plan_rollback(name, stage=stage, to_entry=to_entry, wish=wish, progress=progress)
    )


def demote(
    name: str, *, stage: str, reason: str = "", policy: str | Path | None = None
) -> Executed:
    """Empty a stage. `rollback` afterwards has nothing to go back to, but for a named entry.

    Args:
        name: the registered model.
        stage: the stage.
        reason: why; kept in the ledger.
        policy: as `plan_promotion`.

    Raises:
        NotFoundError: nothing is in it.
        RefusedError: its alias was moved by hand.
        ConflictError: somebody else changed the stage meanwhile.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(reason=reason, policy=policy)
    return execute(returning.plan_demotion(name, stage=stage, wish=wish))


def adopt(
    name: str,
    *,
    stage: str,
    reindex: str | None = None,
    reason: str = "",
    policy: str | Path | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Executed:
    """Take a stage over into the ledger that MLflow knows and the ledger does not.

    It is the version that the alias of this name points to, or else the newest one in MLflow's
    legacy stage of this name. It is proved; what else the policy asks for is not.

    Args:
        name: the registered model.
        stage: the stage.
        reindex: as `plan_promotion`, and so are all others.
        reason: see `reindex`.
        policy: see `reindex`.
        base: see `reindex`.
        allow: see `reindex`.
        progress: see `reindex`.

    Raises:
        NotFoundError: MLflow has no version there, or the ledger knows it already.
        RefusedError: a gate failed. Nothing was changed.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(reindex=reindex, reason=reason, policy=policy, base=base, allow=allow)
    return execute(returning.plan_adoption(name, stage=stage, wish=wish, progress=progress))


def request(
    name: str, version: int, *, to: str, reason: str = "", policy: str | Path | None = None
) -> Executed:
    """Ask for a promotion that somebody else has to agree to.

    Args:
        name: the registered model.
        version: its version.
        to: the stage.
        reason: why; kept in the ledger.
        policy: as `plan_promotion`.

    Returns:
        The act; its entry's `request` is what `approve` takes.

    Raises:
        AlreadyExistsError: it was asked for already.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(reason=reason, policy=policy)
    return execute(requesting.plan_request(name, version, to=to, wish=wish))


def approve(
    name: str, request_id: str, *, reason: str = "", policy: str | Path | None = None
) -> Executed:
    """Agree to a request of somebody else's.

    Args:
        name: the registered model.
        request_id: the request.
        reason: why; kept in the ledger.
        policy: as `plan_promotion`.

    Raises:
        NotFoundError: there is no such open request.
        RefusedError: it is the actor's own, or the actor agreed already.
        PairlockError: as `plan_promotion`.
    """
    wish = Wish.of(reason=reason, policy=policy)
    return execute(requesting.plan_approval(name, request_id, wish=wish))
