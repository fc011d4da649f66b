"""Registries with something in them, made once and copied for each test of a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def base_stock(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Any:
    """The registry that `logged_base` is a copy of."""
    from support.registries import active, new_registry

    made = new_registry(tmp_path_factory.mktemp("base-stock") / "registry", registry_template)
    with active(made.uri):
        made.log(tiny_model, "base")
    return made


@pytest.fixture(scope="session")
def adapter_stock(
    tmp_path_factory: pytest.TempPathFactory, base_stock: Any, linear_adapter: Path
) -> Any:
    """The registry that `logged_adapter` is a copy of."""
    from support.registries import active, copy_registry

    made = copy_registry(base_stock, tmp_path_factory.mktemp("adapter-stock") / "registry")
    with active(made.uri):
        made.log(linear_adapter, "support", base="models:/base/1")
    return made


@pytest.fixture
def logged_base(tmp_path: Path, base_stock: Any) -> Iterator[Any]:
    """A registry of its own with models:/base/1."""
    yield from _copied(tmp_path, base_stock)


@pytest.fixture
def logged_adapter(tmp_path: Path, adapter_stock: Any, base_stock: Any) -> Iterator[Any]:
    """A registry of its own with models:/base/1, and models:/support/1 on it."""
    yield from _copied(tmp_path, adapter_stock, base_stock)


def _copied(folder: Path, stock: Any, *others: Any) -> Iterator[Any]:
    from support.registries import active, copy_registry, snapshot

    before = [snapshot(one.folder) for one in (stock, *others)]
    made = copy_registry(stock, folder / "registry")
    with active(made.uri):
        yield made
    after = [snapshot(one.folder) for one in (stock, *others)]
    assert after == before, "a test changed what the others are copied from"
