"""How long `pairlock --help` takes, against a Python that does nothing or imports typer."""

from __future__ import annotations

import argparse

from measure import interleave, process, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    start = "import sys; sys.argv = ['pairlock', '--help']; from pairlock.cli import main; main()"
    seconds = interleave(
        {
            "python -c pass": lambda: process(["-c", "pass"]),
            "python -c 'import typer'": lambda: process(["-c", "import typer"]),
            "pairlock --help": lambda: process(["-c", start]),
        },
        rounds,
    )
    report("command line start", seconds, "python -c pass")


if __name__ == "__main__":
    main()
