"""Golden texts, and the rules that say whether recomputed vectors are the recorded ones.

Digests come first; golden vectors catch what digests cannot: another library, or another setting.

Every bar lies above what the same weights were measured to differ by, and the float32 bars lie
below what the smallest other weights were. The measurements are made by scripts/bench/tolerances.py
and are in docs/tolerances.md, over six models, and tests/flavors/test_tolerances.py holds the two
together.

No bar on a cosine does for every dtype: bfloat16 can move vectors further than a finetune of
eight steps does. So three questions are asked:

1. In float32 on the CPU: is every text where it was recorded? This tells every finetune, and
   packages are proved with it.
2. In the dtype and on the device that a model runs in: is every text, and their mean, as near as
   that arithmetic keeps the same weights? This tells gross mistakes only.
3. For an adapter, in every dtype: how far along the line from the base's vectors to the adapted
   ones do they lie? This tells a missing adapter whose shift is smaller than the bars of 2.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pairlock.errors import ErrorKind, Finding, UnsupportedError
from pairlock.manifest import GoldenBars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOAT32_BARS = GoldenBars(one_minus_cosine=1e-8, max_abs=2e-6, norm=1e-5)
"""Bars for float32 on the CPU, recorded in every manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """How far recomputed vectors may lie from the recorded ones, in one dtype on one device."""

    one_minus_cosine: float
    """Largest allowed 1 - cosine of any text, computed in float64."""

    mean_one_minus_cosine: float
    """Largest allowed mean of 1 - cosine over the texts of a role: rounding moves a few texts far,
    other weights move all of them."""

    max_abs: float
    """Largest allowed absolute difference of any component, per unit of the vector's norm."""

    norm: float
    """Largest allowed relative difference of the norms."""

    @classmethod
    def recorded(cls, bars: GoldenBars) -> Bars:
        """A manifest's bars, which know no mean: a mean is never above the largest."""
        return cls(
            one_minus_cosine=bars.one_minus_cosine,
            mean_one_minus_cosine=bars.one_minus_cosine,
            max_abs=bars.max_abs,
            norm=bars.norm,
        )


_FLOAT32 = Bars.recorded(FLOAT32_BARS)
_FLOAT16 = Bars(one_minus_cosine=1e-5, mean_one_minus_cosine=5e-6, max_abs=5e-3, norm=5e-3)
_BFLOAT16 = Bars(one_minus_cosine=6e-4, mean_one_minus_cosine=5e-4, max_abs=3e-2, norm=3e-2)

BARS: Mapping[tuple[str, str], Bars] = MappingProxyType(
    {
        (device_type, dtype): bars
        for device_type in ("cpu", "cuda", "mps")
        for dtype, bars in (("float32", _FLOAT32), ("float16", _FLOAT16), ("bfloat16", _BFLOAT16))
    }
)
"""Bars by device type and dtype.

float16 and bfloat16 are at least three times the largest figure of the same weights over the six
models of docs/tolerances.md, measured on the CPU. A GPU rounds weights and activations alike and
keeps sums in float32 as the CPU does; there, only float32 was measured, on one H100, at
1 - cosine 7.4e-14 and max abs 2.2e-7. mps was not measured, and gets no wider bars for that.
"""

DRIFT: Mapping[str, float] = MappingProxyType({"float32": 4e-6, "float16": 3e-3, "bfloat16": 2e-2})
"""By dtype, how far rounding may push a set of golden vectors along an adapter's shift, as a
Euclidean distance over all texts, in units of the root mean square norm of the base's vectors: at
least twice the largest measured. Noise in all directions is three times as large and more, but
adapters do not point where rounding does."""

_APPLIED_WITHIN = 0.05
_HALF_WAY = 0.5

TELLABLE_SHIFT: Mapping[str, float] = MappingProxyType(
    {dtype: drift / (_HALF_WAY - _APPLIED_WITHIN) for dtype, drift in DRIFT.items()}
)
"""By dtype, the smallest distance between base and adapted vectors at which a missing adapter is
told from an applied one by projection; below it, in that dtype, the adapter changes nothing that
vectors can show."""

