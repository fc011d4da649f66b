"""Where a model's ledger lies. No I/O.

The place is chosen once, at the first registration, and recorded on the registered model, so that
everybody finds the same ledger whatever their environment says. It is chosen from facts that all
processes share: two that register at once choose the same place.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from pairlock.errors import ErrorKind, UnsupportedError

FOLDER = "pairlock-ledger"

_LOGGED_MODEL = re.compile(r"(?P<root>.*?)(/\d+)?/models/m-[0-9a-f]{32}(/artifacts)?/?")
"""`<artifact root>/<experiment id>/models/m-<id>/artifacts`, as MLflow 3 lays out logged models; an
experiment with an artifact location of its own has no id in between."""

_LONGEST_NAME = 200
"""File systems take names of 255 bytes."""


def ledger_place(
    root: str | None,
    *,
    database: Path | None,
    artifact_location: str,
    model: str,
    created_ms: int,
) -> str:
    """Where a new ledger is to lie.

    Args:
        root: what PAIRLOCK_LEDGER says: a folder or `s3://bucket/prefix`; None where it is unset.
        database: the registry's own file, when the registry is one on this machine.
        artifact_location: where the bytes of the model's first version lie.
        model: the registered model's name.
        created_ms: when the registered model was made, in ms since 1970. One that is deleted and
            made again under its name gets another ledger.

    Returns:
        What to record: a folder's absolute path, an `s3://` URI, or, beside a database, a path
        relative to the database's folder, so that the two can be moved together.

    Raises:
        UnsupportedError: nothing here says where a ledger could lie; PAIRLOCK_LEDGER has to.
    """
    own = f"{_quoted(model)}/{created_ms}"
    if root is not None:
        return f"{root.rstrip('/')}/{own}"
    if database is not None:
        return f"{FOLDER}/{own}"
    found = _artifact_root(artifact_location)
    if found is None:
        raise _no_place(model, artifact_location)
    return f"{found}/{FOLDER}/{own}"


def resolve_place(recorded: str, *, database: Path | None) -> str:
    """The location of a ledger, for `open_store`.

    Args:
        recorded: what is recorded on the registered model.
        database: the registry's own file, when the registry is one on this machine.

    Raises:
        UnsupportedError: it is relative to a database, and the registry is none on this machine.
    """
    if urlsplit(recorded).scheme:
        return _local(recorded) or recorded
    if PurePosixPath(recorded).is_absolute():
        return recorded
    if database is None:
        raise UnsupportedError(
            "the ledger lies beside the registry's database, which is not on this machine",
            kind=ErrorKind.LEDGER_PLACE,
            checked="the place that is recorded on the registered model",
            expected="an absolute folder or an s3:// URI",
            found=recorded,
            done="nothing was read or changed",
            hint="use the registry by its sqlite:/// URI, or move the ledger to a place that both "
            "reach and set the model's tag pairlock.ledger to it",
        )
    return str(database.parent / recorded)


def _artifact_root(location: str) -> str | None:
    """The part of an artifact location that all models share; None where it is not known."""
    split = urlsplit(location)
    local = _local(location)
    if local is None and split.scheme not in {"s3", "s3a"}:
        return None
    found = _LOGGED_MODEL.fullmatch(split.path if local is None else local)
    if found is None:
        return None
    path = found["root"].rstrip("/")
    return f"s3://{split.netloc}{path}" if local is None else path


def _local(location: str) -> str | None:
    """An absolute path, or a `file:` URI as one; None for everything else."""
    split = urlsplit(location)
    if split.scheme == "file":
        return unquote(split.path)
    return location if not split.scheme and location.startswith("/") else None


def _quoted(model: str) -> str:
    """A registered name as the name of one folder: any two names differ, and none leads out."""
    name = quote(model, safe="")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(model.encode()).hexdigest()
    return f"{name[: _LONGEST_NAME - 65]}-{digest}"


def _no_place(model: str, location: str) -> UnsupportedError:
    return UnsupportedError(
        f"there is no place for the ledger of {model}",
        kind=ErrorKind.LEDGER_PLACE,
        checked="PAIRLOCK_LEDGER, and where the model's first version lies",
        expected="S3, or a folder that the registry's users share",
        found=location,
        done="nothing was recorded",
        hint="set PAIRLOCK_LEDGER to s3://bucket/prefix, or to a shared folder, and run this again",
    )
