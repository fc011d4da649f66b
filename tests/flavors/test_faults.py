"""Damage to any file of a package or of the package under it: refused, and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import rfc8785

import pairlock
from pairlock import (
    ErrorKind,
    FormatError,
    IntegrityError,
    NotFoundError,
    PairlockError,
    UnsupportedError,
)
from pairlock.digests import hash_file
from pairlock.verification import Outcome
from support.faults import PACKAGE_FAULTS, added, damaged
from support.registries import new_registry

QUERY = "how do I get my money back"


class Shelf:
    """A registry to damage, with a full model and an adapter on it."""

    def __init__(self, registry: Any, full: str, adapter: str) -> None:
        self.registry = registry
        self.uris = {"full": full, "adapter": adapter}
        self.folders = {name: registry.folder_of(uri) for name, uri in self.uris.items()}
        self.vectors = {
            name: pairlock.load(uri).get_query_embedding(QUERY) for name, uri in self.uris.items()
        }

    def files(self, name: str) -> list[str]:
        """Every payload file of a package, by its path in the package."""
        payload = self.folders[name] / "payload"
        found = [path for path in payload.rglob("*") if path.is_file()]
        return sorted(path.relative_to(self.folders[name]).as_posix() for path in found)

    def loads_again(self, name: str) -> None:
        """The undamaged model gives the vectors it gave before."""
        assert pairlock.load(self.uris[name]).get_query_embedding(QUERY) == self.vectors[name]


@pytest.fixture(scope="module")
def shelf_to_damage(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    linear_adapter: Path,
) -> Any:
    """One registry for this file, damaged and restored by every test."""
    from support.registries import active

    registry = new_registry(tmp_path_factory.mktemp("faults") / "registry", registry_template)
    with active(registry.uri):
        base = registry.log(tiny_model, "base")
        yield Shelf(registry, base, registry.log(linear_adapter, "adapter", base=base))


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """Where originals wait while something else is in their place."""
    folder = tmp_path / "aside"
    folder.mkdir()
    return folder


def refused(uri: str, place: str, kind: ErrorKind) -> None:
    """Loading and verifying both refuse, and name the place."""
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert (place, kind) in {(found.place, found.kind) for found in caught.value.findings}
    verification = pairlock.verify(uri)
    assert not verification.passed
    findings = [finding for check in verification.checks for finding in check.findings]
    assert (place, kind) in {(found.place, found.kind) for found in findings}
    assert verification.checks[-1].outcome is Outcome.SKIPPED
    assert json.loads(json.dumps(verification.to_dict()))["passed"] is False


def test_every_kind_of_file_is_among_those_damaged(shelf_to_damage: Shelf) -> None:
    """The packages hold weights, tokenizer, settings, golden vectors and texts, and an adapter."""
    assert {
        "payload/model/model.safetensors",
        "payload/model/tokenizer.json",
        "payload/model/config.json",
        "payload/model/modules.json",
        "payload/model/1_Pooling/config.json",
        "payload/golden.safetensors",
        "payload/golden.json",
    } <= set(shelf_to_damage.files("full"))
    assert shelf_to_damage.files("adapter") == [
        "payload/adapter/adapter.safetensors",
        "payload/golden.json",
        "payload/golden.safetensors",
    ]


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
@pytest.mark.parametrize("name", ["full", "adapter"])
def test_a_damaged_file_of_the_package_is_refused(
    name: str, fault: str, shelf_to_damage: Shelf, aside: Path
) -> None:
    """Whatever happens to whichever file of a package, it does not load, and the file is named."""
    damage, kind = PACKAGE_FAULTS[fault]
    for path in shelf_to_damage.files(name):
        with damaged(shelf_to_damage.folders[name] / path, damage, aside):
            refused(shelf_to_damage.uris[name], path, kind)
        shelf_to_damage.loads_again(name)


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
def test_a_damaged_file_of_the_base_is_refused(
    fault: str, shelf_to_damage: Shelf, aside: Path
) -> None:
    """Whatever happens to whichever file of its base, an adapter does not load."""
    damage, kind = PACKAGE_FAULTS[fault]
    for path in shelf_to_damage.files("full"):
        with damaged(shelf_to_damage.folders["full"] / path, damage, aside):
            refused(shelf_to_damage.uris["adapter"], path, kind)
        shelf_to_damage.loads_again("adapter")


@pytest.mark.parametrize(
    "path",
    [
        "payload/extra.bin",
        "payload/model/vocab.txt",
        "payload/model/adapter_config.json",
        "payload/model/1_Pooling/.hidden",
        "payload/model/new/deep.json",
        "payload/adapter/more.safetensors",
    ],
)
@pytest.mark.parametrize("content", [b"more", b""], ids=["filled", "empty"])
def test_an_extra_file_is_refused(path: str, content: bytes, shelf_to_damage: Shelf) -> None:
    """A file in payload/ that the manifest does not name is refused, even an empty one."""
    for name in ("full", "adapter"):
        with added(shelf_to_damage.folders[name] / path, content):
            refused(shelf_to_damage.uris[name], path, ErrorKind.FILE_EXTRA)
            if name == "full":
                refused(shelf_to_damage.uris["adapter"], path, ErrorKind.FILE_EXTRA)
        shelf_to_damage.loads_again(name)


@pytest.mark.parametrize("target", ["a file", "a folder", "nothing"])
def test_an_extra_link_is_refused(target: str, shelf_to_damage: Shelf, tmp_path: Path) -> None:
    """A link in payload/ is refused, whatever it points to."""
    (tmp_path / "file").write_bytes(b"outside")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.json").write_bytes(b"outside")
    pointed = {"a file": "file", "a folder": "folder", "nothing": "nowhere"}[target]
    link = shelf_to_damage.folders["full"] / "payload" / "model" / "link"
    with added(link, tmp_path / pointed):
        refused(shelf_to_damage.uris["full"], "payload/model/link", ErrorKind.FILE_EXTRA)
    shelf_to_damage.loads_again("full")


def test_a_folder_that_became_a_link_is_refused(shelf_to_damage: Shelf, aside: Path) -> None:
    """A folder of the right files behind a link is not the package that was written."""
    folder = shelf_to_damage.folders["full"] / "payload" / "model"
    folder.rename(aside / "model")
    folder.symlink_to(aside / "model")
    try:
        refused(
            shelf_to_damage.uris["full"],
            "payload/model/model.safetensors",
            ErrorKind.FILE_MISSING,
        )
    finally:
        folder.unlink()
        (aside / "model").rename(folder)
    shelf_to_damage.loads_again("full")


def test_several_damages_are_all_listed(shelf_to_damage: Shelf, tmp_path: Path) -> None:
    """Every finding is reported, not only the first, of the package and of its base."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    full, adapter = shelf_to_damage.folders["full"], shelf_to_damage.folders["adapter"]
    missing, flipped = PACKAGE_FAULTS["missing"][0], PACKAGE_FAULTS["bit-flipped"][0]
    with (
        damaged(full / "payload/model/config.json", missing, first),
        damaged(full / "payload/model/tokenizer.json", flipped, second),
        added(adapter / "payload/extra", b""),
    ):
        verification = pairlock.verify(shelf_to_damage.uris["adapter"])
    by_name = {check.name: check for check in verification.checks}
    assert [finding.place for finding in by_name["package"].findings] == ["payload/extra"]
    assert {finding.place for finding in by_name["base"].findings} == {
        "payload/model/config.json",
        "payload/model/tokenizer.json",
    }
    shelf_to_damage.loads_again("adapter")


