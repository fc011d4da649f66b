"""Bulk throughput by batch size, and the latency of one query: onnxruntime against torch.

Sides, in turn in one process with the same number of threads: bare Sentence-Transformers with the
same batch size; LlamaIndex's `HuggingFaceEmbedding`; `pairlock.load` in both runtimes, as
LlamaIndex embeddings. A batch is what is handed over in one call. Ratios are times: below 1 is
faster than Sentence-Transformers. Texts are of 6 and of 120 words and up. Latency is of single
queries.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import numpy as np
import torch
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from measure import Bar, Measured, interleave, report, report_bars, timed, versions
from plot import write_lines
from samples import log, minilm, passages, queries
from sentence_transformers import SentenceTransformer

import pairlock

BARE, WRAPPED = "Sentence-Transformers", "HuggingFaceEmbedding"
TORCH, ONNX = "pairlock, torch", "pairlock, onnx"

Embed = Callable[[list[str]], Any]


def in_batches(embed: Embed, texts: list[str], size: int) -> None:
    """Embed texts, some in a call."""
    for start in range(0, len(texts), size):
        embed(texts[start : start + size])


def bulk(models: dict[str, Any], texts: list[str], size: int, rounds: int) -> Measured:
    """Seconds of every side for all texts in batches of a size."""
    models[WRAPPED].embed_batch_size = size
    embeds: dict[str, Embed] = {
        BARE: lambda some: models[BARE].encode(some, batch_size=size).tolist(),
        **{name: models[name].get_text_embedding_batch for name in (WRAPPED, TORCH, ONNX)},
    }
    sides = {
        name: partial(timed, partial(in_batches, embed, texts, size))
        for name, embed in embeds.items()
    }
    return interleave(sides, rounds)


def latencies(models: dict[str, Any], asked: list[str]) -> Measured:
    """Milliseconds of every query, asked of every side in turn."""
    embeds: dict[str, Callable[[str], Any]] = {
        BARE: lambda text: models[BARE].encode(text).tolist(),
        **{name: models[name].get_query_embedding for name in (WRAPPED, TORCH, ONNX)},
    }
    for embed in embeds.values():
        for text in asked[:3]:
            embed(text)
    found: Measured = {name: [] for name in embeds}
    for text in asked:
        for name, embed in embeds.items():
            start = time.perf_counter()
            embed(text)
            found[name].append(1000 * (time.perf_counter() - start))
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
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the throughput in")
    arguments = parser.parse_args()
    plot = arguments.plot and arguments.plot.resolve()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    kept, rates = True, {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        log(minilm(), "minilm")
        models: dict[str, Any] = {
            BARE: SentenceTransformer(minilm(), device="cpu"),
            WRAPPED: HuggingFaceEmbedding(minilm(), device="cpu", cache_folder=folder),
            TORCH: pairlock.load("models:/minilm/1", runtime="torch"),
            ONNX: pairlock.load("models:/minilm/1", runtime="onnx"),
        }
        print(versions("torch", "sentence-transformers", "onnxruntime", "tokenizers"))
        print(f"threads: {torch.get_num_threads()}")
        for words in arguments.words:
            texts = passages(arguments.texts, words)
            for size in arguments.batches:
                seconds = bulk(models, texts, size, arguments.rounds)
                title = f"{len(texts)} texts of {words} words and up, {size} in a batch"
                report(title, seconds, BARE)
                bar = Bar(side=BARE, against=ONNX, ratio=1.2, at_least=True)
                kept &= report_bars(seconds, [bar], "time: ")
                for name, values in seconds.items():
                    rates[name, words, size] = len(texts) / statistics.median(values)
        kept &= report_latencies(latencies(models, queries(arguments.queries)))
    if plot:
        words = arguments.words[0]
        unit = rates[BARE, words, arguments.batches[-1]]
        write_lines(
            plot,
            f"Texts a second by batch size, texts of {words} words and up",
            arguments.batches,
            {
                name: [rates[name, words, size] / unit for size in arguments.batches]
                for name in models
            },
            f"1 = {BARE}, {arguments.batches[-1]} in a batch",
        )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
