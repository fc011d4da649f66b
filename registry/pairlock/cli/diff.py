"""`pairlock diff`: in what two versions differ."""

from __future__ import annotations

from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output


def diff(
    before: Uri,
    after: Uri,
    all_: Annotated[bool, typer.Option("--all", help="Show also what is the same.")] = False,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Show in what a version differs from another: files, base, settings, metrics, spaces.

    Exit status 0: both are one package, byte for byte; 1: they are two.
    """
    from pairlock.comparing.diffing import diff as compare
    from pairlock.comparing.table import table_of

    output = Output(format)
    found = compare(before, after, offline=offline, progress=output.progress())
    output.result(found.to_dict(), table_of(found, everything=all_))
    return exit_codes.DONE if found.same else exit_codes.NO
