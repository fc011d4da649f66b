"""Whether what filters name is anywhere in a registry: a slip of the pen is told. No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable

from pairlock.auditing.filters import Filters, selected_versions
from pairlock.auditing.versions import holdings
from pairlock.errors import ErrorKind, NotFoundError
from pairlock.inventory import Inventory
from pairlock.inventory.tags import pin_of
from pairlock.policy import DEFAULT_POLICY


def require_named(inventory: Inventory, filters: Filters) -> None:
    """Refuse a model, a stage or a base that is written out and that nothing knows.

    A pattern may match nothing. Of a part of a registry nothing can be said.

    Raises:
        NotFoundError: with what is nearest to it.
    """
    if not inventory.complete:
        return
    names = [model.name for model in inventory.models]
    _require(
        "registered model", filters.models, names, inventory, names.__contains__,
        kind=ErrorKind.MODEL_NOT_FOUND,
    )  # fmt: skip
    stages = _stages(inventory) if filters.stages else ()
    _require(
        "stage", filters.stages, stages, inventory, stages.__contains__,
        kind=ErrorKind.STAGE_UNKNOWN,
    )  # fmt: skip
    bases = _bases(inventory) if filters.bases else ()
    _require(
        "base", filters.bases, bases, inventory,
        lambda base: base in bases or bool(selected_versions(inventory, Filters(bases=(base,)))),
        kind=ErrorKind.BASE_NOT_FOUND,
    )  # fmt: skip


def _stages(inventory: Inventory) -> Collection[str]:
    """Stages and aliases that anything ever was in, and those that are usual everywhere."""
    found = set(DEFAULT_POLICY.stages)
    for model in inventory.models:
        found.update(name for held in holdings(model).values() for name in held.names)
        if model.ledger is not None:
            found |= model.ledger.ever_held
    return found


def _bases(inventory: Inventory) -> Collection[str]:
    """Every version and alias, and whatever anything is pinned to."""
    found = {one.uri for one in inventory.versions()}
    found |= {pin.uri for one in inventory.versions() if (pin := pin_of(one)) is not None}
    for model in inventory.models:
        found |= {f"models:/{model.name}@{alias}" for alias in model.aliases}
    return found


def _require(
    what: str,
    wanted: Iterable[str],
    known: Collection[str],
    inventory: Inventory,
    is_there: Callable[[str], bool],
    *,
    kind: ErrorKind,
) -> None:
    for name in wanted:
        if set(name) & set("*?[") or is_there(name):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1)
        raise NotFoundError(
            f"there is no {what} {name}",
            kind=kind,
            checked=inventory.registry,
            expected=f"a {what} {name}",
            found=f"{len(known)} others",
            done="nothing was audited",
            hint=f"did you mean {near[0]}?"
            if near
            else "a pattern, such as 'support-*', may match nothing"
            if kind is ErrorKind.MODEL_NOT_FOUND
            else "`pairlock audit` without it shows what there is",
        )
