"""A model that is in use keeps its bytes, whatever happens to the cache meanwhile."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pairlock
import pairlock.cache.pruning as pruning
from pairlock.cache import CacheFolder
from pairlock.cache.pruning import execute_prune, plan_prune
from pairlock.cache.survey import survey
from pairlock.config import Settings
from pairlock.pulling import pull
from support.cached import (
    BIG,
    WEIGHTS,
    big_view,
    blobs,
    bring,
    files_of,
    poison,
    put_package,
    wrong_in,
)

_EMBED = """
import json, sys
import torch
import pairlock

torch.set_num_threads(1)
model = pairlock.load(sys.argv[1], device="cpu")
for line in sys.stdin:
    print(json.dumps(model.get_query_embedding(line.strip())), flush=True)
"""


class Embedder:
    """A model in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def embed(self, text: str) -> list[float]:
        """What it makes of a text."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def embedder(uri: str) -> Iterator[Embedder]:
    """Load a model in another process, and use it."""
    with subprocess.Popen(
        [sys.executable, "-c", _EMBED, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Embedder(process)
            assert process.poll() is None, "it lives"
        finally:
            process.kill()


@pytest.fixture
def cache() -> Path:
    """The cache that the environment names."""
    return Path(os.environ["PAIRLOCK_CACHE"])


def prune_everything(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prune as if nothing had been used for a long time."""
    monkeypatch.setattr(pruning, "GRACE_S", 0.0)
    folder = CacheFolder(cache)
    execute_prune(folder, plan_prune(survey(folder), now=time.time() + 10, everything=True))
    assert (blobs(cache), survey(folder).views) == ([], ())


def test_a_model_in_use_keeps_its_vectors(
    s3: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruned, damaged, repaired and fetched anew: the vectors stay the same bit for bit."""
    uri = put_package(s3)
    with embedder(uri) as model:
        before = model.embed("a refund")
        weights = pull(uri).path / WEIGHTS
        other = weights.with_name("other")
        # damaged as a careless copy or a broken disk's repair does it, and then mended
        other.write_bytes(bytes(weights.stat().st_size))
        other.replace(weights)
        assert pull(uri, rehash=True).fetched_bytes == 0
        assert model.embed("a refund") == before
        for path in (weights.parent, *weights.parents[:2]):
            assert path.is_dir()
        # its only blob is lost as well
        for path in blobs(cache):
            path.unlink()
        other.write_bytes(b"")
        assert pull(uri, rehash=True).fetched_bytes > 0
        assert model.embed("a refund") == before
        prune_everything(cache, monkeypatch)
        assert model.embed("a refund") == before
        assert pull(uri).fetched_bytes > 0
        assert model.embed("a refund") == before
        assert model.embed("an invoice") != before
    assert wrong_in(cache) == []
    assert pairlock.load(uri, device="cpu").get_query_embedding("a refund") == before


def test_weights_are_read_from_a_new_inode_after_a_repair(s3: Any, cache: Path) -> None:
    """A repair touches no file that somebody may read; who loads after it gets the right one."""
    uri = put_package(s3)
    before = pairlock.load(uri, device="cpu", golden=True).get_query_embedding("a refund")
    weights = pull(uri).path / WEIGHTS
    inode = weights.stat().st_ino
    poison(weights)
    found = pairlock.load(uri, device="cpu", golden=True, rehash=True)
    assert found.get_query_embedding("a refund") == before
    assert weights.stat().st_ino != inode


def test_a_bare_map_keeps_its_bytes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map of a view's file stays as it was through damage, repair, pruning and a new fetch."""
    made = big_view()
    store = made.write(tmp_path / "store")
    settings = Settings(cache=cache)
    bring(made, store, settings)
    target = files_of(made, cache) / BIG
    with target.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        target.unlink()
        bring(made, store, settings)
        assert mapped[:] == made.files[BIG]
        bring(made, store, Settings(cache=cache, rehash=True))
        assert mapped[:] == made.files[BIG]
        prune_everything(cache, monkeypatch)
        assert mapped[:] == made.files[BIG]
        bring(made, store, settings)
        assert target.stat().st_ino != os.fstat(stream.fileno()).st_ino
        assert mapped[:] == made.files[BIG]
    assert made.is_in(files_of(made, cache))
