"""Measures a loaded model on the device it is on: speed, memory, and how exact its vectors are."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pairlock.manifest import Manifest, Role
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.golden_vectors import check_golden
from pairlock_flavors.torch_runtime.placement.live_tensors import counting
from pairlock_flavors.torch_runtime.placement.machine import cpu_name
from pairlock_flavors.torch_runtime.placement.trial import long_text

_SHORT_TEXT = "How do I get my money back for the order last week?"
"""Twelve words, as a question to a search has them."""

_MOST_SECONDS = 20.0
"""A measurement of many texts ends with the batch in which this is over."""

_QUERIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Texts embedded one batch after the other."""

    texts: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Vectors per second."""
        return self.texts / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a model does on a device."""

    device_type: str
    card: str
    threads: int
    """Threads that torch uses on the CPU."""

    batch_size: int
    short: Speed
    """Texts of twelve words, as documents."""

    longest: Speed
    """Texts of as many tokens as the model reads, as documents."""

    query_median_s: float
    query_p95_s: float
    """Seconds for one query of twelve words, texts in and vector out."""

    peak_bytes: int
    """Most memory in use while the longest texts were embedded; `peak_of` says of what."""

    peak_of: str
    process_peak_bytes: int | None
    """Most memory that the process has had so far, in the CPU's memory; None where nobody says."""

    one_minus_cosine: float
    """Largest of any golden text in any role, against the float32 vectors of the package."""

    max_abs: float
    """Largest difference of any component, per unit of the vector's norm."""

    findings: tuple[str, ...]
    """One line for every golden text beyond a bar; empty when all are within."""


def measure(
    embedding: PackageEmbedding, manifest: Manifest, root: Path, *, texts: int | None = None
) -> Measured:
    """Measure a loaded model.

    Each measurement is warmed up by one batch that does not count.

    Args:
        embedding: the model, on the device it is to be measured on.
        manifest: its package's manifest.
        root: its package's folder, proved.
        texts: how many texts to embed for the speed of short and of long texts, rounded up to whole
            batches; two batches when left out. It ends after 20 s in any case.

    Returns:
        The figures.

    Raises:
        FormatError: the golden vectors are not what the manifest says they are.
    """
    device_type = torch.device(embedding.device).type
    result = check_golden(embedding, manifest, root, device_type=device_type, dtype=embedding.dtype)
    batch_size = manifest.devices.batch_size
    count = texts or 2 * batch_size
    longest = long_text(manifest.encode.max_seq_length)
    short_speed = _speed(embedding, _SHORT_TEXT, batch_size, count)
    long_speed = _speed(embedding, longest, batch_size, count)
    times = _query_times(embedding)
    peak_bytes, peak_of = _peak(embedding, [longest] * batch_size, device_type)
    deviations = result.deviations.values()
    return Measured(
        device_type=device_type,
        card=_card(embedding.device),
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        short=short_speed,
        longest=long_speed,
        query_median_s=times[len(times) // 2],
        query_p95_s=times[int(0.95 * (len(times) - 1))],
        peak_bytes=peak_bytes,
        peak_of=peak_of,
        process_peak_bytes=_process_peak_bytes(),
        one_minus_cosine=max(deviation.one_minus_cosine for deviation in deviations),
        max_abs=max(deviation.max_abs for deviation in deviations),
        findings=tuple(str(finding) for finding in result.findings),
    )


def _speed(embedding: PackageEmbedding, text: str, batch_size: int, count: int) -> Speed:
    batch = [text] * batch_size
    embedding.vectors(batch, Role.TEXT)
    done, start = 0, time.perf_counter()
    while True:
        embedding.vectors(batch, Role.TEXT)  # gives numpy, so a device has finished
        done += batch_size
        seconds = time.perf_counter() - start
        if done >= count or seconds > _MOST_SECONDS:
            return Speed(texts=done, seconds=seconds)


def _query_times(embedding: PackageEmbedding) -> list[float]:
    times: list[float] = []
    embedding.vectors([_SHORT_TEXT], Role.QUERY)
    for _ in range(_QUERIES):
        start = time.perf_counter()
        embedding.vectors([_SHORT_TEXT], Role.QUERY)
        times.append(time.perf_counter() - start)
        if sum(times) > _MOST_SECONDS:
            break
    return sorted(times)


def _peak(embedding: PackageEmbedding, texts: list[str], device_type: str) -> tuple[int, str]:
    """Bytes in use while one batch is embedded, and what they are of."""

    def embed() -> None:
        embedding.vectors(texts, Role.TEXT)

    peaks: dict[str, Callable[[], tuple[int, str]]] = {
        "cuda": lambda: _cuda_peak(embed, embedding.device),
        "mps": lambda: _mps_peak(embed),
    }
    return peaks.get(device_type, lambda: _cpu_peak(embed, embedding))()


def _cuda_peak(embed: Callable[[], None], device: str) -> tuple[int, str]:
    torch.cuda.reset_peak_memory_stats(device)
    embed()
    peak = torch.cuda.max_memory_allocated(device)
    return peak, "this process's tensors on the GPU, weights and batch"


def _mps_peak(embed: Callable[[], None]) -> tuple[int, str]:
    embed()
    return torch.mps.driver_allocated_memory(), "what Metal holds for this process after the batch"


def _cpu_peak(embed: Callable[[], None], embedding: PackageEmbedding) -> tuple[int, str]:
    with counting(*_modules(embedding)) as live:
        embed()
    return live.peak_bytes, "tensors of the batch, weights not counted"


def _process_peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024  # kibibytes but on macOS


def _modules(embedding: PackageEmbedding) -> list[torch.nn.Module]:
    """What holds the weights of an embedding: the model, or the base's model and the adapter."""
    base = getattr(embedding, "_base_embed_model", embedding)
    named = (getattr(base, "_model", None), getattr(embedding, "_adapter", None))
    return [module for module in named if isinstance(module, torch.nn.Module)]


def _card(device: str) -> str:
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return cpu_name()
