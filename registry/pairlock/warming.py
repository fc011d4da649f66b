"""`pairlock warm`: everything that a first load would wait for, done before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pairlock._bridge import loading
from pairlock.compiling import compile_version
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.progress import SILENT, Progress
from pairlock.receipts import Receipt, receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """A version that this machine has whole, in the cache, and that it computes rightly."""

    receipt: Receipt
    compiled: bool
    """Whether a graph had to be made here."""

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        return {"compiled": self.compiled, "receipt": self.receipt.to_dict()}


def warm(
    uris: Iterable[str],
    *,
    runtime: str | None = None,
    dtype: str | None = None,
    allow: Iterable[str] = (),
    offline: bool | None = None,
    progress: Progress = SILENT,
) -> tuple[Warmed, ...]:
    """Pull versions with their bases, verify them, make missing graphs, and prove their vectors.

    For image builds and init containers: what is loaded later needs no store, and with
    `offline=True` no registry either.

    Args:
        uris: as `pairlock.load`.
        runtime: as `pairlock.load`. For the onnx runtime a version without a graph gets one, in
            this machine's cache, where torch is installed.
        dtype: as `pairlock.load`.
        allow: as `pairlock.load`.
        offline: as `pairlock.load`.
        progress: told about the work.

    Returns:
        What was loaded and proved, in the order of the URIs.

    Raises:
        PairlockError: as `pairlock.load`, of the first version that is not right. What was brought
            here before stays.
    """
    settings = current_settings(offline=offline, allow=allow)
    name = loading().runtime_name(runtime, settings)
    return tuple(_one(uri, name, dtype, tuple(allow), offline, progress) for uri in uris)


def _one(
    uri: str,
    runtime: str,
    dtype: str | None,
    allow: tuple[str, ...],
    offline: bool | None,
    progress: Progress,
) -> Warmed:
    def load() -> Receipt:
        found = loading().load(
            uri,
            # what is to be there later has to be in the cache, not in a folder beside it
            settings=current_settings(offline=offline, allow=allow, in_place=False),
            wish=loading().Wish(runtime=runtime, interface="callable", dtype=dtype, golden=True),
            progress=progress,
        )
        return receipt(found)

    try:
        return Warmed(receipt=load(), compiled=False)
    except NotFoundError as error:
        can = loading().is_installed("torch")
        if error.kind is not ErrorKind.RUNTIME_MISSING or not can:
            raise
    compile_version(
        uri,
        precision=dtype or "float32",
        store=False,
        allow=allow,
        offline=offline,
        progress=progress,
    )
    return Warmed(receipt=load(), compiled=True)
