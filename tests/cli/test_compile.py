"""`pairlock compile` and `pairlock warm`: graphs that are made later, and proved at every load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
from typer.testing import CliRunner, Result

import pairlock
from pairlock.cli.app import app
from pairlock.digests import digest_bytes, record_file
from pairlock.errors import ErrorKind, IntegrityError, NotFoundError, PairlockError
from pairlock.manifest.format import LINKED_DOCUMENT, LINKED_FOLDER
from pairlock.manifest.linked import read_linked, write_linked
from pairlock_flavors.packaging.graphs import linking
from support.graphs import going_wrong, square_what_it_gives

MakeFolder = Callable[[str], Path]
TEXTS = ["how do I get my money back", "Refunds take five days.", ""]
TAG = "pairlock.graph.onnx.float32"


def run(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(arguments))


def compiled(uri: str, *arguments: str) -> dict[str, Any]:
    """What a graph that was made is said to be."""
    found = run("compile", uri, "--format", "json", *arguments)
    assert found.exit_code == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def vectors(uri: str, **options: Any) -> np.ndarray:
    """Vectors of some texts, as queries."""
    return pairlock.load(uri, interface="callable", **options)(TEXTS)


def error_of(uri: str, **options: Any) -> PairlockError:
    """Why a load in the onnx runtime is refused."""
    with pytest.raises(PairlockError) as caught:
        pairlock.load(uri, runtime="onnx", interface="callable", **options)
    return caught.value


def tags_of(registry: Any, name: str = "base") -> dict[str, str]:
    """All tags of a version."""
    found: dict[str, str] = registry.client.get_model_version(name, "1").tags
    return found


@pytest.fixture(scope="session")
def compiled_stock(tmp_path_factory: pytest.TempPathFactory, base_stock: Any) -> Any:
    """A registry whose models:/base/1 has a later graph."""
    from support.registries import active, copy_registry

    made = copy_registry(base_stock, tmp_path_factory.mktemp("compiled-stock") / "registry")
    with active(made.uri), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRLOCK_CACHE", str(tmp_path_factory.mktemp("compiled-cache")))
        compiled("models:/base/1")
    return made


@pytest.fixture
def linked(tmp_path: Path, compiled_stock: Any) -> Iterator[Any]:
    """A registry of its own with models:/base/1 and a later graph of it, and an empty cache."""
    from support.registries import active, copy_registry

    made = copy_registry(compiled_stock, tmp_path / "registry")
    with active(made.uri):
        yield made


def graph_folder(registry: Any) -> Path:
    """Where the later graph of models:/base/1 lies."""
    digest = tags_of(registry)[TAG].removeprefix("sha256:")
    return Path(registry.folder_of("models:/base/1")) / LINKED_FOLDER / digest


def test_a_version_gets_a_graph_and_stays_what_it_was(logged_base: Any) -> None:
    """The graph computes the version's vectors; its package and digest do not change."""
    before = pairlock.pull("models:/base/1").package.digest
    assert error_of("models:/base/1").kind is ErrorKind.RUNTIME_MISSING
    made = compiled("models:/base/1")
    assert made["stored_as"] == TAG
    assert tags_of(logged_base)[TAG] == made["graph_digest"]
    found = vectors("models:/base/1", runtime="onnx", expected_digest=before)
    np.testing.assert_allclose(found, vectors("models:/base/1", runtime="torch"), atol=2e-6)
    assert run("verify", "models:/base/1").exit_code == 0


def test_an_adapter_gets_a_graph_over_its_base(logged_adapter: Any) -> None:
    """Neither the adapter's package nor the base's had one."""
    compiled("models:/support/1")
    found = vectors("models:/support/1", runtime="onnx")
    np.testing.assert_allclose(found, vectors("models:/support/1", runtime="torch"), atol=2e-6)


def test_a_later_graph_is_found_by_another_machine(linked: Any) -> None:
    """It lies beside the version, and a cache that has nothing brings it from there."""
    found = pairlock.load("models:/base/1", runtime="onnx", interface="callable")
    checks = {check.name for check in pairlock.receipt(found).checks}
    assert "golden vectors" in checks, "nobody promoted the graph"


