"""Errors: few categories, stable kinds, facts for people and for machines."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from pairlock import errors
from pairlock.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    Finding,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    RefusedError,
    StorageError,
    UnavailableError,
    UnsupportedError,
    os_reason,
)

PARENTS = {
    NotFoundError: LookupError,
    AlreadyExistsError: Exception,
    ConflictError: Exception,
    RefusedError: Exception,
    IntegrityError: ValueError,
    FormatError: ValueError,
    InvalidInputError: ValueError,
    UnsupportedError: Exception,
    UnavailableError: Exception,
    StorageError: OSError,
}
PUBLISHED_KINDS = {
    "file-missing",
    "file-size",
    "file-digest",
    "file-extra",
    "file-not-regular",
    "file-changed-while-loading",
    "package-digest",
    "base-digest",
    "base-files",
    "dimension",
    "tensor-keys",
    "tensor-values",
    "encode-settings",
    "golden-vectors",
    "adapter-not-applied",
    "not-reproducible",
    "unsafe-pickle",
    "manifest-invalid",
    "format-too-new",
    "golden-invalid",
    "manifest-missing",
    "folder-missing",
    "model-not-found",
    "version-not-ready",
    "base-not-found",
    "hub-snapshot-not-found",
    "reference-invalid",
    "name-invalid",
    "argument-invalid",
    "layout-unknown",
    "model-incomplete",
    "not-a-pairlock-embedding",
    "target-exists",
    "kind-unsupported",
    "store-unsupported",
    "registry-unavailable",
    "device-unavailable",
    "storage-failed",
}
FINDING = Finding(kind=ErrorKind.FILE_SIZE, place="payload/a", expected="3 bytes", found="4 bytes")


def full_error(category: type[PairlockError]) -> PairlockError:
    return category(
        "something is wrong",
        kind=ErrorKind.FILE_SIZE,
        checked="what was checked",
        expected="what was expected",
        found="what was found",
        done="what was done",
        hint="what to do",
        findings=[FINDING],
    )


def test_every_category_is_known_here() -> None:
    """The tree in the docstring is the tree: no category is missing from these tests."""
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, PairlockError)
    }
    assert defined == {PairlockError, *PARENTS}


@pytest.mark.parametrize("category", PARENTS)
def test_every_category_is_a_pairlock_error_and_a_natural_builtin(
    category: type[PairlockError],
) -> None:
    """One `except PairlockError` catches all, and a builtin parent catches what it names."""
    assert issubclass(category, PairlockError)
    assert issubclass(category, PARENTS[category])
    assert category.__name__ in (errors.__doc__ or "")


def test_published_kinds_never_go_away() -> None:
    """Kinds are append-only: every published value is still there."""
    assert {kind.value for kind in ErrorKind} >= PUBLISHED_KINDS


@pytest.mark.parametrize("category", [PairlockError, *PARENTS])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(category: type[PairlockError], protocol: int) -> None:
    """An error that crosses a process keeps its category, kind, facts and findings."""
    error = full_error(category)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is category
    assert again.kind is ErrorKind.FILE_SIZE
    assert again.to_fields() == error.to_fields()
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize("category", [PairlockError, *PARENTS])
def test_an_error_can_be_copied(category: type[PairlockError]) -> None:
    """A copy carries the same facts, and copying leaves the original as it was."""
    error = full_error(category)
    assert copy.copy(error).to_fields() == error.to_fields()
    assert copy.deepcopy(error).to_dict() == error.to_dict()
    assert error.summary == "something is wrong"


@pytest.mark.parametrize("category", [PairlockError, *PARENTS])
def test_the_message_holds_every_fact(category: type[PairlockError]) -> None:
    """A person reads what was checked, expected, found and done, what to do, and all findings."""
    error = full_error(category)
    message = str(error)
    for fact in (error.summary, error.checked, error.expected, error.found, error.done, error.hint):
        assert fact in message
    assert str(FINDING) in message
    assert message.splitlines()[0] == error.summary


def test_empty_facts_make_no_lines() -> None:
    """An error without further facts is its summary alone."""
    assert str(PairlockError("short", kind=ErrorKind.GOLDEN)) == "short"
    assert PairlockError("short", kind=ErrorKind.GOLDEN).findings == ()


def test_an_error_is_json_data() -> None:
    """Machines get category, kind and findings as plain JSON."""
    data = json.loads(json.dumps(full_error(StorageError).to_dict()))
    assert data["category"] == "StorageError"
    assert data["kind"] == "file-size"
    assert data["findings"] == [FINDING.to_dict()]
    assert data["findings"][0]["kind"] == "file-size"
    assert data["findings"][0]["place"] == "payload/a"


def test_what_the_system_said_is_kept() -> None:
    """A file that could not be used gives the system's reason, and can be caught as an OSError."""
    said = PermissionError(13, "Permission denied")
    error = StorageError.of(said, "cannot read x", checked="x", done="nothing", hint="look")
    assert error.kind is ErrorKind.STORAGE_FAILED
    assert error.found == os_reason(said) == "PermissionError: Permission denied"
    assert isinstance(error, OSError)
    assert os_reason(OSError("odd")) == "OSError: odd"
