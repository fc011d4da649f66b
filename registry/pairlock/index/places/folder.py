"""A folder that LlamaIndex's `persist` wrote: read and stamped without loading the index.

The stamp is in `index_store.json`, where `pairlock.index.places.storage` keeps it in memory.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairlock.errors import ErrorKind, FormatError, NotFoundError, StorageError, UnsupportedError
from pairlock.index.checking import Sample
from pairlock.index.places.interface import translated
from pairlock.index.places.storage import STAMPS, VECTOR_INDEX, stored_indexes
from pairlock.index.stamps import Stamp

INDEX_STORE = "index_store.json"
"""LlamaIndex's file of index structures."""

_STRUCTURES = "index_store/data"
_OF_OTHERS = {"chroma.sqlite3": "Chroma", "meta.json": "Qdrant"}


class PersistedIndex:
    """One vector index in a persisted folder."""

    keeps_norms = True

    def __init__(self, folder: Path, index_id: str) -> None:
        self.name = f"the index {index_id!r} in {folder}"
        self._folder = folder
        self._index_id = index_id

    def read(self) -> object | None:
        """The stamp as it is stored; None when there is none."""
        stamps = _read_store(self._folder).get(STAMPS)
        if stamps is not None and not isinstance(stamps, dict):
            return str(stamps)  # no stamp, and the reader says so
        found: object | None = (stamps or {}).get(self._index_id)
        return found

    def write(self, stamp: Stamp) -> None:
        """Store a stamp: the file is replaced whole, or not at all."""
        document = _read_store(self._folder)
        stamps = document.get(STAMPS)
        kept = stamps if isinstance(stamps, dict) else {}
        document[STAMPS] = {**kept, self._index_id: stamp.to_document()}
        _replace(self._folder / INDEX_STORE, json.dumps(document))

    def dimension(self) -> int | None:
        """Not known without reading every vector."""
        return None

    def samples(self, at_most: int) -> Sequence[Sample]:
        """Vectors of nodes from the whole index, read by LlamaIndex."""
        from llama_index.core import StorageContext

        # what LlamaIndex raises for a file that is missing, or is none of its own
        with translated(self.name, (OSError, ValueError, KeyError, TypeError, AttributeError)):
            context = StorageContext.from_defaults(persist_dir=str(self._folder))
            (index,) = stored_indexes(context, self._index_id)
        return index.samples(at_most)


def persisted_indexes(folder: Path, index_id: str | None) -> list[PersistedIndex]:
    """The vector indexes of a persisted folder: one of them, or all.

    Raises:
        NotFoundError: there is no such folder.
        UnsupportedError: it is a database of another kind.
        FormatError: its index store cannot be read.
        StorageError: a file cannot be read.
    """
    found = _read_store(folder).get(_STRUCTURES, {})
    return [
        PersistedIndex(folder, name)
        for name, structure in found.items()
        if isinstance(structure, dict)
        and structure.get("__type__") == VECTOR_INDEX
        and index_id in (None, name)
    ]


def _read_store(folder: Path) -> dict[str, Any]:
    path = folder / INDEX_STORE
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _no_store(folder) from None
    except OSError as error:
        raise _unusable(path, "read", error) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get(_STRUCTURES, {}), dict):
        raise _damaged(path, "holds no collections")
    return document


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise _unusable(path, "written", error) from error
    finally:
        beside.unlink(missing_ok=True)


def _no_store(folder: Path) -> NotFoundError | UnsupportedError:
    other = next((name for file, name in _OF_OTHERS.items() if (folder / file).exists()), None)
    if other is not None:
        return UnsupportedError(
            f"{folder} is a database of {other}'s",
            kind=ErrorKind.INDEX_UNSUPPORTED,
            checked=str(folder),
            expected="a folder that LlamaIndex's storage_context.persist wrote",
            found=f"{other}'s own files, with any number of collections",
            done="nothing",
            hint=f"open it with {other}'s client and give LlamaIndex's {other}VectorStore of one "
            "collection, in Python",
        )
    return NotFoundError(
        f"{folder} is no persisted index",
        kind=ErrorKind.FOLDER_MISSING,
        checked=str(folder / INDEX_STORE),
        expected="a folder on this machine that LlamaIndex's storage_context.persist wrote",
        found="no index store" if folder.is_dir() else "no folder",
        done="nothing",
        hint="give the persist_dir of the index",
    )


def _damaged(path: Path, problem: str) -> FormatError:
    return FormatError(
        f"{path} cannot be read",
        kind=ErrorKind.INDEX_STAMP_INVALID,
        checked=str(path),
        expected="an index store as LlamaIndex writes it",
        found=f"a file that {problem}",
        done="nothing",
        hint="restore the folder, or persist the index again",
    )


def _unusable(path: Path, verb: str, error: OSError) -> StorageError:
    return StorageError.of(
        error,
        f"{path} cannot be {verb}",
        checked=str(path),
        expected="a file that can be read and replaced",
        done="nothing",
        hint="see to the folder's permissions and space",
    )
