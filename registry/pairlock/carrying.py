"""Packages and their bases as one folder, for machines without a network.

    pairlock-export.json   what is in it
    packages/<hex>/        a package by its digest
    models/<hex>/          a base model by its tree digest

Such a folder, or a copy of it under an S3 prefix, also serves as a mirror for bases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.bases import open_base
from pairlock.cache import IMPORTED, Answer, CacheFolder, ViewKey, ViewKind, recall, remember
from pairlock.config import Settings, current_settings
from pairlock.copying import copy_files, copying_to, write_package
from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from pairlock.fetching import Fetched, Source, fetch
from pairlock.manifest import MANIFEST_NAME, BasePin, Manifest, package_digest, read_manifest
from pairlock.manifest.format import MAX_MANIFEST_BYTES
from pairlock.packages import checked_digest, open_package, package_records
from pairlock.progress import SILENT, Progress
from pairlock.references import FolderReference, absolute_folder, parse_reference
from pairlock.resolution import resolve
from pairlock.staging import require_free, staged
from pairlock.stores import LocalStore

INDEX_NAME = "pairlock-export.json"
INDEX_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One package of an export."""

    uri: str
    """What it is loaded as."""

    package_digest: str
    base_tree_digest: str | None
    """The base that is in the export with it."""

    fetched_bytes: int = 0
    """Bytes that an import copied into the cache."""

    def to_dict(self) -> dict[str, Any]:
        """The package as JSON data."""
        return {
            "uri": self.uri,
            "package_digest": self.package_digest,
            "base_tree_digest": self.base_tree_digest,
        }


def export_packages(
    uris: Sequence[str],
    to: Path,
    *,
    base: str | None = None,
    offline: bool | None = None,
    progress: Progress = SILENT,
) -> tuple[Carried, ...]:
    """Write packages, and the bases they stand on, into one new folder.

    Args:
        uris: which packages, as `pairlock.load`.
        to: a folder that does not exist yet, or is empty. It appears whole or not at all.
        base: as `pairlock.load`.
        offline: as `pairlock.load`.
        progress: told about the work.

    Returns:
        What is in it.

    Raises:
        AlreadyExistsError: the target is not empty.
        InvalidInputError: one is named by its folder, which is no name elsewhere.
        IntegrityError: a package or a base is not what was approved.
        StorageError: writing failed; nothing is left behind.
        PairlockError: every other reason not to find or read one.
    """
    settings = current_settings(offline=offline)
    target = absolute_folder(to)
    require_free(target)
    carried: dict[str, Carried] = {}
    with copying_to(target), staged(target) as folder:
        for uri in uris:
            one = _export_one(uri, folder, base, settings, progress)
            carried[one.uri] = one
        index = {
            "format_version": INDEX_VERSION,
            "packages": [one.to_dict() for one in carried.values()],
        }
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return tuple(carried.values())


def import_packages(
    source: Path,
    *,
    expected_digest: str | None = None,
    replace: bool = False,
    progress: Progress = SILENT,
) -> tuple[Carried, ...]:
    """Bring an export into this machine's cache, proved, so that it loads offline.

    Args:
        source: the export's folder.
        expected_digest: a package digest known from elsewhere that one of its packages must have.
        replace: whether a package may take the name of another one that was imported before.
        progress: told about the work.

    Returns:
        What was in it; each is loaded by its `uri` with `offline=True`.

    Raises:
        NotFoundError: there is no export there, or a part of it is missing.
        FormatError: its index or a manifest cannot be read.
        IntegrityError: its bytes are not those that it names.
        AlreadyExistsError: another package was imported under the same name.
        StorageError: the cache cannot be written.
    """
    settings = current_settings()
    root = absolute_folder(source)
    entries = _read_index(root)
    digests = {entry.package_digest for entry in entries}
    if expected_digest is not None and checked_digest(expected_digest) not in digests:
        raise IntegrityError(
            f"{root} does not hold the package that was asked for",
            kind=ErrorKind.PACKAGE_DIGEST,
            checked=INDEX_NAME,
            expected=expected_digest,
            found=", ".join(sorted(digests)) or "no package",
            done="nothing was imported",
            hint="ask for the right export",
        )
    folder = CacheFolder(settings.cache)
    for entry in entries:
        _check_name_is_free(folder, entry, replace=replace)
    imported = tuple(_import_one(root, entry, settings, progress) for entry in entries)
    for entry in imported:
        remember(folder, _answer(entry))
    return imported


def _export_one(
    uri: str, folder: Path, base: str | None, settings: Settings, progress: Progress
) -> Carried:
    if isinstance(parse_reference(uri), FolderReference):
        raise InvalidInputError(
            f"{uri} has no name that another machine could load it by",
            kind=ErrorKind.REFERENCE_INVALID,
            checked="what to export",
            expected="a registered model, a logged model, or an s3:// URI",
            found="a folder",
            done="nothing was exported",
            hint="copy the folder itself, or log the model and export its version",
        )
    package = open_package(resolve(uri, settings), settings=settings, progress=progress)
    target = folder / "packages" / _hexadecimal(package.digest)
    if not target.exists():
        write_package(package, target, settings=settings, progress=progress)
    pin = package.manifest.base
    if pin is not None:
        with ExitStack() as stack:
            found = open_base(pin, instead=base, settings=settings, progress=progress)
            advance = stack.enter_context(progress.step("copy", found.proved.size_bytes))
            model = folder / "models" / _hexadecimal(pin.tree_digest)
            if not model.exists():
                files = LocalStore(stack.enter_context(found.folder()), follow_links=True)
                copy_files(files, pin.files, model, on_bytes=advance)
    return Carried(
        uri=package.located.uri,
        package_digest=package.digest,
        base_tree_digest=None if pin is None else pin.tree_digest,
    )


