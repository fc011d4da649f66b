"""The rules of an audit: each finds its defect where it is, and nothing else anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlock.auditing.codes import FACTS, Code, Severity
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules import BasePlace, Known, in_order, judge
from pairlock.auditing.rules.view import View
from pairlock.catalog import DIGEST_TAG
from pairlock.errors import ErrorKind, Finding
from pairlock.evaluation.recorded import Measured
from pairlock.index import Stamp, StampedIndex
from pairlock.inventory import (
    ForeignFacts,
    Inventory,
    PackageFacts,
    PackageState,
    VersionFacts,
)
from pairlock.ledger import Request, State
from pairlock.manifest import BaseOrigin
from pairlock.policy import Policy, StagePolicy, parse_requirement
from support.copies import replace
from support.inventories import (
    LIBRARIES,
    adapter,
    clean,
    digest,
    full,
    inventory,
    model,
    pin_elsewhere,
    pin_to,
    version,
    with_ledger,
    with_model,
    with_version,
)

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
KNOWN = Known(installed=LIBRARIES)
Where = tuple[Code, str | None, int | None]
Judged = tuple[Inventory, Known]
ADAPTERS = (3, 4, 5)
C = Code


@dataclass(frozen=True)
class Case:
    """A registry in which one thing is wrong, and all that has to be said of it."""

    name: str
    make: Callable[[], Inventory | Judged]
    expected: dict[Where, Severity] = field(default_factory=dict)
    """Empty for a clean twin: a registry that is nearly so, and right."""


def one(code: Code, severity: Severity, name: str | None, *numbers: int | None) -> dict[Any, Any]:
    """The same finding at some versions."""
    return {(code, name, number): severity for number in numbers}


def base(number: int = 1, **changes: Any) -> Inventory:
    """The clean registry with a version of the base changed."""
    return with_version(clean(), "minilm", number, lambda v: replace(v, **changes))


def support(number: int, **changes: Any) -> Inventory:
    """The clean registry with an adapter changed."""
    return with_version(clean(), "support", number, lambda v: replace(v, **changes))


def without_base(registry: Inventory) -> Inventory:
    """The registry without the base's first version, which no stage of the base's model has."""
    gone = with_version(registry, "minilm", 1, lambda _: None)
    return with_model(gone, "minilm", lambda m: replace(m, ledger=None, aliases={}, tags={}))


def mirrored(registry: Inventory, **changes: Any) -> Inventory:
    """The registry with the base's package under another name, too, in a stage there."""
    copy = version("mirror", 7, full("minilm 1"), created_ms=1, **changes)
    other = model("mirror", [copy], {"production": 7, "staging": 7})
    return replace(registry, models=(*registry.models, other))


def remade(package: Any = None) -> Inventory:
    """The registry whose base's model was deleted and made again under its name."""
    made = version("minilm", 1, package or full("stranger"), created_ms=2 * 10**12)
    registry = without_base(clean())
    return with_model(
        registry, "minilm", lambda m: replace(m, versions=(made,), created_ms=2 * 10**12)
    )


def on(pin: Any, *, number: int = 3, **changes: Any) -> Inventory:
    """The clean registry with another adapter's pin."""

    def repinned(found: VersionFacts) -> VersionFacts:
        return version("support", number, adapter(f"support {number}", pin), **changes)

    return with_version(clean(), "support", number, repinned)


def known(registry: Inventory, **changes: Any) -> Judged:
    """A registry with other things known beside it."""
    return registry, replace(KNOWN, **changes)


def policy(stage: str = "production", **wanted: Any) -> dict[str, Policy]:
    """A policy of the adapters' model."""
    stages = {"staging": StagePolicy(), "production": StagePolicy()}
    return {"support": Policy({**stages, stage: StagePolicy(**wanted)})}


def wrong(kind: ErrorKind, place: str = "payload/model/model.safetensors") -> Finding:
    """What an inventory finds of a file."""
    return Finding(kind=kind, place=place, expected="1", found="2")


def retagged(registry: Inventory, name: str, number: int, **tags: str | None) -> Inventory:
    """The registry with tags of a version changed, or taken off; `_` stands for a dot."""

    def changed(found: VersionFacts) -> VersionFacts:
        new = dict(found.tags)
        for key, value in tags.items():
            tag = DIGEST_TAG if key == "digest" else f"pairlock.{key}"
            new.pop(tag, None)
            if value is not None:
                new[tag] = value
        return replace(found, tags=new)

    return with_version(registry, name, number, changed)


def aliases(**changes: int | None) -> Inventory:
    """The clean registry with aliases of the adapters' model moved by hand."""

    def moved(found: Any) -> Any:
        new = {**found.aliases, **changes}
        return replace(found, aliases={k: v for k, v in new.items() if v is not None})

    return with_model(clean(), "support", moved)


def unprofiled(found: VersionFacts) -> VersionFacts:
    """A version without the tags of profiles."""
    tags = {tag: text for tag, text in found.tags.items() if "profile" not in tag}
    return replace(found, tags=tags)


