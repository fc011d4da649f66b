"""Load packages in an installation without torch, and compare vectors with torch's.

Run by scripts/check_wheel, by the interpreter of that installation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

ABSENT = ("torch", "transformers", "sentence-transformers", "mlflow", "peft", "onnx", "onnxscript")
"""Distributions that the extra must not bring."""

UNWANTED = {*(name.replace("-", "_") for name in ABSENT), "huggingface_hub", "pandas"}
"""Modules that no load may import, also where another library's dependencies brought them."""

LLAMA_INDEX = {"llama_index", "sqlalchemy", "requests"}
"""LlamaIndex, and what it imports itself; a callable does without."""

BAR = 1e-8
"""Largest 1 - cosine of any text."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expected", type=Path, help="what scripts/serving/make.py wrote")
    parser.add_argument("--folders", action="store_true", help="load folders, not the registry's")
    arguments = parser.parse_args()
    check_installation()
    expected = json.loads(arguments.expected.read_text(encoding="utf-8"))
    texts, models = expected["texts"], expected["models"]
    worst = 0.0
    for interface in ("callable", "llama_index"):
        for name in ("full", "linear", "lora"):
            facts = models[name]
            found = load(facts, models, interface, from_folder=arguments.folders)
            worst = max(worst, deviation(vectors_of(found, texts), facts))
        check_modules(UNWANTED if interface == "llama_index" else UNWANTED | LLAMA_INDEX)
    check_refusal(models["bare"], from_folder=arguments.folders)
    print(f"full, linear and lora, as callable and as embedding: 1 - cosine at most {worst:.1e}")


def check_installation() -> None:
    """Prove that this is an installation without torch, of a wheel."""
    for distribution in ABSENT:
        module = distribution.replace("-", "_")
        assert importlib.util.find_spec(module) is None, f"{module} can be imported"
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        raise AssertionError(f"{distribution} {found} is installed")
    import pairlock

    assert Path(pairlock.__file__).is_relative_to(sys.prefix), pairlock.__file__


def load(facts: Any, models: Any, interface: str, *, from_folder: bool) -> Any:
    """A package, with its golden vectors recomputed."""
    import pairlock

    base = facts["base"]
    found = pairlock.load(
        facts["folder"] if from_folder else facts["uri"],
        interface=interface,
        base=models[base]["folder"] if from_folder and base else None,
        golden=True,
    )
    receipt = pairlock.receipt(found)
    assert receipt.runtime == "onnx", receipt.runtime
    assert receipt.package_digest == facts["digest"]
    assert any(check.name == "golden vectors" for check in receipt.checks), receipt.checks
    return found


def vectors_of(found: Any, texts: list[str]) -> dict[str, list[Any]]:
    """Vectors of the texts in each role."""
    if callable(getattr(found, "get_query_embedding", None)):
        return {
            "query": [found.get_query_embedding(text) for text in texts],
            "text": found.get_text_embedding_batch(texts),
        }
    return {role: found(texts, role=role) for role in ("query", "text")}


def deviation(found: dict[str, list[Any]], facts: Any) -> float:
    """Largest 1 - cosine between vectors and torch's."""
    import numpy as np

    worst = 0.0
    for role, vectors in found.items():
        a, b = (np.asarray(one, dtype=np.float64) for one in (vectors, facts[role]))
        assert a.shape == b.shape, (a.shape, b.shape)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        worst = max(worst, float((1 - (a * b).sum(axis=1) / norms).max()))
        assert worst <= BAR, (role, worst)
        assert np.abs(a - b).max() <= 2e-6, role
    return worst


def check_refusal(facts: Any, *, from_folder: bool) -> None:
    """A package without a graph says what it needs."""
    import pairlock

    try:
        pairlock.load(facts["folder"] if from_folder else facts["uri"])
    except pairlock.UnavailableError as error:
        assert error.kind == pairlock.ErrorKind.LIBRARY_MISSING, error.kind
        assert "pairlock[torch]" in error.hint, error.hint
    else:
        raise AssertionError("a package without a graph was loaded")


def check_modules(unwanted: set[str]) -> None:
    """Prove what was not imported."""
    found = sorted({name.partition(".")[0] for name in sys.modules} & unwanted)
    assert not found, f"imported: {', '.join(found)}"


if __name__ == "__main__":
    main()