def test_a_later_graph_is_known_offline(linked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was loaded nothing is asked for it."""
    before = vectors("models:/base/1", runtime="onnx")
    shutil.rmtree(graph_folder(linked))
    found = vectors("models:/base/1", runtime="onnx", offline=True)
    np.testing.assert_array_equal(found, before)


def test_a_graph_that_computes_other_vectors_is_refused(linked: Any) -> None:
    """Whoever may set a tag can link a graph, but none that gives other vectors."""
    folder = graph_folder(linked)
    square_what_it_gives(folder)
    linked.client.set_model_version_tag("base", "1", TAG, _linked_again(folder))
    assert error_of("models:/base/1").kind is ErrorKind.GOLDEN


def test_a_later_graph_that_computes_other_vectors_is_not_kept(
    logged_base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that goes wrong is noticed at once: the version stays as it was."""
    monkeypatch.setattr(linking, "compile_graph", going_wrong(linking.compile_graph))
    before = tags_of(logged_base)
    found = run("compile", "models:/base/1")
    assert found.exit_code == 1
    assert "computes other vectors than were recorded" in found.stderr
    assert tags_of(logged_base) == before
    assert error_of("models:/base/1").kind is ErrorKind.RUNTIME_MISSING


def _linked_again(folder: Path) -> str:
    """Record the files of a graph as they are now; its new digest, by which the folder is named."""
    graph = read_linked((folder / LINKED_DOCUMENT).read_bytes(), where="it")
    files = tuple(record_file(folder, record.path) for record in graph.files)
    changed = replace(graph, files=files)
    (folder / LINKED_DOCUMENT).write_bytes(write_linked(changed))
    folder.rename(folder.parent / changed.digest[7:])
    return changed.digest


@pytest.mark.parametrize("name", ["graph.json", "graph.onnx.gz", "runtime.json"])
def test_a_byte_that_changed_in_the_store_is_noticed(name: str, linked: Any) -> None:
    """The tag names the document, and the document every file."""
    path = graph_folder(linked) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))
    assert isinstance(error_of("models:/base/1"), IntegrityError)


@pytest.mark.parametrize("name", ["graph.json", "graph.onnx.gz"])
def test_a_file_that_is_gone_is_said_to_be(name: str, linked: Any) -> None:
    """A graph that the version names and the store has not got is an error, and no other graph."""
    (graph_folder(linked) / name).unlink()
    assert isinstance(error_of("models:/base/1"), NotFoundError)


@pytest.mark.parametrize("digest", ["", "sha256:../../etc", "sha256:" + "AB" * 32, "nothing"])
def test_a_tag_that_is_no_digest_names_no_graph(digest: str, linked: Any) -> None:
    """A folder is looked for by the tag's text, so that it has to have the form of one."""
    linked.client.set_model_version_tag("base", "1", TAG, digest)
    assert error_of("models:/base/1").kind is ErrorKind.RUNTIME_MISSING


def test_a_graph_of_another_package_is_refused(linked: Any, tiny_other: Path) -> None:
    """A document that names another package does not stand for this one."""
    linked.log(tiny_other, "other")
    foreign = tags_of(linked)[TAG]
    folder = Path(linked.folder_of("models:/other/1")) / LINKED_FOLDER
    shutil.copytree(graph_folder(linked), folder / foreign[7:])
    linked.client.set_model_version_tag("other", "1", TAG, foreign)
    assert error_of("models:/other/1").kind is ErrorKind.RUNTIME_INVALID


