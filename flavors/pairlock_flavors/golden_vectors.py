"""Records golden vectors when a package is made, and recomputes them to prove a load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairlock.errors import Finding
from pairlock.golden import Bars, Deviation, adapter_applied, bars_for, compare_vectors
from pairlock.golden_files import read_golden
from pairlock.manifest import GoldenBars, Manifest, Role

Vectors = dict[str, NDArray[np.float32]]
"""By `query`, `text`, and for adapters `base_query`, `base_text`: (n_texts, dim) float32."""


class Model(Protocol):
    """What golden vectors are asked of, whichever runtime computes them."""

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """The roles whose vectors differ from those of the base; none for a full model."""

    def vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role: (n_texts, dimension) float32."""

    def base_vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts by the base alone: (n_texts, base dimension) float32."""


class Adapted(Protocol):
    """A layer on a base, which vectors of the base can be put through."""

    @property
    def adapted_roles(self) -> tuple[Role, ...]:
        """The roles whose vectors pass through the layer."""

    def adapt(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put vectors of the base through the layer: (n, base dimension) to (n, dimension)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """What a comparison with the golden vectors found."""

    deviations: dict[str, Deviation]
    findings: tuple[Finding, ...]

    def worst(self) -> float:
        """Largest 1 - cosine of any text in any role; 0 where no role was compared."""
        return max((found.one_minus_cosine for found in self.deviations.values()), default=0.0)


def compute_vectors(model: Model, texts: tuple[str, ...], *, is_adapter: bool) -> Vectors:
    """Embed the golden texts in every role; for an adapter, by its base alone as well."""
    vectors = {role.value: _by_length(model.vectors, texts, role) for role in Role}
    if is_adapter:
        for role in Role:
            vectors[f"base_{role}"] = (
                _by_length(model.base_vectors, texts, role)
                if role in model.adapted_roles
                else vectors[role.value]
            )
    return vectors


def _by_length(
    embed: Callable[[tuple[str, ...], Role], NDArray[np.float32]],
    texts: tuple[str, ...],
    role: Role,
) -> NDArray[np.float32]:
    # the last text is far longer than the others, which would be filled up to its length
    return np.concatenate([embed(part, role) for part in (texts[:-1], texts[-1:]) if part])


def check_golden(
    model: Model,
    manifest: Manifest,
    root: Path,
    *,
    device_type: str = "cpu",
    dtype: str = "float32",
    bars: GoldenBars | None = None,
) -> GoldenResult:
    """Recompute the golden vectors and compare them with the recorded ones.

    In float32 on the CPU the package's own bars are used; elsewhere those of the device and dtype,
    which tell gross mistakes and missing adapters, and no small finetune.

    Args:
        model: the loaded model.
        manifest: its package's manifest.
        root: its package's folder.
        device_type: what it runs on: cpu, cuda or mps.
        dtype: what it computes in: float32, float16 or bfloat16.
        bars: those of a quantised graph, which has its own; its vectors are compared text by text,
            and the line from the base to the adapter is not looked at: rounding bends it.

    Returns:
        The deviations of every role, and a finding for every text beyond a bar.

    Raises:
        FormatError: the recorded vectors are not what the manifest says they are.
        UnsupportedError: there are no bars for that device and dtype.
    """
    recorded, texts = read_golden(root, manifest)
    if bars is not None:
        own = {role.value: recorded[role.value] for role in Role}
        return compare(own, compute_vectors(model, texts, is_adapter=False), bars)
    found = compute_vectors(model, texts, is_adapter=manifest.kind.is_adapter)
    if (device_type, dtype) == ("cpu", "float32"):
        return compare(recorded, found, manifest.golden.bars)
    return judge(recorded, found, device_type=device_type, dtype=dtype)


def check_adapter(
    adapted: Adapted, manifest: Manifest, root: Path, *, device_type: str = "cpu"
) -> GoldenResult:
    """Put the base's recorded vectors through the adapter, and compare with the recorded outcome.

    It costs no text, so that it is done at every load: the adapter's class is code that is in no
    package, and another activation has the same tensors.

    Args:
        adapted: the loaded adapter.
        manifest: its package's manifest.
        root: its package's folder.
        device_type: what the layer runs on: cpu, cuda or mps.

    Returns:
        The deviations of the roles that the adapter transforms.

    Raises:
        FormatError: the recorded vectors are not what the manifest says they are.
    """
    recorded, _ = read_golden(root, manifest)
    names = [role.value for role in adapted.adapted_roles]
    bases = {f"base_{name}": recorded[f"base_{name}"] for name in names}
    expected = {name: recorded[name] for name in names}
    found = {name: adapted.adapt(recorded[f"base_{name}"]) for name in names}
    bars = bars_for(device_type, "float32")  # whatever the base runs in
    return compare({**expected, **bases}, {**found, **bases}, bars)


def judge(recorded: Vectors, found: Vectors, *, device_type: str, dtype: str) -> GoldenResult:
    """Compare golden vectors that were computed on a device in a dtype with recorded ones.

    Args:
        recorded: computed in float32 on the CPU.
        found: computed elsewhere, for the same texts; every name in `recorded`.
        device_type: where: cpu, cuda or mps.
        dtype: in what: float32, float16 or bfloat16.

    Returns:
        The deviations of every role, and a finding for every text beyond a bar.

    Raises:
        UnsupportedError: there are no bars for that device and dtype.
    """
    return compare(recorded, found, bars_for(device_type, dtype), dtype=dtype)


def compare(
    recorded: Vectors, found: Vectors, bars: GoldenBars | Bars, *, dtype: str = "float32"
) -> GoldenResult:
    """Compare two sets of golden vectors.

    Args:
        recorded: the one, with base vectors where there is an adapter.
        found: the other.
        bars: the largest allowed differences.
        dtype: what `found` was computed in, for the projection.
    """
    if isinstance(bars, GoldenBars):
        bars = Bars.recorded(bars)
    deviations: dict[str, Deviation] = {}
    findings: list[Finding] = []
    for name, expected in sorted(recorded.items()):
        deviations[name], wrong = compare_vectors(expected, found[name], bars=bars, role=name)
        findings += wrong
    for role in Role:
        base = recorded.get(f"base_{role}")
        if base is not None and (
            finding := adapter_applied(found[role.value], base, recorded[role.value], dtype=dtype)
        ):
            findings.insert(0, finding)
    return GoldenResult(deviations=deviations, findings=tuple(findings))
