"""`pairlock verify`: prove a version, list everything that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, BaseInstead, ExpectedDigest, FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output

if TYPE_CHECKING:
    from pairlock.verification import Verification


def verify(
    uri: Uri,
    base: BaseInstead = None,
    digest: ExpectedDigest = None,
    golden: Annotated[
        bool, typer.Option(help="Recompute the golden vectors, in float32 on the CPU.")
    ] = True,
    allow_class: AllowClass = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Prove a version, bytes and vectors. Lists everything that is wrong."""
    from pairlock.verification import verify as prove

    output = Output(format)
    found = prove(
        uri,
        base=base,
        golden=golden,
        expected_digest=digest,
        allow=allow_class or (),
        offline=offline,
        progress=output.progress(),
    )
    output.result(found.to_dict(), _text(found))
    return exit_codes.DONE if found.passed else exit_codes.NO


def _text(found: Verification) -> str:
    lines = [f"{found.uri}  {found.kind}  {found.package_digest}"]
    for check in found.checks:
        lines.append(f"{check.outcome.value:<8} {check.name}: {check.detail}")
        lines += [f"         {finding}" for finding in check.findings]
    lines.append("verified" if found.passed else "NOT what was approved; a load refuses it")
    return "\n".join(lines)
