"""Tolerances: on four different models the check tells the same weights from other ones.

The second half holds the constants to the measurements in docs/tolerances.json, which
scripts/bench/tolerances.py makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind
from pairlock.golden import BARS, DRIFT, TELLABLE_SHIFT, bars_for, project
from pairlock_flavors.golden_vectors import GoldenResult, Vectors, judge
from support import variants
from support.variants import LORA_ON, MODELS, Change, changed, embed, through_layer

DTYPES = ("float32", "float16", "bfloat16")
DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[SentenceTransformer, Vectors]]:
    """Every model with its recorded vectors; tests change copies only."""
    root = tmp_path_factory.mktemp("variants")
    models = {name: build(root / name).eval() for name, build in MODELS.items()}
    return {name: (model, embed(model)) for name, model in models.items()}


def judged(recorded: Vectors, found: Vectors, dtype: str = "float32") -> GoldenResult:
    return judge(recorded, found, device_type="cpu", dtype=dtype)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_model_passes_however_it_is_computed(name: str, dtype: str, built: Any) -> None:
    """Other dtypes, batches, threads, attention kernels and padding are no finding."""
    model, recorded = built[name]
    found = [embed(model, dtype, batch_size=size) for size in (1, 3, 32)]
    if name in LORA_ON:
        for change in (variants.eager, variants.padded):
            found.append(embed(changed(model, change), dtype))
    torch.set_num_threads(2)
    try:
        found.append(embed(model, dtype))
    finally:
        torch.set_num_threads(1)
    for vectors in found:
        assert judged(recorded, vectors, dtype).findings == ()


@pytest.mark.parametrize("name", LORA_ON)
def test_the_same_model_passes_in_float16(name: str, built: Any) -> None:
    """Half precision with more bits passes its narrower bars."""
    model, recorded = built[name]
    assert judged(recorded, embed(model, "float16"), "float16").findings == ()


def test_float16_that_makes_no_numbers_is_refused(built: Any) -> None:
    """A normalised table gives NaN for the empty text in float16, and that never passes."""
    model = changed(built["static"][0], lambda other: other.prompts.update(document=""))
    findings = judged(embed(model), embed(model, "float16"), "float16").findings
    assert {finding.kind for finding in findings} == {ErrorKind.GOLDEN}
    assert len(findings) == 1


def _one_step(model: SentenceTransformer) -> None:
    variants.finetune(model, 1, rate=variants.rate(model))


def _eight_steps(model: SentenceTransformer) -> None:
    variants.finetune(model, 8, rate=variants.rate(model))


DIFFERENT: list[Change] = [
    _one_step,
    _eight_steps,
    variants.toggle_normalize,
    variants.no_prompt,
    variants.other_tokenizer,
    variants.flip_high_bit,
]
GROSS: list[Change] = [
    variants.toggle_normalize,
    variants.no_prompt,
    variants.other_tokenizer,
    variants.flip_high_bit,
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("change", DIFFERENT)
def test_another_model_is_refused_in_float32(name: str, change: Change, built: Any) -> None:
    """A finetune of one step and every wrong setting are refused on every model."""
    model, recorded = built[name]
    findings = judged(recorded, embed(changed(model, change))).findings
    assert findings
    assert {finding.kind for finding in findings} == {ErrorKind.GOLDEN}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["bfloat16"])
@pytest.mark.parametrize("change", GROSS)
def test_a_gross_mistake_is_refused_in_half_precision_too(
    name: str, change: Change, dtype: str, built: Any
) -> None:
    """A wrong way from a text to a vector shows through the rounding of half precision."""
    model, recorded = built[name]
    assert judged(recorded, embed(changed(model, change), dtype), dtype).findings


@pytest.mark.parametrize("name", LORA_ON)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_pooling_is_refused(name: str, dtype: str, built: Any) -> None:
    """Another pooling is refused in every dtype."""
    model, recorded = built[name]
    found = embed(changed(model, variants.other_pooling), dtype)
    assert judged(recorded, found, dtype).findings


@pytest.mark.parametrize("name", MODELS)
def test_a_neighbouring_checkpoint_is_refused_in_float32(name: str, built: Any) -> None:
    """The model one small step later is another model."""
    tuned = changed(built[name][0], _eight_steps)
    recorded = embed(tuned)
    variants.finetune(tuned, 1, rate=variants.rate(tuned) / 10)
    assert judged(recorded, embed(tuned)).findings


@pytest.mark.parametrize("name", LORA_ON)
def test_a_lora_is_told_from_none_and_from_its_sibling(name: str, built: Any) -> None:
    """An applied LoRA passes in every dtype; a missing one is named, and a sibling refused."""
    model, bare = built[name]
    mine, sibling = (variants.with_lora(model, name, seed=seed) for seed in (0, 1))
    bases = {f"base_{role}": vectors for role, vectors in bare.items()}
    recorded = {**embed(mine), **bases}
    for dtype in DTYPES:
        low = {f"base_{role}": vectors for role, vectors in embed(model, dtype).items()}
        missing = {role: low[f"base_{role}"] for role in bare} | low
        assert judged(recorded, {**embed(mine, dtype), **low}, dtype).findings == ()
        kinds = [finding.kind for finding in judged(recorded, missing, dtype).findings]
        assert ErrorKind.ADAPTER_NOT_APPLIED in kinds
    assert judged(recorded, {**embed(sibling), **bases}).findings


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("times", [1.2, 4.0])
def test_a_missing_adapter_is_named_down_to_the_tellable_shift(
    name: str, dtype: str, times: float, built: Any
) -> None:
    """Just above the tellable shift an applied adapter passes, and a missing one is named."""
    model, bare = built[name]
    moved = 1.0
    wanted = times * TELLABLE_SHIFT[dtype]
    for _ in range(4):  # the layer's shift is linear in its argument, up to the longest vector
        recorded = through_layer(bare, shift=wanted / moved)
        moved *= variants.relative_shift(recorded) / wanted
    low = embed(model, dtype)
    applied = through_layer(low, shift=wanted / moved)
    recorded = through_layer(bare, shift=wanted / moved)
    missing = {**applied, "query": applied["base_query"]}
    assert judged(recorded, applied, dtype).findings == ()
    kinds = [finding.kind for finding in judged(recorded, missing, dtype).findings]
    assert ErrorKind.ADAPTER_NOT_APPLIED in kinds


@pytest.mark.parametrize("name", MODELS)
def test_an_applied_adapter_is_never_refused_for_a_shift_too_small(name: str, built: Any) -> None:
    """Where bfloat16 moves vectors further than the adapter does, an applied adapter passes."""
    model, bare = built[name]
    recorded = through_layer(bare, shift=1e-3)
    applied = through_layer(embed(model, "bfloat16"), shift=1e-3)
    assert judged(recorded, applied, "bfloat16").findings == ()
    projection = project(
        applied["query"], recorded["base_query"], recorded["query"], dtype="float32"
    )
    assert projection is not None
    assert not projection.is_applied()


def test_the_bars_of_half_precision_are_blind_to_a_short_finetune(built: Any) -> None:
    """No half precision stands in for the float32 check: a finetune of one step passes there."""
    model, recorded = built["bert"]
    tuned = changed(model, _one_step)
    assert judged(recorded, embed(tuned, "bfloat16"), "bfloat16").findings == ()
    assert judged(recorded, embed(tuned)).findings


# --- the constants and what was measured


@pytest.fixture(scope="module")
def measured() -> Any:
    """What scripts/bench/tolerances.py wrote."""
    return json.loads((DOCS / "tolerances.json").read_bytes())


FIGURES = ("one_minus_cosine", "mean_one_minus_cosine", "max_abs", "norm")


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_bar_lies_well_above_what_the_same_model_was_measured_at(
    figure: str, dtype: str, measured: Any
) -> None:
    """A bar is at least three times the largest figure of the same weights."""
    bar = getattr(bars_for(measured["device"], dtype), figure)
    same = [r for r in measured["rows"] if (r["group"], r["dtype"]) == ("same", dtype)]
    assert len({row["model"] for row in same}) >= 4
    assert max(row[figure] for row in same) * 3 <= bar


def test_every_same_model_passed_when_it_was_measured(measured: Any) -> None:
    """None of the same weights was refused, unless float16 made no numbers of a text."""
    refused = [r for r in measured["rows"] if r["group"] == "same" and r["refused"]]
    assert all(row.get("texts_without_numbers") and row["dtype"] == "float16" for row in refused)


def test_every_verdict_is_that_of_the_bars_in_force(measured: Any) -> None:
    """A row is refused when one of its figures lies beyond a bar, or its adapter is not applied."""
    assert len(measured["rows"]) > 200
    for row in measured["rows"]:
        bars = bars_for(measured["device"], row["dtype"])
        beyond = any(row[figure] > getattr(bars, figure) for figure in FIGURES)
        named = str(ErrorKind.ADAPTER_NOT_APPLIED) in row["by"]
        assert row["refused"] == (beyond or named or "texts_without_numbers" in row), row


BLIND = {"sign bit of one weight", "lowest exponent bit of one weight"}
"""What docs/tolerances.md says that vectors need not show."""


def test_every_other_model_was_refused_in_float32(measured: Any) -> None:
    """In float32 every other model was refused, but for what the page calls out."""
    others = [r for r in measured["rows"] if (r["group"], r["dtype"]) == ("different", "float32")]
    passed = {row["what"] for row in others if not row["refused"]}
    assert len({row["what"] for row in others}) >= 15
    assert passed <= BLIND
    page = (DOCS / "tolerances.md").read_text(encoding="utf-8")
    assert all(what in page for what in passed)


def test_the_float32_bars_lie_below_the_smallest_other_model(measured: Any) -> None:
    """Every finetune, checkpoint and sibling lies beyond a float32 bar by its vectors alone."""
    bars = bars_for("cpu", "float32")
    words = ("finetune", "checkpoint", "sibling", "pooling", "prompt", "tokenizer")
    others = [
        r
        for r in measured["rows"]
        if (r["group"], r["dtype"]) == ("different", "float32")
        and any(word in r["what"] for word in words)
    ]
    assert others
    assert min(row["one_minus_cosine"] for row in others) > bars.one_minus_cosine
    assert min(row["max_abs"] for row in others) > bars.max_abs


@pytest.mark.parametrize("what", ["other pooling", "query prompt missing", "another tokenizer"])
def test_gross_mistakes_lie_beyond_the_widest_bars(what: str, measured: Any) -> None:
    """What half precision must still tell lies beyond the widest bar of all."""
    rows = [r for r in measured["rows"] if r["what"] == what]
    assert rows
    widest = max(bars.one_minus_cosine for bars in BARS.values())
    assert min(row["one_minus_cosine"] for row in rows) > 3 * widest


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_drift_lies_above_what_was_measured(dtype: str, measured: Any) -> None:
    """Rounding never pushed vectors along a shift by more than half of what is allowed for."""
    drifts = [r["drift"] for r in measured["rows"] if r["dtype"] == dtype and "drift" in r]
    assert drifts
    assert max(drifts) * 2 <= DRIFT[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tellable_adapter_was_told(dtype: str, measured: Any) -> None:
    """Above the tellable shift every missing adapter was named, below it none was."""
    missing = [
        r
        for r in measured["rows"]
        if r["dtype"] == dtype and r["what"].endswith("missing") and "shift" in r
    ]
    assert missing
    for row in missing:
        told = row["shift"] > TELLABLE_SHIFT[dtype]
        assert (str(ErrorKind.ADAPTER_NOT_APPLIED) in row["by"]) == told


def test_the_page_names_the_bars_that_are_in_force() -> None:
    """docs/tolerances.md shows every bar and every tellable shift as they are."""
    page = (DOCS / "tolerances.md").read_text(encoding="utf-8")
    for dtype in DTYPES:
        bars = bars_for("cpu", dtype)
        figures = [getattr(bars, figure) for figure in FIGURES]
        cells = [f"{value:.0e}" for value in (*figures, DRIFT[dtype], TELLABLE_SHIFT[dtype])]
        assert f"| {dtype} | {' | '.join(cells)} |" in page
