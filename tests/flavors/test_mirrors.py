"""Where a base is looked for: by its digest in the cache, at its own URI, then at the mirrors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock import ErrorKind, IntegrityError, NotFoundError, PairlockError, UnavailableError
from pairlock.bases import Base, open_base
from pairlock.carrying import export_packages
from pairlock.catalog import DIGEST_TAG
from pairlock.config import current_settings
from pairlock.manifest import BaseOrigin, BasePin
from pairlock.packages import read_package_manifest
from pairlock.progress import SILENT
from pairlock.pulling import pull
from pairlock.resolution import resolve
from pairlock.transfer import downloading
from support.faults import FILE_FAULTS, damaged
from support.memory import forget_models
from support.registries import active, package_folder
from support.tracking import opened

BUCKET = "pairlock"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Exported:
    """An adapter, its pin, and an export of both."""

    pin: BasePin
    base: Path
    """The package of the base."""

    export: Path

    @property
    def model(self) -> Path:
        """The base in the export."""
        return self.export / "models" / self.pin.tree_digest.removeprefix("sha256:")


@pytest.fixture(scope="module")
def exported(packaged: Any, shelf: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An export of a linear adapter and its base."""
    uri = packaged("linear")
    root = tmp_path_factory.mktemp("mirrors")
    with active(shelf.uri), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRLOCK_CACHE", str(root / "cache"))
        settings = current_settings()
        manifest, _ = read_package_manifest(resolve(uri, settings), settings=settings)
        assert manifest.base is not None
        base = package_folder(manifest.base.uri)
        export_packages([uri], root / "export")
    return Exported(manifest.base, base, root / "export")


