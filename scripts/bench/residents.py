"""What adapters cost beside their base: memory of twenty, and the time to load a second one.

Memory is the resident set of a process of its own that loads MiniLM, ten LoRAs and ten linear
adapters on it, less that of a process that loads MiniLM alone; and, beside it, how often the same
comes out when every adapter is loaded with a base of its own by the field's libraries. Times are of
one process: the first adapter with everything that it imports and reads, the first with all
libraries imported, and the second. In the onnx runtime: the sessions in memory, and what each kind
adds; a LoRA there has the matrices that it changes merged, and a session of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from samples import log, minilm, save_linear, save_loras

COPIES = 10
KINDS = ("linear", "lora")


def prepare(folder: str) -> None:
    """MiniLM, and ten different adapters of each kind on it."""
    log(minilm(), "minilm")
    saved = {kind: [f"{folder}/{kind}-{number}" for number in range(COPIES)] for kind in KINDS}
    for seed, name in enumerate(saved["linear"]):
        save_linear(name, seed)
    save_loras(saved["lora"])
    for folders in saved.values():
        for name in folders:
            log(name, Path(name).name, "models:/minilm/1")


def names() -> list[str]:
    """The twenty adapters."""
    return [f"{kind}-{number}" for number in range(COPIES) for kind in KINDS]


def resident_bytes() -> int:
    """Memory of this process that is really there, without what its allocator keeps for later."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc's; other allocators keep less
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def child_memory(folder: str) -> dict[str, float]:
    """In a process of its own: bytes before and after the adapters."""
    import torch

    import pairlock

    torch.set_num_threads(1)
    warm = pairlock.load("models:/lora-0/1", merge=False)  # libraries, and what they keep for good
    warm.get_query_embedding("warm")
    pairlock.load("models:/linear-0/1").get_query_embedding("warm")
    del warm
    idle = resident_bytes()
    base = pairlock.load("models:/minilm/1")
    base.get_query_embedding("warm")
    alone = resident_bytes()
    loaded = [pairlock.load(f"models:/{name}/1", merge=False) for name in names()]
    for embedding in loaded:
        embedding.get_query_embedding("warm")
    (shared,) = pairlock.resident()
    own = sum(
        path.stat().st_size
        for name in names()
        for path in (Path(folder) / name).iterdir()
        if path.name in {"adapter_model.safetensors", "pytorch_model.bin"}
    )
    return {
        "base": shared.weights_bytes,
        "own": own,
        "base_rss": alone - idle,
        "added": resident_bytes() - alone,
    }


def child_times() -> dict[str, float]:
    """In a process of its own: seconds of a first adapter, of one on a new base, of a second."""
    start = time.perf_counter()
    import pairlock

    first = pairlock.load("models:/lora-0/1", merge=False)
    cold = time.perf_counter() - start
    pairlock.load("models:/linear-0/1")
    del first
    start = time.perf_counter()
    held = pairlock.load("models:/lora-1/1", merge=False)
    warm = time.perf_counter() - start
    seconds = {"cold": cold, "warm": warm}
    for kind in ("lora", "linear"):
        taken = []
        for number in range(2, COPIES):
            start = time.perf_counter()
            pairlock.load(f"models:/{kind}-{number}/1", merge=False)
            taken.append(time.perf_counter() - start)
        seconds[kind] = statistics.median(taken)
    del held
    return seconds


def child_onnx() -> dict[str, float]:
    """In a process of its own: memory and time of ten adapters of each kind in the onnx runtime."""
    import pairlock

    start = time.perf_counter()
    base = pairlock.load("models:/minilm/1", runtime="onnx")
    base.get_query_embedding("warm")
    found = {"first": time.perf_counter() - start}
    held = [base]
    for kind in KINDS:
        before, taken = resident_bytes(), []
        for number in range(COPIES):
            start = time.perf_counter()
            held.append(pairlock.load(f"models:/{kind}-{number}/1", runtime="onnx"))
            held[-1].get_query_embedding("warm")
            taken.append(time.perf_counter() - start)
        found[f"{kind} added"] = resident_bytes() - before
        found[f"{kind} each"] = statistics.median(taken)
        found[f"{kind} sessions"] = len(pairlock.resident())
    return found


def run_child(what: str, folder: str) -> dict[str, float]:
    """Run this script in another process and read its figures."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--child", what, "--folder", folder],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


CHILDREN: dict[str, Callable[[str], dict[str, float]]] = {
    "memory": child_memory,
    "times": lambda _: child_times(),
    "onnx": lambda _: child_onnx(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=tuple(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        prepare(folder)
        memory = [run_child("memory", folder) for _ in range(arguments.rounds)]
        times = [run_child("times", folder) for _ in range(arguments.rounds)]
        onnx = [run_child("onnx", folder) for _ in range(arguments.rounds)]
    base, own = memory[0]["base"], memory[0]["own"]
    added = statistics.median(found["added"] for found in memory)
    print(
        f"base: {base / 1e6:.1f} MB of weights; {2 * COPIES} adapters: {own / 1e6:.1f} MB of files"
    )
    print(f"memory that the adapters added: {added / 1e6:.1f} MB")
    print(f"(base + added) / (base + own): {(base + added) / (base + own):.3f}")
    for kind in ("lora", "linear"):
        for first in ("cold", "warm"):
            ratio = statistics.median(found[kind] / found[first] for found in times)
            print(f"a second {kind} adapter / the first adapter, {first}: {100 * ratio:.1f} %")
    print(f"\nonnx runtime, MiniLM and {COPIES} adapters of each kind, with a vector of each")
    for kind in KINDS:
        middle = {
            name: statistics.median(one[f"{kind} {name}"] for one in onnx)
            for name in ("added", "each", "sessions")
        }
        ratio = statistics.median(one[f"{kind} each"] / one["first"] for one in onnx)
        print(
            f"{kind}: {middle['added'] / 1e6:.1f} MB added, {middle['sessions']:.0f} sessions in "
            f"all; an adapter takes {1000 * middle['each']:.0f} ms, {100 * ratio:.1f} % of the base"
        )


if __name__ == "__main__":
    main()
