"""Golden vectors: the bars tell noise from a change, and nothing that is not a number passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.golden import (
    BARS,
    DRIFT,
    FLOAT32_BARS,
    TELLABLE_SHIFT,
    Bars,
    adapter_applied,
    adapter_shift,
    bars_for,
    compare_vectors,
    golden_texts,
    project,
)

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")

Vectors = NDArray[np.float32]
DIMENSION = 384
TEXTS = 13
DTYPES = ("float32", "float16", "bfloat16")
FLOAT32 = bars_for("cpu", "float32")


def vectors(seed: int = 0, *, scale: float = 1.0) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((TEXTS, DIMENSION))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * scale).astype(np.float32)


def turned(recorded: Vectors, one_minus_cosine: float, *, row: int | None = None) -> Vectors:
    """The vectors turned by an angle, with their norms kept."""
    a = recorded.astype(np.float64)
    norms = np.linalg.norm(a, axis=1, keepdims=True)
    side = np.random.default_rng(1).standard_normal(a.shape)
    side -= (side * a).sum(axis=1, keepdims=True) / norms**2 * a
    side *= norms / np.linalg.norm(side, axis=1, keepdims=True)
    cosine = 1 - one_minus_cosine
    moved = cosine * a + np.sqrt(1 - cosine**2) * side
    if row is not None:
        a[row] = moved[row]
        moved = a
    return moved.astype(np.float32)


def places(recorded: Vectors, found: Vectors) -> list[str]:
    _, findings = compare_vectors(recorded, found, bars=FLOAT32, role="query")
    assert all(finding.kind is ErrorKind.GOLDEN for finding in findings)
    return [finding.place for finding in findings]


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_equal_vectors_pass(scale: float) -> None:
    """Exactly equal vectors have no finding and no deviation, at any scale."""
    recorded = vectors(scale=scale)
    worst, findings = compare_vectors(recorded, recorded.copy(), bars=FLOAT32, role="text")
    assert findings == ()
    assert worst.one_minus_cosine == pytest.approx(0, abs=1e-15)
    assert worst.max_abs == 0
    assert worst.norm == 0


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("one_minus_cosine", [1.3e-12, 1e-11])
def test_the_measured_noise_passes(one_minus_cosine: float, scale: float) -> None:
    """What other batch sizes, threads and kernels change in float32 is no finding."""
    recorded = vectors(scale=scale)
    assert places(recorded, turned(recorded, one_minus_cosine)) == []


def test_the_measured_largest_component_passes() -> None:
    """A single component that is off by the measured 2.4e-7 is no finding."""
    recorded = vectors()
    found = recorded.copy()
    found[:, 0] += np.float32(2.4e-7)
    assert places(recorded, found) == []


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("one_minus_cosine", [5e-6, 1e-4, 0.04, 0.5, 1.0, 2.0])
def test_the_smallest_finetune_is_found(one_minus_cosine: float, scale: float) -> None:
    """What the smallest finetune changes is found in every text, and so is all that is larger."""
    recorded = vectors(scale=scale)
    found = turned(recorded, one_minus_cosine)
    assert len(places(recorded, found)) == TEXTS
    worst, _ = compare_vectors(recorded, found, bars=FLOAT32, role="query")
    assert worst.one_minus_cosine == pytest.approx(one_minus_cosine, rel=0.05)


def test_the_bars_lie_between_the_measured_groups() -> None:
    """The recorded bars accept the largest noise measured and refuse the smallest finetune."""
    assert 1.3e-12 < FLOAT32.one_minus_cosine < 5e-6
    assert FLOAT32.max_abs > 2.4e-7
    recorded = vectors()
    found = turned(recorded, 5e-6)
    assert float(np.abs(found - recorded).max()) > FLOAT32.max_abs


@pytest.mark.parametrize("row", [0, 5, TEXTS - 1])
def test_one_changed_text_is_found_alone(row: int) -> None:
    """A change in one text is one finding, which names that text and no other."""
    recorded = vectors()
    (place,) = places(recorded, turned(recorded, 5e-6, row=row))
    assert f" {row} " in f" {place} "


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_what_is_no_number_never_passes(value: float, everywhere: bool) -> None:
    """NaN and infinity are found, in one component or in all."""
    recorded = vectors()
    found = recorded.copy()
    found[3, slice(None) if everywhere else 7] = value
    assert len(places(recorded, found)) == 1
    worst, _ = compare_vectors(recorded, found, bars=FLOAT32, role="query")
    assert not worst.one_minus_cosine <= FLOAT32.one_minus_cosine


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_on_both_sides_does_not_pass(value: float) -> None:
    """Recorded NaN or infinity is matched by nothing, not even by itself."""
    recorded = vectors()
    recorded[0] = value
    assert len(places(recorded, recorded.copy())) == 1
    assert len(places(recorded, vectors())) == 1


def test_zero_vectors() -> None:
    """A zero vector equals only a zero vector."""
    recorded = vectors()
    zeros = np.zeros_like(recorded)
    assert places(zeros, zeros.copy()) == []
    assert len(places(recorded, zeros)) == TEXTS
    assert len(places(zeros, recorded)) == TEXTS


@pytest.mark.parametrize("factor", [0.5, 1 - 1e-4, 1 + 1e-4, 2.0])
def test_a_change_of_the_norm_alone_is_found(factor: float) -> None:
    """A missing normalisation keeps every cosine, and is found by the norm."""
    recorded = vectors()
    found = (recorded * np.float32(factor)).astype(np.float32)
    assert len(places(recorded, found)) == TEXTS
    worst, _ = compare_vectors(recorded, found, bars=FLOAT32, role="query")
    assert worst.one_minus_cosine <= FLOAT32.one_minus_cosine
    assert worst.norm == pytest.approx(abs(factor - 1), rel=1e-2)


def test_the_sign_matters() -> None:
    """Vectors that point the other way are as far away as can be."""
    recorded = vectors()
    worst, findings = compare_vectors(recorded, -recorded, bars=FLOAT32, role="text")
    assert len(findings) == TEXTS
    assert worst.one_minus_cosine == pytest.approx(2)


def test_swapped_texts_are_found() -> None:
    """Vectors belong to their texts: the same vectors in another order are found."""
    recorded = vectors()
    assert len(places(recorded, recorded[::-1].copy())) == TEXTS - 1


@pytest.mark.parametrize(
    "shape",
    [(TEXTS, DIMENSION - 1), (TEXTS - 1, DIMENSION), (1, DIMENSION), (TEXTS, 1), (DIMENSION,)],
)
def test_another_shape_is_a_finding_of_its_own(shape: tuple[int, ...]) -> None:
    """Vectors of another number or dimension are found as that, and never broadcast."""
    worst, findings = compare_vectors(
        vectors(), np.ones(shape, np.float32), bars=FLOAT32, role="query"
    )
    (finding,) = findings
    assert finding.kind is ErrorKind.DIMENSION
    assert not worst.one_minus_cosine <= FLOAT32.one_minus_cosine
    assert not worst.norm <= FLOAT32.norm


@given(seed=st.integers(0, 1000), size=st.floats(1e-4, 2), row=st.integers(0, TEXTS - 1))
@settings(max_examples=40, deadline=None)
def test_any_tellable_change_is_found(seed: int, size: float, row: int) -> None:
    """A change in any component of any text that exceeds the bar is found in that text."""
    recorded = vectors(seed)
    found = recorded.copy()
    found[row, seed % DIMENSION] += np.float32(size)
    assert len(places(recorded, found)) == 1


def test_figures_are_json_data() -> None:
    """A deviation is four plain numbers."""
    worst, _ = compare_vectors(vectors(), vectors(2), bars=FLOAT32, role="query")
    figures = worst.to_dict()
    assert set(figures) == {"one_minus_cosine", "mean_one_minus_cosine", "max_abs", "norm"}
    assert all(type(figure) is float for figure in figures.values())


# --- adapters

TELLABLE = TELLABLE_SHIFT["float32"]


def adapted(base: Vectors, shift: float) -> Vectors:
    moved = base.astype(np.float64)
    moved[:, :] += vectors(9) * shift
    return moved.astype(np.float32)


def test_the_shift_is_the_largest_distance() -> None:
    """The shift of an adapter is the largest distance of any one text."""
    base = vectors()
    moved = base.copy()
    moved[4, 0] += np.float32(0.25)
    moved[5, 0] += np.float32(0.125)
    assert adapter_shift(moved, base) == pytest.approx(0.25, rel=1e-6)
    assert adapter_shift(base, base) == 0


@pytest.mark.parametrize("shift", [TELLABLE * 5, 0.01, 1.0])
def test_an_applied_adapter_passes(shift: float) -> None:
    """Vectors that went through the adapter pass, with the noise that float32 has."""
    base = vectors()
    recorded = adapted(base, shift)
    assert adapter_applied(recorded.copy(), base, recorded) is None
    assert adapter_applied(turned(recorded, 1.3e-12), base, recorded) is None


@pytest.mark.parametrize("shift", [TELLABLE * 5, 0.01, 1.0])
@pytest.mark.parametrize("part", [0.0, 0.17, 0.5, 0.9, 1.1, 2.0, -1.0])
def test_an_adapter_that_is_not_wholly_applied_is_found(shift: float, part: float) -> None:
    """A missing, half applied or twice applied adapter is found, however small its shift."""
    base = vectors()
    recorded = adapted(base, shift)
    found = (base + part * (recorded.astype(np.float64) - base)).astype(np.float32)
    finding = adapter_applied(found, base, recorded)
    assert finding is not None
    assert finding.kind is ErrorKind.ADAPTER_NOT_APPLIED


def test_a_missing_adapter_is_found_where_the_cosine_bar_is_blind() -> None:
    """A missing adapter whose cosine lies under the bar is found by the projection."""
    base = vectors()
    recorded = turned(base, 9e-8)
    assert adapter_shift(recorded, base) > TELLABLE
    assert adapter_applied(base, base, recorded) is not None


def test_a_shift_too_small_to_tell_is_not_judged() -> None:
    """Below the tellable shift nothing is claimed."""
    base = vectors()
    assert adapter_applied(base, base, adapted(base, TELLABLE / 2)) is None
    assert adapter_applied(base, base, base) is None


def test_vectors_that_are_no_numbers_are_not_applied() -> None:
    """NaN is never an applied adapter."""
    base = vectors()
    found = np.full_like(base, np.nan)
    assert adapter_applied(found, base, adapted(base, 0.1)) is not None


def test_an_adapter_that_changes_the_dimension_is_not_projected() -> None:
    """Where base and adapted vectors have different dimensions there is nothing to project."""
    base = vectors()
    recorded = np.ascontiguousarray(vectors(3)[:, : DIMENSION // 2])
    assert adapter_applied(recorded.copy(), base, recorded) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_projection_is_the_same_at_any_scale(dtype: str) -> None:
    """A shift counts in units of the base's norm, so that models that do not normalise are told."""
    base = vectors()
    recorded = adapted(base, TELLABLE_SHIFT[dtype] * 2)
    for scale in (1.0, 1e-3, 1e3):
        factor = np.float32(scale)
        for found, applied in ((recorded, True), (base, False)):
            projection = project(found * factor, base * factor, recorded * factor, dtype=dtype)
            assert projection is not None
            assert projection.is_applied() is applied
            assert projection.applied == pytest.approx(float(applied), abs=0.03)