@pytest.fixture
def nowhere(exported: Exported, tmp_path: Path) -> BasePin:
    """A pin whose own place is not there."""
    return replace(
        exported.pin,
        uri=str(tmp_path / "nowhere"),
        origin=BaseOrigin.FOLDER,
        package_digest=None,
    )


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the mirrors."""

    def use(*places: object) -> None:
        monkeypatch.setenv("PAIRLOCK_MIRRORS", " ".join(str(place) for place in places))

    return use


def upload(store: Any, folder: Path) -> str:
    """Copy a folder to S3; returns its URI."""
    prefix = f"mirrors/{os.urandom(6).hex()}"
    client = store.client()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return f"s3://{BUCKET}/{prefix}"


def find(pin: BasePin, *, instead: str | None = None, offline: bool | None = None) -> Base:
    """Find a base as a load does."""
    settings = current_settings(offline=offline)
    return open_base(pin, instead=instead, settings=settings, progress=SILENT)


def is_whole(base: Base, exported: Exported) -> bool:
    """Whether exactly the pinned files are in the folder that a library would read."""
    with base.folder() as folder:
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    expected = {r.path: (exported.model / r.path).read_bytes() for r in exported.pin.files}
    return found == expected


def registered_in_s3(registry: Any, store: Any, exported: Exported) -> BasePin:
    """A pin on a registered version whose package lies in S3."""
    assert exported.pin.package_digest is not None
    name = f"base-{os.urandom(4).hex()}"
    registry.client.create_registered_model(name)
    registry.client.create_model_version(
        name, upload(store, exported.base), tags={DIGEST_TAG: exported.pin.package_digest}
    )
    return replace(exported.pin, uri=f"models:/{name}/1")


# --- the cache, then the pin's own place ----------------------------------------------------------


def test_a_base_in_the_cache_outlives_its_registered_version(
    registry: Any, s3: Any, s3_proxy: Any, exported: Exported
) -> None:
    """Its digest is what counts: the version is deleted, and the pinned bytes are here."""
    pin = registered_in_s3(registry, s3, exported)
    first = find(pin)
    assert (first.requested, first.fetched_bytes > 0) == (pin.uri, True)
    registry.client.delete_registered_model(pin.uri.split("/")[1])
    s3_proxy.reset()
    for offline in (False, True):
        again = find(pin, offline=offline)
        assert (again.requested, again.fetched_bytes, again.warnings) == ("the cache", 0, ())
        assert is_whole(again, exported)
    assert s3_proxy.seen == []


def test_a_base_whose_version_is_gone_and_is_not_here_is_not_found(
    registry: Any, s3: Any, exported: Exported
) -> None:
    """Without a copy in the cache a deleted version is an error that names its place."""
    pin = registered_in_s3(registry, s3, exported)
    registry.client.delete_registered_model(pin.uri.split("/")[1])
    with pytest.raises(NotFoundError) as caught:
        find(pin)
    assert caught.value.kind is ErrorKind.BASE_NOT_FOUND
    assert caught.value.checked == pin.uri


def test_a_base_that_came_with_its_own_package_is_not_fetched_again(
    registry: Any, s3: Any, s3_proxy: Any, exported: Exported
) -> None:
    """The base was pulled as a package: the same files are not asked of S3 a second time."""
    pin = registered_in_s3(registry, s3, exported)
    opened(pin.uri)
    s3_proxy.reset()
    found = find(pin, offline=True)
    assert found.fetched_bytes == 0
    assert is_whole(found, exported)
    assert s3_proxy.seen == []


def test_a_cached_base_that_was_damaged_is_fetched_again(
    registry: Any, s3: Any, exported: Exported
) -> None:
    """A damaged copy in the cache is no base: offline an error, online fetched anew."""
    pin = registered_in_s3(registry, s3, exported)
    with find(pin).folder() as folder:
        target = folder / WEIGHTS
    content = bytearray(target.read_bytes())
    content[100] ^= 1
    target.chmod(0o644)
    target.write_bytes(content)
    with pytest.raises(UnavailableError) as caught:
        find(pin, offline=True)
    assert caught.value.kind is ErrorKind.OFFLINE
    again = find(pin)
    assert again.fetched_bytes == len(content)
    assert is_whole(again, exported)


def test_a_registered_base_with_another_digest_is_not_even_fetched(
    registry: Any, s3: Any, s3_proxy: Any, exported: Exported
) -> None:
    """The registry vouches for other bytes than the pin: refused before a byte is fetched."""
    pin = registered_in_s3(registry, s3, exported)
    other = replace(pin, package_digest=f"sha256:{'0' * 64}")
    with pytest.raises(IntegrityError) as caught:
        find(other)
    assert caught.value.kind is ErrorKind.BASE_DIGEST
    assert s3_proxy.seen == []


# --- mirrors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["folder", "folder/", "s3", "s3/"])
def test_an_export_serves_as_a_mirror(
    s3: Any, mirrors: Callable[..., None], exported: Exported, nowhere: BasePin, where: str
) -> None:
    """What `export` wrote, or a copy of it in S3, has the base; a warning says where it was."""
    place = str(exported.export) if where.startswith("folder") else upload(s3, exported.export)
    mirrors(place + "/" * where.endswith("/"))
    found = find(nowhere)
    assert is_whole(found, exported)
    assert found.requested.startswith(f"{place}/models/")
    assert len(found.warnings) == 1
    assert place in found.warnings[0]
    assert (found.fetched_bytes > 0) is where.startswith("s3")


def test_mirrors_are_tried_in_their_order(
    s3: Any,
    s3_proxy: Any,
    mirrors: Callable[..., None],
    exported: Exported,
    nowhere: BasePin,
    tmp_path: Path,
) -> None:
    """The first that has it right is used, and those after it are not asked."""
    second = shutil.copytree(exported.export, tmp_path / "second")
    in_s3 = upload(s3, exported.export)
    s3_proxy.reset()
    mirrors(exported.export, second, in_s3)
    assert find(nowhere).requested.startswith(f"{exported.export}/")
    mirrors(second, exported.export, in_s3)
    assert find(nowhere).requested.startswith(f"{second}/")
    assert s3_proxy.seen == []
    mirrors(in_s3, second)
    assert find(nowhere).requested.startswith(f"{in_s3}/")


def test_a_mirror_is_not_asked_while_the_pins_own_place_has_it(
    mirrors: Callable[..., None], exported: Exported, nowhere: BasePin, tmp_path: Path
) -> None:
    """The pin's own place comes first, and then there is nothing to warn about."""
    shutil.copytree(exported.model, tmp_path / "nowhere")
    mirrors(exported.export)
    found = find(nowhere)
    assert (found.requested, found.warnings) == (nowhere.uri, ())
    assert is_whole(found, exported)


