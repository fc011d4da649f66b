"""`PAIRING.md` shows what names and instructions say, and does nothing that they say."""

from __future__ import annotations

import pytest
from manifest_documents import sample
from markdown_it import MarkdownIt

from pairlock.digests import canonical_json
from pairlock.manifest import read_manifest
from pairlock.plain_text import printable
from pairlock_flavors.packaging.page import render_page


@pytest.mark.parametrize(
    "text", [r"C:\new", "a | b", r"a \| b", "<b>x</b> [y](z) *w*", "**", "two\nlines"]
)
def test_a_value_is_shown_as_it_is(text: str) -> None:
    """Bars and markup of an instruction are text on the page, as `pairlock show` prints them."""
    document = sample("full")
    document["encode"]["query_instruction"] = text
    page = render_page(read_manifest(canonical_json(document), where="a test"), "sha256:00")

    tokens = MarkdownIt("commonmark").enable("table").parse(page)

    cells = [token.children or [] for token in tokens if token.type == "inline"]
    shown = [child.content for children in cells for child in children]
    assert any(printable(repr(text)) in one for one in shown)
    assert {child.type for children in cells for child in children} == {"text", "code_inline"}
