"""Counts the bytes of the tensors that are alive while a model runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pairlock.garbage import collector_off


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of this thread, and follows the storages of its results.

    The same operations give the same figure in every process. What a kernel allocates for itself
    and frees before it returns is not seen, and allocators round up: a device needs more.

    Attributes:
        peak_bytes: most bytes that were alive at once, those left out not counted.
    """

    def __init__(self, leave_out: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._alive_bytes = 0
        self._followed: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._left_out = {_address(tensor) for tensor in leave_out}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation, in its parts where torch would run it in parts."""
        kwargs = kwargs or {}
        # in inference mode a composite operation arrives whole, and what is alive in it is the
        # larger part of what attention takes; torch's own FlopCounterMode does the same
        with self:
            found = func.decompose(*args, **kwargs)
        if found is NotImplemented:
            found = func(*args, **kwargs)
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                self._follow(leaf)
        return found

    def _follow(self, tensor: torch.Tensor) -> None:
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:
            return  # a sparse tensor has no storage of its own
        size, key = storage.nbytes(), id(storage)
        if key in self._followed or storage.data_ptr() in self._left_out:
            return
        # a storage keeps its Python object for as long as any tensor uses it
        self._followed[key] = (weakref.ref(storage, lambda _ref: self._freed(key)), size)
        self._alive_bytes += size
        self.peak_bytes = max(self.peak_bytes, self._alive_bytes)

    def _freed(self, key: int) -> None:
        self._alive_bytes -= self._followed.pop(key)[1]


@contextmanager
def counting(*modules: torch.nn.Module) -> Iterator[LiveTensors]:
    """Count what is alive beside the weights of modules.

    The garbage collector is off meanwhile: when it runs depends on everything else that the process
    did, and the figure must not.
    """
    with (
        collector_off(),
        LiveTensors(w for module in modules for w in weights(module)) as live,
    ):
        yield live


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """Every parameter and buffer."""
    return [*model.parameters(), *model.buffers()]


def weights_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers in memory; what two of them share counts once."""
    storages = [tensor.untyped_storage() for tensor in weights(model)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
