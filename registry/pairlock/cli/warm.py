"""`pairlock warm`: everything that a first load would wait for, done before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, FormatOption, Offline, RuntimeOption
from pairlock.cli.output import Format, Output, size, table

if TYPE_CHECKING:
    from pairlock.footprint import Footprint
    from pairlock.warming import Warmed


def warm(
    uris: Annotated[
        list[str],
        typer.Argument(
            metavar="URI...",
            help="models:/name/3, models:/name@alias, and whatever else can be loaded.",
            show_default=False,
        ),
    ],
    runtime: RuntimeOption = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="What it is to be loaded in later; int8 for the onnx runtime.", show_default=False
        ),
    ] = None,
    sizes: Annotated[
        bool,
        typer.Option("--sizes", help="Also say how large an image is with torch and without."),
    ] = False,
    allow_class: AllowClass = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Pull versions with their bases, verify, compile and prove them: for image builds.

    Prints a line for each version.
    """
    from pairlock.footprint import footprint
    from pairlock.warming import warm as bring

    output = Output(format)
    warmed = bring(
        uris,
        runtime=runtime,
        dtype=dtype,
        allow=allow_class or (),
        offline=offline,
        progress=output.progress(),
    )
    extras = [footprint("serve"), footprint("torch")] if sizes else []
    for one in warmed:
        for warning in one.receipt.warnings:
            output.say(f"warning: {warning}")
    text = "\n".join(_line(one) for one in warmed)
    if extras:
        text += "\n\n" + table([_size_row(found) for found in extras])
    output.result(
        {
            "warmed": [one.to_dict() for one in warmed],
            "installed": {
                found.extra: {
                    "distributions": found.distributions,
                    "bytes": found.size_bytes,
                    "missing": list(found.missing),
                }
                for found in extras
            },
        },
        text,
    )
    return exit_codes.DONE


def _line(one: Warmed) -> str:
    found = one.receipt
    golden = next((check for check in found.checks if check.name == "golden vectors"), None)
    compiled = ", graph made here" if one.compiled else ""
    proved = f", {golden.detail}" if golden is not None else ""
    return (
        f"{found.uri}  {found.runtime}  {found.package_digest}  "
        f"{size(found.bytes_verified)} verified{compiled}{proved}"
    )


def _size_row(found: Footprint) -> tuple[str, str]:
    without = f"; not installed here: {', '.join(found.missing)}" if found.missing else ""
    return (
        f"pairlock[{found.extra}]",
        f"{size(found.size_bytes)} in {found.distributions} distributions{without}",
    )
