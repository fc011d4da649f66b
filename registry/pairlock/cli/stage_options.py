"""Options that the commands on stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The registered model's name.", show_default=False),
]
VersionNumber = Annotated[
    int, typer.Argument(metavar="VERSION", help="Its version.", min=1, show_default=False)
]
ToStage = Annotated[
    str, typer.Option("--to", help="The stage, such as production.", show_default=False)
]
Stage = Annotated[
    str, typer.Option("--stage", help="The stage, such as production.", show_default=False)
]
Reason = Annotated[
    str, typer.Option("--reason", help="Why; kept in the ledger.", show_default=False)
]
Reindex = Annotated[
    str | None,
    typer.Option(
        "--reindex",
        help="planned or done: acknowledge that the vector index has to be made again.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="The policy's file. Default: PAIRLOCK_POLICY, or the nearest pairlock.toml.",
        show_default=False,
    ),
]
