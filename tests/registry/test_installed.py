"""Versions of installed distributions, found without reading them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from pairlock.installed import versions_of

NAMES = ("pairlock", "torch", "numpy", "llama-index-core", "Sentence_Transformers", "Jinja2")


def test_versions_are_those_that_python_finds() -> None:
    """Every version is the one that `importlib.metadata` tells, however a name is spelt."""
    assert versions_of(NAMES) == {name: version(name) for name in NAMES}


def test_what_is_not_installed_has_no_version() -> None:
    """A distribution that is not installed is left out."""
    assert versions_of(["numpy", "no-such-distribution"]).keys() == {"numpy"}


def test_the_first_place_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two installations the one that is imported is told."""
    folder = tmp_path / "numpy-99.0+mine.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 99.0+mine\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert versions_of(["numpy"]) == {"numpy": version("numpy")} == {"numpy": "99.0+mine"}
