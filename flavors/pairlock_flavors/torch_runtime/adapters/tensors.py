"""Tensors of an adapter: read from a package, written to one, and proved to be all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from pairlock.errors import ErrorKind, Finding, IntegrityError

Shapes = Mapping[str, tuple[int, ...]]
"""The exact tensors of an adapter: name to shape."""


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_tensors(
    shapes: Shapes, tensors: Mapping[str, torch.Tensor], *, what: str, where: str
) -> None:
    """Prove that a state dict holds exactly an adapter's tensors, and only finite numbers.

    Args:
        shapes: what the adapter needs.
        tensors: what was found.
        what: what the adapter is, for messages.
        where: where the tensors are, for messages.

    Raises:
        IntegrityError: a tensor is missing, unexpected, of another shape or dtype, or not finite.
    """
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
            f"the weights in {where} are not those of {what}",
            kind=findings[0].kind,
            checked="name, shape and values of every tensor",
            findings=findings[:20],
            found=f"{len(findings)} of {len(shapes.keys() | tensors.keys())} tensors are wrong",
            done="nothing was loaded or written",
            hint="check that configuration and weights are of one adapter, and save it again",
        )


def check_taken(
    taken: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], *, who: str, hint: str
) -> None:
    """Prove that tensors in memory, read back, have the values that were to go there.

    Args:
        taken: what is in memory, in whatever dtype and place.
        tensors: what was to be taken.
        who: was to take them, for messages.
        hint: what to do where it did not.

    Raises:
        IntegrityError: it did not take every one of them, as when two share one place.
    """
    wrong = [
        name
        for name, tensor in sorted(tensors.items())
        if not torch.equal(taken[name].cpu(), tensor.to(taken[name].dtype))
    ]
    if wrong:
        raise IntegrityError(
            f"{who} did not take every tensor",
            kind=ErrorKind.TENSOR_VALUES,
            checked="the tensors in memory, read back",
            expected="the values in the file",
            found=f"{len(wrong)} differ: {', '.join(wrong[:5])}",
            done="nothing was loaded",
            hint=hint,
        )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file whole, onto the CPU.

    Raises:
        IntegrityError: it is no safetensors file.
    """
    try:
        # not mapped: the file may be replaced while the adapter lives
        return dict(safetensors.torch.load(path.read_bytes()))
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


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors, in the dtype they are in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # copies, for safetensors refuses tensors that share their memory, as tied weights do
    own = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    safetensors.torch.save_file(own, path)


def _finding(kind: ErrorKind, place: str, expected: str, found: str) -> Finding:
    return Finding(kind=kind, place=place, expected=expected, found=found)
