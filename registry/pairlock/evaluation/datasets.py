"""From a path to a dataset: a folder of BEIR's, or a file of LlamaIndex's."""

from __future__ import annotations

import re
from pathlib import Path

from pairlock.errors import ErrorKind, InvalidInputError, StorageError
from pairlock.evaluation.beir import read_beir
from pairlock.evaluation.dataset import Dataset, Problems
from pairlock.evaluation.question_file import read_question_file
from pairlock.references import absolute_folder


def read_dataset(path: str | Path, *, split: str = "test") -> Dataset:
    """Read a dataset, and check all of it.

    Args:
        path: a folder as BEIR has them, or an `EmbeddingQAFinetuneDataset` as JSON.
        split: which relevance judgements of a folder to use; a file has no splits.

    Returns:
        The dataset. In both forms the same content has the same digest.

    Raises:
        InvalidInputError: it is not there, or it is wrong; every problem is listed with its place.
        StorageError: it cannot be read.
    """
    where = absolute_folder(path)
    if not re.fullmatch(r"[\w.-]+", split) or split.startswith("."):
        raise InvalidInputError(
            f"{split!r} is no split",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the split",
            expected="the name of a file in qrels/, without .tsv",
            found=repr(split),
            done="nothing was read",
            hint="such as test, dev or train",
        )
    problems = Problems(str(where))
    try:
        if where.is_dir():
            name = f"{where.resolve().name}/{split}"
            return read_beir(where, name=name, split=split, problems=problems)
        if where.is_file():
            return read_question_file(where, name=where.stem, problems=problems)
    except OSError as error:
        raise StorageError.of(
            error,
            f"{where} cannot be read",
            checked=str(error.filename or where),
            expected="files that can be read",
            done="nothing was measured",
            hint="check the permissions there",
        ) from error
    raise InvalidInputError(
        f"there is no dataset at {where}",
        kind=ErrorKind.DATASET_INVALID,
        checked=str(where),
        expected="a folder, or a file",
        found="nothing",
        done="nothing was measured",
        hint="check the path",
    )
