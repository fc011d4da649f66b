"""From the start of a process to its first vector, with the model in S3 and an empty cache.

One real S3 server (SeaweedFS on loopback) holds MiniLM, registered by Pairlock and by MLflow's own
Sentence-Transformers flavor. Sides, each a fresh process: Pairlock with its cache full and empty,
in each runtime; MLflow's flavor, which keeps no cache; and the bare transfer of the same files by
boto3 into an empty folder, from the start of a process as all other sides are, which has to import
boto3 as Pairlock has. Beside it, without a bar, the transfer alone in a process that has a client
already, by default and with eight parts of 8 MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from boto3.s3.transfer import TransferConfig
from cold_start import CALLABLE, FULL, MLFLOW, ONNX, TORCH, ours
from measure import Bar, FirstVector, first_vector, interleave_starts, report, report_bars
from samples import register

from support.servers import start_seaweedfs

BUCKET = "bench"
DEFAULT, TUNED = "boto3, default", "boto3, 8 x 8 MB"
CONFIGS = {
    DEFAULT: TransferConfig(),
    TUNED: TransferConfig(
        max_concurrency=8,
        multipart_chunksize=8 << 20,
        multipart_threshold=8 << 20,
        io_chunksize=1 << 20,
    ),
}
EMPTY = ", empty cache"
PROCESS = "boto3, default, fresh process"
TRANSFER = """
import sys, boto3
client = boto3.client("s3")
bucket, folder, *keys = sys.argv[1:]
for number, key in enumerate(keys):
    client.download_file(bucket, key, f"{folder}/{number}")
vector = []
"""


def emptied(cache: Path, start: Callable[..., FirstVector]) -> FirstVector:
    """Start a side with an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    os.sync()  # what the side before left to be written is not this side's
    return start(environment={"PAIRLOCK_CACHE": str(cache)})


def transfer(client: Any, keys: list[str], folder: Path, config: TransferConfig) -> FirstVector:
    """Bring the objects of a package into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    for number, key in enumerate(keys):
        target = folder / str(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(BUCKET, key, str(target), Config=config)
    return FirstVector(seconds=time.perf_counter() - start, peak_mb=0.0, vector=())


def start_transfer(keys: list[str], folder: Path) -> FirstVector:
    """The same in a fresh process, which imports boto3 and makes a client first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    return first_vector(TRANSFER, [BUCKET, str(folder), *keys])


def package_keys(client: Any) -> list[str]:
    """The objects of Pairlock's package."""
    found: list[str] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        found += [record["Key"] for record in page["Contents"]]
    (manifest,) = (
        key
        for key in found
        if key.endswith("/pairlock.json")
        and any(
            other.startswith(key[: -len("pairlock.json")] + "payload/model/") for other in found
        )
    )
    return [key for key in found if key.startswith(manifest.removesuffix("pairlock.json"))]


def measure(folder: Path, client: Any, rounds: int) -> bool:
    """Run every side in turn, and report; whether all bars are kept."""
    keys = package_keys(client)
    cache, target = folder / "empty-cache", folder / "transferred"
    sides: dict[str, Callable[[], FirstVector]] = {}
    for name, start in ours("minilm").items():
        sides[name] = start
        sides[name + EMPTY] = partial(emptied, cache, start)
    with_vectors = [*sides, MLFLOW]
    sides[MLFLOW] = partial(first_vector, FULL[MLFLOW])
    for name, config in CONFIGS.items():
        sides[name] = partial(transfer, client, keys, target, config)
    sides[PROCESS] = partial(start_transfer, keys, target)
    seconds, _ = interleave_starts(sides, rounds, alike=with_vectors)
    report("process start to first vector, MiniLM in S3 on loopback", seconds, TORCH)
    print()
    kept = report_bars(seconds, [Bar(side=TORCH + EMPTY, against=TORCH, ratio=1.1)], "time: ")
    for name in (ONNX, CALLABLE):
        allowed = f"{name} + 1.3 x the transfer"
        pairs = zip(seconds[name], seconds[PROCESS], strict=True)
        seconds[allowed] = [warm + 1.3 * bare for warm, bare in pairs]
        bar = Bar(side=name + EMPTY, against=allowed, ratio=1.0)
        kept &= report_bars(seconds, [bar], "time: ")
    print()
    for name in (ONNX, CALLABLE):
        more = statistics.median(seconds[name + EMPTY]) - statistics.median(seconds[name])
        for bare in (PROCESS, *CONFIGS):
            share = more / statistics.median(seconds[bare])
            print(f"an empty cache costs {share:.2f} x {bare}: {name}")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairlock-bench-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        server = start_seaweedfs(folder / "server")
        try:
            os.environ.update(server.environment())
            client = server.client()
            client.create_bucket(Bucket=BUCKET)
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            os.environ["PAIRLOCK_CACHE"] = str(folder / "cache")
            os.environ["MLFLOW_EXPERIMENT_NAME"] = "in-s3"
            os.chdir(folder)
            register(folder, location=f"s3://{BUCKET}/models")
            kept = measure(folder, client, arguments.rounds)
        finally:
            server.stop()
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
