"""The names of the gates, and which of them somebody may pass with a reason."""

from __future__ import annotations

from enum import StrEnum


class Gate(StrEnum):
    """What a promotion has to pass."""

    INTEGRITY = "integrity"
    """Every file of the package and of its base is the one that was registered."""

    GOLDEN = "golden"
    """The golden vectors come out as they were recorded."""

    PAIRING = "pairing"
    """The base is there, with the right digest, and in a stage that the policy asks for."""

    FROM = "from"
    """The version holds a stage that it has to come from."""

    METRICS = "metrics"
    """Metrics reach their bounds."""

    REGRESSION = "regression"
    """Metrics are not worse than those of the present holder, on the same dataset."""

    AGE = "age"
    """The version was registered long enough ago."""

    APPROVALS = "approvals"
    """Other people agreed."""

    SIGNATURE = "signature"
    """The version is signed."""

    REINDEX = "reindex"
    """Somebody acknowledged that the vector index has to be made again."""

    INDEX = "index"
    """A given index holds vectors that may be compared with the version's."""

    ALIAS = "alias"
    """The stage's alias points to where the ledger says."""


BYPASSABLE = frozenset(
    {Gate.PAIRING, Gate.FROM, Gate.METRICS, Gate.REGRESSION, Gate.AGE, Gate.APPROVALS}
)
"""Gates that a policy may allow to bypass. Of `pairing` only the base's stage is ever bypassed: a
base that is not there, or not the one that was pinned, is no question of policy."""


class Acknowledgement(StrEnum):
    """What somebody says of a re-index that is needed."""

    PLANNED = "planned"
    DONE = "done"

    def covers(self, asked: Acknowledgement) -> bool:
        """Whether it is at least what is asked for."""
        return self is Acknowledgement.DONE or asked is Acknowledgement.PLANNED
