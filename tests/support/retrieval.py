"""A small retrieval dataset, written in both forms that are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.finetuning import PAIRS

QUERIES = {f"q{index}": query for index, (query, _) in enumerate(PAIRS)}
CORPUS = {f"d{index}": text for index, (_, text) in enumerate(PAIRS)} | {
    "d8": "Money comes back to the card within a week.",
    "d9": "An invoice that is lost can be asked for again.",
    "d10": "",
    "d11": "The weather is fine.",
}
RELEVANT = {f"q{index}": {f"d{index}"} for index in range(len(PAIRS))}
RELEVANT["q0"] |= {"d8"}
RELEVANT["q1"] |= {"d9", "d3"}


def write_questions(path: Path, **changes: Any) -> Path:
    """The dataset as LlamaIndex writes it."""
    document: dict[str, Any] = {
        "queries": QUERIES,
        "corpus": CORPUS,
        "relevant_docs": {query: sorted(ids) for query, ids in RELEVANT.items()},
        "mode": "text",
    }
    path.write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return path


def write_beir(folder: Path, split: str = "test") -> Path:
    """The dataset as BEIR has it, in another order, with what BEIR has beside it.

    A query of another split, titles, scores of 0 and 2, blank lines and further keys.
    """
    (folder / "qrels").mkdir(parents=True)
    texts = []
    for key, text in reversed(CORPUS.items()):
        title, _, rest = text.partition(" ")
        whole = {"title": "", "text": f"{text} "} if key == "d3" else {"title": title, "text": rest}
        texts.append({"_id": key, **whole, "metadata": {}})
    del texts[-1]["title"]
    texts[-1]["text"] = CORPUS["d0"]
    queries = [{"_id": key, "text": text, "metadata": 1} for key, text in reversed(QUERIES.items())]
    queries.insert(2, {"_id": "train-1", "text": "of another split"})
    _write_lines(folder / "corpus.jsonl", [json.dumps(item) for item in texts])
    _write_lines(folder / "queries.jsonl", [json.dumps(item) for item in queries])
    rows = [f"{query}\t{key}\t1" for query, ids in RELEVANT.items() for key in sorted(ids)]
    rows = ["query-id\tcorpus-id\tscore", *reversed(rows), "q2\td11\t0", "train-1\td4\t0", ""]
    rows[1] = rows[1].removesuffix("1") + "2"
    _write_lines(folder / "qrels" / f"{split}.tsv", rows)
    return folder


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
