"""What may be removed from a cache, what stays, and that nobody notices who is using it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import pairlock.cache.pruning as pruning
from pairlock.cache import CacheFolder, View, ViewKey, ViewKind
from pairlock.cache.pruning import ABANDONED_S, GRACE_S, PrunePlan, execute_prune, plan_prune
from pairlock.cache.survey import FileFacts, Survey, ViewFacts, survey
from pairlock.cli.app import app
from pairlock.config import Settings
from pairlock.errors import ErrorKind, StorageError
from pairlock.fetching import Source, fetch
from pairlock.progress import SILENT
from pairlock.stores.opening import open_store
from support.cached import Made, bring, files_of, random_bytes, small_view, wrong_in
from support.pulling import answers_of, pullers
from support.registries import snapshot

NOW = 1_000_000_000.0
DAY = 86400.0
SHA = [f"{number:064x}" for number in range(8)]
ROOT = Path("/nowhere")

_AGE = st.sampled_from([0.0, 1.0, GRACE_S - 1, GRACE_S, ABANDONED_S - 1, ABANDONED_S, DAY, 9 * DAY])


def view_facts(digest: str, age_s: float, contents: frozenset[str]) -> ViewFacts:
    """A view in a survey."""
    return ViewFacts(
        kind=ViewKind.PACKAGE,
        digest=f"sha256:{digest}",
        size_bytes=len(contents) * 10,
        used_at=NOW - age_s,
        contents=contents,
        names=(),
    )


def file_facts(name: str, age_s: float, size_bytes: int = 10) -> FileFacts:
    """A file in a survey."""
    return FileFacts(path=ROOT / name, size_bytes=size_bytes, changed_at=NOW - age_s, inode=0)


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    """Any cache of a few views and files."""
    views = [
        view_facts(digest, draw(_AGE), frozenset(draw(st.sets(st.sampled_from(SHA)))))
        for digest in draw(st.lists(st.sampled_from(SHA), unique=True))
    ]
    sizes = st.integers(0, 100)
    blobs = [
        file_facts(name, draw(_AGE), draw(sizes))
        for name in draw(st.lists(st.sampled_from(SHA), unique=True))
    ]
    unfinished = [
        file_facts(f"{number}.partial", draw(_AGE), draw(sizes))
        for number in range(draw(st.integers(0, 3)))
    ]
    return Survey(root=ROOT, views=tuple(views), blobs=tuple(blobs), unfinished=tuple(unfinished))


@given(found=surveys(), unused_for_s=st.none() | _AGE, everything=st.booleans())
def test_a_plan_keeps_what_is_used_and_needed(
    found: Survey, unused_for_s: float | None, everything: bool
) -> None:
    """Whatever lies there: lately used views stay, with all their files, and the sum is right."""
    plan = plan_prune(found, now=NOW, unused_for_s=unused_for_s, everything=everything)
    going = {item.name for item in plan.removals if item.key is not None}
    files = {item.path: item for item in plan.removals if item.key is None}
    limit = 0.0 if everything else unused_for_s
    for view in found.views:
        goes = limit is not None and NOW - view.used_at >= max(limit, GRACE_S)
        assert (view.digest in going) == goes
        if not goes:
            assert not {ROOT / name for name in view.contents} & set(files)
    staying = frozenset().union(*(v.contents for v in found.views if v.digest not in going))
    leaving = frozenset().union(*(v.contents for v in found.views if v.digest in going))
    for blob in found.blobs:
        name, old = blob.path.name, NOW - blob.changed_at >= GRACE_S
        assert (blob.path in files) == (name not in staying and (old or name in leaving))
    for file in found.unfinished:
        assert (file.path in files) == (NOW - file.changed_at >= ABANDONED_S)
    sizes = {file.path: file.size_bytes for file in (*found.blobs, *found.unfinished)}
    assert plan.freed_bytes == sum(sizes[path] for path in files)
    assert plan == plan_prune(found, now=NOW, unused_for_s=unused_for_s, everything=everything)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache that is not there yet, at the place that the environment names too."""
    return Settings(cache=tmp_path / "cache")


@pytest.fixture
def folder(settings: Settings) -> CacheFolder:
    """Its paths."""
    return CacheFolder(settings.cache)


def aged(folder: CacheFolder, made: Made, age_s: float) -> None:
    """Make a view look as if it had been used some time ago."""
    used = time.time() - age_s
    os.utime(View(folder, made.key).root, (used, used))


def plan_of(folder: CacheFolder, *, everything: bool = True) -> PrunePlan:
    """What pruning would do later, when the times of change no longer count."""
    return plan_prune(survey(folder), now=time.time() + GRACE_S + 1, everything=everything)


