"""An audit: what is read of a registry, and what is found out beside it, judged by the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pairlock.auditing.copies import damaged_copies
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.gathering import gather
from pairlock.auditing.golden import recompute
from pairlock.auditing.rules import in_order, judge
from pairlock.auditing.rules.view import View
from pairlock.config import current_settings
from pairlock.garbage import collector_on
from pairlock.index import StampedIndex
from pairlock.inventory import Inventory, VersionFacts
from pairlock.progress import SILENT, Progress


def judge_inventory(
    inventory: Inventory,
    *,
    policy: Path | None = None,
    deep: bool = False,
    golden: bool = False,
    wanted: Callable[[VersionFacts], bool] = lambda _version: True,
    allow: Iterable[str] = (),
    indexes: Iterable[StampedIndex] = (),
    progress: Progress = SILENT,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[AuditFinding, ...]:
    """Find everything that is wrong in a registry, or is going to be. Nothing is changed.

    Args:
        inventory: the registry as it was read. For `deep` it has to be read so too: its findings
            are about the bytes of packages, and those here about bases elsewhere and the cache.
        policy: the policy's file; else as `pairlock.promote`.
        deep: whether every byte of bases that are no registered package, and of this machine's
            cache, is hashed.
        golden: whether golden vectors are recomputed, once for each package.
        wanted: which versions' golden vectors; all.
        allow: as `pairlock.load`, for `golden`.
        indexes: stamped indexes, compared with the registry.
        progress: told about the work.
        stop: asked before everything that takes long; once it says True, that is left out.

    Returns:
        Every finding, the worst first, then by model, version, code and place.

    Raises:
        FormatError: the policy's file is no policy.
        InvalidInputError: it is named and is not there.
        StorageError: it cannot be read.
        UnsupportedError: a newer release made the cache; only for `deep`.
    """
    settings = current_settings(rehash=deep, allow=allow)
    view = View(inventory)
    known, unknown = gather(
        view,
        settings=settings,
        policy=policy,
        deep=deep,
        progress=progress,
        stop=stop,
    )
    known = replace(known, indexes=tuple(indexes))
    beside = list(unknown)
    if deep and not stop():
        with collector_on():
            beside += damaged_copies(view, settings, progress=progress)
    if golden:
        with collector_on():
            found = recompute(
                filter(wanted, inventory.versions()),
                allow=settings.allowed_classes,
                offline=settings.offline,
                progress=progress,
                stop=stop,
            )
        known = replace(known, proved=found.proved)
        beside += found.findings
    return in_order([*judge(view, known), *beside])
