"""What tests of remote stores share: where they lie, and how bytes get in and out."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pairlock import PairlockError
from pairlock.digests import FileRecord
from pairlock.stores import Store
from support.registries import new_registry
from support.servers import MlflowServer, free_ports, start_mlflow


def point_to(patched: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Point boto3 and MLflow to a server, whatever this user has set up."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_S3_"))]:
        patched.delenv(name)
    for name, value in environment.items():
        patched.setenv(name, value)


@cache
def shared_server(template: Path) -> MlflowServer:
    """MLflow's server with an artifact proxy, started once; it ends with the process.

    Args:
        template: the fresh registry that it starts on, because making one is slow.
    """
    folder = template.with_name(f"{template.name}-of-the-server")
    new_registry(folder, template)
    return start_mlflow(folder)


def dead_endpoint() -> str:
    """A URL at which nothing listens."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def random_bytes(count: int, seed: int = 1) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(count)


def record_of(path: str, content: bytes) -> FileRecord:
    """The record of some bytes."""
    sha256 = hashlib.sha256(content).hexdigest()
    return FileRecord(path=path, size_bytes=len(content), sha256=sha256)


def put(store: Store, path: str, content: bytes, folder: Path) -> FileRecord:
    """Write bytes into a store, through a file in a folder."""
    source = folder / f"source-{os.urandom(4).hex()}"
    source.write_bytes(content)
    record = record_of(path, content)
    store.write(path, source, record)
    return record


def read_part(store: Store, path: str, start: int, length: int, at_most: int = 1 << 20) -> bytes:
    """Every byte of a part; checks what the store says about the size of the whole."""
    found = bytearray()
    with store.open_range(path, start=start, length=length) as body:
        while data := body.read(min(at_most, length - len(found))):
            assert len(data) <= at_most
            found += data
            if len(found) == length:
                break
    return bytes(found)


def survives_pickling(error: PairlockError) -> bool:
    """Whether an error is the same after it went to another process."""
    copy: Any = pickle.loads(pickle.dumps(error))
    return type(copy) is type(error) and copy.to_dict() == error.to_dict()
