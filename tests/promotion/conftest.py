"""One registry with a few tiny models for all tests of stages; each test promotes its own name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def stage_registry(tmp_path_factory: pytest.TempPathFactory, registry_template: Path) -> Any:
    """A registry with `base`, and versions of `model`: see `VERSIONS`."""
    from support.registries import active, new_registry
    from support.stage_versions import fill

    made = new_registry(tmp_path_factory.mktemp("stages") / "registry", registry_template)
    with active(made.uri):
        fill(made, tmp_path_factory.mktemp("stage-models"))
    return made


@pytest.fixture
def stages(stage_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A registered model of its own, with the versions of `model`, and nothing in its stages."""
    from support.registries import active
    from support.stage_versions import Stages

    monkeypatch.chdir(tmp_path)  # no policy file lies here or above
    monkeypatch.setenv("PAIRLOCK_ACTOR", "kim")
    with active(stage_registry.uri):
        name = f"m{uuid.uuid4().hex[:12]}"
        yield Stages(stage_registry, name)
