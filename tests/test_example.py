"""`mlruns.example`, from a copy and another working directory; and the program that makes it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock import ErrorKind, IntegrityError, UnsupportedError
from pairlock.digests import hash_file
from pairlock.report import report_page

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "mlruns.example"
PROGRAM = ROOT / "scripts" / "example"
GATED = "faq_adapters:Gated"
MAIN = "from pairlock.cli import main; main()"

VERSIONS = {
    "minilm-tiny": ["full", "full"],
    "support": ["linear", "linear", "two_layer", "peft"],
    "faq": ["custom", "linear"],
    "search": ["full"],
    "bge-tiny": ["full"],
    "legal": ["linear"],
    "billing": ["linear"],
}
"""Kinds of every version, by model."""

REFUSED = {"models:/billing/1": ErrorKind.FILE_DIGEST, "models:/legal/1": ErrorKind.BASE_FILES}
"""What does not load."""

URIS = {
    f"models:/{name}/{number}": kind
    for name, kinds in VERSIONS.items()
    for number, kind in enumerate(kinds, 1)
}

HOLDERS: dict[str, dict[str, int]] = {
    "minilm-tiny": {"production": 1, "staging": 2},
    "support": {"production": 1, "staging": 3},
    "faq": {"production": 1},
    "search": {"staging": 1},
    "bge-tiny": {},
    "legal": {"production": 1},
    "billing": {"production": 1},
}
"""Who holds what, by the ledgers."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, copied as its page says."""
    made = tmp_path_factory.mktemp("elsewhere") / "registry"
    shutil.copytree(EXAMPLE, made)
    return made


