"""The commands, and what happens around each of them."""

from __future__ import annotations

import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pairlock.cli import (
    audit,
    cache,
    carry,
    compile,
    diff,
    doctor,
    embed,
    evaluate,
    exit_codes,
    history,
    lineage,
    log,
    policy,
    profile,
    promote,
    pull,
    requests,
    show,
    verify,
    warm,
)
from pairlock.cli.output import Format, Output
from pairlock.errors import PairlockError
from pairlock.garbage import leave_to_the_system
from pairlock.installed import OF_AN_EXTRA, is_installed, library_missing

app = typer.Typer(
    name="pairlock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
    epilog=exit_codes.HELP,
    help="Package, prove and load finetuned embedding models. The registry is MLflow's: "
    "MLFLOW_TRACKING_URI chooses it, sqlite:///mlflow.db here is the default.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pairlock {version('pairlock')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _command(group: typer.Typer, run: Callable[..., int]) -> None:
    """Add a command. It returns its exit status and may raise any `PairlockError`."""

    @functools.wraps(run)
    def guarded(*args: Any, **kwargs: Any) -> None:
        # some commands write more formats than an error has
        output = Output(Format.JSON if kwargs["format"] == Format.JSON else Format.HUMAN)
        code = exit_codes.DONE
        try:
            try:
                code = _run_with_what_is_installed(run, *args, **kwargs)
            except PairlockError as error:
                code = exit_codes.exit_code(error)
                output.error(error)
            sys.stdout.flush()
        except BrokenPipeError:
            # whoever read the output has had enough, which is nobody's failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(code)

    group.command(run.__name__.rstrip("_"), epilog=exit_codes.HELP)(guarded)


def _run_with_what_is_installed(run: Callable[..., int], *args: Any, **kwargs: Any) -> int:
    """Run a command. That a library is missing which an extra brings is no defect.

    What needs one says so itself where that is known before anything is done.

    Raises:
        PairlockError: whatever the command raises, or that a library is not installed.
    """
    try:
        return run(*args, **kwargs)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OF_AN_EXTRA or is_installed(package):
            raise
        raise library_missing("this", [package]) from error


for _run in (
    log.log,
    show.show,
    verify.verify,
    embed.embed,
    profile.profile,
    promote.promote,
    promote.rollback,
    promote.demote,
    promote.adopt,
    requests.request,
    requests.approve,
    history.history,
    history.repair,
    evaluate.evaluate,
    audit.audit,
    lineage.lineage,
    diff.diff,
    pull.pull,
    warm.warm,
    compile.compile_,
    carry.export,
    carry.import_,
    doctor.doctor,
):
    _command(app, _run)

_cache = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=exit_codes.HELP,
    help="See, check and tidy what this machine keeps. PAIRLOCK_CACHE moves it.",
)
app.add_typer(_cache, name="cache")
for _cached in (cache.list_, cache.prune, cache.verify, cache.where):
    _command(_cache, _cached)

_policy = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=exit_codes.HELP,
    help="Check, show and store which gates guard which stage.",
)
app.add_typer(_policy, name="policy")
for _governed in (policy.check, policy.show, policy.store):
    _command(_policy, _governed)


def main() -> None:
    """Run the command line; the entry point `pairlock`."""
    # MLflow phones home otherwise, which no command here was asked to do
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # when a run ends MLflow prints its address to stdout, into the middle of a JSON document
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # MLflow's own default keeps a person waiting for minutes before a dead server is called dead
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of foreign files may be no Unicode, and have to be printed all the same
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception:  # noqa: BLE001 - the last line of defence: it says that this is our defect
        traceback.print_exc()
        print(
            "\nerror: this is a defect in Pairlock\n\nhint: please report it with the lines above",
            file=sys.stderr,
        )
        raise SystemExit(exit_codes.DEFECT) from None
    finally:
        leave_to_the_system()
