"""Asks torch for the graph of a Sentence-Transformers pipeline, pooling and all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from pairlock_flavors.onnx_runtime.tokens import KNOWN_INPUTS
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.torch_runtime.models.description import foreign_modules
from pairlock_flavors.torch_runtime.models.loading import is_own, is_router

_TEXTS = ["a short text, and then", "another one that is a little longer than the first"]
"""What the graph is traced with: two texts of two lengths, so that neither size looks constant."""


def features_of(
    model: SentenceTransformer, texts: list[str], **options: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a pipeline's first module makes of texts: tensors, and whatever else it hands on."""
    found: Mapping[str, Any] = model.preprocess(texts, **options)
    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in found.items() if name not in tensors}


def traced_features(
    model: SentenceTransformer,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a pipeline's first module makes of the texts that graphs are traced with."""
    return features_of(model, list(_TEXTS))


def check_exportable(model: SentenceTransformer) -> None:
    """Refuse pipelines whose forward pass is no function of tokens alone.

    Raises:
        NotExportedError: it is one.
    """
    if foreign := foreign_modules(model):
        raise NotExportedError(f"it runs code of another package ({', '.join(foreign)})")
    first = model[0]
    if any(is_router(module) for module in model.children()):
        raise NotExportedError("a Router sends queries and documents through other modules")
    if not (is_own(first) and hasattr(first, "auto_model")):
        raise NotExportedError(f"its first module is a {type(first).__name__}, no Transformer")
    for module in list(model.children())[1:]:
        if getattr(module, "include_prompt", True) is False:
            raise NotExportedError("its pooling leaves the instruction out")


def export(model: SentenceTransformer) -> tuple[Any, tuple[str, ...]]:
    """Export a pipeline in float32.

    Args:
        model: the pipeline, in float32 on the CPU, in `eval()` mode.

    Returns:
        An `onnx_ir.Model` with the weights in it, and the names of its inputs, in their order.

    Raises:
        NotExportedError: torch's exporter cannot do it.
    """
    check_exportable(model)
    tensors, rest = traced_features(model)
    if strange := sorted(set(tensors) - set(KNOWN_INPUTS)):
        raise NotExportedError(f"it takes {', '.join(strange)} beside tokens")
    names = tuple(name for name in KNOWN_INPUTS if name in tensors)
    dynamic = torch.export.Dim.DYNAMIC
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Whole(model, names, rest).eval(),
                tuple(tensors[name] for name in names),
                dynamo=True,
                input_names=list(names),
                output_names=["sentence_embedding"],
                # one entry for the variadic argument of the wrapper
                dynamic_shapes=(tuple({0: dynamic, 1: dynamic} for _ in names),),
                optimize=True,
                verbose=False,
            )
        except Exception as error:
            # the exporter fails in as many ways as there are operators
            reason = str(error).strip().partition("\n")[0][:200]
            raise NotExportedError(f"torch cannot export it: {reason}") from error
    assert program is not None
    return program.model, names


class _Whole(torch.nn.Module):
    """A pipeline as a function of tensors."""

    def __init__(
        self, model: SentenceTransformer, names: tuple[str, ...], rest: dict[str, Any]
    ) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(list(model.children()))
        self._names = names
        self._rest = rest

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        features = {**self._rest, **dict(zip(self._names, tensors, strict=True))}
        for part in self.parts:
            features = part(features)
        found: torch.Tensor = features["sentence_embedding"]
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporter and quantiser from telling what they do; the latter uses the root logger."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
