"""An inventory says what is in a registry, whatever state it is in."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest

import pairlock
from pairlock.catalog import DIGEST_TAG, HEAD_TAG, LEDGER_TAG, grouped, locate
from pairlock.catalog.listing import versions_of
from pairlock.catalog.tables import read_versions
from pairlock.errors import ErrorKind, UnavailableError
from pairlock.inventory import Inventory, PackageState, VersionFacts, ahead, remembered, take
from pairlock.inventory import packages as looking
from pairlock.inventory import taking as taking_module
from pairlock.ledger import Ledger
from pairlock.references import parse_reference
from pairlock.registries import registry_in_use
from pairlock.stores import LocalStore
from support.copies import replace
from support.ledgers import entry_after
from support.patience import be_patient
from support.registries import Registry, active, copy_registry
from support.stage_versions import save_linear


@pytest.fixture(scope="module")
def stock(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Registry:
    """A base, an adapter on it, and every other kind of registration."""
    from support.registries import new_registry

    folder = tmp_path_factory.mktemp("inventory")
    made = new_registry(folder / "registry", registry_template)
    with active(made.uri):
        made.log(tiny_model, "base")
        made.log(str(save_linear(folder / "linear", 1)), "adapter", base="models:/base/1")
        client = made.client
        client.copy_model_version("models:/adapter/1", "copied")
        client.copy_model_version("models:/copied/1", "twice")
        mlflow.register_model("models:/base/1", "again")
        run = client.create_run("0")
        place = Path(run.info.artifact_uri) / "model"
        shutil.copytree(made.folder_of("models:/base/1"), place)
        client.create_registered_model("from-run")
        client.create_model_version("from-run", source=str(place), run_id=run.info.run_id)
        other = place.with_name("other")
        other.mkdir()
        (other / "MLmodel").write_text("flavors: {sklearn: {}}\n")
        (other / "model.pkl").write_bytes(b"pickle")
        client.create_registered_model("it's")
        client.create_model_version("it's", source=str(other))
    return made


@pytest.fixture
def copy(stock: Registry, tmp_path: Path) -> Iterator[Registry]:
    """A copy of it, packages and all, in use."""
    made = copy_registry(stock, tmp_path / "registry")
    with active(made.uri):
        yield made


@pytest.fixture(params=["in-turn", "ahead"])
def settled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are remembered however young they are; and are looked at in their turn, as is done
    where there are few, or by a process that has begun before."""
    monkeypatch.setattr(looking, "_JUST_NOW_NS", -1)
    monkeypatch.setattr(ahead, "_CORES", 2)
    monkeypatch.setattr(ahead, "_WORTH_BYTES", 0 if request.param == "ahead" else 1 << 40)
    be_patient(monkeypatch)


