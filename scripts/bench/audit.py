"""What an inventory of a whole registry costs beside MLflow's own listing of its versions.

Sides, in turn in one process, on a synthetic registry (`synthetic_registry.py`), on its sqlite file
and through a real `mlflow server` in front of it: MLflow's `search_model_versions` over all pages;
the first inventory with an empty cache; a second one; one after 10 changes; and `pairlock.audit`,
which also judges, with an empty cache and after 10 changes. The bars for the inventory: the first
at most 3 times the listing, that after changes at most 0.2 of the first, 300 MB above idle.
`--deep` compares hashing with as many `sha256sum`. `--plot` also measures registries of a tenth, of
three and of six tenths of the size on sqlite, and draws how the processor time grows: what a disk
needs for a million files depends on what else it has to do.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import mlflow
from measure import computed, interleave, report, timed
from mlflow import MlflowClient
from plot import write_lines
from synthetic_registry import make_registry

import pairlock
from pairlock.inventory import take
from support.servers import start_mlflow

LISTING, FIRST, SECOND, CHANGED = "MLflow's listing", "first", "second", "after 10 changes"
AUDIT, AUDIT_CHANGED = "whole audit, first", "whole audit, after 10 changes"

MEMORY = """
import sys, mlflow
from pathlib import Path
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_registry_uri(sys.argv[1])
from pairlock.inventory import take
import pairlock.catalog.tables, mlflow.store.tracking.sqlalchemy_store
mlflow.MlflowClient().search_registered_models(max_results=1)
def peak():  # not getrusage's, which begins with that of the process that started this one
    found = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    return int(found.split()[0]) / 1024
idle = peak()
found = take()
print(round(peak() - idle), sum(1 for _ in found.versions()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deep", action="store_true")
    parser.add_argument("--no-server", action="store_true")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PAIRLOCK_CACHE"] = str(folder / "cache")
        if arguments.deep:
            _deep(folder, arguments.rounds)
            return
        sizes = [arguments.versions]
        if arguments.plot:
            sizes = [max(100, arguments.versions * part // 10) for part in (1, 3, 6, 10)]
        points = [_measure(folder / str(size), size, arguments) for size in sizes]
        if arguments.plot:
            unit = points[0][LISTING]
            write_lines(
                arguments.plot,
                "Processor time of an inventory over the number of versions",
                sizes,
                {name: [point[name] / unit for point in points] for name in points[0]},
                f"1 = {LISTING} of {sizes[0]} versions",
            )


def _measure(folder: Path, versions: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure one registry; the medians on sqlite by side."""
    seconds = timed(lambda: make_registry(folder, versions))
    uri = f"sqlite:///{folder}/mlflow.db"
    print(f"{versions} versions made in {seconds:.0f} s", flush=True)
    clock = computed if arguments.plot else timed
    own = _sides(uri, folder, arguments.rounds, clock)
    _tell(f"{versions} versions, sqlite", own)
    _tell_memory(uri)
    if not (arguments.no_server or arguments.plot):
        with _server(folder) as address:
            _tell(f"{versions} versions, mlflow server", _sides(address, folder, arguments.rounds))
            _tell_memory(address)
    shutil.rmtree(folder)  # the next one may be ten times as large
    return {name: statistics.median(values) for name, values in own.items()}


def _sides(
    uri: str, folder: Path, rounds: int, clock: Callable[[Callable[[], object]], float] = timed
) -> dict[str, list[float]]:
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient(uri, uri)
    fresh = itertools.count()

    def first(act: Callable[[], object]) -> float:
        shutil.rmtree(os.environ["PAIRLOCK_CACHE"], ignore_errors=True)
        return clock(act)

    def changed(act: Callable[[], object]) -> float:
        _change(client, folder, next(fresh))
        return clock(act)

    return interleave(
        {
            LISTING: lambda: clock(lambda: _list(client)),
            FIRST: lambda: first(take),
            SECOND: lambda: clock(take),
            CHANGED: lambda: changed(take),
            AUDIT: lambda: first(pairlock.audit),
            AUDIT_CHANGED: lambda: changed(pairlock.audit),
        },
        rounds,
    )


def _list(client: MlflowClient) -> int:
    count, token = 0, None
    while True:
        page = client.search_model_versions(max_results=10_000, page_token=token)
        count += len(page)
        token = page.token
        if not token:
            return count


def _change(client: MlflowClient, folder: Path, turn: int) -> None:
    """Four new versions, three deleted ones, three damaged packages."""
    for number in range(4):
        (one,) = client.search_model_versions("name = 'base-00000'", max_results=1)
        model_id = one.source.removeprefix("models:/")
        client.create_model_version(f"model-{number:05}", source=one.source, model_id=model_id)
    for number in range(4, 7):
        found = client.search_model_versions(f"name = 'model-{number:05}'", max_results=1)
        if found:
            client.delete_model_version(found[0].name, found[0].version)
    packages = itertools.islice((folder / "mlruns/0/models").iterdir(), 3)
    for package in packages:
        (package / "artifacts/payload/golden.json").write_text("{" + " " * turn)


def _tell(title: str, seconds: dict[str, list[float]]) -> None:
    report(title, seconds, LISTING)
    for before, after in ((FIRST, CHANGED), (AUDIT, AUDIT_CHANGED)):
        ratio = statistics.median(seconds[after]) / statistics.median(seconds[before])
        print(f"{after} beside the first: {ratio:.3f}", flush=True)


def _tell_memory(uri: str) -> None:
    shutil.rmtree(os.environ["PAIRLOCK_CACHE"], ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, uri], check=True, capture_output=True, text=True
    )
    above, count = done.stdout.split()
    print(f"memory above idle: {above} MB for {count} versions", flush=True)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    server = start_mlflow(folder)
    try:
        yield server.uri
    finally:
        server.stop()


def _deep(folder: Path, rounds: int) -> None:
    """Hash packages with 8 MB in each adapter, and the same files with sha256sum."""
    uri = make_registry(folder / "deep", 100, file_bytes=8 << 20)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    files = sorted(str(path) for path in (folder / "deep/mlruns").rglob("payload/**/*.*"))
    listed = "\0".join(files).encode()
    command = ["xargs", "-0", "-P", str(os.cpu_count()), "-n", "16", "sha256sum"]

    def summed() -> object:
        return subprocess.run(command, input=listed, check=True, capture_output=True)

    sides: dict[str, Callable[[], float]] = {
        "sha256sum": lambda: timed(summed),
        "take(deep=True)": lambda: timed(lambda: take(deep=True)),
        "take()": lambda: timed(take),
    }
    report("every byte", interleave(sides, rounds), "sha256sum")


if __name__ == "__main__":
    main()
