"""Packages that each released format wrote stay in `tests/data`, and must load for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

import pairlock
from pairlock.bases import find_base
from pairlock.config import current_settings
from pairlock.manifest import FORMAT_VERSION
from pairlock.progress import SILENT
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, assemble
from pairlock_flavors.torch_runtime.open import GOLDEN_PLACEMENT
from pairlock_flavors.torch_runtime.spaces import compute_spaces
from support.tracking import opened

DATA = Path(__file__).parent.parent / "data"
DIGESTS = {
    "format-1/full": "sha256:3e5d083cc0069c7a0f9cd2e820a29cdf34f1ccc61406218510910111e7e20005",
    "format-1/linear": "sha256:88cac53d6418acb5e8ac41810bcd444c462a594cd96bacbb52f20ba21dd32a77",
    "format-1/two_layer": "sha256:f8a7ff6ed2b36c36ccb01a38deac86f3f6b46dd09239e03a21c9bf8c9642126e",
}
"""Digests of the kept packages; a package with another digest is another package."""


def test_every_format_up_to_this_one_is_kept() -> None:
    """There is a folder of packages for each format version."""
    kept = sorted(path.name for path in DATA.iterdir())
    assert kept == [f"format-{version}" for version in range(1, FORMAT_VERSION + 1)]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_package_of_an_earlier_format_gives_its_vectors(name: str) -> None:
    """A kept package loads with its golden vectors, on the base that is kept beside it."""
    package = DATA / name
    base = None if package.name == "full" else str(package.parent / "full")
    found = pairlock.load(str(package), base=base, golden=True, expected_digest=DIGESTS[name])
    assert len(found.get_query_embedding("a refund")) == 32
    assert "golden vectors" in [check.name for check in pairlock.receipt(found).checks]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_space_keeps_its_id(name: str) -> None:
    """A kept package's ids are computed today as when it was made: an index outlives a release."""
    package = opened(str(DATA / name))
    parts = Parts(
        manifest=package.manifest,
        root=package.root,
        base=lambda: find_base(
            str(DATA / "format-1" / "full"), settings=current_settings(), progress=SILENT
        ),
    )
    identity = Identity(uri=name, package_digest=package.digest)
    embedding = assemble(parts, identity=identity, placement=GOLDEN_PLACEMENT)
    assert compute_spaces(parts, embedding) == package.manifest.spaces
