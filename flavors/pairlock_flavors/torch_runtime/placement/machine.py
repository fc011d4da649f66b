"""What this machine has to run a model on, read from torch and the operating system."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from pairlock_flavors.torch_runtime.placement.choosing import DeviceState


def machine_states(wish: str = "auto") -> tuple[DeviceState, ...]:
    """The devices of this machine that a wish may mean, as they are now.

    Asking a GPU for its free memory takes some hundred MB there and starts its driver, so GPUs are
    left alone where only the CPU is wished for.

    Args:
        wish: `auto`, or a device or a type.

    Returns:
        The state of every device; the CPU is always among them, and last.
    """
    wished = wish.partition(":")[0]
    states: list[DeviceState] = []
    if wished in {"auto", "cuda"}:
        states += [_cuda(index) for index in range(torch.cuda.device_count())]
    if wished in {"auto", "mps"} and torch.backends.mps.is_available():
        states.append(_mps())
    return (*states, _cpu())


def is_available(device: str) -> bool:
    """Whether a torch device is there."""
    wished = torch.device(device)
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    return counts.get(wished.type, 0) > (wished.index or 0)


def cpu_name() -> str:
    """What the processor calls itself."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cuda(index: int) -> DeviceState:
    free, total = 0, None
    # a GPU that is full to the brim, or broken, has no room to be asked in
    with suppress(RuntimeError):
        free, total = torch.cuda.mem_get_info(index)
    # what this process's allocator holds and does not use is free for this process
    free += torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    with torch.cuda.device(index):
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return DeviceState(
        name=f"cuda:{index}",
        type="cuda",
        card=torch.cuda.get_device_name(index),
        free_bytes=free,
        total_bytes=total,
        supports_bfloat16=bool(bfloat16),
        supports_float16=True,
    )


def _mps() -> DeviceState:
    total = torch.mps.recommended_max_memory()
    return DeviceState(
        name="mps",
        type="mps",
        card=cpu_name(),
        free_bytes=max(0, total - torch.mps.driver_allocated_memory()),
        total_bytes=total,
        supports_bfloat16=torch.backends.mps.is_macos_or_newer(14, 0),
        supports_float16=True,
    )


def _cpu() -> DeviceState:
    return DeviceState(
        name="cpu",
        type="cpu",
        card=cpu_name(),
        free_bytes=_available_bytes(),
        total_bytes=_pages("SC_PHYS_PAGES"),
        supports_bfloat16=True,
        supports_float16=True,
    )


def _available_bytes() -> int | None:
    """Memory that could be taken without swapping; Linux alone counts what it could drop."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _pages("SC_AVPHYS_PAGES")


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
