"""The summary of a package holds the facts that decide which vectors come out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from manifest_documents import KINDS, documents, loose_bytes, sample, sample_bytes

from pairlock.digests import canonical_json
from pairlock.manifest import read_manifest
from pairlock.summary import summary_rows

DIGEST = f"sha256:{'12' * 32}"


def rows_of(content: bytes) -> dict[str, str]:
    return dict(summary_rows(read_manifest(content, where="m"), DIGEST))


@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_of_each_kind_are_there(kind: str) -> None:
    """Kind, digest, dimension and instructions are in every summary, the base in an adapter's."""
    rows = rows_of(sample_bytes(kind))
    assert rows["kind"] == kind
    assert rows["package digest"] == DIGEST
    assert rows["dimension"] == "8"
    assert rows["query instruction"] == repr("query: ")
    assert rows["left out"] == "optimizer.pt"
    assert ("base" in rows) == ("adapter" in rows) == (kind != "full")


def test_a_base_is_shown_as_pinned_and_as_asked_for() -> None:
    """What an alias was resolved to stands beside what was written."""
    rows = rows_of(sample_bytes("linear"))
    assert rows["base"] == "models:/minilm/1"
    assert rows["base asked for as"] == "models:/minilm@production"
    document = sample("linear")
    document["base"]["requested"] = document["base"]["uri"]
    assert "base asked for as" not in rows_of(loose_bytes(document))


@given(document=documents())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_manifest_has_a_summary(document: dict[str, object]) -> None:
    """Any valid manifest has a summary of texts, without a name twice."""
    manifest = read_manifest(canonical_json(document), where="m")
    rows = summary_rows(manifest, DIGEST)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in rows)
    assert len({name for name, _ in rows}) == len(rows)