def _import_one(root: Path, entry: Carried, settings: Settings, progress: Progress) -> Carried:
    store = LocalStore(root / "packages" / _hexadecimal(entry.package_digest))
    content = store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    digest = package_digest(content)
    if digest != entry.package_digest:
        raise IntegrityError(
            f"{store.location} is not the package that the export names",
            kind=ErrorKind.PACKAGE_DIGEST,
            checked=MANIFEST_NAME,
            expected=entry.package_digest,
            found=digest,
            done="nothing of it was imported",
            hint="copy the export again, or export it again",
        )
    manifest: Manifest = read_manifest(content, where=f"{MANIFEST_NAME} of {store.location}")
    fetched = _bring(
        ViewKey(ViewKind.PACKAGE, digest),
        Source(store=store, at_hand={MANIFEST_NAME: content}),
        manifest,
        content,
        settings,
        progress,
    )
    fetched_bytes = fetched.fetched_bytes
    if manifest.base is not None:
        fetched_bytes += _import_base(root, manifest.base, settings, progress)
    return Carried(
        uri=entry.uri,
        package_digest=digest,
        base_tree_digest=None if manifest.base is None else manifest.base.tree_digest,
        fetched_bytes=fetched_bytes,
    )


def _bring(
    key: ViewKey,
    source: Source,
    manifest: Manifest,
    content: bytes,
    settings: Settings,
    progress: Progress,
) -> Fetched:
    records = package_records(manifest, content, key.digest)
    fetched = fetch(key, records, source, settings, progress=progress)
    assert fetched is not None  # there is a source
    return fetched


def _import_base(root: Path, pin: BasePin, settings: Settings, progress: Progress) -> int:
    store = LocalStore(root / "models" / _hexadecimal(pin.tree_digest))
    key = ViewKey(ViewKind.MODEL, pin.tree_digest)
    fetched = fetch(key, pin.files, Source(store=store), settings, progress=progress)
    assert fetched is not None  # there is a source
    return fetched.fetched_bytes


def _read_index(root: Path) -> tuple[Carried, ...]:
    try:
        content = LocalStore(root).read_small(INDEX_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    except NotFoundError as error:
        raise NotFoundError(
            f"{root} is no export",
            kind=ErrorKind.FOLDER_MISSING,
            checked=f"{root}/{INDEX_NAME}",
            expected="a folder that `pairlock export` wrote",
            found="no such file",
            done="nothing was imported",
            hint="name the folder that was given to `pairlock export --to`",
        ) from error
    try:
        document = json.loads(content)
        version = document["format_version"]
        if type(version) is not int or version < 1:
            raise TypeError(f"format version {version!r}")
        if version > INDEX_VERSION:
            raise _unreadable(root, f"format version {version}", too_new=True)
        entries = tuple(
            Carried(
                uri=_text(item["uri"]),
                package_digest=checked_digest(_text(item["package_digest"])),
                base_tree_digest=None,
            )
            for item in document["packages"]
        )
        if len({entry.uri for entry in entries}) < len(entries):
            raise ValueError("two packages of one name")
        return entries
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise _unreadable(root, f"{type(error).__name__}: {error}", too_new=False) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _unreadable(root: Path, found: str, *, too_new: bool) -> FormatError:
    return FormatError(
        f"{root}/{INDEX_NAME} cannot be read",
        kind=ErrorKind.FORMAT_TOO_NEW if too_new else ErrorKind.EXPORT_INVALID,
        checked=INDEX_NAME,
        expected=f"an index of format version {INDEX_VERSION}",
        found=found.partition("\n")[0][:300],
        done="nothing was imported",
        hint="upgrade Pairlock" if too_new else "copy the export again, or export it again",
    )


def _check_name_is_free(folder: CacheFolder, entry: Carried, *, replace: bool) -> None:
    before = recall(folder, IMPORTED, entry.uri)
    if replace or before is None or before.package_digest == entry.package_digest:
        return
    raise AlreadyExistsError(
        f"another package was imported as {entry.uri}",
        kind=ErrorKind.TARGET_EXISTS,
        checked="what was imported before",
        expected=entry.package_digest,
        found=str(before.package_digest),
        done="nothing was imported",
        hint="import with --replace if the new one shall be loaded under this name",
    )


def _answer(entry: Carried) -> Answer:
    anchors: Mapping[str, str] = {"import": entry.package_digest}
    return Answer(
        registry=IMPORTED,
        requested=entry.uri,
        uri=entry.uri,
        location=f"imported:/{_hexadecimal(entry.package_digest)}",
        anchors=anchors,
        package_digest=entry.package_digest,
    )


def _hexadecimal(digest: str) -> str:
    return digest.removeprefix("sha256:")