@pytest.fixture
def example(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The copy as the registry in use, from another working directory."""
    from support.registries import active

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.syspath_prepend(str(copy))  # for the class of `faq` 1
    with active(f"sqlite:///{copy}/mlflow.db"):
        yield copy
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the program, importable as for the script."""
    monkeypatch.syspath_prepend(str(PROGRAM))
    return PROGRAM


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, but for what SQLite and Python keep beside."""
    return {
        str(path.relative_to(folder)): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.endswith(("-wal", "-shm"))
        and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("uri", [uri for uri in URIS if uri not in REFUSED])
def test_every_sound_version_of_the_example_loads(example: Path, uri: str) -> None:
    """Bytes and base are what was approved, the golden vectors hold, and it is of its kind."""
    embedding = pairlock.load(uri, golden=True, allow=[GATED])
    proof = pairlock.receipt(embedding)
    assert proof.kind == URIS[uri]
    assert "golden vectors" in [check.name for check in proof.checks]
    assert len(embedding.get_query_embedding("how do I refund a purchase?")) == 32


@pytest.mark.parametrize(("uri", "kind"), REFUSED.items())
def test_what_was_damaged_in_the_example_is_refused(
    example: Path, uri: str, kind: ErrorKind
) -> None:
    """The tampered package and the adapter whose base has moved do not load, for that reason."""
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert kind in [found.kind for found in caught.value.findings]
    failed = [check.name for check in pairlock.verify(uri).checks if check.outcome == "failed"]
    assert failed == ["base" if uri == "models:/legal/1" else "package"]


def test_the_class_of_the_example_runs_only_where_it_is_allowed(example: Path) -> None:
    """The custom adapter names a class that nothing here offers by itself."""
    with pytest.raises(UnsupportedError) as caught:
        pairlock.load("models:/faq/1")
    assert caught.value.kind is ErrorKind.CLASS_NOT_ALLOWED


def test_the_example_has_the_models_that_its_page_names(example: Path) -> None:
    """Models, versions and kinds are those of the table in its README, and no others."""
    from mlflow import MlflowClient

    found: dict[str, dict[int, str]] = {}
    for version in MlflowClient().search_model_versions(max_results=100):
        found.setdefault(version.name, {})[int(version.version)] = version.tags["pairlock.kind"]
    assert found == {name: dict(enumerate(kinds, 1)) for name, kinds in VERSIONS.items()}
    page = (example / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in VERSIONS)


@pytest.mark.parametrize("name", VERSIONS)
def test_the_history_of_the_example_is_unbroken(example: Path, name: str) -> None:
    """Every ledger holds together; the one alias that was moved by hand is reported, no other."""
    found = pairlock.history(name)
    assert found.findings == ()
    assert {stage: held.version for stage, held in found.state.stages.items()} == HOLDERS[name]
    moved = [(one.stage, one.found, one.expected) for one in found.moved]
    assert moved == ([("production", 2, 1)] if name == "faq" else [])
    assert {one.entry.actor for one in found.entries} <= {"ana", "ci", "kim", "lee"}


def test_the_history_of_support_shows_every_act(example: Path) -> None:
    """A request and its approval, promotions, a bypass with its reason, a rollback."""
    found = pairlock.history("support")
    acts = [(one.entry.act.value, one.entry.stage) for one in reversed(found.entries)]
    assert acts == [
        ("promote", "staging"),
        ("request", "production"),
        ("approve", "production"),
        ("promote", "production"),
        ("promote", "staging"),
        ("promote", "production"),
        ("rollback", "production"),
        ("promote", "staging"),
        ("request", "production"),
    ]
    bypassed = {
        one.entry.sequence: [gate.gate for gate in one.entry.gates if gate.outcome == "bypassed"]
        for one in found.entries
    }
    assert {entry: gates for entry, gates in bypassed.items() if gates} == {5: ["approvals"]}
    assert all(one.entry.reason for one in found.entries)
    assert [(one.version, one.stage) for one in found.state.requests] == [(3, "production")]


def test_an_audit_finds_what_is_wrong_on_purpose_and_no_other_error(example: Path) -> None:
    """The base that moved, the tampered package, and the alias that was moved by hand."""
    errors = {
        (f"{one.model}/{one.version}", one.code.value)
        for one in pairlock.audit(deep=True, severity="error").findings
    }
    assert errors == {
        ("billing/1", "package-tampered"),
        ("faq/2", "alias-unexplained"),
        ("legal/1", "base-moved"),
    }
    untouched = pairlock.audit(severity="error").findings
    assert len(untouched) == 2, "one byte in a file of the same size takes a hash to see"


def test_the_report_page_of_the_example_leads_to_every_version(example: Path) -> None:
    """One file with every version, its manifest, and a graph of them all."""
    page = report_page(pairlock.audit())
    for uri in URIS:
        assert f">{uri}</span>" in page
    assert page.count('class="manifest"') == len(URIS)
    assert page.count('class="node version') == len(URIS) + 1  # the base that was there before


def test_looking_at_the_example_changes_nothing_in_it(example: Path) -> None:
    """After loads, shows, proofs and histories every byte of the copy is as it was."""
    from pairlock.show import show

    before = contents(example)
    pairlock.load("models:/support/4")
    show("models:/support@production")
    assert pairlock.verify("models:/support@staging").passed
    assert not pairlock.history("faq").passed
    assert contents(example) == before


def test_the_example_is_used_from_its_folder_as_its_page_says(copy: Path) -> None:
    """`cp -r`, `cd`, a relative database, `pairlock show`: an answer, and nothing is changed."""
    before = contents(copy)
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    found = subprocess.run(
        [sys.executable, "-c", MAIN, "show", "models:/support/1", "--format", "json"],
        cwd=copy,
        env={**own, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(found.stdout)
    assert answer["uri"] == "models:/support/1"
    assert Path(answer["location"]).is_relative_to(copy)
    assert contents(copy) == before


def test_the_example_is_small_and_git_keeps_all_of_it(tmp_path: Path) -> None:
    """It has at most 2 MB, and no file or folder of it falls to `.gitignore`."""
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert 100_000 < sum(path.stat().st_size for path in files) < 2_000_000
    assert [path for path in EXAMPLE.rglob("*") if path.is_dir() and not any(path.iterdir())] == []
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shutil.copyfile(ROOT / ".gitignore", tmp_path / ".gitignore")
    kept = [str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts]
    ignored = subprocess.run(
        ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "--stdin"],
        input="\n".join([*kept, "dist/x"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout.split() == ["dist/x"]


def test_the_example_says_nothing_of_where_it_was_made(program: Path) -> None:
    """No absolute path, in no file and no field of the database; no name of a machine."""
    import portable

    words = [*portable.names_of_this_machine(ROOT), "/work", "/root", "/home", "@vm"]
    assert portable.traces(EXAMPLE, words) == []
    with closing(sqlite3.connect(f"file:{EXAMPLE}/mlflow.db?mode=ro", uri=True)) as database:
        values = {
            value
            for table, column in portable.text_columns(database)
            for (value,) in database.execute(f'SELECT DISTINCT "{column}" FROM "{table}"')
            if isinstance(value, str)
        }
    assert "artifacts" in values
    assert [value for value in values if value.startswith(("/", "file:", "~"))] == []


def test_the_program_copies_what_it_runs(program: Path) -> None:
    """The class, the policy and the page beside the database are those that the program used."""
    import make

    assert {"faq_adapters.py", "pairlock.toml", "README.md"} == set(make.READABLE_FILES)
    for name in make.READABLE_FILES:
        assert (EXAMPLE / name).read_bytes() == (program / name).read_bytes()


def test_the_recipes_give_the_same_bytes_wherever_they_run(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in two folders leave the same files of every kind of model."""
    import recipes

    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        base = recipes.base(Path("base"), seed=1, epochs=1)
        recipes.full(base, Path("full"), seed=1, epochs=1)
        recipes.lora(base, Path("lora"), seed=1, epochs=1)
        recipes.linear(base, Path("linear"), steps=2)
        recipes.two_layer(base, Path("two-layer"), seed=1, steps=2)
        recipes.gated(base, Path("gated"), seed=1, steps=2)
        recipes.write_dataset(Path("questions.json"))
        made.append(contents(folder))
    assert len(made[0]) > 20
    assert made[0] == made[1]
    lora = json.loads((tmp_path / "one" / "lora" / "adapter_config.json").read_bytes())
    # a list would come out of a set, in an order that is another one in another process
    assert isinstance(lora["target_modules"], str)


def test_a_registry_that_was_made_portable_can_be_moved(
    program: Path, registry: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """It loads from another folder, and nothing in it names the first one."""
    import portable

    from support.registries import active

    registry.log(tiny_model, "tiny")
    portable.make_portable(registry.folder)
    assert portable.traces(registry.folder, [str(registry.folder)]) == []
    moved = tmp_path / "moved"
    registry.folder.rename(moved)
    with active(f"sqlite:///{moved}/mlflow.db"):
        assert pairlock.verify("models:/tiny/1").passed


def test_a_name_that_is_left_is_found(program: Path, tmp_path: Path) -> None:
    """In the bytes of a file and in its path, whatever the file is."""
    import portable

    (tmp_path / "of-lee").mkdir()
    (tmp_path / "of-lee" / "weights.bin").write_bytes(b"\x00\xffcut /home/kim/x\x00")
    assert portable.traces(tmp_path, ["/home/", "kim", "lee", "ana"]) == [
        "of-lee/weights.bin: /home/",
        "of-lee/weights.bin: kim",
        "of-lee/weights.bin: lee",
    ]


def test_the_old_example_stays_when_the_new_one_cannot_take_its_place(
    program: Path, tmp_path: Path
) -> None:
    """A new folder replaces the old one; if that fails, the old one is back."""
    import make

    target = tmp_path / "target"
    for name in ("target", "made"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    with pytest.raises(OSError):
        make.replace(target, tmp_path / "not there", aside=tmp_path / "aside")
    assert (target / "who").read_text() == "target"
    make.replace(target, tmp_path / "made", aside=tmp_path / "aside")
    assert (target / "who").read_text() == "made"


def test_a_folder_with_something_else_in_it_is_not_replaced(program: Path, tmp_path: Path) -> None:
    """A new or empty folder and an earlier example may be replaced; no file, no other folder."""
    import make

    assert make.unfit(tmp_path / "new") is None
    assert make.unfit(tmp_path) is None
    assert make.unfit(EXAMPLE) is None
    (tmp_path / "mlflow.db").write_text("somebody's own registry")
    assert make.unfit(tmp_path)
    assert make.unfit(tmp_path / "mlflow.db")
