"""What every embedding that Pairlock loads has in common, whichever LlamaIndex class it extends.

- The package digest is a pydantic field: pipelines that hash `to_dict()` tell versions apart.
- LlamaIndex's settings can be changed, and are checked; what was loaded cannot.
- The embeddings cache is kept apart by package, dtype and role.
- A copy shares the weights; a pickle holds the URI and the digest, and loads the model again.
- Everything that embeds goes through `vectors`, in batches, and off the event loop when awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, Self

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from numpy.typing import NDArray

from pairlock.api import load
from pairlock.encoder import Encoder
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.manifest import Role
from pairlock.receipts import Receipt
from pairlock_flavors.embeddings.vector_cache import ModelCache, caching_as

CALL_SIZE = 256
"""Texts that LlamaIndex hands over at once. The model sorts them by length and encodes them in its
own batches, so a larger hand-over wastes less padding."""

Vector = list[float]

_RECIPE = ("uri", "package_digest", "device", "dtype", "merge", "base", "runtime")
"""Fields that say how to load the model again."""

_IDENTITY = {"uri", "package_digest", "device"}
"""Those without which nothing can be loaded."""

_OPTIONS = ("embed_batch_size", "num_workers")
"""Fields that are LlamaIndex's own, and go along with a pickle or a dictionary."""

_CHANGEABLE = {*BaseEmbedding.model_fields, "show_progress_bar", "cache_folder"}
"""Fields that a user may set. The others say what was loaded: set, they would change no vector, and
say something else than what is computed."""

# LlamaIndex's own method bodies, without the span they are decorated with: the overrides below are
# decorated again by LlamaIndex, and one call stays one span.
_query = BaseEmbedding.get_query_embedding.__wrapped__
_aquery = BaseEmbedding.aget_query_embedding.__wrapped__
_text = BaseEmbedding.get_text_embedding.__wrapped__
_atext = BaseEmbedding.aget_text_embedding.__wrapped__
_texts = BaseEmbedding.get_text_embedding_batch.__wrapped__
_atexts = BaseEmbedding.aget_text_embedding_batch.__wrapped__


