"""Views and their seals: what is believed without hashing, and what no damage gets past."""

from __future__ import annotations

import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pairlock.cache import CacheFolder
from pairlock.cache.checking import check_cache
from pairlock.cli.app import app
from pairlock.config import Settings
from pairlock.errors import ErrorKind
from pairlock.fetching import look_up
from pairlock.progress import SILENT
from pairlock.pulling import pull
from support.cached import (
    BIG,
    Made,
    big_view,
    bring,
    files_of,
    poison,
    put_package,
    seal_of,
    small_view,
    wrong_in,
)

NAME = "vocab.txt"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache that is not there yet."""
    return Settings(cache=tmp_path / "cache")


@pytest.fixture
def rehash(settings: Settings) -> Settings:
    """The same cache, believing no seal."""
    return Settings(cache=settings.cache, rehash=True)


@pytest.fixture
def made() -> Made:
    """A view of small files."""
    return small_view()


@pytest.fixture
def store(made: Made, tmp_path: Path) -> Any:
    """Where its files come from."""
    return made.write(tmp_path / "store")


@pytest.fixture
def files(made: Made, store: Any, settings: Settings) -> Path:
    """Its files in the cache, fetched."""
    bring(made, store, settings)
    return files_of(made, settings.cache)


def hashed(made: Made, settings: Settings) -> int | None:
    """How much a look into the cache hashes; None when it finds nothing that it can use."""
    proved = look_up(made.key, made.records, settings, progress=SILENT)
    return None if proved is None else proved.hashed_bytes


def test_a_warm_look_hashes_nothing(
    made: Made, files: Path, settings: Settings, rehash: Settings
) -> None:
    """A sealed view is not hashed again, unless one asks for it; that leaves the seal whole."""
    assert hashed(made, settings) == 0
    assert hashed(made, rehash) == made.size_bytes
    assert hashed(made, settings) == 0


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _replace(path: Path) -> None:
    before = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize("change", [_touch, _replace])
def test_a_file_that_looks_changed_is_hashed(
    change: Callable[[Path], None], made: Made, files: Path, settings: Settings
) -> None:
    """Another time or another inode is reason enough to hash that file, once, and no other."""
    change(files / NAME)
    assert hashed(made, settings) == len(made.files[NAME])
    assert hashed(made, settings) == 0


def test_a_file_of_another_size_is_not_used(made: Made, files: Path, settings: Settings) -> None:
    """A file that grew is not used, also when its time was put back."""
    before = (files / NAME).stat()
    (files / NAME).chmod(0o600)
    with (files / NAME).open("ab") as stream:
        stream.write(b"x")
    os.utime(files / NAME, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashed(made, settings) is None


@pytest.mark.parametrize("finder", ["rehash", "check", "command"])
def test_a_poisoned_file_is_found_and_repaired(
    finder: str,
    made: Made,
    store: Any,
    files: Path,
    settings: Settings,
    rehash: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other bytes under the same size, time and inode are found by hashing, and fetched again."""
    inode = (files / NAME).stat().st_ino
    with (files / NAME).open("rb") as stream:
        poison(files / NAME)
        assert hashed(made, settings) == 0, "this is what a seal cannot see"
        if finder == "rehash":
            assert hashed(made, rehash) is None
            bring(made, store, rehash)
        elif finder == "check":
            found = check_cache(CacheFolder(settings.cache), progress=SILENT)
            assert {finding.kind for finding in found.findings} == {ErrorKind.FILE_DIGEST}
            places = {finding.place for finding in found.findings}
            assert str((files / NAME).relative_to(settings.cache)) in places
        else:
            monkeypatch.setenv("PAIRLOCK_CACHE", str(settings.cache))
            ran = CliRunner().invoke(app, ["cache", "verify", "--format", "json"])
            assert ran.exit_code == 1
            assert json.loads(ran.stdout)["passed"] is False
        assert bring(made, store, settings).proved.size_bytes == made.size_bytes
        assert made.is_in(files)
        assert (files / NAME).stat().st_ino != inode
        assert stream.read() != made.files[NAME], "the old file was not written to"
    assert wrong_in(settings.cache) == []
    assert check_cache(CacheFolder(settings.cache), progress=SILENT).findings == ()


def test_a_repair_leaves_open_maps_as_they_were(settings: Settings, tmp_path: Path) -> None:
    """Whoever has mapped a file goes on reading the bytes it mapped, whatever is repaired."""
    made = big_view()
    store = made.write(tmp_path / "store")
    bring(made, store, settings)
    target = files_of(made, settings.cache) / BIG
    # the file is replaced by other bytes, as a careless copy would do it
    with target.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        other = target.with_name("other")
        other.write_bytes(b"x" * len(made.files[BIG]))
        other.replace(target)
        bring(made, store, Settings(cache=settings.cache, rehash=True))
        assert target.read_bytes() == made.files[BIG]
        assert mapped[:] == made.files[BIG]
        shutil.rmtree(settings.cache)
        assert mapped[:] == made.files[BIG]


