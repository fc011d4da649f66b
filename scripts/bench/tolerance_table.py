"""Writes what scripts/bench/tolerances.py measured: for a person as Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from typing import Any

import torch

SAME, DIFFERENT = "same", "different"
DTYPES = ("float32", "float16", "bfloat16")
FIGURES = ("one_minus_cosine", "mean_one_minus_cosine", "max_abs", "norm")

Row = dict[str, Any]
"""One model, one change, one dtype: figures, and what a load would say."""


def head(device: str, about: dict[str, str]) -> Row:
    """Where the rows come from; no name of a machine."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name() if kind == "cuda" else f"{platform.machine()} CPU"
    libraries = ("torch", "sentence-transformers", "transformers", "peft")
    return {
        "device": kind,
        "machine": f"{name}, {os.cpu_count()} cores",
        "libraries": {library: version(library) for library in libraries},
        "models": about,
    }


def document(top: Row, rows: list[Row]) -> str:
    """JSON with one row a line, so that a difference between two runs can be read."""
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    opening = json.dumps(top, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{opening},\n "rows": [\n{lines}\n ]\n}}\n'


def markdown(top: Row, rows: list[Row]) -> str:
    """The three tables."""
    libraries = ", ".join(f"{name} {number}" for name, number in top["libraries"].items())
    parts = [
        f"Measured on {top['device']} ({top['machine']}; {libraries}).",
        "### The same model\n\n" + same_table(rows),
        "### Another model\n\n" + different_table(rows),
        "### Adapters, projected\n\n" + projection_table(rows),
    ]
    return "\n\n".join(parts)


def same_table(rows: list[Row]) -> str:
    """Per model and dtype, the largest figures of whatever leaves the weights alone."""
    lines = []
    for model in _names(rows, "model"):
        for dtype in DTYPES:
            own = [r for r in rows if (r["group"], r["model"], r["dtype"]) == (SAME, model, dtype)]
            worst = [f"{max(row[name] for row in own):.1e}" for name in FIGURES]
            refused = sum(row["refused"] for row in own)
            lines.append([model, dtype, *worst, f"{refused} of {len(own)}"])
    titles = ["model", "dtype", "1 - cos", "its mean", "max abs", "norm", "refused"]
    return _table(titles, lines)


def different_table(rows: list[Row]) -> str:
    """Per change and model, 1 - cosine in float32 and the dtypes in which it is refused."""
    models = _names(rows, "model")
    other = [row for row in rows if row["group"] == DIFFERENT]
    lines = []
    for what in _names(other, "what"):
        line = [what]
        for model in models:
            own = {r["dtype"]: r for r in other if (r["what"], r["model"]) == (what, model)}
            line.append(_verdicts(own) if own else "")
        lines.append(line)
    return _table(["1 - cos in float32; refused in", *models], lines)


def projection_table(rows: list[Row]) -> str:
    """Per dtype, how far rounding pushes vectors along the shift of an adapter."""
    lines = []
    for dtype in DTYPES:
        own = [r for r in rows if r["dtype"] == dtype and "drift" in r]
        missing = [r for r in own if r["what"].endswith("missing")]
        told = [r["shift"] for r in missing if r["told"]]
        blind = [r["shift"] for r in missing if not r["told"]]
        lines.append(
            [
                dtype,
                f"{max(row['drift'] for row in own):.1e}",
                f"{max(row['noise'] for row in own):.1e}",
                f"{min(told):.1e}" if told else "",
                f"{max(blind):.1e}" if blind else "",
            ]
        )
    titles = ["dtype", "drift along the shift", "noise in all directions"]
    return _table([*titles, "smallest shift told", "largest shift not told"], lines)


def _verdicts(own: dict[str, Row]) -> str:
    short = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    refused = [short[dtype] for dtype in own if own[dtype]["refused"]]
    row = own["float32"]
    size = "no number" if "texts_without_numbers" in row else f"{row['one_minus_cosine']:.1e}"
    return f"{size}; {' '.join(refused) or 'nowhere'}"


def _names(rows: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _table(titles: list[str], lines: list[list[str]]) -> str:
    written = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)
