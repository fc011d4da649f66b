"""The layout that a newcomer relies on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/check_wheel", "scripts/make_example")


@pytest.mark.parametrize(
    ("folder", "package"), [("registry", "pairlock"), ("flavors", "pairlock_flavors")]
)
def test_each_source_folder_holds_exactly_one_package(folder: str, package: str) -> None:
    """`registry/` and `flavors/` are plain folders with one import package each, which is typed."""
    children = [p.name for p in (ROOT / folder).iterdir() if p.name != "__pycache__"]
    assert children == [package]
    assert (ROOT / folder / package / "py.typed").is_file()


def test_the_module_that_models_name_for_ever_stays_where_it_is() -> None:
    """MLflow writes `pairlock_flavors.loader` into every package, and it is tiny."""
    loader = ROOT / "flavors" / "pairlock_flavors" / "loader.py"
    text = loader.read_text(encoding="utf-8")
    assert "def _load_pyfunc(path: str, model_config" in text
    assert len(text.splitlines()) < 25
    top_level = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert top_level == ["from __future__ import annotations", "from typing import Any"]


def test_no_source_file_is_too_long_to_read() -> None:
    """No source file has more than 450 lines."""
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("registry", "flavors", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sizes
    assert {path: lines for path, lines in sizes.items() if lines > 450} == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_does(script: str) -> None:
    """`--help` of a script prints a line and installs nothing."""
    found = subprocess.run(
        [str(ROOT / script), "--help"], capture_output=True, text=True, check=True
    )
    assert len(found.stdout.strip()) > 20
    assert found.stderr == ""


def test_docs_link_to_files_that_are_there() -> None:
    """Every relative link in the README and the docs leads to a file."""
    import re

    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
