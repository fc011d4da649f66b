"""`pairlock pull`: a proved package on this machine's disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import ExpectedDigest, FormatOption, Uri
from pairlock.cli.output import Format, Output


def pull(
    uri: Uri,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Copy the package to this folder. Without it, prints where it lies now.",
            show_default=False,
        ),
    ] = None,
    digest: ExpectedDigest = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Prove every byte of a package, and print the folder it is in."""
    from pairlock.pull import pull as bring

    output = Output(format)
    package = bring(uri, to=to, expected_digest=digest, progress=output.progress())
    output.say(f"{package.proved.size_bytes:,} bytes verified, {package.digest}")
    output.result(
        {
            "path": str(package.root),
            "package_digest": package.digest,
            "bytes_verified": package.proved.size_bytes,
        },
        str(package.root),
    )
    return exit_codes.DONE
