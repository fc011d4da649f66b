"""Packages carried to a machine without a network: whole, proved, or refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock import (
    AlreadyExistsError,
    ErrorKind,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    StorageError,
)
from pairlock.cache import CacheFolder
from pairlock.cache.survey import survey
from pairlock.carrying import INDEX_NAME, export_packages, import_packages
from pairlock.config import current_settings
from pairlock.transfer import downloading
from support.faults import FILE_FAULTS, added, damaged
from support.registries import active, snapshot
from support.tracking import opened

ADAPTERS = ("linear", "linear_bias")
TEXTS = ["where is the invoice", "", "Refunds are paid to the card."]


@pytest.fixture(scope="module")
def carried(packaged: Any, shelf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of two adapters on one base; nobody changes it."""
    to = tmp_path_factory.mktemp("carried") / "export"
    uris = [packaged(name) for name in ADAPTERS]
    with active(shelf.uri), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRLOCK_CACHE", str(to.with_name("cache")))
        export_packages(uris, to)
    return to


@pytest.fixture
def copied(carried: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may damage."""
    return shutil.copytree(carried, tmp_path / "stick" / "export")


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[None]:
    """A machine on which nothing was ever logged or asked."""
    with active(f"sqlite:///{tmp_path}/no-registry/mlflow.db"):
        yield


def files_in(root: Path) -> list[str]:
    """Every file by path."""
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def index_of(export: Path) -> dict[str, Any]:
    """The index."""
    found: dict[str, Any] = json.loads((export / INDEX_NAME).read_bytes())
    return found


def rewrite(export: Path, index: object) -> None:
    """Replace the index."""
    (export / INDEX_NAME).write_text(json.dumps(index))


def nothing_is_offered(uris: list[str]) -> bool:
    """Whether no package of an export loads here."""
    for uri in uris:
        with suppress(PairlockError):
            opened(uri, offline=True)
            return False
    return True


# --- the whole way --------------------------------------------------------------------------------


def test_what_was_carried_loads_offline_with_the_same_vectors(
    shelf: Any, packaged: Any, carried: Path, copied: Path, isolated: None
) -> None:
    """A copy of the export is all that another machine needs: same digests, same vectors."""
    uris = [packaged(name) for name in ADAPTERS]
    with active(shelf.uri):
        expected = [pairlock.load(uri, device="cpu") for uri in uris]
    found = import_packages(copied)
    shutil.rmtree(copied)
    assert [one.uri for one in found] == uris
    for uri, before, one in zip(uris, expected, found, strict=True):
        loaded = pairlock.load(uri, device="cpu", offline=True, golden=True)
        receipt, earlier = pairlock.receipt(loaded), pairlock.receipt(before)
        assert receipt.package_digest == earlier.package_digest == one.package_digest
        assert receipt.anchors == {"import": one.package_digest}
        assert receipt.base is not None
        assert earlier.base is not None
        assert receipt.base.tree_digest == earlier.base.tree_digest == one.base_tree_digest
        assert loaded.get_text_embedding_batch(TEXTS) == before.get_text_embedding_batch(TEXTS)
        assert [loaded.get_query_embedding(text) for text in TEXTS] == [
            before.get_query_embedding(text) for text in TEXTS
        ]


def test_two_adapters_share_their_base(carried: Path, copied: Path, isolated: None) -> None:
    """One base is exported once, imported once, and is once on the disk."""
    assert len(list((carried / "packages").iterdir())) == 2
    (model,) = (carried / "models").iterdir()
    base_bytes = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    first, second = import_packages(copied)
    assert first.base_tree_digest == second.base_tree_digest == f"sha256:{model.name}"
    assert first.fetched_bytes > base_bytes > second.fetched_bytes > 0
    found = survey(CacheFolder(current_settings().cache))
    assert sorted(view.kind.label for view in found.views) == ["base model", "package", "package"]
    names = [path.name for path in (current_settings().cache / "blobs").rglob("*")]
    assert len(names) == len(set(names))


def test_importing_twice_changes_nothing(copied: Path, isolated: None) -> None:
    """The second import copies no byte, and leaves the export as it is."""
    before = snapshot(copied)
    import_packages(copied)
    blobs = snapshot(current_settings().cache / "blobs")
    again = import_packages(copied)
    assert [one.fetched_bytes for one in again] == [0, 0]
    assert snapshot(current_settings().cache / "blobs") == blobs
    assert snapshot(copied) == before


def test_an_import_mends_what_is_damaged_in_the_cache(copied: Path, isolated: None) -> None:
    """A cached file with other bytes is replaced by the export's."""
    uris = [one.uri for one in import_packages(copied)]
    package = opened(uris[0], offline=True)
    target = package.root / "payload/adapter/adapter.safetensors"
    content = target.read_bytes()
    target.chmod(0o644)
    target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PairlockError):
        opened(uris[0], offline=True)
    import_packages(copied)
    assert opened(uris[0], offline=True).digest == package.digest
    assert target.read_bytes() == content


