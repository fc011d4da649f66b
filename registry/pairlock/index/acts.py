"""Stamp an index, read its stamp, and check a model against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError, UnsupportedError
from pairlock.index.checking import (
    SAMPLES,
    Sample,
    require_dimension,
    require_same_space,
    require_same_vectors,
    require_unstamped,
)
from pairlock.index.places import Place, find_places
from pairlock.index.stamps import Stamp, read_stamp, stamp_of
from pairlock.manifest import Role
from pairlock.receipts import receipt


def stamp(
    target: object,
    embedding: object,
    *,
    index_id: str | None = None,
    prove: bool = True,
    replace: bool = False,
) -> Stamp:
    """Write down which model the vectors of an index come from.

    The stamp goes where the vectors are: into the metadata of a Chroma or Qdrant collection, or
    into LlamaIndex's index store, from where `persist` takes it to disk and
    `load_index_from_storage` back.

    Args:
        target: a `VectorStoreIndex`, a `StorageContext`, a folder that was persisted, a
            `ChromaVectorStore`, a Chroma collection, or a `QdrantVectorStore`.
        embedding: what `pairlock.load` returned, and the index was built with.
        index_id: which index of a storage context or folder; None for all of them.
        prove: compute up to three of the stored vectors again, and refuse to stamp where they are
            others. An index without vectors proves nothing, and is stamped.
        replace: stamp also what is stamped with another space, or with something unreadable.

    Returns:
        The stamp.

    Raises:
        AlreadyExistsError: it is stamped with another space.
        IntegrityError: the stored vectors do not come from this model.
        InvalidInputError: the embedding was not loaded by Pairlock, or the target is no index.
        NotFoundError: there is no such index.
        UnsupportedError: the index can keep no stamp, or its vectors cannot be read back.
        FormatError: the index store, or the stamp that is there, cannot be read.
        UnavailableError: the store cannot be reached.
        StorageError: a file cannot be read or written.
    """
    new = stamp_of(receipt(embedding))
    places = find_places(target, index_id)
    for place in places:
        stored = place.read()
        if stored is not None and not replace:
            require_unstamped(read_stamp(stored, where=place.name), new, where=place.name)
        _compare(place, embedding, prove=prove)
    for place in places:
        place.write(new)
        if place.read() is None:
            raise _not_kept(place)
    return new


def read(target: object, *, index_id: str | None = None) -> Stamp:
    """The stamp of an index. A folder is read without LlamaIndex.

    Args:
        target: as for `stamp`.
        index_id: which index of a storage context or folder; None when there is one, or all are
            stamped with one space.

    Raises:
        InvalidInputError: there are several indexes of different spaces, or the target is none.
        NotFoundError: there is no such index, or it is not stamped.
        UnsupportedError: the index can keep no stamp.
        FormatError: the index store or the stamp cannot be read.
        UnavailableError: the store cannot be reached.
        StorageError: a file cannot be read.
    """
    stamps = {place.name: _read(place) for place in find_places(target, index_id)}
    if len({one.document_space for one in stamps.values()}) > 1:
        raise InvalidInputError(
            "the indexes are of different embedding spaces",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked=", ".join(stamps),
            expected="one index, or several of one space",
            found="; ".join(f"{name}: {one}" for name, one in stamps.items()),
            done="nothing",
            hint="say which one with index_id",
        )
    return next(iter(stamps.values()))


def check(
    target: object, embedding: object, *, index_id: str | None = None, prove: bool = False
) -> Stamp:
    """Refuse a model that must not be used with an index.

    The stamp's document space must be the embedding's, and so must the dimension of the stored
    vectors, where it can be known without reading all of them.

    Args:
        target: as for `stamp`.
        embedding: what shall answer from it, or add to it.
        index_id: which index of a storage context or folder; None for all of them.
        prove: also compute up to three of the stored vectors again, as `stamp` does.

    Returns:
        The stamp; of the first index, where there are several.

    Raises:
        IntegrityError: the spaces, the dimensions or the vectors differ; both models are named.
        NotFoundError: there is no such index, or it is not stamped.
        InvalidInputError: the target is no index.
        UnsupportedError: the index can keep no stamp, or its vectors cannot be read back.
        FormatError: the index store or the stamp cannot be read.
        UnavailableError: the store cannot be reached.
        StorageError: a file cannot be read.
    """
    found = []
    for place in find_places(target, index_id):
        stored = _read(place)
        require_same_space(stored, embedding, where=place.name)
        _compare(place, embedding, prove=prove)
        found.append(stored)
    return found[0]


def prove_samples(
    samples: Sequence[Sample], embedding: Any, *, keeps_norms: bool, where: str
) -> None:
    """Compute vectors again, past every cache, and compare them.

    Raises:
        IntegrityError: they are others.
    """
    if not samples:
        return
    found = embedding.vectors([sample.text for sample in samples], Role.TEXT)
    require_same_vectors(
        samples, found, keeps_norms=keeps_norms, loaded=receipt(embedding), where=where
    )


def _compare(place: Place, embedding: object, *, prove: bool) -> None:
    """Compare what is stored with what the model computes."""
    require_dimension(place.dimension(), receipt(embedding), where=place.name)
    if prove:
        samples = place.samples(SAMPLES)
        prove_samples(samples, embedding, keeps_norms=place.keeps_norms, where=place.name)


def _read(place: Place) -> Stamp:
    stored = place.read()
    if stored is None:
        raise NotFoundError(
            f"{place.name} is not stamped",
            kind=ErrorKind.INDEX_NOT_STAMPED,
            checked=place.name,
            expected="a stamp that says which model built it",
            found="none",
            done="nothing was queried",
            hint="if you know which model built it, load that and call pairlock.index.stamp(index, "
            "embedding); an index that was renamed, or built anew, has to be stamped again",
        )
    return read_stamp(stored, where=place.name)


def _not_kept(place: Place) -> UnsupportedError:
    return UnsupportedError(
        f"{place.name} does not keep a stamp",
        kind=ErrorKind.INDEX_UNSUPPORTED,
        checked="the stamp that was just written",
        expected="the stamp",
        found="none",
        done="the store was asked to keep it, and did not",
        hint="a Qdrant server keeps metadata of collections since 1.16: upgrade it",
    )
