"""`pairlock profile`: figures are taken, told, and kept beside the version; never exact times."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
import safetensors.numpy
from typer.testing import CliRunner, Result

import pairlock
from pairlock import profiling
from pairlock.catalog import Located, read_evidence, store_evidence
from pairlock.cli.app import app
from pairlock.digests import record_file
from pairlock.errors import ErrorKind, InvalidInputError, UnavailableError
from pairlock.profiling import PROFILE_TAG, stored_profiles
from support.golden import stored_vectors
from support.registries import active

MakeFolder = Callable[[str], Path]
TAG = f"{PROFILE_TAG}cpu.float32"
FIGURES = (
    "short_per_s", "longest_per_s", "query_median_s", "query_p95_s", "peak_bytes",
    "process_peak_bytes", "threads", "batch_size",
)  # fmt: skip


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def profiled(uri: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON of a profile on the CPU."""
    found = run(
        "profile", uri, "--device", "cpu", "--texts", "1", "--format", "json", *arguments
    )  # fmt: skip
    return found.exit_code, json.loads(found.stdout)


@pytest.fixture
def logged(logged_base: Any) -> Any:
    """A registry with models:/base/1."""
    return logged_base


def tags_of(registry: Any, name: str = "base") -> dict[str, str]:
    """The profile tags of a version."""
    tags = registry.client.get_model_version(name, "1").tags
    return {tag: text for tag, text in tags.items() if tag.startswith(PROFILE_TAG)}


def test_a_profile_has_every_figure_and_is_kept_beside_the_version(logged: Any) -> None:
    """The figures are there and positive, and the version's tag holds them with their origin."""
    status, data = profiled("models:/base/1")
    assert status == 0
    assert all(data[name] > 0 for name in FIGURES)
    assert data["query_median_s"] <= data["query_p95_s"]
    assert data["within_bars"] is True
    assert 0 <= data["one_minus_cosine"] <= 1e-8
    assert data["stored_as"] == TAG
    (text,) = tags_of(logged).values()
    assert len(text) < 5_000
    tag = json.loads(text)
    assert {name: tag[name] for name in FIGURES} == {name: data[name] for name in FIGURES}
    assert tag["package_digest"] == pairlock.receipt(pairlock.load("models:/base/1")).package_digest
    assert tag["libraries"]["torch"]
    assert tag["card"]
    assert tag["taken_at"].endswith("+00:00")


def test_show_prints_the_profiles(logged: Any) -> None:
    """What was measured stands in the table and in the JSON of `show`; else nothing does."""
    assert json.loads(run("show", "models:/base/1", "--format", "json").stdout)["profiles"] == {}
    _, data = profiled("models:/base/1")
    shown = json.loads(run("show", "models:/base/1", "--format", "json").stdout)["profiles"]
    assert shown["cpu.float32"]["longest_per_s"] == data["longest_per_s"]
    (line,) = [
        line
        for line in run("show", "models:/base/1").stdout.splitlines()
        if line.startswith("profile cpu.float32")
    ]
    assert f"{data['longest_per_s']:.1f} long" in line
    assert "within the bars" in line


def test_a_person_reads_every_figure(logged: Any) -> None:
    """The table names speed, latency, memory, exactness and the tag."""
    found = run("profile", "models:/base/1", "--device", "cpu", "--texts", "1")
    assert found.exit_code == 0, found.output
    names = [line[:15].strip() for line in found.stdout.splitlines()]
    assert names == [
        "uri", "package digest", "device", "short texts", "longest texts", "one query",
        "peak memory", "whole process", "golden vectors", "stored as",
    ]  # fmt: skip
    assert TAG in found.stdout


def test_an_adapter_is_measured_on_its_base(logged: Any, adapter_folders: MakeFolder) -> None:
    """An adapter's profile is the adapter's own, and its base's version gets no tag."""
    logged.log(adapter_folders("linear"), "support", base="models:/base/1")
    status, data = profiled("models:/support/1")
    assert (status, data["stored_as"]) == (0, TAG)
    assert list(tags_of(logged, "support")) == [TAG]
    assert tags_of(logged) == {}


def test_nothing_is_stored_where_that_is_not_wanted_or_not_possible(logged: Any) -> None:
    """--no-store, a logged model and a folder print figures, say so, and leave no tag."""
    folder = logged.folder_of("models:/base/1")
    source = logged.client.get_model_version("base", "1").source
    for uri, *options in (
        ("models:/base/1", "--no-store"),
        (str(folder),),
        (source if source.startswith("models:/") else f"models:/{folder.parent.name}",),
    ):
        status, data = profiled(uri, *options)
        assert status == 0
        assert data["longest_per_s"] > 0
        assert data["stored_as"] is None
        assert data["not_stored"]
        assert data["store_error"] is None
    assert tags_of(logged) == {}


def forged(folder: Path, copy: Path) -> Path:
    """A package whose golden vectors are those of another model, whole in itself."""
    shutil.copytree(folder, copy)
    path = copy / "payload" / "golden.safetensors"
    vectors = stored_vectors(copy)
    turned = {name: np.ascontiguousarray(array[:, ::-1]) for name, array in vectors.items()}
    path.write_bytes(safetensors.numpy.save(turned))
    manifest = json.loads((copy / "pairlock.json").read_bytes())
    record = record_file(copy, "payload/golden.safetensors")
    (entry,) = [item for item in manifest["files"] if item["path"] == record.path]
    entry |= {"size_bytes": record.size_bytes, "sha256": record.sha256}
    (copy / "pairlock.json").write_bytes(rfc8785.dumps(manifest))
    return copy


