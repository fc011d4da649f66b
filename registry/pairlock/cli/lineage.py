"""`pairlock lineage`: what a version stands on, and what stands on it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.output import Format, Output


class LineageFormat(StrEnum):
    """How lineage is written."""

    HUMAN = "human"
    JSON = "json"
    MERMAID = "mermaid"


def lineage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="models:/name for all its versions, models:/name/3, models:/name@alias, a base's "
            "hf:// URI or folder, or the beginning of a digest.",
            show_default=False,
        ),
    ],
    index: Annotated[
        list[Path] | None,
        typer.Option(
            "--index",
            help="The folder of a stamped index. May be given several times.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, help="How many steps to show.", show_default="all"),
    ] = None,
    format: Annotated[
        LineageFormat, typer.Option("--format", help="How to write it.", case_sensitive=False)
    ] = LineageFormat.HUMAN,
) -> int:
    """Show what a version stands on, what stands on it, and what breaks if it goes away.

    Exit status 1: something that it stands on is missing or changed.
    """
    from pairlock.standing.tracing import lineage as trace

    output = Output(Format.JSON if format is LineageFormat.JSON else Format.HUMAN)
    found = trace(target, indexes=index or (), depth=depth, progress=output.progress())
    is_mermaid = format is LineageFormat.MERMAID
    output.result(found.to_dict(), found.to_mermaid() if is_mermaid else found.to_text())
    if not found.passed:
        return exit_codes.NO
    return exit_codes.DONE if found.known else exit_codes.COULD_NOT_CHECK
