"""Reads the pickled state dicts that adapters are saved as, without running what is in them."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import torch

from pairlock.errors import ErrorKind, IntegrityError


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict.

    torch's restricted unpickler knows tensors and plain containers and nothing else. It is asked
    for by name: the environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD would otherwise switch
    code execution on.

    Args:
        path: a file written by `torch.save(module.state_dict(), …)`.

    Returns:
        Tensors on the CPU, by name.

    Raises:
        IntegrityError: the file wants anything else than tensors, or is no such file.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        MemoryError,
        struct.error,
        OSError,
    ) as error:
        raise _unsafe(path, f"{type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise _unsafe(path, f"a pickled {type(found).__name__} that is no state dict")
    return dict(found)


def _unsafe(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        f"{path.name} is not a state dict that can be read safely",
        kind=ErrorKind.UNSAFE_PICKLE,
        checked=f"{path}, with torch's restricted unpickler (weights_only=True)",
        expected="names and tensors, as torch.save(adapter.state_dict(), …) writes them",
        found=found,
        done="nothing was written, and no code in the file was run",
        hint="if you trust where it comes from, load it there and save its state dict again",
    )


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else "unreadable"
