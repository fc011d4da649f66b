"""Inventories built by hand, and findings in them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pairlock.auditing.codes import Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.inventory import (
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageFacts,
    PackageState,
    PinFacts,
    VersionFacts,
)
from pairlock.ledger import Held, State
from pairlock.manifest import BaseOrigin, Kind

TODAY = dt.date(2026, 11, 23)
AT_MS = int(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp() * 1000)


def digest(letter: str) -> str:
    """A digest of one letter."""
    return f"sha256:{letter * 64}"


def pin(uri: str, letter: str) -> PinFacts:
    """A base, with the digests of one letter."""
    return PinFacts(
        uri=uri,
        origin=BaseOrigin.PACKAGE,
        tree_digest=digest(letter),
        package_digest=digest(letter),
        dimension=384,
    )


def version(
    name: str, number: int, *, kind: Kind | None = Kind.FULL, letter: str = "a", **facts: Any
) -> VersionFacts:
    """A version; with `kind=None` one of which nothing is known but its tags."""
    base = facts.pop("base", None)
    package = kind and PackageFacts(
        digest=digest(letter),
        kind=kind,
        dimension=384,
        input_dimension=None,
        document_space=digest("1"),
        query_space=digest("2"),
        base=base,
        libraries={"torch": "2.13.0"},
        paths=("payload/model/model.safetensors",),
        sizes=(91_000_000,),
        foreign_classes=(),
        device_order=("cpu",),
        dtype="float32",
    )
    given = {
        "state": "ready",
        "legacy_stage": None,
        "created_ms": AT_MS - 1000,
        "model_id": None,
        "location": f"/store/{name}/{number}",
        "tags": {},
        "package_state": PackageState.THERE,
        **facts,
    }
    return VersionFacts(name=name, version=number, package=package or None, **given)


def model(name: str, *versions: VersionFacts, **facts: Any) -> ModelFacts:
    """A registered model; `stages` are those of its ledger, which its aliases follow."""
    stages: dict[str, int] = facts.pop("stages", {})
    ledger = LedgerFacts(
        location=f"/ledgers/{name}",
        state=State(
            stages={
                stage: Held(version=number, package_digest=digest("a"), entry=0, previous=None)
                for stage, number in stages.items()
            }
        ),
        entries=len(stages),
        ever_held=frozenset(stages),
    )
    given = {"created_ms": 1, "aliases": dict(stages), "tags": {}, "ledger": ledger, **facts}
    return ModelFacts(name=name, versions=versions, **given)


def inventory(*models: ModelFacts, **facts: Any) -> Inventory:
    """A registry, looked at on `TODAY`."""
    return Inventory(
        **{"registry": "sqlite:///mlflow.db", "at_ms": AT_MS, "models": models, **facts}
    )


def finding(
    code: Code,
    model: str | None = "support",
    version: int | None = 1,
    *,
    severity: Severity = Severity.ERROR,
    **facts: Any,
) -> AuditFinding:
    """A finding, with words in every place."""
    given = {
        "place": "models:/minilm/1",
        "expected": digest("b"),
        "found": digest("c"),
        "todo": "Register the pinned package again under any name.",
        **facts,
    }
    return AuditFinding(code=code, severity=severity, model=model, version=version, **given)


def registry() -> Inventory:
    """A base with two versions, and adapters on it: in stages, under an alias, and by nobody."""
    first, second = pin("models:/minilm/1", "b"), pin("models:/minilm/2", "d")
    return inventory(
        model(
            "minilm",
            version("minilm", 1, letter="b"),
            version("minilm", 2, letter="d"),
            stages={"production": 2},
        ),
        model(
            "other",
            version(
                "other",
                1,
                kind=None,
                package_state=PackageState.FOREIGN,
                problem="logged by mlflow.sentence_transformers",
            ),
            ledger=None,
            aliases={"champion": 1},
        ),
        model(
            "support",
            version("support", 1, kind=Kind.LINEAR, letter="e", base=first),
            version("support", 2, kind=Kind.PEFT, letter="f", base=second),
            version("support", 3, kind=Kind.LINEAR, letter="9", base=second),
            stages={"production": 1, "staging": 2},
        ),
    )


def findings() -> tuple[AuditFinding, ...]:
    """What is wrong in `registry`, in no order."""
    return (
        finding(Code.SUPERSEDED, "support", 1, severity=Severity.NOTE, place="", expected=""),
        finding(Code.LIBRARY_DRIFT, "support", 2, severity=Severity.WARNING, place="torch"),
        finding(Code.BASE_MOVED, "support", 1),
        finding(Code.LEDGER_BROKEN, "minilm", None, place="entry 0"),
        finding(Code.ALIAS_UNEXPLAINED, "other", 1, stage="champion", severity=Severity.WARNING),
        finding(Code.ORPHANED, None, None, severity=Severity.NOTE, place="m-0123"),
    )
