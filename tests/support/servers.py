"""Real servers for tests, on free ports of this machine: two S3 stores and MLflow's own server.

Every server is a process group of its own that writes a log into the folder it was given. It ends
with `stop` or `kill`, or at the latest with the process that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
REGION = "us-east-1"
START_LIMIT = 60.0
STOP_LIMIT = 10.0
_ATTEMPTS = 3
_OF_THE_USER = ("AWS_", "MLFLOW_", "_MLFLOW_", "RCLONE_", "WEED_")


class ServerProcess:
    """A process group with a log."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        leftovers: Sequence[Path] = (),
        patience: float = STOP_LIMIT,
    ) -> None:
        self.log = log
        self._leftovers = leftovers
        self._patience = patience
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.kill)

    @property
    def running(self) -> bool:
        """Whether the first process of the group runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask the group to end, wait, and kill what is left of it."""
        if self.running and self._patience:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._patience)
        self.kill()

    def kill(self) -> None:
        """End the group at once, as a crash does."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for path in self._leftovers:
            path.unlink(missing_ok=True)
        atexit.unregister(self.kill)

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-4000:]

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the group; there may be none left."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


@dataclass
class S3Server:
    """An S3 store and the credentials of its only user."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    name: str
    folder: Path
    process: ServerProcess = field(repr=False)

    def client(self, endpoint: str | None = None) -> Any:
        """A boto3 client of the store, or of a proxy in front of it."""
        return _client(endpoint or self.endpoint, self.access_key, self.secret_key)

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What boto3 and MLflow read from the environment to reach the store."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": endpoint or self.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def stop(self) -> None:
        """End the server."""
        self.process.stop()

    def kill(self) -> None:
        """End the server as a crash does."""
        self.process.kill()


@dataclass
class MlflowServer:
    """MLflow's tracking server, with its database in `folder`."""

    uri: str
    folder: Path
    process: ServerProcess = field(repr=False)

    def stop(self) -> None:
        """End the server."""
        self.process.stop()

    def kill(self) -> None:
        """End the server as a crash does."""
        self.process.kill()


