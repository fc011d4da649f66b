"""How long it takes to package and register MiniLM, against MLflow's own flavor.

Sides, in turn in one process with everything imported: `pairlock.log_model` with a graph for
onnxruntime and without one, of MiniLM and of a linear adapter on it; and MLflow's own
Sentence-Transformers flavor on the loaded model, with its requirements given; `--infer` also lets
it infer them, as it does by default. Pairlock records golden vectors and loads what it made once
more, to prove it; MLflow's flavor saves and copies.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from measure import interleave, report, timed, versions
from samples import log, log_theirs, minilm, save_linear
from sentence_transformers import SentenceTransformer

import pairlock

MLFLOW = "mlflow, requirements given"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--infer", action="store_true", help="also let MLflow infer requirements")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        save_linear(f"{folder}/linear")
        base = log(minilm(), "base")
        model = SentenceTransformer(minilm(), device="cpu")

        def ours(source: str, name: str, base: str | None, *runtimes: str) -> None:
            pairlock.log_model(source, base=base, registered_model_name=name, runtimes=runtimes)

        calls: dict[str, Callable[[], object]] = {
            MLFLOW: partial(log_theirs, model),
            "pairlock": partial(ours, minilm(), "full", None, "torch", "onnx"),
            "pairlock, no graph": partial(ours, minilm(), "full", None, "torch"),
            "pairlock, adapter": partial(ours, f"{folder}/linear", "linear", base, "torch", "onnx"),
            "pairlock, adapter, no graph": partial(
                ours, f"{folder}/linear", "linear", base, "torch"
            ),
        }
        if arguments.infer:
            calls["mlflow, requirements inferred"] = lambda: mlflow.sentence_transformers.log_model(
                model, name="inferred", registered_model_name="inferred"
            )
        sides = {name: partial(timed, call) for name, call in calls.items()}
        found = interleave(sides, arguments.rounds)
    print(versions("mlflow", "torch", "onnx", "onnxscript"))
    report("packaging and registering MiniLM", found, MLFLOW)


if __name__ == "__main__":
    main()
