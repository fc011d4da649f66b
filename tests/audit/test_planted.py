"""Planted defects of every code and clean twins, some of each; docs/audit.md names the command that
makes many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairlock.auditing.codes import FACTS, Code
from support.planting.case import DEFAULT, Case, Found
from support.planting.run import PLANTED, Tally, compare, plant_and_audit
from support.planting.site import Site

EACH = 2
IN_STORE = (
    Code.BASE_MOVED,
    Code.BASE_DIGEST,
    Code.PACKAGE_MISSING,
    Code.PACKAGE_INCOMPLETE,
    Code.PACKAGE_TAMPERED,
    Code.PACKAGE_UNREADABLE,
    Code.PACKAGE_UNREACHABLE,
    Code.FOREIGN_FILES,
    Code.FOREIGN_FLAVOR,
    Code.PICKLE,
    Code.LEDGER_BROKEN,
)
"""Codes that are about bytes in the store; the command plants the others there too."""


def wrong(tallies: Mapping[Code, Tally]) -> list[str]:
    """Everything that was missed or invented."""
    return [text for one in tallies.values() for text in one.wrong + one.invented + one.on_twins]


def test_every_code_is_planted() -> None:
    """There is a way to plant each code, so that a new one cannot come without."""
    assert PLANTED.keys() == FACTS.keys()


def test_planted_on_disk(tmp_path: Path, registry_template: Path) -> None:
    """On local disk every planted defect is found where it is, and nothing at clean twins."""
    tallies = plant_and_audit(tmp_path / "registry", each=EACH, template=registry_template)

    assert wrong(tallies) == []
    assert {(one.planted, one.found) for one in tallies.values()} == {(EACH, EACH)}


def test_planted_in_s3(tmp_path: Path, s3: Any, registry_template: Path) -> None:
    """In S3 so too, for what is about bytes there."""
    root = f"s3://pairlock/planted-{os.urandom(4).hex()}"
    tallies = plant_and_audit(
        tmp_path / "registry",
        each=EACH,
        codes=IN_STORE,
        root=root,
        s3=s3.client(),
        template=registry_template,
    )

    assert wrong(tallies) == []
    assert {(one.planted, one.found) for one in tallies.values()} == {(EACH, EACH)}


def test_what_is_missed_misplaced_or_invented_is_told(
    tmp_path: Path, registry_template: Path
) -> None:
    """The comparison sees a finding that is not there, is elsewhere, or is at a clean twin."""
    site = Site(tmp_path / "registry", template=registry_template)
    code = Code.TAGS_MISSING
    defect, twin = (Case(site, code, 0, planted=planted, seed=1) for planted in (True, False))
    for case in (defect, twin):
        PLANTED[code](case)
    (expected,) = defect.expected
    right = expected.found
    elsewhere = Found(code, right.model, right.version, None, "elsewhere")
    at_twin = Found(code, twin.name, 1, None, right.place)

    def told(*found: Found) -> tuple[int, int, int, int]:
        one = compare([defect, twin], {DEFAULT: set(found)}, [])[code]
        assert one.is_right == (found == (right,))
        return one.found, len(one.wrong), len(one.invented), len(one.on_twins)

    assert told(right) == (1, 0, 0, 0)
    assert told() == (0, 1, 0, 0)
    assert told(elsewhere) == (0, 1, 1, 0)
    assert told(right, elsewhere) == (1, 0, 1, 0)
    assert told(right, at_twin) == (1, 0, 0, 1)
    assert told(right, Found(code, "nobody", 1, None, "")) == (1, 0, 0, 1)
