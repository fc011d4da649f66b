"""`runtime.json`: what the onnx runtime needs to know of a package, read and written.

It lies beside a graph that holds no weights. Those are the bytes of the model's own safetensors
files, at the offsets that the graph names. Where some are not in there as float32, all are given to
the graph by name: tensors of the files, widened, or with what an adapter's file adds to them. So a
package stores no weight twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest.fields import ObjectReader, Problem, findings_of, form_problems
from pairlock.manifest.format import GRAPH_NAME, MAX_GRAPH_BYTES, RUNTIME_DOCUMENT, STORED_WEIGHTS
from pairlock.manifest.paths import path_problem
from pairlock.wording import counted

COMPILED_VERSION = 1
"""The version of `runtime.json` that this release writes."""

DERIVED = "derived"
"""The file in which a graph says that its derived weights are; there is none."""

PRECISIONS = ("float32", "int8")
_MOST_DERIVED = 100_000


class Place(StrEnum):
    """Where a file lies."""

    MODEL = "model"
    """In the model folder: the package's own, or the base's."""

    ADAPTER = "adapter"
    """In the package's adapter folder."""

    RUNTIME = "runtime"
    """Beside `runtime.json`."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file of a package, or of its base."""

    place: Place
    path: str
    """Relative to the place's folder."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor in a safetensors file."""

    place: Place
    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """What a LoRA adds to a weight: `scale * b @ a`."""

    a: TensorPlace
    """(r, in_features)."""

    b: TensorPlace
    """(out_features, r)."""

    scale: float
    transposed: bool
    """Whether the weight is stored as (in_features, out_features)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedTensor:
    """A weight that is given to the graph when the model is loaded."""

    name: str
    """What the graph calls it."""

    source: TensorPlace
    """Taken as float32, widened where it is in half precision; integers as they are."""

    added: LowRank | None

    @property
    def parts(self) -> tuple[TensorPlace, ...]:
        """The tensors that it is made of."""
        added = () if self.added is None else (self.added.a, self.added.b)
        return (self.source, *added)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """How texts become tokens, by `tokenizers`."""

    file: FilePlace
    """A `tokenizer.json`."""

    max_tokens: int | None
    """Tokens after which a text is cut."""

    cut_side: str
    """right or left."""

    pad_id: int
    pad_token: str
    pad_type_id: int
    pad_side: str
    """right or left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The whole of `runtime.json`."""

    precision: str
    inputs: tuple[str, ...]
    """The graph's inputs, each (n_texts, n_tokens) int64: `input_ids`, `attention_mask`,
    `token_type_ids`. Its first output is the (n_texts, dimension) float32 vectors."""

    graph_bytes: int
    """Size of the graph, unpacked."""

    tokenizer: TokenizerFacts
    derived: tuple[DerivedTensor, ...]
    """Every weight of the graph, or none where the graph names places in the model's files."""

    @property
    def bare_derived(self) -> tuple[DerivedTensor, ...]:
        """The weights of the graph without what an adapter adds to them."""
        return tuple(replace(tensor, added=None) for tensor in self.derived)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files beside `runtime.json` that it needs."""
        own = [GRAPH_NAME]
        if any(tensor.source.place is Place.RUNTIME for tensor in self.derived):
            own.append(STORED_WEIGHTS)
        if self.tokenizer.file.place is Place.RUNTIME:
            own.append(self.tokenizer.file.path)
        return tuple(own)


def write_compiled(compiled: Compiled) -> bytes:
    """The bytes of `runtime.json`, in canonical form."""
    tokenizer = compiled.tokenizer
    return canonical_json(
        {
            "format_version": COMPILED_VERSION,
            "precision": compiled.precision,
            "inputs": list(compiled.inputs),
            "graph_bytes": compiled.graph_bytes,
            "tokenizer": {
                "place": tokenizer.file.place.value,
                "path": tokenizer.file.path,
                "max_tokens": tokenizer.max_tokens,
                "cut_side": tokenizer.cut_side,
                "pad_id": tokenizer.pad_id,
                "pad_token": tokenizer.pad_token,
                "pad_type_id": tokenizer.pad_type_id,
                "pad_side": tokenizer.pad_side,
            },
            "derived": [_derived_data(tensor) for tensor in compiled.derived],
        }
    )


def read_compiled(content: bytes, *, where: str) -> Compiled:
    """Parse `runtime.json`.

    Args:
        content: its bytes.
        where: what to call it in messages.

    Raises:
        FormatError: it is not what `write_compiled` writes, or is of a newer release.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [Problem("$", f"is not JSON: {error}")]) from error
    problems = form_problems(document, content)
    reader = ObjectReader(document, "$", problems)
    version = reader.integer("format_version", at_least=1)
    if version > COMPILED_VERSION:
        raise FormatError(
            f"{where} was written by a newer Pairlock",
            kind=ErrorKind.FORMAT_TOO_NEW,
            checked="format_version",
            expected=f"1 to {COMPILED_VERSION}",
            found=str(version),
            done="nothing was loaded",
            hint="upgrade with `pip install --upgrade pairlock`, or load with runtime='torch'",
        )
    compiled = _compiled(reader)
    if problems:
        raise _invalid(where, problems)
    return compiled


