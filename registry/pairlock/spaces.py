"""Embedding spaces: what their ids are made of, and whether an index has to be made again.

Vectors may be compared when they lie in one space. A space is what turns a text into a vector: the
tensors, the tokenizer and the settings, and not the files they came in. So a model that its own
library saved again has the same ids, and so have all adapters that change queries only, in the
space of their documents. See `docs/concepts.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pairlock.digests import canonical_json, digest_bytes
from pairlock.golden import FLOAT32_BARS, Bars, Deviation, compare_vectors
from pairlock.manifest import Spaces
from pairlock.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "SPACE_FORMAT",
    "GoldenDocuments",
    "SpaceDescription",
    "SpaceVerdict",
    "Spaces",
    "Verdict",
    "judge_spaces",
]

SPACE_FORMAT = 1
"""Version of what an id is hashed from. Another one gives every model other ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceDescription:
    """How a text becomes a vector in one role, as JSON data. Its digest is the id of the space.

    The role itself is not part of it: where queries and documents are embedded alike, both are in
    one space.
    """

    modules: tuple[Mapping[str, Any], ...]
    """The modules that the text passes through, in order: name, configuration, tokenizer, maximum
    length, tensors by shape and sha256."""

    instruction: str
    """Put before the text."""

    normalize: bool
    """Whether vectors are L2-normalised after the modules ran."""

    dimension: int
    """Dimension to which vectors are cut after the modules ran."""

    adapter: Mapping[str, Any] | None
    """What the vector passes through last; None where there is nothing."""

    def id(self) -> str:
        """The id of the space: `sha256:<hex>` over RFC 8785 canonical JSON.

        Raises:
            ValueError: a value is no JSON data.
        """
        document = {
            "space_format": SPACE_FORMAT,
            "modules": [dict(module) for module in self.modules],
            "instruction": self.instruction,
            "normalize": self.normalize,
            "dimension": self.dimension,
            "adapter": None if self.adapter is None else dict(self.adapter),
        }
        return digest_bytes(canonical_json(document))


class Verdict(StrEnum):
    """Whether a vector index has to be made again."""

    NONE = "none"
    """No: the documents' space is the same."""

    EQUIVALENT = "equivalent"
    """No, by evidence: the id is another, and the golden document vectors are the same."""

    NEEDED = "needed"
    """Yes: document vectors are others."""

    FIRST = "first"
    """There was nothing before that an index could have been made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceVerdict:
    """Whether a vector index has to be made again, and why."""

    verdict: Verdict
    detail: str
    """The reason, for a person."""

    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What was measured, finite numbers only: `texts` compared, `one_minus_cosine`,
    `mean_one_minus_cosine`, `max_abs`, `norm`, or `dimension_before` and `dimension_after`."""

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON data."""
        return {
            "verdict": self.verdict.value,
            "detail": self.detail,
            "figures": dict(self.figures),
        }


class GoldenDocuments(NamedTuple):
    """A package's golden texts, embedded as documents."""

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    """(n_texts, dimension) float32."""


Evidence = Callable[[], tuple[GoldenDocuments, GoldenDocuments]]
"""Gives the golden documents of what was before, and of what comes after."""


def judge_spaces(
    before: Spaces | None, after: Spaces, golden: Evidence | None = None
) -> SpaceVerdict:
    """Whether an index of documents has to be made again when one model follows another.

    Args:
        before: the spaces of the model that the index was made with; None where there was none.
        after: the spaces of the model that shall query it.
        golden: gives the evidence; asked only where the ids differ. None: there is none.

    Returns:
        NONE exactly when the ids of the documents' spaces are equal. EQUIVALENT when they are not,
        and both models gave the same golden texts the same vectors, within `FLOAT32_BARS`.
    """
    if before is None:
        return SpaceVerdict(verdict=Verdict.FIRST, detail="no model was here before")
    if before.document == after.document:
        also = "" if before.query == after.query else "; queries change, documents do not"
        return SpaceVerdict(verdict=Verdict.NONE, detail=f"the document space is the same{also}")
    if golden is None:
        return _needed("the document space is another, and there are no vectors to compare")
    return _compare(*golden())


def _compare(before: GoldenDocuments, after: GoldenDocuments) -> SpaceVerdict:
    dimensions = before.vectors.shape[1], after.vectors.shape[1]
    if dimensions[0] != dimensions[1]:
        return _needed(
            f"document vectors had {dimensions[0]} dimensions, and have {dimensions[1]}",
            {"dimension_before": dimensions[0], "dimension_after": dimensions[1]},
        )
    rows = dict(zip(after.texts, range(len(after.texts)), strict=True))
    shared = [(row, rows[text]) for row, text in enumerate(before.texts) if text in rows]
    if not shared:
        return _needed("the two packages hold document vectors of different texts")
    recorded = before.vectors[[row for row, _ in shared]]
    found = after.vectors[[row for _, row in shared]]
    deviation, findings = compare_vectors(
        recorded, found, bars=Bars.recorded(FLOAT32_BARS), role="text"
    )
    figures = _figures(deviation, len(shared))
    of = counted(len(shared), "golden text")
    if findings:
        return _needed(
            f"document vectors of {of} differ by up to 1 - cosine "
            f"{deviation.one_minus_cosine:.2g}, max abs {deviation.max_abs:.2g}",
            figures,
        )
    if set(before.texts) != set(after.texts):
        # the longest golden text is as long as the model reads
        return _needed(
            f"document vectors of {of} are the same, and the other texts are not: the models cut "
            "texts at different lengths, or were packaged by different releases",
            figures,
        )
    return SpaceVerdict(
        verdict=Verdict.EQUIVALENT,
        detail=f"the document space has another id, and document vectors of {of} are the same: "
        f"1 - cosine at most {deviation.one_minus_cosine:.2g}, max abs {deviation.max_abs:.2g}",
        figures=figures,
    )


def _figures(deviation: Deviation, texts: int) -> dict[str, float]:
    found = {name: value for name, value in deviation.to_dict().items() if abs(value) < 1e300}
    return {"texts": texts, **found}


def _needed(detail: str, figures: Mapping[str, float] = MappingProxyType({})) -> SpaceVerdict:
    return SpaceVerdict(verdict=Verdict.NEEDED, detail=detail, figures=figures)
