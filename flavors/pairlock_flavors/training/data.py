"""The data that trainers hold, by content: a digest, how many rows, and what was measured on them.

`datasets` is not imported: its tables are taken by what they offer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pairlock_flavors.training.record import TrainingDataset

_ROWS_AT_ONCE = 1000

# evaluation metrics of a transformers trainer that come from its eval_dataset, whose prefix is
# `eval_` or `eval_<key>_`; all others come from evaluators
_OF_EVAL_DATASETS = ("loss", "runtime", "samples_per_second", "steps_per_second")


def datasets_of(trainer: Any, names: Sequence[str]) -> tuple[list[TrainingDataset], list[str]]:
    """What a trainer of transformers' kind was trained and evaluated on.

    Args:
        trainer: with `train_dataset`, `eval_dataset` and `evaluator`, as far as it has them.
        names: the metrics of its model.

    Returns:
        The datasets, and what could not be recorded, for a person.
    """
    found, notes = [], []
    for context, prefix in (("training", "train"), ("evaluation", "eval")):
        for key, table in _tables(getattr(trainer, f"{prefix}_dataset", None)):
            try:
                found.append(_table(table, prefix, key, context, names))
            except (TypeError, AttributeError) as error:
                which = f"{context} dataset{f' {key}' if key else ''}"
                notes.append(f"the {which} is not recorded: {error}")
    measured = [name for name in names if not _of_eval_dataset(name)]
    return found + evaluated_on(getattr(trainer, "evaluator", None), measured), notes


def evaluated_on(evaluator: Any, names: Sequence[str]) -> list[TrainingDataset]:
    """The data of retrieval evaluators: queries, corpus, and which belong together."""
    found = []
    for one in getattr(evaluator, "evaluators", None) or [evaluator]:
        if not all(hasattr(one, name) for name in ("queries_ids", "corpus_ids", "relevant_docs")):
            continue
        content = {
            "queries": dict(zip(one.queries_ids, one.queries, strict=True)),
            "corpus": dict(zip(one.corpus_ids, one.corpus, strict=True)),
            "relevant_docs": {
                # lists in some evaluators, sets in others: no order means anything
                key: sorted(value)
                for key, value in one.relevant_docs.items()
                if key in one.queries_ids
            },
        }
        own = f"eval_{one.name}_" if one.name else "eval_"
        found.append(
            TrainingDataset(
                name=one.name or "eval",
                digest=content_digest(content),
                rows=len(one.queries),
                source=f"{type(one).__qualname__} in memory",
                context="evaluation",
                measures=tuple(name for name in names if name.startswith(own)),
            )
        )
    return found


def questions_of(engine: Any) -> list[TrainingDataset]:
    """The engine's `EmbeddingQAFinetuneDataset`, by what its `save_json` writes but its mode."""
    dataset: Any = getattr(engine, "dataset", None)
    if not all(hasattr(dataset, name) for name in ("queries", "corpus", "relevant_docs")):
        return []
    content = {key: getattr(dataset, key) for key in ("queries", "corpus", "relevant_docs")}
    # with use_all_docs a question is an example with each of its documents
    loader = getattr(engine, "loader", None)
    return [
        TrainingDataset(
            name="train",
            digest=content_digest(content),
            rows=len(getattr(loader, "dataset", dataset.queries)),
            source=f"{type(dataset).__qualname__} in memory",
            context="training",
        )
    ]


def content_digest(content: Any) -> str:
    """The digest of a document: JSON with sorted keys and no spaces, ASCII."""
    return f"sha256:{hashlib.sha256(_line(content)).hexdigest()}"


def rows_digest(batches: Iterable[Mapping[str, Sequence[Any]]]) -> str:
    """The digest of a table: one line of JSON for each row, sorted keys, no spaces, ASCII.

    Args:
        batches: columns by name, some rows at a time.

    Raises:
        TypeError: a value is nothing that JSON can say.
    """
    sha256 = hashlib.sha256()
    for batch in batches:
        for row in zip(*batch.values(), strict=True):
            sha256.update(_line(dict(zip(batch.keys(), row, strict=True))) + b"\n")
    return f"sha256:{sha256.hexdigest()}"


def batches_of(table: Any) -> Iterator[Mapping[str, Sequence[Any]]]:
    """The rows of a `datasets.Dataset` as they are stored, without transforms.

    The dataset itself is not changed.
    """
    yield from table.with_format(None).iter(batch_size=_ROWS_AT_ONCE)


def _tables(dataset: Any) -> list[tuple[str, Any]]:
    if dataset is None:
        return []
    return list(dataset.items()) if isinstance(dataset, Mapping) else [("", dataset)]


def _table(
    table: Any, prefix: str, key: str, context: str, names: Sequence[str]
) -> TrainingDataset:
    """A `datasets.Dataset`, by its content.

    Raises:
        TypeError: it is a stream, or holds what JSON cannot say.
        AttributeError: it is no such dataset.
    """
    rows = len(table)  # a stream has no length, and may end differently each time
    start = f"{prefix}_{key}_" if key else f"{prefix}_"
    if prefix == "eval":
        measures = [name for name in names if name in {start + end for end in _OF_EVAL_DATASETS}]
    else:
        # with several datasets the training loss is of all of them
        measures = [] if key else [name for name in names if name.startswith("train_")]
    checksums = getattr(table, "download_checksums", None) or {}
    return TrainingDataset(
        name=f"{prefix}-{key}" if key else prefix,
        digest=rows_digest(batches_of(table)),
        rows=rows,
        source=next(iter(checksums), f"{type(table).__qualname__} in memory"),
        context=context,
        measures=tuple(measures),
    )


def _of_eval_dataset(name: str) -> bool:
    return name.startswith("eval_") and name.endswith(tuple(f"_{e}" for e in _OF_EVAL_DATASETS))


def _line(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if callable(getattr(value, "isoformat", None)):
        return value.isoformat()
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no canonical JSON")
