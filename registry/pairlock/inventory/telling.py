"""What an audit asks of a manifest, read from its bytes. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from sys import intern
from typing import Any

from pairlock.inventory.facts import PackageFacts, PinFacts
from pairlock.manifest import BaseOrigin, Kind, Manifest, Spaces, read_manifest
from pairlock.manifest.format import FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Told:
    """What a manifest says."""

    facts: PackageFacts
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    """In bytes, of the files at `paths`."""


def tell(content: bytes, digest: str, *, approved: bool, where: str) -> Told:
    """Read a manifest.

    To prove that a manifest is a valid one takes ten times as long as to read it, mostly for its
    canonical form. Bytes whose digest the registry approved were proved when they were packaged,
    and are only read.

    Args:
        content: the bytes of `pairlock.json`.
        digest: their digest.
        approved: whether the registry names this digest for them.
        where: what to call it in messages.

    Raises:
        FormatError: it is no manifest that this release can read.
    """
    if approved and (told := _read(content, digest)) is not None:
        return told
    manifest = read_manifest(content, where=where)
    return Told(
        facts_of(digest, manifest),
        tuple(intern(record.path) for record in manifest.files),
        tuple(record.size_bytes for record in manifest.files),
    )


def facts_of(digest: str, manifest: Manifest) -> PackageFacts:
    """What an audit asks of a manifest."""
    pin = manifest.base
    adapter = manifest.adapter
    return PackageFacts(
        digest=intern(digest),
        kind=manifest.kind,
        dimension=manifest.dimension,
        input_dimension=getattr(adapter, "in_features", None),
        spaces=Spaces(intern(manifest.spaces.document), intern(manifest.spaces.query)),
        base=None
        if pin is None
        else PinFacts(
            uri=intern(pin.uri),
            origin=pin.origin,
            tree_digest=intern(pin.tree_digest),
            package_digest=None if pin.package_digest is None else intern(pin.package_digest),
            dimension=pin.dimension,
        ),
        libraries={intern(k): intern(v) for k, v in manifest.provenance.libraries.items()},
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        foreign_classes=tuple(map(intern, manifest.foreign_classes)),
        device_order=tuple(map(intern, manifest.devices.order)),
        dtype=intern(manifest.devices.dtype),
    )


def _read(content: bytes, digest: str) -> Told | None:
    """What a valid manifest says; None for anything that is not as expected."""
    try:
        document: dict[str, Any] = json.loads(content)
        if document["format_version"] not in range(1, FORMAT_VERSION + 1):
            return None
        adapter, pin, spaces = document["adapter"] or {}, document["base"], document["spaces"]
        files, devices = document["files"], document["devices"]
        classes = (*document["encode"]["foreign_modules"],)
        if document["kind"] == Kind.CUSTOM:
            classes = (adapter["class_path"], *classes)
        sizes = tuple(int(record["size_bytes"]) for record in files)
        facts = PackageFacts(
            digest=intern(digest),
            kind=Kind(document["kind"]),
            dimension=int(document["dimension"]),
            input_dimension=adapter.get("in_features"),
            spaces=Spaces(intern(spaces["document"]), intern(spaces["query"])),
            base=None
            if pin is None
            else PinFacts(
                uri=intern(pin["uri"]),
                origin=BaseOrigin(pin["origin"]),
                tree_digest=intern(pin["tree_digest"]),
                package_digest=pin["package_digest"] and intern(pin["package_digest"]),
                dimension=int(pin["dimension"]),
            ),
            libraries={
                intern(name): intern(text)
                for name, text in document["provenance"]["libraries"].items()
            },
            files=len(files),
            size_bytes=sum(sizes),
            foreign_classes=tuple(map(intern, classes)),
            device_order=tuple(map(intern, devices["order"])),
            dtype=intern(devices["dtype"]),
        )
        return Told(facts, tuple(intern(record["path"]) for record in files), sizes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