def test_exactly_the_plan_is_removed(
    settings: Settings, folder: CacheFolder, tmp_path: Path
) -> None:
    """An old view and the files only it needs go; the other view and the shared files stay."""
    old, kept = small_view(), Made({**small_view().files, "more.txt": b"more"})
    old = Made({**old.files, "old.txt": random_bytes(5000, 1)})
    bring(old, old.write(tmp_path / "old"), settings)
    bring(kept, kept.write(tmp_path / "kept"), settings)
    aged(folder, old, 3 * DAY)
    plan = plan_prune(survey(folder), now=time.time(), unused_for_s=2 * DAY)
    assert [item.key for item in plan.removals if item.key] == [old.key]
    assert [item.name for item in plan.removals if not item.key] == [
        record.sha256 for record in old.records if record.path == "old.txt"
    ]
    before = snapshot(settings.cache / "blobs")
    free = plan.freed_bytes
    assert free == 5000
    execute_prune(folder, plan)
    assert not View(folder, old.key).exists()
    assert kept.is_in(files_of(kept, settings.cache))
    gone = set(before) - set(snapshot(settings.cache / "blobs"))
    assert {Path(path).name for path in gone} == {item.name for item in plan.removals[1:]}
    assert survey(folder).unfinished == ()
    execute_prune(folder, plan)
    assert bring(old, old.write(tmp_path / "again"), settings).fetched_bytes == 5000


def test_a_view_that_was_used_since_is_passed_over(
    settings: Settings, folder: CacheFolder, tmp_path: Path
) -> None:
    """A view that somebody used between the plan and its execution stays."""
    made = small_view()
    store = made.write(tmp_path / "store")
    bring(made, store, settings)
    aged(folder, made, 3 * DAY)
    plan = plan_prune(survey(folder), now=time.time(), everything=True)
    assert made.key in {item.key for item in plan.removals}
    bring(made, store, settings)
    execute_prune(folder, plan)
    assert made.is_in(files_of(made, settings.cache))


def test_a_use_is_noted_by_the_clock_that_plans_are_made_by(
    settings: Settings, folder: CacheFolder, tmp_path: Path
) -> None:
    """A use after a plan never looks like one before it, however soon after."""
    made = small_view()
    bring(made, made.write(tmp_path / "store"), settings)
    view = View(folder, made.key)
    for _ in range(200):
        planned_at = time.time()
        view.mark_used()
        # a file system may keep stamps to the microsecond
        assert view.used_at() > planned_at - 1e-6


def test_a_view_without_a_seal_keeps_its_files(
    settings: Settings, folder: CacheFolder, tmp_path: Path
) -> None:
    """A view that stays needs its files, also when its seal was broken by a check."""
    made = small_view()
    bring(made, made.write(tmp_path / "store"), settings)
    View(folder, made.key).break_seal()
    plan = plan_of(folder, everything=False)
    assert plan.removals == ()


def test_a_folder_in_which_files_grow_is_not_abandoned(
    settings: Settings, folder: CacheFolder
) -> None:
    """A folder of files of which one grew lately belongs to a process that is at it."""
    folder.prepare()
    aside = folder.unique("unknown", "files")
    aside.mkdir()
    (aside / "large.bin").write_bytes(b"x" * 1000)
    long_ago = time.time() - 2 * ABANDONED_S
    os.utime(aside, (long_ago, long_ago))
    # what a folder's own time of change says has to be taken out of the picture
    found = survey(folder)
    (facts,) = found.unfinished
    assert facts.size_bytes == 1000
    later = time.time() + ABANDONED_S + 1
    os.utime(aside / "large.bin", (later, later))
    assert plan_prune(survey(folder), now=later + 1).removals == ()


