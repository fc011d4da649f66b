"""Reading a model's weights: safetensors, tools that stream weights, and Pairlock's mapping.

Every side turns MiniLM's 91 MB, in the page cache, into tensors and adds up each of them, so that
no side leaves bytes unread; in one process with everything imported, and in a fresh process. These
tools are made for many GB, slow disks and GPUs: the second table shows how little of a small
model's start its weights are.

Needs the extra `bench` (pip install -e '.[dev,bench]'); a tool that is not there is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measure import interleave, process, report, timed, versions
from samples import minilm

SAFETENSORS = "safetensors, torch"


def with_safetensors(path: str) -> None:
    from safetensors.torch import load_file

    for tensor in load_file(path).values():
        tensor.sum()


def with_pairlock(path: str) -> None:
    from pairlock_flavors.onnx_runtime.weights import SafetensorsFile

    file = SafetensorsFile(Path(path))
    for name, tensor in file.tensors.items():
        if tensor.dtype == "F32":
            file.float32(name).sum()


def with_runai(path: str) -> None:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path)
        for _, tensor in streamer.get_tensors():
            tensor.sum()


def with_fastsafetensors(path: str) -> None:
    from fastsafetensors import fastsafe_open

    # `nogds`: without GPUDirect Storage, which needs an NVIDIA GPU
    with fastsafe_open(filenames=[path], nogds=True, device="cpu") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            file.get_tensor(name).sum()


def with_tensorizer(path: str) -> None:
    from tensorizer import TensorDeserializer

    with TensorDeserializer(f"{path}.tensors", device="cpu") as tensors:
        for name in tensors:
            tensors[name].sum()


SIDES: dict[str, tuple[str, Callable[[str], None]]] = {
    SAFETENSORS: ("safetensors", with_safetensors),
    "pairlock, mapped": ("pairlock", with_pairlock),
    "Run:ai model streamer": ("runai_model_streamer", with_runai),
    "fastsafetensors": ("fastsafetensors", with_fastsafetensors),
    "tensorizer": ("tensorizer", with_tensorizer),
}
"""The package that each side needs, and what it does."""


def prepare(folder: str) -> str:
    """MiniLM's weights in a folder of their own, and as tensorizer's file where it is there."""
    path = f"{folder}/model.safetensors"
    Path(path).write_bytes((Path(minilm()) / "model.safetensors").read_bytes())
    if find_spec("tensorizer") is not None:
        from safetensors.torch import load_file
        from tensorizer import TensorSerializer

        serializer = TensorSerializer(f"{path}.tensors")
        serializer.write_state_dict(load_file(path))
        serializer.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, path = arguments.child
        SIDES[name][1](path)
        return
    there = {name for name, (package, _) in SIDES.items() if find_spec(package) is not None}
    for name in SIDES.keys() - there:
        print(f"left out, not installed: {name}")
    with tempfile.TemporaryDirectory() as folder:
        path = prepare(folder)
        inside = {
            name: partial(timed, partial(run, path))
            for name, (_, run) in SIDES.items()
            if name in there
        }
        print(versions("torch", "safetensors"))
        report(
            "91 MB of weights, in one process", interleave(inside, arguments.rounds), SAFETENSORS
        )
        fresh = {name: partial(process, [__file__, "--child", name, path]) for name in inside}
        report("… in a fresh process", interleave(fresh, arguments.rounds), SAFETENSORS)


if __name__ == "__main__":
    main()
