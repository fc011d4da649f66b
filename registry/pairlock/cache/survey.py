"""What lies in a cache: views, blobs, and what was not finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairlock.cache.answers import all_answers
from pairlock.cache.blobs import is_blob_name
from pairlock.cache.folder import CacheFolder
from pairlock.cache.views import View, ViewKey, ViewKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFacts:
    """A package or a base model."""

    kind: ViewKind
    digest: str
    size_bytes: int
    used_at: float
    """Seconds since 1970."""

    contents: frozenset[str]
    """The sha256 of its files; empty when its seal cannot be read."""

    names: tuple[str, ...]
    """What it was asked for as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A blob, or something unfinished."""

    path: Path
    size_bytes: int
    changed_at: float
    """Seconds since 1970: when the blob came, or when the unfinished thing last grew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything in a cache."""

    root: Path
    views: tuple[ViewFacts, ...]
    blobs: tuple[FileFacts, ...]
    unfinished: tuple[FileFacts, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blobs and all that is unfinished."""
        return sum(file.size_bytes for file in (*self.blobs, *self.unfinished))


def survey(folder: CacheFolder) -> Survey:
    """Look at everything in a cache. A cache that is not there is empty.

    Raises:
        UnsupportedError: a newer release made it.
    """
    folder.check()
    names: dict[str, list[str]] = {}
    for answer in all_answers(folder):
        if answer.package_digest is not None:
            names.setdefault(answer.package_digest, []).append(answer.requested)
    return Survey(
        root=folder.root,
        views=tuple(_view(view, names) for view in every_view(folder)),
        blobs=tuple(file for path in every_blob(folder) for file in _file(path)),
        unfinished=tuple(file for path in _children(folder.staging) for file in _file(path)),
    )


def every_view(folder: CacheFolder) -> Iterator[View]:
    """Every view that is there."""
    for kind in ViewKind:
        for path in _children(folder.views / kind):
            view = View(folder, ViewKey(kind, f"sha256:{path.name}"))
            if is_blob_name(path.name) and view.exists():
                yield view


def every_blob(folder: CacheFolder) -> Iterator[Path]:
    """Every file that is named as a blob."""
    for shelf in _children(folder.blobs):
        yield from (path for path in _children(shelf) if is_blob_name(path.name))


def _view(view: View, names: dict[str, list[str]]) -> ViewFacts:
    seal = view.seal()
    sizes = [entry.size_bytes for entry in seal.stamps.values()] if seal else []
    return ViewFacts(
        kind=view.key.kind,
        digest=view.key.digest,
        size_bytes=sum(sizes),
        used_at=view.used_at(),
        contents=frozenset(seal.contents.values()) if seal else frozenset(),
        names=tuple(sorted(set(names.get(view.key.digest, [])))),
    )


def _file(path: Path) -> Iterator[FileFacts]:
    try:
        status = path.stat()
        size_bytes = status.st_size if path.is_file() else 0
        # a hard link that is made or removed changes a blob's ctime, which here means: lately used
        changed_at = max(status.st_mtime, status.st_ctime)
        yield FileFacts(path=path, size_bytes=size_bytes, changed_at=changed_at)
    except OSError:
        return  # gone meanwhile


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
