"""`pairlock pull`: a proved package on this machine's disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import BaseInstead, ExpectedDigest, FormatOption, Offline, Rehash, Uri
from pairlock.cli.output import Format, Output, duration, size


def pull(
    uri: Uri,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Copy the package to this folder. Without it, what lies in a local folder stays "
            "there, and anything else is brought into the cache.",
            show_default=False,
        ),
    ] = None,
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Also bring the base of an adapter.")
    ] = False,
    base: BaseInstead = None,
    digest: ExpectedDigest = None,
    offline: Offline = None,
    rehash: Rehash = False,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Prove every byte of a package, and print the folder it is in."""
    from pairlock.pulling import pull as bring

    output = Output(format)
    pulled = bring(
        uri,
        to=to,
        with_base=with_base,
        base=base,
        expected_digest=digest,
        offline=offline,
        rehash=rehash,
        progress=output.progress(),
    )
    package, found = pulled.package, pulled.base
    for warning in pulled.warnings:
        output.say(f"warning: {warning}")
    if (remembered := package.located.remembered_at) is not None:
        age_s = max(0.0, time.time() - remembered)
        output.say(f"offline: the registry's answer is {duration(age_s)} old")
    if pulled.fetched_bytes:
        here = size(pulled.verified_bytes - pulled.fetched_bytes)
        output.say(f"fetched {size(pulled.fetched_bytes)}; {here} were here already")
    if found is not None:
        output.say(f"base: {found.uri}, from {found.requested}")
    output.say(f"{pulled.verified_bytes:,} bytes verified, {package.digest}")
    output.result(
        {
            "path": str(pulled.path),
            "uri": package.located.uri,
            "package_digest": package.digest,
            "base_path": None if found is None else str(found.proved.store.root),
            "base_found_at": None if found is None else found.requested,
            "bytes_verified": pulled.verified_bytes,
            "bytes_fetched": pulled.fetched_bytes,
            "warnings": list(pulled.warnings),
        },
        str(pulled.path),
    )
    return exit_codes.DONE
