"""Real trainings, as short as they can be: LlamaIndex's engines and Sentence-Transformers' trainer.

llama-index-finetuning is deprecated: its dependencies cannot be installed beside a current
LlamaIndex, so the tests install it without them. Its `__init__` imports clients of language models,
which no embedding engine uses; those that are missing are replaced while it is imported.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter
from sentence_transformers import SentenceTransformer

_CLIENTS = (
    "openai",
    "openai.types",
    "openai.types.fine_tuning",
    "mistralai",
    "mistralai.models",
    "llama_index.llms",
    "llama_index.llms.openai",
    "llama_index.llms.azure_openai",
    "llama_index.llms.mistralai",
    "llama_index.postprocessor",
    "llama_index.postprocessor.cohere_rerank",
)

PAIRS = [
    ("how do I get my money back", "Refunds are paid to the card that was charged."),
    ("where is my invoice", "Every invoice is sent by mail on the first of the month."),
    ("the payment failed", "Cards that are refused can be tried again after an hour."),
    ("can I change the card", "A card is replaced on the payment page."),
    ("close my account", "Accounts are closed within a day of the request."),
    ("which countries do you ship to", "Parcels go to every country of the union."),
    ("the parcel is broken", "Send a picture of the damage to the carrier."),
    ("how long is the warranty", "Devices are repaired free of charge for two years."),
]
"""Questions and the passages that answer them."""


class _Client(ModuleType):
    """A module with an empty class for every name that is asked for."""

    __path__: list[str] = []  # noqa: RUF012 - what makes it a package

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return type(name, (), {})


class GatedAdapter(BaseAdapter):
    """An adapter class of a user's own: a gate over the input, added to it."""

    def __init__(self, features: int, sharpness: float = 2.0) -> None:
        super().__init__()
        self.features = features
        self.sharpness = sharpness
        self.gate = torch.nn.Linear(features, features)

    def forward(self, embed: torch.Tensor) -> torch.Tensor:
        """One vector, or one for each row."""
        return embed + torch.sigmoid(self.sharpness * self.gate(embed)) * embed

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"features": self.features, "sharpness": self.sharpness}


@contextmanager
def _language_models() -> Iterator[None]:
    """Put empty modules where clients of language models are missing."""
    made = []
    for name in _CLIENTS:
        try:
            import_module(name)
        except ImportError:
            sys.modules[name] = _Client(name)
            made.append(name)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


@cache
def engines() -> Any:
    """The module `llama_index.finetuning`."""
    with _language_models(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module("llama_index.finetuning")


def questions(pairs: list[tuple[str, str]] = PAIRS) -> Any:
    """The pairs as LlamaIndex's `EmbeddingQAFinetuneDataset`."""
    return engines().EmbeddingQAFinetuneDataset(
        queries={f"q{i}": query for i, (query, _) in enumerate(pairs)},
        corpus={f"d{i}": passage for i, (_, passage) in enumerate(pairs)},
        relevant_docs={f"q{i}": [f"d{i}"] for i in range(len(pairs))},
    )


def table(pairs: list[tuple[str, str]] = PAIRS) -> Any:
    """The pairs as a `datasets.Dataset`."""
    from datasets import Dataset

    return Dataset.from_dict(
        {"anchor": [query for query, _ in pairs], "positive": [passage for _, passage in pairs]}
    )


def sentence_engine(model: Path, output: Path, **settings: Any) -> Any:
    """A `SentenceTransformersFinetuneEngine` for one epoch; call `finetune()`."""
    return engines().SentenceTransformersFinetuneEngine(
        questions(),
        model_id=str(model),
        model_output_path=str(output),
        batch_size=4,
        epochs=1,
        show_progress_bar=False,
        device="cpu",
        **{"evaluation_steps": 0, **settings},
    )


def adapter_engine(base: Any, output: Path, **settings: Any) -> Any:
    """An `EmbeddingAdapterFinetuneEngine`, with steps that move vectors; call `finetune()`."""
    return engines().EmbeddingAdapterFinetuneEngine(
        questions(),
        base,
        model_output_path=str(output),
        batch_size=4,
        device="cpu",
        **{"epochs": 2, "optimizer_params": {"lr": 5e-3}, **settings},
    )


def trainer(model: SentenceTransformer | Path, folder: Path, **settings: Any) -> Any:
    """A `SentenceTransformerTrainer` of two steps; call `train()`.

    Args:
        model: what to train, or its folder.
        folder: where checkpoints go.
        **settings: training arguments, and the trainer's own datasets, evaluator and loss.
    """
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    if isinstance(model, Path):
        model = SentenceTransformer(str(model), device="cpu")
    data = {"train_dataset": table(), "loss": MultipleNegativesRankingLoss(model)}
    for name in ("train_dataset", "eval_dataset", "evaluator", "loss"):
        if name in settings:
            data[name] = settings.pop(name)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        **{
            "num_train_epochs": 1,
            "per_device_train_batch_size": 4,
            "learning_rate": 5e-5,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
            **settings,
        },
    )
    torch.manual_seed(3)
    return SentenceTransformerTrainer(model=model, args=arguments, **data)


def evaluator(name: str = "", **settings: Any) -> Any:
    """A retrieval evaluator over the pairs."""
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    dataset = questions()
    return InformationRetrievalEvaluator(
        dataset.queries, dataset.corpus, dataset.relevant_docs, name=name, **settings
    )
