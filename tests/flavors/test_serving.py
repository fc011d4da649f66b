"""`mlflow models serve` on a package: a real server in another process, asked over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pairlock

START_S = 120


@pytest.fixture
def server(packaged: Callable[[str], str], shared_registry: Any) -> Iterator[tuple[str, str]]:
    """The URI of an adapter, and the address at which MLflow serves it."""
    uri = packaged("linear")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "-p", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": shared_registry.uri,
        "MLFLOW_REGISTRY_URI": shared_registry.uri,
    }
    process = subprocess.Popen(
        [*command, "--env-manager", "local"], env=environment, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/ping", process)
        yield uri, address
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_a_served_adapter_gives_what_load_gives(server: tuple[str, str]) -> None:
    """Queries and documents over HTTP are the vectors of `pairlock.load`, in their roles."""
    uri, address = server
    embedding = pairlock.load(uri)
    texts = ["where is my money?", "an invoice"]
    documents = ask(address, {"inputs": texts})
    queries = ask(address, {"inputs": texts, "params": {"role": "query"}})
    assert np.allclose(documents, embedding.get_text_embedding_batch(texts), atol=1e-6)
    expected = [embedding.get_query_embedding(text) for text in texts]
    assert np.allclose(queries, expected, atol=1e-6)
    assert not np.allclose(queries, documents, atol=1e-3)


def ask(address: str, body: dict[str, Any]) -> np.ndarray:
    """The predictions for a request."""
    request = urllib.request.Request(
        f"{address}/invocations",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return np.asarray(json.load(answer)["predictions"])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")
