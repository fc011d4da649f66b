"""Bulk throughput by batch size, and the latency of one query: onnxruntime against torch.

Sides: bare Sentence-Transformers with the same batch size; LlamaIndex's `HuggingFaceEmbedding`;
`pairlock.load` in both runtimes, as LlamaIndex embeddings. Each lives in a process of its own, with
`--threads` threads, and is asked in turn: in one process, the threads of one library go on spinning
while the next one works. A batch is what is handed over in one call. Ratios are times: below 1 is
faster than Sentence-Transformers. Texts are of 6 and of 120 words and up. Latency is of single
queries, `--block` of them one after the other before the next side's turn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np
from measure import Bar, Measured, interleave, report, report_bars, timed, versions
from plot import write_lines
from samples import log, minilm, passages, queries

BARE, WRAPPED = "Sentence-Transformers", "HuggingFaceEmbedding"
TORCH, ONNX = "pairlock, torch", "pairlock, onnx"
SIDES = (BARE, WRAPPED, TORCH, ONNX)


class Side:
    """One library with the model in memory, in a process of its own.

    Args:
        name: one of `SIDES`.
    """

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(name, theirs), daemon=True).start()
        self.ask("bulk", ["ready?"], 1)

    def ask(self, what: str, texts: list[str], size: int) -> list[float]:
        """Seconds of `bulk`, for all texts in batches of a size, or of each one of `single`."""
        self._pipe.send((what, texts, size))
        found: list[float] | Exception = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found


def _serve(name: str, pipe: Connection) -> None:
    """Answer what `Side.ask` asks, until the process that started this one ends."""
    bulk, single = _open(name)
    while True:
        try:
            what, texts, size = pipe.recv()
        except EOFError:
            return
        try:
            if what == "bulk":
                pipe.send([timed(partial(_in_batches, bulk, texts, size))])
            else:
                pipe.send([timed(partial(single, text)) for text in texts])
        except Exception as error:  # noqa: BLE001 - told there
            pipe.send(error)


def _open(name: str) -> tuple[Callable[[list[str], int], Any], Callable[[str], Any]]:
    """How a side embeds a batch, and a query."""
    if name == BARE:
        from sentence_transformers import SentenceTransformer

        bare = SentenceTransformer(minilm(), device="cpu")
        return (
            lambda some, size: bare.encode(some, batch_size=size).tolist(),
            lambda text: bare.encode(text).tolist(),
        )
    if name == WRAPPED:
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        model: Any = HuggingFaceEmbedding(minilm(), device="cpu", cache_folder=str(Path.cwd()))
    else:
        import pairlock

        runtime = "torch" if name == TORCH else "onnx"
        model = pairlock.load("models:/minilm/1", runtime=runtime)

    def bulk(some: list[str], size: int) -> Any:
        if name == WRAPPED:
            model.embed_batch_size = size
        return model.get_text_embedding_batch(some)

    return bulk, model.get_query_embedding


def _in_batches(embed: Callable[[list[str], int], Any], texts: list[str], size: int) -> None:
    """Embed texts, some in a call."""
    for start in range(0, len(texts), size):
        embed(texts[start : start + size], size)


def bulk(sides: dict[str, Side], texts: list[str], size: int, rounds: int) -> Measured:
    """Seconds of every side for all texts in batches of a size."""
    asked = {
        name: partial(lambda side: side.ask("bulk", texts, size)[0], side)
        for name, side in sides.items()
    }
    return interleave(asked, rounds)


def latencies(sides: dict[str, Side], asked: list[str], block: int) -> Measured:
    """Milliseconds of every query, asked of every side, some at a time."""
    for side in sides.values():
        side.ask("single", asked[:block], 1)
    found: Measured = {name: [] for name in sides}
    for start in range(0, len(asked), block):
        for name, side in sides.items():
            seconds = side.ask("single", asked[start : start + block], 1)
            found[name] += [1000 * value for value in seconds]
    return found


def report_latencies(found: Measured) -> bool:
    """Print percentiles, and whether the bar is kept."""
    print(f"\n{len(found[BARE])} queries, one at a time")
    print(f"{'':<24}{'p50 ms':>9}  {'p95 ms':>9}  {'ratio':>7}  {'ratio':>7}")
    p50, p95 = (
        {name: float(np.percentile(values, share)) for name, values in found.items()}
        for share in (50, 95)
    )
    for name in found:
        print(
            f"{name:<24}{p50[name]:9.2f}  {p95[name]:9.2f}  {p50[name] / p50[BARE]:7.3f}  "
            f"{p95[name] / p95[BARE]:7.3f}"
        )
    kept = True
    for name, by_side in (("p50", p50), ("p95", p95)):
        single = {side: [value] for side, value in by_side.items()}
        kept &= report_bars(single, [Bar(side=ONNX, against=BARE, ratio=0.4)], f"{name}: ")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--words", type=int, nargs="+", default=[6, 120])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--threads", type=int, default=cores, help=f"by default {cores}, all")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the throughput in")
    arguments = parser.parse_args()
    plot = arguments.plot and arguments.plot.resolve()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    kept, rates = True, {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        log(minilm(), "minilm")
        sides = {name: Side(name) for name in SIDES}
        print(versions("torch", "sentence-transformers", "onnxruntime", "tokenizers"))
        print(f"threads: {arguments.threads}")
        for words in arguments.words:
            texts = passages(arguments.texts, words)
            for size in arguments.batches:
                seconds = bulk(sides, texts, size, arguments.rounds)
                title = f"{len(texts)} texts of {words} words and up, {size} in a batch"
                report(title, seconds, BARE)
                bar = Bar(side=BARE, against=ONNX, ratio=1.2, at_least=True)
                kept &= report_bars(seconds, [bar], "time: ")
                for name, values in seconds.items():
                    rates[name, words, size] = len(texts) / statistics.median(values)
        kept &= report_latencies(latencies(sides, queries(arguments.queries), arguments.block))
    if plot:
        words = arguments.words[0]
        unit = rates[BARE, words, arguments.batches[-1]]
        write_lines(
            plot,
            f"Texts a second by batch size, texts of {words} words and up",
            arguments.batches,
            {
                name: [rates[name, words, size] / unit for size in arguments.batches]
                for name in SIDES
            },
            f"1 = {BARE}, {arguments.batches[-1]} in a batch",
        )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
