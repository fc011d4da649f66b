"""A policy as frozen data: which gates guard which stage. See `docs/policy.md`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.metrics import NAME, mlflow_metric_name
from pairlock.policy.gates import Acknowledgement, Gate

STAGE_NAME = r"[\w-]{1,255}"
"""What MLflow 3.17 takes as an alias (`mlflow.utils.validation`)."""

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_REQUIREMENT = re.compile(
    rf"\s*({NAME})\s*(>=|<=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII
)

AnyOfEach = tuple[frozenset[str], ...]
"""Sets of stages; one of each set is needed."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound on a metric, such as `ndcg@10>=0.7`."""

    metric: str
    operator: str
    """`>=`, `<=`, `>` or `<`."""

    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.bound!r}"

    @property
    def key(self) -> tuple[str, str]:
        """What two requirements have in common of which one implies the other."""
        return mlflow_metric_name(self.metric), self.operator

    def holds(self, value: float) -> bool:
        """Whether a value reaches the bound; NaN and infinities never do."""
        return math.isfinite(value) and bool(_OPERATORS[self.operator](value, self.bound))


def parse_requirement(text: str) -> Requirement:
    """Read a requirement: a metric, one of `>= <= > <`, and a decimal number.

    Raises:
        InvalidInputError: it is none.
    """
    match = _REQUIREMENT.fullmatch(text)
    bound = float(match.group(3)) if match else math.nan
    if match is None or not math.isfinite(bound):
        raise InvalidInputError(
            f"{text!r} is no requirement",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the requirement",
            expected="a metric, one of >= <= > <, and a finite number, such as ndcg@10>=0.70",
            found=repr(text),
            done="nothing was looked up",
            hint="write one requirement as one text, and quote it in a shell: 'ndcg@10>=0.70'",
        )
    return Requirement(match.group(1), match.group(2), bound + 0.0)  # + 0.0: -0.0 is 0.0


@dataclass(frozen=True, slots=True)
class NoRegression:
    """A metric that may not be worse than the present holder's. More of it is better."""

    metric: str
    tolerance: float
    """How much less it may be, in the metric's own unit; not negative."""

    @property
    def key(self) -> str:
        """The metric, as MLflow calls it."""
        return mlflow_metric_name(self.metric)

    def holds(self, value: float, holder: float) -> bool:
        """Whether a value is good enough beside the holder's; NaN and infinities never are."""
        are_numbers = math.isfinite(value) and math.isfinite(holder)
        return are_numbers and value >= holder - self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePolicy:
    """What a version has to pass to come into a stage. Without arguments: no more than always.

    Two that mean the same are equal: orders and what follows from the rest do not matter.
    """

    from_stages: AnyOfEach = ()
    """The version must hold one stage of each set when it is promoted. TOML: `from`."""

    require: tuple[Requirement, ...] = ()
    """All must hold; one of a metric and operator."""

    no_regression: tuple[NoRegression, ...] = ()
    """All must hold; one of a metric."""

    base_stages: AnyOfEach = ()
    """An adapter's base must hold one stage of each set; one that is no version holds none."""

    min_age_hours: float = 0.0
    """Hours since the version was registered."""

    approvals: int = 0
    """People who agreed, other than the one who asked."""

    signature: bool = False
    reindex: Acknowledgement = Acknowledgement.PLANNED
    """The least that acknowledges a re-index that is needed."""

    bypass: frozenset[Gate] = frozenset()
    """Gates that may be bypassed with a reason."""

    def __post_init__(self) -> None:
        one_way = {
            "from_stages": smallest_sets(self.from_stages),
            "base_stages": smallest_sets(self.base_stages),
            "require": tuple(sorted(self.require, key=lambda item: (item.key, item.bound))),
            "no_regression": tuple(sorted(self.no_regression, key=lambda item: item.key)),
        }
        for name, value in one_way.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Policy:
    """What has to be passed, by stage. A stage that is not named cannot be promoted to."""

    stages: Mapping[str, StagePolicy] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", MappingProxyType(dict(sorted(self.stages.items()))))


def smallest_sets(sets: Iterable[frozenset[str]]) -> AnyOfEach:
    """The sets without those that hold another one, which is then the harder to meet; in order."""
    distinct = set(sets)
    smallest = [one for one in distinct if not any(other < one for other in distinct)]
    return tuple(sorted(smallest, key=sorted))


def stage_problem(name: str) -> str | None:
    """Why a name cannot be a stage, which is an alias in MLflow; None when it can."""
    if not re.fullmatch(STAGE_NAME, name):
        return "1 to 255 letters, digits, - and _"
    if name.lower() == "latest" or re.fullmatch(r"[vV]\d+", name):
        return "a name that MLflow does not keep for itself, as it does `latest` and `v<digits>`"
    return None


DEFAULT_POLICY = Policy({"staging": StagePolicy(), "production": StagePolicy()})
"""What holds where nobody wrote a policy: two stages, and what every promotion passes."""
