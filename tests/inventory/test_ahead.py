"""What a process looks at before anybody asks is believed only where it is proved."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairlock.inventory import VersionFacts, ahead, looking, take
from pairlock.inventory import packages as packages_module
from pairlock.inventory import taking as taking_module
from pairlock.inventory.looking import PLACES_AT_ONCE
from pairlock.inventory.remembered import Memory
from support.patience import be_patient
from support.registries import active

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

from synthetic_registry import make_registry

VERSIONS = 450
"""So many that the process writes more than one line."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a registry."""
    return make_registry(tmp_path_factory.mktemp("ahead") / "registry", VERSIONS)


@pytest.fixture
def root(made: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where its packages lie; it is remembered."""
    monkeypatch.setattr(packages_module, "_JUST_NOW_NS", -1)
    monkeypatch.setattr(ahead, "_CORES", 2)
    monkeypatch.setattr(ahead, "_WORTH_BYTES", 0)
    with active(made):
        take()
        yield Path(made.removeprefix("sqlite:///")).parent / "mlruns/0/models"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every process that is started from now on."""
    done: list[Any] = []
    real = subprocess.Popen

    def start(*arguments: Any, **named: Any) -> Any:
        done.append(real(*arguments, **named))
        return done[-1]

    monkeypatch.setattr(ahead.subprocess, "Popen", start)
    return done


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every location that this process looks at itself from now on."""
    done: list[str] = []
    real = taking_module.look_at

    def look(one: Any, location: str, *rest: Any) -> Any:
        done.append(location)
        return real(one, location, *rest)

    monkeypatch.setattr(taking_module, "look_at", look)
    return done


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for nothing before the process has told everything."""
    be_patient(monkeypatch)


def executable(path: Path, text: str) -> str:
    """A program that is run in place of Python's."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def facts() -> list[VersionFacts]:
    return list(take().versions())


def in_the_journal() -> list[str]:
    """The places that the journal names, in its order."""
    (journal,) = Path(os.environ["PAIRLOCK_CACHE"], "inventories").iterdir()
    return list(Memory(journal.read_bytes()).places)


@pytest.mark.parametrize(
    "numbers", [(0,), (PLACES_AT_ONCE - 1,), (PLACES_AT_ONCE, 2 * PLACES_AT_ONCE - 1), (-1,)]
)
def test_only_what_changed_is_looked_at_again(
    root: Path, started: list[Any], looked: list[str], patient: None, numbers: tuple[int, ...]
) -> None:
    """The process tells what is as it was; it has ended when the inventory has."""
    changed = {in_the_journal()[number] for number in numbers}
    for place in changed:
        Path(place, "payload/golden.json").write_text("{ }")

    found = {one.location: one for one in take().versions()}
    for place in changed:
        Path(place, "payload/golden.json").write_text("{}")

    assert sorted(looked) == sorted(changed)
    assert {one.location for one in found.values() if one.findings} == changed
    assert len(found) == VERSIONS
    assert [one.poll() is not None for one in started] == [True]


@pytest.mark.parametrize(
    "text", ["exit 1", "echo '{'", "echo '[1]'", "echo 1", "echo '{}'; sleep 1; printf '{\"/a'"]
)
def test_a_process_that_tells_nothing(
    root: Path, looked: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the process, everything is looked at."""
    before = facts()
    monkeypatch.setattr(sys, "executable", executable(tmp_path / "python", text))
    looked.clear()

    assert facts() == before
    assert len(looked) == VERSIONS


def test_a_process_that_cannot_be_started(
    root: Path, started: list[Any], looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one needed; and no program is started that is not Python."""
    for name in ("/nowhere/python", "/bin/true", ""):
        monkeypatch.setattr(sys, "executable", name)
        looked.clear()
        assert len(facts()) == len(looked) == VERSIONS
    assert not started


@pytest.mark.parametrize("other", [None, 0, 1, 2])
def test_only_who_read_the_same_journal_is_believed(
    root: Path,
    looked: list[str],
    patient: None,
    other: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is said of another journal, which may have been written meanwhile, is not taken."""
    (journal,) = Path(os.environ["PAIRLOCK_CACHE"], "inventories").iterdir()
    mark = looking.mark_of(journal.read_bytes(), VERSIONS)
    if other is not None:
        mark[other] ^= 1
    program = executable(tmp_path / "python", f"echo '{mark}'; echo '[{VERSIONS}, []]'")
    monkeypatch.setattr(sys, "executable", program)
    before = facts()
    looked.clear()

    assert facts() == before
    assert len(looked) == (0 if other is None else VERSIONS)


def test_nobody_waits_for_the_process(
    root: Path,
    started: list[Any],
    looked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that hangs holds nothing up, and is ended with the inventory."""
    before = facts()
    monkeypatch.setattr(sys, "executable", executable(tmp_path / "python", "exec sleep 600"))
    looked.clear()

    assert facts() == before
    assert len(looked) == VERSIONS
    assert [one.poll() is not None for one in started[-1:]] == [True]


def test_the_script_needs_the_standard_library_only() -> None:
    """It runs where nothing is installed, and leaves a damaged journal alone."""
    command = [sys.executable, "-I", "-S", looking.__file__, "/dev/null"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "[0, 0, 0]\n[0, []]\n"