def test_what_was_imported_is_hinted_at_online(copied: Path, isolated: None) -> None:
    """Online the registry decides; it does not have the version, and the hint says what helps."""
    uri = import_packages(copied)[0].uri
    with pytest.raises(NotFoundError) as caught:
        opened(uri)
    assert "PAIRLOCK_OFFLINE" in caught.value.hint


def test_an_export_of_what_was_imported_is_the_same(
    carried: Path, copied: Path, isolated: None, tmp_path: Path
) -> None:
    """An isolated machine can pass on what it got; the digests and all payload files are kept."""
    uris = [one.uri for one in import_packages(copied)]
    export_packages(uris, tmp_path / "again", offline=True)
    assert index_of(tmp_path / "again") == index_of(carried)
    covered = [path for path in files_in(carried) if "payload" in path or "models/" in path]
    for path in covered:
        assert (tmp_path / "again" / path).read_bytes() == (carried / path).read_bytes()


def test_a_full_model_is_carried_without_a_base(
    shelf: Any, packaged: Any, tmp_path: Path, isolated: None
) -> None:
    """There is no base to carry, and none in the result."""
    with active(shelf.uri):
        (one,) = export_packages([packaged("tiny_model")], tmp_path / "export")
    assert one.base_tree_digest is None
    assert not (tmp_path / "export" / "models").exists()
    (found,) = import_packages(tmp_path / "export")
    assert (found.package_digest, found.base_tree_digest) == (one.package_digest, None)
    assert opened(found.uri, offline=True).digest == one.package_digest


def test_an_alias_is_carried_as_the_version_it_named(
    registry: Any, tiny_model: Path, tmp_path: Path, isolated: None
) -> None:
    """An alias does not travel: what is imported has the name that means it for good."""
    with active(registry.uri):
        registry.log(tiny_model, "support")
        registry.client.set_registered_model_alias("support", "live", 1)
        (one,) = export_packages(["models:/support@live"], tmp_path / "export")
    assert one.uri == "models:/support/1"
    import_packages(tmp_path / "export")
    assert opened("models:/support/1", offline=True).digest == one.package_digest


def test_a_package_named_by_its_folder_is_not_exported(
    shelf: Any, packaged: Any, tmp_path: Path
) -> None:
    """A path names nothing on another machine, so it is refused before anything is written."""
    with active(shelf.uri):
        folder = shutil.copytree(opened(packaged("tiny_model")).root, tmp_path / "package")
    with pytest.raises(InvalidInputError) as caught:
        export_packages([str(folder)], tmp_path / "export")
    assert caught.value.kind is ErrorKind.REFERENCE_INVALID
    assert not (tmp_path / "export").exists()


def test_one_package_named_twice_is_exported_once(
    shelf: Any, packaged: Any, tmp_path: Path
) -> None:
    """Naming a version twice is one entry."""
    with active(shelf.uri):
        uri = packaged("tiny_model")
        assert len(export_packages([uri, uri], tmp_path / "export")) == 1
    assert len(index_of(tmp_path / "export")["packages"]) == 1


# --- the export appears whole or not at all -------------------------------------------------------


@pytest.mark.parametrize("what", ["a file", "a folder with a file"])
def test_a_target_that_exists_is_refused(
    shared_registry: Any, packaged: Any, tmp_path: Path, what: str
) -> None:
    """Nothing is written over, and nothing is looked up."""
    target = tmp_path / "target"
    mine = target if what == "a file" else target / "mine"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(AlreadyExistsError) as caught:
        export_packages([packaged("linear")], target)
    assert caught.value.kind is ErrorKind.TARGET_EXISTS
    assert mine.read_text() == "mine"


