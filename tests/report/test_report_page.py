"""The report page: what is on it, that it needs nothing else, and that no name is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest

from pairlock.auditing.codes import FACTS, Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.index import StampedIndex
from pairlock.inventory import Inventory
from pairlock.manifest import package_digest
from pairlock.report.content import MAX_DRAWN, content_of
from pairlock.report.drawing import BOX_HEIGHT, BOX_WIDTH, draw
from pairlock.report.manifests import read_manifests
from pairlock.report.page import page
from pairlock.standing.building import build_graph
from pairlock.standing.graph import NodeKind
from support.copies import replace
from support.inventories import adapter, full, inventory, ledger, model, version
from support.lineages import index

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Elements and texts of a page, as a browser would have them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [facts[attribute] or "" for _, facts in self.elements if attribute in facts]


def registry(name: str = "support", adapters: int = 3) -> Inventory:
    """A base, adapters on it, and the newest of them in production."""
    base = version("minilm", 1, full("base"))
    made = [version(name, number + 1, adapter(f"a{number}", base)) for number in range(adapters)]
    own = ledger({"production": made[-1]})
    return inventory(
        model("minilm", [base]), model(name, made, ledger=own, aliases={"production": adapters})
    )


def finding(name: str = "support", text: str = "found") -> AuditFinding:
    return AuditFinding(
        code=Code.BASE_MISSING,
        severity=FACTS[Code.BASE_MISSING].severity,
        model=name,
        version=1,
        stage="production",
        place=text,
        expected=text,
        found=text,
        todo=text,
    )


def made(found: Inventory, *findings: AuditFinding, manifests: dict[str, str] | None = None) -> str:
    return page(found, findings, build_graph(found), manifests=manifests)


def test_everything_is_on_the_page_and_every_link_leads_somewhere() -> None:
    """Versions, stages, findings with what to do, manifests; links name what is there."""
    text = made(registry(), finding(), manifests={"models:/support/1": '{"kind": "linear"}'})
    parsed = Page(text)
    words = " ".join(parsed.texts)
    for wanted in ("models:/minilm/1", "models:/support/3", "production", '{"kind": "linear"}'):
        assert wanted in words
    assert FACTS[Code.BASE_MISSING].title in words and FACTS[Code.BASE_MISSING].meaning in words
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    targets = {unquote(value[1:]) for value in parsed.values("href")}
    assert targets <= set(ids) and "version:support/1" in targets
    near = {one for value in parsed.values("data-near") for one in value.split()}
    assert near and near <= set(ids)


def test_the_page_reaches_for_nothing_and_names_what_it_runs() -> None:
    """No address, no foreign resource; the policy lets this style and this script through only."""
    text = made(registry(), finding())
    parsed = Page(text)
    assert not re.search(r"https?://|//[a-z]", re.sub(r"sqlite:///\S+", "", text))
    assert all(value.startswith("#") for value in parsed.values("href"))
    assert not parsed.values("src")
    (policy,) = [value for value in parsed.values("content") if "default-src" in value]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_no_text_gets_out_of_its_place() -> None:
    """Names, tags, places and manifests that hold markup are shown, and are none."""
    found = registry(HOSTILE)
    parsed = Page(
        made(found, finding(HOSTILE, HOSTILE), manifests={f"models:/{HOSTILE}/1": HOSTILE})
    )
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("script") == 1 and "img" not in tags
    assert not [name for _, facts in parsed.elements for name in facts if name.startswith("on")]
    assert any(HOSTILE in text for text in parsed.texts)
    assert "49" not in "".join(parsed.texts).split()


def test_a_search_finds_every_kind_of_thing() -> None:
    """Boxes, findings and versions can be searched for by name, code, kind, digest and base."""
    found = registry()
    parsed = Page(made(found, finding()))
    searched = {
        kind: [
            facts["data-search"] or ""
            for tag, facts in parsed.elements
            if "data-search" in facts and tag == kind
        ]
        for kind in ("a", "li", "details")
    }
    (one,) = [version for version in found.versions() if version.uri == "models:/support/1"]
    assert one.package is not None
    for kind, wanted in {
        "a": ("models:/support/1", one.package.digest, "support@production"),
        "li": (Code.BASE_MISSING.value, "support", "found"),
        "details": (one.uri, one.package.digest, "linear", "models:/minilm/1"),
    }.items():
        for text in wanted:
            assert any(text in searchable for searchable in searched[kind]), (kind, text)
    for name, text in (("data-severity", "error"), ("data-stage", "production")):
        assert {tag for tag, facts in parsed.elements if facts.get(name) == text} == {
            "li",
            "details",
        }


def test_counts_are_those_of_the_registry() -> None:
    """Models, versions, adapters, holders, and findings of each severity, none left out."""
    note = replace(finding(), severity=Severity.NOTE)
    content = content_of(registry(), [finding(), note, note], build_graph(registry()))
    assert dict(content.counts) == {"models": 2, "versions": 4, "adapters": 3, "in a stage": 1}
    assert [(one, count) for one, _, count in content.severities] == [
        (Severity.ERROR, 1),
        (Severity.WARNING, 0),
        (Severity.NOTE, 2),
    ]
    (version,) = [
        one
        for model in content.models
        for one in model.versions
        if one.facts.version == 1 and one.facts.name == "support"
    ]
    assert version.worst is Severity.ERROR
    assert any(node.target == "version:support/1" for node in content.nodes)
    assert content.outline


def test_a_box_that_no_load_gets_past_is_an_error() -> None:
    """A base that is not there has no findings of its own, and is drawn as what it is."""
    alone = inventory(registry().models[1])
    content = content_of(alone, [], build_graph(alone))
    (box,) = [node for node in content.nodes if node.box.node.condition.is_bad]
    assert (box.label, box.worst) == ("minilm/1", Severity.ERROR)


def test_links_hold_for_any_name() -> None:
    """What means something in an address is escaped in links, and nowhere else."""
    parsed = Page(made(registry("50%41 x"), finding("50%41 x")))
    targets = {unquote(value[1:]) for value in parsed.values("href")}
    assert "version:50%41 x/1" in targets & set(parsed.values("id"))


def test_manifests_are_shown_as_they_were_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was changed since is left out, and so are all of a large registry."""
    content = b'{"kind": "full"}'
    (tmp_path / "pairlock.json").write_bytes(content)
    facts = replace(full("a"), digest=package_digest(content))
    one = version("one", 1, facts, location=str(tmp_path))
    other = version("one", 2, full("b"), location=str(tmp_path))
    found = inventory(model("one", [one, other]))
    shown = read_manifests(found)
    assert shown.keys() == {one.uri} and json.loads(shown[one.uri]) == {"kind": "full"}
    monkeypatch.setattr("pairlock.report.manifests.MAX_SHOWN", 1)
    assert read_manifests(found) == {}


