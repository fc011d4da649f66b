"""Every place a base may come from: pinned by content, proved at load, refused when it differs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import mlflow
import pytest
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, NotFoundError, PairlockError
from pairlock.verification import Outcome
from support.adapters import computed
from support.faults import FOLDER_FAULTS, added, damaged
from support.hub_caches import COMMIT, fill_hub_cache
from support.memory import forget_models
from support.models import TEXTS
from support.registries import active, new_registry
from support.vectors import one_minus_cosine

ORIGINS = ("folder", "hub", "mlflow.sentence_transformers")


def pin_of(registry: Any, uri: str) -> dict[str, Any]:
    """The pin in an adapter's manifest."""
    return json.loads((registry.folder_of(uri) / "pairlock.json").read_bytes())["base"]


@dataclass(frozen=True)
class Based:
    """An adapter, and the folder in which its base's files lie."""

    uri: str
    base: str
    folder: Path


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    linear_adapter: Path,
) -> Iterator[dict[str, Any]]:
    """One registry with an adapter on a base of every origin."""
    root = tmp_path_factory.mktemp("bases")
    registry = new_registry(root / "registry", registry_template)
    folder = shutil.copytree(tiny_model, root / "folder")
    snapshot = fill_hub_cache(root / "hub", "org/tiny", tiny_model)
    with pytest.MonkeyPatch.context() as patched, active(registry.uri):
        patched.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root / "hub"))
        info = mlflow.sentence_transformers.log_model(
            SentenceTransformer(str(tiny_model), device="cpu"),
            name="theirs",
            registered_model_name="theirs",
            pip_requirements=[],
        )
        inside = registry.folder_of("models:/theirs/1") / "model.sentence_transformer"
        assert info.registered_model_version in {1, "1"}
        bases = {
            "folder": (str(folder), folder),
            "hub": (f"hf://org/tiny@{COMMIT}", snapshot),
            "mlflow.sentence_transformers": ("models:/theirs/1", inside),
        }
        found: dict[str, Any] = {"registry": registry}
        for origin, (base, files) in bases.items():
            name = origin.replace(".", "-")
            uri = registry.log(linear_adapter, name, base=base)
            found[origin] = Based(uri=uri, base=base, folder=files)
        yield found


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_adapter_on_a_base_of_any_origin_computes_what_was_trained(
    origin: str, place: dict[str, Any], tiny_model: Path, linear_adapter: Path
) -> None:
    """Wherever the base comes from, the vectors are those of the training code."""
    own = pairlock.load(place[origin].uri, golden=True)
    base = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS)
    queries = [own.get_query_embedding(text) for text in TEXTS]
    assert one_minus_cosine(queries, computed("linear", linear_adapter, base)) <= 1e-8
    assert one_minus_cosine(own.get_text_embedding_batch(TEXTS), base) <= 1e-8


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_pin_says_where_the_base_was_and_what_it_was(
    origin: str, place: dict[str, Any]
) -> None:
    """The pin records URI, origin, commit and every file of the base's model."""
    pin = pin_of(place["registry"], place[origin].uri)
    assert (pin["uri"], pin["origin"]) == (place[origin].base, origin)
    assert pin["revision"] == (COMMIT if origin == "hub" else None)
    assert pin["package_digest"] is None
    assert "model.safetensors" in {record["path"] for record in pin["files"]}
    assert pairlock.verify(place[origin].uri).passed