_TEXTS = (
    "How do I get my money back?",
    "Refunds are paid to the card that was charged, within five working days.",
    "PayPal, PAYPAL and paypal: which Invoice is iT?",
    "Où est le reçu déjà réglé à l'hôtel ? Übergrößenträger, naïve façade, señor.",
    unicodedata.normalize("NFD", "Où est le reçu déjà réglé à l'hôtel ? Übergrößenträger."),
    "请问如何申请退款？返金はどうすればいいですか。환불은 어떻게 받나요?",
    "كيف أسترد أموالي؟ איך מקבלים החזר?",
    "Payment failed 😡💳 → retry ✅ 👩\u200d👩\u200d👧",
    "  two\tspaces \n\n and   a tab  ",
    "",
    "INV-2024/00017: €1,234.56 (19 % VAT) @ 10:35, see <a href='#'>line 3</a>; def f(x): return x",
    "query: passage: represent this sentence for retrieval:",
)
_FEW_TEXTS = (
    "PayPal, PAYPAL and paypal: où est le reçu déjà réglé à l'hôtel, señor ? "
    + unicodedata.normalize("NFD", "Où est le reçu déjà réglé ? ")
    + "请问如何申请退款？환불은 어떻게 받나요? كيف أسترد أموالي؟ איך מקבלים החזר? "
    "😡💳 → ✅ 👩\u200d👩\u200d👧",
    "  query: passage:\trepresent \n\n INV-2024/00017: €1,234.56 (19 %), see <a href='#'>3</a> ",
    "",
)
_SUBJECTS = ("invoice", "refund", "ledger", "harbour", "violin", "glacier", "parser", "orchard")
_VERBS = ("follows", "precedes", "contradicts", "explains", "replaces", "doubles", "omits")


