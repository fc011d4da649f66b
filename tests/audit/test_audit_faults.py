"""Audits that are stopped, killed, or look at a part only: as processes, and by the rules."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock.auditing.codes import Code
from pairlock.auditing.rules import BasePlace, Known, judge
from pairlock.auditing.rules.bases import ORIGIN_TAGS
from pairlock.auditing.rules.view import View
from pairlock.inventory import Inventory, VersionFacts, packages
from support.copies import replace
from support.inventories import (
    LIBRARIES,
    adapter,
    clean,
    digest,
    full,
    inventory,
    model,
    pin_elsewhere,
    pin_to,
    version,
)
from support.proxy import Action, Fault, FaultProxy
from support.registries import active

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

from synthetic_registry import make_registry

VERSIONS = 6
PATIENCE = 60.0
NOBODY = 65534


@dataclass
class Far:
    """A registry whose packages lie in S3, behind a proxy."""

    uri: str
    proxy: FaultProxy
    environment: dict[str, str]

    def audit(self, cache: Path, output: Path) -> subprocess.Popen[str]:
        """Start an audit in a process of its own."""
        command = "from pairlock.cli.app import main; main()"
        options = ["--jobs", "1", "--format", "json", "--output", str(output)]
        registry = {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_REGISTRY_URI": self.uri}
        return subprocess.Popen(
            [sys.executable, "-c", command, "audit", *options],
            env=os.environ | self.environment | registry | {"PAIRLOCK_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def reached(self, fault: int = 1) -> None:
        """Wait until so many requests met with a fault."""
        end = time.monotonic() + PATIENCE
        while self.proxy.hits < fault:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture
def far(seaweedfs: Any, tmp_path: Path) -> Iterator[Far]:
    """Six versions."""
    prefix = f"faults-{tmp_path.name}-{os.urandom(4).hex()}"
    uri = make_registry(tmp_path / "far", VERSIONS, remote_root=f"s3://pairlock/{prefix}")
    root = tmp_path / "far/mlruns/0/models"
    client = seaweedfs.client()
    for path in root.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(root)}"
            client.put_object(Bucket="pairlock", Key=key, Body=path.read_bytes())
    shutil.rmtree(root)
    with FaultProxy(seaweedfs.endpoint) as proxy:
        yield Far(uri, proxy, seaweedfs.environment(proxy.endpoint))


def test_a_process_that_is_stopped_keeps_what_it_has(far: Far, tmp_path: Path) -> None:
    """One Ctrl-C ends an audit with status 3 and a whole document of what was looked at."""
    output = tmp_path / "audit.json"
    far.proxy.fault(Fault(Action.DELAY, suffix="pairlock.json", seconds=1.5))
    running = far.audit(tmp_path / "cache", output)
    far.reached(2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 3
    assert "Traceback" not in said
    found = json.loads(output.read_bytes())
    assert not found["complete"] and found["problem"]
    assert 1 <= len(found["rows"]) < VERSIONS


def test_a_process_that_hangs_can_be_ended_at_once(
    far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C and a kill end one that waits for a store, whose last document stays; the
    next audit finds what one without a memory finds."""
    outputs = [tmp_path / f"{name}.json" for name in ("twice", "killed")]
    caches = [tmp_path / f"cache-{path.stem}" for path in outputs]
    for path in outputs:
        path.write_text("old")
    far.proxy.fault(Fault(Action.DELAY, suffix="pairlock.json", times=6))  # the first ones pass
    far.proxy.fault(Fault(Action.STALL, suffix="pairlock.json"))
    twice, killed = (far.audit(cache, path) for cache, path in zip(caches, outputs, strict=True))
    far.reached(8)
    killed.kill()
    twice.send_signal(signal.SIGINT)
    assert twice.stderr is not None
    while "stopping" not in twice.stderr.readline():
        assert twice.poll() is None
    twice.send_signal(signal.SIGINT)
    assert twice.wait(PATIENCE / 6) == -signal.SIGINT
    killed.wait(PATIENCE)
    assert [path.read_text() for path in outputs] == ["old", "old"]
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]

    far.proxy.clear()
    for name, text in far.environment.items():
        monkeypatch.setenv(name, text)
    with active(far.uri):
        audits = []
        for cache in (*caches, tmp_path / "empty"):
            monkeypatch.setenv("PAIRLOCK_CACHE", str(cache))
            audits.append(pairlock.audit())
    assert audits[0].complete and len(audits[0].rows) == VERSIONS
    assert audits[0].findings == audits[1].findings == audits[2].findings
    assert audits[0].rows == audits[1].rows == audits[2].rows


