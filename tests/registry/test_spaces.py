"""Spaces: which ids are equal, and when an index has to be made again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.digests import canonical_json
from pairlock.golden import FLOAT32_BARS
from pairlock.spaces import (
    GoldenDocuments,
    SpaceDescription,
    Spaces,
    Verdict,
    judge_spaces,
)

TEXTS = ("one", "two", "", "long " * 20)
A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
DESCRIPTION = SpaceDescription(
    modules=({"class": "Transformer", "config": {"b": 1, "a": [1, 2]}, "tensors": {"w": ["x"]}},),
    instruction="passage: ",
    normalize=True,
    dimension=8,
    adapter=None,
)


def documents(texts: tuple[str, ...] = TEXTS, dimension: int = 8, seed: int = 0) -> GoldenDocuments:
    """Seeded vectors of some texts, each text with its own."""
    rows = [np.random.default_rng([seed, *text.encode()]).normal(size=dimension) for text in texts]
    return GoldenDocuments(texts, np.asarray(rows, dtype=np.float32))


def moved(recorded: GoldenDocuments, by: float) -> GoldenDocuments:
    """The same texts with every vector a little elsewhere."""
    shift = np.random.default_rng(1).normal(size=recorded.vectors.shape) * by
    return GoldenDocuments(recorded.texts, (recorded.vectors + shift).astype(np.float32))


def judged(before: GoldenDocuments, after: GoldenDocuments) -> Any:
    """The verdict on two spaces with other ids."""
    return judge_spaces(Spaces(A, C), Spaces(B, C), lambda: (before, after))


def refuse() -> Any:
    """Evidence that must not be asked for."""
    raise AssertionError("no vector is needed to judge this")


def test_the_first_model_of_a_stage_needs_no_evidence() -> None:
    """Where nothing was before, the verdict is FIRST, and no vector is read."""
    assert judge_spaces(None, Spaces(A, B), refuse).verdict is Verdict.FIRST


@pytest.mark.parametrize("query", [B, C])
def test_the_same_document_space_needs_no_new_index(query: str) -> None:
    """Queries may change: an index holds documents; and no vector is read."""
    verdict = judge_spaces(Spaces(A, B), Spaces(A, query), refuse)
    assert verdict.verdict is Verdict.NONE
    assert ("queries change" in verdict.detail) == (query != B)


def test_another_id_with_the_same_vectors_is_equivalent_with_figures() -> None:
    """Document vectors within the float32 bars are evidence, and their deviation is given."""
    recorded = documents()
    verdict = judged(recorded, moved(recorded, 1e-7))
    assert verdict.verdict is Verdict.EQUIVALENT
    assert verdict.figures["texts"] == len(TEXTS)
    assert 0 < verdict.figures["max_abs"] <= FLOAT32_BARS.max_abs


@pytest.mark.parametrize("by", [1e-5, 1e-3, 10.0])
def test_other_vectors_need_a_new_index_with_figures(by: float) -> None:
    """One step beyond the bars, the verdict is NEEDED, and the deviation is given."""
    recorded = documents()
    verdict = judged(recorded, moved(recorded, by))
    assert verdict.verdict is Verdict.NEEDED
    assert verdict.figures["max_abs"] > FLOAT32_BARS.max_abs


def test_one_moved_document_is_enough() -> None:
    """A model that agrees on all texts but one has another space."""
    recorded = documents()
    vectors = recorded.vectors.copy()
    vectors[2, 0] += 1e-3
    assert judged(recorded, GoldenDocuments(TEXTS, vectors)).verdict is Verdict.NEEDED


def test_another_dimension_needs_a_new_index_and_says_so() -> None:
    """Vectors that cannot be compared are never equivalent; both dimensions are named."""
    verdict = judged(documents(), documents(dimension=6))
    assert verdict.verdict is Verdict.NEEDED
    assert verdict.figures == {"dimension_before": 8, "dimension_after": 6}


def test_another_maximum_length_needs_a_new_index_and_says_so() -> None:
    """Agreement on the shared texts is no evidence for texts that are cut elsewhere."""
    longer = (*TEXTS[:-1], "long " * 40)
    verdict = judged(documents(), documents(longer))
    assert verdict.verdict is Verdict.NEEDED
    assert verdict.figures["texts"] == len(TEXTS) - 1
    assert verdict.figures["one_minus_cosine"] == 0
    assert "length" in verdict.detail


def test_the_same_texts_in_another_order_are_compared_by_text() -> None:
    """Another order of the texts is no difference."""
    verdict = judged(documents(), documents(TEXTS[::-1]))
    assert verdict.verdict is Verdict.EQUIVALENT
    assert verdict.figures["one_minus_cosine"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_never_equivalent(value: float) -> None:
    """NaN and infinity need a new index, and stay out of the figures."""
    recorded = documents()
    broken = GoldenDocuments(TEXTS, np.full_like(recorded.vectors, value))
    with np.errstate(invalid="ignore"):
        verdicts = [judged(recorded, broken), judged(broken, broken)]
    for verdict in verdicts:
        assert verdict.verdict is Verdict.NEEDED
        canonical_json(verdict.to_dict())


def test_without_common_texts_or_evidence_a_new_index_is_needed() -> None:
    """What nobody can compare is not the same."""
    assert judged(documents(), documents(("other",))).verdict is Verdict.NEEDED
    assert judge_spaces(Spaces(A, C), Spaces(B, C)).verdict is Verdict.NEEDED


_IDS = st.sampled_from([A, B, C])


@given(
    before=st.builds(Spaces, _IDS, _IDS),
    after=st.builds(Spaces, _IDS, _IDS),
    by=st.sampled_from([0.0, 1e-8, 1e-3]),
    dimension=st.sampled_from([6, 8]),
)
def test_none_means_equal_ids_and_nothing_else(
    before: Spaces, after: Spaces, by: float, dimension: int
) -> None:
    """NONE is said exactly for equal ids of documents, EQUIVALENT for equal vectors alone."""
    recorded = documents()
    found = moved(documents(dimension=dimension), by)
    verdict = judge_spaces(before, after, lambda: (recorded, found))
    assert (verdict.verdict is Verdict.NONE) == (before.document == after.document)
    is_near = by < 1e-5 and dimension == 8
    if verdict.verdict is not Verdict.NONE:
        assert verdict.verdict is (Verdict.EQUIVALENT if is_near else Verdict.NEEDED)


def test_a_verdict_is_json_data() -> None:
    """Ledgers keep verdicts: what to_dict gives can be written canonically."""
    data = judged(documents(), moved(documents(), 1.0)).to_dict()
    assert canonical_json(data)
    assert data["verdict"] == "needed"


def test_the_order_of_keys_is_no_part_of_an_id() -> None:
    """An id is over canonical JSON."""
    module = DESCRIPTION.modules[0]
    turned = replace(DESCRIPTION, modules=(dict(reversed(module.items())),))
    assert turned.id() == DESCRIPTION.id()


@pytest.mark.parametrize(
    "change",
    [
        {"modules": ()},
        {"modules": (*DESCRIPTION.modules, {"class": "Normalize"})},
        {"modules": ({**DESCRIPTION.modules[0], "config": {"b": 2, "a": [1, 2]}},)},
        {"modules": ({**DESCRIPTION.modules[0], "config": {"b": 1, "a": [2, 1]}},)},
        {"modules": ({**DESCRIPTION.modules[0], "tensors": {"v": ["x"]}},)},
        {"instruction": ""},
        {"normalize": False},
        {"dimension": 7},
        {"adapter": {}},
    ],
    ids=str,
)
def test_every_part_of_a_description_is_part_of_the_id(change: dict[str, Any]) -> None:
    """A space that differs in anything has another id."""
    assert replace(DESCRIPTION, **change).id() != DESCRIPTION.id()