def _derived_data(tensor: DerivedTensor) -> dict[str, Any]:
    added = tensor.added
    return {
        "name": tensor.name,
        "source": _tensor_text(tensor.source),
        "added": None
        if added is None
        else {
            "a": _tensor_text(added.a),
            "b": _tensor_text(added.b),
            "scale": added.scale,
            "transposed": added.transposed,
        },
    }


def _tensor_text(tensor: TensorPlace) -> str:
    # a graph may have thousands of them
    return f"{tensor.place}/{tensor.path}#{tensor.name}"


def _compiled(reader: ObjectReader) -> Compiled:
    graph_bytes = reader.integer("graph_bytes", at_least=1)
    if graph_bytes > MAX_GRAPH_BYTES:
        reader.report("graph_bytes", f"must be at most {MAX_GRAPH_BYTES}")
    return Compiled(
        precision=reader.choice("precision", PRECISIONS),
        inputs=reader.texts("inputs"),
        graph_bytes=graph_bytes,
        tokenizer=_tokenizer(reader.child("tokenizer")),
        derived=tuple(_derived(item) for item in reader.children("derived", at_most=_MOST_DERIVED)),
    )


def _tokenizer(reader: ObjectReader) -> TokenizerFacts:
    sides = ("right", "left")
    return TokenizerFacts(
        file=FilePlace(_place(reader), _path(reader)),
        max_tokens=reader.optional_integer("max_tokens", at_least=1),
        cut_side=reader.choice("cut_side", sides),
        pad_id=reader.integer("pad_id", at_least=0),
        pad_token=reader.text("pad_token"),
        pad_type_id=reader.integer("pad_type_id", at_least=0),
        pad_side=reader.choice("pad_side", sides),
    )


def _derived(reader: ObjectReader) -> DerivedTensor:
    added = reader.optional_child("added")
    return DerivedTensor(
        name=reader.text("name"),
        source=_tensor(reader, "source"),
        added=None
        if added is None
        else LowRank(
            a=_tensor(added, "a"),
            b=_tensor(added, "b"),
            scale=added.number("scale"),
            transposed=added.boolean("transposed"),
        ),
    )


def _tensor(reader: ObjectReader, key: str) -> TensorPlace:
    text = reader.text(key)
    file, _, name = text.partition("#")
    place, _, path = file.partition("/")
    problem = path_problem(path)
    if not name or problem is not None or place not in tuple(Place):
        reader.report(key, f"must be <place>/<path>#<tensor>, is {text!r}")
        return TensorPlace(Place.MODEL, "", "")
    return TensorPlace(Place(place), path, name)


def _place(reader: ObjectReader) -> Place:
    return Place(reader.choice("place", tuple(place.value for place in Place)))


def _path(reader: ObjectReader) -> str:
    path = reader.text("path")
    if problem := path_problem(path):
        reader.report("path", f"{path!r} {problem}")
    return path


def _invalid(where: str, problems: list[Problem]) -> FormatError:
    return FormatError(
        f"{where} is not a valid description of the onnx runtime",
        kind=ErrorKind.RUNTIME_INVALID,
        checked=RUNTIME_DOCUMENT,
        expected="a document as docs/package-format.md specifies it",
        found=counted(len(problems), "problem"),
        findings=findings_of(
            problems, kind=ErrorKind.RUNTIME_INVALID, expected="a valid description"
        ),
        done="nothing was loaded",
        hint="load with runtime='torch', or package the model again",
    )
