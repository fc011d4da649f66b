"""Every error Pairlock raises on purpose.

One base class, few categories. A category says what a handler would do; a `kind` says exactly what
happened, for machines. Kinds are append-only: a published value never changes its meaning.

    PairlockError
    ├── NotFoundError      (LookupError)   the thing asked for is not there
    ├── AlreadyExistsError                 the target is taken
    ├── ConflictError                      somebody else acted first
    ├── RefusedError                       a gate or a policy says no
    ├── IntegrityError     (ValueError)    it is there, and it is not what was approved
    ├── FormatError        (ValueError)    a document that this release cannot read
    ├── InvalidInputError  (ValueError)    the caller asked for something that cannot be
    ├── UnsupportedError                   it is understood, and this release does not do it
    ├── UnavailableError                   a registry, store, hub or device that cannot be used now
    └── StorageError       (OSError)       reading or writing files failed

Every error carries what was checked, expected, found and done, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ErrorKind(StrEnum):
    """Stable machine-readable codes. Append only."""

    # integrity
    FILE_MISSING = "file-missing"
    FILE_SIZE = "file-size"
    FILE_DIGEST = "file-digest"
    FILE_EXTRA = "file-extra"
    FILE_NOT_REGULAR = "file-not-regular"
    FILE_CHANGED = "file-changed-while-loading"
    PACKAGE_DIGEST = "package-digest"
    BASE_DIGEST = "base-digest"
    BASE_FILES = "base-files"
    DIMENSION = "dimension"
    TENSOR_KEYS = "tensor-keys"
    TENSOR_VALUES = "tensor-values"
    ENCODE_SETTINGS = "encode-settings"
    GOLDEN = "golden-vectors"
    ADAPTER_NOT_APPLIED = "adapter-not-applied"
    WEIGHTS_CHANGED = "weights-changed"
    NOT_REPRODUCIBLE = "not-reproducible"
    UNSAFE_PICKLE = "unsafe-pickle"
    # formats
    MANIFEST_INVALID = "manifest-invalid"
    FORMAT_TOO_NEW = "format-too-new"
    GOLDEN_INVALID = "golden-invalid"
    # not found
    MANIFEST_MISSING = "manifest-missing"
    FOLDER_MISSING = "folder-missing"
    MODEL_NOT_FOUND = "model-not-found"
    VERSION_NOT_READY = "version-not-ready"
    BASE_NOT_FOUND = "base-not-found"
    HUB_SNAPSHOT_NOT_FOUND = "hub-snapshot-not-found"
    NEVER_ASKED = "never-asked"
    # input
    REFERENCE_INVALID = "reference-invalid"
    NAME_INVALID = "name-invalid"
    ARGUMENT_INVALID = "argument-invalid"
    LAYOUT_UNKNOWN = "layout-unknown"
    MODEL_INCOMPLETE = "model-incomplete"
    NOT_A_PAIRLOCK_EMBEDDING = "not-a-pairlock-embedding"
    TARGET_EXISTS = "target-exists"
    # unsupported, unavailable
    KIND_UNSUPPORTED = "kind-unsupported"
    STORE_UNSUPPORTED = "store-unsupported"
    REGISTRY_UNAVAILABLE = "registry-unavailable"
    DEVICE_UNAVAILABLE = "device-unavailable"
    STORAGE_FAILED = "storage-failed"
    STORE_UNAVAILABLE = "store-unavailable"
    ACCESS_DENIED = "access-denied"
    OFFLINE = "offline"
    NO_SPACE = "no-space"
    CONDITION_UNSUPPORTED = "condition-unsupported"
    EXPORT_INVALID = "export-invalid"
    CACHE_TOO_NEW = "cache-too-new"
    # code of other packages
    CLASS_NOT_ALLOWED = "class-not-allowed"
    CLASS_MISSING = "class-missing"
    LIBRARY_VERSION = "library-version"
    DEVICE_TOO_SMALL = "device-too-small"
    DTYPE_UNSUPPORTED = "dtype-unsupported"
    # stages
    LEDGER_CONFLICT = "ledger-conflict"
    LEDGER_BROKEN = "ledger-broken"
    LEDGER_INVALID = "ledger-invalid"
    LEDGER_PLACE = "ledger-place"
    POLICY_INVALID = "policy-invalid"
    STAGE_UNKNOWN = "stage-unknown"
    STAGE_EMPTY = "stage-empty"
    ALIAS_MOVED = "alias-moved"
    GATES_FAILED = "gates-failed"
    BYPASS_NOT_ALLOWED = "bypass-not-allowed"
    REQUEST_NOT_FOUND = "request-not-found"
    # spaces, indexes, evaluation
    SPACE = "space"
    INDEX_NOT_STAMPED = "index-not-stamped"
    INDEX_UNSUPPORTED = "index-unsupported"
    INDEX_STAMP_INVALID = "index-stamp-invalid"
    DATASET_INVALID = "dataset-invalid"
    DESTINATION = "destination"
    # audit
    BASELINE_INVALID = "baseline-invalid"
    # runtimes
    LIBRARY_MISSING = "library-missing"
    RUNTIME_MISSING = "runtime-missing"
    RUNTIME_INVALID = "runtime-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    kind: ErrorKind
    """What is wrong."""

    place: str
    """Where: a file path inside the package, a text id, a manifest key."""

    expected: str
    """What should be there."""

    found: str
    """What is there."""

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}, found {self.found}"

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON data."""
        return {
            "kind": str(self.kind),
            "place": self.place,
            "expected": self.expected,
            "found": self.found,
        }


