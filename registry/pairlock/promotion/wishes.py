"""What somebody wants of an act, read and checked, and the version proved as they want it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairlock.errors import ErrorKind, IntegrityError, InvalidInputError, RefusedError
from pairlock.policy import (
    Acknowledgement,
    Gate,
    NoRegression,
    StagePolicy,
    parse_requirement,
    stricter_stage,
)
from pairlock.progress import Progress
from pairlock.promotion.facts import Version
from pairlock.verification import Verification, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How somebody wants a version to be examined, and what they say of it."""

    reason: str = ""
    reindex: str | None = None
    """planned or done."""

    index: Path | None = None
    """A persisted index that shall answer under the version."""

    base: str | None = None
    """As `pairlock.load`."""

    allow: tuple[str, ...] = ()
    """As `pairlock.load`."""

    policy: Path | None = None
    """The policy's file, in place of the one that is found."""


def with_arguments(
    policy: StagePolicy,
    require: Iterable[str],
    no_regression: Iterable[str],
    tolerance: float,
) -> StagePolicy:
    """What a stage asks for, and what the caller asks for beside it.

    Raises:
        InvalidInputError: an argument cannot be.
    """
    if not 0 <= tolerance < math.inf:
        raise InvalidInputError(
            f"a tolerance of {tolerance} cannot be",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="tolerance",
            expected="a finite number, 0 or more",
            found=str(tolerance),
            done="nothing was looked up",
            hint="say by how much the metric may be worse, such as 0.005",
        )
    asked = StagePolicy(
        require=tuple(parse_requirement(text) for text in require),
        no_regression=tuple(NoRegression(metric, tolerance) for metric in no_regression),
        bypass=policy.bypass,
    )
    return stricter_stage(policy, asked)


def bypassed_gates(
    names: Iterable[str], policy: StagePolicy, reason: str, stage: str
) -> frozenset[Gate]:
    """The gates that somebody wants to pass over.

    Raises:
        InvalidInputError: there is no such gate, or no reason is given.
        RefusedError: the policy does not let one be bypassed.
    """
    wanted: Sequence[str] = tuple(names)
    known = {gate.value: gate for gate in Gate}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidInputError(
            f"there is no gate {unknown[0]!r}",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the gates to bypass",
            expected=", ".join(known),
            found=unknown[0],
            done="nothing was changed",
            hint="`pairlock promote … --dry-run` lists the gates",
        )
    refused = [name for name in wanted if known[name] not in policy.bypass]
    if refused:
        allowed = ", ".join(sorted(gate.value for gate in policy.bypass))
        raise RefusedError(
            f"the gate {refused[0]} cannot be bypassed for {stage}",
            kind=ErrorKind.BYPASS_NOT_ALLOWED,
            checked=f"bypass of stage {stage} in the policy",
            expected=allowed or "no gate",
            found=refused[0],
            done="nothing was changed",
            hint="do what the gate asks for, or have the policy changed",
        )
    if wanted and not reason.strip():
        raise InvalidInputError(
            "a bypass needs a reason",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="reason",
            expected="why the gate shall not matter this time",
            found="nothing",
            done="nothing was changed",
            hint="add --reason TEXT; it stays in the ledger",
        )
    return frozenset(known[name] for name in wanted)


def acknowledgement(text: str | None) -> Acknowledgement | None:
    """What somebody says of the index.

    Raises:
        InvalidInputError: it says nothing.
    """
    if text is None:
        return None
    try:
        return Acknowledgement(text)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} says nothing about an index",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="reindex",
            expected=" or ".join(Acknowledgement),
            found=repr(text),
            done="nothing was changed",
            hint="planned: it will be made again; done: it was",
        ) from None


def verify_version(found: Version, wish: Wish, progress: Progress) -> Verification:
    """Prove a version: bytes, base, golden vectors.

    Raises:
        IntegrityError: it was changed since its manifest was read.
        PairlockError: as `pairlock.verify`.
    """
    verification = verify(
        found.located.uri, base=wish.base, allow=wish.allow, offline=False, progress=progress
    )
    if verification.package_digest != found.subject.package_digest:
        raise IntegrityError(
            f"{found.located.uri} was changed while it was looked at",
            kind=ErrorKind.FILE_CHANGED,
            checked="the manifest, read twice",
            expected=found.subject.package_digest,
            found=verification.package_digest,
            done="nothing was changed",
            hint="find out who writes to the store, and try again",
        )
    return verification