def measured(value: float) -> dict[tuple[str, int], tuple[Measured, ...]]:
    """What was measured of the version in production."""
    taken = Measured(
        metric="ndcg@10",
        value=value,
        dataset_name="d",
        dataset_digest="d",
        at_ms=1,
        source="test",
    )
    return {("support", 4): (taken,)}


def older_state(found: Inventory, **stages: int) -> State:
    """A state of the adapters' ledger in which these versions held these stages."""
    own = next(m for m in found.models if m.name == "support")
    assert own.ledger is not None
    held = own.ledger.state.stages["production"]
    return State(stages={name: replace(held, version=n) for name, n in stages.items()})


def doomed(name: str, number: int, what: str = "run 5f", **changes: Any) -> Inventory:
    """The clean registry with bytes that belong to something deleted."""
    return with_version(clean(), name, number, lambda v: replace(v, doomed=what, **changes))


def plain(flavor: str = "sklearn", **changes: Any) -> Inventory:
    """The clean registry and a model of another library."""
    other = version("churn", 1, None, foreign=ForeignFacts(flavors=(flavor,)), **changes)
    return replace(clean(), models=(model("churn", [other]), *clean().models))


def with_request(number: int) -> Inventory:
    """The registry in which version 3 was never in a stage, and somebody asked for a version."""
    asked = Request(
        id="r", stage="production", version=number, package_digest="", by="a", at="", reason=""
    )
    registry = with_ledger(clean(), "support", held_versions=frozenset({4, 5}))
    own = next(m for m in registry.models if m.name == "support")
    assert own.ledger is not None
    state = replace(own.ledger.state, requests=(asked,))
    return with_ledger(registry, "support", state=state)


def other_space(number: int) -> Inventory:
    """The registry with an adapter that changes documents, too."""

    def changed(found: VersionFacts) -> VersionFacts:
        assert found.package is not None
        package = replace(found.package, document_space=digest("other"))
        return version("support", number, package)

    return with_version(clean(), "support", number, changed)


BOTH = policy("production", from_stages=(frozenset({"staging"}),))
ON_FOLDER = pin_elsewhere("/models/minilm")
FOLDER_KEY = (ON_FOLDER.uri, ON_FOLDER.tree_digest)
ON_HUB = pin_elsewhere(f"hf://org/minilm@{'a' * 40}", BaseOrigin.HUB)
FOREIGN_BASE = replace(
    pin_to(next(clean().versions())), origin=BaseOrigin.MLFLOW, package_digest=None
)
FOREIGN = {"package": None, "package_state": PackageState.FOREIGN, "tags": {}}
ST = ForeignFacts(flavors=("sentence_transformers", "python_function"))
PEFT = replace(ST, is_adapter=True, base="/home/kim/minilm")
SENT = {"pairlock.origin.registry": "https://dev"}


def sent_adapters(registry: Inventory) -> Inventory:
    """The registry whose adapters came from another one."""
    for number in ADAPTERS:
        registry = with_version(
            registry, "support", number, lambda v: replace(v, tags={**v.tags, **SENT})
        )
    return registry


def index(package: PackageFacts | str, uri: str, **changes: Any) -> StampedIndex:
    """An index that was built with a package, or with one that nobody has."""
    known = None if isinstance(package, str) else package
    facts: dict[str, Any] = {
        "document_space": known.document_space if known else digest(f"space {package}"),
        "package_digest": known.digest if known else digest(str(package)),
        "uri": uri,
        "kind": known.kind.value if known else "full",
        "dimension": 32,
        "base_uri": None,
        "stamped_at": "2026-01-02T03:04:05+00:00",
    }
    return StampedIndex(place="storage", stamp=Stamp(**(facts | changes)))


def indexed(index: StampedIndex, found: Inventory | None = None) -> Judged:
    """A registry beside which somebody names an index."""
    return found or clean(), replace(KNOWN, indexes=(index,))


def indexed_version(name: str, number: int, **changes: Any) -> Judged:
    """An index that was built with a version of the clean registry."""
    own = next(one for one in clean().versions() if (one.name, one.version) == (name, number))
    assert own.package is not None
    return indexed(index(own.package, **({"uri": own.uri} | changes)))


