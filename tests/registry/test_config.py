"""What the environment says: every spelling has one meaning, and a bad value is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from pairlock import ErrorKind, InvalidInputError
from pairlock.config import Settings, current_settings, read_settings

ON = ["1", "true", "TRUE", "Yes", "on", " 1 ", "On\n"]
OFF = ["0", "false", "False", "NO", "off", " off "]
BAD = ["2", "maybe", "-1", "01", "y", "t", "1 1", "offline", "1;"]


def test_an_empty_environment_means_the_defaults() -> None:
    """Nothing is set: online, locks on, no mirrors, the platform's own cache folder."""
    folder = Path(platformdirs.user_cache_dir("pairlock", appauthor=False))
    assert read_settings({}) == Settings(
        cache=folder,
        offline=False,
        mirrors=(),
        locking=True,
        rehash=False,
        allowed_classes=frozenset(),
    )


@pytest.mark.parametrize("value", ON)
def test_every_spelling_of_on_is_on(value: str) -> None:
    """Case and white space around a value do not matter."""
    found = read_settings({"PAIRLOCK_OFFLINE": value, "PAIRLOCK_LOCKS": value})
    assert (found.offline, found.locking) == (True, True)


@pytest.mark.parametrize("value", OFF)
def test_every_spelling_of_off_is_off(value: str) -> None:
    """Case and white space around a value do not matter."""
    found = read_settings({"PAIRLOCK_OFFLINE": value, "PAIRLOCK_LOCKS": value})
    assert (found.offline, found.locking) == (False, False)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", ["PAIRLOCK_OFFLINE", "PAIRLOCK_LOCKS"])
def test_a_value_that_means_nothing_is_refused(name: str, value: str) -> None:
    """Neither on nor off is an error that names the variable and the value, never a guess."""
    with pytest.raises(InvalidInputError) as caught:
        read_settings({name: value})
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert name in caught.value.checked
    assert repr(value) in caught.value.found


def test_an_empty_variable_is_as_good_as_an_unset_one() -> None:
    """`PAIRLOCK_X=` is how a shell or a compose file leaves a variable out."""
    names = (
        "PAIRLOCK_CACHE",
        "PAIRLOCK_OFFLINE",
        "PAIRLOCK_MIRRORS",
        "PAIRLOCK_LOCKS",
        "PAIRLOCK_ALLOW_CLASSES",
    )
    assert read_settings(dict.fromkeys(names, "")) == read_settings({})


def test_mirrors_are_separated_by_white_space_and_keep_their_order() -> None:
    """Spaces, tabs and new lines separate them; the order is the order in which they are tried."""
    found = read_settings({"PAIRLOCK_MIRRORS": "  s3://b/two /mnt/one\n\ts3://a/three "})
    assert found.mirrors == ("s3://b/two", "/mnt/one", "s3://a/three")


def test_allowed_classes_are_separated_by_commas() -> None:
    """White space around a class and a comma too many mean nothing; case does."""
    found = read_settings({"PAIRLOCK_ALLOW_CLASSES": " acme.modules:Gate,acme:gate ,,\n_a.b1:C "})
    assert found.allowed_classes == {"acme.modules:Gate", "acme:gate", "_a.b1:C"}


@pytest.mark.parametrize(
    "value",
    [
        "acme.modules.Gate",
        "acme.modules:Gate()",
        "acme.modules:",
        ":Gate",
        "acme:modules:Gate",
        "acme..modules:Gate",
        "acme:Gate acme:Other",
        "acme/modules.py:Gate",
        "*",
        "acme.*:Gate",
    ],
)
def test_a_class_that_cannot_be_one_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Anything but `package.module:Class` is an error that names it, from wherever it comes."""
    with pytest.raises(InvalidInputError) as caught:
        read_settings({"PAIRLOCK_ALLOW_CLASSES": f"acme:Fine,{value}"})
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert "PAIRLOCK_ALLOW_CLASSES" in caught.value.checked
    assert repr(value) in caught.value.found
    assert "acme:Fine" not in caught.value.found
    with pytest.raises(InvalidInputError) as caught:
        current_settings(allow=[value])
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert "PAIRLOCK_ALLOW_CLASSES" not in caught.value.checked


def test_a_caller_adds_to_the_allowed_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment allows stays allowed beside what the caller allows."""
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", "acme:One")
    assert current_settings().allowed_classes == {"acme:One"}
    assert current_settings(allow=["acme:Two"]).allowed_classes == {"acme:One", "acme:Two"}


def test_the_cache_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder belongs to the working directory, `~` is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert read_settings({"PAIRLOCK_CACHE": "here"}).cache == tmp_path / "here"
    assert read_settings({"PAIRLOCK_CACHE": "~/kept"}).cache == tmp_path / "home" / "kept"
    assert read_settings({"PAIRLOCK_CACHE": "~"}).cache == tmp_path / "home"


def test_a_cache_folder_of_a_user_who_is_not_there_is_refused() -> None:
    """`~nobody-here/x` cannot be expanded: wrong input, and no defect."""
    with pytest.raises(InvalidInputError) as caught:
        read_settings({"PAIRLOCK_CACHE": "~no-such-user-here/cache"})
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_looking_at_the_settings_touches_nothing(tmp_path: Path) -> None:
    """The cache folder is not made by asking where it is."""
    assert read_settings({"PAIRLOCK_CACHE": str(tmp_path / "cache")}).cache.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "argument", "outcome"),
    [
        ("1", None, True),
        ("0", None, False),
        (None, None, False),
        ("1", False, False),
        ("0", True, True),
        (None, True, True),
    ],
)
def test_arguments_beat_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, argument: bool | None, outcome: bool
) -> None:
    """What a caller says counts; None is what the environment says now."""
    if variable is not None:
        monkeypatch.setenv("PAIRLOCK_OFFLINE", variable)
    assert current_settings(offline=argument).offline is outcome


def test_rehash_comes_from_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`rehash` changes nothing else."""
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "elsewhere"))
    assert current_settings().rehash is False
    found = current_settings(rehash=True)
    assert (found.rehash, found.cache) == (True, tmp_path / "elsewhere")


def test_nothing_is_read_at_import_time() -> None:
    """Bad variables break no import, and what is set afterwards counts."""
    program = """
import os
os.environ.update(PAIRLOCK_OFFLINE="maybe", PAIRLOCK_LOCKS="maybe", PAIRLOCK_CACHE="/first")
import pairlock, pairlock.config, pairlock.cli, pairlock.pulling, pairlock.carrying
os.environ.update(PAIRLOCK_OFFLINE="1", PAIRLOCK_LOCKS="0", PAIRLOCK_CACHE="/second")
os.environ["PAIRLOCK_MIRRORS"] = "/a /b"
found = pairlock.config.current_settings()
print(found.offline, found.locking, found.cache, *found.mirrors)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ["True", "False", "/second", "/a", "/b"], found.stderr