class TextEncoder(Protocol):
    """What computes the vectors."""

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role: (n_texts, dimension) float32."""


class PackageEmbedding(BaseEmbedding):
    """An embedding that was loaded from a package."""

    model_config = ConfigDict(validate_assignment=True)

    embeddings_cache: Any | None = Field(
        default=None, exclude=True, description="Cache for the vectors; roles are kept apart in it."
    )
    uri: str = Field(description="What was loaded; loading it again gives the same bytes.")
    package_digest: str = Field(description="Digest of the package the vectors come from.")
    dimension: int = Field(description="Dimension of the vectors.", gt=0)
    device: str = Field(description="The device the model is on, as torch names it.")
    dtype: str = Field(description="The dtype the model runs in, as torch names it.")
    runtime: str = Field(description="What computes the vectors: torch or onnx.")
    merge: bool | None = Field(
        default=None, description="Whether a PEFT adapter is added to the weights."
    )
    base: str | None = Field(
        default=None, description="Where the base was taken from, when not from its pin."
    )

    _encoder: TextEncoder = PrivateAttr()
    _pairlock_receipt: Receipt = PrivateAttr()
    _allowed: frozenset[str] = PrivateAttr(default=frozenset())

    def vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role, in batches.

        Args:
            texts: any number of texts.
            role: query or text.

        Returns:
            (n_texts, dimension) float32.
        """
        return self._encoder.encode(texts, role)

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """The roles whose vectors differ from those of the base; none for a full model."""
        return ()

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts as the model does without its adapter: (n_texts, base dimension) float32."""
        return self.vectors(texts, role)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields and name not in _CHANGEABLE:
            raise InvalidInputError(
                f"{name} says what was loaded, and cannot be changed",
                kind=ErrorKind.ARGUMENT_INVALID,
                checked=f"the field {name}",
                expected=repr(getattr(self, name)),
                found=repr(value),
                done="nothing was changed",
                hint="load the model again with other arguments, or log it with other settings",
            )
        if name == "embeddings_cache" and value is not None:
            # half precision rounds, and rounds a merged adapter otherwise than one kept apart
            variant = f"{self.dtype}/merged" if self.merge else self.dtype
            value = ModelCache(value, f"{self.package_digest}/{variant}")
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy on the same weights, also when it is deep; updates are checked as assignments.

        Raises:
            InvalidInputError: an update would change what was loaded.
        """
        copy: Self = super().model_copy(deep=deep)
        for name, value in (update or {}).items():
            setattr(copy, name, value)
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copy: Self = self.model_copy()
        if memo is not None:
            memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        # whoever made the pickle allowed the classes; a dictionary may come from anywhere
        return reload_embedding, (self._recipe(), self._options(), sorted(self._allowed))

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Load the model that a dictionary from `to_dict` describes.

        Raises:
            InvalidInputError: the dictionary is not of an embedding of this class.
            PairlockError: as `pairlock.load`.
        """
        data = {**data, **kwargs}
        if not data.keys() >= _IDENTITY:
            raise _not_of(cls, f"no {', '.join(sorted(_IDENTITY - data.keys()))}")
        recipe = {name: data[name] for name in _RECIPE if name in data}
        options = {name: data[name] for name in _OPTIONS if name in data}
        found = reload_embedding(recipe, options)
        if not isinstance(found, cls):
            raise _not_of(cls, found.class_name())
        return found

    def to_payload(self) -> dict[str, Any]:
        """What observability may see: names and the digest."""
        return {**super().to_payload(), "package_digest": self.package_digest}

    def as_encoder(self) -> Encoder:
        """The same model as a plain function of texts."""
        recipe = {name: value for name, value in self._recipe().items() if name != "package_digest"}
        recipe |= {"expected_digest": self.package_digest, "allow": sorted(self._allowed)}
        return Encoder(self, self._pairlock_receipt, recipe)

    def _recipe(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _RECIPE}

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPTIONS}

    def _one(self, text: str, role: Role) -> Vector:
        vector: Vector = self.vectors([text], role)[0].tolist()
        return vector

    def _get_query_embedding(self, query: str) -> Vector:
        return self._one(query, Role.QUERY)

    def _get_text_embedding(self, text: str) -> Vector:
        return self._one(text, Role.TEXT)

    def _get_text_embeddings(self, texts: list[str]) -> list[Vector]:
        vectors: list[Vector] = self.vectors(texts, Role.TEXT).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> Vector:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Vector:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Vector]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    def get_query_embedding(self, query: str) -> Vector:
        """Embed a query: list of `dimension` floats."""
        with caching_as(Role.QUERY):
            found: Vector = _query(self, query)
            return found

    async def aget_query_embedding(self, query: str) -> Vector:
        """Embed a query: list of `dimension` floats."""
        with caching_as(Role.QUERY):
            found: Vector = await _aquery(self, query)
            return found

    def get_text_embedding(self, text: str) -> Vector:
        """Embed a document: list of `dimension` floats."""
        with caching_as(Role.TEXT):
            found: Vector = _text(self, text)
            return found

    async def aget_text_embedding(self, text: str) -> Vector:
        """Embed a document: list of `dimension` floats."""
        with caching_as(Role.TEXT):
            found: Vector = await _atext(self, text)
            return found

    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Vector]:
        """Embed documents: one list of `dimension` floats each."""
        with caching_as(Role.TEXT):
            found: list[Vector] = _texts(self, texts, show_progress, **kwargs)
            return found

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Vector]:
        """Embed documents: one list of `dimension` floats each."""
        with caching_as(Role.TEXT):
            found: list[Vector] = await _atexts(self, texts, show_progress, **kwargs)
            return found


def reload_embedding(
    recipe: dict[str, Any], options: dict[str, Any], allow: Iterable[str] = ()
) -> PackageEmbedding:
    """Load the embedding that a pickle or a dictionary names. The digest must still be the same.

    A device that this process does not have falls back to `auto`: a model pickled on CUDA is used
    on a worker without it. The runtime stays the one that the vectors came from.

    Args:
        recipe: how it was loaded.
        options: LlamaIndex's own settings of it.
        allow: classes of other packages that may be imported, as `pairlock.load` takes them.

    Raises:
        PairlockError: as `pairlock.load`.
    """
    device = str(recipe["device"])
    found = load(
        recipe["uri"],
        runtime=recipe.get("runtime"),
        device=device if device == "cpu" or _is_there(device) else "auto",
        dtype=recipe.get("dtype"),
        merge=recipe.get("merge"),
        base=recipe.get("base"),
        expected_digest=recipe["package_digest"],
        allow=allow,
    )
    assert isinstance(found, PackageEmbedding)
    for name, value in options.items():
        setattr(found, name, value)
    return found


def _is_there(device: str) -> bool:
    """Whether a device other than the CPU is there; only torch knows any."""
    if find_spec("torch") is None:
        return False
    machine = import_module("pairlock_flavors.torch_runtime.placement.machine")
    return bool(machine.is_available(device))


def _not_of(kind: type[PackageEmbedding], found: str) -> InvalidInputError:
    return InvalidInputError(
        "the dictionary describes no embedding of this class",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what the dictionary says to load",
        expected=kind.class_name(),
        found=found,
        done="nothing is returned",
        hint="give the class that the dictionary was made by, and all that its to_dict gave",
    )