def test_one_package_that_is_not_there_makes_no_export(
    shared_registry: Any, packaged: Any, tmp_path: Path
) -> None:
    """The first of two was copied already: it is removed again."""
    with pytest.raises(NotFoundError):
        export_packages([packaged("linear"), "models:/nobody/1"], tmp_path / "out" / "export")
    assert files_in(tmp_path / "out") == []
    assert not (tmp_path / "out" / "export").exists()


def test_a_package_that_is_damaged_makes_no_export(
    shared_registry: Any, packaged: Any, tmp_path: Path
) -> None:
    """A bit that flipped in the registry does not travel."""
    weights = opened(packaged("linear")).root / "payload/adapter/adapter.safetensors"
    (tmp_path / "aside").mkdir()
    with (
        damaged(weights, FILE_FAULTS["bit-flipped"][0], tmp_path / "aside"),
        pytest.raises(IntegrityError),
    ):
        export_packages([packaged("linear")], tmp_path / "export")
    assert not (tmp_path / "export").exists()


EXPORT = """
import resource, sys
from pathlib import Path
from pairlock.errors import StorageError
from pairlock.carrying import export_packages
import pairlock.copying
import mlflow
registry, target, limit, *uris = sys.argv[1:]
mlflow.set_tracking_uri(registry)
mlflow.set_registry_uri(registry)
if limit == "slow":
    copy = pairlock.copying.copy_hashing
    def slow(*args, **kwargs):
        print("copied", flush=True)
        import time
        time.sleep(0.5)
        return copy(*args, **kwargs)
    pairlock.copying.copy_hashing = slow
elif limit:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    export_packages(uris, Path(target))
except StorageError as error:
    print("StorageError", error.kind)
"""


def test_a_full_disk_leaves_no_export(shared_registry: Any, packaged: Any, tmp_path: Path) -> None:
    """Writing fails half-way through the weights: an error, and nothing is left behind."""
    target = tmp_path / "to" / "export"
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            EXPORT,
            shared_registry.uri,
            str(target),
            "4096",
            packaged("linear"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.startswith("StorageError "), found.stderr
    assert list((tmp_path / "to").iterdir()) == []


def test_a_kill_leaves_no_export(shared_registry: Any, packaged: Any, tmp_path: Path) -> None:
    """Killed while it copies: there is no export, and the next one succeeds."""
    target = tmp_path / "to" / "export"
    uri = packaged("linear")
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORT, shared_registry.uri, str(target), "slow", uri],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert [process.stdout.readline() for _ in range(3)] == ["copied\n"] * 3
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    with pytest.raises(NotFoundError):
        import_packages(target)
    export_packages([uri], target)
    assert index_of(target)["packages"]


# --- names ----------------------------------------------------------------------------------------


@pytest.fixture
def conflict(registry: Any, tiny_model: Path, tiny_other: Path, tmp_path: Path) -> list[Path]:
    """Two exports with different packages under one name."""
    made = []
    for number, model in enumerate((tiny_model, tiny_other)):
        with suppress(Exception):
            registry.client.delete_registered_model("support")
        assert registry.log(model, "support") == "models:/support/1"
        made.append(tmp_path / f"export-{number}")
        export_packages(["models:/support/1"], made[-1])
    return made


def test_another_package_under_the_same_name_is_refused(
    conflict: list[Path], isolated: None
) -> None:
    """What was imported first stays; `replace` gives its name to the other, and back."""
    (first,) = import_packages(conflict[0])
    with pytest.raises(AlreadyExistsError) as caught:
        import_packages(conflict[1])
    assert caught.value.kind is ErrorKind.TARGET_EXISTS
    assert opened(first.uri, offline=True).digest == first.package_digest
    for export in (conflict[1], conflict[0]):
        (now,) = import_packages(export, replace=True)
        assert opened(now.uri, offline=True).digest == now.package_digest
    assert now.package_digest == first.package_digest