def test_two_files_that_changed_places_are_refused(shelf_to_damage: Shelf) -> None:
    """Renaming files changes the model, so it is refused, though every content is known."""
    model = shelf_to_damage.folders["full"] / "payload" / "model"
    one, two, between = model / "config.json", model / "modules.json", model / "between"
    for source, target in ((one, between), (two, one), (between, two)):
        source.rename(target)
    try:
        with pytest.raises(IntegrityError):
            pairlock.load(shelf_to_damage.uris["full"])
    finally:
        for source, target in ((one, between), (two, one), (between, two)):
            source.rename(target)
    shelf_to_damage.loads_again("full")


def _without(manifest: Path) -> None:
    manifest.unlink()


def _cut(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-40])


def _emptied(manifest: Path) -> None:
    manifest.write_bytes(b"")


def _reformatted(manifest: Path) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes()), indent=2))


def _newline(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes() + b"\n")


def _not_text(manifest: Path) -> None:
    manifest.write_bytes(b"\xff\xfe" + manifest.read_bytes())


@pytest.mark.parametrize(
    ("change", "error", "kind"),
    [
        (_without, NotFoundError, ErrorKind.MANIFEST_MISSING),
        (_cut, FormatError, ErrorKind.MANIFEST_INVALID),
        (_emptied, FormatError, ErrorKind.MANIFEST_INVALID),
        (_reformatted, FormatError, ErrorKind.MANIFEST_INVALID),
        (_newline, FormatError, ErrorKind.MANIFEST_INVALID),
        (_not_text, FormatError, ErrorKind.MANIFEST_INVALID),
    ],
)
@pytest.mark.parametrize("name", ["full", "adapter"])
def test_a_manifest_that_cannot_be_read_is_refused(
    change: Callable[[Path], None],
    error: type[PairlockError],
    kind: ErrorKind,
    name: str,
    shelf_to_damage: Shelf,
) -> None:
    """A missing or malformed manifest is an error of its own, for load and verify alike."""
    manifest = shelf_to_damage.folders[name] / "pairlock.json"
    content = manifest.read_bytes()
    change(manifest)
    try:
        for act in (pairlock.load, pairlock.verify):
            with pytest.raises(error) as caught:
                act(shelf_to_damage.uris[name])
            assert caught.value.kind is kind
            with pytest.raises(PairlockError):
                act(shelf_to_damage.uris["adapter"])
    finally:
        manifest.write_bytes(content)
    shelf_to_damage.loads_again(name)


