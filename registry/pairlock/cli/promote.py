"""`pairlock promote`, `rollback`, `demote`, `adopt`: acts that change who holds a stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, BaseInstead, FormatOption
from pairlock.cli.output import Format, Output
from pairlock.cli.stage_options import (
    DryRun,
    ModelName,
    PolicyFile,
    Reason,
    Reindex,
    Stage,
    ToStage,
    VersionNumber,
)
from pairlock.cli.stage_output import done_text, plan_text, send_plan_text, sent_text

if TYPE_CHECKING:
    from pairlock.promotion import Plan, SendPlan


def promote(
    name: ModelName,
    version: VersionNumber,
    to: ToStage,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="A requirement beside the policy's: 'ndcg@10>=0.70'. May be given several times.",
            show_default=False,
        ),
    ] = None,
    no_regression: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric that may not be worse than that of the version in the stage, on a "
            "dataset that both were measured on. May be given several times.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="By how much those metrics may be worse.", min=0.0)
    ] = 0.0,
    reindex: Reindex = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="A persisted LlamaIndex index that shall answer under the version.",
            show_default=False,
        ),
    ] = None,
    bypass: Annotated[
        list[str] | None,
        typer.Option(
            help="A gate to pass over, where the policy lets it be; it takes --reason, and stays "
            "in the ledger. May be given several times.",
            show_default=False,
        ),
    ] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    to_registry: Annotated[
        str | None,
        typer.Option(
            help="Promote it in another registry, as MLFLOW_TRACKING_URI would name that. Package "
            "and base are copied there with their digests, where they are not there yet.",
            show_default=False,
        ),
    ] = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Bring a version into a stage: gates, one entry in the ledger, then MLflow's alias."""
    from pairlock.promotion import PromotionOptions, plan_promotion, plan_sending

    output = Output(format)
    options = PromotionOptions(
        require=require or (),
        no_regression=no_regression or (),
        tolerance=tolerance,
        reindex=reindex,
        index=index,
        bypass=bypass or (),
        reason=reason,
        policy=policy,
        base=base,
        allow=allow_class or (),
    )
    if to_registry is None:
        plan = plan_promotion(name, version, to=to, progress=output.progress(), **options)
        return finish(plan, output, dry_run=dry_run)
    sending = plan_sending(
        name, version, to=to, to_registry=to_registry, progress=output.progress(), **options
    )
    return _finish_sending(sending, output, dry_run=dry_run)


def rollback(
    name: ModelName,
    stage: Stage,
    to_entry: Annotated[
        int | None,
        typer.Option(
            help="The entry by which the version came that is returned to; the holder before the "
            "present one when left out.",
            min=0,
            show_default=False,
        ),
    ] = None,
    reindex: Reindex = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Bring back the version that held a stage before. A second one goes one further back."""
    from pairlock.promotion.planning.returning import plan_rollback
    from pairlock.promotion.rules.wishes import Wish

    output = Output(format)
    wish = Wish.of(
        reindex=reindex, reason=reason, policy=policy, base=base, allow=allow_class or ()
    )
    plan = plan_rollback(
        name, stage=stage, to_entry=to_entry, wish=wish, progress=output.progress()
    )
    return finish(plan, output, dry_run=dry_run)


def demote(
    name: ModelName,
    stage: Stage,
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Empty a stage."""
    from pairlock.promotion.planning.returning import plan_demotion
    from pairlock.promotion.rules.wishes import Wish

    plan = plan_demotion(name, stage=stage, wish=Wish(reason=reason, policy=policy))
    return finish(plan, Output(format), dry_run=dry_run)


def adopt(
    name: ModelName,
    stage: Stage,
    reindex: Reindex = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Take over what MLflow says of a stage: its alias, or its legacy stage of that name."""
    from pairlock.promotion.planning.returning import plan_adoption
    from pairlock.promotion.rules.wishes import Wish

    output = Output(format)
    wish = Wish.of(
        reindex=reindex, reason=reason, policy=policy, base=base, allow=allow_class or ()
    )
    plan = plan_adoption(name, stage=stage, wish=wish, progress=output.progress())
    return finish(plan, output, dry_run=dry_run)


def finish(plan: Plan, output: Output, *, dry_run: bool) -> int:
    """Print a plan, and execute it unless nothing shall be changed."""
    from pairlock.promotion import execute

    if dry_run:
        data: dict[str, Any] = {"plan": plan.to_dict(), "executed": False}
        words = "would be done" if plan.passed else "would be refused"
        output.result(data, f"{plan_text(plan)}\n{words}; nothing was changed")
        return exit_codes.DONE if plan.passed else exit_codes.NO
    if output.format is Format.HUMAN:
        print(plan_text(plan))
    done = execute(plan)
    output.result(done.to_dict(), done_text(done))
    return exit_codes.NO if done.followed.moved or done.followed.gone else exit_codes.DONE


def _finish_sending(plan: SendPlan, output: Output, *, dry_run: bool) -> int:
    from pairlock.promotion import execute_sending

    if dry_run:
        words = "would be done" if plan.passed else "would be refused"
        data = {"plan": plan.to_dict(), "executed": False}
        output.result(data, f"{send_plan_text(plan)}\n{words}; nothing was changed on either side")
        return exit_codes.DONE if plan.passed else exit_codes.NO
    if output.format is Format.HUMAN:
        print(send_plan_text(plan))
    sent = execute_sending(plan, progress=output.progress())
    output.result(sent.to_dict(), sent_text(sent))
    return exit_codes.NO if sent.followed.moved or sent.followed.gone else exit_codes.DONE