CASES = [
    Case("nothing", clean),
    # indexes
    Case(
        "an index of a package that nobody has",
        lambda: indexed(index("other", "models:/elsewhere/1")),
        {(C.INDEX_UNKNOWN_VERSION, None, None): ERROR},
    ),
    Case(
        "an index of a version that is gone",
        lambda: indexed(index("other", "models:/support/9")),
        {(C.INDEX_UNKNOWN_VERSION, "support", None): ERROR},
    ),
    Case(
        "an index of a version that was made again",
        lambda: indexed(index("other", "models:/support/4")),
        one(C.INDEX_UNKNOWN_VERSION, ERROR, "support", 4),
    ),
    Case(
        "an index of a package that is gone, another is in its space",
        lambda: indexed(
            index("other", "models:/minilm/9", document_space=digest("space minilm 2"))
        ),
        {(C.INDEX_UNKNOWN_VERSION, "minilm", None): WARNING},
    ),
    Case(
        "an index of a package that was not read, in a registry that was not read to its end",
        lambda: indexed(index("other", "models:/x/1"), replace(clean(), complete=False)),
    ),
    Case("an index of the version in production", lambda: indexed_version("minilm", 1)),
    Case("an index of an adapter in no stage", lambda: indexed_version("support", 3)),
    Case(
        "an index of a version by another name",
        lambda: indexed_version("minilm", 1, uri="models:/old-name/7"),
    ),
    Case(
        "an index in a space of no stage",
        lambda: indexed_version("minilm", 2),
        one(C.INDEX_FOREIGN_SPACE, WARNING, "minilm", 2),
    ),
    Case(
        "an index of a model that has no stages",
        lambda: indexed(
            index(full("alone"), "models:/alone/1"),
            replace(
                clean(),
                models=(*clean().models, model("alone", [version("alone", 1, full("alone"))])),
            ),
        ),
    ),
    Case(
        "an index whose stamp names another space than its version's",
        lambda: indexed_version("minilm", 1, document_space=digest("space minilm 2")),
        one(C.INDEX_FOREIGN_SPACE, ERROR, "minilm", 1),
    ),
    # bases
    Case(
        "base deleted",
        lambda: without_base(clean()),
        one(C.BASE_MISSING, ERROR, "support", *ADAPTERS),
    ),
    Case(
        "base deleted, a copy is there",
        lambda: mirrored(without_base(clean())),
        one(C.BASE_RETIRED, WARNING, "support", *ADAPTERS),
    ),
    Case(
        "base deleted, the copy has no bytes",
        lambda: mirrored(without_base(clean()), package_state=PackageState.MISSING),
        one(C.BASE_MISSING, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_MISSING, ERROR, "mirror", 7),
    ),
    Case(
        "base deleted, the copy is damaged",
        lambda: mirrored(without_base(clean()), findings=(wrong(ErrorKind.FILE_SIZE),)),
        one(C.BASE_MISSING, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_TAMPERED, ERROR, "mirror", 7),
    ),
    Case(
        "base made again with another dimension, a copy is there",
        lambda: mirrored(remade(full("wide", dimension=48))),
        one(C.BASE_MOVED, WARNING, "support", *ADAPTERS),
    ),
    Case("base elsewhere, in another registry", lambda: sent_adapters(mirrored(remade()))),
    Case(
        "base without bytes",
        lambda: base(package_state=PackageState.MISSING, package=None),
        one(C.BASE_MISSING, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_MISSING, ERROR, "minilm", 1),
    ),
    Case(
        "base in a store that does not answer",
        lambda: base(package_state=PackageState.UNREACHABLE, package=None),
        one(C.PACKAGE_UNREACHABLE, ERROR, "minilm", 1),
    ),
    Case(
        "base that failed to register",
        lambda: base(state="failed_registration"),
        one(C.BASE_MISSING, ERROR, "support", *ADAPTERS) | one(C.NOT_READY, ERROR, "minilm", 1),
    ),
    Case("base made again", remade, one(C.BASE_MOVED, ERROR, "support", *ADAPTERS)),
    Case(
        "base made again, a copy is there",
        lambda: mirrored(remade()),
        one(C.BASE_MOVED, WARNING, "support", *ADAPTERS),
    ),
    Case(
        "base made again with another dimension",
        lambda: remade(full("wide", dimension=48)),
        one(C.BASE_MOVED, ERROR, "support", *ADAPTERS)
        | one(C.BASE_DIMENSION, ERROR, "support", *ADAPTERS),
    ),
    Case(
        "base of another package, registered by hand without tags",
        lambda: retagged(remade(), "minilm", 1, digest=None),
        one(C.BASE_MOVED, ERROR, "support", *ADAPTERS) | one(C.TAGS_MISSING, WARNING, "minilm", 1),
    ),
    Case(
        "base with another manifest than its tag says",
        lambda: base(package=full("rotten")),
        one(C.BASE_DIGEST, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_TAMPERED, ERROR, "minilm", 1),
    ),
    Case(
        "base with another tag than its manifest and its ledger",
        lambda: retagged(clean(), "minilm", 1, digest=digest("x")),
        one(C.BASE_DIGEST, ERROR, "support", *ADAPTERS) | one(C.TAGS_WRONG, ERROR, "minilm", 1),
    ),
    Case(
        "base with a damaged file",
        lambda: base(findings=(wrong(ErrorKind.FILE_SIZE),)),
        one(C.BASE_DIGEST, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_TAMPERED, ERROR, "minilm", 1),
    ),
    Case(
        "base with a damaged file, a copy is there",
        lambda: mirrored(base(findings=(wrong(ErrorKind.FILE_SIZE),))),
        one(C.BASE_DIGEST, WARNING, "support", *ADAPTERS)
        | one(C.PACKAGE_TAMPERED, ERROR, "minilm", 1)
        | one(C.IDENTICAL, NOTE, "minilm", 1),
    ),
    Case(
        "base whose manifest cannot be read",
        lambda: base(package_state=PackageState.UNREADABLE, package=None),
        one(C.BASE_DIGEST, ERROR, "support", *ADAPTERS)
        | one(C.PACKAGE_UNREADABLE, ERROR, "minilm", 1),
    ),
    Case(
        "adapter of another dimension than its pin",
        lambda: with_version(
            clean(),
            "support",
            3,
            lambda v: replace(v, package=replace(v.package, input_dimension=48)),  # type: ignore[type-var]
        ),
        one(C.BASE_DIMENSION, ERROR, "support", 3),
    ),
    Case(
        "base archived",
        lambda: base(state="archived", legacy_stage="archived"),
        one(C.BASE_RETIRED, WARNING, "support", *ADAPTERS)
        | one(C.HOLDER_ARCHIVED, WARNING, "minilm", 1),
    ),
    Case("another version of the base archived", lambda: base(2, state="archived")),
    Case(
        "base in no stage",
        lambda: with_model(
            clean(), "minilm", lambda m: replace(m, ledger=None, aliases={}, tags={})
        ),
        one(C.BASE_NOT_IN_STAGE, NOTE, "support", 4, 5),
    ),
    Case(
        "base in a stage by an alias alone",
        lambda: with_model(
            clean(), "minilm", lambda m: replace(m, ledger=None, aliases={"live": 1}, tags={})
        ),
    ),
    Case(
        "base in one of MLflow's legacy stages",
        lambda: with_version(
            with_model(clean(), "minilm", lambda m: replace(m, ledger=None, aliases={}, tags={})),
            "minilm",
            1,
            lambda v: replace(v, legacy_stage="production"),
        ),
    ),
    Case("base of the hub", lambda: on(ON_HUB)),
    Case(
        "base of the hub with other files",
        lambda: known(
            on(ON_HUB),
            bases={
                (ON_HUB.uri, ON_HUB.tree_digest): BasePlace(findings=(wrong(ErrorKind.FILE_SIZE),))
            },
        ),
        one(C.BASE_DIGEST, ERROR, "support", 3),
    ),
    Case(
        "base in a folder",
        lambda: on(ON_FOLDER),
        one(C.BASE_UNREGISTERED, NOTE, "support", 3),
    ),
    Case(
        "base of a stage holder in a folder",
        lambda: on(ON_FOLDER, number=4),
        one(C.BASE_UNREGISTERED, WARNING, "support", 4) | one(C.SPACE_CHANGES, NOTE, "support", 5),
    ),
    Case(
        "base in a folder that is gone",
        lambda: known(on(ON_FOLDER), bases={FOLDER_KEY: BasePlace(missing=True)}),
        one(C.BASE_MISSING, WARNING, "support", 3),
    ),
    Case(
        "base in a folder that was changed",
        lambda: known(
            on(ON_FOLDER),
            bases={FOLDER_KEY: BasePlace(findings=(wrong(ErrorKind.FILE_DIGEST),))},
        ),
        one(C.BASE_DIGEST, ERROR, "support", 3),
    ),
    Case(
        "base that could not be looked at",
        lambda: known(on(ON_FOLDER), bases={FOLDER_KEY: BasePlace(problem="no access")}),
        one(C.NOT_PROVED, WARNING, "support", 3),
    ),
    Case("base of MLflow's flavor", lambda: with_base_of_mlflow()),
    Case(
        "base of MLflow's flavor, registered after the adapter",
        lambda: with_base_of_mlflow(created_ms=2 * 10**12),
        one(C.BASE_MOVED, WARNING, "support", 3),
    ),
    Case(
        "base of MLflow's flavor that was changed",
        lambda: known(
            with_base_of_mlflow(),
            bases={
                ("models:/raw/1", FOREIGN_BASE.tree_digest): BasePlace(
                    findings=(wrong(ErrorKind.FILE_DIGEST),)
                )
            },
        ),
        one(C.BASE_DIGEST, ERROR, "support", 3),
    ),
    Case(
        "an adapter that MLflow's flavor logged",
        lambda: support(3, **FOREIGN, foreign=PEFT),
        one(C.BASE_UNPINNED, WARNING, "support", 3),
    ),
    # packages
    Case(
        "package gone",
        lambda: support(
            3,
            package=None,
            package_state=PackageState.MISSING,
            findings=(wrong(ErrorKind.MANIFEST_MISSING, "pairlock.json"),),
        ),
        one(C.PACKAGE_MISSING, ERROR, "support", 3),
    ),
    Case(
        "package gone of a model that is not Pairlock's",
        lambda: plain(package_state=PackageState.MISSING),
        one(C.PACKAGE_MISSING, WARNING, "churn", 1),
    ),
    Case(
        "manifest unreadable",
        lambda: support(
            3,
            package=None,
            package_state=PackageState.UNREADABLE,
            findings=(wrong(ErrorKind.MANIFEST_INVALID, "$.files"),),
        ),
        one(C.PACKAGE_UNREADABLE, ERROR, "support", 3),
    ),
    Case(
        "store away",
        lambda: support(3, package=None, package_state=PackageState.UNREACHABLE),
        one(C.PACKAGE_UNREACHABLE, ERROR, "support", 3),
    ),
    Case(
        "file missing",
        lambda: support(3, findings=(wrong(ErrorKind.FILE_MISSING),)),
        one(C.PACKAGE_INCOMPLETE, ERROR, "support", 3),
    ),
    *(
        Case(
            f"file with {kind}",
            lambda kind=kind: support(3, findings=(wrong(kind),)),  # type: ignore[misc]
            one(C.PACKAGE_TAMPERED, ERROR, "support", 3),
        )
        for kind in (ErrorKind.FILE_DIGEST, ErrorKind.FILE_SIZE, ErrorKind.FILE_NOT_REGULAR)
    ),
    Case(
        "manifest changed, as the inventory says too",
        lambda: support(
            3,
            package=replace(adapter("support 3", next(clean().versions())), digest=digest("x")),
            findings=(
                Finding(
                    kind=ErrorKind.PACKAGE_DIGEST,
                    place="the manifest, against the version tag",
                    expected=digest("support 3"),
                    found=digest("x"),
                ),
            ),
        ),
        one(C.PACKAGE_TAMPERED, ERROR, "support", 3),
    ),
    Case(
        "manifest and tag changed of a holder",
        lambda: with_version(
            clean(),
            "support",
            4,
            lambda _: version("support", 4, adapter("forged", next(clean().versions()))),
        ),
        one(C.PACKAGE_TAMPERED, ERROR, "support", 4) | one(C.TAGS_WRONG, ERROR, "support", 4),
    ),
    Case(
        "foreign file in a folder",
        lambda: support(3, findings=(wrong(ErrorKind.FILE_EXTRA, "payload/notes.txt"),)),
        one(C.FOREIGN_FILES, ERROR, "support", 3),
    ),
    Case(
        "foreign file in S3",
        lambda: support(
            3,
            location="s3://bucket/x",
            findings=(wrong(ErrorKind.FILE_EXTRA, "payload/notes.txt"),),
        ),
        one(C.FOREIGN_FILES, WARNING, "support", 3),
    ),
    Case(
        "foreign pickle",
        lambda: support(3, findings=(wrong(ErrorKind.FILE_EXTRA, "payload/optimizer.pt"),)),
        one(C.FOREIGN_FILES, ERROR, "support", 3) | one(C.PICKLE, WARNING, "support", 3),
    ),
    Case(
        "pickle",
        lambda: support(3, pickles=("payload/adapter/pytorch_model.bin",)),
        one(C.PICKLE, WARNING, "support", 3),
    ),
    Case("a model of another library", lambda: plain(pickles=("model.pkl",))),
    Case(
        "an embedding model of another flavor",
        lambda: plain("sentence_transformers", pickles=("model/pytorch_model.bin",)),
        one(C.FOREIGN_FLAVOR, NOTE, "churn", 1) | one(C.PICKLE, WARNING, "churn", 1),
    ),
    Case(
        "another flavor among Pairlock's versions",
        lambda: support(3, **FOREIGN),
        one(C.FOREIGN_FLAVOR, NOTE, "support", 3),
    ),
    # tags
    Case(
        "a tag taken off",
        lambda: retagged(clean(), "support", 3, query_space=None),
        one(C.TAGS_MISSING, WARNING, "support", 3),
    ),
    Case(
        "the digest's tag taken off",
        lambda: retagged(clean(), "support", 3, digest=None),
        one(C.TAGS_MISSING, WARNING, "support", 3),
    ),
    Case(
        "a tag changed",
        lambda: retagged(clean(), "support", 3, kind="full"),
        one(C.TAGS_WRONG, WARNING, "support", 3),
    ),
    Case(
        "the digest's tag changed, and nothing else knows it",
        lambda: retagged(clean(), "support", 3, digest=digest("x")),
        one(C.PACKAGE_TAMPERED, ERROR, "support", 3),
    ),
    Case(
        "the digest's tag of a holder changed",
        lambda: retagged(clean(), "support", 4, digest=digest("x")),
        one(C.TAGS_WRONG, ERROR, "support", 4),
    ),
    Case("a tag of somebody else's", lambda: retagged(clean(), "support", 3, owner="kim")),
    # stages
    Case(
        "alias moved by hand",
        lambda: aliases(production=3),
        one(C.ALIAS_UNEXPLAINED, ERROR, "support", 3),
    ),
    Case(
        "alias removed by hand",
        lambda: aliases(production=None),
        one(C.ALIAS_UNEXPLAINED, ERROR, "support", 4),
    ),
    Case(
        "alias of a stage that the ledger never spoke of",
        lambda: known(aliases(canary=3), policies=policy("canary")),
        one(C.ALIAS_UNEXPLAINED, WARNING, "support", 3),
    ),
    Case("alias that is no stage", lambda: aliases(champion=3)),
    Case(
        "stage's alias without a ledger",
        lambda: with_model(
            clean(),
            "support",
            lambda m: replace(m, ledger=None, tags={}, aliases={"production": 4}),
        ),
        one(C.ALIAS_UNEXPLAINED, NOTE, "support", 4),
    ),
    Case(
        "alias behind",
        lambda: with_ledger(
            aliases(production=3),
            "support",
            projected=(older_state(clean(), production=3, staging=5),),
        ),
        one(C.ALIAS_BEHIND, WARNING, "support", 4),
    ),
    Case(
        "alias moved by hand, and behind at another stage",
        lambda: with_ledger(
            aliases(production=3, staging=3),
            "support",
            projected=(older_state(clean(), production=3, staging=5),),
        ),
        one(C.ALIAS_BEHIND, WARNING, "support", 4) | one(C.ALIAS_UNEXPLAINED, ERROR, "support", 3),
    ),
    Case(
        "note of the newest entry taken off",
        lambda: with_model(clean(), "support", lambda m: replace(m, tags={})),
        one(C.ALIAS_BEHIND, WARNING, "support", None),
    ),
    Case(
        "ledger broken",
        lambda: with_ledger(
            aliases(production=3),
            "support",
            findings=(wrong(ErrorKind.LEDGER_BROKEN, "entries/000000000000.json"),),
        ),
        one(C.LEDGER_BROKEN, ERROR, "support", None),
    ),
    Case(
        "ledger gone",
        lambda: with_model(clean(), "support", lambda m: replace(m, ledger=None)),
        one(C.LEDGER_BROKEN, ERROR, "support", None),
    ),
    Case(
        "ledger out of reach",
        lambda: with_ledger(clean(), "support", problem="no answer"),
        one(C.NOT_PROVED, WARNING, "support", None),
    ),
    Case(
        "holder gone, and its alias with it",
        lambda: with_version(aliases(production=None), "support", 4, lambda _: None),
        one(C.HOLDER_GONE, ERROR, "support", 4),
    ),
    Case(
        "holder archived",
        lambda: support(4, state="archived"),
        one(C.HOLDER_ARCHIVED, WARNING, "support", 4),
    ),
    Case("version in no stage archived", lambda: support(3, state="archived")),
    Case(
        "holder below a bound",
        lambda: known(
            clean(),
            policies=policy(require=(parse_requirement("ndcg@10>=0.7"),)),
            measured=measured(0.6),
        ),
        one(C.HOLDER_FAILS_GATE, WARNING, "support", 4),
    ),
    Case(
        "holder above the bound",
        lambda: known(
            clean(),
            policies=policy(require=(parse_requirement("ndcg@10>=0.7"),)),
            measured=measured(0.7),
        ),
    ),
    Case(
        "holder below a bound that was bypassed",
        lambda: known(
            with_ledger(clean(), "support", bypassed={"production": frozenset({"metrics"})}),
            policies=policy(require=(parse_requirement("ndcg@10>=0.7"),)),
            measured=measured(0.6),
        ),
        one(C.HOLDER_FAILS_GATE, NOTE, "support", 4),
    ),
    Case(
        "holder's base not in the stage that the policy wants",
        lambda: known(clean(), policies=policy(base_stages=(frozenset({"gold"}),))),
        one(C.HOLDER_FAILS_GATE, WARNING, "support", 4),
    ),
    Case(
        "holder's base in the stage that the policy wants",
        lambda: known(clean(), policies=policy(base_stages=(frozenset({"production"}),))),
    ),
    Case(
        "signature wanted",
        lambda: known(clean(), policies=policy(signature=True)),
        one(C.HOLDER_FAILS_GATE, WARNING, "support", 4),
    ),
    Case(
        "gates that say nothing of a holder",
        lambda: known(clean(), policies=policy(approvals=2, min_age_hours=10.0**6)),
    ),
    Case(
        "stage that the policy does not name",
        lambda: known(clean(), policies={"support": Policy({"production": StagePolicy()})}),
        one(C.HOLDER_FAILS_GATE, WARNING, "support", 5),
    ),
    Case(
        "policy unreadable",
        lambda: known(clean(), unreadable_policies={"support": "no TOML"}),
        one(C.POLICY_UNREADABLE, WARNING, "support", None),
    ),
    Case(
        "space changes",
        lambda: other_space(5),
        one(C.SPACE_CHANGES, NOTE, "support", 5),
    ),
    Case(
        "space changes towards a stage that the policy feeds from it",
        lambda: known(other_space(5), policies=BOTH),
        one(C.SPACE_CHANGES, NOTE, "support", 5),
    ),
    Case("space of a version in no stage", lambda: other_space(3)),
    # versions
    Case(
        "registration failed",
        lambda: support(3, state="failed_registration"),
        one(C.NOT_READY, ERROR, "support", 3),
    ),
    Case(
        "registration goes on",
        lambda: support(3, state="pending_registration"),
        one(C.NOT_READY, NOTE, "support", 3),
    ),
    Case(
        "a library of another minor release",
        lambda: known(clean(), installed={**LIBRARIES, "transformers": "5.24.1"}),
        one(C.LIBRARY_DRIFT, NOTE, "support", 4, 5) | one(C.LIBRARY_DRIFT, NOTE, "minilm", 1),
    ),
    Case(
        "a library of another major release",
        lambda: known(clean(), installed={**LIBRARIES, "torch": "3.13.0"}),
        one(C.LIBRARY_DRIFT, WARNING, "support", 4, 5) | one(C.LIBRARY_DRIFT, WARNING, "minilm", 1),
    ),
    Case(
        "libraries of other patch releases and builds",
        lambda: known(clean(), installed={**LIBRARIES, "torch": "2.13.1+cu130", "numpy": "1.26.0"}),
    ),
    Case(
        "another release, and the vectors are proved",
        lambda: known(
            clean(),
            installed={**LIBRARIES, "torch": "3.0"},
            proved=frozenset(map(digest, ("support 4", "support 5", "minilm 1"))),
        ),
    ),
    Case(
        "one package twice in a model",
        lambda: with_model(
            clean(),
            "support",
            lambda m: replace(
                m, versions=(*m.versions, version("support", 6, m.versions[0].package))
            ),
        ),
        one(C.IDENTICAL, NOTE, "support", 6),
    ),
    Case(
        "one package in two models",
        lambda: mirrored(clean()),
        one(C.IDENTICAL, NOTE, "minilm", 1),
    ),
    Case(
        "never in a stage, and a newer one is",
        lambda: with_ledger(clean(), "support", held_versions=frozenset({4, 5})),
        one(C.SUPERSEDED, NOTE, "support", 3),
    ),
    Case(
        "never in a stage, by a history that was not read",
        lambda: with_ledger(clean(), "support", held_versions=frozenset()),
    ),
    Case("never in a stage, and asked for", lambda: with_request(3)),
    Case(
        "never in a stage, with an alias of its own",
        lambda: with_ledger(aliases(old=3), "support", held_versions=frozenset({4, 5})),
    ),
    Case(
        "never in a stage, and adapters stand on it",
        lambda: stood_on(),
    ),
    Case(
        "staging behind production",
        lambda: with_model(
            clean(),
            "support",
            lambda m: model("support", m.versions, {"staging": 3, "production": 4}),
        ),
        one(C.SUPERSEDED, NOTE, "support", 3),
    ),
    Case(
        "holder never profiled",
        lambda: with_version(clean(), "support", 4, unprofiled),
        one(C.NEVER_PROFILED, NOTE, "support", 4),
    ),
    Case(
        "holder with a profile of another package",
        lambda: with_version(
            clean(),
            "support",
            4,
            lambda v: replace(
                unprofiled(v), tags={**unprofiled(v).tags, "pairlock.profile.cpu.float32": "{]"}
            ),
        ),
        one(C.NEVER_PROFILED, NOTE, "support", 4),
    ),
    Case(
        "version in no stage never profiled",
        lambda: with_version(clean(), "support", 3, unprofiled),
    ),
    # storage
    Case(
        "holder of a deleted run",
        lambda: doomed("support", 4),
        one(C.GC_WOULD_DELETE, WARNING, "support", 4),
    ),
    Case(
        "base of a deleted logged model",
        lambda: doomed("minilm", 1, "logged model m-1"),
        one(C.GC_WOULD_DELETE, WARNING, "minilm", 1),
    ),
    Case(
        "version that nobody uses, of a deleted run",
        lambda: doomed("support", 3),
        one(C.GC_WOULD_DELETE, NOTE, "support", 3),
    ),
    Case(
        "bytes that are gone already",
        lambda: doomed("support", 3, package=None, package_state=PackageState.MISSING),
        one(C.PACKAGE_MISSING, ERROR, "support", 3),
    ),
    Case(
        "orphan",
        lambda: replace(clean(), orphans=("m-1",)),
        one(C.ORPHANED, NOTE, None, None),
    ),
]


