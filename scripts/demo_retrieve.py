"""Load registered models by URI and ask a LlamaIndex VectorStoreIndex the same questions with each."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode

import pairlock

DATA = Path(__file__).parent / "data" / "helpdesk.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uri", nargs="+", help="registered models, such as models:/support/1")
    parser.add_argument("--questions", type=int, default=3, help="how many to show (default 3)")
    arguments = parser.parse_args()

    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    for uri in arguments.uri:
        embedding = pairlock.load(uri)
        proof = pairlock.receipt(embedding)
        print(f"\n{uri}: a {type(embedding).__mro__[2].__name__}, {proof.kind}, on {proof.device}")
        print("  proved: " + "; ".join(f"{check.name} ({check.detail})" for check in proof.checks))
        nodes = [TextNode(id_=row["id"], text=row["passage"]) for row in rows]
        retriever = VectorStoreIndex(nodes, embed_model=embedding).as_retriever(similarity_top_k=1)
        right = 0
        for number, row in enumerate(rows):
            found = retriever.retrieve(row["test_question"])[0]
            is_right = found.node.node_id == row["id"]
            right += is_right
            if number < arguments.questions:
                print(f"  Q: {row['test_question']}")
                print(f"  A: {found.node.get_content()[:76]}...{'' if is_right else '  (wrong)'}")
        print(f"  right passage first: {right} of {len(rows)} held-out questions")


if __name__ == "__main__":
    main()
