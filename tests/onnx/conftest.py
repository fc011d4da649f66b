"""A base with a graph and adapters on it, packaged once for all tests that only load them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a Dense head and instructions, which all adapters of these tests stand on."""
    from support.models import PROMPTS, save_model

    folder = tmp_path_factory.mktemp("prompted") / "model"
    return save_model(folder, dense=20, prompts=PROMPTS)


@pytest.fixture(scope="session")
def stock(
    shelf: Any, prompted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """The URI of the base, or of an adapter on it, with a graph; packaged when first asked for.

    `base`, `lora`, or one of LlamaIndex's adapters by name.
    """
    from support.adapters import ADAPTERS, train
    from support.graphs import log_graph
    from support.peft_adapters import save_by_peft
    from support.registries import active

    root = tmp_path_factory.mktemp("stock")
    made: dict[str, str] = {}

    def uri(name: str) -> str:
        if name not in made:
            options: dict[str, Any] = {} if name == "base" else {"base": uri("base")}
            folder = prompted
            if name in ADAPTERS:
                folder = train(name, prompted, root / name)
            elif name != "base":
                folder = save_by_peft(prompted, root / name)
            with active(shelf.uri):
                made[name] = log_graph(shelf, folder, f"stock-{name}", **options)
        return made[name]

    return uri
