"""Where the time of a cold `pairlock.load` goes: by step, and by what is imported.

The first table is of one process after another: what the main thread spends in each step, without
the steps inside it, and what is left beside them. Where imports go on in a thread, `wait` is what
was left of them when the rest was done. The second table, of processes that Python reports its
imports from, adds up the time of every package's own modules; reporting makes them slower, and
packages that are imported beside each other slow each other, so it says what to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from samples import register

STEPS = """
import sys, time
start = time.perf_counter()
import functools, importlib, json, threading
spent, inside = {}, [0.0]

def step(name, function):
    @functools.wraps(function)
    def timed(*args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        inside.append(0.0)
        before = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            taken = time.perf_counter() - before
            spent[name] = spent.get(name, 0.0) + taken - inside.pop()
            inside[-1] += taken
    return timed

def watch(name, module, attribute):
    owner, _, attribute = attribute.rpartition(".")
    holder = sys.modules[module]
    holder = getattr(holder, owner) if owner else holder
    setattr(holder, attribute, step(name, getattr(holder, attribute)))

def opening(name):
    module = importlib.import_module(name)
    if name in RUNTIME_STEPS:
        for found in RUNTIME_STEPS.pop(name):
            watch(*found)
    return module

RUNTIME_STEPS = {
    "pairlock_flavors.onnx_runtime.open": [
        ("session", "pairlock_flavors.onnx_runtime.assemble", "Session"),
        ("tokenizer", "pairlock_flavors.onnx_runtime.assemble", "TextTokenizer"),
        ("adapter", "pairlock_flavors.onnx_runtime.assemble", "Layer"),
        ("receipt", "pairlock_flavors.onnx_runtime.open", "make_receipt"),
        ("proof of the adapter", "pairlock_flavors.onnx_runtime.open", "check_adapter"),
    ],
    "pairlock_flavors.torch_runtime.open": [
        ("model", "pairlock_flavors.torch_runtime.open", "assemble"),
        ("receipt", "pairlock_flavors.torch_runtime.open", "make_receipt"),
    ],
}
uri, runtime, interface = sys.argv[1:]
load = step("import pairlock", lambda: importlib.import_module("pairlock").load)()
def flavors():
    importlib.import_module("pairlock_flavors.loading")
step("import the rules", flavors)()
watch("resolution", "pairlock_flavors.loading", "resolve")
watch("proof of the files", "pairlock_flavors.loading", "prove")
threading.Thread.join = step("wait for imports in the thread", threading.Thread.join)
loading = sys.modules["pairlock_flavors.loading"]
loading.import_module = step("import the runtime", opening)
def ask(found):
    return found(["hello"]) if interface == "callable" else found.get_query_embedding("hello")
def whole():
    step("first vector", ask)(load(uri, runtime=runtime, interface=interface))
step("the rest", whole)()
print(json.dumps([time.perf_counter() - start, spent]))
"""
PLAIN = """
import sys, pairlock
uri, runtime, interface = sys.argv[1:]
found = pairlock.load(uri, runtime=runtime, interface=interface)
found(["hello"]) if interface == "callable" else found.get_query_embedding("hello")
"""


def steps(arguments: list[str], rounds: int) -> None:
    """Print the first table."""
    totals, by_step = [], defaultdict(list)
    for number in range(rounds + 1):
        total, spent = json.loads(run(["-c", STEPS, *arguments]).stdout.splitlines()[-1])
        if number > 0:
            totals.append(total)
            for name, seconds in spent.items():
                by_step[name].append(seconds)
    whole = statistics.median(totals)
    for name, values in by_step.items():
        middle = statistics.median(values)
        print(f"  {name:<32}{1000 * middle:9.1f} ms  {middle / whole:6.1%}")
    print(f"  {'all, after the start of Python':<32}{1000 * whole:9.1f} ms")


def imports(arguments: list[str], rounds: int, shown: int) -> None:
    """Print the second table."""
    by_package: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        found: dict[str, float] = defaultdict(float)
        for line in run(["-X", "importtime", "-c", PLAIN, *arguments]).stderr.splitlines():
            if line.startswith("import time:") and "self [us]" not in line:
                own, _, name = line.removeprefix("import time:").split("|")
                found[name.strip().partition(".")[0]] += int(own) / 1e6
        for name, seconds in found.items():
            by_package[name].append(seconds)
    middles = {name: statistics.median(values) for name, values in by_package.items()}
    first = sorted(middles, key=lambda name: -middles[name])[:shown]
    for name in first:
        print(f"  {name:<32}{1000 * middles[name]:9.1f} ms")
    print(f"  {'all modules':<32}{1000 * sum(middles.values()):9.1f} ms")


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python."""
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packages", type=int, default=12, help="how many packages are shown")
    parser.add_argument(
        "--uri", help="a registered model, in place of MiniLM in a registry of its own"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.uri:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
            os.chdir(folder)
            register(Path(folder))
        for uri in [arguments.uri] if arguments.uri else ["models:/minilm/1", "models:/linear/1"]:
            for runtime, interface in (
                ("torch", "llama_index"),
                ("onnx", "llama_index"),
                ("onnx", "callable"),
            ):
                print(f"\n{uri}, {runtime}, {interface}")
                steps([uri, runtime, interface], arguments.rounds)
                print(" imports by package")
                imports([uri, runtime, interface], arguments.rounds, arguments.packages)


if __name__ == "__main__":
    main()
