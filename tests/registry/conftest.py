"""Real MLflow servers for the tests of what the registry is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.proxy import FaultProxy
from support.registries import active, new_registry
from support.servers import start_mlflow
from support.tracking import Tracking, fill, variables

MakeFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def s3_tracking(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    seaweedfs: Any,
    model_folders: MakeFolder,
) -> Iterator[Tracking]:
    """A server whose clients keep the artifacts in S3 themselves."""
    root = f"s3://pairlock/tracking-{os.urandom(4).hex()}"
    folder = tmp_path_factory.mktemp("s3-tracking")
    new_registry(folder, registry_template, artifacts=f"{root}/0")
    server = start_mlflow(folder, default_root=root)
    try:
        models = {name: model_folders(name) for name in ("tiny_model", "tiny_other")}
        yield fill(server, models, seaweedfs.environment())
    finally:
        server.stop()


@pytest.fixture(scope="session")
def proxied_tracking(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, model_folders: MakeFolder
) -> Iterator[Tracking]:
    """A server that serves the artifacts itself, from its disk."""
    folder = tmp_path_factory.mktemp("proxied-tracking")
    new_registry(folder, registry_template, artifacts="mlflow-artifacts:/0")
    server = start_mlflow(folder)
    try:
        yield fill(server, {"tiny_other": model_folders("tiny_other")}, {})
    finally:
        server.stop()


@pytest.fixture
def tracking(s3_tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracking]:
    """The server with artifacts in S3; what the registry is asked goes past `asked`."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with variables(s3_tracking.environment):
        yield s3_tracking


@pytest.fixture
def asked(tracking: Tracking) -> Iterator[FaultProxy]:
    """The registry in use: a proxy in front of the server, which counts and makes faults."""
    with FaultProxy(tracking.server.uri) as proxy, active(proxy.endpoint):
        yield proxy


@pytest.fixture
def fetched(tracking: Tracking, seaweedfs: Any, monkeypatch: Any) -> Iterator[FaultProxy]:
    """A proxy in front of S3, which counts."""
    with FaultProxy(seaweedfs.endpoint) as proxy:
        for name, value in seaweedfs.environment(proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        yield proxy
