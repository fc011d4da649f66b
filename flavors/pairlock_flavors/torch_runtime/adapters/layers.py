"""Adapter weights: from a state dict to safetensors, and from there to LlamaIndex's layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN

from pairlock.errors import ErrorKind, Finding, IntegrityError, UnsupportedError
from pairlock.manifest import Kind, LayerFacts


def expected_shapes(facts: LayerFacts) -> dict[str, tuple[int, ...]]:
    """The exact tensors of an adapter, by name.

    From LlamaIndex 0.6 (`embeddings/adapter/utils.py`): a TwoLayerNN ignores `bias` and always has
    biases and a residual weight.
    """
    if facts.class_name == "LinearLayer":
        shapes: dict[str, tuple[int, ...]] = {
            "linear.weight": (facts.out_features, facts.in_features)
        }
        return shapes | ({"linear.bias": (facts.out_features,)} if facts.bias else {})
    hidden = facts.hidden_features or 0
    return {
        "linear1.weight": (hidden, facts.in_features),
        "linear1.bias": (hidden,),
        "linear2.weight": (facts.out_features, hidden),
        "linear2.bias": (facts.out_features,),
        "residual_weight": (1,),
    }


def check_tensors(facts: LayerFacts, tensors: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Prove that a state dict holds exactly an adapter's tensors, and only finite numbers.

    Raises:
        IntegrityError: a tensor is missing, unexpected, of another shape or dtype, or not finite.
    """
    shapes = expected_shapes(facts)
    findings = []
    for name in sorted(shapes.keys() | tensors.keys()):
        wanted = str(shapes[name]) if name in shapes else "no such tensor"
        tensor = tensors.get(name)
        found = str(tuple(tensor.shape)) if tensor is not None else "nothing"
        if wanted != found:
            findings.append(_finding(ErrorKind.TENSOR_KEYS, name, wanted, found))
        elif tensor is not None and not tensor.dtype.is_floating_point:
            findings.append(_finding(ErrorKind.TENSOR_VALUES, name, "floats", str(tensor.dtype)))
        elif tensor is not None and not bool(torch.isfinite(tensor).all()):
            findings.append(_finding(ErrorKind.TENSOR_VALUES, name, "finite", "NaN or infinity"))
    if findings:
        raise IntegrityError(
            f"the weights in {where} are not those of a {facts.class_name}",
            kind=findings[0].kind,
            checked="name, shape and values of every tensor",
            findings=findings,
            done="nothing was loaded or written",
            hint="check that config.json and the weights are of one adapter, and save it again",
        )


def write_adapter(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write an adapter's tensors as safetensors, in the dtype they are in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, path)


def load_adapter(path: Path, facts: LayerFacts, *, device: str) -> BaseAdapter:
    """Rebuild an adapter from a package.

    Args:
        path: the safetensors file.
        facts: what the manifest says about it.
        device: where to put it.

    Returns:
        The adapter in float32 and `eval()` mode.

    Raises:
        IntegrityError: the tensors are not exactly those of the recorded class.
    """
    try:
        # read whole, not mapped: the file may be replaced while the adapter lives
        tensors = safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise IntegrityError(
            f"{path.name} is no safetensors file",
            kind=ErrorKind.TENSOR_VALUES,
            checked=str(path),
            expected="safetensors",
            found=str(error),
            done="nothing was loaded",
            hint="restore the file, or log the adapter again",
        ) from error
    check_tensors(facts, tensors, where=path.name)
    adapter = _construct(facts)
    adapter.load_state_dict(tensors, strict=True)
    adapter.to(device=torch.device(device), dtype=torch.float32)
    adapter.eval()
    adapter.requires_grad_(False)
    return adapter


def facts_of(adapter: object) -> tuple[Kind, dict[str, object]]:
    """Kind and constructor arguments of a live adapter.

    Raises:
        UnsupportedError: it is of a class of its own.
    """
    kinds = {LinearLayer: Kind.LINEAR, TwoLayerNN: Kind.TWO_LAYER}
    kind = kinds.get(type(adapter))
    if kind is None or not isinstance(adapter, BaseAdapter):
        raise UnsupportedError(
            f"adapters of class {type(adapter).__qualname__} are not packaged by this release",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the adapter's class",
            expected="LinearLayer or TwoLayerNN of llama_index.embeddings.adapter",
            found=f"{type(adapter).__module__}.{type(adapter).__qualname__}",
            done="nothing was written",
            hint="a class of your own may compute anything; train a LinearLayer or a TwoLayerNN",
        )
    return kind, adapter.get_config_dict()


def _construct(facts: LayerFacts) -> BaseAdapter:
    if facts.class_name == "LinearLayer":
        # LinearLayer seeds itself with eye(in, out), which only fits a square weight; the seed is
        # replaced at once, so a non-square layer is built without it
        layer = LinearLayer(facts.in_features, facts.in_features, bias=facts.bias)
        if facts.out_features != facts.in_features:
            layer.linear = torch.nn.Linear(facts.in_features, facts.out_features, bias=facts.bias)
            layer.out_features = facts.out_features
        return layer
    return TwoLayerNN(
        facts.in_features,
        facts.hidden_features,
        facts.out_features,
        bias=facts.bias,
        activation_fn_str=facts.activation,
        add_residual=facts.add_residual,
    )


def _finding(kind: ErrorKind, place: str, expected: str, found: str) -> Finding:
    return Finding(kind=kind, place=place, expected=expected, found=found)
