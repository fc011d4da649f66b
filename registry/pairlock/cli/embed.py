"""`pairlock embed`: texts to vectors, to try a version from the shell."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from pairlock.cli import exit_codes
from pairlock.cli.options import (
    AllowClass,
    BaseInstead,
    Device,
    ExpectedDigest,
    FormatOption,
    Offline,
    Rehash,
    RuntimeOption,
    Uri,
)
from pairlock.cli.output import Format, Output, duration


class RoleName(StrEnum):
    """What the texts are."""

    QUERY = "query"
    TEXT = "text"


def embed(
    uri: Uri,
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...", help="Texts; - reads one text a line from stdin.", show_default=False
        ),
    ],
    role: Annotated[
        RoleName, typer.Option(help="What the texts are: instructions and adapters differ by it.")
    ] = RoleName.QUERY,
    runtime: RuntimeOption = None,
    device: Device = "auto",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, float16 or bfloat16 in place of the recorded one; the vectors are then "
            "close to the approved ones, not the same.",
            show_default=False,
        ),
    ] = None,
    base: BaseInstead = None,
    digest: ExpectedDigest = None,
    allow_class: AllowClass = None,
    offline: Offline = None,
    rehash: Rehash = False,
    format: FormatOption = Format.HUMAN,
) -> int:
    """Embed texts. Prints one JSON list of numbers for each."""
    from pairlock.api import load
    from pairlock.receipts import receipt

    output = Output(format)
    found: Any = load(
        uri,
        runtime=runtime,
        device=device,
        dtype=dtype,
        base=base,
        expected_digest=digest,
        allow=allow_class or (),
        offline=offline,
        rehash=rehash,
        progress=output.progress(),
    )
    texts = _lines() if texts == ["-"] else texts
    if role is RoleName.QUERY:
        vectors = [found.get_query_embedding(text) for text in texts]
    else:
        vectors = found.get_text_embedding_batch(texts)
    proof = receipt(found)
    for warning in proof.warnings:
        output.say(f"warning: {warning}")
    if proof.answer_age_s is not None:
        output.say(f"offline: the registry's answer is {duration(proof.answer_age_s)} old")
    output.say(f"{proof.uri} on {proof.device} ({proof.dtype}), {proof.package_digest}")
    output.result(
        {"role": role.value, "vectors": vectors, "receipt": proof.to_dict()},
        "\n".join(json.dumps(vector) for vector in vectors),
    )
    return exit_codes.DONE


def _lines() -> list[str]:
    return [line.rstrip("\r\n") for line in sys.stdin]
