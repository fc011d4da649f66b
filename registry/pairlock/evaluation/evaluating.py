"""`pairlock evaluate`: how well a version retrieves, measured, and recorded with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pairlock._bridge import evaluating, flavor
from pairlock.catalog import Located, store_evidence
from pairlock.catalog.metrics import log_model_metrics
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, InvalidInputError, PairlockError
from pairlock.evaluation.datasets import read_dataset
from pairlock.evaluation.recorded import EVALUATION_TAG
from pairlock.packages import read_package_manifest
from pairlock.progress import SILENT, Progress
from pairlock.receipts import receipt
from pairlock.resolution import resolve

DEFAULT_K = (1, 3, 5, 10)
"""The depths of Sentence-Transformers' own `InformationRetrievalEvaluator`."""

_MOST_K = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a version retrieves on a dataset."""

    uri: str
    """What was measured: a version, a logged model or a folder."""

    package_digest: str
    dataset_name: str
    dataset_digest: str
    """`sha256:<hex>` of the dataset's content."""

    queries: int
    """Queries with a relevant text; the others do not count."""

    corpus: int
    """Texts to find."""

    relevant: int
    """Pairs of a query and a relevant text."""

    metrics: Mapping[str, float]
    """Values from 0 to 1 by name, such as `ndcg@10`."""

    similarity: str
    """The function that ranked: cosine, dot, euclidean or manhattan."""

    similarity_from: str
    """Who chose it, for a person."""

    device: str
    dtype: str
    at: str
    """UTC, ISO 8601, to the millisecond."""

    libraries: Mapping[str, str]
    """Versions in the measuring process."""

    stored_as: str | None = None
    """The tag on the registered version that holds the figures; None when it was not stored."""

    run_id: str | None = None
    """The MLflow run that holds them as metrics of the logged model; None when there is none."""

    not_stored: str | None = None
    """Why not, where anything was not."""

    store_error: PairlockError | None = None
    """What the registry said, where storing failed."""

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON data."""
        return {
            "uri": self.uri,
            **self._facts(),
            "similarity_from": self.similarity_from,
            "stored_as": self.stored_as,
            "run_id": self.run_id,
            "not_stored": self.not_stored,
            "store_error": None if self.store_error is None else self.store_error.to_dict(),
        }

    def to_tag(self) -> str:
        """The evaluation as it is stored: compact JSON."""
        return json.dumps(self._facts(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def _facts(self) -> dict[str, Any]:
        return {
            "package_digest": self.package_digest,
            "dataset": {"name": self.dataset_name, "digest": self.dataset_digest},
            "texts": {
                "queries": self.queries,
                "corpus": self.corpus,
                "relevant": self.relevant,
            },
            "metrics": dict(self.metrics),
            "similarity": self.similarity,
            "device": self.device,
            "dtype": self.dtype,
            "at": self.at,
            "libraries": dict(self.libraries),
        }


def evaluate(
    uri: str,
    dataset: str | Path,
    *,
    split: str = "test",
    k: Sequence[int] = DEFAULT_K,
    device: str = "auto",
    dtype: str | None = None,
    base: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    store: bool = True,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure how well a version retrieves, by Sentence-Transformers' own evaluator, and record it.

    Queries are embedded as queries and texts as texts, with the recorded instructions and through
    the adapter. Texts are ranked by the model's own similarity, or by cosine where it names none.

    Args:
        uri: as `pairlock.load`.
        dataset: a folder as BEIR has them, or the JSON of an `EmbeddingQAFinetuneDataset`.
        split: which relevance judgements of a folder to use.
        k: depths; for each there are `ndcg@k`, `mrr@k`, `recall@k`, `precision@k` and `accuracy@k`.
            `map@100` is always there.
        device: as `pairlock.load`.
        dtype: as `pairlock.load`.
        base: as `pairlock.load`.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`; nothing is stored then.
        store: whether to store the figures: as metrics of the version's logged model in MLflow,
            with the dataset's digest, and as a tag of the version. What is no registered version is
            measured, and nothing is stored.
        progress: told about the work.

    Returns:
        The figures. Where storing failed they are there all the same, with `store_error`.

    Raises:
        InvalidInputError: the dataset is wrong, all problems listed, or an argument cannot be.
        UnavailableError: Sentence-Transformers is not installed.
        PairlockError: every reason not to load.
    """
    depths = _depths(k)
    data = read_dataset(dataset, split=split)
    settings = current_settings(offline=offline)
    meter, opener = evaluating(), flavor()
    located = resolve(uri, settings)
    manifest, digest = read_package_manifest(located, settings=settings)
    embedding = opener.load_model(
        located.uri,
        device=device,
        dtype=dtype,
        base=base,
        expected_digest=digest,
        allow=allow,
        offline=offline,
        progress=progress,
    )
    found = meter.evaluate_retrieval(
        embedding, data, similarity=manifest.encode.similarity, k=depths, progress=progress
    )
    proof = receipt(embedding)
    taken = Evaluation(
        uri=located.uri,
        package_digest=digest,
        dataset_name=data.name,
        dataset_digest=data.digest,
        queries=len(data.queries),
        corpus=len(data.corpus),
        relevant=sum(len(ids) for ids in data.relevant.values()),
        metrics=found.metrics,
        similarity=found.similarity,
        similarity_from=found.similarity_from,
        device=proof.device,
        dtype=proof.dtype,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        libraries=dict(proof.libraries),
    )
    if not store:
        return replace(taken, not_stored="not asked for")
    return _stored(taken, located, source=str(Path(dataset).absolute()))


def _depths(k: Sequence[int]) -> tuple[int, ...]:
    if k and all(type(depth) is int and 1 <= depth <= _MOST_K for depth in k):
        return tuple(sorted(set(k)))
    raise InvalidInputError(
        "metrics cannot be taken at these depths",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="k",
        expected=f"whole numbers from 1 to {_MOST_K}",
        found=repr(list(k)),
        done="nothing was loaded",
        hint="leave it out for 1, 3, 5 and 10",
    )


def _stored(taken: Evaluation, located: Located, *, source: str) -> Evaluation:
    if located.name is None or located.version is None:
        return replace(taken, not_stored=f"{located.uri} is no registered version")
    if located.remembered_at is not None:
        return replace(taken, not_stored="the registry is not asked offline")
    at_ms = round(datetime.fromisoformat(taken.at).timestamp() * 1000)
    key = taken.dataset_digest.removeprefix("sha256:")[:16]
    tag = f"{EVALUATION_TAG}{key}"
    try:
        run_id = log_model_metrics(
            located.name,
            located.version,
            taken.metrics,
            dataset_name=taken.dataset_name,
            dataset_digest=taken.dataset_digest,
            dataset_source=source,
            at_ms=at_ms,
        )
        taken = replace(taken, run_id=run_id)
        if run_id is None:
            taken = replace(taken, not_stored="the version has no logged model for metrics")
        store_evidence(located.name, located.version, tag, taken.to_tag())
    except PairlockError as error:
        error.done = "the figures were taken, and not all of them were stored"
        return replace(taken, not_stored=error.summary, store_error=error)
    return replace(taken, stored_as=tag)
