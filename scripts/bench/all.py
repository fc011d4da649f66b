"""Run every measurement that docs/performance.md shows, and write what they print into that page.

Where the page says `<!-- measured: cold_start.py --rounds 7 -->`, the block that follows is
replaced by what that command prints; a `--plot` is drawn into docs/performance/. The page then
shows what the scripts said on this machine today. A bar that is missed is printed as such, and is
no error here. It takes about half an hour on two cores; `--only NAME` measures anew what one script
says.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(
    r"(?P<head><!-- measured: (?P<command>[^\n]*?) -->\n)"
    r"(```text\n.*?```\n(\n!\[[^\n]*\n)?)?",
    re.DOTALL,
)
WHEN = re.compile(r"(?<=<!-- when -->\n)[^\n]*\n")


def output_of(command: str) -> str:
    """What a script prints; its errors go to the terminal."""
    name, *arguments = shlex.split(command)
    print(f"{datetime.now(UTC):%H:%M} {command}", file=sys.stderr, flush=True)
    path = Path(__file__).parent / name
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: a bar is missed
        raise RuntimeError(f"{command} ended with {done.returncode}")
    if not done.stdout.strip():
        raise RuntimeError(f"{command} printed nothing")
    return done.stdout


def machine() -> str:
    """The processor, the memory, the system and the commit."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*: (.*)", info)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}: "
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, "
        f"{pages / 1e9:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="scripts, such as cold_start.py")
    arguments = parser.parse_args()
    PAGE.with_suffix("").mkdir(exist_ok=True)

    def measured(found: re.Match[str]) -> str:
        command = found["command"]
        if arguments.only and command.split()[0] not in arguments.only:
            return found[0]
        made = f"{found['head']}```text\n{output_of(command).strip()}\n```\n"
        drawn = re.search(r"--plot docs/(\S+)", command)
        return made + (f"\n![The same as a picture]({drawn[1]})\n" if drawn else "")

    text = MARKED.sub(measured, PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(WHEN.sub(lambda _: machine(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
