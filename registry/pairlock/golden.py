"""Golden texts, and the rule that says whether recomputed vectors are the recorded ones.

Digests come first; golden vectors catch what digests cannot: another library, or another setting.

The bars are for float32 on the CPU. They lie between two measured groups: the same float32 weights
under other batch sizes, thread counts, attention kernels and reimplementations differ by
1 - cosine <= 1.3e-12 and max abs <= 2.4e-7, while the smallest finetune, a single linear-adapter
epoch or the difference between neighbouring checkpoints moves 1 - cosine by 5e-6 and more. A bar of
0.999 would accept all of those, and a missing LoRA too.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairlock.errors import ErrorKind, Finding
from pairlock.manifest import GoldenBars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOAT32_BARS = GoldenBars(one_minus_cosine=1e-8, max_abs=2e-6, norm=1e-5)
"""Bars for float32 on the CPU, recorded in every manifest."""

TELLABLE_SHIFT = 4e-4
"""Smallest distance between base and adapted vectors at which a missing adapter can be told from an
applied one by projection; below it the adapter changes nothing that vectors can show."""

_APPLIED_WITHIN = 0.05

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
_SUBJECTS = ("invoice", "refund", "ledger", "harbour", "violin", "glacier", "parser", "orchard")
_VERBS = ("follows", "precedes", "contradicts", "explains", "replaces", "doubles", "omits")


def golden_texts(max_seq_length: int | None) -> tuple[str, ...]:
    """The texts whose vectors are recorded.

    Chosen to tell mistakes apart: mixed case, accents in both Unicode forms, CJK, right-to-left
    scripts, emoji, white space, the empty text, markup, words that look like instructions, and one
    text longer than the model reads, whose end differs from its start.

    Args:
        max_seq_length: tokens after which the model cuts a text.

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
    return (*_TEXTS, " ".join(words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """How far a set of vectors lies from the recorded ones, at worst."""

    one_minus_cosine: float
    max_abs: float
    """Per unit of the recorded vector's norm."""

    norm: float
    """Relative difference of norms."""

    def to_dict(self) -> dict[str, float]:
        """The figures as JSON data."""
        return {
            "one_minus_cosine": self.one_minus_cosine,
            "max_abs": self.max_abs,
            "norm": self.norm,
        }


def compare_vectors(
    recorded: NDArray[np.float32], found: NDArray[np.float32], *, bars: GoldenBars, role: str
) -> tuple[Deviation, tuple[Finding, ...]]:
    """Compare recomputed vectors with recorded ones, in float64.

    Args:
        recorded: (n_texts, dim) float32.
        found: (n_texts, dim) float32.
        bars: the largest allowed differences.
        role: the role the texts were embedded in, for messages.

    Returns:
        The worst deviation, and one finding for every text beyond a bar.
    """
    import numpy as np

    if found.shape != recorded.shape:
        finding = Finding(
            kind=ErrorKind.DIMENSION,
            place=f"golden {role} vectors",
            expected=str(recorded.shape),
            found=str(found.shape),
        )
        return Deviation(one_minus_cosine=2.0, max_abs=np.inf, norm=np.inf), (finding,)
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
        max_abs=float(max_abs.max()),
        norm=float(norm.max()),
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


def adapter_applied(
    found: NDArray[np.float32], base: NDArray[np.float32], adapted: NDArray[np.float32]
) -> Finding | None:
    """Project recomputed vectors onto the direction from base to adapted.

    The projection is 1 when the adapter is applied and 0 when it is not, at any precision that
    keeps the shift, which makes it the sharper question where no bar on a cosine can answer.

    Args:
        found: recomputed (n_texts, dim) float32.
        base: recorded base vectors (n_texts, dim) float32.
        adapted: recorded adapted vectors (n_texts, dim) float32.

    Returns:
        A finding when the adapter is not applied as recorded; None when it is, or when the shift is
        too small to tell.
    """
    import numpy as np

    if (
        not found.shape == adapted.shape == base.shape
        or adapter_shift(adapted, base) < TELLABLE_SHIFT
    ):
        return None
    shift = adapted.astype(np.float64) - base
    applied = float(((found.astype(np.float64) - base) * shift).sum() / (shift**2).sum())
    if abs(applied - 1) <= _APPLIED_WITHIN:
        return None
    return Finding(
        kind=ErrorKind.ADAPTER_NOT_APPLIED,
        place="golden vectors, projected from base to adapted",
        expected=f"1 within {_APPLIED_WITHIN}",
        found=f"{applied:.3f}",
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
