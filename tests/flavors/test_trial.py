"""What a model takes is measured when it is packaged, and the figures can be believed."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import StaticEmbedding
from torch.profiler import ProfilerActivity, profile

from pairlock.manifest import DeviceHints, Trial, read_manifest
from pairlock_flavors.torch_runtime.placement.live_tensors import counting, weights_bytes
from pairlock_flavors.torch_runtime.placement.trial import (
    attention_of,
    long_text,
    measure_hints,
    try_batch,
)
from support.models import MAX_TOKENS, tokenizer

TRIED_ELSEWHERE = """
import sys, torch
from sentence_transformers import SentenceTransformer
from pairlock_flavors.torch_runtime.placement.trial import try_batch
torch.set_num_threads(2)
rubbish = [[] for _ in range(100_000)]
model = SentenceTransformer(sys.argv[1], device="cpu")
model.encode("a first text")
trial = try_batch(model, batch_size=8, max_length=64)
print(trial.batch_size, trial.max_length, trial.peak_bytes)
"""


def load(folder: Path, dtype: str = "float32", attention: str = "sdpa") -> SentenceTransformer:
    kwargs = {"dtype": dtype, "attn_implementation": attention}
    return SentenceTransformer(str(folder), device="cpu", model_kwargs=kwargs)


def static_model() -> SentenceTransformer:
    """A table of vectors, without a transformer and without a limit."""
    torch.manual_seed(0)
    return SentenceTransformer(
        modules=[StaticEmbedding(tokenizer(), embedding_dim=16)], device="cpu"
    )


def profiled_peak(model: SentenceTransformer, texts: list[str]) -> int:
    """The most bytes that torch's own allocator had given out, by torch's profiler."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        model.encode(texts, batch_size=len(texts), convert_to_tensor=True)
    alive = peak = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


@pytest.mark.parametrize(
    ("attention", "dtype"), [("sdpa", "float32"), ("eager", "float32"), ("sdpa", "bfloat16")]
)
def test_the_peak_is_what_torch_allocates(tiny_model: Path, attention: str, dtype: str) -> None:
    """The counted peak is the allocator's, but for what kernels take for themselves."""
    model = load(tiny_model, dtype, attention)
    trial = try_batch(model, batch_size=8, max_length=MAX_TOKENS)
    assert (trial.batch_size, trial.max_length) == (8, MAX_TOKENS)
    allocated = profiled_peak(model, [long_text(MAX_TOKENS)] * 7 + ["short"])
    assert trial.peak_bytes <= allocated <= 1.05 * trial.peak_bytes


def test_the_peak_is_what_a_hand_counts() -> None:
    """Views and weights cost nothing, what is freed is gone, and the most at once is the peak."""
    layer = torch.nn.Linear(100, 100)
    with counting(layer) as live, torch.inference_mode():
        first = torch.ones(10, 100)  # 4000 bytes
        second = layer(first)  # 4000 more; the weight's transposed view is no new storage
        assert live.peak_bytes == 8000
        del first
        third = second.view(1000) + 1  # 4000 in place of the first
        assert live.peak_bytes == 8000
        fourth = torch.cat([third, third])  # 8000 more
        assert live.peak_bytes == 16000
        del second, third, fourth
        assert torch.ones(10).sum() == 10
    assert live.peak_bytes == 16000


def test_a_cycle_is_counted_until_it_is_collected_and_collecting_goes_on_later() -> None:
    """The garbage collector cannot change the figure, and is as it was afterwards."""
    assert gc.isenabled()
    with counting() as live:
        for _ in range(3):
            cycle: list[Any] = [torch.ones(1000)]
            cycle.append(cycle)
            del cycle
            [[] for _ in range(100_000)]
    assert live.peak_bytes == 12_000
    assert gc.isenabled()