def _other_instruction(manifest: dict[str, Any]) -> None:
    manifest["encode"]["query_instruction"] = "something else: "


def _normalised(manifest: dict[str, Any]) -> None:
    manifest["encode"]["normalize"] = not manifest["encode"]["normalize"]


def _shorter(manifest: dict[str, Any]) -> None:
    manifest["encode"]["max_seq_length"] = 8


def _wider_bars(manifest: dict[str, Any]) -> None:
    manifest["golden"]["bars"]["one_minus_cosine"] = 2.0


def _unknown_key(manifest: dict[str, Any]) -> None:
    manifest["added_later"] = True


REWRITES = (_other_instruction, _normalised, _shorter, _wider_bars, _unknown_key)


@pytest.mark.parametrize("change", REWRITES)
@pytest.mark.parametrize("name", ["full", "adapter"])
def test_a_rewritten_manifest_is_refused_by_the_registered_digest(
    change: Callable[[dict[str, Any]], None], name: str, shelf_to_damage: Shelf
) -> None:
    """A manifest that agrees with itself and its payload is refused when it is another one."""
    path = shelf_to_damage.folders[name] / "pairlock.json"
    content = path.read_bytes()
    manifest = json.loads(content)
    change(manifest)
    path.write_bytes(rfc8785.dumps(manifest))
    try:
        # the adapter refuses its base's new manifest too, by the digest in its pin
        for uri in {shelf_to_damage.uris[name], shelf_to_damage.uris["adapter"]}:
            with pytest.raises(IntegrityError) as caught:
                pairlock.load(uri)
            assert caught.value.kind is ErrorKind.PACKAGE_DIGEST
            assert not pairlock.verify(uri).passed
    finally:
        path.write_bytes(content)
    shelf_to_damage.loads_again(name)


def test_a_rewritten_package_is_refused_by_a_digest_from_elsewhere(
    shelf_to_damage: Shelf, tmp_path: Path
) -> None:
    """A bare folder has no registry beside it, so the caller's digest decides."""
    folder = shutil.copytree(shelf_to_damage.folders["full"], tmp_path / "copy")
    digest = pairlock.load(str(folder)).package_digest
    assert pairlock.load(str(folder), expected_digest=digest)
    assert pairlock.receipt(pairlock.load(str(folder))).anchors == {}
    manifest = json.loads((folder / "pairlock.json").read_bytes())
    _shorter(manifest)
    (folder / "pairlock.json").write_bytes(rfc8785.dumps(manifest))
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(str(folder), expected_digest=digest)
    assert caught.value.kind is ErrorKind.PACKAGE_DIGEST
    assert not pairlock.verify(str(folder), expected_digest=digest).passed


