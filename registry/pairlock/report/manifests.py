"""Reads the manifests that the page shows in full."""

from __future__ import annotations

import json

from pairlock.errors import PairlockError
from pairlock.inventory import Inventory
from pairlock.manifest import MANIFEST_NAME, package_digest
from pairlock.manifest.format import MAX_MANIFEST_BYTES
from pairlock.stores.opening import open_store

MAX_SHOWN = 200
"""In a registry of more versions the page shows no manifest in full: it would be many MB."""


def read_manifests(inventory: Inventory) -> dict[str, str]:
    """The manifests of a small registry.

    Args:
        inventory: what the registry holds.

    Returns:
        Each as indented JSON text, by version URI. Those that cannot be read, or were changed since
        the inventory was taken, are left out: the findings say what is wrong with them.
    """
    versions = [one for one in inventory.versions() if one.package is not None]
    if len(versions) > MAX_SHOWN:
        return {}
    found = {}
    for one in versions:
        assert one.package is not None  # chosen by it
        try:
            content = open_store(one.location).read_small(
                MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES
            )
        except PairlockError:
            continue
        if package_digest(content) == one.package.digest:
            found[one.uri] = json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    return found
