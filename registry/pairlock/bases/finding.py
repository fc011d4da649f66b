"""Finds a model that shall become a base, and hashes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pairlock.bases.base import MLFLOW_MODEL, Base
from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.digests import FileRecord, hash_file
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.fetching import fetch_unknown
from pairlock.hashing import ProvedFiles
from pairlock.manifest import MANIFEST_NAME, BaseOrigin, Kind, Manifest
from pairlock.manifest.format import MODEL_FOLDER
from pairlock.packages import has_file, offline_error, open_package
from pairlock.progress import Progress
from pairlock.references import HubReference, parse_reference
from pairlock.resolution import resolve
from pairlock.stores import LocalStore, Store
from pairlock.stores.hub import hub_snapshot
from pairlock.stores.opening import is_remote, open_store


def find_base(text: str, *, settings: Settings, progress: Progress) -> Base:
    """Find a model that shall become a base, and hash it.

    Args:
        text: `models:/name/1`, an alias or stage, `hf://org/name@commit`, a folder, or `s3://…`.
        settings: which cache, and whether the network may be used.
        progress: told about the bytes fetched and hashed.

    Returns:
        The base, with its alias or stage resolved to a version.

    Raises:
        IntegrityError: it is a package that is not what was approved.
        InvalidInputError: it cannot be a base.
        NotFoundError: it is not there.
        PairlockError: every other reason why it cannot be found or read.
    """
    reference = parse_reference(text)
    if isinstance(reference, HubReference):
        root = hub_snapshot(reference, offline=settings.offline)
        located = Located(requested=text, uri=str(reference), location=str(root))
        found = _local_folder(located, root, BaseOrigin.HUB, progress=progress)
        return replace(found, revision=reference.commit)
    located = resolve(text, settings)
    if located.anchors:
        return _package_base(located, settings=settings, progress=progress)
    remote = is_remote(located.location)
    if remote and settings.offline:
        raise offline_error(located.uri, settings)
    store = open_store(located.location)
    if has_file(store, MANIFEST_NAME):
        return _package_base(located, settings=settings, progress=progress)
    if not has_file(store, "MLmodel"):
        if remote:
            return _remote_folder(located, store, BaseOrigin.FOLDER, settings, progress)
        root = Path(located.location)
        return _local_folder(located, root, BaseOrigin.FOLDER, progress=progress)
    if remote:
        inner = open_store(f"{located.location.rstrip('/')}/{MLFLOW_MODEL}")
        if not inner.entries():
            raise not_a_base(located, "an MLflow model of another flavor")
        return _remote_folder(located, inner, BaseOrigin.MLFLOW, settings, progress)
    root = Path(located.location) / MLFLOW_MODEL
    if not root.is_dir():
        raise not_a_base(located, "an MLflow model of another flavor")
    return _local_folder(located, root, BaseOrigin.MLFLOW, progress=progress)


def model_records(manifest: Manifest) -> tuple[FileRecord, ...]:
    """The model's files of a full package, by path in the model folder."""
    prefix = f"{MODEL_FOLDER}/"
    return tuple(
        replace(record, path=record.path.removeprefix(prefix))
        for record in manifest.files
        if record.path.startswith(prefix)
    )


def not_a_base(located: Located, found: str) -> InvalidInputError:
    """The error for something that no adapter can stand on."""
    return InvalidInputError(
        f"{located.uri} cannot be a base",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what it holds",
        expected="a full model: a Pairlock package of kind full, a Sentence-Transformers folder, "
        "or a model logged by MLflow's Sentence-Transformers flavor",
        found=found,
        done="nothing was written",
        hint="name the model that the adapter was trained on",
    )


def _package_base(located: Located, *, settings: Settings, progress: Progress) -> Base:
    package = open_package(located, settings=settings, progress=progress)
    if package.manifest.kind is not Kind.FULL:
        raise not_a_base(located, f"an adapter of kind {package.manifest.kind}")
    return Base(
        uri=located.uri,
        requested=located.requested,
        origin=BaseOrigin.PACKAGE,
        revision=None,
        package_digest=package.digest,
        manifest=package.manifest,
        records=model_records(package.manifest),
        proved=package.proved,
        model_folder=MODEL_FOLDER,
    )


def _local_folder(located: Located, root: Path, origin: BaseOrigin, *, progress: Progress) -> Base:
    store = LocalStore(root, follow_links=True)
    belonging = _belonging(located, store)
    entries = store.entries()
    records = []
    total = sum(entries[path].size_bytes for path in belonging)
    with progress.step("hash base", total) as advance:
        for path in belonging:
            sha256 = hash_file(store.local_path(path), on_bytes=advance)
            size_bytes = entries[path].size_bytes
            records.append(FileRecord(path=path, size_bytes=size_bytes, sha256=sha256))
    stamps = {path: entries[path] for path in belonging}
    proved = ProvedFiles(store=store, stamps=stamps, size_bytes=total, hashed_bytes=total)
    return _folder_base(located, origin, tuple(records), proved, model_folder=None)


def _remote_folder(
    located: Located, store: Store, origin: BaseOrigin, settings: Settings, progress: Progress
) -> Base:
    belonging = _belonging(located, store)
    records, proved = fetch_unknown(store, belonging, settings, progress=progress)
    return _folder_base(located, origin, records, proved, model_folder="")


def _belonging(located: Located, store: Store) -> tuple[str, ...]:
    from pairlock.layouts import SentenceTransformersLayout, listing_of, recognise

    layout = recognise(listing_of(store), allowed=None)
    if not isinstance(layout, SentenceTransformersLayout):
        raise not_a_base(located, "an adapter")
    return tuple(layout.belonging)


def _folder_base(
    located: Located,
    origin: BaseOrigin,
    records: tuple[FileRecord, ...],
    proved: ProvedFiles,
    *,
    model_folder: str | None,
) -> Base:
    return Base(
        uri=located.uri,
        requested=located.requested,
        origin=origin,
        revision=None,
        package_digest=None,
        manifest=None,
        records=records,
        proved=proved,
        model_folder=model_folder,
    )
