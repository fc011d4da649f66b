"""Where a ledger lies: chosen once, the same by everybody, and recorded on the registered model."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pairlock import ErrorKind, InvalidInputError, NotFoundError, UnavailableError, UnsupportedError
from pairlock.catalog import (
    HEAD_TAG,
    LEDGER_TAG,
    delete_alias,
    fix_ledger_place,
    ledger_location,
    registered_model,
    set_alias,
    set_model_tag,
)
from pairlock.config import read_settings
from pairlock.ledger import Ledger
from pairlock.ledger.place import ledger_place, resolve_place
from pairlock.stores.opening import open_store
from pairlock_flavors.embedding import log_package
from support.ledgers import entry_after
from support.registries import Registry, active
from support.remote import shared_server

MODEL_ID = "m-" + "0123456789abcdef" * 2
DATABASE = Path("/srv/registry/mlflow.db")


def place(location: str, **changes: Any) -> str:
    """The place for a model that lies somewhere."""
    facts: dict[str, Any] = {"root": None, "database": None, "model": "support", "created_ms": 5}
    return ledger_place(**{**facts, "artifact_location": location, **changes})


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (f"s3://bucket/7/models/{MODEL_ID}/artifacts", "s3://bucket/pairlock-ledger/support/5"),
        (f"s3://bucket/a/b/7/models/{MODEL_ID}", "s3://bucket/a/b/pairlock-ledger/support/5"),
        (f"s3://bucket/a/models/{MODEL_ID}/artifacts", "s3://bucket/a/pairlock-ledger/support/5"),
        (f"s3a://bucket/a/7/models/{MODEL_ID}/", "s3://bucket/a/pairlock-ledger/support/5"),
        (f"/mnt/mlruns/7/models/{MODEL_ID}/artifacts", "/mnt/mlruns/pairlock-ledger/support/5"),
        (f"file:///mnt/ml%20runs/7/models/{MODEL_ID}", "/mnt/ml runs/pairlock-ledger/support/5"),
    ],
)
def test_a_ledger_lies_beside_the_packages(location: str, expected: str) -> None:
    """Behind a server it is the root that all experiments share, in S3 or in a folder."""
    assert place(location) == expected
    assert resolve_place(expected, database=None) == expected


@pytest.mark.parametrize(
    "location",
    [
        f"mlflow-artifacts:/7/models/{MODEL_ID}/artifacts",
        f"mlflow-artifacts://host:5000/7/models/{MODEL_ID}/artifacts",
        f"gs://bucket/7/models/{MODEL_ID}/artifacts",
        "s3://bucket/somewhere/else",
        f"mlruns/7/models/{MODEL_ID}/artifacts",
        "",
    ],
)
def test_where_nothing_says_where_it_has_to_be_said(location: str) -> None:
    """No place is guessed: the error asks for PAIRLOCK_LEDGER, which is then used."""
    with pytest.raises(UnsupportedError) as caught:
        place(location)
    assert caught.value.kind is ErrorKind.LEDGER_PLACE
    assert "PAIRLOCK_LEDGER" in caught.value.hint
    assert place(location, root="s3://own/ledgers/") == "s3://own/ledgers/support/5"
    assert place(location, root="/srv/ledgers") == "/srv/ledgers/support/5"


def test_beside_a_database_it_is_relative() -> None:
    """A registry that is copied with its folder takes its ledgers along."""
    found = place(f"s3://bucket/7/models/{MODEL_ID}", database=DATABASE)
    assert found == "pairlock-ledger/support/5"
    assert resolve_place(found, database=DATABASE) == "/srv/registry/pairlock-ledger/support/5"
    with pytest.raises(UnsupportedError) as caught:
        resolve_place(found, database=None)
    assert caught.value.kind is ErrorKind.LEDGER_PLACE


@given(st.text(min_size=1, max_size=300))
@example(".")
@example("..")
@example("é" * 250)
def test_any_name_is_one_folder(name: str) -> None:
    """No registered name leads out of the folder, and none is too long for a file system."""
    name = name.encode("utf-8", "ignore").decode() or "x"
    folder, middle, last = Path(place("", database=DATABASE, model=name)).parts
    assert (folder, last) == ("pairlock-ledger", "5")
    assert middle not in {".", ".."}
    assert len(middle.encode()) <= 255


def test_two_names_have_two_folders() -> None:
    """Names that differ only where a long name is cut, or by what is quoted, stay apart."""
    names = ["a b", "a%20b", "A b", "a+b", ".", "..", "x" * 250 + "1", "x" * 250 + "2", "é" * 99]
    assert len({place("", database=DATABASE, model=name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None),
        ("  ", None),
        ("/srv/ledgers", "/srv/ledgers"),
        ("file:///srv/led%20gers", "/srv/led gers"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("relative", str(Path("relative").absolute())),
    ],
)
def test_the_environment_names_a_folder_or_s3(value: str, expected: str | None) -> None:
    """PAIRLOCK_LEDGER is one absolute place, whatever the working directory is later."""
    assert read_settings({"PAIRLOCK_LEDGER": value}).ledger == expected


@pytest.mark.parametrize(
    "value",
    ["gs://b/p", "mlflow-artifacts:/x", "s3://", "s3://b/p?x=1", "http://h/p", "file://h/p"],
)
def test_a_place_that_no_ledger_can_have_is_refused(value: str) -> None:
    """It would be recorded for good, so that the error comes first."""
    with pytest.raises(InvalidInputError) as caught:
        read_settings({"PAIRLOCK_LEDGER": value})
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert "PAIRLOCK_LEDGER" in caught.value.checked


def register(registry: Any, name: str, folder: Path) -> int:
    """Register a version that lies in a folder, by MLflow's own means."""
    if name not in {model.name for model in registry.client.search_registered_models()}:
        registry.client.create_registered_model(name)
    return int(registry.client.create_model_version(name, str(folder)).version)