@pytest.mark.parametrize("name", ["full", "adapter"])
def test_a_manifest_that_promises_another_dimension_is_refused(
    name: str, shelf_to_damage: Shelf, tmp_path: Path
) -> None:
    """A package that agrees with itself is refused when its model gives another dimension."""
    folder = shutil.copytree(shelf_to_damage.folders[name], tmp_path / "copy")
    manifest = json.loads((folder / "pairlock.json").read_bytes())
    manifest["dimension"] = 48
    if name == "adapter":
        manifest["adapter"] |= {"in_features": 48, "out_features": 48}
        manifest["base"]["dimension"] = 48
    (folder / "pairlock.json").write_bytes(rfc8785.dumps(manifest))
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(str(folder))
    assert caught.value.kind is ErrorKind.DIMENSION
    assert (caught.value.expected, caught.value.found) == ("48", "32")


def test_code_inside_a_package_is_not_run(shelf_to_damage: Shelf, tmp_path: Path) -> None:
    """A package that agrees with itself may bring code along, and no load takes it."""
    folder = shutil.copytree(shelf_to_damage.folders["full"], tmp_path / "copy")
    model, marker = folder / "payload" / "model", tmp_path / "marker"
    (model / "own_code.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import BertConfig as OwnConfig, BertModel as OwnModel\n"
    )
    config = json.loads((model / "config.json").read_bytes())
    config["auto_map"] = {"AutoConfig": "own_code.OwnConfig", "AutoModel": "own_code.OwnModel"}
    (model / "config.json").write_text(json.dumps(config))
    manifest = json.loads((folder / "pairlock.json").read_bytes())
    payload = [path for path in (folder / "payload").rglob("*") if path.is_file()]
    manifest["files"] = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": hash_file(path),
        }
        for path in sorted(payload, key=lambda path: path.relative_to(folder).as_posix())
    ]
    (folder / "pairlock.json").write_bytes(rfc8785.dumps(manifest))
    with pytest.raises(UnsupportedError) as caught:
        pairlock.load(str(folder))
    assert caught.value.kind is ErrorKind.KIND_UNSUPPORTED
    assert not marker.exists()


def test_a_digest_tag_that_was_changed_is_refused(shelf_to_damage: Shelf) -> None:
    """The registered digest and the package must agree, whichever of the two was changed."""
    client = shelf_to_damage.registry.client
    digest = pairlock.receipt(pairlock.load(shelf_to_damage.uris["full"])).package_digest
    client.set_model_version_tag("base", "1", "pairlock.package_digest", "sha256:" + "0" * 64)
    try:
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(shelf_to_damage.uris["full"])
        assert caught.value.kind is ErrorKind.PACKAGE_DIGEST
    finally:
        client.set_model_version_tag("base", "1", "pairlock.package_digest", digest)
    shelf_to_damage.loads_again("full")


@pytest.mark.parametrize("gone", ["payload", "."])
def test_a_package_whose_folder_is_gone_is_an_error(
    gone: str, shelf_to_damage: Shelf, aside: Path
) -> None:
    """A version whose bytes were removed is an error, not an empty model."""
    folder = shelf_to_damage.folders["full"] / gone
    folder.resolve().rename(aside / "gone")
    try:
        for uri in shelf_to_damage.uris.values():
            with pytest.raises(PairlockError):
                pairlock.load(uri)
    finally:
        (aside / "gone").rename(folder.resolve())
    shelf_to_damage.loads_again("adapter")


def _overwritten(package: Path) -> None:
    weights = package / "payload" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def _replaced(package: Path) -> None:
    config = package / "payload" / "model" / "tokenizer.json"
    fresh = config.with_name("fresh")
    shutil.copyfile(config, fresh)
    fresh.replace(config)


def _removed(package: Path) -> None:
    (package / "payload" / "model" / "tokenizer_config.json").unlink()


def _joined(package: Path) -> None:
    (package / "payload" / "model" / "special_tokens_map.json").write_text("{}")


