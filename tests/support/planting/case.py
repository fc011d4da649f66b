"""One planted defect or clean twin: what it is made of, what is done to it, what must be found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.auditing.codes import Code
from support.planting import packages
from support.planting.packages import ADAPTERS, Package, Pinned
from support.planting.site import Model, Site, Version

DEFAULT, DEEP, GOLDEN = "default", "deep", "golden"
EVERY = frozenset({DEFAULT, DEEP, GOLDEN})
ALIAS = "in-use"
"""An alias that is no stage of any policy here."""

STAGES = ("staging", "production")


@dataclass(frozen=True)
class Found:
    """One finding: what it is, and where."""

    code: Code
    model: str | None
    version: int | None
    stage: str | None
    place: str

    def __str__(self) -> str:
        about = "" if self.model is None else f" {self.model}/{self.version or '-'}"
        return f"{self.code}{about}{f' [{self.stage}]' if self.stage else ''} at {self.place}"


@dataclass(frozen=True)
class Expected:
    """A finding that must be there."""

    found: Found
    audits: frozenset[str]
    """Which audits must have it: default, deep, golden."""

    why: str
    """Why a defect of another code has it too; empty for the planted one."""


class Case:
    """One of many of a code.

    Args:
        site: the registry.
        code: what is planted.
        number: which, from 0.
        planted: False for a clean twin.
        seed: of the whole run.
    """

    def __init__(self, site: Site, code: Code, number: int, *, planted: bool, seed: int) -> None:
        self.site = site
        self.code = code
        self.number = number
        self.planted = planted
        self.random = random.Random(f"{seed} {code} {number} {planted}")
        self.name = f"{code}-{'defect' if planted else 'twin'}-{number:03}"
        self.expected: list[Expected] = []
        self.allow: set[str] = set()
        self.indexes: list[str] = []
        self._acts: list[Callable[[], None]] = []
        self._marks = 0

    # what it is made of

    def way(self, defects: Iterable[str], twins: Iterable[str]) -> str:
        """The way in which it is done: each in turn, so that all are there."""
        ways = tuple(defects if self.planted else twins)
        return ways[self.number % len(ways)]

    def either(self) -> bool:
        """Yes or no."""
        return self.random.random() < 0.5

    def mark(self) -> str:
        """What tells one package of this case from every other."""
        self._marks += 1
        return f"{self.name} {self._marks}"

    def full(self, *, whole: bool = False) -> Package:
        """A new full model."""
        return packages.package("full", self.mark(), whole=whole)

    def base(self, *, package: Package | None = None, name: str = "base") -> Version:
        """A base of this case alone, under an alias, so that it is in use."""
        made = self.site.version(f"{self.name}-{name}", package or self.full())
        made.model.aliases[ALIAS] = made.number
        return made

    def stock(self) -> Version:
        """A base that many stand on, and that is in every stage."""
        name = f"stock-{self.random.randrange(3)}"
        if name not in self.site.models:
            made = self.site.version(name, packages.package("full", name))
            for stage in STAGES:
                made.model.promote(stage, made)
        return self.site.models[name].versions[0]

    def adapter_package(
        self, base: Version | Pinned | None = None, *, kind: str | None = None, whole: bool = False
    ) -> Package:
        """A new adapter; on a base from stock where none is named."""
        pin = base if isinstance(base, Pinned) else self.pin(base or self.stock())
        return packages.package(
            kind or self.random.choice(ADAPTERS), self.mark(), base=pin, whole=whole
        )

    def pin(self, base: Version) -> Pinned:
        """A pin on a version."""
        return packages.pinned(base.uri, base.own)

    def adapter(
        self, base: Version | Pinned | None = None, *, kind: str | None = None, alone: bool = False
    ) -> Version:
        """An adapter, with other versions of its model before and after it, or alone."""
        return self.versions(lambda: self.adapter_package(base, kind=kind), alone=alone)

    def any(self, *, alone: bool = False) -> Version:
        """A version of any kind, somewhere among the versions of its model."""
        kind = ("full", *ADAPTERS)[self.random.randrange(5)]
        if kind == "full":
            return self.versions(self.full, alone=alone)
        return self.adapter(kind=kind, alone=alone)

    def versions(self, make: Callable[[], Package], *, alone: bool = False) -> Version:
        """One version, chosen at random among some of one model; it may have an alias."""
        count = 1 if alone else self.random.randint(1, 3)
        made = [self.site.version(self.name, make()) for _ in range(count)]
        chosen = self.random.choice(made)
        if self.either():
            chosen.model.aliases[ALIAS] = chosen.number
        return chosen

    def held(
        self, *stages: str, make: Callable[[], Package] | None = None, before: int | None = None
    ) -> Version:
        """A version that holds stages by the ledger; others held them before it."""
        make = make or (self.full if self.either() else self.adapter_package)
        count = self.random.randint(0, 2) if before is None else before
        for _ in range(count):
            earlier = self.site.version(self.name, make())
            for stage in stages:
                earlier.model.promote(stage, earlier)
        made = self.site.version(self.name, make())
        for stage in stages:
            made.model.promote(stage, made)
        return made

    def folder_base(self) -> tuple[Path, Pinned]:
        """A base in a folder that no registry keeps."""
        files = {
            path.removeprefix("payload/model/"): text
            for path, text in packages.model_files(self.full()).items()
        }
        folder = self.site.folder / "folders" / f"{self.name}-{self._marks}"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text)
        return folder, Pinned(uri=str(folder), origin="folder", records=packages.records(files))

    def file(self, version: Version) -> str:
        """A payload file of a version, chosen at random."""
        return self.random.choice(version.own.payload)

    def flipped(self, content: bytes) -> bytes:
        """Bytes with one that is another one: the first, the last, or any."""
        last = len(content) - 1
        where = self.random.choice([0, last, self.random.randint(0, last)])
        return content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :]

    # what is done, and what must be found

    def then(self, act: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Do something once the registry is there."""
        self._acts.append(lambda: (act(*arguments, **named), None)[1])

    def plant(self) -> None:
        """Do what was to be done."""
        for act in self._acts:
            act()

    def finds(
        self,
        about: Version | Model | tuple[str | None, int | None],
        place: str,
        *,
        stage: str | None = None,
        audits: Iterable[str] = EVERY,
    ) -> None:
        """The planted defect must be found here; of a twin nothing is said."""
        if self.planted:
            self._expect(self.code, about, place, stage, audits, "")

    def beside(
        self,
        code: Code,
        about: Version | Model | tuple[str | None, int | None],
        place: str,
        *,
        why: str,
        stage: str | None = None,
        audits: Iterable[str] = EVERY,
    ) -> None:
        """What follows rightly from what is done, under another code."""
        assert code is not self.code
        self._expect(code, about, place, stage, audits, why)

    def delete(self, version: Version) -> None:
        """Delete a version through MLflow, and the logged model with it or not."""
        self.then(self.site.client.delete_model_version, version.name, str(version.number))
        self.leave_behind(version)

    def leave_behind(self, version: Version) -> None:
        """What becomes of the logged model of a version that goes."""
        if self.either():
            self.then(self.site.client.delete_logged_model, version.logged.model_id)
        else:
            why = "MLflow keeps the logged model of a deleted version"
            self.beside(Code.ORPHANED, (None, None), version.logged.model_id, why=why)

    def _expect(
        self, code: Code, about: Any, place: str, stage: str | None, audits: Iterable[str], why: str
    ) -> None:
        if isinstance(about, Version):
            name, number = about.name, about.number
        elif isinstance(about, Model):
            name, number = about.name, None
        else:
            name, number = about
        found = Found(code, name, number, stage, place)
        self.expected.append(Expected(found, frozenset(audits), why))
