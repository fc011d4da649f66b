"""A registry's database, read by a few columns of MLflow's own tables.

MLflow's client makes objects of whole rows, and asks for a version's location one by one: for ten
thousand versions that is most of the time of an inventory. This reads the same rows in some queries
through MLflow's own connection and table classes. Written against MLflow 3.17; where anything is
not as it was there, the caller goes through the client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from sys import intern
from typing import Any, NamedTuple

from pairlock.catalog import grouped
from pairlock.catalog.in_use import local_path
from pairlock.catalog.listing import (
    OWN_TAGS,
    ListedLogged,
    ListedModel,
    ListedVersion,
    Listing,
    shared,
    source_model_id,
)
from pairlock.catalog.location import DIGEST_TAG
from pairlock.catalog.registry import client_of_a_registry, registry_unavailable, translated
from pairlock.catalog.versions import ARCHIVED, READY

_PROMPT_TAG = "mlflow.prompt.is_prompt"
_DELETED_STAGE = "Deleted_Internal"
_READY = 2
"""`LoggedModelStatus.READY.to_int()` in MLflow 3.17."""

_ROWS_AT_ONCE = 5000
_IDS_AT_ONCE = 500


def read_tables(into: Listing, *, stopped: Callable[[], bool], names: Iterable[str] = ()) -> bool:
    """List a whole registry from its database.

    Args:
        into: what is found goes here as it is found.
        stopped: asked between pages.
        names: registered models; all when empty.

    Returns:
        False when this registry is no database that can be read like this; nothing is listed then.

    Raises:
        UnavailableError: the database does not answer.
    """
    if (database := _database()) is None:
        return False
    wanted = frozenset(names)
    tables, clauses = database.tables, database.clauses
    with _answering(), database.models() as session:
        _read_models(session, tables, clauses, wanted, into)
        for number, one in enumerate(_versions(session, tables, clauses, wanted)):
            if number % _ROWS_AT_ONCE == 0 and stopped():
                break
            if one.name in into.models:
                into.versions[one.name, one.version] = one
    with _answering(), database.runs() as session:
        _read_logged_ids(session, tables["logged"], into)
        # from a part of the versions it does not follow which logged models are unused
        if not wanted and not stopped():
            _read_unused(session, tables, into)
        run = tables["run"]
        rows = _rows(
            session, run.artifact_uri, run.run_uuid, where=[run.lifecycle_stage == "deleted"]
        )
        into.deleted_runs.update((local_path(place), run_id) for place, run_id in rows if place)
    return True


def read_versions(names: Iterable[str]) -> list[ListedVersion] | None:
    """The versions of some registered models, from their database.

    Args:
        names: the models; those that are not there have none.

    Returns:
        None when this registry is no database that can be read like this.

    Raises:
        UnavailableError: the database does not answer.
    """
    if (database := _database()) is None:
        return None
    wanted = frozenset(names)
    with _answering(), database.models() as session:
        found = _versions(session, database.tables, database.clauses, wanted)
        return [one for one in found if one.name in wanted]


class _Database(NamedTuple):
    """What MLflow knows of a database: how it is asked of models and of runs, and its tables."""

    models: Any
    runs: Any
    tables: dict[str, Any]
    clauses: Any
    """What rows of a table belong to the workspace in use."""


def _database() -> _Database | None:
    """The registry in use; None where it is no database as this module knows them."""
    with translated("the registry"):
        client = client_of_a_registry()
        try:
            models, runs = client._get_registry_client().store, client._tracking_client.store
            return _Database(
                models=models.ManagedSessionMaker,
                runs=runs.ManagedSessionMaker,
                tables=_tables(),
                clauses=models._get_workspace_clauses,
            )
        except (AttributeError, ImportError):
            return None


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the database's errors into those of a registry that is away."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise registry_unavailable(error) from error


def _tables() -> dict[str, Any]:
    from mlflow.store.model_registry.dbmodels import models as registry
    from mlflow.store.tracking.dbmodels import models as tracking

    return {
        "model": registry.SqlRegisteredModel,
        "model_tag": registry.SqlRegisteredModelTag,
        "alias": registry.SqlRegisteredModelAlias,
        "version": registry.SqlModelVersion,
        "version_tag": registry.SqlModelVersionTag,
        "logged": tracking.SqlLoggedModel,
        "logged_tag": tracking.SqlLoggedModelTag,
        "run": tracking.SqlRun,
    }


def _rows(session: Any, *columns: Any, where: Iterable[Any] = (), by: Any = None) -> Any:
    """Rows of some columns, read on the session's connection: its ORM would take twice as long.

    Args:
        session: of MLflow's store.
        columns: what is asked for.
        where: which rows.
        by: a column by which many rows may come as one text, where that is quicker.
    """
    from sqlalchemy import select

    plain = [_plain(column) for column in columns]
    if by is not None and grouped.is_possible(session):
        return grouped.rows(session, _plain(by), *plain, where=where)
    return session.connection().execute(
        select(*plain).where(*where).execution_options(yield_per=_ROWS_AT_ONCE)
    )


def _plain(column: Any) -> Any:
    """The table's column behind one of MLflow's mapped classes."""
    return column.property.columns[0]


def _read_models(
    session: Any, tables: dict[str, Any], clauses: Any, wanted: frozenset[str], into: Listing
) -> None:
    model, tag, alias = tables["model"], tables["model_tag"], tables["alias"]
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for name, key, text in _rows(session, tag.name, tag.key, tag.value, where=clauses(tag)):
        tags[name][intern(key)] = text or ""
    aliases: dict[str, dict[str, int]] = defaultdict(dict)
    for name, key, version in _rows(
        session, alias.name, alias.alias, alias.version, where=clauses(alias)
    ):
        aliases[name][intern(key)] = int(version)
    columns = (model.name, model.creation_time, model.last_updated_time)
    for name, created_ms, updated_ms in _rows(session, *columns, where=clauses(model)):
        is_prompt = tags[name].get(_PROMPT_TAG, "").lower() == "true"
        if is_prompt or (wanted and name not in wanted):
            continue
        into.models[name] = ListedModel(
            name=intern(name),
            created_ms=int(created_ms or 0),
            updated_ms=int(updated_ms or 0),
            aliases=aliases[name],
            tags=tags[name],
        )


def _versions(
    session: Any, tables: dict[str, Any], clauses: Any, wanted: frozenset[str]
) -> Iterator[ListedVersion]:
    """Versions of some registered models at least; those of prompts are among them."""
    version = tables["version"]
    some = len(wanted) <= 100 and bool(wanted)
    tags = _version_tags(session, tables["version_tag"], clauses, wanted if some else frozenset())
    columns = (
        version.name,
        version.version,
        version.status,
        version.current_stage,
        version.creation_time,
        version.source,
        version.storage_location,
    )
    where = [*clauses(version), version.current_stage != _DELETED_STAGE]
    where += [version.name.in_(wanted)] if some else []
    for row in _rows(session, *columns, where=where, by=version.name):
        name, number, status, stage, created_ms, source, place = row
        # one text where the two columns say the same
        place = place or source or ""
        state, legacy_stage = _state(status, stage)
        yield ListedVersion(
            name=intern(name),
            version=number,
            state=state,
            legacy_stage=legacy_stage,
            created_ms=int(created_ms or 0),
            source=source or "",
            location=local_path(place),
            tags=tags[name].get(number, {}),
        )


@cache
def _state(status: str | None, stage: str | None) -> tuple[str, str | None]:
    """A version's state and legacy stage, by the two columns."""
    stage = str(stage or "").lower()
    state = str(status or READY).lower()
    is_archived = state == READY and stage == ARCHIVED
    return ARCHIVED if is_archived else state, None if stage in {"", "none"} else stage


