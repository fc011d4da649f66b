"""`pairlock profile`: measure a version on a device, and keep the figures beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import AllowClass, BaseInstead, Device, Dtype, FormatOption, Offline, Uri
from pairlock.cli.output import Format, Output, size, table

if TYPE_CHECKING:
    from pairlock.profiling import Profile


def profile(
    uri: Uri,
    device: Device = "auto",
    dtype: Dtype = None,
    texts: Annotated[
        int | None,
        typer.Option(help="Texts to embed for each speed; two batches when left out."),
    ] = None,
    store: Annotated[
        bool, typer.Option(help="Store the figures as a tag of the registered version.")
    ] = True,
    base: BaseInstead = None,
    allow_class: AllowClass = None,
    offline: Offline = None,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Measure speed, memory and exactness on a device, and store them beside the version."""
    from pairlock.profiling import profile as measure

    output = Output(format)
    found = measure(
        uri,
        device=device,
        dtype=dtype,
        base=base,
        texts=texts,
        allow=allow_class or (),
        offline=offline,
        store=store,
        progress=output.progress(),
    )
    output.result(found.to_dict(), _text(found))
    if found.store_error is not None:
        if format is Format.HUMAN:
            output.error(found.store_error)
        return exit_codes.COULD_NOT_CHECK
    return exit_codes.DONE if found.within_bars else exit_codes.NO


def _text(found: Profile) -> str:
    within = "within the bars" if found.within_bars else "NOT within the bars"
    process = found.process_peak_bytes
    batches = f"batches of {found.batch_size}"
    rows = [
        ("uri", found.uri),
        ("package digest", found.package_digest),
        ("device", f"{found.device} ({found.card}), {found.dtype}, {found.threads} threads"),
        (
            "short texts",
            f"{found.short_per_s:.1f} vectors/s, 12 words, {batches}",
        ),
        ("longest texts", f"{found.longest_per_s:.1f} vectors/s, {batches}"),
        ("one query", f"median {_ms(found.query_median_s)}, p95 {_ms(found.query_p95_s)}"),
        ("peak memory", f"{size(found.peak_bytes)}: {found.peak_of}"),
        ("whole process", "unknown" if process is None else f"{size(process)} at most so far"),
        (
            "golden vectors",
            f"1 - cosine at most {found.one_minus_cosine:.1e}, max abs {found.max_abs:.1e}, "
            f"{within} for {found.dtype}",
        ),
        *(("", finding) for finding in found.findings),
        ("stored as", found.stored_as or f"nothing was stored: {found.not_stored}"),
    ]
    return table(rows)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
