"""The rules: whether a stamp and a model fit, and whether vectors come from a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
)
from pairlock.golden import bars_for
from pairlock.index.stamps import Stamp, describe
from pairlock.receipts import Receipt, receipt
from pairlock.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAME_VECTOR = 1e-5
"""How far a stored vector may lie from the one that is computed now, in 1 - cosine: a float16 store
rounds by about 1e-7, another device by less, and other weights move vectors by more than this, but
for the first steps of a finetune. The stamp tells spaces apart; the vectors tell a stamp that is
wrong."""

SAMPLES = 3
"""Stored vectors that a proof computes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One vector that an index holds, and the text that it is said to come from."""

    id: str
    text: str
    vector: Sequence[float]


def require_same_space(stamp: Stamp, embedding: object, *, where: str) -> None:
    """Refuse a model whose document vectors lie in another space than those of an index.

    Args:
        stamp: the index's.
        embedding: whatever is to answer from it.
        where: the index, for messages.

    Raises:
        IntegrityError: it is another space, or nobody knows which.
    """
    try:
        loaded = receipt(embedding)
    except InvalidInputError:
        raise _other_space(stamp, _describe_foreign(embedding), where) from None
    if loaded.document_space != stamp.document_space:
        raise _other_space(stamp, describe_receipt(loaded), where)


def require_unstamped(old: Stamp, new: Stamp, *, where: str) -> None:
    """Refuse to stamp what is stamped as another space.

    Raises:
        AlreadyExistsError: it is.
    """
    if old.document_space == new.document_space:
        return
    raise AlreadyExistsError(
        f"{where} is stamped with another space",
        kind=ErrorKind.SPACE,
        checked="the stamp it has",
        expected=f"none, or one of the space of {new}",
        found=f"{old}, stamped at {old.stamped_at}",
        done="nothing was stamped",
        hint="if the index was made anew with this model, stamp it with replace=True",
    )


def require_dimension(dimension: int | None, loaded: Receipt, *, where: str) -> None:
    """Refuse a model whose vectors have another dimension than the stored ones.

    Args:
        dimension: of the stored vectors; None where it is not known.
        loaded: the model's receipt.
        where: the index, for messages.

    Raises:
        IntegrityError: the dimensions differ.
    """
    if dimension is None or dimension == loaded.dimension:
        return
    raise IntegrityError(
        f"the vectors of {where} have another dimension than the model's",
        kind=ErrorKind.DIMENSION,
        checked="the dimension of the stored vectors",
        expected=f"{loaded.dimension}, as {describe_receipt(loaded)} computes",
        found=str(dimension),
        done="nothing was stamped, queried or inserted",
        hint="make the index anew with the model, or load the model that made it",
    )


def proof_bar(loaded: Receipt) -> float:
    """How far, in 1 - cosine, a stored vector may lie from one that this model computes now.

    Raises:
        UnsupportedError: nobody has said what a dtype may differ by on a device.
    """
    device_type = loaded.device.partition(":")[0]
    return max(SAME_VECTOR, bars_for(device_type, loaded.dtype).one_minus_cosine)


def require_same_vectors(
    samples: Sequence[Sample],
    found: NDArray[np.float32],
    *,
    keeps_norms: bool,
    loaded: Receipt,
    where: str,
) -> None:
    """Refuse a model that does not compute the vectors that an index holds.

    Two vectors are compared by |a - b|² / 2|a||b|, which is 1 - cosine where their norms agree, and
    more where they do not.

    Args:
        samples: n vectors of the index.
        found: (n, dimension) float32: what the model computes for their texts.
        keeps_norms: whether the store keeps vectors as they are; if not, directions are compared.
        loaded: the model's receipt.
        where: the index, for messages.

    Raises:
        IntegrityError: a vector differs by more than `proof_bar`.
    """
    bar = proof_bar(loaded)
    findings = []
    for sample, vector in zip(samples, found, strict=True):
        distance = _distance(sample.vector, vector, keeps_norms=keeps_norms)
        if not distance <= bar:
            findings.append(
                Finding(
                    kind=ErrorKind.SPACE,
                    place=f"node {sample.id}",
                    expected=f"the vector of its text, within {bar:.0e} in 1 - cosine",
                    found=f"one that lies {distance:.1e} from it",
                )
            )
    if findings:
        raise IntegrityError(
            f"the vectors of {where} do not come from this model",
            kind=ErrorKind.SPACE,
            checked=f"{counted(len(samples), 'stored vector')} against those of "
            + describe_receipt(loaded),
            findings=findings,
            done="nothing was stamped, queried or inserted",
            hint="load the model that the index was made with, or make it anew with this one; "
            "where texts were changed after they were embedded, stamp takes prove=False",
        )


def describe_receipt(loaded: Receipt) -> str:
    """A loaded model in one line."""
    return describe(loaded.uri, loaded.package_digest, loaded.document_space)


def _distance(
    stored: Sequence[float], computed: NDArray[np.float32], *, keeps_norms: bool
) -> float:
    import numpy as np

    a, b = np.asarray(stored, dtype=np.float64), np.asarray(computed, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if 0.0 in norms:
        return 0.0 if norms == (0.0, 0.0) else float("inf")
    if not keeps_norms:
        a, b, norms = a / norms[0], b / norms[1], (1.0, 1.0)
    return float(np.sum((a - b) ** 2)) / (2 * norms[0] * norms[1])


def _describe_foreign(embedding: object) -> str:
    name = getattr(embedding, "model_name", None)
    kind = f"{type(embedding).__module__}.{type(embedding).__qualname__}"
    named = f" {name!r}" if isinstance(name, str) and name != "unknown" else ""
    return f"{kind}{named}, which was not loaded by Pairlock, so that its space is not known"


def _other_space(stamp: Stamp, found: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"{where} was built in another embedding space than the model's",
        kind=ErrorKind.SPACE,
        checked=f"the stamp of {where}, made at {stamp.stamped_at}",
        expected=f"a model in the document space of {stamp}",
        found=found,
        done="nothing was queried or inserted",
        hint=f"load {stamp.uri}, or another model in its document space; to change to this model, "
        "embed all documents again with it into a new index, and stamp that",
    )
