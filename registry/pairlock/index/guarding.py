"""An index that answers in its own embedding space only.

`guard` returns a copy of an index object, over the same storage, whose class is made on the fly
below the index's own: it is still a `VectorStoreIndex`, and everything that LlamaIndex makes of an
index takes its embedding from there. What would bring in another model is checked where it comes
in, so a query costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.index.acts import check, prove_samples
from pairlock.index.checking import (
    SAMPLES,
    Sample,
    require_dimension,
    require_same_space,
)
from pairlock.index.places import find_places
from pairlock.index.places.finding import require_vector_index
from pairlock.index.places.storage import spread
from pairlock.index.stamps import Stamp
from pairlock.receipts import receipt

Index = TypeVar("Index")

_GATE = "_pairlock_gate"
_EMBEDDING = "_embed_model"
"""Where LlamaIndex's index and retriever keep the model they embed with."""

_made: dict[tuple[type, type], type] = {}


def guard(index: Index, embedding: object, *, prove: bool = False) -> Index:
    """An index that queries and grows in its own embedding space, or raises.

    The stamp is read once, now. The object that was handed in stays as it is, and stays unguarded;
    both share their storage.

    - Retrievers, query engines and chat engines made from the returned index embed with
      `embedding`, whatever `Settings.embed_model` is.
    - Another model, given as `embed_model=` or assigned to the index or to such a retriever, is
      refused unless its document space is the stamp's.
    - Nodes that are inserted are embedded with `embedding`. Of nodes that bring a vector along, up
      to three per call are computed again, and all are refused if one differs.

    What cannot be seen: a query that brings its own vector, nodes that are added to the vector
    store directly, and a retriever that was not made by the index.

    Args:
        index: a `VectorStoreIndex` that is stamped.
        embedding: what `pairlock.load` returned; what the index embeds with from now on.
        prove: also compute up to three of the stored vectors again, as `check` does.

    Returns:
        An object of the index's class, guarded.

    Raises:
        PairlockError: as `pairlock.index.check`.
        UnsupportedError: another kind of index.
    """
    require_vector_index(index)
    stamp = check(index, embedding, prove=prove)
    (place,) = find_places(index)
    found: Index = _guarded(_GuardedIndex, index, _Gate(stamp=stamp, where=place.name))
    found.__dict__[_EMBEDDING] = embedding
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """What may come in."""

    stamp: Stamp
    where: str

    def admit(self, embedding: object) -> None:
        require_same_space(self.stamp, embedding, where=self.where)

    def admit_nodes(self, nodes: Sequence[Any], embedding: Any) -> None:
        """Refuse nodes with vectors of another space; those without any get theirs from us."""
        from llama_index.core.schema import MetadataMode

        where = f"the nodes for {self.where}"
        own = {node.node_id: node for node in nodes if node.embedding is not None}
        for node in own.values():
            require_dimension(len(node.embedding), receipt(embedding), where=where)
        samples = [
            Sample(
                id=node_id,
                text=own[node_id].get_content(metadata_mode=MetadataMode.EMBED),
                vector=own[node_id].embedding,
            )
            for node_id in spread(list(own), SAMPLES)
        ]
        prove_samples(samples, embedding, keeps_norms=True, where=where)


class _Guarded:
    """An object of LlamaIndex's whose embedding cannot become another one unseen."""

    _pairlock_plain: type

    @property
    def _embed_model(self) -> Any:
        return self.__dict__[_EMBEDDING]

    @_embed_model.setter
    def _embed_model(self, embedding: Any) -> None:
        gate = self.__dict__.get(_GATE)
        if gate is None:
            raise InvalidInputError(
                "the class of a guarded index makes no other indexes",
                kind=ErrorKind.ARGUMENT_INVALID,
                checked=type(self).__name__,
                expected="an index that pairlock.guard returned",
                found="a new one",
                done="nothing",
                hint=f"make it with {self._pairlock_plain.__name__}, stamp it, and guard it",
            )
        gate.admit(embedding)
        self.__dict__[_EMBEDDING] = embedding

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # the class has no name by which a copy or another process could find it
        kind = _GuardedIndex if isinstance(self, _GuardedIndex) else _GuardedRetriever
        return _revive, (kind, self._pairlock_plain), self.__dict__.copy()


class _GuardedRetriever(_Guarded):
    """A retriever that a guarded index made."""


class _GuardedIndex(_Guarded):
    """What a guarded index does otherwise than its class."""

    def as_retriever(self, **kwargs: Any) -> Any:
        gate = self.__dict__[_GATE]
        if kwargs.get("embed_model") is not None:
            gate.admit(kwargs["embed_model"])
        plain: Any = super()
        retriever = plain.as_retriever(**kwargs)
        if _EMBEDDING not in retriever.__dict__:
            return retriever
        return _guarded(_GuardedRetriever, retriever, gate)

    def insert_nodes(self, nodes: Sequence[Any], **kwargs: Any) -> None:
        self.__dict__[_GATE].admit_nodes(nodes, self._embed_model)
        plain: Any = super()
        plain.insert_nodes(nodes, **kwargs)

    async def ainsert_nodes(self, nodes: Sequence[Any], **kwargs: Any) -> None:
        self.__dict__[_GATE].admit_nodes(nodes, self._embed_model)
        plain: Any = super()
        await plain.ainsert_nodes(nodes, **kwargs)


def _guarded(kind: type[_Guarded], plain: object, gate: _Gate) -> Any:
    """A guarded copy of an object, with the same parts."""
    made = _revive(kind, getattr(plain, "_pairlock_plain", type(plain)))
    made.__dict__.update(plain.__dict__)
    made.__dict__[_GATE] = gate
    return made


def _guarded_class(guarded: type[_Guarded], plain: type) -> type:
    """The guarded class below a class: one, so that two guarded indexes have the same type."""
    if (guarded, plain) not in _made:
        body = {"_pairlock_plain": plain, "__doc__": plain.__doc__, "__module__": plain.__module__}
        _made[guarded, plain] = type(f"Guarded{plain.__name__}", (guarded, plain), body)
    return _made[guarded, plain]


def _revive(guarded: type[_Guarded], plain: type) -> Any:
    return object.__new__(_guarded_class(guarded, plain))