def golden_texts(max_seq_length: int | None, *, few: bool = False) -> tuple[str, ...]:
    """The texts whose vectors are recorded.

    Chosen to tell mistakes apart: mixed case, accents in both Unicode forms, CJK, right-to-left
    scripts, emoji, white space, the empty text, markup, words that look like instructions, and one
    text longer than the model reads, whose end differs from its start.

    Args:
        max_seq_length: tokens after which the model cuts a text.
        few: four that hold all of that between them, for a layer of some kilobytes on a base: the
            vectors of thirteen would weigh 7 % of a matrix of 384 by 384.

    Returns:
        The texts, the long one last.
    """
    words: list[str] = []
    wanted = (max_seq_length or 512) + 64
    number = 0
    while len(words) < wanted:
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        verb = _VERBS[number % len(_VERBS)]
        words += f"Clause {number} of the {subject} {verb} clause {number * 7 + 3}.".split()
        number += 1
    return (*(_FEW_TEXTS if few else _TEXTS), " ".join(words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """How far a set of vectors lies from the recorded ones, at worst."""

    one_minus_cosine: float
    mean_one_minus_cosine: float
    """Over the texts."""

    max_abs: float
    """Per unit of the recorded vector's norm."""

    norm: float
    """Relative difference of norms."""

    def to_dict(self) -> dict[str, float]:
        """The figures as JSON data."""
        return asdict(self)


def bars_for(device_type: str, dtype: str) -> Bars:
    """The bars for what runs on a type of device in a dtype.

    Args:
        device_type: cpu, cuda or mps; a torch device's `type`, without its index.
        dtype: float32, float16 or bfloat16.

    Raises:
        UnsupportedError: nobody has said what the same model may differ by there.
    """
    found = BARS.get((device_type, dtype))
    if found is None:
        raise UnsupportedError(
            f"vectors computed in {dtype} on {device_type} cannot be judged",
            kind=ErrorKind.DEVICE_UNAVAILABLE,
            checked="the tolerances for golden vectors",
            expected=", ".join(f"{name} on {device}" for device, name in BARS),
            found=f"{dtype} on {device_type}",
            done="nothing was compared",
            hint="compare in float32 on the CPU",
        )
    return found


_NOTHING_ALIKE = Deviation(
    one_minus_cosine=2.0, mean_one_minus_cosine=2.0, max_abs=float("inf"), norm=float("inf")
)


def compare_vectors(
    recorded: NDArray[np.float32], found: NDArray[np.float32], *, bars: Bars, role: str
) -> tuple[Deviation, tuple[Finding, ...]]:
    """Compare recomputed vectors with recorded ones, in float64.

    Args:
        recorded: (n_texts, dim) float32.
        found: (n_texts, dim) float32.
        bars: the largest allowed differences.
        role: the role the texts were embedded in, for messages.

    Returns:
        The worst deviation, and one finding for every text beyond a bar, or one for all of them
        where only their mean is.
    """
    import numpy as np

    if found.shape != recorded.shape:
        finding = Finding(
            kind=ErrorKind.DIMENSION,
            place=f"golden {role} vectors",
            expected=str(recorded.shape),
            found=str(found.shape),
        )
        return _NOTHING_ALIKE, (finding,)
    a, b = recorded.astype(np.float64), found.astype(np.float64)
    norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    scale = np.where(norms_a > 0, norms_a, 1.0)
    max_abs = np.abs(a - b).max(axis=1) / scale
    norm = np.abs(norms_a - norms_b) / scale
    # 1 - cos(a, b) = |a/|a| - b/|b||^2 / 2, which does not cancel for nearly equal vectors
    unit_b = b / np.where(norms_b > 0, norms_b, 1.0)[:, None]
    one_minus_cosine = ((a / scale[:, None] - unit_b) ** 2).sum(axis=1) / 2
    findings = []
    for index in range(len(a)):
        figures = (one_minus_cosine[index], max_abs[index], norm[index])
        limits = (bars.one_minus_cosine, bars.max_abs, bars.norm)
        # NaN compares false, and must not pass
        if not all(figure <= limit for figure, limit in zip(figures, limits, strict=True)):
            findings.append(_finding(role, index, figures, limits))
    worst = Deviation(
        one_minus_cosine=float(one_minus_cosine.max()),
        mean_one_minus_cosine=float(one_minus_cosine.mean()),
        max_abs=float(max_abs.max()),
        norm=float(norm.max()),
    )
    if not findings and not worst.mean_one_minus_cosine <= bars.mean_one_minus_cosine:
        findings.append(
            Finding(
                kind=ErrorKind.GOLDEN,
                place=f"all golden texts as {role}",
                expected=f"mean 1-cos <= {bars.mean_one_minus_cosine:.0e}",
                found=f"mean 1-cos {worst.mean_one_minus_cosine:.2e}",
            )
        )
    return worst, tuple(findings)


def adapter_shift(adapted: NDArray[np.float32], base: NDArray[np.float32]) -> float:
    """The largest distance between an adapted vector and its base's.

    Args:
        adapted: (n_texts, dim) float32.
        base: (n_texts, dim) float32.
    """
    import numpy as np

    return float(np.linalg.norm(adapted.astype(np.float64) - base, axis=1).max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Where recomputed vectors lie on the line from base to adapted."""

    applied: float
    """1 when the adapter is applied, 0 when it is not."""

    margin: float
    """How far rounding may push that."""

    def is_applied(self) -> bool:
        """Whether the adapter is applied as recorded; never so for what is not a number."""
        return abs(self.applied - 1) <= self.margin


def project(
    found: NDArray[np.float32],
    base: NDArray[np.float32],
    adapted: NDArray[np.float32],
    *,
    dtype: str,
) -> Projection | None:
    """Project recomputed vectors onto the direction from base to adapted.

    Rounding moves vectors by an amount that a dtype has, whatever the adapter does; as a part of
    the shift it is that amount divided by the shift. So the margin is a fixed part, for what the
    adapter's own arithmetic may differ by, and the dtype's drift over the shift. Where that would
    reach half way to a missing adapter, nothing is claimed.

    Args:
        found: recomputed (n_texts, dim) float32.
        base: recorded base vectors (n_texts, dim) float32.
        adapted: recorded adapted vectors (n_texts, dim) float32.
        dtype: what `found` was computed in: float32, float16 or bfloat16.

    Returns:
        The projection; None where the shift is too small to tell, or where there is none because
        the adapter changes the dimension.
    """
    import numpy as np

    if not found.shape == adapted.shape == base.shape:
        return None
    unit = float(np.sqrt((base.astype(np.float64) ** 2).sum(axis=1).mean()))
    if adapter_shift(adapted, base) <= TELLABLE_SHIFT[dtype] * unit:
        return None
    shift = adapted.astype(np.float64) - base
    length = float(np.linalg.norm(shift))
    applied = float(((found.astype(np.float64) - base) * shift).sum()) / length**2
    return Projection(applied=applied, margin=_APPLIED_WITHIN + DRIFT[dtype] * unit / length)


def adapter_applied(
    found: NDArray[np.float32],
    base: NDArray[np.float32],
    adapted: NDArray[np.float32],
    *,
    dtype: str = "float32",
) -> Finding | None:
    """Ask whether an adapter is applied as recorded; see `project`.

    The projection is the sharper question where no bar on a cosine can answer.

    Returns:
        A finding when the adapter is not applied as recorded; None when it is, or when the shift is
        too small to tell.
    """
    projection = project(found, base, adapted, dtype=dtype)
    if projection is None or projection.is_applied():
        return None
    return Finding(
        kind=ErrorKind.ADAPTER_NOT_APPLIED,
        place="golden vectors, projected from base to adapted",
        expected=f"1 within {projection.margin:.2g}",
        found=f"{projection.applied:.3f}",
    )


def _finding(
    role: str, index: int, figures: tuple[float, ...], limits: tuple[float, ...]
) -> Finding:
    names = ("1-cos", "max abs", "norm")
    return Finding(
        kind=ErrorKind.GOLDEN,
        place=f"golden text {index} as {role}",
        expected=", ".join(f"{n} <= {v:.0e}" for n, v in zip(names, limits, strict=True)),
        found=", ".join(f"{n} {v:.2e}" for n, v in zip(names, figures, strict=True)),
    )
