"""The registry in use, and how its locations are read. Nothing is asked."""

from __future__ import annotations

from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pairlock.catalog.database import sqlite_path
from pairlock.registries import registry_in_use


def tracking_uri() -> str:
    """The registry in use, from MLflow's own settings; its default is `sqlite:///mlflow.db`.

    Raises:
        UnavailableError: only MLflow can tell, and it is not installed.
    """
    return registry_in_use().registry


def registry_file() -> Path | None:
    """The sqlite file or the folder that the registry in use is; None for a server's.

    Raises:
        UnavailableError: only MLflow can tell, and it is not installed.
    """
    uri = tracking_uri()
    if uri.startswith("databricks"):
        return None
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path)).absolute()
    return sqlite_path(uri) if urlsplit(uri).scheme else Path(uri).absolute()


def is_local_registry() -> bool:
    """Whether the registry in use is a file on this machine, which takes no network to ask.

    Raises:
        UnavailableError: only MLflow can tell, and it is not installed.
    """
    registry = registry_in_use()
    uris = (registry.registry, registry.tracking)
    return all(uri.startswith(("sqlite:", "file:")) or not urlsplit(uri).scheme for uri in uris)


def local_path(location: str) -> str:
    """A local artifact location as an absolute path; any other URI as it is.

    MLflow resolves relative locations against the working directory. A registry whose locations
    were made relative can be copied anywhere, so here they belong to the database's folder.

    Raises:
        UnavailableError: only MLflow can tell which that is, and it is not installed.
    """
    if location[:1] == "/" and normpath(location) == location:
        return location  # as most of ten thousands
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
