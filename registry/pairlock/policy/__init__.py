"""Which gates guard which stage: rules, but for `finding`, which reads the file."""

from pairlock.policy.document import (
    DEFAULT_POLICY,
    NoRegression,
    Policy,
    Requirement,
    StagePolicy,
    parse_requirement,
    stage_problem,
)
from pairlock.policy.finding import POLICY_FILE, find_policy_file, read_policy_file
from pairlock.policy.gates import BYPASSABLE, Acknowledgement, Gate
from pairlock.policy.merging import stricter, stricter_stage
from pairlock.policy.reading import read_policy, read_stored_policy
from pairlock.policy.writing import policy_data, policy_digest, policy_text

__all__ = [
    "BYPASSABLE",
    "DEFAULT_POLICY",
    "POLICY_FILE",
    "Acknowledgement",
    "Gate",
    "NoRegression",
    "Policy",
    "Requirement",
    "StagePolicy",
    "find_policy_file",
    "parse_requirement",
    "policy_data",
    "policy_digest",
    "policy_text",
    "read_policy",
    "read_policy_file",
    "read_stored_policy",
    "stage_problem",
    "stricter",
    "stricter_stage",
]