@pytest.mark.parametrize("change", [_overwritten, _replaced, _removed, _joined])
def test_a_file_that_changes_between_proof_and_read_is_an_error(
    change: Callable[[Path], None],
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes that change, go or appear after they were hashed give an error, never a vector."""
    from pairlock_flavors.torch_runtime import assemble

    base = registry.log(tiny_model, "racing")
    adapter = registry.log(linear_adapter, "on-racing", base=base)
    package = registry.folder_of(base)
    copy = shutil.copytree(package, package.with_name("copy"))
    read = assemble.load_sentence_transformer

    def changing(folder: Any, **kwargs: Any) -> Any:
        change(package)
        return read(folder, **kwargs)

    for uri in (base, adapter):
        with monkeypatch.context() as patched:
            patched.setattr(assemble, "load_sentence_transformer", changing)
            with pytest.raises(IntegrityError) as caught:
                pairlock.load(uri)
            assert caught.value.kind in {ErrorKind.FILE_CHANGED, ErrorKind.FILE_EXTRA}
        shutil.rmtree(package)
        shutil.copytree(copy, package)
        assert pairlock.load(uri)


@pytest.fixture
def while_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[Path], None], Path], AbstractContextManager[None]]:
    """Changes a package for a while whenever a library is about to read a model."""
    from pairlock_flavors.torch_runtime import assemble

    read = assemble.load_sentence_transformer

    @contextmanager
    def changed(change: Callable[[Path], None], package: Path) -> Iterator[None]:
        def changing(folder: Any, **kwargs: Any) -> Any:
            change(package)
            return read(folder, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(assemble, "load_sentence_transformer", changing)
            yield

    return changed


@pytest.mark.parametrize("change", [_replaced, _joined])
def test_a_file_that_changes_while_it_is_verified_is_a_finding(
    change: Callable[[Path], None],
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    while_reading: Callable[..., AbstractContextManager[None]],
) -> None:
    """Bytes that change after they were hashed fail the check of the golden vectors."""
    base = registry.log(tiny_model, "racing")
    adapter = registry.log(linear_adapter, "on-racing", base=base)
    package = registry.folder_of(base)
    copy = shutil.copytree(package, package.with_name("copy"))
    for uri in (base, adapter):
        with while_reading(change, package):
            verification = pairlock.verify(uri)
        golden = verification.checks[-1]
        assert (golden.name, golden.outcome) == ("golden vectors", Outcome.FAILED)
        assert {finding.kind for finding in golden.findings} == {ErrorKind.FILE_CHANGED}
        assert not verification.passed
        shutil.rmtree(package)
        shutil.copytree(copy, package)
        assert pairlock.verify(uri).passed


@pytest.mark.parametrize("change", [_replaced, _joined])
def test_a_base_that_changes_while_its_adapter_is_packaged_leaves_no_version(
    change: Callable[[Path], None],
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    while_reading: Callable[..., AbstractContextManager[None]],
) -> None:
    """A base whose bytes change after they were hashed is never pinned."""
    base = registry.log(tiny_model, "racing")
    with (
        while_reading(change, registry.folder_of(base)),
        pytest.raises(IntegrityError) as caught,
    ):
        registry.log(linear_adapter, "on-racing", base=base)
    assert caught.value.kind is ErrorKind.FILE_CHANGED
    assert registry.versions("on-racing") == []


def test_a_file_that_changes_while_it_is_pulled_is_not_kept(
    tiny_model: Path, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of bytes that are not the proved ones is an error, and nothing of it stays."""
    from pairlock import copying
    from pairlock.pulling import pull

    uri = registry.log(tiny_model, "racing")
    package, copies = registry.folder_of(uri), tmp_path / "copies"
    copy = copying.copy_hashing

    def changing(source: Path, target: Path, **kwargs: Any) -> Any:
        if source.name == "model.safetensors":
            _overwritten(package)
        return copy(source, target, **kwargs)

    monkeypatch.setattr(copying, "copy_hashing", changing)
    with pytest.raises(IntegrityError) as caught:
        pull(uri, to=copies / "base")
    assert caught.value.kind is ErrorKind.FILE_CHANGED
    assert [finding.place for finding in caught.value.findings] == [
        "payload/model/model.safetensors"
    ]
    assert list(copies.iterdir()) == []
