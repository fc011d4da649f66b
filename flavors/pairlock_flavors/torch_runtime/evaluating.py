"""Runs Sentence-Transformers' own retrieval evaluator over a loaded embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SimilarityFunction

from pairlock.evaluation.dataset import Dataset
from pairlock.manifest import Role
from pairlock.progress import SILENT, Progress
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding

try:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
except ImportError:  # before 6.0
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

_MAP_DEPTH = 100
_TEXTS_AT_ONCE = 2048
"""Texts that are embedded between two reports of progress; they are sorted by length, so fewer
would waste more padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """How well a model retrieves."""

    metrics: Mapping[str, float]
    """float64 from 0 to 1 by name: `ndcg@10`, `map@100`."""

    similarity: str
    similarity_from: str
    """Who chose it, for a person."""


def evaluate_retrieval(
    embedding: PackageEmbedding,
    dataset: Dataset,
    *,
    similarity: str | None,
    k: Sequence[int],
    progress: Progress = SILENT,
) -> Retrieval:
    """Rank a dataset's texts for each of its queries, and measure the ranking.

    Queries are embedded in the query role and texts in the text role, so that instructions and
    adapters apply as they do when a retriever uses the model.

    Args:
        embedding: the model.
        dataset: queries, texts, and which belong together.
        similarity: the function that the package records; cosine where it records none, or one
            that is not for single vectors.
        k: depths of the metrics beside `map@100`.
        progress: told about the work, in bytes of UTF-8.

    Returns:
        The metrics. A relevant text is relevant or not: the evaluator knows no degrees.
    """
    known = similarity in SentenceTransformer.SUPPORTED_SIMILARITY_FN_NAMES
    name = str(similarity) if known else SimilarityFunction.COSINE.value
    texts = (*dataset.queries.values(), *dataset.corpus.values())
    with progress.step("evaluate", sum(len(text.encode()) for text in texts)) as advance:
        evaluator = _Evaluator(
            queries=dict(dataset.queries),
            corpus=dict(dataset.corpus),
            relevant_docs={query: set(ids) for query, ids in dataset.relevant.items()},
            ndcg_at_k=list(k),
            mrr_at_k=list(k),
            accuracy_at_k=list(k),
            precision_recall_at_k=list(k),
            map_at_k=[_MAP_DEPTH],
            score_functions={name: SimilarityFunction.to_similarity_fn(name)},
            write_csv=False,
        )
        evaluator.advance = advance
        found = evaluator(embedding)
    return Retrieval(
        metrics={key.removeprefix(f"{name}_"): float(value) for key, value in found.items()},
        similarity=name,
        similarity_from="the model's own" if known else "the model names none",
    )


class _Evaluator(InformationRetrievalEvaluator):
    """Sentence-Transformers' evaluator, which ranks and measures; a package embeds."""

    advance: Callable[[int], None]

    def embed_inputs(
        self,
        model: PackageEmbedding,
        sentences: Sequence[str],
        encode_fn_name: str | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Embed texts: (n_texts, dimension) float32."""
        role = Role.QUERY if encode_fn_name == "query" else Role.TEXT
        parts = []
        for start in range(0, len(sentences), _TEXTS_AT_ONCE):
            chunk = sentences[start : start + _TEXTS_AT_ONCE]
            parts.append(model.vectors(chunk, role))
            self.advance(sum(len(text.encode()) for text in chunk))
        return torch.from_numpy(np.concatenate(parts))

    def store_metrics_in_model_card_data(self, *_: Any, **__: Any) -> None:
        """Nothing: a package has no card that could change."""
