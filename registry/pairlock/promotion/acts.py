"""What a user calls: one function for each act. Each makes a plan and executes that plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pairlock.progress import SILENT, Progress
from pairlock.promotion import planning
from pairlock.promotion.delivering import Sent, execute_sending
from pairlock.promotion.executing import Executed, execute
from pairlock.promotion.plan import Plan
from pairlock.promotion.sending import plan_sending
from pairlock.promotion.wishes import Wish


def plan_promotion(
    name: str,
    version: int,
    *,
    to: str,
    require: Iterable[str] = (),
    no_regression: Iterable[str] = (),
    tolerance: float = 0.0,
    reindex: str | None = None,
    index: str | Path | None = None,
    bypass: Iterable[str] = (),
    reason: str = "",
    policy: str | Path | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Plan:
    """Find out what a promotion would do, and what every gate says. Nothing is changed.

    Args:
        name: the registered model.
        version: its version.
        to: the stage, such as `production`.
        require: requirements beside the policy's, such as `ndcg@10>=0.7`. A metric's newest
            measurement counts.
        no_regression: metrics that may not be worse than those of the version in the stage, on a
            dataset that both were measured on. More has to be better.
        tolerance: by how much they may be worse, in the metric's unit.
        reindex: `planned` or `done`, where the index has to be made again.
        index: a persisted LlamaIndex index that shall answer under the version.
        bypass: gates to pass over, where the policy lets them be; it takes a reason.
        reason: why; kept in the ledger.
        policy: the policy's file; None for `PAIRLOCK_POLICY`, or the nearest `pairlock.toml`.
        base: as `pairlock.load`.
        allow: as `pairlock.load`.
        progress: told about the work.

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
    return planning.plan_promotion(
        name,
        version,
        to=to,
        wish=_wish(reason, reindex, index, policy, base, allow),
        require=require,
        no_regression=no_regression,
        tolerance=tolerance,
        bypass=bypass,
        progress=progress,
    )


def promote(
    name: str,
    version: int,
    *,
    to: str,
    require: Iterable[str] = (),
    no_regression: Iterable[str] = (),
    tolerance: float = 0.0,
    reindex: str | None = None,
    index: str | Path | None = None,
    bypass: Iterable[str] = (),
    reason: str = "",
    policy: str | Path | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Executed:
    """Bring a version into a stage: gates, one entry in the ledger, then the alias.

    Args:
        name: as `plan_promotion`, and so are all others.
        version: see `name`.
        to: see `name`.
        require: see `name`.
        no_regression: see `name`.
        tolerance: see `name`.
        reindex: see `name`.
        index: see `name`.
        bypass: see `name`.
        reason: see `name`.
        policy: see `name`.
        base: see `name`.
        allow: see `name`.
        progress: see `name`.

    Returns:
        The plan, the entry, and what became of the aliases.

    Raises:
        RefusedError: a gate failed. Nothing was changed.
        ConflictError: somebody else changed the stage meanwhile; it says who.
        PairlockError: as `plan_promotion`.
    """
    return execute(
        plan_promotion(
            name,
            version,
            to=to,
            require=require,
            no_regression=no_regression,
            tolerance=tolerance,
            reindex=reindex,
            index=index,
            bypass=bypass,
            reason=reason,
            policy=policy,
            base=base,
            allow=allow,
            progress=progress,
        )
    )


def send(
    name: str,
    version: int,
    *,
    to: str,
    to_registry: str,
    require: Iterable[str] = (),
    no_regression: Iterable[str] = (),
    tolerance: float = 0.0,
    reindex: str | None = None,
    index: str | Path | None = None,
    bypass: Iterable[str] = (),
    reason: str = "",
    policy: str | Path | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Sent:
    """Promote a version in another registry: gates, the packages, an entry there and one here.

    Package and base are copied byte for byte, under their own names and with their own digests;
    what is there by its digest is used as it is. Run again after whatever interrupted it, it goes
    on where it stopped. Other threads keep the registry that MLflow is set to.

    Args:
        name: as `plan_promotion`, and so are all others.
        version: see `name`.
        to: the stage there.
        to_registry: the other registry, as `MLFLOW_TRACKING_URI` takes it.
        require: see `name`.
        no_regression: see `name`.
        tolerance: see `name`.
        reindex: see `name`.
        index: see `name`.
        bypass: see `name`.
        reason: see `name`.
        policy: see `name`.
        base: see `name`.
        allow: see `name`.
        progress: see `name`.

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
    plan = plan_sending(
        name,
        version,
        to=to,
        to_registry=to_registry,
        wish=_wish(reason, reindex, index, policy, base, allow),
        require=require,
        no_regression=no_regression,
        tolerance=tolerance,
        bypass=bypass,
        progress=progress,
    )
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
    wish = _wish(reason, reindex, None, policy, base, allow)
    return execute(
        planning.plan_rollback(name, stage=stage, to_entry=to_entry, wish=wish, progress=progress)
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
    wish = _wish(reason, None, None, policy, None, ())
    return execute(planning.plan_demotion(name, stage=stage, wish=wish))


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
    wish = _wish(reason, reindex, None, policy, base, allow)
    return execute(planning.plan_adoption(name, stage=stage, wish=wish, progress=progress))


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
    wish = _wish(reason, None, None, policy, None, ())
    return execute(planning.plan_request(name, version, to=to, wish=wish))


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
    wish = _wish(reason, None, None, policy, None, ())
    return execute(planning.plan_approval(name, request_id, wish=wish))


def _wish(
    reason: str,
    reindex: str | None,
    index: str | Path | None,
    policy: str | Path | None,
    base: str | None,
    allow: Iterable[str],
) -> Wish:
    return Wish(
        reason=reason,
        reindex=reindex,
        index=None if index is None else Path(index),
        base=base,
        allow=tuple(allow),
        policy=None if policy is None else Path(policy),
    )
