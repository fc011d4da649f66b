"""Which device a model runs on: rules over what machines have, and the walk over candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import pairlock
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    PairlockError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.manifest import DeviceHints, Trial
from pairlock_flavors.torch_runtime.placement.choosing import (
    Candidate,
    DeviceState,
    Plan,
    Wish,
    choose,
    needed_bytes,
)
from pairlock_flavors.torch_runtime.placement.machine import is_available, machine_states
from pairlock_flavors.torch_runtime.placement.walking import first_that_fits

GB = 10**9
HINTS = DeviceHints(
    dtype="bfloat16",
    order=("cuda", "mps", "cpu"),
    weights_bytes=2 * GB,
    batch_size=32,
    attention="sdpa",
    trial=Trial(batch_size=4, max_length=512, peak_bytes=GB // 16),
)
"""Needs 2 GB of weights and 0.5 GB for 32 x 512 tokens, in bfloat16."""

FLOAT32 = replace(HINTS, dtype="float32")
CPU = DeviceState(
    name="cpu",
    type="cpu",
    card="a processor",
    free_bytes=16 * GB,
    total_bytes=32 * GB,
    supports_bfloat16=True,
    supports_float16=True,
)
MPS = replace(CPU, name="mps", type="mps", card="an Apple chip", free_bytes=8 * GB)


def gpu(index: int, free: float | None, *, bfloat16: bool = True) -> DeviceState:
    return DeviceState(
        name=f"cuda:{index}",
        type="cuda",
        card=f"card {index}",
        free_bytes=None if free is None else int(free * GB),
        total_bytes=80 * GB,
        supports_bfloat16=bfloat16,
        supports_float16=True,
    )


def places(plan: Plan) -> list[tuple[str, str]]:
    return [(candidate.device, candidate.dtype) for candidate in plan.candidates]


def test_auto_takes_the_order_and_ends_on_the_cpu() -> None:
    """Every device of the order that fits is a candidate, and the CPU in float32 is the last."""
    plan = choose(HINTS, (gpu(0, 70), MPS, CPU), Wish())
    assert places(plan) == [
        ("cuda:0", "bfloat16"),
        ("mps", "bfloat16"),
        ("cpu", "bfloat16"),
        ("cpu", "float32"),
    ]
    assert (plan.passed_over, plan.asked_for) == ((), False)
    other = replace(HINTS, order=("mps", "cuda"))
    assert [place[0] for place in places(choose(other, (gpu(0, 70), MPS, CPU), Wish()))] == [
        "mps", "cuda:0", "cpu", "cpu",
    ]  # fmt: skip


def test_nothing_comes_after_the_cpu() -> None:
    """A package that prefers the CPU runs on it, also where there is a GPU."""
    hints = replace(FLOAT32, order=("cpu", "cuda"))
    assert places(choose(hints, (gpu(0, 70), CPU), Wish())) == [("cpu", "float32")]


def test_auto_passes_over_what_is_too_small_and_says_the_numbers() -> None:
    """A GPU without room for weights and a batch is no candidate; the reason has the figures."""
    plan = choose(HINTS, (gpu(0, 1.2), CPU), Wish())
    assert [place[0] for place in places(plan)] == ["cpu", "cpu"]
    assert plan.passed_over == (
        "cuda:0: 1.2 GB free of 80.0 GB, needs 2.5 GB for weights and a batch of 32 x 512 tokens",
        "mps: none is there",
    )


@pytest.mark.parametrize(("free", "fits"), [(2.5, True), (2.499999999, False), (None, True)])
def test_the_least_memory_is_the_weights_and_one_batch(free: float | None, fits: bool) -> None:
    """Exactly enough fits, one byte less does not; what nobody knows is tried."""
    plan = choose(HINTS, (gpu(0, free), CPU), Wish())
    assert (plan.candidates[0].device == "cuda:0") is fits


def test_of_several_gpus_the_freest_comes_first() -> None:
    """GPUs are tried from the most free memory down, whatever their numbers."""
    states = (gpu(0, 10), gpu(1, 70), gpu(2, 1), gpu(3, 30), CPU)
    for wish in (Wish(), Wish(device="cuda")):
        assert choose(HINTS, states, wish).candidates[0].device == "cuda:1"
    plan = choose(HINTS, states, Wish())
    assert [place[0] for place in places(plan)][:3] == ["cuda:1", "cuda:3", "cuda:0"]
    assert plan.passed_over[0].startswith("cuda:2: ")


def test_a_dtype_that_the_card_has_not_becomes_float32() -> None:
    """Float32 runs in place of a dtype that the card has not, takes twice as much, and says so."""
    plan = choose(HINTS, (gpu(0, 70, bfloat16=False), CPU), Wish())
    assert places(plan)[0] == ("cuda:0", "float32")
    assert "card 0 does not run bfloat16" in plan.candidates[0].reason
    assert needed_bytes(HINTS, "float32") == 2 * needed_bytes(HINTS, "bfloat16") == 5 * GB
    too_small = choose(HINTS, (gpu(0, 3, bfloat16=False), CPU), Wish())
    assert "needs 5.0 GB" in too_small.passed_over[0]


def test_the_cpu_is_taken_even_when_it_looks_too_small() -> None:
    """What the system calls free is no limit for the CPU: it is taken, with a warning."""
    small = replace(CPU, free_bytes=GB)
    for wish in (Wish(), Wish(device="cpu")):
        plan = choose(FLOAT32, (small,), wish)
        assert places(plan) == [("cpu", "float32")]
        assert "warning: 1.0 GB free of 32.0 GB, needs 2.5 GB" in plan.candidates[0].reason
    assert "warning" not in choose(FLOAT32, (CPU,), Wish()).candidates[0].reason


@pytest.mark.parametrize("wish", ["cuda", "cuda:0", "mps", "cpu", "cpu:0"])
def test_a_device_that_is_asked_for_is_the_only_candidate(wish: str) -> None:
    """No other device stands in for one that was named."""
    plan = choose(HINTS, (gpu(0, 70), MPS, CPU), Wish(device=wish))
    assert [place[0].partition(":")[0] for place in places(plan)] == [wish.partition(":")[0]]
    assert plan.asked_for


@pytest.mark.parametrize(
    ("wish", "category", "kind"),
    [
        (Wish(device="cuda:1"), UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        (Wish(device="mps"), UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        (Wish(device="cpu:3"), UnavailableError, ErrorKind.DEVICE_UNAVAILABLE),
        (Wish(device="cuda"), UnavailableError, ErrorKind.DEVICE_TOO_SMALL),
        (Wish(device="cuda:0"), UnavailableError, ErrorKind.DEVICE_TOO_SMALL),
        (Wish(device="toaster"), InvalidInputError, ErrorKind.ARGUMENT_INVALID),
        (Wish(device="cuda:-1"), InvalidInputError, ErrorKind.ARGUMENT_INVALID),
        (Wish(device=""), InvalidInputError, ErrorKind.ARGUMENT_INVALID),
        (Wish(dtype="int4"), InvalidInputError, ErrorKind.ARGUMENT_INVALID),
    ],
)
def test_a_wish_that_cannot_be_met_is_an_error(
    wish: Wish, category: type[PairlockError], kind: ErrorKind
) -> None:
    """What is named is taken or refused, with the facts and a hint."""
    with pytest.raises(category) as caught:
        choose(HINTS, (gpu(0, 1.2), CPU), wish)
    assert caught.value.kind is kind
    assert caught.value.found
    assert caught.value.hint
    if kind is ErrorKind.DEVICE_TOO_SMALL:
        assert "1.2 GB free" in caught.value.found
        assert "needs 2.5 GB" in caught.value.found


def test_a_dtype_that_is_asked_for_is_never_replaced() -> None:
    """An explicit dtype runs as it is, on another device of auto, or is refused."""
    states = (gpu(0, 70, bfloat16=False), CPU)
    wish = Wish(dtype="bfloat16")
    plan = choose(FLOAT32, states, wish)
    assert places(plan) == [("cpu", "bfloat16")]
    assert plan.passed_over[0] == "cuda:0: card 0 does not run bfloat16"
    with pytest.raises(UnsupportedError) as caught:
        choose(FLOAT32, states, replace(wish, device="cuda:0"))
    assert caught.value.kind is ErrorKind.DTYPE_UNSUPPORTED
    nowhere = (states[0], replace(CPU, supports_bfloat16=False))
    with pytest.raises(UnsupportedError) as everywhere:
        choose(FLOAT32, nowhere, wish)
    assert everywhere.value.kind is ErrorKind.DTYPE_UNSUPPORTED


def test_an_explicit_dtype_scales_what_is_needed() -> None:
    """A float32 package asked for in float16 needs half, and fits where float32 does not."""
    states = (gpu(0, 1.3), CPU)
    assert choose(FLOAT32, states, Wish()).candidates[0].device == "cpu"
    assert places(choose(FLOAT32, states, Wish(dtype="float16")))[0] == ("cuda:0", "float16")


def golden_error(kind: ErrorKind = ErrorKind.GOLDEN) -> IntegrityError:
    finding = Finding(kind=kind, place="text 3 as query", expected="1-cos <= 1e-08", found="0.1")
    return IntegrityError("other vectors", kind=kind, findings=[finding])


def wrapped(cause: Exception) -> IntegrityError:
    """What loading makes of an error of the libraries."""
    error = IntegrityError("no model can be built", kind=ErrorKind.TENSOR_KEYS, found=str(cause))
    error.__cause__ = cause
    return error


PLAN = choose(HINTS, (gpu(0, 70), gpu(1, 60), CPU), Wish())
ALONE = choose(HINTS, (gpu(0, 70), CPU), Wish(device="cuda"))


def fails_on(failures: dict[str, Exception]) -> Callable[[Candidate], str]:
    def attempt(candidate: Candidate) -> str:
        if candidate.device in failures:
            raise failures[candidate.device]
        return f"a model on {candidate.device}"

    return attempt


def test_the_first_candidate_that_works_is_taken() -> None:
    """Nothing is tried after a success, and the choice says what was passed over before."""
    tried: list[str] = []

    def attempt(candidate: Candidate) -> str:
        tried.append(candidate.device)
        return "a model"

    found, choice = first_that_fits(PLAN, attempt)
    assert (found, tried) == ("a model", ["cuda:0"])
    assert (choice.device, choice.dtype) == ("cuda:0", "bfloat16")
    assert choice.reason == PLAN.candidates[0].reason
    assert choice.passed_over == ("mps: none is there",)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (golden_error(), "text 3 as query"),
        (golden_error(ErrorKind.ADAPTER_NOT_APPLIED), "other vectors"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "Tried to allocate",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "out of memory"),
        (wrapped(torch.OutOfMemoryError("CUDA out of memory. Tried")), "ran out of memory"),
        (RuntimeError("CUDA error: no kernel image is available"), "no kernel image"),
        (NotImplementedError("'aten::x' is not implemented for the MPS device"), "cannot run"),
    ],
)
def test_a_device_that_fails_is_passed_over_with_its_reason(failure: Exception, words: str) -> None:
    """Wrong vectors, too little memory and a card that cannot run it lead to the next candidate."""
    found, choice = first_that_fits(PLAN, fails_on({"cuda:0": failure}))
    assert found == "a model on cuda:1"
    assert choice.passed_over[0] == PLAN.passed_over[0]
    assert choice.passed_over[-1].startswith("cuda:0 in bfloat16: ")
    assert words in choice.passed_over[-1]
    _, last = first_that_fits(PLAN, fails_on({"cuda:0": failure, "cuda:1": failure}))
    assert (last.device, len(last.passed_over)) == ("cpu", 3)


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("shape mismatch"),
        IntegrityError("built otherwise", kind=ErrorKind.ENCODE_SETTINGS),
        IntegrityError("changed", kind=ErrorKind.FILE_CHANGED),
        wrapped(ValueError("no such key")),
    ],
)
def test_what_is_wrong_everywhere_is_raised_at_once(failure: Exception) -> None:
    """An error that another device would not change is not hidden by trying one."""
    with pytest.raises(type(failure)) as caught:
        first_that_fits(PLAN, fails_on({"cuda:0": failure}))
    assert caught.value is failure


def test_wrong_vectors_on_the_device_that_was_asked_for_are_raised() -> None:
    """A named device has no second: its golden mismatch is the answer, as it was raised."""
    failure = golden_error()
    with pytest.raises(IntegrityError) as caught:
        first_that_fits(ALONE, fails_on({"cuda:0": failure}))
    assert caught.value is failure


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), ErrorKind.DEVICE_TOO_SMALL),
        (wrapped(torch.OutOfMemoryError("CUDA out of memory")), ErrorKind.DEVICE_TOO_SMALL),
        (RuntimeError("CUDA error: no kernel image"), ErrorKind.DEVICE_UNAVAILABLE),
    ],
)
def test_a_device_that_was_asked_for_and_fails_is_an_error_of_ours(
    failure: Exception, kind: ErrorKind
) -> None:
    """torch's own errors never reach the user of a named device."""
    with pytest.raises(UnavailableError) as caught:
        first_that_fits(ALONE, fails_on({"cuda:0": failure}))
    assert caught.value.kind is kind
    assert caught.value.__cause__ is failure