def _version_tags(
    session: Any, tag: Any, clauses: Any, names: frozenset[str]
) -> dict[str, dict[int, dict[str, str]]]:
    where = [*clauses(tag), *([tag.name.in_(names)] if names else [])]
    tags: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    if grouped.is_possible(session):
        columns = tag.__table__.c
        tags.update(grouped.tags_by_version(session, columns, where, beginning=OWN_TAGS))
        return tags
    where.append(tag.key.like(f"{OWN_TAGS}%"))
    for name, number, key, text in _rows(
        session, tag.name, tag.version, tag.key, tag.value, where=where
    ):
        tags[name].setdefault(number, {})[intern(key)] = shared(text or "")
    return tags


def _read_logged_ids(session: Any, logged: Any, into: Listing) -> None:
    where = [logged.lifecycle_stage == "active"]
    rows = _rows(session, logged.model_id, where=where, by=logged.experiment_id)
    into.logged_ids.update(model_id for (model_id,) in rows)


def _read_unused(session: Any, tables: dict[str, Any], into: Listing) -> None:
    """Read everything of those logged models that no version was registered from."""
    unused = into.logged_ids - {source_model_id(one.source) for one in into.versions.values()}
    ordered = sorted(unused)
    for start in range(0, len(ordered), _IDS_AT_ONCE):
        _read_logged(session, tables, ordered[start : start + _IDS_AT_ONCE], into)


def _read_logged(session: Any, tables: dict[str, Any], ids: list[str], into: Listing) -> None:
    logged, tag = tables["logged"], tables["logged_tag"]
    where = [tag.tag_key == DIGEST_TAG, tag.model_id.in_(ids)]
    digests = {
        model_id: intern(digest)
        for model_id, digest in _rows(session, tag.model_id, tag.tag_value, where=where)
    }
    columns = (
        logged.model_id,
        logged.artifact_location,
        logged.last_updated_timestamp_ms,
        logged.status,
    )
    where = [logged.lifecycle_stage == "active", logged.model_id.in_(ids)]
    for model_id, place, updated_ms, status in _rows(session, *columns, where=where):
        into.logged[model_id] = ListedLogged(
            model_id=model_id,
            location=local_path(place),
            updated_ms=int(updated_ms or 0),
            is_ready=status == _READY,
            digest=digests.get(model_id),
        )