def with_base_of_mlflow(**changes: Any) -> Inventory:
    """The registry with an adapter on a model of MLflow's own flavor."""
    pin = replace(FOREIGN_BASE, uri="models:/raw/1")
    raw = version("raw", 1, None, created_ms=1, **changes) if not changes else None
    raw = raw or version("raw", 1, None, **changes)
    registry = on(pin)
    return replace(registry, models=(*registry.models, model("raw", [raw])))


def stood_on() -> Inventory:
    """A base that was passed over, on which adapters stand that are in no stage."""
    registry = with_model(
        clean(), "minilm", lambda m: model("minilm", m.versions, {"production": 2, "staging": 2})
    )
    registry = with_ledger(registry, "minilm", held_versions=frozenset({2}))
    return with_model(registry, "support", lambda m: replace(m, ledger=None, tags={}, aliases={}))


def where(findings: tuple[AuditFinding, ...]) -> dict[Where, Severity]:
    """What was found, and where."""
    return {(one.code, one.model, one.version): one.severity for one in findings}


def judged(case: Case) -> tuple[AuditFinding, ...]:
    """All that the rules say of a case."""
    made = case.make()
    inventory, known = (made, KNOWN) if isinstance(made, Inventory) else made
    return judge(View(inventory), known)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_defect_is_found_where_it_is_and_nothing_else_is(case: Case) -> None:
    """What is wrong gets its code, severity and place, and nothing is invented beside it."""
    assert where(judged(case)) == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_finding_says_what_to_do(case: Case) -> None:
    """Every finding names its place, what was expected and found, and what to do; once."""
    found = judged(case)
    for one_found in found:
        assert one_found.place and one_found.expected and one_found.found and one_found.todo
    assert len({one_found.fingerprint for one_found in found}) == len(found)
    assert found == in_order(reversed(found))


