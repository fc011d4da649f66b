"""Train a linear adapter on a registered base, with LlamaIndex's own layer, in a few seconds.

Questions are moved towards the passages that answer them (in-batch negatives, as
MultipleNegativesRankingLoss does it); passages stay where the base puts them. The data are the
question/passage pairs in scripts/data/helpdesk.jsonl; one question of each passage is held out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from llama_index.embeddings.adapter.utils import LinearLayer, TwoLayerNN

import pairlock

DATA = Path(__file__).parent / "data" / "helpdesk.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, help="the base's URI, such as models:/minilm/1")
    parser.add_argument("--out", required=True, help="the folder to save the adapter in")
    parser.add_argument("--kind", choices=["linear", "two_layer"], default="linear")
    parser.add_argument("--steps", type=int, default=60, help="training steps (default 60)")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    base = pairlock.load(arguments.base)
    passages = torch.tensor(base.get_text_embedding_batch([row["passage"] for row in rows]))
    questions = [question for row in rows for question in row["train_questions"]]
    inputs = torch.tensor([base.get_query_embedding(question) for question in questions])
    answers = torch.tensor([i for i, row in enumerate(rows) for _ in row["train_questions"]])
    held_out = torch.tensor([base.get_query_embedding(row["test_question"]) for row in rows])

    torch.manual_seed(0)
    dimension = inputs.shape[1]
    adapter = (
        LinearLayer(dimension, dimension)
        if arguments.kind == "linear"
        else TwoLayerNN(dimension, dimension, dimension, add_residual=True)
    )
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(arguments.steps):
        optimizer.zero_grad()
        vectors = torch.nn.functional.normalize(adapter(inputs), dim=-1)
        loss = torch.nn.functional.cross_entropy(20 * vectors @ passages.T, answers)
        loss.backward()
        optimizer.step()
    adapter.save(arguments.out)

    with torch.inference_mode():
        before, after = first_right(held_out, passages), first_right(adapter(held_out), passages)
    print(f"held-out questions answered by the first passage: {before} -> {after} of {len(rows)}")
    print(f"saved to {arguments.out}")


def first_right(queries: torch.Tensor, passages: torch.Tensor) -> int:
    """How many queries find their own passage first; row i belongs to passage i."""
    found = (queries @ passages.T).argmax(dim=1)
    return int((found == torch.arange(len(queries))).sum())


if __name__ == "__main__":
    main()
