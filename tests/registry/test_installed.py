"""Which libraries are installed, and what is said of those that are not."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from pairlock.errors import ErrorKind, UnavailableError
from pairlock.installed import OF_AN_EXTRA, SERVE_EXTRA, TORCH_EXTRA, is_installed, need

ROOT = Path(__file__).parent.parent.parent


def test_what_is_there_is_not_imported() -> None:
    """To ask whether a package is installed imports it not."""
    before = set(sys.modules)
    assert is_installed("this_is_no_package_at_all") is False
    assert is_installed("json", "wave")
    assert set(sys.modules) - before <= {"this_is_no_package_at_all"}


@pytest.mark.parametrize(
    ("missing", "extra"),
    [(["torch"], "torch"), (["onnxruntime"], "serve"), (["onnxruntime", "mlflow"], "torch")],
)
def test_the_least_extra_that_brings_it_is_named(
    missing: list[str], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the smallest extra that has everything that is missing."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError) as caught:
        need("this", "json", *missing)
    assert caught.value.kind is ErrorKind.LIBRARY_MISSING
    assert caught.value.hint == f"pip install 'pairlock[{extra}]'"
    for name in missing:
        assert f"not {name}" in caught.value.found


def test_the_extras_bring_what_they_are_said_to() -> None:
    """Each package that an error sends to an extra is listed by it, or comes with MLflow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = {
        extra: {line.split(">")[0].split("=")[0].replace("-", "_") for line in extras[extra]}
        for extra in (SERVE_EXTRA, TORCH_EXTRA)
    }
    for package, extra in OF_AN_EXTRA.items():
        names = {package, f"{package}_core"}
        assert names & listed[extra] or package in {"pandas", "sqlalchemy"}, package
    assert "pairlock[serve]" in extras[TORCH_EXTRA]
    plain = {line.split(">")[0].replace("-", "_") for line in project["dependencies"]}
    assert not plain & OF_AN_EXTRA.keys()
