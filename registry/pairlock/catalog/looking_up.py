"""From a reference to where a model lies, and what vouches for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from pairlock.catalog.asking import (
    Answering,
    Reason,
    RegisteredVersion,
    UnansweredError,
    asked,
)
from pairlock.catalog.database import sqlite_path
from pairlock.catalog.in_use import local_path, tracking_uri
from pairlock.catalog.location import DIGEST_TAG, GRAPH_TAG, Located
from pairlock.catalog.registry import NOTHING_DONE, unanswered
from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError
from pairlock.references import (
    AliasReference,
    FolderReference,
    HubReference,
    LoggedModelReference,
    Reference,
    RemoteReference,
    RunReference,
    StageReference,
    VersionReference,
    parse_reference,
)

Known = Callable[[str], Located | None]
"""From a version's URI to what was answered for it before."""


def locate(reference: Reference, *, known: Known = lambda _uri: None) -> Located:
    """Look up where a model lies.

    An alias or a stage is resolved here, once; the answer names a version. A version that is known,
    and was not made again since, costs one question: whether it is still there.

    Args:
        reference: a parsed reference. Hub references are not looked up here.
        known: what was answered before.

    Returns:
        The location and the digests recorded for it.

    Raises:
        NotFoundError: there is no such model, version, alias or run.
        UnavailableError: the registry cannot be reached.
    """
    if isinstance(reference, FolderReference):
        path = str(reference.path)
        return Located(requested=path, uri=path, location=path)
    if isinstance(reference, RemoteReference | HubReference):
        return Located(requested=str(reference), uri=str(reference), location=str(reference))
    requested = str(reference)
    _need_registry(requested)
    with unanswered(requested):
        return asked(partial(_look_up, reference, requested=requested, known=known))


def _need_registry(requested: str) -> None:
    """Looking something up makes no registry: an embedded one that is not there holds nothing."""
    path = sqlite_path(tracking_uri())
    if path is not None and not path.exists():
        raise NotFoundError(
            f"{requested} is not in the registry: there is no registry yet",
            kind=ErrorKind.MODEL_NOT_FOUND,
            checked=str(path),
            expected="MLflow's database",
            found="nothing",
            done=NOTHING_DONE,
            hint="go to the folder where the models were logged, set MLFLOW_TRACKING_URI to its "
            "registry, or log a model first",
        )


def _look_up(reference: Reference, registry: Answering, *, requested: str, known: Known) -> Located:
    if isinstance(reference, VersionReference):
        version = registry.versions.version(reference.name, reference.version)
        return _version(registry, requested, version, known)
    if isinstance(reference, AliasReference):
        version = registry.versions.aliased(reference.name, reference.alias)
        return _version(registry, requested, version, known)
    if isinstance(reference, StageReference):
        return _version(registry, requested, _newest_in_stage(registry, reference), known)
    if isinstance(reference, LoggedModelReference):
        return _logged_model(registry, requested, reference.model_id)
    assert isinstance(reference, RunReference)  # `locate` answers the others itself
    return _run_model(registry, requested, reference)


def _version(
    registry: Answering, requested: str, version: RegisteredVersion, known: Known
) -> Located:
    uri = f"models:/{version.name}/{version.version}"
    if version.status != "READY":
        raise NotFoundError(
            f"{uri} is not ready",
            kind=ErrorKind.VERSION_NOT_READY,
            checked="the version's status",
            expected="READY",
            found=f"{version.status} {version.status_message}".strip(),
            done=NOTHING_DONE,
            hint="log the model again, or choose another version",
        )
    own = _anchor("version tag", version.tags)
    before = known(uri)
    if (
        before is not None
        and before.created_ms == version.created_ms
        and own.items() <= before.anchors.items()
    ):
        return replace(before, requested=requested, graphs=_graphs(version.tags))
    location = registry.versions.download_location(version.name, version.version)
    return Located(
        requested=requested,
        uri=uri,
        location=local_path(location),
        anchors={**_origin_anchors(registry, version), **own},
        graphs=_graphs(version.tags),
        name=version.name,
        version=version.version,
        created_ms=version.created_ms,
    )


def _origin_anchors(registry: Answering, version: RegisteredVersion) -> Mapping[str, str]:
    """What vouches for the logged model, or the version, that a version was registered from.

    Registering a version again drops its tags, and a tag can be deleted.
    """
    if not version.source.startswith("models:/"):
        return {}
    try:
        reference = parse_reference(version.source)
        requested = str(reference)
        if not isinstance(reference, VersionReference):
            found = _look_up(reference, registry, requested=requested, known=_nothing_known)
            return found.anchors
        origin = registry.versions.version(reference.name, reference.version)
        if origin.created_ms >= version.created_ms:
            return {}  # the name is another's by now, or its own: a source is older
        return _version(registry, requested, origin, _nothing_known).anchors
    except (NotFoundError, InvalidInputError):
        return {}  # deleted since; the version keeps its own tag and its bytes
    except UnansweredError as error:
        if error.reason is Reason.MISSING:
            return {}
        raise


def _nothing_known(_uri: str) -> None:
    """What is known of a version that was not asked for itself."""


def _logged_model(registry: Answering, requested: str, model_id: str) -> Located:
    model = registry.models.logged_model(model_id)
    return Located(
        requested=requested,
        uri=f"models:/{model_id}",
        location=local_path(model.location),
        anchors=_anchor("logged model tag", model.tags),
    )


def _run_model(registry: Answering, requested: str, reference: RunReference) -> Located:
    models = map(registry.models.logged_model, registry.models.models_of_run(reference.run_id))
    found = [model for model in models if model.name == reference.name]
    if len(found) != 1:
        raise NotFoundError(
            f"{requested} names {'no' if not found else 'more than one'} model",
            kind=ErrorKind.MODEL_NOT_FOUND,
            checked=f"the models logged under run {reference.run_id}",
            expected=f"one named {reference.name}",
            found=", ".join(f"models:/{model.model_id}" for model in found) or "none",
            done=NOTHING_DONE,
            hint="load it as models:/m-<id>, shown on the run's page",
        )
    return _logged_model(registry, requested, found[0].model_id)


def _newest_in_stage(registry: Answering, reference: StageReference) -> RegisteredVersion:
    version = registry.versions.newest_in_stage(reference.name, reference.stage)
    if version is None:
        raise NotFoundError(
            f"no version of {reference.name} is in stage {reference.stage}",
            kind=ErrorKind.MODEL_NOT_FOUND,
            checked=f"stage {reference.stage} of {reference.name}",
            expected="a version",
            found="none",
            done=NOTHING_DONE,
            hint=f"name a version, or an alias: models:/{reference.name}@{reference.stage.lower()}",
        )
    return version


def _graphs(tags: Mapping[str, str]) -> dict[str, str]:
    """Digests of the graphs that were made for a version later, by precision.

    A folder is named by the digest, so that what has another form is none.
    """
    return {
        tag.removeprefix(GRAPH_TAG): digest
        for tag, digest in tags.items()
        if tag.startswith(GRAPH_TAG) and re.fullmatch("sha256:[0-9a-f]{64}", digest)
    }


def _anchor(where: str, tags: Mapping[str, str]) -> dict[str, str]:
    digest = tags.get(DIGEST_TAG)
    return {where: digest} if digest else {}
