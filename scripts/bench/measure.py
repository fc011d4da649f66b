"""Interleaved measurements, reported as ratios.

A shared machine is slower at one moment than at the next, so the sides are run in turn, round after
round, and what is reported is the median of the rounds and the ratios of the medians.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

Side = Callable[[], float]
"""Runs once and returns seconds."""

Measured = dict[str, list[float]]
"""What each side gave in each round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a figure has to keep."""

    side: str
    against: str
    ratio: float
    at_least: bool = False
    """Whether the ratio is the least one; else it is the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstVector:
    """What a process needed for its first vector."""

    seconds: float
    """From its start until the vector was there."""

    peak_mb: float
    """The most memory that was resident until then."""

    vector: tuple[float, ...]


_TELL_VECTOR = """
import json as _json
_peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(_json.dumps([int(_peak), [float(number) for number in vector]]), flush=True)
"""
# VmHWM begins anew with a program; getrusage's figure is inherited from the process that starts it


def first_vector(
    code: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> FirstVector:
    """Run Python code in a process of its own until it has a vector.

    Args:
        code: leaves the vector in the variable `vector`.
        arguments: its `sys.argv[1:]`.
        environment: variables beside those of this process.
    """
    command = [sys.executable, "-c", code + _TELL_VECTOR, *arguments]
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        line = ""
        for line in child.stdout:
            if line.startswith("[") and line.endswith("]]\n"):
                break
        seconds = time.perf_counter() - start
        _, errors = child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"a side failed:\n{errors[-4000:]}")
    peak_kib, vector = json.loads(line)
    return FirstVector(seconds=seconds, peak_mb=peak_kib * 1024 / 1e6, vector=tuple(vector))


def interleave(sides: Mapping[str, Side], rounds: int) -> Measured:
    """Run every side once a round, in turn; the first round warms up and does not count."""
    seconds: Measured = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            taken = run()
            if number > 0:
                seconds[name].append(taken)
    return seconds


def interleave_starts(
    sides: Mapping[str, Callable[[], FirstVector]], rounds: int, *, alike: Sequence[str] = ()
) -> tuple[Measured, Measured]:
    """Start a process for every side once a round, in turn; the first round does not count.

    Args:
        sides: each starts a process.
        rounds: how many rounds count.
        alike: the sides that must come to the same vector, or what is compared is not the same.

    Returns:
        Seconds, and megabytes.
    """
    seconds: Measured = {name: [] for name in sides}
    megabytes: Measured = {name: [] for name in sides}
    for number in range(rounds + 1):
        vectors = {}
        for name, start in sides.items():
            found = start()
            vectors[name] = found.vector
            if number > 0:
                seconds[name].append(found.seconds)
                megabytes[name].append(found.peak_mb)
        for name in alike:
            apart = _most_apart(vectors[name], vectors[alike[0]])
            if apart > 1e-5:
                raise RuntimeError(f"{name} and {alike[0]} differ by {apart:.1e}")
    return seconds, megabytes


def _most_apart(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


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


def process(arguments: Sequence[str]) -> float:
    """Seconds from the start of a Python process to its end."""
    return timed(
        lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    )


def report(title: str, seconds: Measured, reference: str, *, unit: str = "s") -> None:
    """Print medians, spread, and the ratio of each side to the reference."""
    base = statistics.median(seconds[reference])
    print(f"\n{title}")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    width = max(len(name) for name in seconds)
    print(f"{'':<{width}}  {f'median {unit}':>9}  {'min':>8}  {'max':>8}  {'ratio':>7}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:<{width}}  {median:9.3f}  {min(values):8.3f}  {max(values):8.3f}  "
            f"{median / base:7.3f}"
        )


def report_bars(measured: Measured, bars: Sequence[Bar], what: str = "") -> bool:
    """Print for each bar whether the ratio of the medians keeps it; whether all are kept.

    The spread is that of the ratios of single rounds.
    """
    kept = True
    for bar in bars:
        side, against = measured[bar.side], measured[bar.against]
        ratio = statistics.median(side) / statistics.median(against)
        single = [one / other for one, other in zip(side, against, strict=True)]
        kept &= (met := ratio >= bar.ratio if bar.at_least else ratio <= bar.ratio)
        print(
            f"{'kept  ' if met else 'MISSED'}  {what}{bar.side} / {bar.against}: {ratio:.3f} "
            f"({min(single):.3f} to {max(single):.3f}), "
            f"{'at least' if bar.at_least else 'at most'} {bar.ratio:g}",
            flush=True,
        )
    return kept


def versions(*distributions: str) -> str:
    """The installed versions of distributions, in a line."""
    return ", ".join(f"{name} {version(name)}" for name in distributions)
