"""A registry with everything in it that can be asked for, and ways to ask it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from pairlock import PairlockError
from pairlock.catalog import DIGEST_TAG, Located, locate, looking_up
from pairlock.catalog.asking.choosing import asked_directly, asked_through_mlflow
from pairlock.references import parse_reference
from pairlock.registries import registry_in_use
from support.registries import Registry

UNKNOWN_MODEL = "m-" + "0" * 32
NAMES = ("with space", "größe 日本", "it's", "50% off", "a%20b", "a_b", "q?x=1&y#z", "-")


def digest(number: int) -> str:
    """Some package digest."""
    return f"sha256:{number:064x}"


class Stock:
    """What is registered, under names that say what it is."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.client: MlflowClient = registry.client
        self.references: list[str] = []

    def logged(self, name: str, number: int | None, run_id: str | None = None) -> str:
        """A logged model; returns its id."""
        tags = None if number is None else {DIGEST_TAG: digest(number), "other": "x"}
        made = self.client.create_logged_model("0", name=name, tags=tags, source_run_id=run_id)
        if run_id is not None:
            self.client.log_outputs(run_id, [LoggedModelOutput(made.model_id, 0)])
        return str(made.model_id)

    def version(self, name: str, source: str, number: int | None = None) -> str:
        """A registered version; returns its URI."""
        if not self.client.search_registered_models(f'name = "{name}"'):
            self.client.create_registered_model(name)
        tags = None if number is None else {DIGEST_TAG: digest(number)}
        made = self.client.create_model_version(name, source, tags=tags)
        return f"models:/{name}/{made.version}"

    def write(self, statement: str, *given: str | int) -> None:
        """Change the database by hand."""
        with closing(sqlite3.connect(self.registry.folder / "mlflow.db")) as database:
            database.execute(statement, given)
            database.commit()


def fill_stock(registry: Registry) -> Stock:
    """A registry in which every reference of `references` is found, or is not, for its own reason.

    Registering needs no bytes: none of these models has any.
    """
    stock = Stock(registry)
    plain = f"models:/{stock.logged('plain', 1)}"
    for fill in (_plain, _gone, _copies, _states, _names, _places, _runs):
        stock.references += fill(stock, plain)
    return stock


def _plain(stock: Stock, plain: str) -> list[str]:
    stock.version("plain", plain, 1)
    stock.version("plain", plain, 1)
    stock.version("plain", f"models:/{stock.logged('untagged', None)}")
    stock.client.set_registered_model_alias("plain", "live", "1")
    stock.client.set_registered_model_alias("plain", "live", "2")
    stock.client.set_registered_model_alias("plain", "Live", "1")
    stock.version("plain", plain, 1)
    stages = (("1", "Production"), ("2", "Production"), ("3", "Staging"), ("4", "Archived"))
    for number, stage in stages:
        stock.client.transition_model_version_stage("plain", number, stage)
    stages = [f"models:/plain/{stage}" for stage in ("Production", "archived", "Staging", "None")]
    stock.client.transition_model_version_stage("plain", "3", "None")
    versions = [f"models:/plain/{number}" for number in (1, 2, 3, 4, 5, 10**18 - 1)]
    aliases = [f"models:/plain@{alias}" for alias in ("live", "Live", "LIVE", "none")]
    return [*versions, *aliases, *stages, plain]


def _gone(stock: Stock, plain: str) -> list[str]:
    stock.version("gone", plain, 1)
    stock.version("gone", plain, 1)
    stock.client.set_registered_model_alias("gone", "live", "1")
    stock.client.delete_model_version("gone", "1")
    stock.version("no-more", plain, 1)
    stock.client.delete_registered_model("no-more")
    stock.version("again", plain, 1)
    stock.client.delete_registered_model("again")
    stock.version("again", plain, 2)
    stock.client.create_registered_model("empty")
    deleted = stock.logged("deleted", 1)
    stock.client.delete_logged_model(deleted)
    return [
        "models:/gone/1",
        "models:/gone@live",
        "models:/gone/2",
        "models:/no-more/1",
        "models:/no-more@live",
        "models:/no-more/Production",
        "models:/again/1",
        "models:/empty/1",
        "models:/empty@live",
        "models:/empty/Staging",
        f"models:/{deleted}",
        f"models:/{UNKNOWN_MODEL}",
    ]


