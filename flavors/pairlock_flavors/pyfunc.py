"""A package as an MLflow pyfunc model: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from numpy.typing import NDArray

from pairlock.catalog import Located
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.manifest import Role
from pairlock.progress import SILENT
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.loading import load_located
from pairlock_flavors.wish import Wish

DEFAULT_CONFIG: dict[str, Any] = {"device": "auto", "role": "text"}
"""Saved with every package; `mlflow.pyfunc.load_model(uri, model_config={…})` overrides it."""


class EmbeddingModel:
    """What `mlflow.pyfunc.load_model` wraps.

    Args:
        embedding: the loaded embedding.
        role: the role of texts when `predict` is not told one.
    """

    def __init__(self, embedding: PackageEmbedding, role: Role) -> None:
        self.embedding = embedding
        self.role = role

    def predict(
        self, model_input: Any, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            model_input: a text, a list, array or Series of texts, or a DataFrame with one column.
            params: `{"role": "query"}` or `{"role": "text"}`; else the configured role.

        Returns:
            (n_texts, dim) float32.

        Raises:
            InvalidInputError: something that is no text, or an unknown role.
        """
        wished = (params or {}).get("role") or self.role
        return self.embedding.vectors(texts_of(model_input), parse_role(str(wished)))

    def get_raw_model(self) -> PackageEmbedding:
        """The LlamaIndex embedding itself."""
        return self.embedding


def load_pyfunc_model(path: str, model_config: dict[str, Any] | None = None) -> EmbeddingModel:
    """Load a package's folder.

    Args:
        path: the folder, as MLflow gives it.
        model_config: device, and the role of texts when `predict` is not told one.

    Raises:
        PairlockError: as `pairlock.load`.
    """
    config = {**DEFAULT_CONFIG, **(model_config or {})}
    folder = str(Path(path).absolute())
    located = Located(
        requested=folder, uri=folder, location=folder, anchors=recorded_digest(folder)
    )
    embedding = load_located(
        located,
        settings=current_settings(),
        wish=Wish(device=str(config["device"])),
        progress=SILENT,
    )
    return EmbeddingModel(embedding, parse_role(str(config["role"])))


def recorded_digest(folder: str) -> dict[str, str]:
    """The package digest in MLflow's `MLmodel`, as an anchor.

    MLflow gives a loader a folder and not the URI, so the registry's tags cannot be asked here.
    """
    try:
        flavors = Model.load(folder).flavors
    except (MlflowException, OSError, yaml.YAMLError):
        return {}
    digest = flavors.get("pairlock", {}).get("package_digest")
    return {"MLmodel file": digest} if isinstance(digest, str) else {}


def parse_role(text: str) -> Role:
    """The role a text names.

    Raises:
        InvalidInputError: it is neither `query` nor `text`.
    """
    try:
        return Role(text)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} is no role",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="role",
            expected="query or text",
            found=repr(text),
            done="nothing was embedded",
            hint='pass params={"role": "query"} for queries; documents are "text"',
        ) from None


def texts_of(model_input: Any) -> list[str]:
    """The texts in whatever MLflow hands over.

    Raises:
        InvalidInputError: it is no text, has several columns, or holds something that is no text.
    """
    if isinstance(model_input, str):
        return [model_input]
    if isinstance(model_input, pd.DataFrame):
        if model_input.shape[1] != 1:
            raise _no_texts(f"a table with {model_input.shape[1]} columns")
        model_input = model_input.iloc[:, 0]
    if isinstance(model_input, pd.Series | np.ndarray):
        model_input = model_input.tolist()
    if not isinstance(model_input, Iterable) or isinstance(model_input, dict | bytes):
        raise _no_texts(f"a {type(model_input).__name__}")
    texts = list(model_input)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise _no_texts(f"a {type(text).__name__} at position {index}")
    return texts


def _no_texts(found: str) -> InvalidInputError:
    return InvalidInputError(
        "the input is not a list of texts",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="the input of predict",
        expected="a text, a list or Series of texts, or a table with one column of texts",
        found=found,
        done="nothing was embedded",
        hint='pass ["first text", "second text"]',
    )
