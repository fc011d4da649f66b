"""Which devices a model may run on, best first, and why not on the others. Rules on data alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pairlock.errors import ErrorKind, InvalidInputError, UnavailableError, UnsupportedError
from pairlock.manifest import DeviceHints
from pairlock.manifest.format import DTYPES

_WISH = re.compile(r"auto|(cpu|cuda|mps)(:\d+)?")
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """One device of this machine, as it is now."""

    name: str
    """torch's name with the index: `cpu`, `mps`, `cuda:0`."""

    type: str
    """`cpu`, `mps` or `cuda`."""

    card: str
    """What the hardware calls itself."""

    free_bytes: int | None
    """Memory that this process could take now; None where nobody says."""

    total_bytes: int | None
    """Memory that there is; None where nobody says."""

    supports_bfloat16: bool
    supports_float16: bool

    def supports(self, dtype: str) -> bool:
        """Whether a model can run there in a dtype."""
        return {"bfloat16": self.supports_bfloat16, "float16": self.supports_float16}.get(
            dtype, True
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller asks for."""

    device: str = "auto"
    """`auto`, a type (`cpu`, `cuda`, `mps`), or one device such as `cuda:1`."""

    dtype: str | None = None
    """float32, float16 or bfloat16; None for what the package says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A device and a dtype that a model may run in, and why."""

    device: str
    dtype: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to try, best first, and what is not even tried."""

    candidates: tuple[Candidate, ...]
    """At least one. A device that was asked for is the only one."""

    passed_over: tuple[str, ...]
    """Every device of the order that is not a candidate, and why not."""

    asked_for: bool
    """Whether the caller named the device, so that no other may stand in for it."""


def choose(hints: DeviceHints, states: Sequence[DeviceState], wish: Wish) -> Plan:
    """Choose the devices to try.

    `auto` follows the package's order. A device is a candidate when its free memory holds the
    weights and one batch of the longest texts; of several GPUs the one with the most free memory
    comes first. The CPU is always a candidate, and the last: what an operating system calls free is
    no limit, so there too little is a warning. It is tried in float32 too, last of all, unless a
    dtype is asked for.

    A device without the package's own dtype runs float32 in its place. The needed bytes are scaled
    from the package's dtype to the one that is run.

    Args:
        hints: what the package says.
        states: what this machine has.
        wish: what the caller asks for.

    Returns:
        The candidates, best first, and what was passed over.

    Raises:
        InvalidInputError: the wish is no device or no dtype.
        UnavailableError: the device asked for is not there (`DEVICE_UNAVAILABLE`), or is too small
            (`DEVICE_TOO_SMALL`).
        UnsupportedError: the dtype asked for does not run on the device (`DTYPE_UNSUPPORTED`).
    """
    _check_wish(wish)
    if wish.device == "auto":
        return _by_order(hints, states, wish)
    return Plan(candidates=(_asked_for(hints, states, wish),), passed_over=(), asked_for=True)


def needed_bytes(hints: DeviceHints, dtype: str) -> int:
    """Bytes for the weights and one batch in a dtype, scaled from the package's own."""
    return -(-hints.needed_bytes * _ITEM_BYTES[dtype] // _ITEM_BYTES[hints.dtype])


def _by_order(hints: DeviceHints, states: Sequence[DeviceState], wish: Wish) -> Plan:
    candidates: list[Candidate] = []
    passed_over: list[str] = []
    order = " > ".join(hints.order)
    before_the_cpu = hints.order[: hints.order.index("cpu")] if "cpu" in hints.order else None
    for device_type in before_the_cpu if before_the_cpu is not None else hints.order:
        there = _most_free_first(states, device_type)
        passed_over += [] if there else [f"{device_type}: none is there"]
        for state in there:
            dtype, note = _dtype(hints, state, wish)
            if dtype is None:
                passed_over.append(f"{state.name}: {note}")
            elif _is_too_small(hints, state, dtype):
                passed_over.append(f"{state.name}: {_figures(hints, state, dtype)}")
            else:
                why = f"auto: first of {order} that fits; {_figures(hints, state, dtype)}{note}"
                candidates.append(Candidate(device=state.name, dtype=dtype, reason=why))
    cpu = next(state for state in states if state.type == "cpu")
    candidates += _on_the_cpu(hints, cpu, wish, alone=not candidates)
    if not candidates:
        raise _no_dtype("any device", wish.dtype or hints.dtype, (*passed_over, "cpu"))
    return Plan(candidates=tuple(candidates), passed_over=tuple(passed_over), asked_for=False)


def _on_the_cpu(
    hints: DeviceHints, cpu: DeviceState, wish: Wish, *, alone: bool
) -> list[Candidate]:
    dtype, note = _dtype(hints, cpu, wish)
    if dtype is None:
        return []
    why = "auto: no accelerator is there that fits" if alone else "auto: the CPU is the last resort"
    found = [_cpu_candidate(hints, cpu, dtype, why + note)]
    if wish.dtype is None and dtype != "float32":
        found.append(_cpu_candidate(hints, cpu, "float32", f"{why}; float32 in place of {dtype}"))
    return found


def _cpu_candidate(hints: DeviceHints, cpu: DeviceState, dtype: str, why: str) -> Candidate:
    if _is_too_small(hints, cpu, dtype):
        why += f"; warning: {_figures(hints, cpu, dtype)}"
    return Candidate(device=cpu.name, dtype=dtype, reason=why)


def _asked_for(hints: DeviceHints, states: Sequence[DeviceState], wish: Wish) -> Candidate:
    there = _most_free_first(states, wish.device.partition(":")[0])
    if ":" in wish.device:
        # torch has one mps and one cpu, and takes both with and without the index 0
        there = [s for s in there if wish.device in {s.name, f"{s.name}:0"}]
    if not there:
        raise UnavailableError(
            f"the device {wish.device} is not there",
            kind=ErrorKind.DEVICE_UNAVAILABLE,
            checked="the devices that torch sees",
            expected=wish.device,
            found=", ".join(state.name for state in states) or "none",
            done="nothing was loaded",
            hint='use device="auto" or device="cpu", or install a torch build for that device',
        )
    state = there[0]
    dtype, note = _dtype(hints, state, wish)
    if dtype is None:
        raise _no_dtype(state.name, wish.dtype or hints.dtype, [state.name])
    if state.type == "cpu":
        return _cpu_candidate(hints, state, dtype, f"asked for{note}")
    if _is_too_small(hints, state, dtype):
        raise too_small(state.name, dtype, found=_figures(hints, state, dtype))
    reason = f"asked for; {_figures(hints, state, dtype)}{note}"
    return Candidate(device=state.name, dtype=dtype, reason=reason)


def too_small(device: str, dtype: str, *, found: str) -> UnavailableError:
    """The error for a device that was asked for and has not the memory.

    Args:
        device: the device.
        dtype: the dtype that was to run there.
        found: the figures, or what the device said.
    """
    return UnavailableError(
        f"{device} has not enough free memory for this model",
        kind=ErrorKind.DEVICE_TOO_SMALL,
        checked=f"the free memory of {device}, for the model in {dtype}",
        expected="room for the weights and a batch of the longest texts",
        found=found,
        done="nothing was loaded",
        hint='free memory there, use device="auto", or package the model with a smaller batch',
    )


def _no_dtype(device: str, dtype: str, looked_at: Sequence[str]) -> UnsupportedError:
    return UnsupportedError(
        f"{device} does not run {dtype}",
        kind=ErrorKind.DTYPE_UNSUPPORTED,
        checked=", ".join(looked_at),
        expected=dtype,
        found=f"no support for {dtype}",
        done="nothing was loaded",
        hint="leave dtype out, or ask for float32",
    )


def _check_wish(wish: Wish) -> None:
    checks = (
        ("device", wish.device, _WISH.fullmatch(wish.device), "auto, cpu, cuda, cuda:<n> or mps"),
        ("dtype", wish.dtype, wish.dtype is None or wish.dtype in DTYPES, ", ".join(DTYPES)),
    )
    for name, value, is_right, expected in checks:
        if not is_right:
            raise InvalidInputError(
                f"{value!r} is no {name}",
                kind=ErrorKind.ARGUMENT_INVALID,
                checked=f"the {name}",
                expected=expected,
                found=repr(value),
                done="nothing was loaded",
                hint='use device="auto"' if name == "device" else "leave dtype out",
            )


def _most_free_first(states: Sequence[DeviceState], device_type: str) -> list[DeviceState]:
    return sorted(
        (state for state in states if state.type == device_type),
        key=lambda state: -(state.free_bytes or 0),
    )


def _dtype(hints: DeviceHints, state: DeviceState, wish: Wish) -> tuple[str | None, str]:
    """The dtype to run in, with a note; None where the one asked for does not run."""
    wanted = wish.dtype or hints.dtype
    if state.supports(wanted):
        return wanted, ""
    if wish.dtype is not None:
        return None, f"{state.card} does not run {wanted}"
    return "float32", f"; float32, because {state.card} does not run {wanted}"


def _is_too_small(hints: DeviceHints, state: DeviceState, dtype: str) -> bool:
    return state.free_bytes is not None and state.free_bytes < needed_bytes(hints, dtype)


def _figures(hints: DeviceHints, state: DeviceState, dtype: str) -> str:
    free = "free memory unknown"
    if state.free_bytes is not None:
        free = f"{_size(state.free_bytes)} free"
        free += f" of {_size(state.total_bytes)}" if state.total_bytes is not None else ""
    return (
        f"{free}, needs {_size(needed_bytes(hints, dtype))} for weights and a batch of "
        f"{hints.batch_size} x {hints.trial.max_length} tokens"
    )


def _size(count: int) -> str:
    for name, unit in (("GB", 10**9), ("MB", 10**6)):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1000:.1f} kB"
