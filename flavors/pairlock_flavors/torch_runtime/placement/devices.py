"""Chooses the device a model runs on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pairlock.errors import ErrorKind, InvalidInputError, UnavailableError


@dataclass(frozen=True, slots=True)
class Choice:
    """A device, and why it was chosen."""

    device: str
    reason: str


def choose_device(wish: str, order: tuple[str, ...]) -> Choice:
    """Choose a device.

    Args:
        wish: `auto`, or a torch device such as `cpu`, `cuda`, `cuda:1`, `mps`.
        order: device types to try for `auto`, best first; the CPU is always the last.

    Returns:
        A device that is there.

    Raises:
        InvalidInputError: the wish is no torch device.
        UnavailableError: the device wished for is not there.
    """
    if wish == "auto":
        for device_type in order:
            if _count(device_type) > 0:
                return Choice(device_type, f"auto: first of {', '.join(order)} that is there")
        return Choice("cpu", "auto: no accelerator is there")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise InvalidInputError(
            f"{wish!r} is no device",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the device",
            expected="auto, cpu, cuda, cuda:<n> or mps",
            found=repr(wish),
            done="nothing was loaded",
            hint='use device="auto"',
        ) from error
    count = _count(device.type)
    if count <= (device.index or 0):
        raise UnavailableError(
            f"the device {wish} is not there",
            kind=ErrorKind.DEVICE_UNAVAILABLE,
            checked=f"{device.type} devices that torch {torch.__version__} sees",
            expected=f"at least {(device.index or 0) + 1}",
            found=str(count),
            done="nothing was loaded",
            hint='use device="auto" or device="cpu", or install a torch build for that device',
        )
    return Choice(wish, "asked for")


def is_available(device: str) -> bool:
    """Whether a torch device is there."""
    wished = torch.device(device)
    return _count(wished.type) > (wished.index or 0)


def _count(device_type: str) -> int:
    if device_type == "cpu":
        return 1
    if device_type == "cuda":
        return torch.cuda.device_count()
    if device_type == "mps":
        return int(torch.backends.mps.is_available())
    return 0
