"""Where the command line writes: data to stdout, words and progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from pairlock.errors import PairlockError
from pairlock.progress import SILENT, Progress
from pairlock.wording import counted


class Format(StrEnum):
    """How results are written."""

    HUMAN = "human"
    JSON = "json"


class Output:
    """One command's output.

    Args:
        format: human, or one JSON document.
    """

    def __init__(self, format: Format) -> None:
        self.format = format

    def result(self, data: Any, human: str) -> None:
        """Write the result to stdout.

        Args:
            data: the whole result, as JSON data.
            human: the same for a person.
        """
        if self.format is Format.JSON:
            print(json.dumps(data, ensure_ascii=False, indent=2))
        else:
            print(human)

    def say(self, text: str) -> None:
        """Say something beside the result, to stderr; silent in JSON."""
        if self.format is Format.HUMAN:
            print(text, file=sys.stderr)

    def error(self, error: PairlockError) -> None:
        """Write an error: to stderr for a person, as the JSON document on stdout otherwise."""
        if self.format is Format.JSON:
            print(json.dumps({"error": error.to_dict()}, ensure_ascii=False, indent=2))
            return
        sys.stdout.flush()  # where both go into one pipe, what was said before comes before
        print(f"error: {error.summary}", file=sys.stderr)
        hint = f"  hint: {error.hint}"
        for line in error.detail_lines():
            if line != hint:
                print(line, file=sys.stderr)
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr)

    def progress(self) -> Progress:
        """Bars on a terminal, nothing anywhere else."""
        if self.format is Format.HUMAN and sys.stderr.isatty():
            return TerminalProgress()
        return SILENT


class TerminalProgress:
    """Draws one line for each step on stderr."""

    @contextmanager
    def step(self, name: str, total_bytes: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show a step while it runs: bytes, rate and time left where the total is known."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True)
        words = TextColumn("{task.description}")
        sized = (words, BarColumn(), DownloadColumn(), TransferSpeedColumn())
        unsized = (SpinnerColumn(), words, TimeElapsedColumn())
        columns = unsized if total_bytes is None else sized
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(name, total=total_bytes)
            yield lambda count: progress.advance(task, count)


def duration(seconds: float) -> str:
    """A length of time in the unit that fits: `3 hours`."""
    for name, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return counted(round(seconds), "second")


def size(count: int) -> str:
    """A number of bytes in the unit that fits: `91.6 MB`."""
    value = float(count)
    for name in ("bytes", "kB", "MB"):
        if value < 1000:
            return counted(count, "byte") if name == "bytes" else f"{value:.1f} {name}"
        value /= 1000
    return f"{value:.1f} GB"


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of equal length, as plain text with a title row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns, as plain text."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)
