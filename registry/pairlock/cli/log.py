"""`pairlock log`: package, prove, register."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, FormatOption
from pairlock.cli.output import Format, Output

if TYPE_CHECKING:
    from pairlock.logged import LoggedPackage


def log(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="What the trainer saved: a Sentence-Transformers folder, a LoRA or another PEFT "
            "adapter, or a LlamaIndex adapter.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Option(help="Register a version under this name.", show_default=False)
    ],
    base: Annotated[
        str | None,
        typer.Option(
            help="An adapter's base: models:/name/1, models:/name@alias, hf://org/name@<commit>, "
            "s3://bucket/prefix, or a folder.",
            show_default=False,
        ),
    ] = None,
    query_instruction: Annotated[
        str | None,
        typer.Option(help="Put before queries. Default: what the model or base says."),
    ] = None,
    text_instruction: Annotated[
        str | None,
        typer.Option(help="Put before documents. Default: what the model or base says."),
    ] = None,
    adapter_class: Annotated[
        str | None,
        typer.Option(
            help="The class of a LlamaIndex adapter that is neither LinearLayer nor TwoLayerNN, "
            "as package.module:Class. The package names it and holds none of its code.",
            show_default=False,
        ),
    ] = None,
    allow_class: AllowClass = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="What the package is made for: torch,onnx, or torch alone, which is sooner. "
            "Default: PAIRLOCK_RUNTIMES, else both.",
            show_default=False,
        ),
    ] = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Package a model, prove the package, and register it. Prints its URI."""
    from pairlock.api import log_model

    output = Output(format)
    logged = log_model(
        source,
        base=base,
        allow=allow_class or (),
        runtimes=None if runtimes is None else runtimes.split(","),
        registered_model_name=name,
        query_instruction=query_instruction,
        text_instruction=text_instruction,
        adapter_class=adapter_class,
        progress=output.progress(),
    )
    if logged.left_out:
        output.say(f"left out, not part of the model: {', '.join(logged.left_out)}")
    if logged.base_uri is not None:
        asked = f" (asked for as {base})" if base != logged.base_uri else ""
        output.say(f"base: {logged.base_uri}, {logged.base_digest}{asked}")
    if logged.query_instruction or logged.text_instruction:
        output.say(f"query instruction: {logged.query_instruction!r}")
        output.say(f"text instruction: {logged.text_instruction!r}")
    for warning in logged.warnings:
        output.say(f"warning: {warning}")
    output.say(f"package digest: {logged.package_digest}")
    output.result(_data(logged), logged.uri)
    return exit_codes.DONE


def _data(logged: LoggedPackage) -> dict[str, Any]:
    return {
        "uri": logged.uri,
        "package_digest": logged.package_digest,
        "kind": logged.kind,
        "base": logged.base_uri,
        "base_digest": logged.base_digest,
        "query_instruction": logged.query_instruction,
        "text_instruction": logged.text_instruction,
        "left_out": list(logged.left_out),
        "warnings": list(logged.warnings),
        "model_id": logged.model_info.model_id,
        "run_id": logged.run_id,
    }
