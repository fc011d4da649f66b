"""`pairlock audit`: what is wrong in a registry, or is going to be."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairlock.auditing.codes import Severity
from pairlock.cli import exit_codes
from pairlock.cli.audit_output import AuditFormat, document, fix_lines
from pairlock.cli.options import AllowClass
from pairlock.cli.output import Format, Output
from pairlock.cli.stage_options import DryRun, PolicyFile
from pairlock.cli.stopping import stoppable
from pairlock.errors import ErrorKind, InvalidInputError, PairlockError
from pairlock.plain_text import printable
from pairlock.progress import Progress

if TYPE_CHECKING:
    from pairlock.auditing.result import Audit


class FailOn(StrEnum):
    """From which severity on the exit status is 1."""

    WARNING = "warning"
    ERROR = "error"
    NEVER = "never"


def audit(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A registered model, or a pattern such as 'support-*'. May be given several "
            "times, as all filters may.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Versions in this stage or under this alias.", show_default=False),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="Versions on this base: its URI or a pattern, an alias, or the first digits of "
            "its digest.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="full, linear, two_layer, custom, peft, foreign or unknown.", show_default=False
        ),
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(help="Findings of this code, such as base-moved.", show_default=False),
    ] = None,
    severity: Annotated[
        Severity | None, typer.Option(help="Findings this bad at least.", show_default=False)
    ] = None,
    format: Annotated[
        AuditFormat, typer.Option(help="How to write the result.", case_sensitive=False)
    ] = AuditFormat.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write the result to this file, whole or not at all, and the table to stdout.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="The least severity that makes the exit status 1.")
    ] = FailOn.ERROR,
    baseline: Annotated[
        Path | None, typer.Option(help="A file of accepted findings.", show_default=False)
    ] = None,
    write_baseline: Annotated[
        Path | None,
        typer.Option(
            help="Accept what is found now: write it to this new file. Takes --reason and --until.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why it is accepted, for --write-baseline.", show_default=False)
    ] = "",
    until: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The last day on which it is accepted, for --write-baseline.",
            show_default=False,
        ),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Hash every byte.")] = False,
    golden: Annotated[
        bool,
        typer.Option("--golden", help="Recompute the golden vectors, in float32 on the CPU."),
    ] = False,
    policy: PolicyFile = None,
    allow_class: AllowClass = None,
    index: Annotated[
        list[Path] | None,
        typer.Option(
            help="The folder of a stamped index, to be compared with the registry. May be given "
            "several times.",
            show_default=False,
        ),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Do what is safe about findings, then audit again.")
    ] = False,
    dry_run: DryRun = False,
    log_run: Annotated[
        bool,
        typer.Option("--log-run", help="Log the audit as an MLflow run, with its report page."),
    ] = False,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="The experiment for --log-run. It is made when it is not there.",
            show_default="pairlock-audit",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="How many requests and processes at once.", show_default=False),
    ] = None,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Read everything again, also what did not change.")
    ] = False,
) -> int:
    """Find what is wrong in a registry, or is going to be: one row for each version."""
    from pairlock.auditing.acts import audit as look

    writing = _writing(write_baseline, reason, until, fix=fix)
    if dry_run and not fix:
        raise _usage("--dry-run without --fix", "an audit without --fix changes nothing")
    if experiment is not None and not log_run:
        raise _usage("--experiment without --log-run", "give both")
    if log_run:
        from pairlock.catalog import require_usable
        from pairlock.report import EXPERIMENT

        experiment = EXPERIMENT if experiment is None else experiment
        require_usable(experiment)  # before the work, not after it
    console = Output(Format.JSON if format is AuditFormat.JSON else Format.HUMAN)
    progress = console.progress()

    def looked() -> Audit:
        with stoppable() as stop:
            return look(
                models=model or (),
                stages=stage or (),
                bases=base or (),
                kinds=kind or (),
                codes=code or (),
                severity=severity,
                baseline=baseline,
                deep=deep,
                golden=golden,
                policy=policy,
                allow=allow_class or (),
                indexes=index or (),
                jobs=jobs,
                remembered=not no_memory,
                progress=progress,
                stop=stop,
            )

    found = looked()
    fixes = None
    if fix:
        found, fixes = _fixed(found, looked, console, dry_run=dry_run)
    _write(found, format, output, fixes)
    status = _status(found, fail_on)
    if writing is not None and found.complete:
        _accept(found, *writing, console)
        status = exit_codes.DONE
    elif writing is not None:
        console.say("no baseline was written: the audit is not complete")
    if experiment is not None:
        return _log(found, experiment, status, progress) or status
    return status


def _status(found: Audit, fail_on: FailOn) -> int:
    """What was not looked at may be worse than what was found, so that it counts first."""
    if not found.checked_everything:
        return exit_codes.COULD_NOT_CHECK
    at_least = None if fail_on is FailOn.NEVER else Severity(fail_on.value)
    return exit_codes.NO if found.fails(at_least) else exit_codes.DONE


def _write(
    found: Audit, format: AuditFormat, output: Path | None, fixes: dict[str, Any] | None
) -> None:
    text = document(found, format, fixes=fixes)
    if output is None:
        # as it is: a CSV's lines end with CRLF on every system
        print(text, end="")
        return
    from pairlock.staging import write_whole

    write_whole(output, text.encode("utf-8", "backslashreplace"), replace=True)
    if format is not AuditFormat.TABLE:
        print(document(found, AuditFormat.TABLE), end="")
    print(f"written to {output}", file=sys.stderr)


def _log(found: Audit, experiment: str, status: int, progress: Progress) -> int:
    """Log the audit as a run. It was written before, so that nothing here takes it away.

    Both go to stderr, whatever the format: stdout has one document.

    Returns:
        The exit status for why it could not be logged; 0 when it was.
    """
    from pairlock.report import log_audit

    sys.stdout.flush()
    try:
        run = log_audit(found, experiment=experiment, exit_status=status, progress=progress)
    except PairlockError as error:
        Output(Format.HUMAN).error(error)
        return exit_codes.exit_code(error)
    where = f"run {run.run_id} of the experiment {printable(run.experiment)}"
    print(f"logged as {where}" + (f": {run.url}" if run.url else ""), file=sys.stderr)
    return exit_codes.DONE


def _fixed(
    found: Audit, looked: Callable[[], Audit], console: Output, *, dry_run: bool
) -> tuple[Audit, dict[str, Any]]:
    """Plan, act unless told not to, and look again."""
    from pairlock.auditing.fixing import execute_fixes, plan_fixes
    from pairlock.config import current_settings

    settings = current_settings()
    plan = plan_fixes(found.inventory, found.findings, settings=settings)
    act = not dry_run and found.complete
    done = execute_fixes(plan, settings=settings, progress=console.progress()) if act else ()
    for line in fix_lines(plan, done):
        console.say(line)
    if not found.complete:
        console.say("nothing was mended: the audit is not complete")
    fixes = {"plan": plan.to_dict(), "done": [one.to_dict() for one in done]}
    return (looked() if done else found), fixes


def _writing(
    file: Path | None, reason: str, until: dt.datetime | None, *, fix: bool
) -> tuple[Path, str, dt.date] | None:
    """What `--write-baseline` asks for, checked before anything is looked at.

    Raises:
        InvalidInputError: something is missing, or cannot be.
        AlreadyExistsError: the file is there.
    """
    if file is None:
        if reason or until is not None:
            raise _usage("--reason or --until without --write-baseline", "name the file as well")
        return None
    if not reason.strip() or until is None:
        raise _usage("--write-baseline without --reason or --until", "give both")
    if until.date() < dt.datetime.now(dt.UTC).date():
        raise _usage(f"--until {until.date()}, which has passed", "name a day to come")
    if fix:
        raise _usage("--write-baseline and --fix", "mend first, then accept what is left")
    from pairlock.staging import require_absent

    require_absent(file)
    return file, reason, until.date()


def _accept(found: Audit, file: Path, reason: str, until: dt.date, console: Output) -> None:
    from pairlock.auditing.baseline import Accepted, baseline_text, entry_for
    from pairlock.staging import write_whole

    accepted = [
        *found.accepted,
        *(
            Accepted(finding=one, entry=entry_for(one, reason=reason, until=until))
            for one in found.findings
        ),
    ]
    text = baseline_text(accepted, kept=found.kept)
    write_whole(file, text.encode(), replace=False)
    console.say(f"accepted until {until}, in {file}: {len(found.findings)}")


def _usage(found: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        "these options do not go together",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="the options",
        expected="as `pairlock audit --help` says",
        found=found,
        done="nothing was audited",
        hint=hint,
    )
