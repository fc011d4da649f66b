"""MLflow's side: URIs, pyfunc, what is written into a package, and that a load writes nothing."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model

import pairlock
import pairlock_flavors.embedding as flavor
from pairlock import (
    ErrorKind,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    UnsupportedError,
)
from support.models import TEXTS
from support.registries import snapshot

QUERY = TEXTS[0]


def vector(uri: str) -> list[float]:
    """The query vector of a load."""
    return pairlock.load(uri).get_query_embedding(QUERY)


def test_every_form_of_a_uri_gives_the_same_vectors(tiny_prompts: Path, registry: Any) -> None:
    """Version, alias, legacy stage, logged model, run and folder name the same bytes."""
    with mlflow.start_run() as run:
        logged = pairlock.log_model(tiny_prompts, "inner", registered_model_name="outer")
    client = registry.client
    client.set_registered_model_alias("outer", "best", "1")
    client.transition_model_version_stage("outer", "1", "Staging")
    model_uri = f"models:/{logged.model_info.model_id}"
    resolved = {
        "models:/outer/1": "models:/outer/1",
        "models:/outer@best": "models:/outer/1",
        "models:/outer/Staging": "models:/outer/1",
        "models:/outer/staging": "models:/outer/1",
        model_uri: model_uri,
        f"runs:/{run.info.run_id}/inner": model_uri,
        str(registry.folder_of("models:/outer/1")): str(registry.folder_of("models:/outer/1")),
    }
    expected = vector("models:/outer/1")
    for uri, permanent in resolved.items():
        own = pairlock.load(uri)
        receipt = pairlock.receipt(own)
        assert own.get_query_embedding(QUERY) == expected
        assert receipt.uri == own.uri == permanent
        assert receipt.package_digest == logged.package_digest
    folder = registry.folder_of("models:/outer/1")
    assert vector(f"file://{folder}") == expected


def test_a_moved_alias_gives_the_other_version(
    tiny_model: Path, tiny_other: Path, registry: Any
) -> None:
    """An alias is looked up at each load, and what was loaded before stays what it is."""
    for model in (tiny_model, tiny_other):
        registry.log(model, "moving")
    registry.client.set_registered_model_alias("moving", "now", "1")
    first = pairlock.load("models:/moving@now")
    registry.client.set_registered_model_alias("moving", "now", "2")
    second = pairlock.load("models:/moving@now")
    assert (first.uri, second.uri) == ("models:/moving/1", "models:/moving/2")
    assert first.get_query_embedding(QUERY) == vector("models:/moving/1")
    assert second.get_query_embedding(QUERY) == vector("models:/moving/2")


@pytest.mark.parametrize(
    "uri",
    [
        "models:/unknown/1",
        "models:/known/7",
        "models:/known@nobody",
        "models:/unknown@nobody",
        "models:/known/Production",
        "models:/unknown/Production",
        f"models:/m-{'0' * 32}",
        f"runs:/{'0' * 32}/known",
    ],
)
def test_what_the_registry_does_not_have_is_not_found(
    uri: str, tiny_model: Path, registry: Any
) -> None:
    """An unknown name, version, alias, stage, logged model or run is a NotFoundError."""
    registry.log(tiny_model, "known")
    for act in (pairlock.load, pairlock.verify):
        with pytest.raises(NotFoundError) as caught:
            act(uri)
        assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND


def test_a_deleted_version_is_not_found(tiny_model: Path, registry: Any) -> None:
    """A deleted version does not load, and its number is not used again."""
    registry.log(tiny_model, "deleted")
    registry.client.delete_model_version("deleted", "1")
    with pytest.raises(NotFoundError) as caught:
        pairlock.load("models:/deleted/1")
    assert caught.value.kind is ErrorKind.MODEL_NOT_FOUND
    assert registry.log(tiny_model, "deleted") == "models:/deleted/2"


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_a_version_that_is_not_ready_is_not_found(
    status: str, tiny_model: Path, registry: Any
) -> None:
    """A version that the registry itself does not vouch for is not loaded, by number or alias."""
    uri = registry.log(tiny_model, "unfinished")
    registry.client.set_registered_model_alias("unfinished", "live", "1")
    with sqlite3.connect(registry.folder / "mlflow.db") as database:
        database.execute("UPDATE model_versions SET status = ?", (status,))
    database.close()
    for asked in (uri, "models:/unfinished@live"):
        for act in (pairlock.load, pairlock.verify):
            with pytest.raises(NotFoundError) as caught:
                act(asked)
            assert caught.value.kind is ErrorKind.VERSION_NOT_READY
            assert status in caught.value.found


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models:/known/latest",
        "models:/known",
        "models:/known/0",
        "models:/known/-1",
        "models:/known/one",
        "models:/",
        "models:known/1",
        "models:/known@",
        "models:/@best",
        "runs:/",
        "runs:/abc",
    ],
)
def test_a_uri_that_names_no_version_is_an_input_error(uri: str, registry: Any) -> None:
    """ "latest", a bare name and malformed URIs are refused before anything is looked up."""
    with pytest.raises(InvalidInputError) as caught:
        pairlock.load(uri)
    assert caught.value.kind is ErrorKind.REFERENCE_INVALID
    assert not (registry.folder / "mlruns").exists()


@pytest.mark.parametrize("uri", ["gs://bucket/model", "models:/remote/1"])
def test_a_store_that_nobody_here_reads_is_unsupported(uri: str, registry: Any) -> None:
    """Bytes in a store of another kind are an error that says so, also behind a version."""
    registry.client.create_registered_model("remote")
    registry.client.create_model_version("remote", "gs://bucket/model")
    with pytest.raises(UnsupportedError) as caught:
        pairlock.load(uri)
    assert caught.value.kind is ErrorKind.STORE_UNSUPPORTED


def test_a_folder_that_holds_no_package_is_not_found(
    tiny_model: Path, tmp_path: Path, registry: Any
) -> None:
    """A folder that is not there, empty, or a trainer's is not a package."""
    with pytest.raises(NotFoundError) as caught:
        pairlock.load(str(tmp_path / "nowhere"))
    assert caught.value.kind is ErrorKind.FOLDER_MISSING
    with pytest.raises(NotFoundError) as caught:
        pairlock.load(str(tiny_model))
    assert caught.value.kind is ErrorKind.MANIFEST_MISSING