def test_another_process_measures_the_same(tiny_model: Path) -> None:
    """Threads, what the process did before and the collector change nothing."""
    here = try_batch(load(tiny_model), batch_size=8, max_length=MAX_TOKENS)
    again = try_batch(load(tiny_model), batch_size=8, max_length=MAX_TOKENS)
    elsewhere = subprocess.run(
        [sys.executable, "-c", TRIED_ELSEWHERE, str(tiny_model)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again == here
    assert [int(figure) for figure in elsewhere.stdout.split()] == [
        here.batch_size,
        here.max_length,
        here.peak_bytes,
    ]


def test_a_large_batch_is_extrapolated_from_an_affordable_one(minilm: Path) -> None:
    """MiniLM is tried on fewer texts than asked for, and the figure for all is right within 5 %."""
    model = load(minilm)
    hints = measure_hints(model, dtype="float32", batch_size=12, max_length=256)
    assert 1 <= hints.trial.batch_size < 12
    with counting(model) as live:
        model.encode([long_text(256)] * 11 + ["short"], batch_size=12, convert_to_tensor=True)
    assert hints.batch_bytes == pytest.approx(live.peak_bytes, rel=0.05)


def test_one_text_is_tried_of_the_largest_model(tiny_model: Path) -> None:
    """A model that costs more than the budget for one text is tried on exactly one."""
    model = load(tiny_model)
    # never multiplied, but it counts as if it were: 4e9 weights that take no memory
    model[0].ballast = torch.nn.Parameter(torch.empty(1).expand(4_000_000_000), requires_grad=False)
    trial = try_batch(model, batch_size=32, max_length=MAX_TOKENS)
    assert (trial.batch_size, trial.max_length) == (1, MAX_TOKENS)
    assert trial.peak_bytes > 0


def test_a_model_without_transformer_and_limit_is_tried(tmp_path: Path) -> None:
    """A static model has no attention; its batch is tried with long texts all the same."""
    model = static_model()
    hints = measure_hints(model, dtype="float32", batch_size=32, max_length=None)
    assert hints.attention is None
    assert hints.trial.batch_size == 32
    assert hints.trial.max_length >= len(long_text(None).split())
    ids = 8 * 32 * hints.trial.max_length
    vectors = 4 * 32 * 16
    assert ids + vectors <= hints.trial.peak_bytes <= 2 * ids + 4 * vectors
    assert hints.trial.peak_bytes <= profiled_peak(model, [long_text(None)] * 32)


def test_the_limit_that_is_recorded_is_the_one_that_is_tried(tiny_model: Path) -> None:
    """A shorter limit than the model's own makes a shorter trial, and the model keeps its own."""
    model = load(tiny_model)
    short = try_batch(model, batch_size=8, max_length=16)
    assert short.max_length == 16
    assert model.max_seq_length == MAX_TOKENS
    assert short.peak_bytes < try_batch(model, batch_size=8, max_length=MAX_TOKENS).peak_bytes


def test_weights_that_are_shared_count_once(tiny_model: Path) -> None:
    """Tied parameters are one storage; half the precision is half the bytes; buffers count."""
    one, other = torch.nn.Linear(10, 10), torch.nn.Linear(10, 10)
    other.weight = torch.nn.Parameter(one.weight.data)
    both = torch.nn.Sequential(one, other)
    assert weights_bytes(both) == 4 * (100 + 10 + 10)
    both.register_buffer("positions", torch.arange(5))
    assert weights_bytes(both) == 4 * 120 + 8 * 5
    whole = {dtype: weights_bytes(load(tiny_model, dtype)) for dtype in ("float32", "bfloat16")}
    integers = sum(
        8 * buffer.numel() for buffer in load(tiny_model).buffers() if buffer.dtype == torch.int64
    )
    assert whole["float32"] - integers == 2 * (whole["bfloat16"] - integers)


def test_the_attention_is_named(tiny_model: Path) -> None:
    """The implementation is the one that the model runs, not the usual one."""
    assert attention_of(load(tiny_model, attention="eager")) == "eager"
    assert attention_of(static_model()) is None


def hints_of(registry: Any, uri: str) -> DeviceHints:
    content = (registry.folder_of(uri) / "pairlock.json").read_bytes()
    return read_manifest(content, where=uri).devices


def test_packaging_records_what_was_measured(
    shared_registry: Any, packaged: Callable[[str], str], tiny_model: Path
) -> None:
    """The manifest has the model's own figures, and an adapter's those of its base and itself."""
    full = hints_of(shared_registry, packaged("tiny_model"))
    model = load(tiny_model)
    assert full == measure_hints(model, dtype="float32", batch_size=32, max_length=MAX_TOKENS)
    assert full.trial == Trial(
        batch_size=32, max_length=MAX_TOKENS, peak_bytes=full.trial.peak_bytes
    )
    adapter = hints_of(shared_registry, packaged("linear"))
    assert adapter.trial == full.trial
    assert adapter.weights_bytes == full.weights_bytes + 4 * 32 * 32
    assert adapter.needed_bytes == adapter.weights_bytes + full.trial.peak_bytes
