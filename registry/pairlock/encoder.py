"""A loaded model as a plain function of texts, for code that does not use LlamaIndex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pairlock.manifest import Role
from pairlock.receipts import Receipt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Vectors(Protocol):
    """What computes the vectors."""

    def vectors(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Embed texts in one role: (n_texts, dimension) float32."""


class Encoder:
    """Texts in, vectors out, with the recorded instructions and settings; safe in any thread.

    Args:
        model: what computes the vectors.
        receipt: what was proved about it.
        recipe: the arguments of `pairlock.load` that load just this again.
    """

    def __init__(self, model: Vectors, receipt: Receipt, recipe: Mapping[str, Any]) -> None:
        self._model = model
        self._recipe = dict(recipe)
        self._pairlock_receipt = receipt

    def __call__(self, texts: Sequence[str], *, role: str = Role.QUERY) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: any number of texts.
            role: `query` or `text`: instructions and adapters differ by it.

        Returns:
            (n_texts, dimension) float32.

        Raises:
            ValueError: another role, or one text in place of a list.
        """
        if isinstance(texts, str):
            raise ValueError("give a list of texts, not one text")  # noqa: TRY004 - one error here
        return self._model.vectors(list(texts), Role(role))

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        return self._pairlock_receipt.dimension

    def __repr__(self) -> str:
        receipt = self._pairlock_receipt
        return f"<{type(self).__name__} {receipt.uri} {receipt.runtime} {receipt.package_digest}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return load_again, (self._recipe,)


def load_again(recipe: dict[str, Any]) -> Encoder:
    """Load the encoder that a pickle names.

    Raises:
        PairlockError: as `pairlock.load`.
    """
    import pairlock

    found: Any = pairlock.load(**recipe, interface="callable")
    assert isinstance(found, Encoder)
    return found
