"""`pairlock policy`: which gates guard which stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption
from pairlock.cli.output import Format, Output, table
from pairlock.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from pairlock.policy import Policy, StagePolicy

Name = Annotated[str, typer.Argument(metavar="NAME", help="The registered model.")]
PolicyFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="The policy; else PAIRLOCK_POLICY, or pairlock.toml here or in a folder above.",
        show_default=False,
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="The policy's file; else PAIRLOCK_POLICY, or pairlock.toml here or in a folder above.",
        show_default=False,
    ),
]


def check(file: PolicyFile = None, format: FormatOption = Format.HUMAN) -> int:
    """Read a policy, and list everything that is wrong with it."""
    from pairlock.config import current_settings
    from pairlock.policy import DEFAULT_POLICY, find_policy_file, policy_digest, read_policy_file

    path = find_policy_file(current_settings(), file=file)
    policy = DEFAULT_POLICY if path is None else read_policy_file(path)
    where = "no pairlock.toml was found; this is the default policy" if path is None else str(path)
    rows = [("policy", where), *_rows(policy)]
    Output(format).result(
        {
            "file": None if path is None else str(path),
            "digest": policy_digest(policy),
            **_data(policy),
        },
        table(rows),
    )
    return exit_codes.DONE


def show(name: Name, policy: PolicyOption = None, format: FormatOption = Format.HUMAN) -> int:
    """Show the policy in force for a registered model, and where it comes from."""
    from pairlock.config import current_settings
    from pairlock.in_force import policy_in_force

    found = policy_in_force(name, file=policy, settings=current_settings())
    rows = [("policy", where) for where in found.sources]
    rows += [("digest", found.digest), *_rows(found.policy)]
    Output(format).result(
        {"sources": list(found.sources), "digest": found.digest, **_data(found.policy)}, table(rows)
    )
    return exit_codes.DONE


def store(
    name: Name,
    file: PolicyFile = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the policy off the registered model.")
    ] = False,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Keep a policy on the registered model, for whoever promotes it, beside their own file."""
    from pairlock.config import current_settings
    from pairlock.in_force import remove_policy, store_policy
    from pairlock.policy import find_policy_file, policy_digest, read_policy_file

    output = Output(format)
    if remove:
        if file is not None:
            raise _nothing_to_store("a file and --remove", "give one of the two")
        was_there = remove_policy(name)
        words = f"{name} no longer has a policy" if was_there else f"{name} had no policy"
        output.result({"name": name, "removed": was_there}, words)
        return exit_codes.DONE
    path = find_policy_file(current_settings(), file=file)
    if path is None:
        raise _nothing_to_store("no pairlock.toml", "name the file to store")
    policy = read_policy_file(path)
    store_policy(name, policy)
    output.result(
        {"name": name, "file": str(path), "digest": policy_digest(policy), **_data(policy)},
        f"{name} has the policy of {path}",
    )
    return exit_codes.DONE


def _nothing_to_store(found: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        "it is not clear what to store",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="the arguments",
        expected="a policy's file, or --remove",
        found=found,
        done="nothing was stored or removed",
        hint=hint,
    )


def _data(policy: Policy) -> dict[str, object]:
    from pairlock.policy import policy_data

    return policy_data(policy)


def _rows(policy: Policy) -> list[tuple[str, str]]:
    return [(f"stage {name}", _words(stage)) for name, stage in policy.stages.items()] or [
        ("stages", "none, so nothing can be promoted")
    ]


def _words(stage: StagePolicy) -> str:
    """A stage's rules in one line; those that hold always are not repeated."""
    parts = [f"from {' or '.join(sorted(one))}" for one in stage.from_stages]
    parts += [str(item) for item in stage.require]
    parts += [
        f"{rule.metric} at most {rule.tolerance:g} worse than the holder's"
        for rule in stage.no_regression
    ]
    parts += [f"base in {' or '.join(sorted(one))}" for one in stage.base_stages]
    if stage.min_age_hours:
        parts.append(f"registered {stage.min_age_hours:g} hours ago")
    if stage.approvals:
        parts.append(f"approvals by others: {stage.approvals}")
    if stage.signature:
        parts.append("signed, which this release cannot check")
    parts.append(f"a needed re-index {stage.reindex}")
    if stage.bypass:
        parts.append(f"may be bypassed: {', '.join(sorted(stage.bypass))}")
    return "; ".join(parts)
