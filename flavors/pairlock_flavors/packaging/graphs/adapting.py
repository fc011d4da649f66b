"""Says what a LoRA adds to which weights of its base, so that the base's graph does for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from pairlock.manifest.compiled import DerivedTensor, LowRank, Place, TensorPlace
from pairlock.manifest.format import ADAPTER_FOLDER, PEFT_CONFIG, PEFT_WEIGHTS
from pairlock_flavors.packaging.graphs.binding import Bound, WeightFiles
from pairlock_flavors.packaging.graphs.exporting import traced_features
from pairlock_flavors.packaging.graphs.refusal import NotExportedError
from pairlock_flavors.torch_runtime.adapters.peft import named_as_in_the_encoder, put_peft
from pairlock_flavors.torch_runtime.adapters.tensors import read_tensors

_FILE = PEFT_WEIGHTS.removeprefix(f"{ADAPTER_FOLDER}/")


def lora_weights(
    pipeline: SentenceTransformer, root: Path, files: WeightFiles
) -> dict[TensorPlace, DerivedTensor]:
    """What a LoRA adds, by where the weight lies that it adds to.

    Args:
        pipeline: the base's pipeline, without the adapter; it is the caller's to change.
        root: the adapter's package.
        files: the base's and the adapter's tensors.

    Returns:
        The changed weights; they are named when they are bound.

    Raises:
        NotExportedError: the adapter is of another method, or changes more than that.
    """
    bare = {name: tensor.detach() for name, tensor in pipeline[0].auto_model.named_parameters()}
    put_peft(pipeline, root / PEFT_CONFIG, root / PEFT_WEIGHTS, merge=False)
    written = _written_names(root)
    found: dict[TensorPlace, DerivedTensor] = {}
    used: set[str] = set()
    for name, layer in _layers(pipeline[0].auto_model):
        weight = bare[f"{name}.weight"]
        place = files.find(weight.float().numpy())
        if place is None:
            raise NotExportedError(f"{name}.weight is in no safetensors file of the base")
        if (twin := files.twin(place)) is not None:
            # weights are found by content, so that nobody can say which of the two a graph uses
            raise NotExportedError(
                f"its LoRA is on {place.name}, and the base has the same values in {twin.name}"
            )
        parts = [f"{name}.lora_A.weight", f"{name}.lora_B.weight"]
        used.update(parts)
        a, b = (TensorPlace(Place.ADAPTER, _FILE, _name(written, part)) for part in parts)
        if place in found:
            raise NotExportedError(f"{name}.weight is shared by two layers of the base")
        found[place] = DerivedTensor(
            name="",
            source=place,
            added=LowRank(a=a, b=b, scale=_scale(name, layer), transposed=_is_turned(layer)),
        )
    if left := sorted(written.keys() - used):
        raise NotExportedError(f"its adapter has more than LoRA's two matrices: {left[0]}")
    return found


def check_all_bound(
    model: SentenceTransformer,
    changed: Iterable[TensorPlace],
    weights: Iterable[Bound],
    files: WeightFiles,
) -> None:
    """Prove that a graph takes every changed weight on which vectors depend.

    A pooler's, which nothing reads, is in no graph. One that the exporter has worked into another
    constant would lose what the adapter adds to it, which golden vectors show only where that is
    much.

    Args:
        model: the pipeline that the graph was made of, without the adapter.
        changed: where the weights lie that an adapter adds to.
        weights: those that the graph takes from the files.
        files: the base's tensors.

    Raises:
        NotExportedError: it does not.
    """
    for place in sorted(set(changed) - {weight.place for weight in weights}, key=str):
        wanted = files.float32(place)
        for name, parameter in model.named_parameters():
            same = parameter.shape == wanted.shape and np.array_equal(parameter.numpy(), wanted)
            if same and _counts(model, name, parameter):
                raise NotExportedError(f"its LoRA is on {place.name}, which is folded in the graph")


def _counts(model: SentenceTransformer, name: str, weight: torch.Tensor) -> bool:
    """Whether vectors change with a weight."""
    features, _ = traced_features(model)
    generator = torch.Generator().manual_seed(0)
    other = torch.rand(weight.shape, generator=generator)
    with torch.no_grad():
        before, after = (
            torch.func.functional_call(model, changes, (dict(features),))["sentence_embedding"]
            for changes in ({}, {name: other})
        )
    return not torch.equal(before, after)


def _layers(encoder: torch.nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = []
    for name, module in encoder.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if not isinstance(module, LoraLayer):
            raise NotExportedError(f"its adapter has a {type(module).__name__}, no LoRA layer")
        if module.lora_variant or any(module.use_dora.values()) or any(module.lora_bias.values()):
            raise NotExportedError("its LoRA has magnitudes or biases of its own")
        if not hasattr(module.get_base_layer(), "weight") or len(module.lora_A) != 1:
            raise NotExportedError("its LoRA is on more than matrices")
        found.append((name, module))
    return found


def _scale(name: str, layer: Any) -> float:
    (scale,) = layer.scaling.values()
    if scale < 0:
        raise NotExportedError(f"{name} is scaled by {scale}")
    return float(scale)


def _is_turned(layer: Any) -> bool:
    return bool(getattr(layer, "fan_in_fan_out", False))


def _written_names(root: Path) -> dict[str, str]:
    """Names inside the encoder, to those in the adapter's file."""
    tensors = read_tensors(root / PEFT_WEIGHTS)
    return dict(zip(named_as_in_the_encoder(tensors), tensors, strict=True))


def _name(written: dict[str, str], name: str) -> str:
    try:
        return written[name]
    except KeyError:
        raise NotExportedError(f"its adapter has no {name}") from None