def sent() -> Inventory:
    """Nothing is wrong, and what is right depends on what lies elsewhere: an adapter that was sent
    here with its base, and one whose folder is gone while the same package is registered."""
    base = version("minilm", 1, full("minilm 1"))
    copy = version("copy", 1, full("sent"))
    named = pin_to(copy, uri="models:/minilm/1")
    origin = {f"{ORIGIN_TAGS}uri": "models:/there/1"}
    moved = version("moved", 1, adapter("moved", named))
    nowhere = version("nowhere", 1, adapter("nowhere", pin_to(copy, uri="models:/there/1")))
    folder = replace(pin_elsewhere("/models/minilm"), package_digest=digest("sent"))
    loose = version("loose", 1, adapter("loose", folder))
    return inventory(
        model("minilm", [base]),
        model("copy", [copy]),
        *(model(one.name, [replace(one, tags={**one.tags, **origin})]) for one in (moved, nowhere)),
        model("loose", [loose]),
    )


def parts(whole: Inventory) -> Iterator[Inventory]:
    """Every part of a registry that a look at it may come to, with and without the ledgers."""
    keys = [(one.name, one.version) for one in whole.versions()]
    for some in chain.from_iterable(combinations(keys, n) for n in range(len(keys) + 1)):

        def was_seen(one: VersionFacts, some: Any = some) -> bool:
            return (one.name, one.version) in some

        for names in ((), ("minilm",), ("support",), ("minilm", "support")):
            yield replace(
                whole,
                models=tuple(
                    replace(
                        one,
                        versions=tuple(filter(was_seen, one.versions)),
                        ledger=one.ledger if one.name in names else None,
                    )
                    for one in whole.models
                ),
                complete=False,
                problem="it was stopped",
            )


@pytest.mark.parametrize("registry", [clean, sent])
def test_nothing_is_wrong_with_what_was_not_looked_at(registry: Any) -> None:
    """Whatever part of a sound registry was looked at, nothing is missing, gone or broken."""
    known = Known(
        installed=LIBRARIES,
        bases={
            (pin.uri, pin.tree_digest): BasePlace(missing=True)
            for one in registry().versions()
            if one.package is not None
            and (pin := one.package.base) is not None
            and pin.uri.startswith("/")
        },
    )
    assert judge(View(registry()), known) == ()
    for part in parts(registry()):
        assert judge(View(part), known) == ()


def test_what_is_wrong_is_said_of_a_part_too() -> None:
    """A base that was looked at and is another package is wrong, whatever else was not."""
    base = version("minilm", 1, full("another"))
    pinned = adapter("a", pin_to(version("minilm", 1, full("minilm 1"))))
    found = inventory(
        model("minilm", [base]), model("a", [version("a", 1, pinned)]), complete=False
    )
    (one,) = judge(View(found), Known(installed=LIBRARIES))
    assert one.code is Code.BASE_MOVED


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """This process can read everything in a folder, and write nothing there."""
    user = os.geteuid()
    paths = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:  # who may write everywhere
        os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            (folder / "new").touch()
        yield
    finally:
        os.seteuid(user)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pairlock-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("is_warm", [True, False])
def test_a_cache_that_cannot_be_written_to(
    reachable: Path, is_warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit reads what it remembers, finds what it finds with none, and keeps nothing."""
    monkeypatch.setattr(packages, "_JUST_NOW_NS", -1)
    cache = reachable / "cache"
    cache.mkdir()
    with active(make_registry(reachable / "registry", VERSIONS)):
        monkeypatch.setenv("PAIRLOCK_CACHE", str(reachable / "other"))
        pairlock.audit()  # nothing is imported or opened later
        monkeypatch.setenv("PAIRLOCK_CACHE", str(cache))
        if is_warm:
            pairlock.audit()
        damaged = next((reachable / "registry/mlruns/0/models").iterdir())
        (damaged / "artifacts/payload/golden.json").write_text("other")
        before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        with unwritable(cache):
            found = pairlock.audit()
        after = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        assert found.complete and any(one.severity == "error" for one in found.findings)
        assert found.findings == pairlock.audit(remembered=False).findings
    assert after == before
    assert bool(before) is is_warm
