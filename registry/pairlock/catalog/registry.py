"""Questions to MLflow's registry. The only module of this package that talks to it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pairlock.catalog.database import ensure_database, sqlite_path
from pairlock.catalog.location import DIGEST_TAG, Located
from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError, UnavailableError
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
    without_credentials,
)
from pairlock.registries import registry_in_use
from pairlock.wording import counted

_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/\s\x00]+)+")
"""An absolute path that `pathlib` writes as it is: a large registry has ten thousands of them."""

NOTHING_DONE = "nothing was loaded or changed"
"""What is said when a question failed, whatever it was asked for."""


def tracking_uri() -> str:
    """The registry in use, from MLflow's own settings; its default is `sqlite:///mlflow.db`."""
    return registry_in_use().registry


def registry_file() -> Path | None:
    """The sqlite file or the folder that the registry in use is; None for a server's."""
    uri = tracking_uri()
    if uri.startswith("databricks"):
        return None
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path)).absolute()
    return sqlite_path(uri) if urlsplit(uri).scheme else Path(uri).absolute()


def is_local_registry() -> bool:
    """Whether the registry in use is a file on this machine, which takes no network to ask."""
    registry = registry_in_use()
    uris = (registry.registry, registry.tracking)
    return all(uri.startswith(("sqlite:", "file:")) or not urlsplit(uri).scheme for uri in uris)


def ensure_registry() -> None:
    """Make the embedded registry if this is its first use.

    Raises:
        StorageError: it cannot be made.
    """
    registry = registry_in_use()
    for uri in dict.fromkeys([registry.tracking, registry.registry]):
        ensure_database(uri)


def reach_registry() -> str:
    """Ask the registry something small.

    Returns:
        How many registered models it has, in words.

    Raises:
        UnavailableError: it does not answer.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        found = client().search_registered_models(max_results=100)
    except (MlflowException, SQLAlchemyError) as error:
        raise registry_unavailable(error) from error
    more = "at least " if found.token else ""
    return more + counted(len(found), "registered model")


def ask(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
    """Call a method of MLflow's client.

    Args:
        requested: what it is about, for messages.
        method: the method's name.
        arguments: what it is given.
        named: what it is given by name.

    Raises:
        NotFoundError: there is no such model, version or alias.
        UnavailableError: the registry is not there, or did not answer.
    """
    with translated(requested):
        return getattr(client_of_a_registry(), method)(*arguments, **named)


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
    with translated(requested):
        _need_registry(requested)
        if isinstance(reference, VersionReference):
            version = client().get_model_version(reference.name, str(reference.version))
            return _version(requested, version, known)
        if isinstance(reference, AliasReference):
            version = client().get_model_version_by_alias(reference.name, reference.alias)
            return _version(requested, version, known)
        if isinstance(reference, StageReference):
            return _version(requested, _newest_in_stage(reference), known)
        if isinstance(reference, LoggedModelReference):
            return _logged_model(requested, reference.model_id)
        return _run_model(requested, reference)


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


def client_of_a_registry() -> Any:
    """MLflow's client of the registry in use, which has to be there: MLflow would make it.

    Raises:
        UnavailableError: it is a database that is not there.
    """
    path = sqlite_path(tracking_uri())
    if path is not None and not path.exists():
        raise registry_unavailable(FileNotFoundError(f"{path} is not there"))
    return client()


def client() -> Any:
    """MLflow's client of the registry in use."""
    from mlflow import MlflowClient

    registry = registry_in_use()
    return MlflowClient(registry.tracking, registry.registry)


def _version(requested: str, version: Any, known: Known) -> Located:
    if not version.name or not version.version:
        raise registry_unavailable(ValueError("the answer names no version"))
    uri = f"models:/{version.name}/{version.version}"
    if version.status != "READY":
        raise NotFoundError(
            f"{uri} is not ready",
            kind=ErrorKind.VERSION_NOT_READY,
            checked="the version's status",
            expected="READY",
            found=f"{version.status} {version.status_message or ''}".strip(),
            done=NOTHING_DONE,
            hint="log the model again, or choose another version",
        )
    own = _anchor("version tag", version.tags)
    created_ms = int(version.creation_timestamp or 0)
    before = known(uri)
    if (
        before is not None
        and before.created_ms == created_ms
        and own.items() <= before.anchors.items()
    ):
        return replace(before, requested=requested)
    location = client().get_model_version_download_uri(version.name, version.version)
    return Located(
        requested=requested,
        uri=uri,
        location=local_path(str(location)),
        anchors={**_origin_anchors(str(version.source or ""), created_ms), **own},
        name=version.name,
        version=int(version.version),
        created_ms=created_ms,
    )