def test_a_refused_import_leaves_the_others_of_the_export_out(
    conflict: list[Path], copied: Path, isolated: None
) -> None:
    """One name is taken: nothing of the export is imported."""
    import_packages(conflict[0])
    index = index_of(copied)
    index["packages"][1]["uri"] = "models:/support/1"
    rewrite(copied, index)
    with pytest.raises(AlreadyExistsError):
        import_packages(copied)
    assert nothing_is_offered([index["packages"][0]["uri"]])


def test_one_index_with_one_name_for_two_packages_is_refused(copied: Path, isolated: None) -> None:
    """An index that was written by hand cannot make a name mean two things."""
    index = index_of(copied)
    index["packages"][1]["uri"] = index["packages"][0]["uri"]
    rewrite(copied, index)
    with pytest.raises(PairlockError):
        import_packages(copied)
    assert nothing_is_offered([index["packages"][0]["uri"]])


def test_the_callers_digest_must_be_in_the_export(copied: Path, isolated: None) -> None:
    """A digest that no package of the export has: refused, and nothing is imported."""
    entries = index_of(copied)["packages"]
    with pytest.raises(IntegrityError) as caught:
        import_packages(copied, expected_digest=f"sha256:{'0' * 64}")
    assert caught.value.kind is ErrorKind.PACKAGE_DIGEST
    assert nothing_is_offered([entry["uri"] for entry in entries])
    assert not current_settings().cache.exists()
    assert len(import_packages(copied, expected_digest=entries[1]["package_digest"])) == 2


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["missing", "truncated", "bit-flipped"])
def test_no_damaged_file_of_an_export_is_imported(
    carried: Path,
    copied: Path,
    isolated: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
) -> None:
    """Each file in turn is damaged: the import is refused, and nothing of it is offered.

    A file whose content is also in the other package is not read twice; then what is imported is
    right. MLflow's own files are not covered by a digest, and an import does not look at them.
    """
    entries = index_of(carried)["packages"]
    uris = [entry["uri"] for entry in entries]
    contents = [(copied / path).read_bytes() for path in files_in(copied)]
    (tmp_path / "aside").mkdir()
    # a file of another size is tried again and again, in case a network is to blame
    monkeypatch.setattr(downloading, "FIRST_PAUSE_S", 0.0)
    refused = 0
    for number, path in enumerate(files_in(copied)):
        proved = "/payload/" in path or path.startswith("models/") or path.endswith("pairlock.json")
        if not proved or not contents[number]:
            continue
        monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / f"cache-{number}"))
        with damaged(copied / path, FILE_FAULTS[fault][0], tmp_path / "aside"):
            try:
                import_packages(copied)
            except PairlockError:
                refused += 1
                assert nothing_is_offered(uris), path
            else:
                assert contents.count(contents[number]) > 1, path
                found = [opened(uri, offline=True, rehash=True).digest for uri in uris]
                assert found == [entry["package_digest"] for entry in entries]
        shutil.rmtree(current_settings().cache, ignore_errors=True)
    assert refused > 12


def test_an_extra_file_in_an_export_is_left_out(
    carried: Path, copied: Path, isolated: None
) -> None:
    """A file that no manifest lists does not come into the cache."""
    entry = index_of(copied)["packages"][0]
    package = copied / "packages" / entry["package_digest"].removeprefix("sha256:")
    (model,) = (copied / "models").iterdir()
    with (
        added(package / "payload" / "extra.bin", b"extra"),
        added(model / "extra.py", b"raise SystemExit"),
        added(copied / "extra", b"extra"),
    ):
        import_packages(copied)
    assert not [path for path in files_in(current_settings().cache) if "extra" in path]
    assert opened(entry["uri"], offline=True).digest == entry["package_digest"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("not json", ErrorKind.EXPORT_INVALID),
        ("", ErrorKind.EXPORT_INVALID),
        ("[" * 100_000, ErrorKind.EXPORT_INVALID),
        ("null", ErrorKind.EXPORT_INVALID),
        ("[]", ErrorKind.EXPORT_INVALID),
        ({}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 2, "packages": []}, ErrorKind.FORMAT_TOO_NEW),
        ({"format_version": "1", "packages": []}, ErrorKind.EXPORT_INVALID),
        ({"format_version": None, "packages": []}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 0, "packages": []}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 1, "packages": None}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 1, "packages": {"a": 1}}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 1, "packages": ["models:/x/1"]}, ErrorKind.EXPORT_INVALID),
        ({"format_version": 1, "packages": [{"uri": "models:/x/1"}]}, ErrorKind.EXPORT_INVALID),
    ],
)
def test_an_index_that_cannot_be_read_is_refused(
    copied: Path, isolated: None, change: object, kind: ErrorKind
) -> None:
    """Not JSON, a newer version and wrong types are errors, and nothing is imported."""
    text = change if isinstance(change, str) else json.dumps(change)
    (copied / INDEX_NAME).write_text(text)
    with pytest.raises(FormatError) as caught:
        import_packages(copied)
    assert caught.value.kind is kind
    assert not current_settings().cache.exists()


