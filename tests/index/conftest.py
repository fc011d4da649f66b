"""Models for the tests of indexes, each loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def load(
    shelf: Any,
    packaged: Callable[[str], str],
    model_folders: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A loaded model by name: one of the shared ones, or `lora_1` and `lora_2` on `tiny_model`."""
    import pairlock
    from support.peft_adapters import METHODS, save, trained
    from support.registries import active

    loaded: dict[str, Any] = {}

    def lora(name: str) -> str:
        steps = int(name.removeprefix("lora_")) * 8
        model = trained(model_folders("tiny_model"), METHODS["lora"](), steps=steps)
        folder = save(model, tmp_path_factory.mktemp(name) / name)
        base = packaged("tiny_model")
        with active(shelf.uri):
            return str(shelf.log(folder, name, base=base))

    def load_once(name: str) -> Any:
        if name not in loaded:
            uri = lora(name) if name.startswith("lora_") else packaged(name)
            with active(shelf.uri):
                loaded[name] = pairlock.load(uri)
        return loaded[name]

    return load_once