def test_every_code_has_facts_and_a_case() -> None:
    """A code that nothing explains or nothing finds would be a promise that nobody keeps."""
    made_elsewhere = {Code.GOLDEN, Code.CACHE_DAMAGED}  # not by the rules: see test_audit_acts
    found = {code for case in CASES for code, _, _ in case.expected}
    assert set(FACTS) == set(Code)
    assert found == set(Code) - made_elsewhere
    for facts in FACTS.values():
        assert facts.title and facts.meaning.endswith(".") and facts.todo.endswith(".")


@st.composite
def clean_registries(draw: st.DrawFn) -> Inventory:
    """Any registry in which nothing is wrong."""
    models = []
    for m in range(draw(st.integers(1, 4))):
        bases = [
            version(f"base{m}", n, full(f"base {m} {n}", dimension=draw(st.sampled_from([8, 16]))))
            for n in range(1, draw(st.integers(1, 3)) + 1)
        ]
        held = draw(st.sampled_from(bases)).version
        models.append(model(f"base{m}", bases, {"production": held, "staging": held}))
        if not draw(st.booleans()):
            continue
        below = next(one for one in bases if one.version == held)
        count = draw(st.integers(1, 5))
        adapters = [
            version(f"adapter{m}", n, adapter(f"adapter {m} {n}", below))
            for n in range(1, count + 1)
        ]
        numbers = sorted(draw(st.lists(st.integers(1, count), min_size=2, max_size=2)))
        holders = dict(zip(["production", "staging"], numbers, strict=True))
        stages = draw(st.sampled_from([holders, {"production": numbers[0]}, None]))
        models.append(model(f"adapter{m}", adapters, stages))
    return inventory(*models)


