"""`pairlock request` and `pairlock approve`: where a second person has to agree."""

from __future__ import annotations

from typing import Annotated

import typer

from pairlock.cli.options import FormatOption
from pairlock.cli.output import Format, Output
from pairlock.cli.promote import finish
from pairlock.cli.stage_options import (
    DryRun,
    ModelName,
    PolicyFile,
    Reason,
    ToStage,
    VersionNumber,
)


def request(
    name: ModelName,
    version: VersionNumber,
    to: ToStage,
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Ask for a promotion that somebody else has to agree to."""
    from pairlock.promotion.planning.requesting import plan_request
    from pairlock.promotion.rules.wishes import Wish

    plan = plan_request(name, version, to=to, wish=Wish(reason=reason, policy=policy))
    return finish(plan, Output(format), dry_run=dry_run)


def approve(
    name: ModelName,
    request_id: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST", help="As `pairlock request` printed it.", show_default=False
        ),
    ],
    reason: Reason = "",
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Agree to a request of somebody else's. PAIRLOCK_ACTOR names who is acting."""
    from pairlock.promotion.planning.requesting import plan_approval
    from pairlock.promotion.rules.wishes import Wish

    plan = plan_approval(name, request_id, wish=Wish(reason=reason, policy=policy))
    return finish(plan, Output(format), dry_run=dry_run)