def refused(uri: str, place: str, kind: ErrorKind) -> None:
    """Load and verify refuse, and name the file."""
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert (place, kind) in {(found.place, found.kind) for found in caught.value.findings}
    verification = pairlock.verify(uri)
    base = next(check for check in verification.checks if check.name == "base")
    assert base.outcome is Outcome.FAILED
    assert (place, kind) in {(found.place, found.kind) for found in base.findings}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_damaged_file_of_the_base_is_refused(
    origin: str, fault: str, place: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever happens to whichever file of a base, the adapter does not load."""
    based, (damage, kind) = place[origin], FOLDER_FAULTS[fault]
    (tmp_path / "aside").mkdir()
    for record in pin_of(place["registry"], based.uri)["files"]:
        with damaged(based.folder / record["path"], damage, tmp_path / "aside"):
            refused(based.uri, record["path"], kind)
    assert pairlock.load(based.uri)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("path", ["vocab.txt", "1_Pooling/README.md", "added_tokens.json"])
def test_a_file_that_would_belong_to_the_base_is_refused(
    origin: str, path: str, place: dict[str, Any]
) -> None:
    """A file that was not there, and that the library would read, is refused."""
    with added(place[origin].folder / path, b"{}"):
        refused(place[origin].uri, path, ErrorKind.FILE_EXTRA)
    assert pairlock.load(place[origin].uri)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(
    "path", ["notes.txt", "optimizer.pt", "onnx/model.onnx", "adapter_config.json", "evil.py"]
)
def test_a_file_that_is_no_part_of_the_base_changes_nothing(
    origin: str, path: str, place: dict[str, Any]
) -> None:
    """What was never part of the model may lie beside it, and no library gets to see it."""
    before = pairlock.load(place[origin].uri).get_query_embedding("card")
    with added(place[origin].folder / path, b"{}"):
        assert pairlock.load(place[origin].uri, golden=True).get_query_embedding("card") == before


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_base_that_is_gone_is_reported_as_the_base(
    origin: str, place: dict[str, Any], tmp_path: Path
) -> None:
    """A base that is not there is a missing base; a copy of the same bytes is as good."""
    folder = place[origin].folder
    copy = shutil.copytree(folder, tmp_path / "copy")
    folder.rename(tmp_path / "gone")
    try:
        for act in (pairlock.load, pairlock.verify):
            with pytest.raises(NotFoundError) as caught:
                act(place[origin].uri)
            assert caught.value.kind is ErrorKind.BASE_NOT_FOUND
        assert pairlock.load(place[origin].uri, base=str(copy))
    finally:
        (tmp_path / "gone").rename(folder)


def test_a_base_reached_through_a_view_leaves_nothing_behind(
    place: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary view of a bare base is removed, and the embedding does not need it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = pairlock.load(place["folder"].uri)
    assert list(tmp_path.iterdir()) == []
    assert own.get_query_embedding("card")
    forget_models()
    (tmp_path / "aside").mkdir()
    damage, _ = FOLDER_FAULTS["missing"]
    with (
        damaged(place["folder"].folder / "config.json", damage, tmp_path / "aside"),
        pytest.raises(IntegrityError),
    ):
        pairlock.load(place["folder"].uri)
    (tmp_path / "aside").rmdir()
    assert list(tmp_path.iterdir()) == []


def test_an_alias_is_resolved_once(
    tiny_model: Path, tiny_other: Path, linear_adapter: Path, registry: Any
) -> None:
    """An adapter logged on an alias stays on the version that the alias meant then."""
    registry.log(tiny_model, "base")
    registry.client.set_registered_model_alias("base", "production", "1")
    logged = pairlock.log_model(
        linear_adapter, base="models:/base@production", registered_model_name="pinned"
    )
    before = pairlock.load(logged.uri).get_query_embedding("card")
    registry.log(tiny_other, "base")
    registry.client.set_registered_model_alias("base", "production", "2")
    pin = pin_of(registry, logged.uri)
    assert logged.base_uri == pin["uri"] == "models:/base/1"
    assert pin["requested"] == "models:/base@production"
    assert pairlock.load(logged.uri).get_query_embedding("card") == before


def test_a_stage_is_resolved_once(tiny_model: Path, linear_adapter: Path, registry: Any) -> None:
    """An adapter logged on a legacy stage is pinned to the version in it."""
    registry.log(tiny_model, "base")
    registry.client.transition_model_version_stage("base", "1", "Production")
    logged = pairlock.log_model(
        linear_adapter, base="models:/base/production", registered_model_name="staged"
    )
    registry.client.transition_model_version_stage("base", "1", "Archived")
    assert logged.base_uri == "models:/base/1"
    assert pairlock.load(logged.uri)


@pytest.mark.parametrize(
    "base", ["hf://org/tiny", "hf://org/tiny@main", "hf://org/tiny@0123456", "models:/base/latest"]
)
def test_a_base_that_can_move_is_refused(base: str, linear_adapter: Path, registry: Any) -> None:
    """A branch, a short commit, no commit and "latest" are refused."""
    with pytest.raises(pairlock.InvalidInputError) as caught:
        registry.log(linear_adapter, "moving", base=base)
    assert caught.value.kind is ErrorKind.REFERENCE_INVALID


def test_a_snapshot_that_is_in_no_cache_is_an_error(
    linear_adapter: Path, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a hub and without a cached copy there is no base."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(NotFoundError) as caught:
        registry.log(linear_adapter, "absent", base=f"hf://org/absent@{COMMIT}")
    assert caught.value.kind is ErrorKind.HUB_SNAPSHOT_NOT_FOUND


def test_instructions_that_llama_index_knows_by_name_are_recorded(
    tiny_model: Path,
    linear_adapter: Path,
    registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hub base gets the prefix that LlamaIndex trains with; a copy in a folder gets none."""
    repository = "BAAI/bge-small-en"
    fill_hub_cache(tmp_path / "hub", repository, tiny_model)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    own = pairlock.load(registry.log(linear_adapter, "known", base=f"hf://{repository}@{COMMIT}"))
    theirs = AdapterEmbeddingModel(
        HuggingFaceEmbedding(repository, device="cpu", cache_folder=str(tmp_path / "hub")),
        str(linear_adapter),
        device="cpu",
    )
    unknown = pairlock.load(registry.log(linear_adapter, "unknown", base=str(tiny_model)))
    query = own.get_query_embedding(TEXTS[0])
    assert one_minus_cosine(query, theirs.get_query_embedding(TEXTS[0])) <= 1e-8
    assert one_minus_cosine(query, unknown.get_query_embedding(TEXTS[0])) > 1e-4


def test_an_mlflow_model_of_another_flavor_is_no_base(linear_adapter: Path, registry: Any) -> None:
    """A pyfunc model without a Sentence-Transformers model inside is refused."""
    mlflow.pyfunc.log_model(
        name="other",
        python_model=lambda texts: [len(text) for text in texts],
        registered_model_name="other",
        pip_requirements=[],
    )
    with pytest.raises(PairlockError) as caught:
        registry.log(linear_adapter, "wrong", base="models:/other/1")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_a_packaged_base_may_stand_in_for_a_folder(
    place: dict[str, Any], tiny_model: Path, make_digest: Callable[[str], str]
) -> None:
    """The same bytes in a package are accepted where a folder was pinned."""
    uri = place["registry"].log(tiny_model, "mirror")
    own = pairlock.load(place["folder"].uri, base=uri)
    base = pairlock.receipt(own).base
    assert base is not None
    assert base.package_digest == make_digest(uri)


@pytest.fixture
def make_digest() -> Callable[[str], str]:
    """The package digest of a model."""
    return lambda uri: pairlock.receipt(pairlock.load(uri)).package_digest