@given(
    seed=st.integers(0, 1000),
    dtype=st.sampled_from(DTYPES),
    shift=st.sampled_from([1.001, 1.5, 10.0, 1e4]),
    part=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_noise_up_to_the_drift_never_turns_the_answer(
    seed: int, dtype: str, shift: float, part: float
) -> None:
    """Rounding of any direction and the size of the drift makes no adapter applied or missing."""
    base = vectors(seed).astype(np.float64)
    direction = vectors(seed + 1).astype(np.float64)
    moved = base + direction * TELLABLE_SHIFT[dtype] * shift
    noise = np.random.default_rng(seed).choice([-1, 1]) * direction
    noise *= DRIFT[dtype] / np.linalg.norm(noise) * 0.98
    found = base + part * (moved - base) + noise
    projection = project(
        found.astype(np.float32), base.astype(np.float32), moved.astype(np.float32), dtype=dtype
    )
    assert projection is not None
    assert projection.margin < 0.5
    assert projection.is_applied() == (part == 1.0)


@given(dtype=st.sampled_from(DTYPES), part=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_below_the_tellable_shift_nothing_is_claimed_in_any_dtype(dtype: str, part: float) -> None:
    """An adapter that does nothing is neither applied nor missing."""
    base = vectors()
    recorded = adapted(base, TELLABLE_SHIFT[dtype] * 0.9 * part)
    assert project(base, base, recorded, dtype=dtype) is None
    assert (
        project(np.zeros_like(base), np.zeros_like(base), np.zeros_like(base), dtype=dtype) is None
    )


# --- bars


@pytest.mark.parametrize("device_type", ["cpu", "cuda", "mps"])
def test_fewer_bits_have_wider_bars(device_type: str) -> None:
    """Every figure grows with the rounding of the dtype, and a mean is never above the largest."""
    single, half, brain = (bars_for(device_type, dtype) for dtype in DTYPES)
    for figure in ("one_minus_cosine", "mean_one_minus_cosine", "max_abs", "norm"):
        assert getattr(single, figure) < getattr(half, figure) < getattr(brain, figure)
    for bars in (single, half, brain):
        assert bars.mean_one_minus_cosine <= bars.one_minus_cosine
    assert DRIFT["float32"] < DRIFT["float16"] < DRIFT["bfloat16"]


def test_float32_on_the_cpu_has_the_bars_that_manifests_record() -> None:
    """A manifest's bars and the table's agree, and the manifest's know no mean of their own."""
    assert bars_for("cpu", "float32") == Bars.recorded(FLOAT32_BARS)
    assert FLOAT32.mean_one_minus_cosine == FLOAT32.one_minus_cosine


@pytest.mark.parametrize("where", [("cpu", "int8"), ("xpu", "float32"), ("cuda:0", "float32")])
def test_what_nobody_measured_is_not_judged(where: tuple[str, str]) -> None:
    """A device or dtype without bars is an error, and never judged by another's."""
    assert where not in BARS
    with pytest.raises(UnsupportedError) as caught:
        bars_for(*where)
    assert caught.value.kind is ErrorKind.DEVICE_UNAVAILABLE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_mean_beyond_its_bar_is_one_finding(dtype: str) -> None:
    """Texts that are each within their bar, and together are not, are found as all of them."""
    bars = bars_for("cpu", dtype)
    between = (bars.mean_one_minus_cosine + bars.one_minus_cosine) / 2
    recorded = vectors()
    _, findings = compare_vectors(recorded, turned(recorded, between), bars=bars, role="query")
    (finding,) = findings
    assert finding.kind is ErrorKind.GOLDEN
    assert "mean" in finding.expected
    _, findings = compare_vectors(recorded, turned(recorded, between, row=2), bars=bars, role="q")
    assert findings == ()


# --- texts


@pytest.mark.parametrize("max_seq_length", [None, 1, 16, 128, 256, 512, 8192])
def test_one_golden_text_is_longer_than_the_model_reads(max_seq_length: int | None) -> None:
    """The last text has more words than the model reads tokens, so that it must be cut."""
    texts = golden_texts(max_seq_length)
    words = [len(text.split()) for text in texts]
    assert words[-1] > (max_seq_length or 512)
    assert words[-1] == max(words)


def test_the_end_of_the_long_text_differs_from_its_start() -> None:
    """Cutting the long text at another place, or from the other side, changes what is read."""
    words = golden_texts(64)[-1].split()
    assert words[:64] != words[-64:]
    assert len(set(words)) > 20


def test_golden_texts_never_change() -> None:
    """The same model always gets the same texts, all of them different from each other."""
    assert golden_texts(128) == golden_texts(128)
    assert len(set(golden_texts(128, few=True))) == 4
    assert golden_texts(128, few=True)[-1] == golden_texts(128)[-1]
    assert golden_texts(128)[:-1] == golden_texts(None)[:-1]
    assert len(set(golden_texts(128))) == len(golden_texts(128)) == TEXTS


@pytest.mark.parametrize("few", [False, True])
def test_golden_texts_tell_mistakes_apart(*, few: bool) -> None:
    """The empty text, white space, cases, accents in both forms, scripts and emoji are there."""
    texts = golden_texts(128, few=few)
    together = "".join(texts)
    assert "" in texts
    assert any(text != text.strip() and "\t" in text and "\n" in text for text in texts)
    assert any(text != text.lower() for text in texts)
    assert "é" in together
    assert "e\u0301" in together
    assert any("\u4e00" <= character <= "\u9fff" for character in together)
    assert any("\u0590" <= character <= "\u06ff" for character in together)
    assert any(ord(character) > 0x1F000 for character in together)
