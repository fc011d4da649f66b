"""What MLflow's pages say of registered models and versions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from manifest_documents import sample_bytes
from mlflow import MlflowClient

import pairlock
from pairlock.catalog import describe
from pairlock.describing import MAX_CHARACTERS, model_description, version_description
from pairlock.manifest import Manifest, read_manifest
from support.proxy import Action, Fault, FaultProxy
from support.registries import active
from support.remote import shared_server

DIGEST = f"sha256:{'ab' * 32}"
HOSTILE = "x` <img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** ' ; $(id)\n\n# head"


def manifest(kind: str) -> Manifest:
    """A manifest of a kind."""
    return read_manifest(sample_bytes(kind), where="the manifest")


def outside_code(text: str) -> str:
    """A Markdown text without its code spans: all that a renderer takes for markup."""
    return "\n".join(re.sub(r"`[^`]*`", "", line) for line in text.splitlines())


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("full", "Full model"),
        ("linear", "Linear adapter on"),
        ("two_layer", "Two-layer adapter on"),
        ("custom", "Custom adapter on"),
        ("peft", "PEFT adapter on"),
    ],
)
def test_a_version_is_told_by_its_manifest(kind: str, title: str) -> None:
    """Kind, base with its digest, dimension, side, and how it is loaded."""
    facts = manifest(kind)
    text = version_description("support", 3, facts, DIGEST)
    assert text.startswith(title)
    assert f"{facts.dimension} dimensions" in text.splitlines()[0]
    assert DIGEST in text
    assert '`pairlock.load("models:/support/3")`' in text
    assert "PAIRING.md" in text
    if facts.base is None:
        assert "- base" not in text
        assert "- side" not in text
    else:
        assert facts.base.uri in text
        assert (facts.base.package_digest or facts.base.tree_digest) in text
        assert re.search("^- side: .*queries", text, re.MULTILINE)


def test_no_name_is_markup_or_a_command() -> None:
    """Names and URIs stand in code spans of one line; what a shell would run is not shown."""
    facts = manifest("linear")
    assert facts.base is not None
    facts = replace(facts, base=replace(facts.base, uri=f"/bases/{HOSTILE}"))
    for text in (version_description(HOSTILE, 1, facts, DIGEST), model_description(HOSTILE)):
        assert not set(outside_code(text)) & set("`<>[]*$\\#")
        assert len(text.splitlines()) <= 9
    assert "$(id)" not in model_description(HOSTILE)
    assert "pairlock history NAME" in model_description(HOSTILE)
    assert "pairlock history 'a b; c'" in model_description("a b; c")


def test_a_description_fits_into_the_database() -> None:
    """However long a base's path is."""
    facts = manifest("linear")
    assert facts.base is not None
    facts = replace(facts, base=replace(facts.base, uri="/" + "long/" * 4000))
    assert len(version_description("n" * 250, 1, facts, DIGEST)) <= MAX_CHARACTERS
    assert len(model_description("n" * 250)) <= MAX_CHARACTERS


def test_registering_describes_and_overwrites_nobody(registry: Any, tiny_model: Path) -> None:
    """The model once, every version; what a person wrote stays."""
    registry.log(tiny_model, "base")
    client: MlflowClient = registry.client
    assert client.get_registered_model("base").description == model_description("base")
    assert "models:/base/1" in client.get_model_version("base", "1").description
    client.update_registered_model("base", "ours")
    client.update_model_version("base", "1", "mine")
    registry.log(tiny_model, "base")
    assert client.get_registered_model("base").description == "ours"
    assert client.get_model_version("base", "1").description == "mine"
    assert "models:/base/2" in client.get_model_version("base", "2").description
    assert describe("base", 1, of_version="new", of_model="new") == ""
    assert client.get_model_version("base", "1").description == "mine"


def test_a_description_that_is_not_taken_is_a_warning(
    registry_template: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is registered, whole, and loads; the command says what it lacks."""
    server = shared_server(registry_template)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    name = f"m-{tmp_path.name}"
    with FaultProxy(server.uri) as proxy, active(proxy.endpoint):
        proxy.fault(Fault(Action.DENIED, method="PATCH", suffix="model-versions/update"))
        from pairlock_flavors.embedding import log_package

        logged = log_package(tiny_model, registered_model_name=name)
        assert logged.uri == f"models:/{name}/1"
        assert any("no description" in one for one in logged.warnings)
        found = MlflowClient(server.uri, server.uri).get_model_version(name, "1")
        assert not found.description
        assert pairlock.load(logged.uri) is not None
