"""What tests of the onnx runtime share: texts by chance, and how torch and a graph compare."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rfc8785
from numpy.typing import NDArray

import pairlock
from pairlock.manifest.compiled import Compiled, read_compiled
from support.registries import package_folder

BAR = 1e-8
RUNTIME = "payload/runtimes/onnx"
NO_GRAPH = "the onnx runtime cannot run this model"

_WORDS = [
    "how",
    "do",
    "i",
    "get",
    "my",
    "money",
    "back",
    "refund",
    "invoice",
    "payment",
    "card",
    "the",
    "of",
    "and",
    "a",
    "to",
    "is",
    "as",
    "query",
    "document",
    "PayPal",
    "PAYPAL",
    "über",
    "naïve",
    "请问",
    "返金",
    "😡",
    "42",
    "€1,234.56",
    "\t",
    "(",
    ")",
    "unbelievable",
]


def chance_texts(count: int = 50, *, seed: int = 3) -> list[str]:
    """Texts of no word to many more than any tiny model reads."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=chance.randrange(0, 90))) for _ in range(count)]


def chance_batches(texts: list[str], *, seed: int = 5) -> list[list[str]]:
    """Texts in batches of one to eight."""
    chance, batches, start = random.Random(seed), [], 0
    while start < len(texts):
        size = chance.randrange(1, 9)
        batches.append(texts[start : start + size])
        start += size
    return batches


def assert_alike(expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    """Two sets of vectors are the same within the bars; a vector of zeros equals itself."""
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    assert a.shape == b.shape
    assert np.isfinite(b).all()
    norms = [np.linalg.norm(vectors, axis=1) for vectors in (a, b)]
    assert np.allclose(*norms, rtol=1e-5, atol=1e-9)
    a, b = (v / np.where(n > 0, n, 1)[:, None] for v, n in zip((a, b), norms, strict=True))
    assert float(((a - b) ** 2).sum(axis=1).max() / 2) <= BAR


def assert_as_torch(uri: str, **options: Any) -> None:
    """The graph of a package computes what torch does, in both roles, whatever texts are beside."""
    texts = chance_texts()
    torch = pairlock.load(uri, runtime="torch", interface="callable", dtype="float32", **options)
    lean = pairlock.load(uri, runtime="onnx", interface="callable", golden=True, **options)
    for role in ("query", "text"):
        batches = [lean(batch, role=role) for batch in chance_batches(texts)]
        assert_alike(torch(texts, role=role), np.concatenate(batches))


def log(registry: Any, model: object, name: str, **options: Any) -> tuple[str, str | None]:
    """Package a model for both runtimes; its URI, and why it has no graph where it has none."""
    folder = str(model) if isinstance(model, Path) else model
    logged = pairlock.log_model(
        folder, registered_model_name=name, runtimes=("torch", "onnx"), **options
    )
    reasons = [text for text in logged.warnings if text.startswith(NO_GRAPH)]
    assert len(reasons) <= 1
    assert registry.versions(name)
    return logged.uri, reasons[0].partition(": ")[2] if reasons else None


def log_graph(registry: Any, model: object, name: str, **options: Any) -> str:
    """Package a model that has to get a graph; its URI."""
    uri, reason = log(registry, model, name, **options)
    assert reason is None, reason
    return uri


def compiled_of(uri: str) -> Compiled:
    """What a package says of its graph."""
    content = (package_folder(uri) / RUNTIME / "runtime.json").read_bytes()
    return read_compiled(content, where=uri)


def runtimes_of(uri: str) -> list[str]:
    """The runtimes that a package's manifest names."""
    found: list[str] = json.loads((package_folder(uri) / "pairlock.json").read_bytes())["runtimes"]
    return found


def square_what_it_gives(folder: Path) -> None:
    """Change a graph, and its document with it: it gives the square of every component."""
    path = folder / "graph.onnx.gz"
    model = onnx.load_from_string(gzip.decompress(path.read_bytes()))
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if output == name else output for output in node.output]
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "before"], [name]))
    content = model.SerializeToString()
    path.write_bytes(gzip.compress(content, mtime=0))
    document = json.loads((folder / "runtime.json").read_bytes())
    document["graph_bytes"] = len(content)
    (folder / "runtime.json").write_bytes(rfc8785.dumps(document))


def going_wrong(compile_graph: Callable[..., Compiled]) -> Callable[..., Compiled]:
    """An exporter whose graph computes something else than the model."""

    def wrong(source: Any, target: Path, texts: tuple[str, ...]) -> Compiled:
        made = compile_graph(source, target, texts)
        square_what_it_gives(target)
        return made

    return wrong
