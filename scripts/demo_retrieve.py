"""Load registered models by URI and ask a LlamaIndex index over real passages with each of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode

import pairlock

DATA = Path(__file__).parent / "data" / "helpdesk.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uri", nargs="+", help="registered models, such as models:/support/1")
    parser.add_argument("--show", type=int, default=2, help="questions to show (default 2)")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    answers = {}
    for uri in arguments.uri:
        embedding = pairlock.load(uri)
        proof = pairlock.receipt(embedding)
        print(f"{uri} is a LlamaIndex {type(embedding).__mro__[2].__name__} on {proof.device}")
        for check in proof.checks:
            print(f"  proved: {check.name}: {check.detail}")
        answers[uri] = retrieve(embedding, rows)
        right = sum(found == row["id"] for found, row in zip(answers[uri], rows, strict=True))
        print(f"  right passage first: {right} of {len(rows)} held-out questions")

    passages = {row["id"]: row["passage"] for row in rows}
    differing = [
        number
        for number, row in enumerate(rows)
        if len({found[number] for found in answers.values()}) > 1
        and answers[arguments.uri[-1]][number] == row["id"]
    ]
    for number in differing[: arguments.show]:
        print(f"\n{rows[number]['test_question']}")
        for uri, found in answers.items():
            print(f"  {uri:<18} {passages[found[number]][:72]}...")


def retrieve(embedding: BaseEmbedding, rows: list[dict[str, str]]) -> list[str]:
    """The id of the passage that is found first for every held-out question."""
    nodes = [TextNode(id_=row["id"], text=row["passage"]) for row in rows]
    retriever = VectorStoreIndex(nodes, embed_model=embedding).as_retriever(similarity_top_k=1)
    return [retriever.retrieve(row["test_question"])[0].node.node_id for row in rows]


if __name__ == "__main__":
    main()
