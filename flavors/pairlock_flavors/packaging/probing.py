"""Asks a model for a few vectors before anything is recorded, so that a refusal has its reason."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, IntegrityError, UnsupportedError
from pairlock.golden import FLOAT32_BARS, Bars, compare_vectors, golden_texts
from pairlock.manifest import EncodeSettings, Role
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel

_TEXTS = golden_texts(16)
"""The empty text is among them, and the last one is the longest."""

_ALONE = 1e-6
"""1 - cosine between a text alone and in a batch, in float32; padding alone makes 1.3e-12."""

_ALONE_ROUNDED = 1e-3
"""The same in float16 and bfloat16, where rounding alone makes up to 1.3e-4."""

_BARS = Bars.recorded(FLOAT32_BARS)

Vectors = NDArray[np.float32]


def probe_dimension(
    model: SentenceTransformer, settings: EncodeSettings, *, dtype: str, where: str
) -> int:
    """The dimension of a model's vectors, found by embedding some texts in both roles.

    Modules say their dimension themselves, the routes of a Router need not agree, and a module that
    reads the padding gives a text other vectors beside other texts.

    Args:
        model: the model, on the CPU.
        settings: how it is to embed.
        dtype: of its weights.
        where: what to call it in messages.

    Returns:
        The dimension.

    Raises:
        UnsupportedError: a role cannot be embedded, the dimensions differ, or vectors depend on
            what else is in the batch.
        IntegrityError: vectors are not finite.
    """
    encoder = SentenceModel.alone(model, settings, batch_size=len(_TEXTS))
    together: dict[str, Vectors] = {}
    alone: dict[str, Vectors] = {}
    failed: dict[str, str] = {}
    for role in Role:
        try:
            together[role] = encoder.encode(_TEXTS, role)
            alone[role] = np.concatenate([encoder.encode([text], role) for text in _TEXTS[:2]])
        except Exception as error:  # noqa: BLE001 - libraries and foreign classes raise anything
            failed[role] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
    dimension = _dimension(model, settings, together, failed, where)
    _check_finite(together, where)
    _check_alone(alone, together, _ALONE if dtype == "float32" else _ALONE_ROUNDED, where)
    return dimension


def _dimension(
    model: SentenceTransformer,
    settings: EncodeSettings,
    vectors: Mapping[str, Vectors],
    failed: Mapping[str, str],
    where: str,
) -> int:
    own = model.get_embedding_dimension()
    expected = min(int(own), settings.truncate_dim or int(own)) if own else None
    found = {**{role: str(array.shape[-1]) for role, array in vectors.items()}, **failed}
    if expected is not None and set(found.values()) == {str(expected)}:
        return expected
    raise UnsupportedError(
        f"the model in {where} does not embed queries and documents alike",
        kind=ErrorKind.DIMENSION,
        checked="the vectors of some texts in both roles",
        expected=f"{expected or 'a dimension that the model knows'} in both",
        found="; ".join(f"{role}: {text}" for role, text in found.items()),
        done="nothing was written",
        hint="a model needs a route for queries and one for documents, of the same dimension, and "
        "its last module has to say the dimension that it gives",
    )


def _check_finite(vectors: Mapping[str, Vectors], where: str) -> None:
    wrong = [
        f"{role} {_TEXTS[index]!r}"
        for role, array in vectors.items()
        for index in np.flatnonzero(~np.isfinite(array).all(axis=1))
    ]
    if wrong:
        raise IntegrityError(
            f"the model in {where} gives vectors that are no numbers",
            kind=ErrorKind.NOT_REPRODUCIBLE,
            checked="the vectors of some texts in both roles, the empty text among them",
            expected="finite numbers",
            found=f"infinity or NaN for {', '.join(wrong[:3])}",
            done="nothing was written",
            hint="weights that are NaN come from a training that failed; pooling by maximum has no "
            "finite value where no token is left of a text",
        )


def _check_alone(
    alone: Mapping[str, Vectors], together: Mapping[str, Vectors], bar: float, where: str
) -> None:
    apart = max(
        compare_vectors(vectors, together[role][: len(vectors)], bars=_BARS, role=role)[
            0
        ].one_minus_cosine
        for role, vectors in alone.items()
    )
    if not apart <= bar:
        raise UnsupportedError(
            f"the model in {where} gives a text other vectors beside other texts",
            kind=ErrorKind.NOT_REPRODUCIBLE,
            checked="texts alone, and in one batch with a longer one",
            expected=f"1 - cosine of at most {bar:.0e}",
            found=f"{apart:.1e}",
            done="nothing was written: no recorded vector could say what a query gets",
            hint="a module reads the padding: give padding a vector of zeros (WordEmbeddings), or "
            "use a module that minds the attention mask",
        )
