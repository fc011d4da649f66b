"""A full model as LlamaIndex's `HuggingFaceEmbedding`."""

from __future__ import annotations

from typing import Any

from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.manifest import Role
from pairlock_flavors.embeddings.package_embedding import CALL_SIZE, Vector
from pairlock_flavors.torch_runtime.embeddings.torch_embedding import TorchEmbedding
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel


class FullEmbedding(TorchEmbedding, HuggingFaceEmbedding):
    """A registered full model.

    An instance of LlamaIndex's `HuggingFaceEmbedding`, built around a model that was loaded from
    proved files. LlamaIndex's constructor is not run: it overwrites saved prompts with empty ones,
    normalises vectors of models that do not, and looks names up on the hub.
    """

    def __init__(self, model: SentenceModel, **fields: Any) -> None:
        settings = model.settings
        # past HuggingFaceEmbedding.__init__, to the pydantic constructor under it
        MultiModalEmbedding.__init__(
            self,
            **{"embed_batch_size": CALL_SIZE, **fields},
            max_length=settings.max_seq_length or 2**31 - 1,
            normalize=settings.normalize,
            query_instruction=settings.query_instruction,
            text_instruction=settings.text_instruction,
        )
        self._encoder = model
        # HuggingFaceEmbedding's own private attributes, for code that reads them
        self._model = model.model
        self._device = self.device
        self._parallel_process = False
        self._target_devices = None

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "PairlockFullEmbedding"

    def _embed(self, inputs: list[Any], prompt_name: str | None = None) -> list[Vector]:
        role = Role.QUERY if prompt_name == "query" else Role.TEXT
        vectors: list[Vector] = self.vectors(inputs, role).tolist()
        return vectors

    def _get_image_embedding(self, *_: Any, **__: Any) -> Vector:
        raise _texts_only()

    def _get_image_embeddings(self, *_: Any, **__: Any) -> list[Vector]:
        raise _texts_only()


def _texts_only() -> InvalidInputError:
    return InvalidInputError(
        "this model embeds texts only",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="what is to be embedded",
        expected="texts",
        found="images",
        done="nothing was embedded",
        hint="use get_query_embedding or get_text_embedding",
    )
