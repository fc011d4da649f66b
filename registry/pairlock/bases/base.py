"""A base whose bytes are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pairlock.digests import FileRecord
from pairlock.hashing import ProvedFiles
from pairlock.manifest import BaseOrigin, Manifest

MLFLOW_MODEL = "model.sentence_transformer"
"""Where MLflow's Sentence-Transformers flavor keeps the model inside its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base that was found, and whose bytes are known."""

    uri: str
    requested: str
    """Where it was found."""

    origin: BaseOrigin
    revision: str | None
    package_digest: str | None
    manifest: Manifest | None
    """The base's own manifest, when it is a package."""

    records: tuple[FileRecord, ...]
    """The model's files, relative to the model folder."""

    proved: ProvedFiles
    """The files' stamps; the store is the package, or the model folder."""

    model_folder: str | None
    """The folder of the store that holds the model's files and nothing else, if there is one."""

    fetched_bytes: int = 0
    """Bytes that had to be fetched for it."""

    warnings: tuple[str, ...] = ()
    """What somebody should know who loads it."""

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The model folder, for a library to read: exactly the proved files, and no other.

        A package's payload and a cached model are used where they lie. Of any other folder, where
        files that were never looked at may lie beside the model's, a view made of links is given
        for the time of the read.
        """
        if self.model_folder is not None:
            yield self.proved.store.local_path(self.model_folder)
            return
        from shutil import rmtree
        from tempfile import mkdtemp

        view = Path(mkdtemp(prefix="pairlock-base-"))
        try:
            for record in self.records:
                target = view / record.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(self.proved.store.local_path(record.path).resolve())
            yield view
        finally:
            rmtree(view, ignore_errors=True)