def test_a_version_of_another_flavor_is_not_a_package(tmp_path: Path, registry: Any) -> None:
    """A version that MLflow registered without looking is an error at load."""
    registry.client.create_registered_model("nothing")
    registry.client.create_model_version("nothing", str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError):
        pairlock.load("models:/nothing/1")


def test_a_copied_version_is_held_to_the_same_digest(tiny_model: Path, registry: Any) -> None:
    """A version that MLflow copied to another name loads, and is refused when it was changed."""
    uri = registry.log(tiny_model, "dev")
    registry.client.copy_model_version(uri, "prod")
    assert vector("models:/prod/1") == vector(uri)
    assert pairlock.receipt(pairlock.load("models:/prod/1")).anchors
    (registry.folder_of(uri) / "payload" / "golden.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError):
        pairlock.load("models:/prod/1")


def test_a_version_registered_again_is_held_to_the_logged_digest(
    tiny_model: Path, registry: Any
) -> None:
    """`mlflow.register_model` drops tags; the logged model's own digest still decides."""
    logged = pairlock.log_model(tiny_model, "plain")
    assert logged.uri == f"models:/{logged.model_info.model_id}"
    mlflow.register_model(logged.uri, "later")
    receipt = pairlock.receipt(pairlock.load("models:/later/1"))
    assert set(receipt.anchors.values()) == {logged.package_digest}


def test_a_copied_version_is_held_to_the_digest_of_its_origin(
    tiny_model: Path, registry: Any
) -> None:
    """A version copied by MLflow is vouched for by its origin, also when its own tag is gone."""
    origin = registry.log(tiny_model, "origin")
    registry.client.copy_model_version(origin, "copy")
    registry.client.delete_model_version_tag("copy", "1", "pairlock.package_digest")
    own, copied = (pairlock.receipt(pairlock.load(uri)) for uri in (origin, "models:/copy/1"))
    assert set(copied.anchors.values()) == {own.package_digest}


def test_a_registry_copied_elsewhere_with_relative_places_works_from_anywhere(
    tiny_model: Path, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative artifact locations belong to the database's folder, not to the caller's."""
    from support.registries import active

    expected = vector(registry.log(tiny_model, "moved"))
    elsewhere = shutil.copytree(registry.folder, tmp_path / "elsewhere")
    with sqlite3.connect(elsewhere / "mlflow.db") as database:
        for table, column in (
            ("experiments", "artifact_location"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):
            statement = f"UPDATE {table} SET {column} = replace({column}, ?, '')"
            database.execute(statement, (f"{registry.folder}/",))
    database.close()
    shutil.rmtree(registry.folder / "mlruns")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with active(f"sqlite:///{elsewhere}/mlflow.db"):
        assert vector("models:/moved/1") == expected


def test_mlflow_s_own_rewriting_breaks_nothing(tiny_model: Path, registry: Any) -> None:
    """After pyfunc has loaded it and MLmodel was written again, a package still loads."""
    uri = registry.log(tiny_model, "rewritten")
    folder, before = registry.folder_of(uri), vector(uri)
    mlflow.pyfunc.load_model(uri)
    assert (folder / "registered_model_meta").exists()
    Model.load(str(folder)).save(str(folder / "MLmodel"))
    (folder / "environment_variables.txt").write_text("SOME_API_KEY\n")
    assert vector(uri) == before
    assert pairlock.verify(uri).passed


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Takes the right to write from a whole folder, and gives it back."""
    changed: list[tuple[Path, int]] = []

    def protect(folder: Path) -> None:
        for path in [folder, *folder.rglob("*")]:
            changed.append((path, path.stat().st_mode))
            path.chmod(path.stat().st_mode & ~0o222)

    yield protect
    for path, mode in changed:
        path.chmod(mode)


def test_a_load_writes_nothing_into_the_store(
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    read_only: Callable[[Path], None],
) -> None:
    """Loading and verifying change no name, size, time or inode, and need no right to write."""
    base = registry.log(tiny_model, "base")
    adapter = registry.log(linear_adapter, "adapter", base=base)
    folder = registry.folder_of(adapter)
    store = registry.folder / "mlruns"
    read_only(store)
    before = snapshot(store)
    for uri in (base, adapter, str(folder)):
        pairlock.load(uri, golden=True)
        assert pairlock.verify(uri).passed
    assert snapshot(store) == before


def test_a_load_writes_nothing_into_a_bare_base(
    tiny_model: Path, linear_adapter: Path, registry: Any, tmp_path: Path
) -> None:
    """The same holds for a base that is a plain folder, at packaging and at load."""
    folder = shutil.copytree(tiny_model, tmp_path / "base")
    before = snapshot(folder)
    pairlock.load(registry.log(linear_adapter, "adapter", base=str(folder)))
    assert snapshot(folder) == before


@pytest.fixture
def served(packaged: Callable[[str], str], shared_registry: Any) -> Any:
    """A model with prompts as MLflow loads it."""
    return mlflow.pyfunc.load_model(packaged("tiny_prompts"))


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        pd.Series(TEXTS),
        pd.DataFrame({"anything": TEXTS}),
        pd.DataFrame(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
    ],
    ids=["list", "series", "named-table", "table", "array", "object-array"],
)
def test_pyfunc_takes_texts_in_every_container(
    given: Any, served: Any, packaged: Callable[[str], str]
) -> None:
    """predict gives the document vectors, as (n_texts, dim) float32, whatever holds the texts."""
    found = served.predict(given)
    expected = pairlock.load(packaged("tiny_prompts")).get_text_embedding_batch(TEXTS)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert found.tolist() == expected


def test_pyfunc_takes_one_text(served: Any, packaged: Callable[[str], str]) -> None:
    """A single string is one text, not its letters."""
    expected = pairlock.load(packaged("tiny_prompts")).get_text_embedding("card")
    assert served.predict("card").tolist() == [expected]


def test_pyfunc_knows_both_roles(
    served: Any, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """The role of a call wins over the role of the load, which wins over the default."""
    uri = packaged("tiny_prompts")
    own = pairlock.load(uri)
    query, text = own.get_query_embedding("card"), own.get_text_embedding("card")
    queries = mlflow.pyfunc.load_model(uri, model_config={"role": "query"})
    assert query != text
    assert served.predict(["card"]).tolist() == [text]
    assert served.predict(["card"], params={"role": "query"}).tolist() == [query]
    assert queries.predict(["card"]).tolist() == [query]
    assert queries.predict(["card"], params={"role": "text"}).tolist() == [text]


@pytest.mark.parametrize(
    "given",
    [
        [1, 2],
        [None],
        ["a", 2],
        {"a": ["x"], "b": ["y"]},
        pd.DataFrame({"a": [1.5]}),
        b"bytes",
        7,
        np.array([1.0, 2.0]),
    ],
    ids=["numbers", "none", "mixed", "dict", "floats", "bytes", "number", "array"],
)
def test_pyfunc_refuses_what_is_no_text(given: Any, served: Any) -> None:
    """Anything but texts is refused, by MLflow's schema or by an input error."""
    with pytest.raises((MlflowException, InvalidInputError)):
        served.predict(given)


@pytest.mark.parametrize(
    "given", [["a", 2], {"a": 1}, b"bytes", 7, pd.DataFrame({"a": [], "b": []})]
)
def test_the_model_itself_refuses_what_is_no_text(given: Any, served: Any) -> None:
    """Without MLflow's schema in front, predict still takes texts only."""
    with pytest.raises(InvalidInputError) as caught:
        served._model_impl.predict(given)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_an_unknown_role_is_refused(
    served: Any, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """A role is query or text, in a call and in a load."""
    with pytest.raises(InvalidInputError) as caught:
        served.predict(["card"], params={"role": "passage"})
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    with pytest.raises(InvalidInputError):
        mlflow.pyfunc.load_model(packaged("tiny_prompts"), model_config={"role": "passage"})


def test_pyfunc_of_an_adapter_gives_the_adapter_s_vectors(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Through MLflow an adapter is on its base too, in both roles."""
    own = pairlock.load(packaged("linear"))
    served = mlflow.pyfunc.load_model(packaged("linear"))
    found = served.predict(["card"], params={"role": "query"})
    assert found.tolist() == [own.get_query_embedding("card")]
    assert served.predict(["card"]).tolist() == [own.get_text_embedding("card")]
    assert isinstance(served.get_raw_model(), type(own))


def test_pyfunc_refuses_damaged_bytes(tiny_model: Path, registry: Any) -> None:
    """MLflow's own loading goes through the same checks."""
    uri = registry.log(tiny_model, "damaged")
    path = registry.folder_of(uri) / "payload" / "model" / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"card", b"cart"))
    with pytest.raises(IntegrityError):
        mlflow.pyfunc.load_model(uri)


def test_pyfunc_refuses_a_rewritten_manifest(tiny_prompts: Path, registry: Any) -> None:
    """A manifest that agrees with itself is not the registered one, through MLflow either."""
    import json

    import rfc8785

    uri = registry.log(tiny_prompts, "rewritten")
    path = registry.folder_of(uri) / "pairlock.json"
    manifest = json.loads(path.read_bytes())
    manifest["encode"]["query_instruction"] = "something else: "
    path.write_bytes(rfc8785.dumps(manifest))
    with pytest.raises(PairlockError):
        mlflow.pyfunc.load_model(uri)


def test_mlmodel_names_the_loader_for_good(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """The persisted loader module, the flavor's facts and the signature are what they must stay."""
    folder = shared_registry.folder_of(packaged("linear"))
    written = yaml.safe_load((folder / "MLmodel").read_text())
    assert written["flavors"]["python_function"]["loader_module"] == "pairlock_flavors.loader"
    assert "data" not in written["flavors"]["python_function"]
    facts = written["flavors"]["pairlock"]
    own = pairlock.load(packaged("linear"))
    assert facts["package_digest"] == own.package_digest
    assert facts["kind"] == "linear"
    assert facts["base.uri"] == packaged("tiny_model")
    signature = mlflow.models.get_model_info(packaged("linear")).signature
    assert signature.inputs.to_dict() == [{"type": "string", "required": True}]
    assert signature.outputs.inputs[0].shape == (-1, 32)


def test_requirements_are_pinned(packaged: Callable[[str], str], shared_registry: Any) -> None:
    """requirements.txt pins, at the installed version, what the vectors depend on."""
    folder = shared_registry.folder_of(packaged("tiny_model"))
    lines = (folder / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines)
    assert {"pairlock", "mlflow", "sentence-transformers", "transformers", "torch"} <= pins.keys()
    for name, pinned in pins.items():
        assert pinned == version(name).partition("+")[0]
    assert lines == flavor.get_default_pip_requirements()
    conda = yaml.safe_load((folder / "conda.yaml").read_text())
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    assert set(lines) <= set(pip)
    assert (folder / "python_env.yaml").exists()


def test_a_package_knows_no_absolute_path(tiny_prompts: Path, registry: Any) -> None:
    """Nothing in a full model's package says on which disk it was made or lies."""
    folder = registry.folder_of(registry.log(tiny_prompts, "portable"))
    places = [str(tiny_prompts.parent), str(registry.folder), tempfile.gettempdir()]
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            content = path.read_text(encoding="utf-8")
            found = [place for place in places if place + "/" in content]
            # MLflow itself writes a logged model's place into MLmodel
            assert path.name == "MLmodel" or not found, path
    moved = shutil.copytree(folder, folder.with_name("moved"))
    shutil.rmtree(folder)
    assert pairlock.load(str(moved), golden=True)


def test_the_version_carries_what_an_audit_needs(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Version and logged model carry digest, kind, dimension and base as tags."""
    own = pairlock.load(packaged("linear"))
    found = shared_registry.client.get_model_version("linear", "1")
    model = shared_registry.client.get_logged_model(found.source.removeprefix("models:/"))
    for tags in (found.tags, model.tags):
        assert tags["pairlock.package_digest"] == own.package_digest
        assert tags["pairlock.kind"] == "linear"
        assert tags["pairlock.dimension"] == "32"
        assert tags["pairlock.base.uri"] == packaged("tiny_model")


def test_tags_and_metadata_of_the_caller_are_kept(tiny_model: Path, registry: Any) -> None:
    """A caller's tags and metadata are kept, and cannot replace the digest."""
    uri = registry.log(
        tiny_model,
        "tagged",
        tags={"team": "search", "pairlock.package_digest": "sha256:" + "0" * 64},
        metadata={"ticket": 7},
    )
    assert registry.client.get_model_version("tagged", "1").tags["team"] == "search"
    assert mlflow.models.get_model_info(uri).metadata == {"ticket": 7}
    assert pairlock.load(uri)


def test_the_flavor_works_in_mlflow_s_own_manner(tiny_model: Path, registry: Any) -> None:
    """log_model of the flavor returns MLflow's ModelInfo, and load_model loads its URI."""
    info = flavor.log_model(tiny_model, name="mine", registered_model_name="mine")
    assert info.registered_model_version in {1, "1"}
    assert set(info.flavors) == {"python_function", flavor.FLAVOR_NAME}
    own = flavor.load_model(info.model_uri)
    assert own.get_query_embedding(QUERY) == vector("models:/mine/1")


def test_a_package_saved_to_a_folder_loads(
    tiny_model: Path, linear_adapter: Path, tmp_path: Path, registry: Any
) -> None:
    """save_model writes a package that Pairlock and MLflow load, without any registry."""
    flavor.save_model(tiny_model, tmp_path / "deep" / "full")
    flavor.save_model(linear_adapter, tmp_path / "adapter", base=str(tmp_path / "deep" / "full"))
    own = pairlock.load(str(tmp_path / "adapter"), golden=True)
    served = mlflow.pyfunc.load_model(str(tmp_path / "adapter"))
    assert served.predict(["card"], params={"role": "query"}).tolist() == [
        own.get_query_embedding("card")
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "registry") == [
        "adapter",
        "deep",
    ]


def test_logging_outside_a_run_makes_no_run(tiny_model: Path, registry: Any) -> None:
    """A package is logged without leaving a run behind."""
    registry.log(tiny_model, "runless")
    assert mlflow.active_run() is None
    assert registry.client.search_runs(["0"]) == []
