"""A package's golden vectors, as a test changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open


def stored_vectors(package: Path) -> dict[str, Any]:
    """Every golden vector of a package, those too that are written once for two roles."""
    with safe_open(package / "payload" / "golden.safetensors", framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        same_as = json.loads((file.metadata() or {}).get("same_as", "{}"))
    return found | {name: found[twin] for name, twin in same_as.items()}