@settings(max_examples=40)
@given(found=clean_registries())
def test_nothing_is_found_in_a_clean_registry(found: Inventory) -> None:
    """Whatever lies in a registry in which nothing is wrong: the audit says nothing."""
    assert judge(View(found), KNOWN) == ()


@settings(max_examples=25)
@given(found=clean_registries(), data=st.data())
def test_a_base_that_vanishes_is_missed_by_each_adapter_on_it(
    found: Inventory, data: st.DataObject
) -> None:
    """Whichever base is deleted, exactly the adapters that stand on it are reported."""
    gone = data.draw(st.sampled_from([v for v in found.versions() if v.name.startswith("base")]))
    left = with_version(found, gone.name, gone.version, lambda _: None)
    findings = judge(View(left), KNOWN)
    missing = {(f.model, f.version) for f in findings if f.code is Code.BASE_MISSING}
    assert missing == {
        (v.name, v.version)
        for v in found.versions()
        if v.package and v.package.base and v.package.base.uri == gone.uri
    }


def test_all_that_share_a_pin_are_told() -> None:
    """Adapters of one base have one pin in a real inventory; each of them hears of its base."""
    pin = pin_to(next(clean().versions()), uri="models:/nobody/1", package_digest=digest("gone"))
    adapters = [version("many", number, adapter(f"many {number}", pin)) for number in (1, 2, 3)]
    assert len({id(one.package.base) for one in adapters if one.package}) == 1

    found = where(judge(View(inventory(model("many", adapters))), KNOWN))

    missing = {(C.BASE_MISSING, "many", number) for number in (1, 2, 3)}
    assert missing <= found.keys()


def test_an_entry_of_a_newer_release_is_not_brought_back_from_a_backup() -> None:
    """Who meets with one is told to use a release that reads it; its file is as it should be."""
    newer = wrong(ErrorKind.FORMAT_TOO_NEW, "entries/000000000000.json")
    found = with_ledger(aliases(production=3), "support", findings=(newer,))

    (finding,) = (one for one in judge(View(found), KNOWN) if one.code is C.LEDGER_BROKEN)

    assert "pip install --upgrade pairlock" in finding.todo
    assert "backup" not in finding.todo
