"""What trainers made: the model in them, and what they know of its training.

Trainers are recognised by what they offer. llama-index-finetuning is deprecated and cannot be
installed beside a current LlamaIndex; peft and datasets may be missing. None is imported here.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock_flavors.packaging.pickles import read_state_dict
from pairlock_flavors.training.data import datasets_of, evaluated_on, questions_of
from pairlock_flavors.training.record import (
    MetricPoint,
    TrainingRecord,
    is_number,
    points_of,
    results_of,
)

ADAPTER_FILE = "pytorch_model.bin"
"""What LlamaIndex's `BaseAdapter.save` writes, from llama-index-embeddings-adapter 0.6."""

_ARGUMENTS = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "seed",
    "bf16",
    "fp16",
    "load_best_model_at_end",
    "metric_for_best_model",
    "batch_sampler",
    "multi_dataset_batch_sampler",
)
"""Training arguments that are recorded, under the names that transformers' MLflowCallback uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What was handed in, and what it says of its training."""

    model: object
    """The thing to package."""

    base: str | None = None
    """What the trainer calls the model that it started from. A hint; nothing is looked up by it."""

    record: TrainingRecord | None = None
    """None for anything that is no trainer."""

    live: SentenceTransformer | None = None
    """The model in memory that the folder in `model` must agree with, where there is one."""


def unwrap(model: object) -> Trained:
    """Take the model out of a trainer. Nothing about the trainer or its model changes.

    Args:
        model: LlamaIndex's `SentenceTransformersFinetuneEngine` or
            `EmbeddingAdapterFinetuneEngine`, a trainer of transformers' or Sentence-Transformers'
            kind; or anything else.

    Returns:
        The folder that the first engine saved; an `AdapterEmbeddingModel` of the second one's
        base and adapter in memory; a trainer's own model. Anything else is returned as it is.

    Raises:
        InvalidInputError: the training was not run, or its output is not what it left.
        UnsupportedError: an engine that makes no embedding model.
        IntegrityError: the adapter that the engine saved cannot be read safely.
    """
    if isinstance(model, type):
        return Trained(model=model)
    if _offers(model, "finetune", "get_finetuned_model"):
        inner, embed_model = getattr(model, "model", None), getattr(model, "embed_model", None)
        output = getattr(model, "model_output_path", getattr(model, "_model_output_path", None))
        if isinstance(output, str | os.PathLike):
            if isinstance(inner, SentenceTransformer):
                return _from_sentence_engine(model, inner, Path(output))
            if isinstance(inner, torch.nn.Module) and isinstance(embed_model, BaseEmbedding):
                return _from_adapter_engine(model, inner, embed_model, Path(output))
        raise UnsupportedError(
            f"{type(model).__qualname__} makes no embedding model",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the engine's model",
            expected="a SentenceTransformer, or an adapter on an embed_model",
            found=type(inner).__qualname__,
            done="nothing was written",
            hint="use SentenceTransformersFinetuneEngine or EmbeddingAdapterFinetuneEngine, or "
            "pass the folder that the training saved",
        )
    state = getattr(model, "state", None)
    if _offers(model, "train") and isinstance(getattr(state, "log_history", None), list):
        return _from_trainer(model, state)
    return Trained(model=model)


def _offers(model: object, *methods: str) -> bool:
    return all(callable(getattr(model, name, None)) for name in methods)


# SentenceTransformersFinetuneEngine


def _from_sentence_engine(engine: Any, model: SentenceTransformer, folder: Path) -> Trained:
    card = model.model_card_data
    # set when the training begins; the folder alone may be another engine's
    if not folder.is_dir() or not card.all_hyperparameters:
        raise _not_run(engine, "a folder that finetune() saved", str(folder))
    evaluator = getattr(engine, "evaluator", None)
    log = _last_training(card.training_logs)
    results, step = _evaluated(evaluator, card, log)
    datasets = [
        *questions_of(engine),
        *evaluated_on(evaluator, [point.name for point in results]),
    ]
    params = {
        "epochs": getattr(engine, "epochs", None),
        "batch_size": getattr(getattr(engine, "loader", None), "batch_size", None),
        "learning_rate": _default_learning_rate(model.fit),
        "warmup_steps": getattr(engine, "warmup_steps", None),
        "loss": _class_names(getattr(engine, "loss", None)),
        "base_model": getattr(engine, "model_id", None),
    }
    return Trained(
        model=folder,
        base=_texts(params).get("base_model"),
        record=TrainingRecord(
            results=results,
            history=tuple(_history(evaluator, log)),
            params=_texts(params),
            datasets=tuple(datasets),
            step=step,
        ),
        # with an evaluator the best model is saved, which need not be the last
        live=model if evaluator is None else None,
    )