def test_a_poisoned_map_is_not_repaired_in_place(settings: Settings, tmp_path: Path) -> None:
    """A repair writes a new inode: a map of the damaged one does not change under its reader."""
    made = big_view()
    store = made.write(tmp_path / "store")
    bring(made, store, settings)
    target = files_of(made, settings.cache) / BIG
    poison(target)
    damaged = target.read_bytes()
    with target.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        bring(made, store, Settings(cache=settings.cache, rehash=True))
        assert mapped[:] == damaged
        assert target.read_bytes() == made.files[BIG]
        assert os.fstat(stream.fileno()).st_ino != target.stat().st_ino


def _missing(path: Path) -> None:
    path.unlink()


def _extra(path: Path) -> None:
    path.with_name("extra.py").write_bytes(b"evil")


def _extra_deep(path: Path) -> None:
    (path.parent / "new").mkdir()
    (path.parent / "new" / "extra.py").write_bytes(b"evil")


def _link(path: Path) -> None:
    aside = path.parents[4] / "aside"
    aside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(aside)


def _extra_link(path: Path) -> None:
    path.with_name("link").symlink_to("/etc/hostname")


def _linked_folder(path: Path) -> None:
    path.with_name("linked").symlink_to("/etc")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _truncated(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size - 1)


def _other(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.upper())


def _all_gone(path: Path) -> None:
    shutil.rmtree(path.parent)


def _files_is_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        _missing, _extra, _extra_deep, _link, _extra_link, _linked_folder, _folder, _pipe,
        _truncated, _other, _all_gone, _files_is_a_file,
    ],
)  # fmt: skip
def test_a_damaged_view_is_not_used_and_is_repaired(
    damage: Callable[[Path], None], made: Made, store: Any, files: Path, settings: Settings
) -> None:
    """A view that is not exactly its files is not used, and the next fetch makes it whole."""
    damage(files / NAME)
    assert hashed(made, settings) is None
    bring(made, store, settings)
    assert made.is_in(files)
    assert not any(path.is_symlink() for path in files.rglob("*"))
    assert hashed(made, settings) == 0
    assert wrong_in(settings.cache) == []


@pytest.mark.parametrize(
    "seal",
    [
        None, b"", b"{", b"[]", b"null", b"{}", b'{"files": 3, "hashed_at": 1}', b"\xff" * 40,
        b'{"hashed_at": "x", "files": {}}', b'{"hashed_at": 1, "files": {}}',
        b'{"hashed_at": 1, "files": {"vocab.txt": []}}',
        b'{"hashed_at": 1, "files": {"vocab.txt": ["", "a", [], {}]}}',
        b'{"hashed_at": 1, "files": {"vocab.txt": "abcd"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_seal_that_says_nothing_is_not_believed(
    seal: bytes | None, made: Made, files: Path, settings: Settings
) -> None:
    """Without a seal that can be read everything is hashed, and sealed again."""
    path = seal_of(made, settings.cache)
    if seal is None:
        path.unlink()
    else:
        path.write_bytes(seal)
    assert hashed(made, settings) == made.size_bytes
    assert hashed(made, settings) == 0


def test_a_truncated_seal_is_not_believed(made: Made, files: Path, settings: Settings) -> None:
    """Every beginning of a seal, and every seal with one byte changed, is at worst hashed again."""
    path = seal_of(made, settings.cache)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 37):
        path.write_bytes(whole[:length])
        assert hashed(made, settings) == made.size_bytes
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + b"\x00" + whole[place + 1 :])
        assert hashed(made, settings) is not None


def test_a_seal_of_other_files_hides_no_damage(
    made: Made, store: Any, files: Path, settings: Settings
) -> None:
    """A seal that was carried over from elsewhere does not make other files right."""
    (files / NAME).unlink()
    (files / NAME).write_bytes(made.files[NAME].upper())
    assert hashed(made, settings) is None
    assert bring(made, store, settings).fetched_bytes == 0, "its blob is still right"
    assert made.is_in(files)


def test_garbage_answers_are_passed_over(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that cannot be read count as none: online all is well, offline nothing is known."""
    uri = put_package(s3)
    cache = Path(os.environ["PAIRLOCK_CACHE"])
    first = pull(uri)
    answers = list((cache / "answers").glob("*.json"))
    assert answers
    for garbage in (b"", b"{", b"null", b'{"anchors": 3}', b"[" * 100_000):
        for answer in answers:
            answer.write_bytes(garbage)
        assert pull(uri).path == first.path
        assert pull(uri).fetched_bytes == 0
        assert pull(uri, offline=True).path == first.path


def test_a_view_that_cannot_be_read_is_fetched_again(
    made: Made, store: Any, files: Path, settings: Settings
) -> None:
    """A view whose folder was replaced by a link to somewhere else holds no secret files."""
    shutil.rmtree(files.parent)
    files.parent.symlink_to("/etc")
    assert hashed(made, settings) is None
    bring(made, store, settings)
    assert made.is_in(files)
    assert Path("/etc").is_dir()