def test_the_page_is_styled_for_paper_darkness_and_phones() -> None:
    """The style has a part for each; which the page carries."""
    text = made(registry())
    for wanted in ("@media print", "prefers-color-scheme: dark", "max-width: 40rem"):
        assert wanted in text


def test_one_registry_is_one_page() -> None:
    """The same inventory, findings and graph give the same bytes."""
    assert made(registry(), finding()) == made(registry(), finding())


def test_an_inventory_that_broke_off_says_so() -> None:
    """What was not looked at is not passed over in silence."""
    found = replace(registry(), complete=False, problem="the server went away")
    assert "the server went away" in " ".join(Page(made(found)).texts)
    assert "Not all was looked at" not in made(registry())


def test_an_empty_registry_has_a_page() -> None:
    """Nothing registered is no error."""
    assert "holds nothing" in made(inventory())


@pytest.mark.parametrize("adapters", [1, 7, 60])
def test_no_box_lies_over_another(adapters: int) -> None:
    """Every node is drawn once, inside the drawing, and apart from all others."""
    graph = build_graph(registry(adapters=adapters))
    drawing = draw(graph)
    assert {box.node.id for box in drawing.boxes} == set(graph.nodes)
    assert len(drawing.lines) == len(graph.edges)
    by_column: dict[int, list[int]] = {}
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT
        by_column.setdefault(box.x, []).append(box.y)
    for rows in by_column.values():
        assert rows == sorted(rows)
        assert all(after - before >= BOX_HEIGHT for before, after in pairwise(rows))


def test_of_a_large_registry_what_matters_is_drawn() -> None:
    """What is in a stage or has a finding is drawn; how much is not is said; all is listed."""
    found = registry(adapters=MAX_DRAWN + 50)
    graph = build_graph(found)
    content = content_of(found, [finding()], graph)
    drawn = {entry.box.node.id for entry in content.nodes}
    assert len(drawn) <= MAX_DRAWN and content.left_out == len(graph.nodes) - len(drawn) > 0
    assert {"models:/support/1", f"models:/support/{MAX_DRAWN + 50}", "models:/minilm/1"} <= drawn
    assert sum(len(entry.versions) for entry in content.models) == MAX_DRAWN + 51


def test_an_index_leads_to_its_version_and_shows_what_was_found() -> None:
    """Its box is as bad as its finding, and is drawn also where most boxes are left out."""
    found = registry(adapters=MAX_DRAWN + 50)
    version = next(one for one in found.versions() if one.uri == "models:/support/2")
    assert version.package is not None
    stamp = index(HOSTILE, version.uri, "x").stamp
    built = replace(stamp, package_digest=version.package.digest)
    one = replace(
        finding(text=HOSTILE), code=Code.INDEX_FOREIGN_SPACE, severity=Severity.WARNING, version=2
    )
    graph = build_graph(found, [StampedIndex(place=HOSTILE, stamp=built)])
    content = content_of(found, [one], graph)
    (box,) = [node for node in content.nodes if node.box.node.kind is NodeKind.INDEX]
    assert (box.target, box.worst) == ("version:support/2", Severity.WARNING)
    parsed = Page(page(found, [one], graph))
    assert [tag for tag, _ in parsed.elements].count("script") == 1
    assert any("index" in classes.split() for classes in parsed.values("class"))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which no Python package brings")
@pytest.mark.parametrize("name", ["support", HOSTILE])
def test_a_browser_runs_the_page(name: str, tmp_path: Path) -> None:
    """Its own script runs, opens what the address names, and nothing else runs."""
    file = tmp_path / "report.html"
    file.write_text(made(registry(name), finding(name, HOSTILE)), "utf-8")
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    flags += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    found = subprocess.run(
        [CHROMIUM, *flags, f"{file.as_uri()}#version:support/1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    parsed = Page(found.stdout)
    (search,) = [facts for tag, facts in parsed.elements if tag == "search"]
    assert "hidden" not in search
    opened = [facts["id"] for tag, facts in parsed.elements if tag == "details" and "open" in facts]
    assert opened == (["version:support/1"] if name == "support" else [])
    assert [tag for tag, _ in parsed.elements].count("script") == 1
