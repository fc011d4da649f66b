"""`PAIRING.md`: the facts of a package for a person, shown by MLflow's artifact viewer."""

from __future__ import annotations

from pairlock.manifest import Manifest
from pairlock.markdown import code
from pairlock.summary import summary_rows


def render_page(manifest: Manifest, digest: str) -> str:
    """The page as Markdown.

    Args:
        manifest: the finished manifest.
        digest: its package digest.
    """
    lines = ["# What this model stands on", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in summary_rows(manifest, digest)]
    lines += [
        "",
        "Written by Pairlock from `pairlock.json`, which is what a load checks; this page is not.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: str) -> str:
    # the text comes from names and instructions that users chose; a table ends a cell at a bar,
    # within a code span too
    return code(value).replace("|", "\\|")