def test_a_graph_may_stay_on_this_machine(
    logged_base: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --no-store the version is left alone, and only this cache has the graph."""
    made = compiled("models:/base/1", "--no-store")
    assert made["stored_as"] is None
    assert TAG not in tags_of(logged_base)
    assert vectors("models:/base/1", runtime="onnx").shape == (3, 32)
    monkeypatch.setenv("PAIRLOCK_CACHE", str(tmp_path / "another"))
    assert error_of("models:/base/1").kind is ErrorKind.RUNTIME_MISSING


def test_int8_is_asked_for_and_has_bars_of_its_own(logged_base: Any) -> None:
    """It is smaller and gives other vectors: within what was measured, and said on the receipt."""
    assert error_of("models:/base/1", dtype="int8").kind is ErrorKind.RUNTIME_MISSING
    made = compiled("models:/base/1", "--precision", "int8")
    assert 1e-8 < made["one_minus_cosine"] < made["bar"]
    found = pairlock.load("models:/base/1", runtime="onnx", dtype="int8", interface="callable")
    assert pairlock.receipt(found).dtype == "int8"
    exact = vectors("models:/base/1", runtime="torch")
    distances = 1 - (found(TEXTS) * exact).sum(axis=1)
    assert 0 < distances.max() < 0.1
    assert error_of("models:/base/1").kind is ErrorKind.RUNTIME_MISSING, "never by default"


def test_int8_beyond_its_bars_is_refused(logged_base: Any) -> None:
    """Where another processor rounds far more than was measured, nothing is loaded."""
    compiled("models:/base/1", "--precision", "int8")
    tag = "pairlock.graph.onnx.int8"
    folder = Path(logged_base.folder_of("models:/base/1")) / LINKED_FOLDER
    digest = tags_of(logged_base)[tag]
    document = json.loads((folder / digest[7:] / LINKED_DOCUMENT).read_bytes())
    document["bars"]["one_minus_cosine"] = 1e-12
    content = rfc8785.dumps(document)
    (folder / digest[7:] / LINKED_DOCUMENT).write_bytes(content)
    (folder / digest[7:]).rename(folder / digest_bytes(content)[7:])
    logged_base.client.set_model_version_tag("base", "1", tag, digest_bytes(content))
    assert error_of("models:/base/1", dtype="int8").kind is ErrorKind.GOLDEN


def test_what_a_graph_costs_in_retrieval_is_measured(logged_base: Any, tmp_path: Path) -> None:
    """The loss on a dataset is recorded with the graph."""
    dataset = tmp_path / "questions.json"
    texts = {f"t{number}": f"text number {number} of many" for number in range(8)}
    queries = {f"q{number}": f"number {number}" for number in range(8)}
    relevant = {f"q{number}": [f"t{number}"] for number in range(8)}
    document = {"queries": queries, "corpus": texts, "relevant_docs": relevant}
    dataset.write_text(json.dumps(document))
    made = compiled("models:/base/1", "--precision", "int8", "--dataset", str(dataset))
    retrieval = made["retrieval"]
    assert retrieval["metric"] == "ndcg@10"
    assert 0 < retrieval["torch"] <= 1
    assert 0 < retrieval["graph"] <= 1
    again = compiled("models:/base/1", "--precision", "int8")
    assert again["graph_digest"] != made["graph_digest"], "the figures are part of it"


def test_a_model_that_cannot_be_a_graph_is_told(registry: Any, tmp_path: Path) -> None:
    """Nothing is stored, and the hint names the runtime that does it."""
    from support import modules

    registry.log(modules.build("static", tmp_path / "parts"), "static")
    found = run("compile", "models:/static/1", "--format", "json")
    assert found.exit_code != 0
    assert json.loads(found.stdout)["error"]["kind"] == ErrorKind.KIND_UNSUPPORTED
    assert not [tag for tag in tags_of(registry, "static") if tag.startswith("pairlock.graph")]


def test_an_unknown_precision_is_refused(logged_base: Any) -> None:
    """Before anything is read."""
    with pytest.raises(PairlockError) as caught:
        pairlock.compile_version("models:/base/1", precision="int4")
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_warm_brings_all_that_a_later_load_needs(logged_adapter: Any) -> None:
    """Afterwards neither the store nor torch's files are read: the graph was made here, too."""
    found = run("warm", "models:/support/1", "--runtime", "onnx", "--format", "json")
    assert found.exit_code == 0, found.stderr
    (warmed,) = json.loads(found.stdout)["warmed"]
    assert warmed["compiled"]
    assert {check["name"] for check in warmed["receipt"]["checks"]} >= {"golden vectors"}
    before = vectors("models:/support/1", runtime="onnx")
    for uri in ("models:/support/1", "models:/base/1"):
        shutil.rmtree(logged_adapter.folder_of(uri))
    np.testing.assert_array_equal(vectors("models:/support/1", runtime="onnx"), before)


def test_warm_stops_at_the_first_that_is_wrong(logged_base: Any) -> None:
    """An image with a version that does not load is not built."""
    found = run("warm", "models:/base/1", "models:/nobody/1", "--runtime", "torch")
    assert found.exit_code == 3
    assert "models:/nobody/1" in found.stderr


def test_warm_says_how_large_an_image_is(logged_base: Any) -> None:
    """With torch and without, as far as it is installed here."""
    found = run("warm", "models:/base/1", "--runtime", "torch", "--sizes", "--format", "json")
    sizes = json.loads(found.stdout)["installed"]
    assert 0 < sizes["serve"]["bytes"] < sizes["torch"]["bytes"]
    assert sizes["serve"]["distributions"] < sizes["torch"]["distributions"]