def test_the_registered_model_is_read_as_it_is(registry: Any, tmp_path: Path) -> None:
    """Creation time, aliases and tags are those of MLflow, and what is written is read."""
    for _ in range(2):
        register(registry, "support", tmp_path)
    set_alias("support", "production", 1)
    set_alias("support", "production", 2)
    set_alias("support", "staging", 1)
    set_model_tag("support", HEAD_TAG, "0:x")
    found = registered_model("support")
    theirs = registry.client.get_registered_model("support")
    assert found.created_ms == theirs.creation_timestamp
    assert found.aliases == {"production": 2, "staging": 1}
    assert found.tags == {HEAD_TAG: "0:x"}
    delete_alias("support", "staging")
    delete_alias("support", "staging")
    assert registered_model("support").aliases == {"production": 2}


@pytest.mark.parametrize(
    "ask",
    [
        lambda: registered_model("absent"),
        lambda: set_alias("absent", "production", 1),
        lambda: set_alias("support", "production", 9),
        lambda: set_model_tag("absent", "a", "b"),
        lambda: fix_ledger_place("absent", root=None),
    ],
)
def test_a_model_that_is_not_there_is_not_found(ask: Any, registry: Any, tmp_path: Path) -> None:
    """Whatever is asked of a model or version that MLflow does not have, the answer says so."""
    register(registry, "support", tmp_path)
    with pytest.raises(NotFoundError) as caught:
        ask()
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND


def test_asking_makes_no_registry(tmp_path: Path) -> None:
    """Where there is no registry the error says so, and none is left behind."""
    with active(f"sqlite:///{tmp_path}/mlflow.db"), pytest.raises(UnavailableError) as caught:
        registered_model("support")
    assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert not (tmp_path / "mlflow.db").exists()


def test_the_place_is_recorded_once(registry: Any, tmp_path: Path) -> None:
    """What is recorded stays, whatever the environment says later."""
    register(registry, "support", tmp_path)
    first = fix_ledger_place("support", root=None)
    assert fix_ledger_place("support", root="/elsewhere") == first
    model = registered_model("support")
    assert model.tags == {LEDGER_TAG: f"pairlock-ledger/support/{model.created_ms}"}
    assert ledger_location(model) == str(registry.folder / first)
    register(registry, "other", tmp_path)
    assert ledger_location(registered_model("other")) is None
    assert fix_ledger_place("other", root="/elsewhere").startswith("/elsewhere/other/")


def test_processes_that_come_first_together_record_the_same(registry: Any, tmp_path: Path) -> None:
    """All get one place, which is the recorded one."""
    register(registry, "support", tmp_path)
    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(lambda _: fix_ledger_place("support", root=None), range(8)))
    assert places == {registered_model("support").tags[LEDGER_TAG]}


def test_a_model_made_again_under_its_name_has_another_ledger(
    registry: Any, tmp_path: Path
) -> None:
    """The history of a deleted model is not that of its namesake."""
    places = set()
    for _ in range(2):
        register(registry, "support", tmp_path)
        places.add(fix_ledger_place("support", root=None))
        registry.client.delete_registered_model("support")
    assert len(places) == 2


def test_a_registry_that_was_moved_has_its_ledgers(
    registry: Any, tmp_path: Path, tiny_model: Path
) -> None:
    """The first registration records the place; a copy of the folder reads the same history."""
    registry.log(tiny_model, "support")
    model = registered_model("support")
    assert not Path(model.tags[LEDGER_TAG]).is_absolute()
    facts = {"model": "support", "model_created_ms": model.created_ms}
    ledger = Ledger(open_store(str(ledger_location(model))), **facts)
    made = ledger.append(entry_after(None, **facts))
    moved = registry.folder.rename(tmp_path / "moved")
    with active(Registry(moved).uri):
        there = str(ledger_location(registered_model("support")))
    assert there.startswith(str(moved))
    assert Ledger(open_store(there), **facts).head() == made


def test_behind_a_proxy_nobody_is_bothered_before_a_promotion(
    registry_template: Path, tiny_model: Path
) -> None:
    """Logging there is as it was: no place, and no warning."""
    with active(shared_server(registry_template).uri):
        mlflow.set_experiment("proxied-ledger")
        try:
            logged = log_package(tiny_model, registered_model_name="proxied-ledger")
        finally:
            mlflow.set_experiment(experiment_id="0")
        assert registered_model("proxied-ledger").tags == {}
        assert not [text for text in logged.warnings if "ledger" in text]
        with pytest.raises(UnsupportedError) as caught:
            fix_ledger_place("proxied-ledger", root=None)
        assert caught.value.kind is ErrorKind.LEDGER_PLACE
        place = fix_ledger_place("proxied-ledger", root="s3://bucket/ledgers")
        assert place.startswith("s3://bucket/ledgers/proxied-ledger/")


def test_a_place_that_cannot_be_recorded_loses_no_registration(
    registry: Any, tiny_model: Path
) -> None:
    """The version is there, loaded by its URI, and a warning says what is missing."""
    with sqlite3.connect(registry.folder / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER no_tags BEFORE INSERT ON registered_model_tags "
            "BEGIN SELECT RAISE(ABORT, 'no tags today'); END"
        )
    database.close()
    logged = log_package(tiny_model, registered_model_name="support")
    assert logged.uri == "models:/support/1"
    assert registry.versions("support") == [1]
    assert [text for text in logged.warnings if "ledger" in text]
    assert registered_model("support").tags == {}
