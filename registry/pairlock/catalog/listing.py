"""Everything in a registry, by pages, as compact data: nothing of MLflow's own objects is kept.

A database that this process may read is asked for a few columns (`pairlock.catalog.tables`); any
other registry through MLflow's client. Written against MLflow 3.17.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from msgspec import Struct

from pairlock.catalog.in_use import local_path, tracking_uri
from pairlock.catalog.location import DIGEST_TAG
from pairlock.catalog.registry import ask, registry_unavailable
from pairlock.catalog.versions import READY, state_of
from pairlock.errors import NotFoundError

_MODELS_AT_ONCE = 1000
"""MLflow's limit for `search_registered_models`."""

_VERSIONS_AT_ONCE = 10_000
"""MLflow's default for `search_model_versions`."""

_LOGGED_AT_ONCE = 2000
_NAMES_AT_ONCE = 50
OWN_TAGS = "pairlock."
_VERSION_SOURCE = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A registered model."""

    name: str
    created_ms: int
    updated_ms: int
    """Changes when a version is registered, deleted, or put into a legacy stage; not with tags."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]


class ListedVersion(Struct, frozen=True, kw_only=True, gc=False):
    """A registered version."""

    name: str
    version: int
    state: str
    """As `VersionState.state`."""

    legacy_stage: str | None
    created_ms: int
    source: str
    """What it was registered from, as MLflow has it."""

    location: str | None
    """Where its bytes lie, for `open_store`; None where the listing does not say."""

    tags: Mapping[str, str]
    """Its `pairlock.*` tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedLogged:
    """A logged model."""

    model_id: str
    location: str
    updated_ms: int
    is_ready: bool
    digest: str | None
    """Its Pairlock package digest, by its tag; None for another flavor's."""


@dataclass(slots=True)
class Listing:
    """What has been listed so far."""

    models: dict[str, ListedModel] = field(default_factory=dict)
    versions: dict[tuple[str, int], ListedVersion] = field(default_factory=dict)
    logged: dict[str, ListedLogged] = field(default_factory=dict)
    """Logged models; from a database those only that no version was registered from."""

    logged_ids: set[str] = field(default_factory=set)
    """Ids of logged models that are there, those that `logged` leaves out too."""

    deleted_runs: dict[str, str] = field(default_factory=dict)
    """Ids of deleted runs, by the folder of their artifacts."""


def list_models() -> Iterator[tuple[ListedModel, tuple[ListedVersion, ...]]]:
    """Every registered model, with those of its versions that MLflow gives beside it.

    Raises:
        UnavailableError: the registry is not there, or stopped answering.
    """
    for page in _pages("search_registered_models", _MODELS_AT_ONCE):
        for one in page:
            model = ListedModel(
                name=intern(str(one.name)),
                created_ms=int(one.creation_timestamp or 0),
                updated_ms=int(one.last_updated_timestamp or 0),
                aliases={intern(str(k)): int(v) for k, v in one.aliases.items()},
                tags={intern(str(k)): str(v) for k, v in one.tags.items()},
            )
            yield model, tuple(_version(newest) for newest in one.latest_versions or ())


def list_versions() -> Iterator[list[ListedVersion]]:
    """Every registered version, page by page; one may come twice.

    Pages begin after so many rows. Rows that are deleted between two pages let as many others slip
    through; those lie between the last row of one page and the first of the next, and are asked
    for by name.

    Raises:
        UnavailableError: the registry is not there, or stopped answering.
    """
    last: ListedVersion | None = None
    for page in _pages("search_model_versions", _VERSIONS_AT_ONCE, order_by=["name ASC"]):
        found = [_version(one) for one in page]
        if last is not None and found:
            yield from versions_of({last.name, found[0].name})
        if found:
            last = found[-1]
        yield found


def versions_of(names: Iterable[str]) -> Iterator[list[ListedVersion]]:
    """Every version of some registered models, page by page.

    Raises:
        UnavailableError: the registry is not there, or stopped answering.
    """
    ordered = sorted(names)
    # a name that holds both kinds of quotes cannot be asked for among others
    plain = [name for name in ordered if "'" not in name]
    wishes = [
        f"name IN ({', '.join(repr_sql(name) for name in plain[start : start + _NAMES_AT_ONCE])})"
        for start in range(0, len(plain), _NAMES_AT_ONCE)
    ]
    wishes += [f'name = "{name}"' for name in ordered if "'" in name]
    for wish in wishes:
        for page in _pages("search_model_versions", _VERSIONS_AT_ONCE, filter_string=wish):
            yield [_version(one) for one in page]


def repr_sql(text: str) -> str:
    """A text without single quotes, as MLflow's filters have it."""
    return f"'{text}'"


