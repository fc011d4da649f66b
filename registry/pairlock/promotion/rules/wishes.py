"""What somebody wants of an act, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pairlock.errors import ErrorKind, InvalidInputError, RefusedError
from pairlock.metrics import NAME
from pairlock.policy import (
    Acknowledgement,
    Gate,
    NoRegression,
    StagePolicy,
    parse_requirement,
    stricter_stage,
)


class PromotionOptions(TypedDict, total=False):
    """What may be said of a promotion. `pairlock.plan_promotion` says what each is."""

    require: Iterable[str]
    no_regression: Iterable[str]
    tolerance: float
    reindex: str | None
    index: str | Path | None
    bypass: Iterable[str]
    reason: str
    policy: str | Path | None
    base: str | None
    allow: Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How somebody wants a version to be examined, and what they say of it."""

    require: tuple[str, ...] = ()
    no_regression: tuple[str, ...] = ()
    tolerance: float = 0.0
    reindex: str | None = None
    index: Path | None = None
    bypass: tuple[str, ...] = ()
    reason: str = ""
    policy: Path | None = None
    base: str | None = None
    allow: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        require: Iterable[str] = (),
        no_regression: Iterable[str] = (),
        tolerance: float = 0.0,
        reindex: str | None = None,
        index: str | Path | None = None,
        bypass: Iterable[str] = (),
        reason: str = "",
        policy: str | Path | None = None,
        base: str | None = None,
        allow: Iterable[str] = (),
    ) -> Wish:
        """Take what a user gave: any iterables, and paths as text.

        Args:
            require: requirements beside the policy's, such as `ndcg@10>=0.7`.
            no_regression: metrics that may not be worse than the present holder's.
            tolerance: by how much they may, in the metric's unit.
            reindex: `planned` or `done`.
            index: a persisted index that shall answer under the version.
            bypass: gates to pass over.
            reason: why; kept in the ledger.
            policy: the policy's file, in place of the one that is found.
            base: as `pairlock.load`.
            allow: as `pairlock.load`.
        """
        return cls(
            require=tuple(require),
            no_regression=tuple(no_regression),
            tolerance=tolerance,
            reindex=reindex,
            index=None if index is None else Path(index),
            bypass=tuple(bypass),
            reason=reason,
            policy=None if policy is None else Path(policy),
            base=base,
            allow=tuple(allow),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a version for a stage, by the policy and by the caller."""

    policy: StagePolicy
    """What the stage asks for, and what the caller asks for beside it."""

    bypassed: frozenset[Gate]
    acknowledged: Acknowledgement | None
    reason: str

    @property
    def metrics(self) -> bool:
        """Whether anything is asked of what was measured. What is not, is not looked up."""
        return bool(self.policy.require or self.policy.no_regression)


def asked_of(policy: StagePolicy, wish: Wish, stage: str) -> Asked:
    """Put together what a stage asks for and what somebody wants.

    Raises:
        InvalidInputError: an argument cannot be.
        RefusedError: the policy does not let a gate be bypassed.
    """
    asked = with_arguments(policy, wish.require, wish.no_regression, wish.tolerance)
    return Asked(
        policy=asked,
        bypassed=bypassed_gates(wish.bypass, asked, wish.reason, stage),
        acknowledged=acknowledgement(wish.reindex),
        reason=wish.reason,
    )


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
        no_regression=tuple(NoRegression(_metric(name), tolerance) for name in no_regression),
        bypass=policy.bypass,
    )
    return stricter_stage(policy, asked)


def _metric(name: str) -> str:
    """A metric's name; another one would be compared with nothing until a version is there."""
    if re.fullmatch(NAME, name):
        return name
    raise InvalidInputError(
        f"{name!r} is not the name of a metric",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="no_regression",
        expected="the name of a metric, such as ndcg@10",
        found=repr(name),
        done="nothing was looked up",
        hint="name the metric only; `tolerance` says how much worse it may be, `require` bounds it",
    )


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
