"""From the start of a process to its first vector, with everything on this machine's disk.

Sides, each a fresh Python process that embeds one query: what people use today, and
`pairlock.load("models:/minilm/1")` of a registry in sqlite, which finds the version, proves every
file by size and SHA-256 or by its seal in the cache, and checks the adapter on recorded vectors.
Memory is the peak of the resident set until then. `--adapter` compares a linear adapter on MiniLM.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from measure import Bar, FirstVector, first_vector, interleave_starts, report, report_bars, versions
from plot import write_bars
from samples import minilm, register

HUGGINGFACE, MLFLOW = "HuggingFaceEmbedding(path)", "mlflow.sentence_transformers"
ADAPTER = "AdapterEmbeddingModel"
TORCH, ONNX, CALLABLE = "pairlock, torch", "pairlock, onnx", "pairlock, onnx, callable"

PAIRLOCK = """
import sys, pairlock
vector = pairlock.load(sys.argv[1], runtime=sys.argv[2]).get_query_embedding("hello")
"""
PAIRLOCK_CALLABLE = """
import sys, pairlock
vector = pairlock.load(sys.argv[1], runtime=sys.argv[2], interface="callable")(["hello"])[0]
"""
FULL = {
    HUGGINGFACE: """
import sys
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
model = HuggingFaceEmbedding(sys.argv[1], device="cpu", cache_folder=sys.argv[2])
vector = model.get_query_embedding("hello")
""",
    "resolve_embed_model('local:…')": """
import sys
from llama_index.core.embeddings import resolve_embed_model
vector = resolve_embed_model("local:" + sys.argv[1]).get_query_embedding("hello")
""",
    "Sentence-Transformers, path": """
import sys
from sentence_transformers import SentenceTransformer
vector = SentenceTransformer(sys.argv[1], device="cpu").encode("hello")
""",
    "Sentence-Transformers, hub cache": """
from sentence_transformers import SentenceTransformer
vector = SentenceTransformer("bench/minilm", device="cpu").encode("hello")
""",
    MLFLOW: """
import mlflow
vector = mlflow.sentence_transformers.load_model("models:/theirs/1").encode("hello")
""",
}
ADAPTED = {
    ADAPTER: """
import sys
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
base = HuggingFaceEmbedding(sys.argv[1], device="cpu", cache_folder=sys.argv[2])
model = AdapterEmbeddingModel(base, sys.argv[2] + "/linear", device="cpu")
vector = model.get_query_embedding("hello")
""",
}


def ours(name: str) -> dict[str, Callable[[], FirstVector]]:
    """Pairlock's sides for a registered model."""
    uri = f"models:/{name}/1"
    return {
        TORCH: partial(first_vector, PAIRLOCK, [uri, "torch"]),
        ONNX: partial(first_vector, PAIRLOCK, [uri, "onnx"]),
        CALLABLE: partial(first_vector, PAIRLOCK_CALLABLE, [uri, "onnx"]),
    }


def make_hub_cache(model: Path, hub: Path) -> None:
    """What `huggingface_hub` leaves when it has downloaded a model: blobs, and links to them."""
    folder = hub / "models--bench--minilm"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    for path in model.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, blob)
            link = folder / "snapshots" / commit / path.relative_to(model)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--adapter", action="store_true", help="a linear adapter, not MiniLM alone")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the seconds in")
    arguments = parser.parse_args()
    plot = arguments.plot and arguments.plot.resolve()
    theirs = ADAPTED if arguments.adapter else FULL
    reference = ADAPTER if arguments.adapter else HUGGINGFACE
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.environ["HF_HUB_CACHE"] = f"{folder}/hub"
        os.chdir(folder)  # MLflow keeps artifacts in the working directory
        register(Path(folder))
        make_hub_cache(Path(minilm()), Path(folder) / "hub")
        sides: dict[str, Callable[[], FirstVector]] = {
            name: partial(first_vector, code, [minilm(), folder]) for name, code in theirs.items()
        }
        sides |= ours("linear" if arguments.adapter else "minilm")
        seconds, megabytes = interleave_starts(sides, arguments.rounds, alike=list(sides))
    what = "a linear adapter on MiniLM" if arguments.adapter else "MiniLM"
    threads = f"{os.environ['OMP_NUM_THREADS']} thread"
    print(versions("mlflow", "sentence-transformers", "torch", "llama-index-core", "onnxruntime"))
    report(f"process start to first vector, {what}, {threads}", seconds, reference)
    report(f"peak memory until then, {what}", megabytes, reference, unit="MB")
    print()
    bars = [
        Bar(side=TORCH, against=reference, ratio=1.05),
        Bar(side=ONNX, against=reference, ratio=0.22),
        Bar(side=CALLABLE, against=reference, ratio=0.06),
    ]
    if not arguments.adapter:
        bars.append(Bar(side=TORCH, against=MLFLOW, ratio=0.8))
    kept = report_bars(seconds, bars, "time: ")
    kept &= report_bars(megabytes, [Bar(side=ONNX, against=reference, ratio=0.35)], "memory: ")
    if plot:
        title = f"Seconds from process start to the first vector, {what}"
        write_bars(plot, title, seconds, "seconds, median; the line spans all rounds")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
