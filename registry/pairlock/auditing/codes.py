"""What an audit can find. Codes are stable: a published one never changes its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Vectors cannot be had, or need not be those that were approved."""

    WARNING = "warning"
    """It works today, and is going to fail or to surprise."""

    NOTE = "note"
    """Worth knowing."""

    @property
    def rank(self) -> int:
        """Larger is worse."""
        return {"error": 2, "warning": 1, "note": 0}[self.value]


class Code(StrEnum):
    """One kind of finding."""

    # base
    BASE_MISSING = "base-missing"
    BASE_MOVED = "base-moved"
    BASE_DIGEST = "base-digest"
    BASE_DIMENSION = "base-dimension"
    BASE_RETIRED = "base-retired"
    BASE_NOT_IN_STAGE = "base-not-in-stage"
    BASE_UNPINNED = "base-unpinned"
    # package
    PACKAGE_MISSING = "package-missing"
    PACKAGE_INCOMPLETE = "package-incomplete"
    PACKAGE_TAMPERED = "package-tampered"
    PACKAGE_UNREADABLE = "package-unreadable"
    PACKAGE_UNREACHABLE = "package-unreachable"
    FOREIGN_FILES = "foreign-files"
    PICKLE = "pickle"
    GOLDEN = "golden-vectors"
    NOT_PROVED = "not-proved"
    # tags
    TAGS_MISSING = "tags-missing"
    TAGS_WRONG = "tags-wrong"
    # stages
    ALIAS_UNEXPLAINED = "alias-unexplained"
    ALIAS_BEHIND = "alias-behind"
    LEDGER_BROKEN = "ledger-broken"
    HOLDER_GONE = "holder-gone"
    HOLDER_FAILS_GATE = "holder-fails-gate"
    SPACE_CHANGES = "space-changes"
    # versions
    LIBRARY_DRIFT = "library-drift"
    IDENTICAL = "identical"
    SUPERSEDED = "superseded"
    NEVER_PROFILED = "never-profiled"
    # storage
    GC_WOULD_DELETE = "gc-would-delete"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a code means, for the documentation, SARIF's rules and the report page."""

    severity: Severity
    title: str
    """A few words."""

    meaning: str
    """One sentence: what was found, and what follows from it."""

    todo: str
    """What to do about it."""
