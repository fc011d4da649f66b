"""Package a tiny model and adapters on it, with graphs. Run by scripts/check_wheel, with torch.

Writes `expected.json`: what torch computes for each of them, and in which folder each lies.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import recipes

import pairlock

TEXTS = [
    "How do I get my money back?",
    "Refunds are paid to the card within five working days.",
    "",
    "an invoice " * 60,
]
"""Of several lengths, so that some are filled up; the last is cut."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder")
    folder: Path = parser.parse_args().folder
    base = recipes.base(folder / "base", seed=1, epochs=1)
    made = {
        "full": log(base, "full", None),
        "linear": log(recipes.linear(base, folder / "linear", steps=20), "linear", "full"),
        "lora": log(recipes.lora(base, folder / "lora", seed=2, epochs=2), "lora", "full"),
        "bare": log(base, "bare", None, runtimes=("torch",)),
    }
    text = json.dumps({"texts": TEXTS, "models": made})
    (folder / "expected.json").write_text(text, encoding="utf-8")


def log(source: Path, name: str, base: str | None, **options: Any) -> dict[str, Any]:
    """Log and register a model; what torch computes for it."""
    logged = pairlock.log_model(
        str(source),
        registered_model_name=name,
        base=None if base is None else f"models:/{base}/1",
        **options,
    )
    assert not logged.warnings, logged.warnings
    embedding = pairlock.load(logged.uri, runtime="torch")
    return {
        "uri": logged.uri,
        "digest": logged.package_digest,
        "folder": pairlock.receipt(embedding).location,
        "base": base,
        "query": [embedding.get_query_embedding(text) for text in TEXTS],
        "text": embedding.get_text_embedding_batch(TEXTS),
    }


if __name__ == "__main__":
    main()
