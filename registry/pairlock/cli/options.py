"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from pairlock.cli.output import Format

Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI",
        help="models:/name/3, models:/name@alias, models:/name/Stage, models:/m-<id>, "
        "runs:/<run id>/<name>, s3://bucket/prefix, or a package's folder.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", help="How to write the result.", case_sensitive=False)
]
BaseInstead = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Take an adapter's base from here, and nowhere else; it must hold the pinned bytes.",
        show_default=False,
    ),
]
AllowClass = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-class",
        help="A class of an installed package that the model may run, as package.module:Class. "
        "May be given several times; PAIRLOCK_ALLOW_CLASSES allows more.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:<n> or mps.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="float32, float16 or bfloat16; the package's own when left out."),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="torch, onnx or auto: what computes the vectors. Default: PAIRLOCK_RUNTIME, else "
        "auto, which is torch where it is installed.",
        show_default=False,
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option(
        "--offline/--online",
        help="Use no network, and the registry's last answer. Default: PAIRLOCK_OFFLINE.",
        show_default=False,
    ),
]
Rehash = Annotated[
    bool,
    typer.Option("--rehash", help="Hash every file again, also those unchanged in the cache."),
]
ExpectedDigest = Annotated[
    str | None,
    typer.Option(
        "--digest",
        help="The package digest that must be found: sha256:<hex>.",
        show_default=False,
    ),
]
