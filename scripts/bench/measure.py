"""Interleaved measurements, reported as ratios.

A shared machine is slower at one moment than at the next, so the sides are run in turn, round after
round, and what is reported is the median of the rounds and the ratios of the medians.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

Side = Callable[[], float]
"""Runs once and returns seconds."""


def interleave(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Run every side once a round, in turn; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            taken = run()
            if number > 0:
                seconds[name].append(taken)
    return seconds


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def computed(run: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes, with processes that it starts and waits for."""
    start = _processor_s()
    run()
    return _processor_s() - start


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def process(arguments: list[str]) -> float:
    """Seconds from the start of a Python process to its end."""
    return timed(
        lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    )


def report(title: str, seconds: dict[str, list[float]], reference: str) -> None:
    """Print medians, spread, and the ratio of each side to the reference."""
    base = statistics.median(seconds[reference])
    print(f"\n{title}")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    width = max(len(name) for name in seconds)
    print(f"{'':<{width}}  {'median s':>9}  {'min':>8}  {'max':>8}  {'ratio':>7}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:<{width}}  {median:9.3f}  {min(values):8.3f}  {max(values):8.3f}  "
            f"{median / base:7.3f}"
        )