def test_copies_count_as_space(
    settings: Settings, folder: CacheFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files are copies, removing a view frees them too, and the plan says so."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    made = Made({"a.bin": random_bytes(10_000, 1)})
    bring(made, made.write(tmp_path / "store"), settings)
    assert plan_of(folder).freed_bytes == 20_000


@pytest.mark.parametrize("age_s", [0.0, ABANDONED_S + 10])
def test_unfinished_files_go_when_they_are_old(
    age_s: float, settings: Settings, folder: CacheFolder
) -> None:
    """What a process that ended left is removed after a while, and not before."""
    folder.prepare()
    path = folder.unique(SHA[0], "partial")
    path.write_bytes(b"x" * 100)
    plan = plan_prune(survey(folder), now=time.time() + age_s)
    execute_prune(folder, plan)
    assert path.exists() == (age_s == 0.0)
    assert plan.freed_bytes == (0 if age_s == 0.0 else 100)


def test_the_command_says_and_does(settings: Settings, folder: CacheFolder, tmp_path: Path) -> None:
    """A dry run changes nothing; the real one removes what it said."""
    made = small_view()
    bring(made, made.write(tmp_path / "store"), settings)
    aged(folder, made, DAY)
    before = snapshot(settings.cache)
    dry = CliRunner().invoke(app, ["cache", "prune", "--all", "--dry-run"])
    assert dry.exit_code == 0
    assert snapshot(settings.cache) == before
    real = CliRunner().invoke(app, ["cache", "prune", "--all"])
    assert real.exit_code == 0
    assert dry.stdout.replace("would free", "freed") == real.stdout
    assert survey(folder).views == ()


def test_pruning_nothing_needs_no_cache(folder: CacheFolder) -> None:
    """A cache that is not there is empty, and is not made by pruning."""
    plan = plan_of(folder)
    execute_prune(folder, plan)
    assert (plan.removals, folder.root.exists()) == ((), False)


def test_a_cache_that_cannot_be_written_to_is_not_pruned(
    settings: Settings, folder: CacheFolder, tmp_path: Path
) -> None:
    """Pruning that cannot remove anything is an error, not a silence."""
    made = small_view()
    bring(made, made.write(tmp_path / "store"), settings)
    plan = plan_of(folder)
    shutil.rmtree(folder.staging)
    folder.staging.write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        execute_prune(folder, plan)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert made.is_in(files_of(made, settings.cache))


def test_pruning_beside_fetches_makes_nobody_fail(
    settings: Settings, folder: CacheFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes fetch again and again while all is removed: right bytes, and no failure."""
    monkeypatch.setattr(pruning, "GRACE_S", 0.2)
    made = Made({**small_view().files, "large.bin": random_bytes(1_200_000, 2)})
    uri = str(made.write(tmp_path / "store").root)
    pruned = 0
    with pullers(made, uri, settings.cache, processes=4, times=60, pause_s=0.01) as running:
        while running.poll() is None:
            plan = plan_prune(survey(folder), now=time.time(), everything=True)
            pruned += len(plan.removals)
            execute_prune(folder, plan)
            time.sleep(0.3)
            # nothing at all was used for a while, as far as the plan knows
            plan = plan_prune(survey(folder), now=time.time() + 1, everything=True)
            pruned += len(plan.removals)
            execute_prune(folder, plan)
        found = answers_of(running)
    assert [one for one in found if "fetched_bytes" not in one] == []
    assert pruned > 0
    assert sum(one["fetched_bytes"] for one in found) > made.size_bytes, "some fetched it again"
    assert wrong_in(settings.cache) == []


def test_a_cache_that_is_emptied_again_and_again_is_given_up(
    settings: Settings, folder: CacheFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losing some rounds to whoever removes files is no failure; losing all of them is an error."""
    made = Made(small_view().files)
    source = Source(store=open_store(str(made.write(tmp_path / "store").root)))
    make, left = View.make, 0

    def make_and_lose(self: View, *args: Any, **more: Any) -> bool:
        nonlocal left
        done = make(self, *args, **more)
        if left > 0:
            left -= 1
            folder.set_aside(self.root)
        return done

    monkeypatch.setattr(View, "make", make_and_lose)
    left = 5
    assert fetch(made.key, made.records, source, settings, progress=SILENT) is not None
    assert left == 0
    View(folder, made.key).remove()
    left = 1000
    with pytest.raises(StorageError) as caught:
        fetch(made.key, made.records, source, settings, progress=SILENT)
    assert caught.value.kind is ErrorKind.STORAGE_FAILED
    assert wrong_in(settings.cache) == []


def test_what_vanishes_while_a_cache_is_surveyed_is_passed_over(folder: CacheFolder) -> None:
    """Another process puts its view in place, and its folders in staging are gone."""
    over = threading.Event()

    def stage_and_remove() -> None:
        while not over.is_set():
            for number in range(8):
                (folder.staging / f"{number}.view" / "files" / "sub").mkdir(parents=True)
            for number in range(8):
                shutil.rmtree(folder.staging / f"{number}.view")

    folder.prepare()
    other = threading.Thread(target=stage_and_remove)
    other.start()
    try:
        seen = [len(survey(folder).unfinished) for _ in range(500)]
    finally:
        over.set()
        other.join()
    assert max(seen) > 0, "nothing was there to vanish"


def test_a_key_of_a_plan_is_a_view_and_no_path(folder: CacheFolder) -> None:
    """A view is removed by its digest: no plan names a path outside the cache."""
    key = ViewKey(ViewKind.MODEL, f"sha256:{SHA[1]}")
    assert View(folder, key).root.is_relative_to(folder.root)