def _copies(stock: Stock, plain: str) -> list[str]:
    """Versions that were registered from versions."""
    found = [
        stock.version("copy", "models:/plain/1"),
        stock.version("copy", "models:/copy/1"),
        stock.version("copy", "models:/plain/3"),
    ]
    stock.version("origin", plain, 1)
    found.append(stock.version("orphan", "models:/origin/1"))
    stock.client.delete_registered_model("origin")
    stock.version("replaced", plain, 1)
    found.append(stock.version("heir", "models:/replaced/1"))
    stock.client.delete_registered_model("replaced")
    stock.version("replaced", plain, 2)
    for number, source in enumerate(("models:/x", "models:/plain@live", "models:/plain@none", "")):
        found.append(stock.version(f"from-{number}", plain))
        stock.write("UPDATE model_versions SET source = ? WHERE name = ?", source, f"from-{number}")
    return found


def _states(stock: Stock, plain: str) -> list[str]:
    found = [stock.version(f"state-{number}", plain, 1) for number in range(3)]
    for number, (status, message) in enumerate(
        (("PENDING_REGISTRATION", None), ("FAILED_REGISTRATION", "no space\nleft"), ("READY", "x"))
    ):
        stock.write(
            "UPDATE model_versions SET status = ?, status_message = ? WHERE name = ?",
            status,
            message or "",
            f"state-{number}",
        )
    stock.client.register_prompt("prompt", "Answer {{question}}")
    stock.client.set_prompt_alias("prompt", "live", 1)
    stock.write(
        "INSERT INTO model_version_tags (workspace, name, version, key, value) "
        "VALUES ('default', 'prompt', 1, ?, ?)",
        DIGEST_TAG,
        digest(1),
    )
    return [*found, "models:/prompt/1", "models:/prompt@live", "models:/prompt/None"]


def _names(stock: Stock, plain: str) -> list[str]:
    found = []
    for name in NAMES:
        found.append(stock.version(name, plain, 1))
        stock.client.set_registered_model_alias(name, "live", "1")
        if "%" not in name:
            found.append(f"models:/{name}@live")
    return [*found, "models:/aXb/1", "models:/50 off/1", "models:/WITH SPACE/1", "models:/a b@live"]


def _places(stock: Stock, plain: str) -> list[str]:
    """Versions whose bytes lie elsewhere, and whose locations were changed by hand."""
    found = []
    for number, place in enumerate(
        (
            "mlruns/0/models/m-1/artifacts",
            "./mlruns/x",
            "/srv/moved/package",
            "file:///srv/a%20b",
            "s3://bucket/a b",
            "mlflow-artifacts:/0/models/m-1/artifacts",
            "",
        )
    ):
        uri = stock.version(f"place-{number}", plain, 1)
        stock.write(
            "UPDATE model_versions SET storage_location = ? WHERE name = ?",
            place,
            f"place-{number}",
        )
        found.append(uri)
    moved = stock.logged("moved", 1)
    stock.write(
        "UPDATE logged_models SET artifact_location = 'mlruns/moved' WHERE model_id = ?", moved
    )
    return [*found, f"models:/{moved}"]


def _runs(stock: Stock, plain: str) -> list[str]:
    run = stock.client.create_run("0").info.run_id
    for name in ("one", "two", "two"):
        stock.logged(name, 1, run)
    empty = stock.client.create_run("0").info.run_id
    return [
        f"runs:/{run}/one",
        f"runs:/{run}/two",
        f"runs:/{run}/three",
        f"runs:/{empty}/one",
        f"runs:/{'0' * 32}/one",
    ]


@contextmanager
def through(way: Callable[..., Any]) -> Iterator[None]:
    """Let whoever looks something up be answered in one way, and never in another."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(looking_up, "asked", lambda question: way(registry_in_use(), question))
        yield


def outcome(reference: str, way: Callable[..., Any]) -> dict[str, Any]:
    """What comes of looking something up in one way: the place, or the error, field by field."""
    with through(way):
        try:
            found: Located = locate(parse_reference(reference))
        except PairlockError as error:
            return {"type": type(error).__name__, **error.to_dict()}
    return {**asdict(found), "anchors": dict(found.anchors)}


WAYS = (asked_directly, asked_through_mlflow)


def both(reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What comes of looking something up directly, and through MLflow."""
    directly, through_mlflow = (outcome(reference, way) for way in WAYS)
    return directly, through_mlflow
