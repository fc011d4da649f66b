"""`pairlock verify` computes in the runtime of a load, and proves the graph beside torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock.promotion.rules.gates import GateOutcome, golden_gate
from pairlock.verification import GOLDEN, GRAPH, Outcome, Verification
from support.forgery import forge

BOTH = ("torch", "onnx")
GRAPH_FILE, DOCUMENT = "runtimes/onnx/graph.onnx.gz", "runtimes/onnx/runtime.json"


@pytest.fixture(scope="module")
def with_graph(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A package with a graph."""
    return saved(tiny_model, tmp_path_factory.mktemp("with-graph") / "package")


@pytest.fixture(scope="module")
def with_other_graph(tmp_path_factory: pytest.TempPathFactory, tiny_cls: Path) -> Path:
    """A package whose graph pools in another way, of tensors that lie at the same places."""
    return saved(tiny_cls, tmp_path_factory.mktemp("other-graph") / "package")


def saved(model: Path, folder: Path) -> Path:
    """A package of a model, made for both runtimes."""
    import pairlock_flavors.embedding as flavor

    flavor.save_model(str(model), folder, runtimes=BOTH)
    return folder


def outcomes(found: Verification) -> dict[str, Outcome]:
    """What each check came to."""
    return {check.name: check.outcome for check in found.checks}


def test_torch_and_the_graph_are_both_proved(with_graph: Path) -> None:
    """Where both runtimes are installed, verify computes by torch, and by the graph as well."""
    found = pairlock.verify(str(with_graph))
    assert found.passed
    assert outcomes(found) == dict.fromkeys(("package", GOLDEN, GRAPH), Outcome.PASSED)
    assert found.checks[-1].figures.keys() == {"query", "text"}
    assert golden_gate(found).outcome is GateOutcome.PASSED


def test_a_package_without_a_graph_has_no_such_check(tmp_path: Path, tiny_model: Path) -> None:
    """Nothing is said of a graph where a package was made for torch alone."""
    import pairlock_flavors.embedding as flavor

    flavor.save_model(str(tiny_model), tmp_path / "package", runtimes=("torch",))
    assert outcomes(pairlock.verify(str(tmp_path / "package"))).keys() == {"package", GOLDEN}


def test_a_graph_that_computes_other_vectors_is_a_finding(
    with_graph: Path, with_other_graph: Path, tmp_path: Path
) -> None:
    """Torch computes what was recorded, the graph does not: verify fails, and so does the gate."""
    files = {
        path: (with_other_graph / "payload" / path).read_bytes() for path in (GRAPH_FILE, DOCUMENT)
    }
    found = pairlock.verify(forge(with_graph, tmp_path / "forged", files))
    assert outcomes(found) == {
        "package": Outcome.PASSED,
        GOLDEN: Outcome.PASSED,
        GRAPH: Outcome.FAILED,
    }
    assert {one.kind for one in found.checks[-1].findings} == {pairlock.ErrorKind.GOLDEN}
    assert not found.passed
    assert golden_gate(found).outcome is GateOutcome.FAILED


@pytest.mark.parametrize("content", [b"", b"{}", b"no graph"])
def test_a_graph_that_cannot_be_run_is_a_finding(
    with_graph: Path, tmp_path: Path, content: bytes
) -> None:
    """A description or a graph that is none fails its check, and hides no other."""
    for number, path in enumerate((GRAPH_FILE, DOCUMENT)):
        found = pairlock.verify(forge(with_graph, tmp_path / str(number), {path: content}))
        assert outcomes(found)[GOLDEN] is Outcome.PASSED
        assert outcomes(found)[GRAPH] is Outcome.FAILED
        kinds = {one.kind for one in found.checks[-1].findings}
        assert kinds == {pairlock.ErrorKind.RUNTIME_INVALID}


def test_a_description_of_a_newer_release_is_not_looked_at(
    with_graph: Path, tmp_path: Path
) -> None:
    """A graph that this release cannot read keeps no version back that torch has proved."""
    document = json.loads((with_graph / "payload" / DOCUMENT).read_bytes())
    newer = {DOCUMENT: {**document, "format_version": 999}}
    found = pairlock.verify(forge(with_graph, tmp_path / "forged", newer))
    assert outcomes(found)[GRAPH] is Outcome.SKIPPED
    assert found.passed
    assert golden_gate(found).outcome is GateOutcome.PASSED


def test_the_runtime_that_is_asked_for_computes(
    with_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PAIRLOCK_RUNTIME=onnx the graph computes the golden vectors, and torch is not asked."""
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    found = pairlock.verify(str(with_graph))
    assert found.passed
    assert outcomes(found).keys() == {"package", GOLDEN}
    assert "onnxruntime" in found.checks[-1].detail


def test_a_runtime_that_cannot_prove_a_version_says_so(
    with_graph: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PAIRLOCK_RUNTIME=onnx a version without any graph could not be checked."""
    import pairlock_flavors.embedding as flavor

    flavor.save_model(str(tiny_model), tmp_path / "package", runtimes=("torch",))
    monkeypatch.setenv("PAIRLOCK_RUNTIME", "onnx")
    with pytest.raises(pairlock.NotFoundError) as caught:
        pairlock.verify(str(tmp_path / "package"))
    assert caught.value.kind is pairlock.ErrorKind.RUNTIME_MISSING


def test_adapters_on_a_base_in_a_folder_are_proved_by_their_graphs(
    registry: Any, tiny_model: Path, linear_adapter: Path
) -> None:
    """A graph of an adapter is proved on its base's files where they lie, in a plain folder."""
    uri = registry.log(linear_adapter, "support", base=str(tiny_model), runtimes=BOTH)
    assert outcomes(pairlock.verify(uri)) == dict.fromkeys(
        ("package", "base", GOLDEN, GRAPH), Outcome.PASSED
    )


def test_a_package_with_a_graph_pins_what_runs_it(with_graph: Path) -> None:
    """requirements.txt of a package with a graph also pins onnxruntime, tokenizers and numpy."""
    lines = (with_graph / "requirements.txt").read_text().splitlines()
    assert {"onnxruntime", "tokenizers", "numpy"} <= {line.partition("==")[0] for line in lines}
