"""What a registry holds by its content, and how a copy of it is added.

Names and numbers belong to one registry; a package digest is the same in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pairlock.catalog.asking import asked
from pairlock.catalog.in_use import local_path, tracking_uri
from pairlock.catalog.location import DIGEST_TAG, Located
from pairlock.catalog.registry import (
    ask,
    client,
    need_registry,
    registry_unavailable,
    translated,
    unanswered,
)
from pairlock.catalog.versions import READY, state_by
from pairlock.registries import lent_to_mlflow

EXPERIMENT = "0"
"""MLflow's default experiment, which `pairlock log` uses too. Its id is the same in every registry,
and the server that keeps it says where its artifacts lie."""

_VERSIONS_TAG = "mlflow.modelVersions"
_PAGE = 100
_ALREADY_THERE = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A registered version that was found by its package digest."""

    name: str
    version: int
    state: str
    """As `VersionState.state`."""

    @property
    def uri(self) -> str:
        """What it is loaded as."""
        return f"models:/{self.name}/{self.version}"


def versions_by_digest(digest: str) -> tuple[Copy, ...]:
    """Every registered version that is tagged with a package digest, by name and number.

    A tag is what somebody wrote there: whoever uses the bytes compares them.

    Args:
        digest: `sha256:<hex>`.

    Raises:
        UnavailableError: the registry is not there, or did not answer.
    """
    need_registry()
    with unanswered(digest):
        versions = asked(lambda registry: registry.versions.tagged(DIGEST_TAG, digest))
    found = [
        Copy(name=one.name, version=one.version, state=state_by(one.status, one.stage))
        for one in versions
    ]
    return tuple(sorted(found, key=lambda copy: (copy.name, copy.version)))


def unregistered_copies(name: str, digest: str) -> tuple[str, ...]:
    """Logged models of a name and a package digest that were stored whole, and not registered.

    A process that ended between the two leaves one.

    Args:
        name: the logged model's name.
        digest: `sha256:<hex>`.

    Returns:
        Their ids.

    Raises:
        UnavailableError: the registry is not there, or did not answer.
    """
    wanted = f"tags.`{DIGEST_TAG}` = '{digest}'"
    return tuple(
        str(one.model_id)
        for one in _pages(digest, "search_logged_models", [EXPERIMENT], wanted)
        if str(one.name) == name
        and str(one.status).rpartition(".")[2].lower() == READY
        and _VERSIONS_TAG not in one.tags
    )


def add_version(name: str, model_id: str, tags: Mapping[str, str]) -> int:
    """Register a logged model.

    Args:
        name: the registered model, which is made when it is not there.
        model_id: what to register.
        tags: of the version, beside Pairlock's own tags of the logged model. It has all of them
            from its first moment.

    Returns:
        The version's number.

    Raises:
        UnavailableError: the registry is not there, or did not take it.
    """
    from mlflow.exceptions import MlflowException

    with translated(f"models:/{name}"):
        try:
            client().create_registered_model(name)
        except MlflowException as error:
            if error.error_code not in _ALREADY_THERE:
                raise
        own = client().get_logged_model(model_id).tags
        all_tags = {tag: text for tag, text in own.items() if tag.startswith("pairlock.")}
        all_tags.update(tags)
        with lent_to_mlflow():
            made = client().create_model_version(
                name, f"models:/{model_id}", tags=all_tags, model_id=model_id
            )
    version = int(made.version)
    with suppress(MlflowException):  # MLflow's pages link the two by it, and nothing else does
        linked = json.dumps([{"name": name, "version": version}])
        client().set_logged_model_tags(model_id, {_VERSIONS_TAG: linked})
    return version


def logged_location(model_id: str) -> Located:
    """Where the bytes of a logged model lie.

    Raises:
        NotFoundError: there is no such logged model.
        UnavailableError: the registry is not there, or did not answer.
    """
    uri = f"models:/{model_id}"
    found = ask(uri, "get_logged_model", model_id)
    return Located(requested=uri, uri=uri, location=local_path(str(found.artifact_location)))


def _pages(requested: str, method: str, *arguments: Any) -> Iterator[Any]:
    token: str | None = None
    for _ in range(10_000):
        found = ask(requested, method, *arguments, max_results=_PAGE, page_token=token)
        yield from found
        token = found.token
        if not token:
            return
    raise registry_unavailable(ValueError(f"{tracking_uri()} answers without end"))
