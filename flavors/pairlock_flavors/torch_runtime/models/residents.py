"""Models that are in memory, each held once per process: by content, device and dtype.

Every embedding gets a pipeline of its own: modules, settings and tokenizer options that nobody else
sees, around weights and a vocabulary that all of them share. So switching is by object, adapters
that are put inside one pipeline are in no other, and ten adapters on a base cost one base.

The registry holds a model weakly: it goes when the last embedding on it goes.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from pairlock.errors import ErrorKind, IntegrityError


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What tells models in memory apart."""

    tree_digest: str
    """Digest of the model's files."""

    device: str
    """Torch device, with an index where the type has several."""

    dtype: str
    """torch dtype it was loaded in, by its manifest name."""


class TokenizerLock:
    """Lets one thread at a time use a vocabulary.

    A fast tokenizer keeps padding and truncation in itself, and shares them with its copies: two
    threads with other lengths would cut each other's texts. A copy of a pipeline shares the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[TokenizerLock], tuple[()]]:
        return type(self), ()


class SharedSentenceTransformer(SentenceTransformer):
    """A pipeline of one embedding's own, on weights and a vocabulary that it shares."""

    tokenizing: TokenizerLock

    def preprocess(self, *args: Any, **kwargs: Any) -> Any:
        """Turn texts into tokens, one thread at a time."""
        with self.tokenizing:
            return super().preprocess(*args, **kwargs)

    def tokenize(self, *args: Any, **kwargs: Any) -> Any:
        """Turn texts into tokens, one thread at a time."""
        with self.tokenizing:
            return super().tokenize(*args, **kwargs)

    def _create_model_card(self, *args: Any, **kwargs: Any) -> Any:
        self.model_card_data.register_model(self)
        try:
            return super()._create_model_card(*args, **kwargs)
        finally:
            self.model_card_data.model = None


class ResidentModel:
    """A model in memory that embeddings share. It is never changed; pipelines of it may be.

    Args:
        key: what it is.
        model: the model, read from proved files, with weights of its own.
        loaded_from: where the files were.
        classes: import paths of the classes of other packages that it is made of.
    """

    def __init__(
        self,
        key: ModelKey,
        model: SentenceTransformer,
        *,
        loaded_from: str,
        classes: frozenset[str] = frozenset(),
    ) -> None:
        model.eval()
        model.requires_grad_(False)
        # model and card hold each other: the weights would stay until the collector comes around
        model.model_card_data.model = None
        self.key = key
        self.loaded_from = loaded_from
        self.classes = classes
        self.tokenizing = TokenizerLock()
        self._model = model
        self._tensors = tuple(itertools.chain(model.parameters(), model.buffers()))
        self._versions = self._count_changes()
        self._counted = tuple(filter(None, map(_backend, _vocabularies(model))))
        self._words = self._count_words()

    @property
    def weights_bytes(self) -> int:
        """Bytes of its weights and buffers."""
        storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in self._tensors}
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    def pipeline(self) -> SharedSentenceTransformer:
        """A pipeline for one embedding: about 0.2 MB of its own for a model of six layers."""
        memo: dict[int, Any] = {}
        for name in ("_parameters", "_buffers"):
            for module in self._model.modules():
                for tensor in getattr(module, name).values():
                    if tensor is not None:
                        memo[id(tensor)] = _sharing(tensor)
        for shared in _vocabularies(self._model):
            memo[id(shared)] = _own_options(shared)
        card = self._model.model_card_data
        memo[id(card)] = card
        made = copy.deepcopy(self._model, memo)
        made.__class__ = SharedSentenceTransformer
        made.tokenizing = self.tokenizing
        assert isinstance(made, SharedSentenceTransformer)
        return made

    @property
    def is_unchanged(self) -> bool:
        """Whether no weight was written to and no token was added since the model was read.

        torch counts the writes to a tensor and shares the count between all views of its memory;
        writes through `tensor.data` are not counted.
        """
        return self._count_changes() == self._versions and self._count_words() == self._words

    def check_unchanged(self) -> None:
        """Refuse to go on with a model that is not the one that was proved.

        Raises:
            IntegrityError: a weight was written to, such as by training the model in place, or
                tokens were added to the vocabulary that all pipelines share.
        """
        if self._count_changes() != self._versions:
            raise _changed(
                "the weights in memory were changed after they were proved",
                checked="torch's count of writes to every weight",
                expected="no write since the model was loaded",
                found=f"{self._count_changes() - self._versions} writes",
            )
        if self._count_words() != self._words:
            raise _changed(
                "the vocabulary in memory was changed after it was proved",
                checked="the number of tokens in it",
                expected=str(self._words),
                found=str(self._count_words()),
            )

    def _count_changes(self) -> int:
        return sum(tensor._version for tensor in self._tensors)

    def _count_words(self) -> int:
        # 0.1 us; 60 us for a vocabulary with 6000 added tokens (tokenizers 0.23)
        return sum(int(words.get_vocab_size()) for words in self._counted)


_MOST_OPTIONS = 1000
"""Entries of an option of a tokenizer; the words of a vocabulary are tens of thousands."""

_held: WeakValueDictionary[ModelKey, ResidentModel] = WeakValueDictionary()
_loading: dict[ModelKey, threading.Lock] = {}
_guard = threading.Lock()


def resident(key: ModelKey, load: Callable[[], ResidentModel]) -> ResidentModel:
    """The model under a key: the one in memory, or one that is loaded now.

    Args:
        key: what is wanted.
        load: reads it; called by one thread, while others that want the same wait.
    """
    with _alone(key):
        with _guard:
            found = _held.get(key)
        # one that was changed is not handed out again
        if found is None or not found.is_unchanged:
            found = load()
            with _guard:
                _held[key] = found
        return found


def all_residents() -> tuple[ResidentModel, ...]:
    """Every model that is in memory."""
    with _guard:
        return tuple(_held.values())


@contextmanager
def _alone(key: ModelKey) -> Iterator[None]:
    with _guard:
        lock = _loading.setdefault(key, threading.Lock())
    with lock:
        yield


def _changed(summary: str, *, checked: str, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        summary,
        kind=ErrorKind.WEIGHTS_CHANGED,
        checked=checked,
        expected=expected,
        found=found,
        done="nothing was embedded",
        hint="load the model again; to train or change it, take a copy: "
        "copy.deepcopy(embedding._model).requires_grad_(True)",
    )


def _sharing(tensor: torch.Tensor) -> torch.Tensor:
    # an object of its own on the same memory: what is set on one pipeline's parameter, such as
    # merged weights, reaches no other
    view = tensor.detach()
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(view, requires_grad=False)
    return view


def _vocabularies(model: SentenceTransformer) -> Iterator[PreTrainedTokenizerBase | Tokenizer]:
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, PreTrainedTokenizerBase | Tokenizer):
                yield value


def _backend(vocabulary: Any) -> Tokenizer | None:
    # a tokenizer that is written in Python has none
    found = getattr(vocabulary, "backend_tokenizer", vocabulary)
    return found if isinstance(found, Tokenizer) else None


def _own_options(vocabulary: Any) -> Any:
    # a shallow copy: options such as the maximum length are its own, the vocabulary is shared
    if isinstance(vocabulary, Tokenizer):
        return vocabulary
    made = copy.copy(vocabulary)
    for name, value in vars(made).items():
        # such as which token fills texts up; a table of all words is the vocabulary itself
        if isinstance(value, dict | list) and len(value) <= _MOST_OPTIONS:
            vars(made)[name] = copy.copy(value)
    return made