@pytest.mark.parametrize(
    "digest",
    [
        "../../../etc",
        "sha256:../../x",
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 63,
        "",
        7,
        None,
        ["0" * 64],
    ],
)
def test_a_digest_that_is_none_is_refused(copied: Path, isolated: None, digest: object) -> None:
    """A path or anything else instead of a digest leads nowhere."""
    index = index_of(copied)
    index["packages"][1]["package_digest"] = digest
    rewrite(copied, index)
    with pytest.raises(FormatError) as caught:
        import_packages(copied)
    assert caught.value.kind is ErrorKind.EXPORT_INVALID
    assert not current_settings().cache.exists()


@pytest.mark.parametrize("uri", [7, None, ["models:/x/1"]])
def test_a_uri_of_the_wrong_type_is_refused(copied: Path, isolated: None, uri: object) -> None:
    """A name has to be text."""
    index = index_of(copied)
    index["packages"][0]["uri"] = uri
    rewrite(copied, index)
    with pytest.raises(FormatError) as caught:
        import_packages(copied)
    assert caught.value.kind is ErrorKind.EXPORT_INVALID


def test_an_index_that_swaps_two_packages_gives_right_packages(
    copied: Path, isolated: None
) -> None:
    """The index is no proof: a digest known from elsewhere tells what a name stands for."""
    index = index_of(copied)
    one, two = index["packages"]
    one["package_digest"], two["package_digest"] = two["package_digest"], one["package_digest"]
    rewrite(copied, index)
    import_packages(copied)
    assert opened(one["uri"], offline=True).digest == one["package_digest"]
    with pytest.raises(IntegrityError):
        opened(one["uri"], offline=True, expected_digest=two["package_digest"])


def test_a_package_under_another_packages_digest_is_refused(copied: Path, isolated: None) -> None:
    """A sound package in the wrong folder is not the one that the export names."""
    one, two = (
        copied / "packages" / entry["package_digest"].removeprefix("sha256:")
        for entry in index_of(copied)["packages"]
    )
    shutil.rmtree(two)
    shutil.copytree(one, two)
    with pytest.raises(IntegrityError) as caught:
        import_packages(copied)
    assert caught.value.kind is ErrorKind.PACKAGE_DIGEST
    assert nothing_is_offered([entry["uri"] for entry in index_of(copied)["packages"]])


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder", "a package"])
def test_what_is_no_export_is_said_to_be_none(
    carried: Path, isolated: None, tmp_path: Path, what: str
) -> None:
    """A wrong path is not found, or cannot be read; it is no defect."""
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("text")
    elif what == "an empty folder":
        place.mkdir()
    elif what == "a package":
        place = next((carried / "packages").iterdir())
    with pytest.raises((NotFoundError, StorageError)):
        import_packages(place)
    assert not current_settings().cache.exists()


def test_a_cache_that_cannot_be_written_says_so(
    copied: Path, isolated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import into a file instead of a folder is an error, and the export stays as it is."""
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "file"))
    before = snapshot(copied)
    with pytest.raises(StorageError):
        import_packages(copied)
    assert (tmp_path / "file").read_text() == "mine"
    assert snapshot(copied) == before


def test_an_old_import_says_how_old_it_is(copied: Path, isolated: None) -> None:
    """The age of an imported answer is the time since the import."""
    uri = import_packages(copied)[0].uri
    located = opened(uri, offline=True).located
    assert located.remembered_at is not None
    assert abs(located.remembered_at - time.time()) < 60
