"""What an audit asks of a manifest, read from its bytes. No I/O."""

from __future__ import annotations

import json
from sys import intern
from typing import Any

from msgspec import DecodeError
from msgspec.json import Decoder, Encoder

from pairlock.inventory.facts import PackageFacts, PinFacts
from pairlock.manifest import BaseOrigin, Kind, Manifest, read_manifest
from pairlock.manifest.format import FORMAT_VERSION

_ENCODER = Encoder()
_DECODER = Decoder(PackageFacts)


def tell(content: bytes, digest: str, *, approved: bool, where: str) -> PackageFacts:
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
    return facts_of(digest, read_manifest(content, where=where))


def facts_of(digest: str, manifest: Manifest) -> PackageFacts:
    """What an audit asks of a manifest."""
    pin = manifest.base
    adapter = manifest.adapter
    return PackageFacts(
        digest=intern(digest),
        kind=manifest.kind,
        dimension=manifest.dimension,
        input_dimension=getattr(adapter, "in_features", None),
        document_space=intern(manifest.spaces.document),
        query_space=manifest.spaces.query,
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
        paths=tuple(intern(record.path) for record in manifest.files),
        sizes=tuple(record.size_bytes for record in manifest.files),
        foreign_classes=tuple(map(intern, manifest.foreign_classes)),
        device_order=tuple(map(intern, manifest.devices.order)),
        dtype=intern(manifest.devices.dtype),
    )


def _read(content: bytes, digest: str) -> PackageFacts | None:
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
        facts = PackageFacts(
            digest=intern(digest),
            kind=Kind(document["kind"]),
            dimension=int(document["dimension"]),
            input_dimension=adapter.get("in_features"),
            document_space=intern(spaces["document"]),
            query_space=str(spaces["query"]),
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
            paths=tuple(intern(record["path"]) for record in files),
            sizes=tuple(int(record["size_bytes"]) for record in files),
            foreign_classes=tuple(map(intern, classes)),
            device_order=tuple(map(intern, devices["order"])),
            dtype=intern(devices["dtype"]),
        )
        # half a character, or a text for a number, would be in nothing that is kept of it
        _DECODER.decode(_ENCODER.encode(facts))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodeError):
        return None
    return facts
