"""The policy in force for a registered model: the file's and the model's own, both kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pairlock.catalog import (
    MAX_TAG_CHARACTERS,
    delete_model_tag,
    registered_model,
    set_model_tag,
)
from pairlock.config import Settings
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.policy import (
    DEFAULT_POLICY,
    Policy,
    find_policy_file,
    policy_digest,
    policy_text,
    read_policy_file,
    read_stored_policy,
    stricter,
)
from pairlock.references import check_model_name

POLICY_TAG = "pairlock.policy"
"""Tag on a registered model: its policy, as canonical JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What a promotion has to pass now."""

    policy: Policy
    digest: str
    """`sha256:<hex>` of the policy."""

    sources: tuple[str, ...]
    """Where it comes from, for a person; one entry for the default."""


def policy_in_force(name: str, *, file: Path | None = None, settings: Settings) -> InForce:
    """The policy in force for a registered model.

    Where both a file and the model have a policy, both hold. Where neither has, the default does.

    Args:
        name: the registered model.
        file: the file that the caller names; None to look for one.
        settings: of this process.

    Raises:
        FormatError: one of the two is no policy.
        InvalidInputError: the file that is named is not there, or the name cannot be.
        NotFoundError: there is no such registered model.
        StorageError: the file cannot be read.
        UnavailableError: the registry did not answer.
    """
    check_model_name(name)
    return combined(stored_policy(name), file=file, settings=settings)


def stored_policy(name: str) -> tuple[str, Policy] | None:
    """The policy that is kept on a registered model, and what to call it; None for none.

    Raises:
        FormatError: it is no policy.
        NotFoundError: there is no such registered model.
        UnavailableError: the registry did not answer.
    """
    stored = registered_model(name).tags.get(POLICY_TAG)
    if stored is None:
        return None
    where = f"the tag {POLICY_TAG} of {name}"
    return where, read_stored_policy(stored, where=where)


def combined(
    stored: tuple[str, Policy] | None, *, file: Path | None = None, settings: Settings
) -> InForce:
    """A stored policy with the file's: both hold, and where neither is there, the default does.

    Args:
        stored: as `stored_policy`.
        file: as `policy_in_force`.
        settings: of this process.

    Raises:
        FormatError: the file holds no policy.
        InvalidInputError: the file that is named is not there.
        StorageError: the file cannot be read.
    """
    found: list[tuple[str, Policy]] = []
    path = find_policy_file(settings, file=file)
    if path is not None:
        found.append((str(path), read_policy_file(path)))
    if stored is not None:
        found.append(stored)
    policy = found[0][1] if found else DEFAULT_POLICY
    for _, other in found[1:]:
        policy = stricter(policy, other)
    return InForce(
        policy=policy,
        digest=policy_digest(policy),
        sources=tuple(where for where, _ in found) or ("the default policy",),
    )


def store_policy(name: str, policy: Policy) -> None:
    """Keep a policy on a registered model, in place of the one that is there.

    Raises:
        InvalidInputError: it is too long for a tag, or the name cannot be.
        NotFoundError: there is no such registered model.
        UnavailableError: the registry is not there, or did not take it.
    """
    check_model_name(name)
    text = policy_text(policy)
    if len(text) > MAX_TAG_CHARACTERS:
        raise InvalidInputError(
            "the policy is too long to be kept on a registered model",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the policy as JSON",
            expected=f"at most {MAX_TAG_CHARACTERS} characters",
            found=f"{len(text)} characters",
            done="nothing was stored",
            hint="store the stages of this model only, and keep the others in pairlock.toml",
        )
    set_model_tag(name, POLICY_TAG, text)


def remove_policy(name: str) -> bool:
    """Take the policy off a registered model.

    Returns:
        Whether there was one.

    Raises:
        InvalidInputError: the name cannot be.
        NotFoundError: there is no such registered model.
        UnavailableError: the registry is not there, or refused.
    """
    check_model_name(name)
    was_there = POLICY_TAG in registered_model(name).tags
    if was_there:
        delete_model_tag(name, POLICY_TAG)
    return was_there
