"""`pairlock show`: what a version is, without reading its weights."""

from __future__ import annotations

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output, table


def show(uri: Uri, offline: Offline = None, format: FormatOption = Format.HUMAN) -> int:
    """Show what a version is and what it stands on. Reads its manifest, not its weights."""
    from pairlock.profiling import describe_profile
    from pairlock.show import show as describe
    from pairlock.summary import summary_rows

    found = describe(uri, offline=offline)
    rows = [
        ("uri", found.located.uri),
        ("location", found.located.location),
        ("digest recorded by", ", ".join(found.anchors) or "nothing outside the package"),
        *summary_rows(found.manifest, found.digest),
        *((f"profile {name}", describe_profile(data)) for name, data in found.profiles.items()),
    ]
    Output(format).result(found.to_dict(), table(rows))
    return exit_codes.DONE
