"""What an inventory takes from a manifest."""

from __future__ import annotations

import json
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest

from pairlock.digests import canonical_json, digest_bytes
from pairlock.errors import ErrorKind, FormatError
from pairlock.inventory.telling import tell

sys.path.insert(0, str(Path(__file__).parents[1] / "registry"))

from manifest_documents import KINDS, sample


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_of_reading_say_the_same(kind: str) -> None:
    """A manifest that is only read says what one that is proved says."""
    document = sample(kind)
    document["encode"]["foreign_modules"] = ["acme.modules:Gate"]
    document["devices"]["dtype"] = "float16"
    content = canonical_json(document)
    digest = digest_bytes(content)

    assert tell(content, digest, approved=True, where="it") == tell(
        content, digest, approved=False, where="it"
    )


def test_what_cannot_be_read_is_an_error_either_way() -> None:
    """An approved digest makes no manifest of what is none, or of a newer release's."""
    newer = sample() | {"format_version": 99}
    for content, kind in (
        (b"{}", ErrorKind.MANIFEST_INVALID),
        (b"[1]", ErrorKind.MANIFEST_INVALID),
        (b"[" * 100_000, ErrorKind.MANIFEST_INVALID),
        (canonical_json(newer), ErrorKind.FORMAT_TOO_NEW),
    ):
        with pytest.raises(FormatError) as raised:
            tell(content, digest_bytes(content), approved=True, where="it")
        assert raised.value.kind is kind


@pytest.mark.parametrize(
    "keys, value",
    [
        (("provenance", "libraries", "\ud800"), "1"),
        (("adapter", "in_features"), "32"),
        (("base", "package_digest"), 0),
    ],
)
def test_what_could_not_be_kept_is_in_no_manifest(keys: tuple[str, ...], value: object) -> None:
    """It is refused, whoever approved it: in a journal it would spoil the line of all others."""
    document = sample()
    *above, last = keys
    reduce(getitem, above, document)[last] = value
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    with pytest.raises(FormatError):
        tell(content, digest_bytes(content), approved=True, where="it")


def test_without_approval_the_form_is_proved() -> None:
    """Bytes that no tag names have to be canonical, as a load wants them."""
    content = canonical_json(sample()) + b" "

    with pytest.raises(FormatError):
        tell(content, digest_bytes(content), approved=False, where="it")