def test_the_last_candidate_has_no_second() -> None:
    """When the CPU too gives other vectors, that is raised, not hidden."""
    failure = golden_error()
    with pytest.raises(IntegrityError):
        first_that_fits(PLAN, fails_on(dict.fromkeys(("cuda:0", "cuda:1", "cpu"), failure)))


def test_this_machine_has_a_cpu_with_memory() -> None:
    """The real state of the CPU has a name and figures, and is the last."""
    state = machine_states()[-1]
    assert (state.name, state.type) == ("cpu", "cpu")
    assert state.card
    assert state.free_bytes is not None
    assert state.total_bytes is not None
    assert 0 < state.free_bytes <= state.total_bytes
    assert [found.name for found in machine_states("cpu")] == ["cpu"]
    assert state.supports("float32")


def test_this_machine_says_what_it_has() -> None:
    """What is listed is available, and what is not there is not."""
    assert all(is_available(state.name) for state in machine_states())
    assert not is_available("cuda:93")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_loaded_model_says_why_it_is_where_it_is(
    shared_registry: Any, packaged: Callable[[str], str], device: str
) -> None:
    """The receipt names the device, the dtype and the reason of the rules."""
    found = pairlock.receipt(pairlock.load(packaged("tiny_model"), device=device))
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        assert found.device == "cpu"
    assert found.dtype == "float32"
    assert found.device_reason.startswith("auto" if device == "auto" else "asked for")
