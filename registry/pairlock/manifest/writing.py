"""`Manifest` to bytes, and the package digest. Other documents become JSON data in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pairlock.digests import canonical_json, digest_bytes
from pairlock.manifest.document import Manifest


def write_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest (RFC 8785)."""
    return canonical_json(manifest_data(manifest))


def manifest_data(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON data."""
    data = plain_data(manifest)
    assert isinstance(data, dict)
    return data


def package_digest(manifest_bytes: bytes) -> str:
    """The package digest: `sha256:<hex>` of the bytes of `pairlock.json`.

    Every payload file is listed there by size and SHA-256, so this one value names them all.
    """
    return digest_bytes(manifest_bytes)


def plain_data(value: Any) -> Any:
    """Frozen data as JSON data.

    Args:
        value: JSON data, in which there may be dataclasses, enums, tuples and read-only mappings.
            What a dataclass holds in `unknown` stands beside its fields.
    """
    if is_dataclass(value) and not isinstance(value, type):
        known = {
            item.name: plain_data(getattr(value, item.name))
            for item in fields(value)
            if item.name != "unknown"
        }
        return {**getattr(value, "unknown", {}), **known}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain_data(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain_data(item) for key, item in value.items()}
    return value