@pytest.mark.parametrize("fault", sorted(FILE_FAULTS))
def test_a_damaged_mirror_is_passed_over(
    mirrors: Callable[..., None],
    exported: Exported,
    nowhere: BasePin,
    tmp_path: Path,
    fault: str,
) -> None:
    """A mirror with one wrong file is none; when all are, the error names the pin's own place."""
    broken = shutil.copytree(exported.export, tmp_path / "broken")
    target = broken / exported.model.relative_to(exported.export) / WEIGHTS
    (tmp_path / "aside").mkdir()
    with damaged(target, FILE_FAULTS[fault][0], tmp_path / "aside"):
        mirrors(broken)
        with pytest.raises(NotFoundError) as caught:
            find(nowhere)
        assert caught.value.kind is ErrorKind.BASE_NOT_FOUND
        assert caught.value.checked == nowhere.uri
        mirrors(broken, exported.export)
        found = find(nowhere)
    assert found.requested.startswith(f"{exported.export}/")
    assert is_whole(found, exported)


@pytest.mark.parametrize("fault", ["missing", "truncated", "bit-flipped"])
def test_a_damaged_mirror_in_s3_is_passed_over(
    s3: Any,
    mirrors: Callable[..., None],
    exported: Exported,
    nowhere: BasePin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Wrong bytes from S3 are never kept as right ones, and the next mirror is asked."""
    monkeypatch.setattr(downloading, "FIRST_PAUSE_S", 0.0)
    broken = shutil.copytree(exported.export, tmp_path / "broken")
    target = broken / exported.model.relative_to(exported.export) / WEIGHTS
    (tmp_path / "aside").mkdir()
    with damaged(target, FILE_FAULTS[fault][0], tmp_path / "aside"):
        in_s3 = upload(s3, broken)
    mirrors(in_s3)
    with pytest.raises(NotFoundError) as caught:
        find(nowhere)
    assert caught.value.checked == nowhere.uri
    mirrors(in_s3, exported.export)
    found = find(nowhere)
    assert found.requested.startswith(f"{exported.export}/")
    assert is_whole(found, exported)


def test_what_is_no_mirror_is_passed_over(
    s3: Any, mirrors: Callable[..., None], exported: Exported, nowhere: BasePin, tmp_path: Path
) -> None:
    """No folder, a file, an empty bucket, an unknown store and nonsense stop nothing."""
    (tmp_path / "file").write_text("no export")
    bad = ["/not/there", tmp_path / "file", "s3://pairlock/empty", "s3://no-such-bucket-here/x"]
    bad += ["ftp://host/x", "models:/x/1", "hf://x", "~no-such-user-here/x", "s3://"]
    mirrors(*bad, exported.export)
    assert is_whole(find(nowhere), exported)
    mirrors(*bad)
    with pytest.raises(NotFoundError) as caught:
        find(nowhere)
    assert caught.value.checked == nowhere.uri


@pytest.mark.parametrize("own", ["folder", "s3"])
def test_other_bytes_at_the_pins_own_place_are_refused_or_replaced(
    s3: Any,
    mirrors: Callable[..., None],
    exported: Exported,
    nowhere: BasePin,
    tmp_path: Path,
    tiny_other: Path,
    own: str,
) -> None:
    """Another model at the URI: refused without mirrors; with one, its base and a warning."""
    place = str(shutil.copytree(tiny_other, tmp_path / "nowhere"))
    if own == "s3":
        place = upload(s3, tiny_other)
    pin = replace(nowhere, uri=place)
    with pytest.raises(IntegrityError) as caught:
        find(pin)
    assert WEIGHTS in {finding.place for finding in caught.value.findings}
    mirrors(exported.export)
    found = find(pin)
    assert is_whole(found, exported)
    assert len(found.warnings) == 1
    assert str(exported.export) in found.warnings[0]


def test_offline_a_folder_is_a_mirror_and_s3_is_not(
    s3: Any, s3_proxy: Any, mirrors: Callable[..., None], exported: Exported, nowhere: BasePin
) -> None:
    """Offline no mirror over a network is asked; one on a disk is."""
    in_s3 = upload(s3, exported.export)
    s3_proxy.reset()
    mirrors(in_s3)
    with pytest.raises(PairlockError):
        find(replace(nowhere, uri=f"{in_s3}/own"), offline=True)
    mirrors(in_s3, exported.export)
    found = find(replace(nowhere, uri=f"{in_s3}/own"), offline=True)
    assert is_whole(found, exported)
    assert s3_proxy.seen == []


def test_instead_is_the_only_place(
    s3: Any,
    mirrors: Callable[..., None],
    exported: Exported,
    nowhere: BasePin,
    tmp_path: Path,
    tiny_other: Path,
) -> None:
    """With `instead` neither the cache nor the pin's place nor a mirror steps in."""
    shutil.copytree(exported.model, nowhere.uri)
    mirrors(exported.export)
    in_s3 = upload(s3, exported.model)
    assert find(nowhere, instead=in_s3).requested == in_s3  # and now it is in the cache
    with pytest.raises(NotFoundError) as missing:
        find(nowhere, instead=str(tmp_path / "missing"))
    assert missing.value.kind is ErrorKind.BASE_NOT_FOUND
    assert str(tmp_path / "missing") in missing.value.checked
    with pytest.raises(IntegrityError):
        find(nowhere, instead=str(tiny_other))
    with pytest.raises(IntegrityError):
        find(nowhere, instead=str(exported.base.parent / "none" / ".." / ".." / tiny_other))
    found = find(nowhere, instead=str(exported.model))
    assert (found.requested, found.warnings) == (str(exported.model), ())
    assert is_whole(found, exported)


# --- pulls and loads ------------------------------------------------------------------------------


def test_a_pull_brings_the_base_too_when_it_is_asked_to(
    shared_registry: Any, packaged: Any, s3: Any, s3_proxy: Any, exported: Exported
) -> None:
    """`with_base` brings an adapter's base; of a full model there is none to bring."""
    in_s3 = upload(s3, exported.model)
    alone = pull(packaged("linear"), base=in_s3)
    assert (alone.base, alone.fetched_bytes) == (None, 0)
    assert pull(packaged("tiny_model"), with_base=True).base is None
    both = pull(packaged("linear"), with_base=True, base=in_s3)
    assert both.base is not None
    assert both.fetched_bytes == sum(record.size_bytes for record in exported.pin.files)
    assert both.verified_bytes == both.fetched_bytes + both.package.proved.size_bytes
    assert is_whole(both.base, exported)
    s3_proxy.reset()
    again = pull(packaged("linear"), with_base=True, offline=True)
    assert again.base is not None
    assert (again.base.requested, again.fetched_bytes) == ("the cache", 0)
    assert s3_proxy.seen == []


def test_a_load_from_a_mirror_gives_the_same_vectors_and_says_so(
    registry: Any,
    mirrors: Callable[..., None],
    exported: Exported,
    tmp_path: Path,
    tiny_model: Path,
    linear_adapter: Path,
) -> None:
    """The adapter's base folder is gone: the mirror's copy serves, golden vectors and all."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    uri = registry.log(linear_adapter, "support", base=str(base))
    before = pairlock.load(uri, device="cpu")
    assert pairlock.receipt(before).warnings == ()
    forget_models()
    shutil.rmtree(base)
    with pytest.raises(NotFoundError):
        pairlock.load(uri, device="cpu")
    mirrors(exported.export)
    after = pairlock.load(uri, device="cpu", golden=True)
    assert after.get_query_embedding("an invoice") == before.get_query_embedding("an invoice")
    receipt = pairlock.receipt(after)
    assert len(receipt.warnings) == 1
    assert receipt.base is not None
    assert receipt.base.uri == str(base)
    assert receipt.base.loaded_from.startswith(str(exported.export))
