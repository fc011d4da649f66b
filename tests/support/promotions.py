"""A registry with many versions of one tiny model, copied for each test, and proofs made once."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import pairlock
from pairlock.catalog import DIGEST_TAG, HEAD_TAG, LEDGER_TAG
from pairlock.ledger import Anchor, Ledger, parse_anchor
from pairlock.promotion import Plan, plan_promotion
from pairlock.promotion.facts import versions
from pairlock.promotion.facts.opened import Opened, open_ledger, open_model
from pairlock.verification import Verification, verify
from support.registries import Registry, active, new_registry

NAME = "support"
STAGE = "production"


@dataclass(frozen=True)
class Stock:
    """A registry to copy from: one registered model of which nothing was promoted yet.

    Its versions are registrations of few packages, so that a proof of one is a proof of many.
    """

    folder: Path
    proofs: Mapping[str, Verification]
    """What the real verification found, by package digest."""

    digests: Mapping[int, str]
    """The package digest of each version."""

    def copy(self, folder: Path, *, placed: bool = True) -> Registry:
        """A registry of its own; packages stay where they are, for they are only read.

        Args:
            folder: where it is made.
            placed: whether the ledger's place is recorded, beside the registry, as the first
                registration did; otherwise the first command does it, by PAIRLOCK_LEDGER.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.folder / "mlflow.db", folder / "mlflow.db")
        if not placed:
            with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
                database.execute("DELETE FROM registered_model_tags WHERE key = ?", (LEDGER_TAG,))
        return Registry(folder)

    def save(self, file: Path) -> None:
        """For another process."""
        file.write_bytes(pickle.dumps(self))


def make_stock(folder: Path, template: Path, models: list[tuple[Path, int]]) -> Stock:
    """Register each model so many times, one after the other, and prove each once.

    Args:
        folder: where the registry is made.
        template: a fresh registry.
        models: folders of models, and how many versions each becomes.
    """
    registry = new_registry(folder, template)
    digests: dict[int, str] = {}
    proofs = {}
    with active(registry.uri):
        for model, count in models:
            logged = pairlock.log_model(model, registered_model_name=NAME)
            digests[len(digests) + 1] = logged.package_digest
            proofs[logged.package_digest] = verify(logged.uri)
            model_id = logged.model_info.model_id
            for _ in range(count - 1):
                registry.client.create_model_version(
                    NAME,
                    source=f"models:/{model_id}",
                    model_id=model_id,
                    tags={DIGEST_TAG: logged.package_digest},
                    await_creation_for=None,
                )
                digests[len(digests) + 1] = logged.package_digest
    dispose(registry.uri)
    return Stock(folder, proofs, digests)


@contextmanager
def proofs_reused(stock: Stock) -> Iterator[None]:
    """Let planning take the proof of a package that was made when the stock was."""

    def known(uri: str, **_: Any) -> Verification:
        version = int(uri.rpartition("/")[2])
        return replace(stock.proofs[stock.digests[version]], requested=uri, uri=uri)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "verify", known)
        yield


def planned(version: int, *, to: str = STAGE, **options: Any) -> Plan:
    """A promotion's plan, as the command makes it."""
    return plan_promotion(NAME, version, to=to, **options)


def replanned(plan: Plan, ledger: Ledger, anchor: Anchor | None) -> Plan:
    """The same act, planned on the newest entry: what the gates said holds on."""
    head = ledger.head(anchor)
    state = None if head is None else head.entry.state
    held = None if state is None else state.stages.get(plan.stage)
    return replace(plan, after=head, replaced=held)


def faults(stages: tuple[str, ...] = (STAGE,)) -> list[str]:
    """Everything in which ledger, aliases and head tag do not agree, by a fresh look."""
    model, ledger = open_ledger(NAME)
    tag = model.tags.get(HEAD_TAG)
    anchor = None if tag is None else parse_anchor(tag, where=HEAD_TAG)
    found = [str(finding) for finding in ledger.check(anchor)]
    head = ledger.head(anchor)
    if head is None:
        return found + ([f"tag {tag} of no entry"] if tag else [])
    if anchor != Anchor(head.entry.sequence, head.digest):
        found.append(f"tag {tag}, and the head is entry {head.entry.sequence}")
    for stage in stages:
        held = head.entry.state.stages.get(stage)
        wanted = None if held is None else held.version
        if model.aliases.get(stage) != wanted:
            found.append(f"alias {stage} names {model.aliases.get(stage)}, not {wanted}")
    return found


def looked() -> Opened:
    """The model as it is now."""
    return open_model(NAME)


def recorded(folder: Path) -> dict[str, str]:
    """Every file of the ledgers beside a registry, by path: the digest of its bytes."""
    root = folder / "pairlock-ledger"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def dispose(uri: str) -> None:
    """Close MLflow's connections to a database, which it would keep until the process ends."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Models
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs

    for store in (Models, Runs):
        engine = getattr(store, "_engine_map", {}).pop(uri, None)
        if engine is not None:
            engine.dispose()
