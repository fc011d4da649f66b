"""Retrieval metrics are those of Sentence-Transformers' own evaluator, of what a package embeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.embeddings.adapter.utils import LinearLayer
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

import pairlock
from support.retrieval import CORPUS, QUERIES, RELEVANT, write_beir, write_questions

NAMES = {
    f"{name}@{k}" for name in ("ndcg", "mrr", "recall", "precision", "accuracy") for k in (1, 3)
}
K = (1, 3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as LlamaIndex writes it."""
    return write_questions(tmp_path_factory.mktemp("data") / "questions.json")


def evaluated(uri: str, dataset: Path, **options: Any) -> pairlock.Evaluation:
    """An evaluation on the CPU that is not stored."""
    return pairlock.evaluate(uri, dataset, k=K, device="cpu", store=False, **options)


def by_its_own(model: SentenceTransformer) -> dict[str, float]:
    """What Sentence-Transformers' evaluator says of a model, without its prefixes."""
    evaluator = InformationRetrievalEvaluator(
        dict(sorted(QUERIES.items())),
        dict(sorted(CORPUS.items())),
        RELEVANT,
        mrr_at_k=list(K),
        ndcg_at_k=list(K),
        accuracy_at_k=list(K),
        precision_recall_at_k=list(K),
        map_at_k=[100],
    )
    found = evaluator(model)
    return {name.partition("_")[2]: float(value) for name, value in found.items()}


def by_hand(queries: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Metrics of vectors in the order of the ids, written down from their definitions."""
    unit = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (queries, texts)]
    scores = unit[0] @ unit[1].T
    keys = sorted(CORPUS)
    sums = dict.fromkeys([*NAMES, "map@100"], 0.0)
    for row, query in enumerate(sorted(QUERIES)):
        order = sorted(range(len(keys)), key=lambda column: (-scores[row, column], keys[column]))
        hits = [keys[column] in RELEVANT[query] for column in order]
        wanted = len(RELEVANT[query])
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
        for k in K:
            near = [rank for rank in ranks if rank <= k]
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, wanted) + 1))
            sums[f"ndcg@{k}"] += sum(1 / math.log2(rank + 1) for rank in near) / ideal
            sums[f"mrr@{k}"] += 1 / near[0] if near else 0
            sums[f"recall@{k}"] += len(near) / wanted
            sums[f"precision@{k}"] += len(near) / k
            sums[f"accuracy@{k}"] += bool(near)
        sums["map@100"] += sum(i / rank for i, rank in enumerate(ranks, start=1)) / wanted
    return {name: value / len(QUERIES) for name, value in sums.items()}


@pytest.mark.parametrize("name", ["tiny_model", "tiny_prompts", "tiny_unnormalized"])
def test_a_full_model_has_the_figures_of_its_own_library(
    shared_registry: Any, packaged: Any, model_folders: Any, dataset: Path, name: str
) -> None:
    """The same numbers as Sentence-Transformers' evaluator on the folder, prompts applied."""
    found = evaluated(packaged(name), dataset)
    assert found.metrics == by_its_own(SentenceTransformer(str(model_folders(name)), device="cpu"))
    assert set(found.metrics) == {*NAMES, "map@100"}
    assert 0 < found.metrics["ndcg@3"] < 1
    assert all(type(value) is float for value in found.metrics.values())
    assert (found.similarity, found.similarity_from) == ("cosine", "the model's own")
    assert (found.queries, found.corpus, found.relevant) == (8, 12, 11)


def test_prompts_decide_the_figures(shared_registry: Any, packaged: Any, dataset: Path) -> None:
    """The test above can tell: with its prompts the same model has other figures."""
    with_prompts = evaluated(packaged("tiny_prompts"), dataset).metrics
    assert with_prompts != evaluated(packaged("tiny_model"), dataset).metrics


def test_a_model_is_ranked_by_its_own_similarity(
    registry: Any, tiny_unnormalized: Path, dataset: Path, tmp_path: Path
) -> None:
    """A model that names the dot product is ranked by it, as its own library ranks it."""
    model = SentenceTransformer(str(tiny_unnormalized), device="cpu")
    by_cosine = by_its_own(model)
    model.similarity_fn_name = "dot"
    model.save(str(tmp_path / "dot"), create_model_card=False)
    found = evaluated(registry.log(tmp_path / "dot", "dot"), dataset)
    assert (found.similarity, found.similarity_from) == ("dot", "the model's own")
    assert found.metrics == by_its_own(model)
    assert found.metrics != by_cosine


def test_an_adapter_turns_queries_and_leaves_texts(
    registry: Any, tiny_model: Path, dataset: Path, tmp_path: Path
) -> None:
    """An adapter's figures are those of the adapted queries against the base's texts, by hand."""
    torch.manual_seed(5)
    layer = LinearLayer(32, 32, bias=False)
    torch.nn.init.normal_(layer.linear.weight)
    layer.save(str(tmp_path / "adapter"))
    registry.log(tiny_model, "base")
    uri = registry.log(tmp_path / "adapter", "support", base="models:/base/1")
    model = SentenceTransformer(str(tiny_model), device="cpu")
    queries = model.encode([QUERIES[key] for key in sorted(QUERIES)]).astype(np.float64)
    texts = model.encode([CORPUS[key] for key in sorted(CORPUS)]).astype(np.float64)
    weight = layer.linear.weight.detach().numpy().astype(np.float64)
    found = evaluated(uri, dataset)
    assert found.metrics == pytest.approx(by_hand(queries @ weight.T, texts), abs=1e-12)
    base = evaluated("models:/base/1", dataset)
    assert base.metrics == pytest.approx(by_hand(queries, texts), abs=1e-12)
    assert abs(found.metrics["map@100"] - base.metrics["map@100"]) > 0.05


def test_figures_are_the_same_on_every_run_and_in_both_forms(
    shared_registry: Any, packaged: Any, dataset: Path, tmp_path: Path
) -> None:
    """Two runs, and the same content in another form and order, agree to the last bit."""
    first = evaluated(packaged("tiny_model"), dataset)
    again = evaluated(packaged("tiny_model"), dataset)
    other = evaluated(packaged("tiny_model"), write_beir(tmp_path / "beir"))
    assert dict(first.metrics) == dict(again.metrics) == dict(other.metrics)
    assert first.dataset_digest == again.dataset_digest == other.dataset_digest


def test_real_weights_have_the_figures_of_their_own_library(
    shared_registry: Any, packaged: Any, minilm: Path, dataset: Path
) -> None:
    """MiniLM as it was registered retrieves as MiniLM does."""
    found = evaluated(packaged("minilm"), dataset)
    assert found.metrics == by_its_own(SentenceTransformer(str(minilm), device="cpu"))
    assert found.metrics["ndcg@3"] > 0.7
    assert (found.similarity, found.similarity_from) == ("cosine", "the model names none")
