"""`pairlock.audit`: reads a registry, judges it, and says what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pairlock.auditing.baseline_files import read_baseline_file
from pairlock.auditing.filters import Filters, selected_versions
from pairlock.auditing.naming import require_named
from pairlock.auditing.result import Audit, AuditOptions, assemble
from pairlock.garbage import collector_off
from pairlock.index import stamped_indexes
from pairlock.inventory import Inventory, VersionFacts
from pairlock.progress import SILENT, Progress


def audit(
    *,
    models: Iterable[str] = (),
    stages: Iterable[str] = (),
    bases: Iterable[str] = (),
    kinds: Iterable[str] = (),
    codes: Iterable[str] = (),
    severity: str | None = None,
    baseline: str | Path | None = None,
    deep: bool = False,
    golden: bool = False,
    policy: str | Path | None = None,
    allow: Iterable[str] = (),
    indexes: Iterable[str | Path] = (),
    jobs: int | None = None,
    remembered: bool = True,
    progress: Progress = SILENT,
    stop: Callable[[], bool] | None = None,
) -> Audit:
    """Find what is wrong in a registry, or is going to be.

    The whole registry is read in any case: what a version stands on may be anywhere. Filters choose
    what is shown, and whose bytes are hashed and vectors recomputed.

    Args:
        models: registered names, or patterns such as `support-*`.
        stages: of the ledger, or MLflow's aliases.
        bases: URIs as they are pinned, patterns of them, `models:/name@alias`, or the first digits
            of a digest.
        kinds: `full`, `linear`, `two_layer`, `custom`, `peft`, `foreign` or `unknown`.
        codes: see docs/audit.md.
        severity: `error`, `warning` or `note`: this bad at least.
        baseline: a file of accepted findings.
        deep: hash every byte of every version, or of the models of the versions asked for.
        golden: recompute the golden vectors, in float32 on the CPU.
        policy: the policy's file, by which holders of stages are judged; else as
            `pairlock.promote` finds it.
        allow: classes of other packages that may run, for `golden`; as `pairlock.load`.
        indexes: folders of stamped indexes, as `pairlock.index.read` takes them. Nothing in a
            registry says which indexes were built with it.
        jobs: how many requests at once; None: a number that suits most stores.
        remembered: use what an earlier audit on this machine read of versions that did not change.
        progress: told about the work.
        stop: asked now and then; once it says True, what was found so far is returned.

    Returns:
        Rows and findings; `complete` is False, with the problem, when it was stopped or the
        registry went away half-way.

    Raises:
        InvalidInputError: a filter, the baseline or the policy cannot be.
        FormatError: the policy cannot be read.
        NotFoundError: there is no model, stage or base of a name; an index is not there, or not
            stamped.
        UnavailableError: the registry cannot be reached at all.
        StorageError: the baseline cannot be read.
        PairlockError: every other reason why an index's stamp cannot be read.
    """
    from pairlock.auditing.auditing import judge_inventory

    began = time.monotonic()
    filters = Filters.of(
        models=models, stages=stages, bases=bases, kinds=kinds, codes=codes, severity=severity
    )
    accepted = None if baseline is None else read_baseline_file(Path(baseline))
    named = tuple(indexes)
    stamped = stamped_indexes(named)
    options = AuditOptions(
        filters=filters,
        deep=deep,
        golden=golden,
        policy=None if policy is None else str(policy),
        baseline=None if baseline is None else str(baseline),
        indexes=tuple(map(str, named)),
    )
    with collector_off():
        inventory = _look(options, jobs=jobs, remembered=remembered, progress=progress, stop=stop)
        versions = selected_versions(inventory, filters)
        findings = judge_inventory(
            inventory,
            policy=None if policy is None else Path(policy),
            deep=deep,
            golden=golden,
            wanted=lambda version: (version.name, version.version) in versions,
            allow=allow,
            indexes=stamped,
            progress=progress,
            stop=stop or (lambda: False),
        )
        if inventory.complete and stop is not None and stop():
            problem = "it was stopped when everything was looked at, and not all of it was judged"
            inventory = replace(inventory, complete=False, problem=problem)
        found = assemble(inventory, findings, options=options, baseline=accepted, indexes=stamped)
    return replace(found, seconds=time.monotonic() - began)


def _look(
    options: AuditOptions,
    *,
    jobs: int | None,
    remembered: bool,
    progress: Progress,
    stop: Callable[[], bool] | None,
) -> Inventory:
    """The registry; where only some versions are asked for, every byte of their models only."""
    from pairlock.inventory import take

    filters = options.filters
    whole = take(
        deep=options.deep and not filters.narrow_versions,
        jobs=jobs,
        remembered=remembered,
        progress=progress,
        stop=stop,
    )
    require_named(whole, filters)
    if not options.deep or not filters.narrow_versions or not whole.complete:
        return whole
    names = tuple(sorted({name for name, _ in selected_versions(whole, filters)}))
    if not names:
        return whole
    part = take(
        names=names, deep=True, jobs=jobs, remembered=remembered, progress=progress, stop=stop
    )
    return overlaid(whole, part)


def overlaid(whole: Inventory, part: Inventory) -> Inventory:
    """The whole inventory with those versions of it that were looked at more closely.

    A part that broke off takes nothing away.
    """
    closer = {(one.name, one.version): one for one in part.versions()}

    def chosen(version: VersionFacts) -> VersionFacts:
        return closer.get((version.name, version.version), version)

    return replace(
        whole,
        models=tuple(
            replace(model, versions=tuple(chosen(version) for version in model.versions))
            for model in whole.models
        ),
        complete=whole.complete and part.complete,
        problem=whole.problem or part.problem,
    )