def list_logged_models(*, newer_than_ms: int | None = None) -> Iterator[list[ListedLogged]]:
    """Every logged model of every experiment, page by page, the last changed first.

    Args:
        newer_than_ms: stop at the first that was last changed before this.

    Raises:
        UnavailableError: the registry is not there, or stopped answering.
    """
    from mlflow.entities import ViewType

    experiments = [
        str(one.experiment_id)
        for page in _pages("search_experiments", 1000, view_type=ViewType.ALL)
        for one in page
    ]
    order = [{"field_name": "last_updated_timestamp", "ascending": False}]
    size = _LOGGED_AT_ONCE if newer_than_ms is None else 200
    for page in _pages("search_logged_models", size, experiments, order_by=order):
        found = [_logged(one) for one in page]
        yield found
        if newer_than_ms is not None and found and found[-1].updated_ms < newer_than_ms:
            return


def list_deleted_runs() -> Iterator[tuple[str, str]]:
    """The folder of every deleted run's artifacts, and the run's id: `mlflow gc` deletes both.

    Raises:
        UnavailableError: the registry is not there, or stopped answering.
    """
    from mlflow.entities import ViewType

    experiments = [
        str(one.experiment_id)
        for page in _pages("search_experiments", 1000, view_type=ViewType.ALL)
        for one in page
    ]
    for page in _pages("search_runs", 1000, experiments, run_view_type=ViewType.DELETED_ONLY):
        for run in page:
            yield local_path(str(run.info.artifact_uri or "")), str(run.info.run_id)


def ask_location(name: str, version: int) -> str:
    """Where the bytes of one version lie: one question for one version.

    Raises:
        NotFoundError: there is no such version.
        UnavailableError: the registry did not answer.
    """
    uri = f"models:/{name}/{version}"
    return local_path(str(ask(uri, "get_model_version_download_uri", name, str(version))))


def is_logged_model_there(model_id: str) -> bool:
    """Whether a logged model was not deleted.

    Raises:
        UnavailableError: the registry did not answer.
    """
    try:
        ask(f"models:/{model_id}", "get_logged_model", model_id)
    except NotFoundError:
        return False
    return True


def source_model_id(source: str) -> str | None:
    """The logged model that a version's source names."""
    scheme, _, model_id = source.partition("/")
    is_one = scheme == "models:" and "/" not in model_id and "@" not in model_id
    return model_id or None if is_one else None


def derived(
    one: ListedVersion, listing: Listing, *, depth: int = 0
) -> tuple[str | None, str | None]:
    """Where a version's bytes lie, and the logged model behind it, from what was listed.

    MLflow writes the place down when a version is registered. It is that of the logged model, or of
    the version that this one was copied from; anything else is a place itself.

    Returns:
        Location and logged model's id; None for what only the registry can say, as when the source
        was deleted, or is another one of the same name.
    """
    if (model_id := source_model_id(one.source)) is not None:
        logged = listing.logged.get(model_id)
        return one.location or (logged.location if logged else None), model_id
    if (copied := _VERSION_SOURCE.fullmatch(one.source)) is not None:
        origin = listing.versions.get((copied["name"], int(copied["version"])))
        if origin is None or origin.created_ms > one.created_ms or depth > 20:
            return one.location, None
        location, model_id = derived(origin, listing, depth=depth + 1)
        if one.location is not None and one.location != location:
            return one.location, None
        return location, model_id
    if one.location is not None or one.source.startswith("models:"):
        return one.location, None
    return local_path(one.source), None


def _pages(method: str, size: int, *arguments: Any, **named: Any) -> Iterator[Any]:
    token: str | None = None
    for _ in range(10_000):
        page = ask("the registry", method, *arguments, max_results=size, page_token=token, **named)
        yield page
        token = page.token
        if not token:
            return
    raise registry_unavailable(ValueError(f"{tracking_uri()} answers without end"))


def _version(one: Any) -> ListedVersion:
    stage = str(one.current_stage or "").lower()
    return ListedVersion(
        name=intern(str(one.name)),
        version=int(one.version),
        state=intern(state_of(one)),
        legacy_stage=None if stage in {"", "none"} else intern(stage),
        created_ms=int(one.creation_timestamp or 0),
        source=str(one.source or ""),
        location=None,
        tags=own_tags(one.tags.items()),
    )


def _logged(one: Any) -> ListedLogged:
    digest = one.tags.get(DIGEST_TAG)
    return ListedLogged(
        model_id=str(one.model_id),
        location=local_path(str(one.artifact_location)),
        updated_ms=int(one.last_updated_timestamp or 0),
        is_ready=str(one.status).rpartition(".")[2].lower() == READY,
        digest=None if digest is None else intern(str(digest)),
    )


def own_tags(items: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """The `pairlock.*` tags among some, with texts that many share as one object each."""
    return {
        intern(str(key)): shared(str(text)) for key, text in items if str(key).startswith(OWN_TAGS)
    }


def shared(text: str) -> str:
    """A text as one object for all that have the same; not a long one, which nobody shares."""
    return intern(text) if len(text) <= 100 else text