def test_wrong_vectors_are_reported_with_the_figures(logged: Any, tmp_path: Path) -> None:
    """A model that does not give the recorded vectors is measured, and the answer is no."""
    copy = forged(logged.folder_of("models:/base/1"), tmp_path / "forged")
    status, data = profiled(str(copy))
    assert status == 1
    assert data["within_bars"] is False
    assert data["one_minus_cosine"] > 1e-3
    assert data["findings"]
    assert data["longest_per_s"] > 0
    assert "NOT within the bars" in run("profile", str(copy), "--texts", "1").stdout


def test_a_registry_that_takes_no_tags_does_not_take_the_figures_along(logged: Any) -> None:
    """Where storing fails the figures are printed, and the exit status says that it failed."""
    with sqlite3.connect(logged.folder / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER read_only BEFORE INSERT ON model_version_tags "
            "BEGIN SELECT RAISE(ABORT, 'this registry is read-only'); END"
        )
    database.close()
    status, data = profiled("models:/base/1")
    assert status == 3
    assert data["longest_per_s"] > 0
    assert data["stored_as"] is None
    assert data["store_error"]["kind"] == "registry-unavailable"
    found = run("profile", "models:/base/1", "--device", "cpu", "--texts", "1")
    assert found.exit_code == 3
    assert "longest texts" in found.stdout
    assert found.stderr.startswith("error: ")


def test_a_registry_that_is_gone_after_measuring_is_not_made_anew(
    logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that vanished while it was measured gives figures, an error, and no new one."""
    database = logged.folder / "mlflow.db"
    real = profiling.measuring()

    class Vanishing:
        @staticmethod
        def measure(*arguments: Any, **options: Any) -> Any:
            found = real.measure(*arguments, **options)
            database.rename(database.with_suffix(".away"))
            return found

    monkeypatch.setattr(profiling, "measuring", Vanishing)
    status, data = profiled("models:/base/1")
    assert status == 3
    assert data["longest_per_s"] > 0
    assert data["store_error"]["kind"] == "registry-unavailable"
    assert not database.exists()


def test_asking_for_evidence_makes_no_registry(tmp_path: Path) -> None:
    """Where there is no registry, reading and storing say so, and leave nothing behind."""
    database = tmp_path / "mlflow.db"
    with active(f"sqlite:///{database}"):
        for ask in (
            lambda: store_evidence("base", 1, TAG, "{}"),
            lambda: read_evidence("base", 1, PROFILE_TAG),
        ):
            with pytest.raises(UnavailableError) as caught:
                ask()
            assert caught.value.kind is ErrorKind.REGISTRY_UNAVAILABLE
    assert not database.exists()


@pytest.mark.parametrize(
    "text", ["no json", "[" * 100_000, "[]", '{"package_digest":"sha256:0"}', "null"]
)
def test_a_tag_that_holds_no_profile_is_said_to_be_none(logged: Any, text: str) -> None:
    """Anybody may write tags: what is no profile of this package is named, and breaks nothing."""
    logged.client.set_model_version_tag("base", "1", TAG, text)
    found = run("show", "models:/base/1", "--format", "json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["profiles"] == {"cpu.float32": None}
    assert "no profile of this package" in run("show", "models:/base/1").stdout


def test_another_packages_profile_is_not_believed(logged: Any, tiny_other: Path) -> None:
    """A profile that was copied to another version is not shown as that version's."""
    profiled("models:/base/1")
    logged.log(tiny_other, "other")
    logged.client.set_model_version_tag("other", "1", TAG, tags_of(logged)[TAG])
    shown = json.loads(run("show", "models:/other/1", "--format", "json").stdout)
    assert shown["profiles"] == {"cpu.float32": None}


def test_a_remembered_answer_is_not_asked_for_profiles() -> None:
    """Offline the registry is not asked, so there is nothing to show."""
    located = Located(
        requested="models:/base/1",
        uri="models:/base/1",
        location="/nowhere",
        name="base",
        version=1,
        remembered_at=1.0,
    )
    assert stored_profiles(located, "sha256:0") == {}


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["--device", "cuda:7"], 3, "device-unavailable"),
        (["--device", "abacus"], 2, "argument-invalid"),
        (["--texts", "0"], 2, "argument-invalid"),
    ],
)
def test_a_mistake_has_its_exit_status(
    logged: Any, arguments: list[str], status: int, kind: str
) -> None:
    """What cannot be measured is an error document with its kind, and nothing is stored."""
    found = run("profile", "models:/base/1", *arguments, "--format", "json")
    assert found.exit_code == status, found.output
    assert json.loads(found.stdout)["error"]["kind"] == kind
    assert tags_of(logged) == {}


def test_python_gets_the_same_figures(logged: Any) -> None:
    """`pairlock.profile` returns what the command prints, and refuses what it refuses."""
    found = pairlock.profile("models:/base/1", device="cpu", texts=1)
    assert found.stored_as == TAG
    assert json.loads(json.dumps(found.to_dict()))["longest_per_s"] == found.longest_per_s
    with pytest.raises(InvalidInputError) as caught:
        pairlock.profile("models:/base/1", texts=-1)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
