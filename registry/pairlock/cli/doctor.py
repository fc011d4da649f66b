"""`pairlock doctor`: what is installed, where things are, what is wrong."""

from __future__ import annotations

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption
from pairlock.cli.output import Format, Output, table


def doctor(format: FormatOption = Format.HUMAN) -> int:
    """Show what is installed, where things are, what is wrong."""
    from pairlock.diagnosis import diagnose, to_dict

    facts = diagnose()
    problems = [fact for fact in facts if fact.problem]
    lines = [table([(fact.name, fact.value) for fact in facts]), ""]
    lines += [f"problem: {fact.name}: {fact.problem}" for fact in problems]
    lines += [] if problems else ["nothing is wrong"]
    Output(format).result(to_dict(facts), "\n".join(lines))
    return exit_codes.NO if problems else exit_codes.DONE
