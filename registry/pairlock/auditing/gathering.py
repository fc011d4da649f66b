"""Finds out what the rules need beside the inventory: policies, libraries, metrics, folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pairlock.auditing.codes import Code
from pairlock.auditing.findings import AuditFinding
from pairlock.auditing.rules.known import BasePlace, Known, Numbered
from pairlock.auditing.rules.saying import of_version
from pairlock.auditing.rules.versions import COMPARED
from pairlock.auditing.rules.view import View, version_reference
from pairlock.bases import examine_base
from pairlock.catalog import DIGEST_TAG, Located
from pairlock.config import Settings
from pairlock.errors import (
    ErrorKind,
    FormatError,
    IntegrityError,
    NotFoundError,
    PairlockError,
    UnavailableError,
)
from pairlock.evaluation.recorded import Measured, recorded_metrics
from pairlock.in_force import POLICY_TAG, combined
from pairlock.installed import versions_of
from pairlock.inventory import Inventory, PackageState, PinFacts, VersionFacts
from pairlock.packages import read_package_manifest
from pairlock.policy import Policy, read_stored_policy
from pairlock.progress import Progress
from pairlock.references import FolderReference, parse_reference


def gather(
    view: View,
    *,
    settings: Settings,
    policy: Path | None,
    deep: bool,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[Known, tuple[AuditFinding, ...]]:
    """Find out all that the rules ask.

    Args:
        view: the inventory.
        settings: of this process.
        policy: the policy's file, as `policy_in_force`.
        deep: whether bases that are no registered package are hashed.
        progress: told about the bytes hashed.
        stop: asked before each question and each base; once it says True, no other follows.

    Returns:
        What is known, and what could not be found out.

    Raises:
        FormatError: the policy's file is no policy.
        InvalidInputError: the policy's file is not there.
        StorageError: it cannot be read.
    """
    policies, unreadable = _policies(view.inventory, policy, settings)
    measured, unknown = _measured(view, policies, stop)
    return Known(
        policies=policies,
        unreadable_policies=unreadable,
        installed=installed_libraries(),
        measured=measured,
        bases=_bases(view, settings, deep=deep, progress=progress, stop=stop),
    ), unknown


def installed_libraries() -> dict[str, str]:
    """Distribution to version, of those that vectors depend on and that are installed here."""
    return versions_of(COMPARED)


def located_of(found: VersionFacts) -> Located:
    """A version of an inventory as it would be looked up."""
    digest = found.tags.get(DIGEST_TAG)
    return Located(
        requested=found.uri,
        uri=found.uri,
        location=found.location,
        anchors={} if digest is None else {"version tag": digest},
        name=found.name,
        version=found.version,
        created_ms=found.created_ms,
    )


def _policies(
    inventory: Inventory, file: Path | None, settings: Settings
) -> tuple[dict[str, Policy], dict[str, str]]:
    """The policy of each model; each stored text is read once."""
    known: dict[str | None, Policy | str] = {
        None: combined(None, file=file, settings=settings).policy
    }
    policies, unreadable = {}, {}
    for model in inventory.models:
        text = model.tags.get(POLICY_TAG)
        if text not in known and text is not None:
            where = f"the tag {POLICY_TAG}"
            try:
                stored = (where, read_stored_policy(text, where=where))
            except FormatError as error:
                known[text] = "; ".join(map(str, error.findings)) or error.summary
            else:
                known[text] = combined(stored, file=file, settings=settings).policy
        found = known[text]
        if isinstance(found, Policy):
            policies[model.name] = found
        else:
            unreadable[model.name] = found
    return policies, unreadable


def _measured(
    view: View, policies: dict[str, Policy], stop: Callable[[], bool]
) -> tuple[dict[Numbered, tuple[Measured, ...]], tuple[AuditFinding, ...]]:
    """What was measured of the holders whose policy asks for it; the registry is asked for each."""
    found: dict[Numbered, tuple[Measured, ...]] = {}
    unknown = []
    away: UnavailableError | None = None
    for model, stage, held, holder in view.holders():
        if stop():
            break
        policy = policies.get(model.name)
        wanted = None if policy is None else policy.stages.get(stage)
        if holder is None or wanted is None or not wanted.require:
            continue
        key = (holder.name, holder.version)
        if key in found:
            continue
        try:
            if away is not None:
                raise away
            found[key] = recorded_metrics(located_of(holder), digest=held.package_digest)
        except PairlockError as error:
            if isinstance(error, UnavailableError):
                away = error  # every other question would wait as long
            unknown.append(
                of_version(
                    Code.NOT_PROVED,
                    holder,
                    stage=stage,
                    place="gate metrics",
                    expected="what was measured",
                    found=error.found or error.summary,
                )
            )
    return found, tuple(unknown)


def _bases(
    view: View,
    settings: Settings,
    *,
    deep: bool,
    progress: Progress,
    stop: Callable[[], bool],
) -> dict[tuple[str, str], BasePlace]:
    """Bases that are no registered package: folders by a look, all of them by a hash."""
    found: dict[tuple[str, str], BasePlace] = {}
    for pin, adapter in _unregistered(view):
        key = (pin.uri, pin.tree_digest)
        if key in found:
            continue
        place = None
        if deep and not stop() and adapter.package_state is PackageState.THERE:
            place = _hashed(pin, adapter, settings, progress)
        elif version_reference(pin.uri) is None:
            place = _looked_at(pin)
        if place is not None:
            found[key] = place
    return found


def _unregistered(view: View) -> Iterator[tuple[PinFacts, VersionFacts]]:
    for pin, adapters in view.pinned():
        reference = version_reference(pin.uri)
        if reference is not None:
            target = view.version(reference.name, reference.version)
            if pin.package_digest is not None or target is None:
                continue  # its own row says what there is to say
        for adapter in adapters:
            yield pin, adapter


def _looked_at(pin: PinFacts) -> BasePlace | None:
    try:
        reference = parse_reference(pin.uri)
    except PairlockError:
        return None
    if not isinstance(reference, FolderReference):
        return None  # nothing is asked over a network
    return BasePlace(missing=not reference.path.is_dir())


def _hashed(
    pin: PinFacts, adapter: VersionFacts, settings: Settings, progress: Progress
) -> BasePlace:
    """What is wrong with the files at a pin's own place."""
    try:
        manifest, _ = read_package_manifest(located_of(adapter), settings=settings)
        if manifest.base is None or manifest.base.tree_digest != pin.tree_digest:
            return BasePlace(problem="the adapter's manifest was changed meanwhile")
        _, findings = examine_base(
            manifest.base, instead=pin.uri, settings=settings, progress=progress
        )
    except NotFoundError as error:
        if error.kind is ErrorKind.BASE_NOT_FOUND:
            return BasePlace(missing=True)
        return BasePlace(problem=error.summary)
    except IntegrityError as error:
        return BasePlace(findings=error.findings, problem="" if error.findings else error.summary)
    except PairlockError as error:
        return BasePlace(problem=error.summary)
    return BasePlace(findings=findings)
