"""The registered model itself: its aliases, and what its tags say about its ledger."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pairlock.catalog.in_use import registry_file
from pairlock.catalog.registry import ask
from pairlock.errors import NotFoundError, UnavailableError
from pairlock.ledger.place import ledger_place, resolve_place

LEDGER_TAG = "pairlock.ledger"
"""Tag on a registered model: where its ledger lies. Set once."""

HEAD_TAG = "pairlock.ledger.head"
"""Tag on a registered model: the newest entry that a command left behind, `<sequence>:<digest>`."""


_PAUSES_S = (0.0, 0.05, 0.2)
_TWICE = re.compile(
    r"IntegrityError|UNIQUE constraint|duplicate key|Duplicate entry", re.IGNORECASE
)
"""How sqlite, PostgreSQL and MySQL say that a row is there already."""

MAX_TAG_CHARACTERS = 5000
"""What the column holds in MLflow 3.17's databases (`SqlRegisteredModelTag`). MLflow itself lets
100 000 pass, which sqlite keeps, and PostgreSQL and MySQL do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A registered model as the registry knows it now."""

    name: str
    created_ms: int
    """When it was made, in ms since 1970, by the registry's clock."""

    aliases: Mapping[str, int]
    """The version that each alias points to."""

    tags: Mapping[str, str]


def registered_model(name: str) -> RegisteredModel:
    """Ask for a registered model.

    Raises:
        NotFoundError: there is none of this name.
        UnavailableError: the registry is not there, or did not answer.
    """
    found = ask(_uri(name), "get_registered_model", name)
    return RegisteredModel(
        name=str(found.name),
        created_ms=int(found.creation_timestamp or 0),
        aliases={str(alias): int(version) for alias, version in found.aliases.items()},
        tags={str(tag): str(text) for tag, text in found.tags.items()},
    )


def set_alias(name: str, alias: str, version: int) -> None:
    """Let an alias point to a version, wherever it pointed before.

    Raises:
        NotFoundError: there is no such version, or MLflow takes no such alias.
        UnavailableError: the registry is not there, or did not take it.
    """
    _write(f"{_uri(name)}/{version}", "set_registered_model_alias", name, alias, str(version))


def delete_alias(name: str, alias: str) -> None:
    """Take an alias away; nothing happens when it is not there.

    Raises:
        NotFoundError: there is no such model.
        UnavailableError: the registry is not there, or did not answer.
    """
    ask(f"{_uri(name)}@{alias}", "delete_registered_model_alias", name, alias)


def set_model_tag(name: str, tag: str, text: str) -> None:
    """Put a tag on a registered model, in place of one of that name.

    Raises:
        NotFoundError: there is no such model.
        UnavailableError: the registry is not there, or did not take it.
    """
    _write(_uri(name), "set_registered_model_tag", name, tag, text)


def delete_model_tag(name: str, tag: str) -> None:
    """Take a tag off a registered model; nothing happens when it is not there.

    Raises:
        NotFoundError: there is no such model.
        UnavailableError: the registry is not there, or did not answer.
    """
    ask(_uri(name), "delete_registered_model_tag", name, tag)


def fix_ledger_place(name: str, *, root: str | None) -> str:
    """Record where a model's ledger lies, unless that is recorded.

    All that it is derived from is the same for every process, but for `root`: whoever calls this
    at the same time records the same place.

    Args:
        name: the registered model.
        root: where new ledgers lie, as PAIRLOCK_LEDGER says.

    Returns:
        What is recorded; `ledger_location` makes a location of it.

    Raises:
        NotFoundError: there is no such model, or it has no version.
        UnsupportedError: the versions lie where no ledger can, and `root` is None.
        UnavailableError: the registry is not there, or did not answer.
    """
    model = registered_model(name)
    if LEDGER_TAG in model.tags:
        return model.tags[LEDGER_TAG]
    database = registry_file()
    derived = root is None and database is None
    place = ledger_place(
        root,
        database=database,
        artifact_location=_first_location(name) if derived else "",
        model=model.name,
        created_ms=model.created_ms,
    )
    try:
        ask(_uri(name), "set_registered_model_tag", name, LEDGER_TAG, place)
    except UnavailableError:
        # MLflow fails on the database's unique key when two set a new tag at once
        there = registered_model(name).tags.get(LEDGER_TAG)
        if there is None:
            raise
        return there
    return place


def ledger_location(model: RegisteredModel) -> str | None:
    """Where a model's ledger lies, for `open_store`; None when that is not recorded.

    Raises:
        UnsupportedError: it lies beside a database that is not on this machine.
    """
    recorded = model.tags.get(LEDGER_TAG)
    return None if recorded is None else resolve_place(recorded, database=registry_file())


def _write(requested: str, method: str, *arguments: str) -> None:
    """Call a method that puts something in place of what is there.

    Where nothing is there yet, MLflow 3.17 inserts: of two processes that do at once, its database
    refuses one. That one finds the other's, and replaces it.
    """
    for pause_s in _PAUSES_S:
        try:
            ask(requested, method, *arguments)
        except UnavailableError as error:
            if not _TWICE.search(error.found):
                raise
            time.sleep(pause_s)
        else:
            return
    ask(requested, method, *arguments)


def _first_location(name: str) -> str:
    """Where the bytes of the oldest version lie that is still there."""
    try:
        version = "1"
        ask(f"{_uri(name)}/1", "get_model_version", name, version)
    except NotFoundError:
        quote = '"' if "'" in name else "'"
        found = ask(_uri(name), "search_model_versions", f"name = {quote}{name}{quote}")
        if not found:
            raise
        version = str(min(int(one.version) for one in found))
    return str(ask(f"{_uri(name)}/{version}", "get_model_version_download_uri", name, version))


def _uri(name: str) -> str:
    return f"models:/{name}"
