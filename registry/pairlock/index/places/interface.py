"""What every place that keeps vectors and their stamp has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pairlock.errors import ErrorKind, NotFoundError, UnavailableError, UnsupportedError
from pairlock.index.checking import Sample
from pairlock.index.stamps import Stamp


class Place(Protocol):
    """One set of vectors, and where its stamp lies."""

    name: str
    """The index, for messages."""

    keeps_norms: bool
    """Whether vectors are stored as they are, and not normalised."""

    def read(self) -> object | None:
        """The stamp as it is stored; None when there is none.

        Raises:
            UnavailableError: it cannot be asked.
        """

    def write(self, stamp: Stamp) -> None:
        """Store a stamp, in place of the one before.

        Raises:
            UnavailableError: it cannot be written.
        """

    def dimension(self) -> int | None:
        """Dimension of the stored vectors; None when that costs too much, or there are none.

        Raises:
            UnavailableError: it cannot be asked.
        """

    def samples(self, at_most: int) -> Sequence[Sample]:
        """Some stored vectors with the texts they come from; none when there are no vectors.

        Raises:
            UnavailableError: they cannot be read.
            UnsupportedError: there are vectors, and they or their texts cannot be read back.
        """


@contextmanager
def translated(name: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what a store's own library raises into an error of Pairlock's.

    Raises:
        UnavailableError: one of `errors` was raised.
    """
    try:
        yield
    except errors as error:
        raise UnavailableError(
            f"{name} cannot be used",
            kind=ErrorKind.STORE_UNAVAILABLE,
            checked=name,
            expected="a store that answers",
            found=f"{type(error).__name__}: {error}",
            done="nothing was stamped or queried",
            hint="see whether the store can be reached, and whether the index is still there",
        ) from error


def embedded_text(metadata: Mapping[str, Any] | None, text: str | None) -> str | None:
    """The text that LlamaIndex embedded for a stored node; None when it is not known.

    Args:
        metadata: what the store keeps beside the vector.
        text: what it keeps as its text, where it keeps that apart.
    """
    if not metadata or "_node_content" not in metadata:
        return text  # written without LlamaIndex
    from llama_index.core.schema import MetadataMode
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    node = metadata_dict_to_node(dict(metadata), text=text)
    # as `llama_index.core.indices.utils.embed_nodes` does
    content: str = node.get_content(metadata_mode=MetadataMode.EMBED)
    return content


def cannot_prove(name: str, found: str) -> UnsupportedError:
    """The error that stored vectors cannot be compared with a model's."""
    return UnsupportedError(
        f"the vectors of {name} cannot be compared with the model's",
        kind=ErrorKind.INDEX_UNSUPPORTED,
        checked=name,
        expected="stored vectors with the texts they come from",
        found=found,
        done="nothing was stamped",
        hint="where you know which model made the vectors, prove=False leaves this proof out",
    )


def not_there(name: str, found: str, hint: str) -> NotFoundError:
    """The error that there is no index where one is to be."""
    return NotFoundError(
        f"{name} holds no index",
        kind=ErrorKind.INDEX_NOT_STAMPED,
        checked=name,
        expected="a vector index",
        found=found,
        done="nothing",
        hint=hint,
    )