@pytest.fixture(params=["tables", "rows", "pages"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of listing: a database's tables, in texts where sqlite makes them or row by row,
    and the pages that a server gives."""
    if request.param == "pages":
        by_pages(monkeypatch)
    if request.param == "rows":
        monkeypatch.setattr(grouped, "is_possible", lambda _: False)
    return str(request.param)


def by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """List as from a server."""
    from pairlock.inventory import listing, meanwhile

    monkeypatch.setattr(listing, "read_tables", lambda *_, **__: False)
    monkeypatch.setattr(meanwhile, "read_versions", lambda _: None)


def facts_of(inventory: Inventory) -> dict[str, VersionFacts]:
    """Versions by URI."""
    return {facts.uri: facts for facts in inventory.versions()}


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every manifest that is read from now on."""
    done: list[str] = []
    real = looking._read

    def noted(one: Any, location: str, *rest: Any) -> Any:
        done.append(location)
        return real(one, location, *rest)

    monkeypatch.setattr(looking, "_read", noted)
    return done


def test_locations_are_those_that_a_load_uses(copy: Registry, way: str) -> None:
    """However a version was registered, the listing gives the place that `locate` gives."""
    found = facts_of(take())

    assert len(found) == 7
    for uri, facts in found.items():
        assert facts.location == locate(parse_reference(uri)).location, uri


def test_places_behind_a_deleted_source_are_asked_for(copy: Registry, way: str) -> None:
    """A copy of a version that is gone, or of a logged model that is, keeps its place."""
    before = facts_of(take(remembered=False))
    copy.client.delete_model_version("copied", "1")
    copy.client.delete_logged_model(before["models:/adapter/1"].model_id or "")

    found = facts_of(take(remembered=False))

    assert found.keys() == before.keys() - {"models:/copied/1"}
    for uri in ("models:/twice/1", "models:/adapter/1"):
        assert found[uri].location == before[uri].location
        assert found[uri].package_state is PackageState.THERE


def test_a_source_that_was_made_again_is_not_the_source(copy: Registry, way: str) -> None:
    """A copy is not given the place of a younger version that took its source's name."""
    before = facts_of(take())["models:/copied/1"]
    copy.client.delete_registered_model("adapter")
    copy.client.create_registered_model("adapter")
    copy.client.create_model_version("adapter", source=str(copy.folder / "nothing"))

    assert facts_of(take(remembered=False))["models:/copied/1"].location == before.location


def test_facts_are_those_of_the_manifest(copy: Registry, way: str) -> None:
    """Kind, spaces, base, files, tags and aliases are what manifest and registry say."""
    copy.client.set_registered_model_alias("adapter", "champion", "1")
    copy.client.transition_model_version_stage("base", "1", "Archived")
    inventory = take()
    found = facts_of(inventory)
    one = found["models:/adapter/1"]
    document = json.loads(Path(one.location, "pairlock.json").read_bytes())

    assert one.package is not None and one.package.base is not None
    assert one.package.kind == document["kind"]
    assert one.package.query_space == document["spaces"]["query"]
    assert one.package.base.uri == "models:/base/1"
    assert one.package.base.tree_digest == document["base"]["tree_digest"]
    assert one.package.input_dimension == document["adapter"]["in_features"]
    assert one.package.paths == tuple(record["path"] for record in document["files"])
    assert one.package.sizes == tuple(record["size_bytes"] for record in document["files"])
    assert one.package.digest == one.tags[DIGEST_TAG]
    assert one.package is found["models:/copied/1"].package
    assert found["models:/base/1"].state == found["models:/base/1"].legacy_stage == "archived"
    assert one.state == "ready" and one.legacy_stage is None
    models = {model.name: model for model in inventory.models}
    assert dict(models["adapter"].aliases) == {"champion": 1}
    assert models["adapter"].ledger is None
    assert inventory.complete and not inventory.problem and not inventory.orphans
    assert found["models:/it's/1"].package_state is PackageState.FOREIGN
    assert "model.pkl" in found["models:/it's/1"].other_files
    assert not any(facts.findings for facts in found.values())


def test_tags_hold_any_text(copy: Registry, way: str) -> None:
    """Whatever a tag says, and however its key goes on, is read as it was written."""
    texts = {
        "pairlock.quotes": """a "b" 'c' \\ [1, {}] ,""",
        "pairlock.lines": "1\n2\r\n3\t\x01\x1f\x7f\u2028",
        "pairlock.letters": "ä 中 \U0001f600 %_",
        "pairlock.'\"_%": "null",
    }
    for key, text in texts.items():
        insert_tag(copy, "base", key, text)
    insert_tag(copy, "base", "pairlock.none", None)
    insert_tag(copy, "base", "note", "not one of ours")
    insert_tag(copy, "base", "pairlock", "nor this")
    before = dict(copy.client.get_model_version("adapter", "1").tags)

    found = facts_of(take())

    own = {key for key in found["models:/base/1"].tags if key not in before}
    if way != "pages":  # MLflow's client has another idea of no text
        assert found["models:/base/1"].tags["pairlock.none"] == ""
    assert own == {*texts, "pairlock.none"}
    assert {key: found["models:/base/1"].tags[key] for key in texts} == texts
    assert found["models:/adapter/1"].tags == before


def insert_tag(registry: Registry, name: str, key: str, text: str | None) -> None:
    """Write a tag of a first version into the table: MLflow's client refuses some keys."""
    with closing(sqlite3.connect(registry.folder / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, 1, ?, ?)",
            (name, key, text),
        )


def test_named_models_only(copy: Registry, way: str) -> None:
    """With names, those registered models and no others are looked at."""
    inventory = take(names=["it's", "copied", "none"])

    assert [model.name for model in inventory.models] == ["copied", "it's"]
    assert len(list(inventory.versions())) == 2


def test_prompts_are_no_models(copy: Registry, way: str) -> None:
    """MLflow keeps prompts among registered models; an inventory leaves them out."""
    copy.client.register_prompt("a-prompt", "say {{something}}")

    assert "a-prompt" not in {model.name for model in take().models}


DAMAGE = {
    "missing-file": (lambda root: _weights(root).unlink(), ErrorKind.FILE_MISSING),
    "extra-file": (
        lambda root: (root / "payload/extra.bin").write_bytes(b"x"),
        ErrorKind.FILE_EXTRA,
    ),
    "cut-file": (lambda root: _weights(root).write_bytes(b"x"), ErrorKind.FILE_SIZE),
    "link": (lambda root: _link(_weights(root)), ErrorKind.FILE_NOT_REGULAR),
}


def _weights(root: Path) -> Path:
    return root / "payload/adapter/adapter.safetensors"


def _link(path: Path) -> None:
    aside = path.rename(path.parents[3] / "aside.bin")
    path.symlink_to(aside)


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_though_the_package_is_remembered(
    copy: Registry, settled: None, name: str
) -> None:
    """Missing, extra, cut and replaced files show, whatever an earlier inventory saw."""
    damage, kind = DAMAGE[name]
    root = copy.folder_of("models:/adapter/1")
    assert not any(facts.findings for facts in take().versions())

    damage(root)

    found = facts_of(take())
    assert [one.kind for one in found["models:/adapter/1"].findings] == [kind]
    assert found["models:/copied/1"].findings == found["models:/adapter/1"].findings
    assert not found["models:/base/1"].findings
    assert [one.kind for one in facts_of(take())["models:/adapter/1"].findings] == [kind]


def test_a_file_in_a_folder_that_was_empty_is_found(copy: Registry, settled: None) -> None:
    """A folder that should not be there is not taken for granted once it was seen empty."""
    root = copy.folder_of("models:/adapter/1")
    (root / "payload/adapter/empty").mkdir()
    assert not facts_of(take())["models:/adapter/1"].findings

    (root / "payload/adapter/empty/extra.pkl").write_bytes(b"x")

    found = facts_of(take())["models:/adapter/1"].findings
    assert [one.kind for one in found] == [ErrorKind.FILE_EXTRA]


def test_a_changed_manifest_is_read_again(copy: Registry, settled: None) -> None:
    """Another manifest of the same size in a package's place is noticed."""
    root = copy.folder_of("models:/adapter/1")
    before = facts_of(take())["models:/adapter/1"]
    content = (root / "pairlock.json").read_bytes()
    assert before.package is not None

    (root / "pairlock.json").write_bytes(content.replace(b'"texts":4', b'"texts":5'))
    changed = facts_of(take())["models:/adapter/1"]
    (root / "pairlock.json").write_bytes(content.replace(b'"kind"', b'"Kind"'))
    broken = facts_of(take())["models:/adapter/1"]
    # read alone it says what it should; proved, it is not what Pairlock writes
    (root / "pairlock.json").write_bytes(content.replace(b'"kind"', b' "kind"'))
    loose = facts_of(take())["models:/adapter/1"]
    (root / "pairlock.json").unlink()
    missing = facts_of(take())["models:/adapter/1"]

    assert changed.package is not None
    assert changed.package.digest not in {before.package.digest, changed.tags[DIGEST_TAG]}
    assert broken.package_state is PackageState.UNREADABLE and broken.problem
    assert broken.package is None
    assert loose.package_state is PackageState.UNREADABLE and loose.package is None
    assert missing.package_state is PackageState.MISSING
    assert [one.kind for one in missing.findings] == [ErrorKind.MANIFEST_MISSING]


def test_a_folder_that_is_gone(copy: Registry, settled: None) -> None:
    """A package whose folder was deleted is missing, and the others are not."""
    take()
    shutil.rmtree(copy.folder_of("models:/base/1"))

    states = {uri: facts.package_state for uri, facts in facts_of(take()).items()}

    assert {uri for uri, state in states.items() if state is PackageState.MISSING} == {
        "models:/base/1",
        "models:/again/1",
    }


def test_a_manifest_is_read_once(
    copy: Registry, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that stayed as it was is read a second time, unless that is asked for."""
    done = reads(monkeypatch)
    first = take()
    count = len(done)
    second = take()
    assert count == len(set(done)) == 3
    assert len(done) == count
    assert facts_of(second) == facts_of(first)

    take(remembered=False)
    assert len(done) > count


def test_what_changed_just_now_is_not_remembered(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file so young that it could change again under the same stamp is read again."""
    monkeypatch.setattr(looking, "_JUST_NOW_NS", 10**18 * 4)
    take()
    done = reads(monkeypatch)

    take()

    assert done


def test_a_damaged_memory_is_none(
    copy: Registry, settled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept between inventories may be damaged in any way; then all is read again, once."""
    first = take()
    (journal,) = (tmp_path / "cache/inventories").iterdir()
    good = journal.read_bytes()
    done = reads(monkeypatch)
    nothing, places = 3, 2  # where it is known which places have one digest, one of them is read
    for content, reads_again in (
        (b"", nothing),
        (b"\x00\xff" * 100, nothing),
        (b"00000000 [1]\n", nothing),
        (b"00000000:places {}\nzz:facts {}\n:facts\nplaces\n", nothing),
        (good[:-40], places),
        (good.replace(b'"dimension":32', b'"dimension":33'), places),
        (good.replace(b"models/m-", b"models/M-", 1), nothing),
    ):
        assert content != good
        done.clear()
        journal.write_bytes(content)

        assert facts_of(take()) == facts_of(first)
        assert len(done) == reads_again
        assert facts_of(take()) == facts_of(first)
        assert len(done) == reads_again, "what is written behind the damage is read again"


def test_the_journal_forgets_what_is_gone(
    copy: Registry, settled: None, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once most of it is outdated, only what is still there is kept, and that is still known."""
    monkeypatch.setattr(remembered, "_DEAD_NOTES", -10_000)
    gone = copy.folder_of("models:/adapter/1")
    take()
    (journal,) = (tmp_path / "cache/inventories").iterdir()
    assert str(gone).encode() in journal.read_bytes()
    for uri in ("models:/adapter/1", "models:/copied/1", "models:/twice/1"):
        copy.client.delete_model_version(*uri.removeprefix("models:/").split("/"))

    take(names=["base"])
    assert str(gone).encode() in journal.read_bytes()
    take()
    content = journal.read_bytes()
    assert content.count(b"\n") == 2, "the lines of one time"
    # by pages the logged model is remembered as one that no version was registered from
    assert content.count(str(gone).encode()) == (way == "pages")
    done = reads(monkeypatch)

    found = facts_of(take())
    assert not done
    assert found == facts_of(take(remembered=False))


def test_a_journal_does_not_grow_while_nothing_changes(
    copy: Registry, settled: None, way: str, tmp_path: Path
) -> None:
    """What is known already is not written again."""
    take()
    (journal,) = (tmp_path / "cache/inventories").iterdir()
    size_bytes = journal.stat().st_size

    take()

    assert journal.stat().st_size == size_bytes


def test_deep_finds_what_names_and_sizes_do_not_show(copy: Registry, settled: None) -> None:
    """A changed byte shows when every byte is hashed, and once for each version that shares it."""
    weights = _weights(copy.folder_of("models:/adapter/1"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    assert not any(facts.findings for facts in take().versions())
    found = {uri: facts.findings for uri, facts in facts_of(take(deep=True)).items()}

    wrong = {uri for uri, findings in found.items() if findings}
    assert wrong == {"models:/adapter/1", "models:/copied/1", "models:/twice/1"}
    assert [one.kind for one in found["models:/adapter/1"]] == [ErrorKind.FILE_DIGEST]


def test_orphans_are_found(copy: Registry, way: str) -> None:
    """A package of which no version is left is an orphan; one that a copy stands on is not."""
    found = facts_of(take())
    copy.client.delete_model_version("adapter", "1")
    assert take().orphans == ()

    for uri in ("models:/copied/1", "models:/twice/1"):
        copy.client.delete_model_version(uri.split("/")[1], "1")
    inventory = take()

    orphan = found["models:/adapter/1"].model_id
    assert inventory.orphans == (orphan,)
    assert inventory.orphan_locations == {orphan: found["models:/adapter/1"].location}
    copy.client.delete_logged_model(orphan or "")
    assert take().orphans == ()


def test_a_deleted_model_leaves_orphans(copy: Registry, way: str) -> None:
    """What was remembered of a registered model that is gone keeps no package in use."""
    orphan = facts_of(take())["models:/adapter/1"].model_id
    for name in ("twice", "copied", "adapter"):
        copy.client.delete_registered_model(name)

    assert take().orphans == (orphan,)


def test_changes_since_the_last_listing_by_pages(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server, new, deleted, staged and retagged versions show in a remembered inventory."""
    by_pages(monkeypatch)
    # without a digest among their tags they would be asked for again, whatever was listed
    tags = dict(copy.client.get_model_version("base", "1").tags)
    for number in range(12):
        mlflow.register_model("models:/base/1", f"more-{number}", tags=tags)
    first = facts_of(take())
    asked: list[str] = []
    from pairlock.inventory import listing

    monkeypatch.setattr(listing, "list_versions", lambda: asked.append("all") or iter(()))

    copy.client.delete_model_version("more-1", "1")
    mlflow.register_model("models:/base/1", "more-2", tags=tags)
    copy.client.set_model_version_tag("more-3", "1", "pairlock.note", "new")
    copy.client.transition_model_version_stage("more-4", "1", "Archived")
    copy.client.delete_registered_model("more-5")
    second = facts_of(take())

    assert not asked
    assert second.keys() - first.keys() == {"models:/more-2/2"}
    assert first.keys() - second.keys() == {"models:/more-1/1", "models:/more-5/1"}
    assert second["models:/more-3/1"].tags["pairlock.note"] == "new"
    assert second["models:/more-4/1"].state == "archived"
    for uri, facts in second.items():
        assert facts.location == locate(parse_reference(uri)).location, uri


def test_rows_that_slip_through_between_pages(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version deleted between two pages hides no other."""
    from pairlock.catalog import listing

    by_pages(monkeypatch)
    wanted = facts_of(take(remembered=False)).keys() - {"models:/adapter/1"}
    monkeypatch.setattr(listing, "_VERSIONS_AT_ONCE", 2)
    real = listing.ask
    deleted: list[str] = []

    def asking(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
        page = real(requested, method, *arguments, **named)
        if method == "search_model_versions" and not deleted:
            deleted.append("adapter")
            copy.client.delete_model_version("adapter", "1")
        return page

    monkeypatch.setattr(listing, "ask", asking)

    assert wanted <= facts_of(take(remembered=False)).keys()
    assert deleted


def test_a_whole_model_that_slips_through_between_pages(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do several versions that are deleted hide all versions of another model."""
    from pairlock.catalog import listing

    by_pages(monkeypatch)
    wanted = facts_of(take(remembered=False)).keys()
    copy.client.create_registered_model("aaa")
    for _ in range(3):
        copy.client.create_model_version("aaa", str(copy.folder_of("models:/base/1")))
    monkeypatch.setattr(listing, "_VERSIONS_AT_ONCE", 4)
    real = listing.ask
    deleted: list[str] = []

    def asking(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
        page = real(requested, method, *arguments, **named)
        if method == "search_model_versions" and not deleted:
            deleted.append("aaa")
            for number in ("1", "2", "3"):
                copy.client.delete_model_version("aaa", number)
        return page

    monkeypatch.setattr(listing, "ask", asking)

    assert wanted <= facts_of(take(remembered=False)).keys()
    assert deleted


def test_what_mlflow_is_going_to_delete_is_said(copy: Registry, way: str) -> None:
    """Of a version whose logged model or run was deleted, and of no other; of part of a registry
    it is not known."""
    before = facts_of(take())
    model_id = before["models:/adapter/1"].model_id or ""
    run_id = copy.client.get_model_version("from-run", "1").run_id
    assert not any(facts.doomed for facts in before.values())
    copy.client.delete_logged_model(model_id)
    copy.client.delete_run(run_id)

    doomed = {uri: facts.doomed for uri, facts in facts_of(take(remembered=False)).items()}

    assert doomed["models:/adapter/1"] == f"logged model {model_id}"
    assert doomed["models:/from-run/1"] == f"run {run_id}"
    assert doomed["models:/base/1"] == ""


def test_a_row_that_slips_through_within_a_model(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that is deleted while the versions of one model are on two pages."""
    from pairlock.catalog import listing

    by_pages(monkeypatch)
    place = str(copy.folder_of("models:/base/1"))
    copy.client.create_registered_model("split")
    for _ in range(6):
        copy.client.create_model_version("split", place)
    monkeypatch.setattr(listing, "_VERSIONS_AT_ONCE", 3)
    real = listing.ask
    pages: list[list[str]] = []

    def asking(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
        page = real(requested, method, *arguments, **named)
        if method == "search_model_versions" and "filter_string" not in named:
            pages.append([one.name for one in page])
            if pages[-1] == ["split"] * 3 and len(pages) == 3:
                copy.client.delete_model_version("adapter", "1")
        return page

    monkeypatch.setattr(listing, "ask", asking)

    found = facts_of(take(remembered=False)).keys()

    assert pages[2] == ["split"] * 3
    assert {f"models:/split/{number}" for number in range(1, 7)} <= found


def test_versions_that_are_asked_for_again_are_those_that_mlflow_gives(copy: Registry) -> None:
    """A database is asked by its tables, and says of some models what the client says."""
    copy.client.transition_model_version_stage("base", "1", "Archived")
    copy.client.delete_model_version("twice", "1")
    names = {"base", "adapter", "twice", "nobody's"}

    by_tables = read_versions(names)
    by_client = [replace(one, location=None) for page in versions_of(names) for one in page]

    assert by_tables is not None and read_versions(()) == []
    assert sorted(map(repr, (replace(one, location=None) for one in by_tables))) == sorted(
        map(repr, by_client)
    )
    assert {one.name for one in by_tables} == {"base", "adapter"}


def test_a_version_deleted_meanwhile_is_not_there(
    copy: Registry, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that is deleted with its bytes after it was listed is no missing package."""
    real = taking_module.look_at
    gone: list[str] = []

    def looking_late(one: Any, location: str, memory: Any) -> Any:
        if one.name == "again" and not gone:
            gone.append(one.name)
            copy.client.delete_model_version("again", "1")
            shutil.rmtree(location)
        return real(one, location, memory)

    monkeypatch.setattr(taking_module, "look_at", looking_late)

    inventory = take()

    assert gone and inventory.complete
    assert "models:/again/1" not in facts_of(inventory)


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_stop_keeps_what_was_found(
    copy: Registry, way: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop, or Ctrl-C, half-way gives the versions looked at by then, and says so."""
    monkeypatch.setattr(taking_module, "_LOCAL_CHUNK", 1)
    real = taking_module.look_at
    done: list[str] = []
    over = threading.Event()

    def counted(one: Any, *rest: Any) -> Any:
        done.append(one.name)
        if len(done) == 3:
            if how == "interrupt":
                raise KeyboardInterrupt
            over.set()
        return real(one, *rest)

    monkeypatch.setattr(taking_module, "look_at", counted)

    inventory = take(stop=over.is_set)

    assert not inventory.complete and inventory.problem
    assert 2 <= len(facts_of(inventory)) <= 3
    assert all(facts.package_state for facts in inventory.versions())
    assert not any(facts.doomed for facts in inventory.versions())


def test_a_registry_that_goes_away_half_way(
    copy: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at before a server stopped answering is kept; without anything it raises."""
    from pairlock.catalog import listing
    from pairlock.catalog.registry import registry_unavailable

    by_pages(monkeypatch)
    real = listing.ask
    left = [1000]

    def asking(requested: str, method: str, *arguments: Any, **named: Any) -> Any:
        if method == "search_logged_models":
            raise registry_unavailable(ConnectionError("gone"))
        left[0] -= 1
        if left[0] < 0:
            raise registry_unavailable(ConnectionError("gone"))
        return real(requested, method, *arguments, **named)

    monkeypatch.setattr(listing, "ask", asking)

    inventory = take()
    left[0] = 0

    assert not inventory.complete and inventory.problem
    assert {"models:/from-run/1", "models:/it's/1"} <= facts_of(inventory).keys()
    with pytest.raises(UnavailableError) as raised:
        take()
    assert raised.value.kind is ErrorKind.REGISTRY_UNAVAILABLE


def test_an_unreachable_store_stops_nothing(copy: Registry) -> None:
    """A version in a store that nobody reads is unreachable, and the others are looked at."""
    copy.client.create_registered_model("far")
    copy.client.create_model_version("far", source="gs://bucket/model")

    found = facts_of(take())

    assert found["models:/far/1"].package_state is PackageState.UNREACHABLE
    assert found["models:/far/1"].problem
    assert found["models:/base/1"].package_state is PackageState.THERE


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is made where there is no registry: it is not there."""
    with active(f"sqlite:///{tmp_path}/none/mlflow.db"), pytest.raises(UnavailableError) as raised:
        take()

    assert raised.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert not (tmp_path / "none").exists()


def test_progress_counts_versions(copy: Registry) -> None:
    """Progress is told about every version, and with deep about every byte."""
    from contextlib import contextmanager

    counts: dict[str, int] = {}

    class Watching:
        @contextmanager
        def step(self, name: str, total_bytes: int | None = None) -> Iterator[Any]:
            def advance(count: int) -> None:
                counts[name] = counts.get(name, 0) + count

            yield advance
            counts[f"{name} of"] = total_bytes or 0

    take(deep=True, progress=Watching())

    assert counts["packages"] == 7
    assert counts["hash"] == counts["hash of"] > 0


def test_offline_asks_nothing_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is offline does not ask a registry that is not on it."""
    monkeypatch.setenv("PAIRLOCK_OFFLINE", "1")
    with active("http://127.0.0.1:9"), pytest.raises(UnavailableError) as raised:
        take()

    assert raised.value.kind is ErrorKind.OFFLINE


def test_the_registry_is_named_without_its_password() -> None:
    """The address in an inventory, and in its memory, holds no credentials."""
    with active("http://user:secret@127.0.0.1:9"):
        assert "secret" not in str(registry_in_use())
        assert "secret" not in taking_module._address()


def test_head_tag_without_a_ledger_is_said(copy: Registry) -> None:
    """A model that remembers a ledger's entry, and not where the ledger lies, is damaged."""
    copy.client.delete_registered_model_tag("base", "pairlock.ledger")
    copy.client.set_registered_model_tag("base", HEAD_TAG, f"0:sha256:{'0' * 64}")

    models = {model.name: model for model in take().models}

    assert models["base"].ledger is not None
    assert models["base"].ledger.problem and models["base"].ledger.findings


def ledger_of(registry: Registry, name: str, *, holder: int) -> None:
    """Write a ledger by which a version holds a stage, as a promotion does."""
    made = registry.client.get_registered_model(name)
    place = registry.folder / "ledgers" / name
    created_ms = int(made.creation_timestamp)
    ledger = Ledger(LocalStore(place), model=name, model_created_ms=created_ms)
    entry = replace(entry_after(None, version=holder, model_created_ms=created_ms), model=name)
    written = ledger.append(entry)
    registry.client.set_registered_model_tag(name, LEDGER_TAG, str(place))
    if holder in registry.versions(name):
        registry.client.set_registered_model_alias(name, "production", str(holder))
    head = f"{written.entry.sequence}:{written.digest}"
    registry.client.set_registered_model_tag(name, HEAD_TAG, head)


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen after the listing, and before the first package is looked at."""
    real = taking_module.look_at
    left = [act]

    def looking(*arguments: Any) -> Any:
        while left:
            left.pop()()
        return real(*arguments)

    monkeypatch.setattr(taking_module, "look_at", looking)


def test_what_came_meanwhile_and_is_in_use_is_looked_at(
    copy: Registry, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was registered and promoted after the listing is there, with its base, and
    aliases are those of the same moment as the ledger."""
    adapter = copy.folder_of("models:/adapter/1")
    tags = copy.client.get_model_version("adapter", "1").tags
    pin = copy.client.get_model_version("base", "1")
    ledger_of(copy, "adapter", holder=1)

    def act() -> None:
        # the base comes back under its name, and the adapter's next version is promoted
        copy.client.create_registered_model("base")
        copy.client.create_model_version("base", str(base), tags=pin.tags)
        copy.client.create_model_version("adapter", str(adapter), tags=tags)
        made = copy.client.get_registered_model("adapter")
        created_ms = int(made.creation_timestamp)
        place = copy.folder / "ledgers/adapter"
        ledger = Ledger(LocalStore(place), model="adapter", model_created_ms=created_ms)
        entry = entry_after(ledger.head(), version=2, model_created_ms=created_ms)
        written = ledger.append(replace(entry, model="adapter"))
        copy.client.set_registered_model_alias("adapter", "production", "2")
        head = f"{written.entry.sequence}:{written.digest}"
        copy.client.set_registered_model_tag("adapter", HEAD_TAG, head)

    base = copy.folder_of("models:/base/1")
    copy.client.delete_registered_model("base")
    meanwhile(monkeypatch, act)

    inventory = take()

    found = facts_of(inventory)
    assert {"models:/adapter/2", "models:/base/1"} <= found.keys()
    assert found["models:/adapter/2"].package == found["models:/adapter/1"].package
    assert not any(facts.doomed for facts in found.values())
    (model,) = [one for one in inventory.models if one.name == "adapter"]
    assert model.ledger is not None and model.ledger.state.stages["production"].version == 2
    assert (dict(model.aliases), model.ledger.projected) == ({"production": 2}, ())


@pytest.mark.parametrize("since", [False, True])
def test_a_logged_model_that_was_registered_meanwhile(
    copy: Registry, way: str, since: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in use is neither an orphan nor deleted, were it logged before or after."""
    logged: list[str] = []

    def log() -> None:
        made = pairlock.log_model(str(save_linear(tmp_path / "new", 2)), base="models:/base/1")
        logged.append(made.uri)

    def act() -> None:
        if since:
            log()
        tags = copy.client.get_logged_model(logged[0].removeprefix("models:/")).tags
        own = {tag: text for tag, text in tags.items() if tag.startswith("pairlock.")}
        copy.client.create_model_version("adapter", logged[0], tags=own)

    ledger_of(copy, "adapter", holder=2)
    if not since:
        log()
    meanwhile(monkeypatch, act)

    inventory = take()

    assert facts_of(inventory)["models:/adapter/2"].doomed == ""
    assert inventory.orphans == ()


def test_what_went_or_was_tagged_meanwhile(
    copy: Registry, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was deleted is not there, whatever its ledger says; tags that were written after
    a version was listed are its tags."""
    tags = dict(copy.client.get_model_version("again", "1").tags)
    gone = copy.folder_of("models:/copied/1")
    copy.client.create_registered_model("late")
    copy.client.create_model_version("late", str(gone))
    ledger_of(copy, "from-run", holder=7)
    ledger_of(copy, "adapter", holder=1)

    def act() -> None:
        copy.client.delete_registered_model("from-run")
        copy.client.set_model_version_tag("late", "1", DIGEST_TAG, "sha256:tag")

    meanwhile(monkeypatch, act)

    inventory = take()

    assert "from-run" not in {model.name for model in inventory.models}
    assert facts_of(inventory)["models:/late/1"].tags == {DIGEST_TAG: "sha256:tag"}
    assert facts_of(inventory)["models:/again/1"].tags == tags
