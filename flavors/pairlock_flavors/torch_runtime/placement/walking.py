"""Tries one device after the other until one gives the right vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pairlock.errors import ErrorKind, IntegrityError, PairlockError, UnavailableError
from pairlock_flavors.torch_runtime.placement.choosing import Candidate, Plan, too_small

T = TypeVar("T")

_WRONG_VECTORS = {ErrorKind.GOLDEN, ErrorKind.ADAPTER_NOT_APPLIED}
"""What another device may not have: everything else that is wrong, is wrong on every device."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "_alloc_failed")
"""CUDA and MPS; the CPU's allocator; cuBLAS and cuDNN. All of them are RuntimeErrors."""

_CANNOT_RUN = ("cuda error", "cudnn error", "mps backend", "not implemented for")
"""A card that this build of torch has no kernels for, or an operation that a device has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where a model runs, and why there."""

    device: str
    dtype: str
    reason: str
    passed_over: tuple[str, ...]
    """The devices that would have come first, and why each was not taken."""


def first_that_fits(candidates: Plan, attempt: Callable[[Candidate], T]) -> tuple[T, Choice]:
    """Try the candidates until one works.

    A candidate is passed over when its vectors are not the recorded ones, when it runs out of
    memory, or when it cannot run the model at all. A device that was asked for has no second, and
    neither has the last candidate: its failure is the answer.

    Args:
        candidates: what to try, best first.
        attempt: puts the model on a candidate and proves it there. It may raise IntegrityError
            for wrong golden vectors, `torch.OutOfMemoryError`, or torch's other RuntimeErrors.

    Returns:
        What the first candidate that works gave, and the choice.

    Raises:
        IntegrityError: the last candidate gives other vectors, as raised; or what `attempt`
            raised of something that no other device would change.
        UnavailableError: the last candidate ran out of memory (`DEVICE_TOO_SMALL`), or cannot run
            the model at all (`DEVICE_UNAVAILABLE`).
    """
    passed_over = list(candidates.passed_over)
    last = candidates.candidates[-1]
    for candidate in candidates.candidates:
        try:
            found = attempt(candidate)
        except (IntegrityError, RuntimeError, MemoryError) as error:
            why = _why_pass_over(error)
            if why is None or (candidate is last and _gives_other_vectors(error)):
                raise
            if candidate is last and _is_out_of_memory(error):
                raise too_small(candidate.device, candidate.dtype, found=why) from error
            if candidate is last:
                raise _unusable(candidate, why) from error
            passed_over.append(f"{candidate.device} in {candidate.dtype}: {why}")
            continue
        return found, Choice(
            device=candidate.device,
            dtype=candidate.dtype,
            reason=candidate.reason,
            passed_over=tuple(passed_over),
        )
    raise AssertionError("a plan has at least one candidate")


def _why_pass_over(error: BaseException) -> str | None:
    if _is_out_of_memory(error):
        return f"ran out of memory: {_first_line(error)}"
    if _gives_other_vectors(error):
        return f"gives other vectors than recorded: {_first_line(error)}"
    if any(_says(link, _CANNOT_RUN) for link in _chain(error)):
        return f"cannot run this model: {_first_line(error)}"
    return None


def _gives_other_vectors(error: BaseException) -> bool:
    return isinstance(error, PairlockError) and error.kind in _WRONG_VECTORS


def _is_out_of_memory(error: BaseException) -> bool:
    return any(
        isinstance(link, MemoryError) or _says(link, _OUT_OF_MEMORY) for link in _chain(error)
    )


def _unusable(candidate: Candidate, why: str) -> UnavailableError:
    return UnavailableError(
        f"{candidate.device} cannot run this model",
        kind=ErrorKind.DEVICE_UNAVAILABLE,
        checked=f"the model on {candidate.device} in {candidate.dtype}",
        expected="vectors",
        found=why,
        done="nothing was loaded",
        hint='use device="auto" or device="cpu", or install a torch build for that device',
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: loading a model names its causes in words."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def _first_line(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, PairlockError):
        text = str(error.findings[0]) if error.findings else error.found
    return (text.strip() or type(error).__name__).splitlines()[0][:300]
