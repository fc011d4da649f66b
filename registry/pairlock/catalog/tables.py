"""A registry's database, read by a few columns of MLflow's own tables.

MLflow's client makes objects of whole rows, and asks for a version's location one by one: for ten
thousand versions that is most of the time of an inventory. This reads the same rows in some queries
through MLflow's own connection and table classes. Written against MLflow 3.17; where anything is
not as it was there, the caller goes through the client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from sys import intern
from typing import Any

from pairlock.catalog.in_use import local_path
from pairlock.catalog.listing import (
    ListedLogged,
    ListedModel,
    ListedVersion,
    Listing,
    shared,
)
from pairlock.catalog.location import DIGEST_TAG
from pairlock.catalog.registry import client_of_a_registry, registry_unavailable, translated
from pairlock.catalog.versions import ARCHIVED, READY

_PROMPT_TAG = "mlflow.prompt.is_prompt"
_DELETED_STAGE = "Deleted_Internal"
_READY = 2
"""`LoggedModelStatus.READY.to_int()` in MLflow 3.17."""

_ROWS_AT_ONCE = 5000


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
    with translated("the registry"):
        client = client_of_a_registry()
        try:
            models, runs = client._get_registry_client().store, client._tracking_client.store
            if not hasattr(models, "ManagedSessionMaker") or not hasattr(
                runs, "ManagedSessionMaker"
            ):
                return False
            tables = _tables()
            clauses = models._get_workspace_clauses
        except (AttributeError, ImportError):
            return False
    from sqlalchemy.exc import SQLAlchemyError

    wanted = frozenset(names)
    try:
        with models.ManagedSessionMaker() as session:
            _read_models(session, tables, clauses, wanted, into)
            _read_versions(session, tables, clauses, wanted, into, stopped)
        with runs.ManagedSessionMaker() as session:
            _read_logged(session, tables, into, stopped)
            run = tables["run"]
            rows = _rows(
                session, run.artifact_uri, run.run_uuid, where=[run.lifecycle_stage == "deleted"]
            )
            into.deleted_runs.update((local_path(place), run_id) for place, run_id in rows if place)
    except SQLAlchemyError as error:
        raise registry_unavailable(error) from error
    return True


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


def _rows(session: Any, *columns: Any, where: Iterable[Any] = ()) -> Any:
    """Rows of some columns, read on the session's connection: its ORM would take twice as long."""
    from sqlalchemy import inspect, select

    plain = [
        inspect(column.class_).local_table.c[column.property.columns[0].name] for column in columns
    ]
    return session.connection().execute(
        select(*plain).where(*where).execution_options(yield_per=_ROWS_AT_ONCE)
    )


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


def _read_versions(
    session: Any,
    tables: dict[str, Any],
    clauses: Any,
    wanted: frozenset[str],
    into: Listing,
    stopped: Callable[[], bool],
) -> None:
    version, tag = tables["version"], tables["version_tag"]
    some = len(wanted) <= 100 and bool(wanted)
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    where = [*clauses(tag), tag.key.like("pairlock.%")]
    where += [tag.name.in_(wanted)] if some else []
    for name, number, key, text in _rows(
        session, tag.name, tag.version, tag.key, tag.value, where=where
    ):
        tags[name, number][intern(key)] = shared(text or "")
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
    for number, row in enumerate(_rows(session, *columns, where=where)):
        if number % _ROWS_AT_ONCE == 0 and stopped():
            return
        name, version_number, status, stage, created_ms, source, place = row
        if name not in into.models:
            continue
        stage = str(stage or "").lower()
        state = str(status or READY).lower()
        # one text where the two columns say the same
        place = place or source or ""
        into.versions[into.models[name].name, version_number] = ListedVersion(
            name=into.models[name].name,
            version=version_number,
            state=ARCHIVED if state == READY and stage == ARCHIVED else intern(state),
            legacy_stage=None if stage in {"", "none"} else intern(stage),
            created_ms=int(created_ms or 0),
            source=source or "",
            location=local_path(place),
            tags=tags.pop((name, version_number), {}),
        )


def _read_logged(
    session: Any, tables: dict[str, Any], into: Listing, stopped: Callable[[], bool]
) -> None:
    logged, tag = tables["logged"], tables["logged_tag"]
    digests = {
        model_id: intern(digest)
        for model_id, digest in _rows(
            session, tag.model_id, tag.tag_value, where=[tag.tag_key == DIGEST_TAG]
        )
    }
    columns = (
        logged.model_id,
        logged.artifact_location,
        logged.last_updated_timestamp_ms,
        logged.status,
    )
    where = [logged.lifecycle_stage == "active"]
    for number, row in enumerate(_rows(session, *columns, where=where)):
        if number % _ROWS_AT_ONCE == 0 and stopped():
            return
        model_id, place, updated_ms, status = row
        into.logged[model_id] = ListedLogged(
            model_id=model_id,
            location=local_path(place),
            updated_ms=int(updated_ms or 0),
            is_ready=status == _READY,
            digest=digests.get(model_id),
        )
