"""Renders the report as one HTML file that reaches for nothing outside itself.

Style and script are in the file; a content security policy names their hashes and allows nothing
else, so that text from tags and names could not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from pairlock.auditing.codes import FACTS
from pairlock.auditing.findings import AuditFinding
from pairlock.inventory import Inventory
from pairlock.report.content import content_of
from pairlock.report.drawing import BOX_HEIGHT, BOX_WIDTH
from pairlock.standing.graph import Graph

_TITLE_CHARACTERS = 25
"""As many of the mono-spaced title's characters as a box is wide."""


def page(
    inventory: Inventory,
    findings: Sequence[AuditFinding],
    graph: Graph,
    *,
    manifests: Mapping[str, str] | None = None,
) -> str:
    """Write the report page.

    Args:
        inventory: what the registry holds.
        findings: what is wrong with it, worst first.
        graph: what stands on what.
        manifests: manifests as JSON text, by version URI, as far as they are to be shown.

    Returns:
        An HTML document. The same arguments give the same text.
    """
    style, script = _template("page.css"), _template("page.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            content=content_of(inventory, findings, graph, manifests=manifests),
            codes=FACTS,
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            box_width=BOX_WIDTH,
            box_height=BOX_HEIGHT,
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["short"] = _short
    made.filters["anchor"] = quote
    return made


def _template(name: str) -> str:
    return (files("pairlock.report") / "templates" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _short(text: str) -> str:
    """A text that fits into a box: its end tells two versions apart better than its middle."""
    if len(text) <= _TITLE_CHARACTERS:
        return text
    kept = _TITLE_CHARACTERS - 1
    return f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"