class PairlockError(Exception):
    """The base of every error that Pairlock raises on purpose.

    Attributes:
        kind: the stable code of what happened.
        summary: one sentence.
        checked: what was looked at.
        expected: what should have been there.
        found: what was there.
        done: what Pairlock did about it (usually: nothing was loaded or written).
        hint: what to do next.
        findings: every single finding, where there are several.
    """

    def __init__(
        self,
        summary: str,
        *,
        kind: ErrorKind,
        checked: str = "",
        expected: str = "",
        found: str = "",
        done: str = "",
        hint: str = "",
        findings: Sequence[Finding] = (),
    ) -> None:
        super().__init__(summary)
        self.kind = kind
        self.summary = summary
        self.checked = checked
        self.expected = expected
        self.found = found
        self.done = done
        self.hint = hint
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "\n".join([self.summary, *self.detail_lines()])

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.to_fields()))

    def detail_lines(self) -> list[str]:
        """The facts under the summary, one line each, for a person."""
        facts = {
            "checked": self.checked,
            "expected": self.expected,
            "found": self.found,
            "done": self.done,
            "hint": self.hint,
        }
        lines = [f"  {finding}" for finding in self.findings]
        return lines + [f"  {name}: {text}" for name, text in facts.items() if text]

    def to_fields(self) -> dict[str, Any]:
        """The constructor's arguments, for copying the error to another process."""
        return {
            "summary": self.summary,
            "kind": self.kind,
            "checked": self.checked,
            "expected": self.expected,
            "found": self.found,
            "done": self.done,
            "hint": self.hint,
            "findings": self.findings,
        }

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON data: category, kind, facts and findings."""
        return {
            "category": type(self).__name__,
            **self.to_fields(),
            "kind": str(self.kind),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def _rebuild(category: type[PairlockError], fields: dict[str, Any]) -> PairlockError:
    summary = fields.pop("summary")
    return category(summary, **fields)


class NotFoundError(PairlockError, LookupError):
    """The thing asked for is not there."""


class AlreadyExistsError(PairlockError):
    """The target is taken."""


class ConflictError(PairlockError):
    """Somebody else acted first, so that what was planned is no longer what would happen."""


class RefusedError(PairlockError):
    """A gate or a policy says no. Nothing is changed."""


class IntegrityError(PairlockError, ValueError):
    """It is there, and it is not what was approved. Nothing is loaded."""


class FormatError(PairlockError, ValueError):
    """A document that this release cannot read."""


class InvalidInputError(PairlockError, ValueError):
    """The caller asked for something that cannot be."""


class UnsupportedError(PairlockError):
    """It is understood, and this release does not do it."""


class UnavailableError(PairlockError):
    """A registry, store, hub or device that cannot be used now."""


class StorageError(PairlockError, OSError):
    """Reading or writing files failed."""

    @classmethod
    def of(
        cls,
        error: OSError,
        summary: str,
        *,
        checked: str,
        expected: str = "",
        done: str,
        hint: str,
    ) -> StorageError:
        """What the system said, as an error of this kind; the arguments as `PairlockError`'s."""
        return cls(
            summary,
            kind=ErrorKind.STORAGE_FAILED,
            checked=checked,
            expected=expected,
            found=os_reason(error),
            done=done,
            hint=hint,
        )


def os_reason(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return f"{type(error).__name__}: {error.strerror or error}"
