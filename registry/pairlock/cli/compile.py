"""`pairlock compile`: a graph for the onnx runtime, for a version that has none."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, BaseInstead, FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output, size, table

if TYPE_CHECKING:
    from pairlock.compiling import CompiledVersion


class Precision(StrEnum):
    """What a graph computes in."""

    FLOAT32 = "float32"
    INT8 = "int8"


def compile_(
    uri: Uri,
    precision: Annotated[
        Precision,
        typer.Option(
            help="float32 gives the vectors that were approved. int8 is smaller and faster, and "
            "gives others: how far they lie is measured and recorded."
        ),
    ] = Precision.FLOAT32,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Measure what it costs in retrieval: a folder as BEIR has them, or an "
            "EmbeddingQAFinetuneDataset's JSON.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option(help="Link the graph to the version; else it stays in this machine's cache."),
    ] = True,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Make a graph for the onnx runtime, prove it, and link it to the version."""
    from pairlock.compiling import compile_version

    output = Output(format)
    made = compile_version(
        uri,
        precision=precision.value,
        dataset=dataset,
        store=store,
        base=base,
        allow=allow_class or (),
        offline=offline,
        progress=output.progress(),
    )
    output.result(made.to_dict(), _text(made))
    return exit_codes.DONE


def _text(made: CompiledVersion) -> str:
    rows = [
        ("uri", made.uri),
        ("package digest", made.package_digest),
        ("graph digest", made.graph_digest),
        ("precision", made.precision),
        ("1 - cosine", f"at most {made.one_minus_cosine:.1e}; a load allows {made.bar:.1e}"),
        ("size", size(made.size_bytes)),
    ]
    if made.retrieval is not None:
        found = made.retrieval
        rows.append((found.metric, f"{found.graph:.4f}; torch {found.torch:.4f}"))
    rows.append(("stored as", f"tag {made.stored_as}" if made.stored_as else "this cache only"))
    return table(rows)