def _origin_anchors(source: str, created_ms: int) -> dict[str, str]:
    """What vouches for the logged model, or the version, that a version was registered from.

    Registering a version again drops its tags, and a tag can be deleted.

    Args:
        source: as the version has it.
        created_ms: when the version was made, in ms since 1970.
    """
    if not source.startswith("models:/"):
        return {}
    try:
        reference = parse_reference(source)
        if not isinstance(reference, VersionReference):
            return dict(locate(reference).anchors)
        with translated(source):
            origin = client().get_model_version(reference.name, str(reference.version))
            if int(origin.creation_timestamp or 0) >= created_ms:
                return {}  # the name is another's by now, or its own: a source is older
            return dict(_version(source, origin, lambda _uri: None).anchors)
    except (NotFoundError, InvalidInputError):
        return {}  # deleted since; the version keeps its own tag and its bytes


def _logged_model(requested: str, model_id: str) -> Located:
    model = client().get_logged_model(model_id)
    return Located(
        requested=requested,
        uri=f"models:/{model_id}",
        location=local_path(str(model.artifact_location)),
        anchors=_anchor("logged model tag", model.tags),
    )


def _run_model(requested: str, reference: RunReference) -> Located:
    outputs = client().get_run(reference.run_id).outputs
    found = [
        model
        for output in (outputs.model_outputs if outputs else [])
        if (model := client().get_logged_model(output.model_id)).name == reference.name
    ]
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
    return _logged_model(requested, found[0].model_id)


def _newest_in_stage(reference: StageReference) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        versions = client().get_latest_versions(reference.name, stages=[reference.stage])
    if not versions:
        raise NotFoundError(
            f"no version of {reference.name} is in stage {reference.stage}",
            kind=ErrorKind.MODEL_NOT_FOUND,
            checked=f"stage {reference.stage} of {reference.name}",
            expected="a version",
            found="none",
            done=NOTHING_DONE,
            hint=f"name a version, or an alias: models:/{reference.name}@{reference.stage.lower()}",
        )
    return versions[0]


def _anchor(where: str, tags: dict[str, str]) -> dict[str, str]:
    digest = tags.get(DIGEST_TAG)
    return {where: digest} if digest else {}


def local_path(location: str) -> str:
    """A local artifact location as an absolute path; any other URI as it is.

    MLflow resolves relative locations against the working directory. A registry whose locations
    were made relative can be copied anywhere, so here they belong to the database's folder.
    """
    if _PLAIN_PATH.fullmatch(location):
        return location
    split = urlsplit(location)
    if split.scheme == "file":
        return unquote(split.path)
    if split.scheme:
        return location
    path = Path(location)
    if not path.is_absolute():
        database = sqlite_path(tracking_uri())
        path = (database.parent if database else Path.cwd()) / path
    return str(path)


@contextmanager
def translated(requested: str) -> Iterator[None]:
    """MLflow's errors as Pairlock's.

    Args:
        requested: what it is about, for messages.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, UnsupportedModelRegistryStoreURIException) as error:
        raise registry_unavailable(error) from error
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}:
            raise NotFoundError(
                f"{requested} is not in the registry",
                kind=ErrorKind.MODEL_NOT_FOUND,
                checked=f"the registry {without_credentials(tracking_uri())}",
                expected=requested,
                found=_first_line(error),
                done=NOTHING_DONE,
                hint="check the name and the registry; MLFLOW_TRACKING_URI chooses another one, "
                "`pairlock doctor` shows which one is used",
            ) from error
        raise registry_unavailable(error) from error


def registry_unavailable(error: Exception) -> UnavailableError:
    """The error for a registry that failed to answer, or does not let this user in."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException) and error.get_http_status_code() in {401, 403}:
        return UnavailableError(
            "the registry refuses access",
            kind=ErrorKind.ACCESS_DENIED,
            checked=f"the registry {without_credentials(tracking_uri())}",
            expected="credentials that the registry accepts",
            found=_first_line(error),
            done=NOTHING_DONE,
            hint="check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, and what this user may do there",
        )
    return UnavailableError(
        "the registry did not answer as it should",
        kind=ErrorKind.REGISTRY_UNAVAILABLE,
        checked=f"the registry {without_credentials(tracking_uri())}",
        expected="an answer",
        found=_first_line(error),
        done=NOTHING_DONE,
        hint="check that the server runs and that its address is right (MLFLOW_TRACKING_URI, or "
        "--to-registry), then try again",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or repr(error)
    # a server's address in MLflow's own message may carry a password
    return re.sub(r"//[^/@\s]+@", "//", text.splitlines()[0])[:300]
