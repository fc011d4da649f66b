"""MLflow's own server with packages in it, and short ways to open a package as a load does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException

import pairlock
from pairlock.catalog import DIGEST_TAG
from pairlock.config import current_settings
from pairlock.packages import Package, open_package
from pairlock.progress import SILENT
from pairlock.resolution import resolve
from support.registries import active
from support.servers import MlflowServer


@dataclass(frozen=True)
class Stored:
    """A package that the server knows as a logged model, in no registered version yet."""

    model_id: str
    digest: str


@dataclass
class Tracking:
    """A server, the packages in it, and the credentials for where they lie."""

    server: MlflowServer
    stored: Mapping[str, Stored]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def client(self) -> MlflowClient:
        """MLflow's client, past every proxy."""
        return MlflowClient(self.server.uri, self.server.uri)

    def new_name(self) -> str:
        """A name that no registered model has."""
        return f"m-{uuid.uuid4().hex[:12]}"

    def register(
        self, package: str, name: str | None = None, *, tagged: bool = True, alias: str = ""
    ) -> str:
        """Register a version of a stored package, as `log_model` does; returns its URI."""
        name = name or self.new_name()
        client, stored = self.client, self.stored[package]
        with suppress(RestException):  # it may be there already
            client.create_registered_model(name)
        version = client.create_model_version(
            name,
            source=f"models:/{stored.model_id}",
            model_id=stored.model_id,
            tags={DIGEST_TAG: stored.digest} if tagged else {},
            await_creation_for=None,
        )
        if alias:
            client.set_registered_model_alias(name, alias, version.version)
        return f"models:/{name}/{version.version}"


def fill(server: MlflowServer, models: Mapping[str, Path], environment: Mapping[str, str]) -> Any:
    """Log models to a server, without registering them."""
    with variables(environment), active(server.uri):
        stored = {}
        for name, folder in models.items():
            logged = pairlock.log_model(folder, name)
            stored[name] = Stored(logged.model_info.model_id, logged.package_digest)
    return Tracking(server, stored, environment)


@contextmanager
def variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Use the credentials of a store for a while, whatever this user has set up."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_S3_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


def opened(
    uri: str,
    *,
    offline: bool | None = None,
    rehash: bool = False,
    expected_digest: str | None = None,
    cache: Path | None = None,
) -> Package:
    """Resolve a reference and open the package, as a load does before any library is involved."""
    settings = current_settings(offline=offline, rehash=rehash)
    if cache is not None:
        settings = replace(settings, cache=cache)
    located = resolve(uri, settings)
    return open_package(
        located, settings=settings, progress=SILENT, expected_digest=expected_digest
    )
