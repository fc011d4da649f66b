"""`pairlock evaluate`: how well a version retrieves, measured, and recorded with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, BaseInstead, Device, Dtype, FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output, table
from pairlock.wording import counted

if TYPE_CHECKING:
    from pairlock.evaluation.evaluating import Evaluation


def evaluate(
    uri: Uri,
    dataset: Annotated[
        Path,
        typer.Option(
            help="A folder as BEIR has them, or an EmbeddingQAFinetuneDataset's JSON.",
            show_default=False,
        ),
    ],
    split: Annotated[str, typer.Option(help="Which file of a folder's qrels/ to use.")] = "test",
    k: Annotated[
        list[int] | None,
        typer.Option(
            "--k",
            help="A depth of the metrics; may be given several times. Default: 1, 3, 5 and 10.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = None,
    store: Annotated[
        bool, typer.Option(help="Log the figures to the version, with the dataset's digest.")
    ] = True,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Measure how well a version retrieves on a dataset, and log it to the version."""
    from pairlock.evaluation.evaluating import DEFAULT_K
    from pairlock.evaluation.evaluating import evaluate as measure

    output = Output(format)
    found = measure(
        uri,
        dataset,
        split=split,
        k=k or DEFAULT_K,
        device=device,
        dtype=dtype,
        base=base,
        allow=allow_class or (),
        offline=offline,
        store=store,
        progress=output.progress(),
    )
    output.result(found.to_dict(), _text(found))
    if found.store_error is None:
        return exit_codes.DONE
    if format is Format.HUMAN:
        output.error(found.store_error)
    return exit_codes.COULD_NOT_CHECK


def _text(found: Evaluation) -> str:
    missing = "not all was stored" if found.stored_as or found.run_id else "nothing was stored"
    sizes = (
        counted(found.queries, "query", "queries"),
        counted(found.corpus, "text"),
        counted(found.relevant, "relevant pair"),
    )
    stored = [
        *([f"tag {found.stored_as}"] if found.stored_as else []),
        *([f"metrics of run {found.run_id}"] if found.run_id else []),
        *([f"{missing}: {found.not_stored}"] if found.not_stored else []),
    ]
    rows = [
        ("uri", found.uri),
        ("package digest", found.package_digest),
        ("dataset", f"{found.dataset_name}, {found.dataset_digest}"),
        ("texts", ", ".join(sizes)),
        ("similarity", f"{found.similarity} ({found.similarity_from})"),
        ("device", f"{found.device}, {found.dtype}"),
        *((name, f"{value:.4f}") for name, value in found.metrics.items()),
        ("stored as", "; ".join(stored)),
    ]
    return table(rows)
