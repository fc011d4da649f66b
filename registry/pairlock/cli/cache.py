"""`pairlock cache`: what this machine keeps of what it fetched."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import FormatOption
from pairlock.cli.output import Format, Output, columns, duration, size
from pairlock.wording import counted


def list_(format: FormatOption = Format.HUMAN) -> int:
    """List the packages and base models in the cache, and what they weigh."""
    from pairlock.cache import CacheFolder
    from pairlock.cache.survey import survey
    from pairlock.config import current_settings

    output = Output(format)
    found = survey(CacheFolder(current_settings().cache))
    now = time.time()
    views = sorted(found.views, key=lambda view: -view.used_at)
    rows = [("what", "digest", "size", "last used", "asked for as")]
    rows += [
        (
            view.kind.label,
            view.digest[:19],
            size(view.size_bytes),
            f"{duration(now - view.used_at)} ago",
            ", ".join(view.names) or "-",
        )
        for view in views
    ]
    output.say(
        f"{found.root}: {counted(len(found.blobs), 'file')}, {size(found.size_bytes)} on disk"
    )
    output.result(
        {
            "cache": str(found.root),
            "size_bytes": found.size_bytes,
            "files": len(found.blobs),
            "unfinished": len(found.unfinished),
            "views": [
                {
                    "what": view.kind.label,
                    "digest": view.digest,
                    "size_bytes": view.size_bytes,
                    "used_s_ago": max(0.0, now - view.used_at),
                    "names": list(view.names),
                }
                for view in views
            ],
        },
        columns(rows) if views else "nothing is in the cache",
    )
    return exit_codes.DONE


def prune(
    unused_for: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="Remove packages and base models that were not used for so many days.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove all that is not in use.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Remove what is not needed: files that no package has, and what was never finished."""
    from pairlock.cache import CacheFolder
    from pairlock.cache.pruning import execute_prune, plan_prune
    from pairlock.cache.survey import survey
    from pairlock.config import current_settings

    output = Output(format)
    folder = CacheFolder(current_settings().cache)
    plan = plan_prune(
        survey(folder),
        now=time.time(),
        unused_for_s=None if unused_for is None else unused_for * 86400,
        everything=everything,
    )
    if not dry_run:
        execute_prune(folder, plan)
    for line in plan.kept:
        output.say(f"kept: {line}")
    lines = [f"{item.what} {item.name}: {item.reason}" for item in plan.removals]
    verb = "would free" if dry_run else "freed"
    lines.append(f"{verb} {size(plan.freed_bytes)}")
    output.result({**plan.to_dict(), "dry_run": dry_run}, "\n".join(lines))
    return exit_codes.DONE


def verify(format: FormatOption = Format.HUMAN) -> int:
    """Hash every file in the cache again. What is damaged is fetched again by the next load."""
    from pairlock.cache import CacheFolder
    from pairlock.cache.checking import check_cache
    from pairlock.config import current_settings

    output = Output(format)
    found = check_cache(CacheFolder(current_settings().cache), progress=output.progress())
    lines = [f"damaged  {finding}" for finding in found.findings]
    lines.append(f"{counted(found.files, 'file')}, {size(found.size_bytes)}: ")
    lines[-1] += f"{len(found.findings)} damaged" if found.findings else "all as they should be"
    output.result(
        {
            "passed": not found.findings,
            "files": found.files,
            "size_bytes": found.size_bytes,
            "findings": [finding.to_dict() for finding in found.findings],
        },
        "\n".join(lines),
    )
    if found.findings:
        output.say("what is damaged is no longer used; the next load or pull fetches it again")
    return exit_codes.NO if found.findings else exit_codes.DONE


def where(
    uri: Annotated[
        str | None,
        typer.Argument(
            metavar="[URI]", help="A package that was pulled before.", show_default=False
        ),
    ] = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Print the cache folder, or the folder in it that holds a package. Uses no network."""
    from pairlock.config import current_settings
    from pairlock.pulling import pull

    output = Output(format)
    settings = current_settings()
    path = settings.cache if uri is None else pull(uri, offline=True).path
    output.result({"path": str(path), "cache": str(settings.cache)}, str(path))
    return exit_codes.DONE