def _last_training(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries since steps were last counted from the beginning: `fit` may run again."""
    start = 0
    for index in range(1, len(log)):
        if log[index]["Step"] <= log[index - 1]["Step"]:
            start = index
    return log[start:]


def _evaluated(
    evaluator: Any, card: Any, log: list[dict[str, Any]]
) -> tuple[tuple[MetricPoint, ...], int | None]:
    """The metrics of the model that `fit` saved: the first with the best primary metric."""
    last = log[-1]["Step"] if log else None
    primary = str(getattr(evaluator, "primary_metric", None))
    measured = [entry for entry in log if primary in entry]
    if not measured:
        return (), last
    greater = getattr(evaluator, "greater_is_better", True)
    # max and min give the first of equals, which is the one that fit keeps
    best = (max if greater else min)(measured, key=lambda entry: entry[primary])
    # only the last evaluation is kept in full
    full = (card.eval_results_dict or {}).get(evaluator, {})
    metrics = full if best is measured[-1] else {primary: best[primary]}
    step = int(best["Step"])
    return tuple(
        MetricPoint(name=f"eval_{name}", value=float(value), step=step)
        for name, value in metrics.items()
        if is_number(value)
    ), step


def _history(evaluator: Any, log: list[dict[str, Any]]) -> Iterator[MetricPoint]:
    primary = getattr(evaluator, "primary_metric", None)
    names = {"Training Loss": "loss", **({primary: f"eval_{primary}"} if primary else {})}
    for entry in log:
        for key, name in names.items():
            if key in entry:
                yield MetricPoint(name=name, value=float(entry[key]), step=int(entry["Step"]))


# EmbeddingAdapterFinetuneEngine


class FinetunedAdapter(AdapterEmbeddingModel):
    """An engine's adapter on its base, as they are in memory.

    LlamaIndex's constructor is not run: it unpickles the saved weights into a LinearLayer unless
    told otherwise, and moves them.
    """

    def __init__(self, base: BaseEmbedding, adapter: torch.nn.Module) -> None:
        BaseEmbedding.__init__(self, model_name=f"Adapter for {base.model_name}")
        self._base_embed_model = base
        self._adapter = adapter
        self._transform_query = True
        self._target_device = next((p.device for p in adapter.parameters()), torch.device("cpu"))
        self._device = str(self._target_device)

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name for the class."""
        return "AdapterEmbeddingModel"


def _from_adapter_engine(
    engine: Any, adapter: torch.nn.Module, base: BaseEmbedding, folder: Path
) -> Trained:
    saved = folder / ADAPTER_FILE
    if not saved.is_file():
        raise _not_run(engine, f"{ADAPTER_FILE}, saved by finetune()", str(folder))
    if not _same_tensors(read_state_dict(saved), adapter.state_dict()):
        raise InvalidInputError(
            "the engine's adapter is not the one in its output folder",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked=f"the tensors in {saved} and in memory",
            expected="what finetune() left in memory and saved",
            found="other tensors",
            done="nothing was written",
            hint="run finetune() first, and give each engine a model_output_path of its own; to "
            "log what is in the folder, pass the folder",
        )
    embedding = FinetunedAdapter(base, adapter)
    optimizer = dict(getattr(engine, "_train_kwargs", {})).get("optimizer_params", {})
    params = {
        "epochs": getattr(engine, "_epochs", None),
        "batch_size": getattr(engine, "batch_size", None),
        "learning_rate": optimizer.get("lr")
        or _default_learning_rate(_beside(engine, "adapter_utils", "train_model")),
        "warmup_steps": getattr(engine, "_warmup_steps", None),
        "loss": "MultipleNegativesRankingLoss",
        "adapter": type(adapter).__qualname__,
        "base_model": base.model_name,
    }
    return Trained(
        model=embedding,
        base=str(getattr(base, "uri", None) or base.model_name),
        record=TrainingRecord(params=_texts(params), datasets=tuple(questions_of(engine))),
    )


def _same_tensors(saved: Mapping[str, torch.Tensor], live: Mapping[str, torch.Tensor]) -> bool:
    return saved.keys() == live.keys() and all(
        torch.equal(saved[name], tensor.detach().cpu()) for name, tensor in live.items()
    )


def _beside(engine: Any, module: str, name: str) -> Any:
    """Something in a module of the engine's package, which the training has imported."""
    for cls in type(engine).__mro__:
        package = cls.__module__.rpartition(".")[0]
        found = getattr(sys.modules.get(f"{package}.{module}"), name, None)
        if found is not None:
            return found
    return None


# trainers of transformers' kind


def _from_trainer(trainer: Any, state: Any) -> Trained:
    if not state.global_step:
        raise _not_run(trainer, "at least one training step", "none", method="train()")
    best = _best_step(trainer, state)
    results = results_of(state.log_history, best_step=best)
    datasets, notes = datasets_of(trainer, [point.name for point in results])
    params = {
        **{name: getattr(trainer.args, name, None) for name in _ARGUMENTS},
        "loss": _class_names(getattr(trainer, "loss", None)),
        "base_model": _started_from(trainer.model),
    }
    return Trained(
        model=trainer.model,
        base=_started_from(trainer.model),
        record=TrainingRecord(
            results=results,
            history=points_of(state.log_history),
            params=_texts(params),
            datasets=tuple(datasets),
            step=int(state.global_step if best is None else best),
            reported=_reported(trainer),
            notes=tuple(notes),
        ),
    )


def _best_step(trainer: Any, state: Any) -> int | None:
    """The step whose weights were loaded at the end; None when the last ones stayed."""
    checkpoint = getattr(state, "best_model_checkpoint", None)
    if not getattr(trainer.args, "load_best_model_at_end", False) or not checkpoint:
        return None
    step = str(checkpoint).rpartition("checkpoint-")[2]
    return int(step) if step.isdigit() else getattr(state, "best_global_step", None)


def _reported(trainer: Any) -> bool:
    """Whether transformers' own MLflowCallback (or one built on it) has sent metrics."""
    callbacks = getattr(getattr(trainer, "callback_handler", None), "callbacks", [])
    return any(
        getattr(callback, "_initialized", False)
        for callback in callbacks
        if any(cls.__name__ == "MLflowCallback" for cls in type(callback).__mro__)
    )


def _started_from(model: Any) -> str | None:
    """What the model's own configuration says it was loaded from."""
    card = getattr(model, "model_card_data", None)
    config = getattr(model, "config", None)
    name = getattr(card, "base_model", None) or getattr(config, "_name_or_path", None)
    return str(name) if name else None


# what they share


def _class_names(loss: Any) -> str | None:
    if loss is None:
        return None
    losses = loss.values() if isinstance(loss, Mapping) else [loss]
    return ", ".join(dict.fromkeys(type(one).__qualname__ for one in losses))


def _default_learning_rate(train: Any) -> Any:
    """The `lr` in the default of `optimizer_params`; neither engine says it anywhere else."""
    if train is None:
        return None
    parameter = inspect.signature(train).parameters.get("optimizer_params")
    default = None if parameter is None else parameter.default
    return default.get("lr") if isinstance(default, Mapping) else None


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    # an enum is what it stands for, as transformers writes it
    return {
        name: str(getattr(value, "value", value))
        for name, value in values.items()
        if value is not None
    }


def _not_run(
    trainer: Any, expected: str, where: str, *, method: str = "finetune()"
) -> InvalidInputError:
    return InvalidInputError(
        f"the {type(trainer).__qualname__} has not trained anything yet",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=where,
        expected=expected,
        found="nothing that this training made",
        done="nothing was written",
        hint=f"call {method} first; to log what an earlier training saved, pass its folder",
    )
