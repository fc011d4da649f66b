"""`pairlock export` and `pairlock import`: packages and bases for machines without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import BaseInstead, ExpectedDigest, FormatOption, Offline
from pairlock.cli.output import Format, Output, size


def export(
    uris: Annotated[
        list[str],
        typer.Argument(
            metavar="URI...", help="What to export, as for pairlock pull.", show_default=False
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(help="A folder that does not exist yet, or is empty.", show_default=False),
    ],
    base: BaseInstead = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Write packages and the bases they stand on into one folder. Prints it."""
    from pairlock.carrying import export_packages
    from pairlock.references import absolute_folder

    output = Output(format)
    carried = export_packages(uris, to, base=base, offline=offline, progress=output.progress())
    for one in carried:
        stands = f", with its base {one.base_tree_digest}" if one.base_tree_digest else ""
        output.say(f"{one.uri}: {one.package_digest}{stands}")
    output.result(
        {"path": str(absolute_folder(to)), "packages": [one.to_dict() for one in carried]},
        str(to),
    )
    return exit_codes.DONE


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `export` wrote.", show_default=False)
    ],
    digest: ExpectedDigest = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take the name of another package imported before."),
    ] = False,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Bring an export into the cache, proved. Prints what now loads with --offline."""
    from pairlock.carrying import import_packages

    output = Output(format)
    carried = import_packages(
        source, expected_digest=digest, replace=replace, progress=output.progress()
    )
    for one in carried:
        output.say(f"{one.uri}: {one.package_digest}, {size(one.fetched_bytes)} were new here")
    output.result(
        {"packages": [one.to_dict() for one in carried]}, "\n".join(one.uri for one in carried)
    )
    return exit_codes.DONE