def start_seaweedfs(folder: Path) -> S3Server:
    """Start SeaweedFS.

    A bucket takes at least one of the 200 volumes, and some time for its first object: one bucket
    with many prefixes is faster than many buckets.
    """
    access_key, secret_key = _credentials()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    user = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [user]}))
    # a bucket starts with one volume, not with seven: every bucket has volumes of its own
    environment = _environment() | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}

    def command(ports: Sequence[int]) -> list[str]:
        """The command line for some ports."""
        s3, s3_rpc, master, master_rpc, volume, volume_rpc, filer, filer_rpc = ports
        return [
            _executable("weed"),
            f"-logdir={folder}",
            "server",
            "-s3",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={master}",
            f"-master.port.grpc={master_rpc}",
            "-master.volumeSizeLimitMB=1024",
            "-master.telemetry=false",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_rpc}",
            "-volume.max=200",
            "-volume.preStopSeconds=0",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_rpc}",
            "-filer.localSocket=filer.sock",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_rpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.localSocket=s3.sock",
            "-s3.config=identities.json",
            "-s3.autoCreateBucket=false",
        ]

    def launch(ports: Sequence[int]) -> ServerProcess:
        """Start it on some ports."""
        roles = zip(("s3", "master", "volume", "filer"), ports[1::2], strict=True)
        sockets = [Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock") for role, port in roles]
        log = folder / "seaweedfs.log"
        # asked to end, it takes a quarter of a minute
        return ServerProcess(command(ports), environment, log, sockets, patience=0)

    port, process = _start(launch, 8, _takes_objects(access_key, secret_key))
    return S3Server(_url(port), access_key, secret_key, "seaweedfs", data, process)


def start_rclone(folder: Path) -> S3Server:
    """Start rclone as an S3 store; a bucket is a folder in `S3Server.folder`, an object a file."""
    access_key, secret_key = _credentials()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    environment = _environment() | {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"',
        "RCLONE_CACHE_DIR": str(folder / "cache"),
    }

    def launch(ports: Sequence[int]) -> ServerProcess:
        """Start it on some ports."""
        command = [_executable("rclone"), "serve", "s3", "--addr", f"{HOST}:{ports[0]}", str(data)]
        return ServerProcess(command, environment, folder / "rclone.log")

    port, process = _start(launch, 1, _takes_objects(access_key, secret_key))
    return S3Server(_url(port), access_key, secret_key, "rclone", data, process)


def start_mlflow(
    folder: Path,
    *,
    destination: str | None = None,
    environment: Mapping[str, str] | None = None,
    default_root: str | None = None,
) -> MlflowServer:
    """Start MLflow's server on `folder/mlflow.db`, which may exist.

    Args:
        folder: holds the database and the log.
        destination: where the server keeps the artifacts it serves; `folder/artifacts` otherwise.
        environment: more variables for the server, such as the credentials of a store.
        default_root: where clients keep the artifacts themselves; the server then serves none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = {
        **_environment(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **(environment or {}),
    }
    if default_root is None:
        artifacts = ["--artifacts-destination", destination or str(folder / "artifacts")]
    else:
        artifacts = ["--default-artifact-root", default_root, "--no-serve-artifacts"]

    def launch(ports: Sequence[int]) -> ServerProcess:
        """Start it on some ports."""
        database = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        address = ["--host", HOST, "--port", str(ports[0]), "--workers", "1"]
        command = [_executable("mlflow"), "server", *database, *artifacts, *address]
        return ServerProcess(command, variables, folder / "mlflow.log")

    port, process = _start(launch, 1, _is_healthy)
    return MlflowServer(_url(port), folder, process)


def _start(
    launch: Callable[[Sequence[int]], ServerProcess], count: int, ready: Callable[[str], bool]
) -> tuple[int, ServerProcess]:
    """Start a server on `count` free ports, of which the first is its own, and wait for it."""
    for attempt in range(1, _ATTEMPTS + 1):
        ports = free_ports(count)
        process = launch(ports)
        try:
            if _wait(process, ready, _url(ports[0])):
                return ports[0], process
        except BaseException:
            process.kill()
            raise
        ended = not process.running
        process.kill()
        # somebody else may have taken a port after it was found to be free
        if attempt == _ATTEMPTS or "address already in use" not in process.tail().lower():
            problem = "ended while it started" if ended else f"was not ready in {START_LIMIT:.0f} s"
            raise RuntimeError(f"{process.log.stem} {problem}:\n{process.tail()}")
    raise AssertionError("unreachable")


def _wait(process: ServerProcess, ready: Callable[[str], bool], url: str) -> bool:
    """Ask again and again whether a server is ready; false when it ends or takes too long."""
    end = time.monotonic() + START_LIMIT
    while process.running and time.monotonic() < end:
        if ready(url):
            return process.running
        time.sleep(0.1)
    return False


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _takes_objects(access_key: str, secret_key: str) -> Callable[[str], bool]:
    """A check that a store at some URL takes a bucket with an object, which it leaves no trace of.

    A bucket alone proves little: SeaweedFS makes one before it has a place for objects.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    clients: dict[str, Any] = {}
    bucket, key = "is-it-ready", "object"

    def ready(url: str) -> bool:
        """Try it."""
        if not _accepts(url):
            return False
        if url not in clients:
            clients[url] = _client(url, access_key, secret_key, attempts=1)
        client = clients[url]
        try:
            with suppress(ClientError):  # it may be there already
                client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key=key, Body=b"ready")
            client.delete_object(Bucket=bucket, Key=key)
            client.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return False
        return True

    return ready


def _is_healthy(url: str) -> bool:
    """Whether MLflow's server at a URL says that it is well."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def _accepts(url: str) -> bool:
    """Whether anything listens at a URL."""
    try:
        socket.create_connection((HOST, int(url.rpartition(":")[2])), timeout=1).close()
    except OSError:
        return False
    return True


def _client(endpoint: str, access_key: str, secret_key: str, attempts: int = 3) -> Any:
    """A boto3 client with credentials of its own."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": attempts, "mode": "standard"},
        ),
    )


def _credentials() -> tuple[str, str]:
    """A new access key and its secret."""
    return secrets.token_hex(10).upper(), secrets.token_hex(20)


def _environment() -> dict[str, str]:
    """This environment without anything that would configure the servers."""
    return {name: v for name, v in os.environ.items() if not name.startswith(_OF_THE_USER)}


def _executable(name: str) -> str:
    """A program beside this Python, or else on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is neither beside {sys.executable} nor on the path")
    return found


def _url(port: int) -> str:
    """The URL of a server on this machine."""
    return f"http://{HOST}:{port}"
