"""What may be removed from a cache, decided first and removed afterwards.

Nothing that was used or written lately is removed, so that a load which is under way keeps its
files; what is removed all the same is fetched again, and who has a file open keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.cache.folder import CacheFolder, writing
from pairlock.cache.survey import Survey, ViewFacts
from pairlock.cache.views import View, ViewKey

GRACE_S = 600.0
"""What was used or written within this time stays."""

ABANDONED_S = 3600.0
"""An unfinished file that did not grow for so long belongs to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One thing to remove."""

    what: str
    """package, base model, file or unfinished file."""

    name: str
    """A digest, or a file's name."""

    path: Path
    freed_bytes: int
    reason: str
    key: ViewKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What will be removed, and what stays although it was asked for."""

    root: Path
    planned_at: float
    """Seconds since 1970."""

    removals: tuple[Removal, ...]
    kept: tuple[str, ...]
    """Why things stay, one line each."""

    @property
    def freed_bytes(self) -> int:
        """How much space becomes free."""
        return sum(removal.freed_bytes for removal in self.removals)

    def to_dict(self) -> Mapping[str, Any]:
        """The plan as JSON data."""
        return {
            "cache": str(self.root),
            "freed_bytes": self.freed_bytes,
            "removals": [
                {
                    "what": item.what,
                    "name": item.name,
                    "freed_bytes": item.freed_bytes,
                    "reason": item.reason,
                }
                for item in self.removals
            ],
            "kept": list(self.kept),
        }


def plan_prune(
    survey: Survey, *, now: float, unused_for_s: float | None = None, everything: bool = False
) -> PrunePlan:
    """Decide what to remove. Pure.

    Args:
        survey: what lies in the cache.
        now: seconds since 1970.
        unused_for_s: remove packages and base models that were not used for so long; None: none.
        everything: remove all packages and base models that are not in use.

    Returns:
        The plan: views first, then the files that no remaining view needs, then what was never
        finished.
    """
    limit_s = 0.0 if everything else unused_for_s
    going = [view for view in survey.views if _goes(view, now, limit_s)]
    staying = [view for view in survey.views if view not in going]
    needed = frozenset().union(*(view.contents for view in staying))
    removals = [_removal_of(view, now) for view in going]
    kept = [
        f"{view.kind.label} {view.digest}: used within the last {GRACE_S / 60:.0f} minutes"
        for view in staying
        if limit_s is not None and now - view.used_at < GRACE_S
    ]
    was_needed = frozenset().union(*(view.contents for view in going))
    for blob in survey.blobs:
        if blob.path.name in needed:
            continue
        if blob.path.name not in was_needed and now - blob.changed_at < GRACE_S:
            kept.append(f"file {blob.path.name}: written within the last minutes")
            continue
        removals.append(
            Removal(
                what="file",
                name=blob.path.name,
                path=blob.path,
                freed_bytes=blob.size_bytes,
                reason="no package or base model that stays needs it",
            )
        )
    removals += [
        Removal(
            what="unfinished file",
            name=file.path.name,
            path=file.path,
            freed_bytes=file.size_bytes,
            reason="left by a process that ended",
        )
        for file in survey.unfinished
        if now - file.changed_at >= ABANDONED_S
    ]
    return PrunePlan(root=survey.root, planned_at=now, removals=tuple(removals), kept=tuple(kept))


def execute_prune(folder: CacheFolder, plan: PrunePlan) -> None:
    """Remove what a plan says.

    Args:
        folder: the cache.
        plan: what to remove. What is gone already, or was used since, is passed over.

    Raises:
        StorageError: the cache cannot be written.
    """
    if not plan.removals:
        return
    with writing(folder):
        folder.prepare()
        probe = folder.unique("prune", "probe")
        probe.touch()
        probe.unlink()
    for removal in plan.removals:
        if removal.key is not None:
            view = View(folder, removal.key)
            if view.used_at() <= plan.planned_at:
                view.remove()
        else:
            folder.set_aside(removal.path)


def _goes(view: ViewFacts, now: float, limit_s: float | None) -> bool:
    idle_s = now - view.used_at
    return limit_s is not None and idle_s >= max(limit_s, GRACE_S)


def _removal_of(view: ViewFacts, now: float) -> Removal:
    days = (now - view.used_at) / 86400
    return Removal(
        what=view.kind.label,
        name=view.digest,
        path=Path(),
        freed_bytes=view.own_bytes,
        reason=f"not used for {days:.1f} days",
        key=ViewKey(view.kind, view.digest),
    )
