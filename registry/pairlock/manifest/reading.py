"""Bytes to `Manifest`: the one place where `pairlock.json` is parsed.

Law: `write_manifest(read_manifest(content)) == content` for every manifest that can be read.
"""

from __future__ import annotations

import json
from typing import Any

from pairlock.digests import FileRecord, tree_digest
from pairlock.errors import ErrorKind, FormatError
from pairlock.manifest.document import (
    AdapterFacts,
    BaseOrigin,
    BasePin,
    CustomFacts,
    DeviceHints,
    EncodeSettings,
    GoldenBars,
    GoldenFacts,
    Kind,
    LayerFacts,
    LeftOutFile,
    Manifest,
    PeftFacts,
    Provenance,
    Role,
    Spaces,
    Trial,
)
from pairlock.manifest.fields import (
    ObjectReader,
    Problem,
    findings_of,
    form_problems,
)
from pairlock.manifest.format import (
    ADAPTER_WEIGHTS,
    CLASS_PATH,
    DTYPES,
    FORMAT_VERSION,
    GOLDEN_TEXTS,
    GOLDEN_VECTORS,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MODEL_FOLDER,
    PAYLOAD,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    RUNTIME_DOCUMENT,
    RUNTIME_FOLDER,
    RUNTIMES,
)
from pairlock.manifest.paths import colliding_paths, parents, path_problem
from pairlock.manifest.writing import write_manifest
from pairlock.wording import counted

_SHA256 = r"[0-9a-f]{64}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_CLASS = "a class as package.module:Class"
_ROLES = tuple(role.value for role in Role)


def read_manifest(content: bytes, *, where: str) -> Manifest:
    """Parse a manifest and check everything that can be checked without other files.

    Args:
        content: the bytes of `pairlock.json`.
        where: what to call it in messages.

    Returns:
        The manifest.

    Raises:
        FormatError: not canonical JSON, a newer format, or problems, all of them listed.
    """
    document = _parse_json(content, where)
    version = document.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise FormatError(
            f"{where} was written by a newer Pairlock",
            kind=ErrorKind.FORMAT_TOO_NEW,
            checked="format_version",
            expected=f"1 to {FORMAT_VERSION}",
            found=str(version),
            done="nothing was loaded",
            hint="upgrade with `pip install --upgrade pairlock`",
        )
    problems = form_problems(document, content)
    manifest = _manifest(ObjectReader(document, "$", problems))
    if problems:
        raise _invalid(where, problems)
    if write_manifest(manifest) != content:
        raise _invalid(where, [Problem("$", "does not survive being read and written")])
    return manifest


def _parse_json(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > MAX_MANIFEST_BYTES:
        problem = Problem("$", f"is larger than {MAX_MANIFEST_BYTES} bytes")
        raise _invalid(where, [problem])
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, [Problem("$", f"is not JSON: {error}")]) from error
    if not isinstance(document, dict):
        raise _invalid(where, [Problem("$", "must be an object")])
    return document


def _invalid(where: str, problems: list[Problem]) -> FormatError:
    return FormatError(
        f"{where} is not a valid Pairlock manifest",
        kind=ErrorKind.MANIFEST_INVALID,
        checked="the manifest",
        expected="a document as docs/package-format.md specifies it",
        found=counted(len(problems), "problem"),
        findings=findings_of(
            problems, kind=ErrorKind.MANIFEST_INVALID, expected="a valid manifest"
        ),
        done="nothing was loaded",
        hint="restore the file from the store it was packaged to, or package the model again",
    )


def _manifest(reader: ObjectReader) -> Manifest:
    version = reader.integer("format_version", at_least=1)
    kind = Kind(reader.choice("kind", tuple(kind.value for kind in Kind)))
    adapter = reader.optional_child("adapter")
    base = reader.optional_child("base")
    manifest = Manifest(
        format_version=version,
        kind=kind,
        dimension=reader.integer("dimension", at_least=1),
        files=_files(reader, inside=PAYLOAD),
        encode=_encode(reader.child("encode")),
        spaces=_spaces(reader.child("spaces")),
        adapter=None if adapter is None else _adapter(kind, adapter),
        base=None if base is None else _base(base),
        golden=_golden(reader.child("golden")),
        devices=_devices(reader.child("devices")),
        runtimes=reader.texts("runtimes", choices=RUNTIMES),
        provenance=_provenance(reader.child("provenance")),
        unknown=reader.unknown(),
    )
    _check_whole(manifest, reader)
    return manifest


def _check_whole(manifest: Manifest, reader: ObjectReader) -> None:
    paths = {record.path for record in manifest.files}
    needed = {GOLDEN_VECTORS, GOLDEN_TEXTS}
    if manifest.kind.is_adapter:
        needed |= {PEFT_CONFIG, PEFT_WEIGHTS} if manifest.kind is Kind.PEFT else {ADAPTER_WEIGHTS}
        if manifest.adapter is None or manifest.base is None:
            reader.report("kind", f"{manifest.kind} needs both an adapter and a base")
        elif not isinstance(manifest.adapter, PeftFacts):
            _check_dimensions(manifest, manifest.adapter, manifest.base, reader)
        if isinstance(manifest.adapter, LayerFacts):
            _check_layer(manifest, manifest.adapter, reader)
    else:
        if manifest.adapter is not None or manifest.base is not None:
            reader.report("kind", "a full model has neither an adapter nor a base")
        if not any(path.startswith(f"{MODEL_FOLDER}/") for path in paths):
            reader.report("files", f"a full model needs files in {MODEL_FOLDER}/")
    if manifest.kind.is_adapter != (manifest.golden.adapter_shift is not None):
        reader.report("golden", "adapter_shift belongs to an adapter, and only to it")
    if "torch" not in manifest.runtimes:
        reader.report("runtimes", "must name torch, which computes what is recorded")
    if "onnx" in manifest.runtimes:
        needed.add(f"{RUNTIME_FOLDER}/{RUNTIME_DOCUMENT}")
    for path in sorted(needed - paths):
        reader.report("files", f"must name {path}")


def _check_dimensions(
    manifest: Manifest, adapter: LayerFacts | CustomFacts, base: BasePin, reader: ObjectReader
) -> None:
    if adapter.in_features != base.dimension:
        reader.report(
            "adapter",
            f"takes {adapter.in_features} dimensions, the pinned base gives {base.dimension}",
        )
    if adapter.out_features != manifest.dimension:
        reader.report(
            "adapter",
            f"gives {adapter.out_features} dimensions, the manifest says {manifest.dimension}",
        )
    if len(set(adapter.transforms)) != len(adapter.transforms):
        reader.report("adapter", "transforms names a role twice")


def _check_layer(manifest: Manifest, adapter: LayerFacts, reader: ObjectReader) -> None:
    two_layer = manifest.kind is Kind.TWO_LAYER
    if two_layer != (adapter.class_name == "TwoLayerNN"):
        reader.report("adapter", f"{adapter.class_name} is not of kind {manifest.kind}")
    own = (adapter.hidden_features is not None, adapter.activation is not None)
    if any(is_there != two_layer for is_there in own) or (adapter.add_residual and not two_layer):
        reader.report(
            "adapter",
            "hidden_features, activation and a residual belong to TwoLayerNN, and only to it",
        )
    if adapter.add_residual and adapter.in_features != adapter.out_features:
        reader.report("adapter", "a residual needs as many dimensions out as in")


def _files(reader: ObjectReader, *, inside: str | None) -> tuple[FileRecord, ...]:
    records = []
    for item in reader.children("files", at_most=MAX_FILES):
        record = FileRecord(
            path=item.text("path"),
            size_bytes=item.integer("size_bytes", at_least=0),
            sha256=item.text("sha256", pattern=_SHA256, what="64 lower-case hex digits"),
        )
        problem = path_problem(record.path)
        if problem is None and inside is not None and not record.path.startswith(f"{inside}/"):
            problem = f"does not lie in {inside}/"
        if problem is not None:
            item.report("path", f"{record.path!r} {problem}")
        if item.unknown():
            item.report("path", f"has unknown keys {sorted(item.unknown())}")
        records.append(record)
    paths = [record.path for record in records]
    for collision in colliding_paths(paths):
        reader.report("files", f"names one file twice: {collision}")
    folders = {folder for path in paths for folder in parents(path)}
    for both in sorted(folders.intersection(paths)):
        reader.report("files", f"names {both} both as a file and as a folder")
    if paths != sorted(paths):
        reader.report("files", "must be in path order")
    return tuple(records)


def _encode(reader: ObjectReader) -> EncodeSettings:
    return EncodeSettings(
        modules=reader.texts("modules"),
        pooling=reader.texts("pooling"),
        normalize=reader.boolean("normalize"),
        max_seq_length=reader.optional_integer("max_seq_length", at_least=1),
        query_instruction=reader.text("query_instruction"),
        text_instruction=reader.text("text_instruction"),
        truncate_dim=reader.optional_integer("truncate_dim", at_least=1),
        similarity=reader.optional_text("similarity"),
        foreign_modules=reader.texts("foreign_modules", pattern=CLASS_PATH, what=_CLASS),
        unknown=reader.unknown(),
    )


def _spaces(reader: ObjectReader) -> Spaces:
    return Spaces(
        document=reader.text("document", pattern=_DIGEST, what="sha256:<hex>"),
        query=reader.text("query", pattern=_DIGEST, what="sha256:<hex>"),
        unknown=reader.unknown(),
    )


def _adapter(kind: Kind, reader: ObjectReader) -> AdapterFacts:
    if kind is Kind.CUSTOM:
        return _custom(reader)
    return _peft(reader) if kind is Kind.PEFT else _layer(reader)


def _layer(reader: ObjectReader) -> LayerFacts:
    return LayerFacts(
        class_name=reader.choice("class_name", ("LinearLayer", "TwoLayerNN")),
        in_features=reader.integer("in_features", at_least=1),
        hidden_features=reader.optional_integer("hidden_features", at_least=1),
        out_features=reader.integer("out_features", at_least=1),
        bias=reader.boolean("bias"),
        activation=reader.optional_text(
            "activation",
            pattern="relu|sigmoid|tanh|leaky_relu",
            what="an activation LlamaIndex has",
        ),
        add_residual=reader.boolean("add_residual"),
        transforms=_transforms(reader),
        unknown=reader.unknown(),
    )


def _custom(reader: ObjectReader) -> CustomFacts:
    return CustomFacts(
        class_path=reader.text("class_path", pattern=CLASS_PATH, what=_CLASS),
        distribution=reader.optional_text("distribution"),
        config=reader.mapping("config"),
        in_features=reader.integer("in_features", at_least=1),
        out_features=reader.integer("out_features", at_least=1),
        transforms=_transforms(reader),
        unknown=reader.unknown(),
    )


def _peft(reader: ObjectReader) -> PeftFacts:
    return PeftFacts(
        peft_type=reader.text("peft_type", pattern="[A-Z0-9_]+", what="a PEFT type"),
        summary=reader.text("summary"),
        own_modules=reader.boolean("own_modules"),
        own_tokenizer=reader.boolean("own_tokenizer"),
        unknown=reader.unknown(),
    )


def _transforms(reader: ObjectReader) -> tuple[Role, ...]:
    return tuple(Role(role) for role in reader.texts("transforms", choices=_ROLES))


def _base(reader: ObjectReader) -> BasePin:
    before = reader.count_problems()
    pin = BasePin(
        uri=reader.text("uri"),
        requested=reader.text("requested"),
        origin=BaseOrigin(reader.choice("origin", tuple(origin.value for origin in BaseOrigin))),
        revision=reader.optional_text("revision", pattern="[0-9a-f]{40}", what="a commit"),
        package_digest=reader.optional_text("package_digest", pattern=_DIGEST, what="sha256:<hex>"),
        tree_digest=reader.text("tree_digest", pattern=_DIGEST, what="sha256:<hex>"),
        dimension=reader.integer("dimension", at_least=1),
        files=_files(reader, inside=None),
        unknown=reader.unknown(),
    )
    if not pin.files:
        reader.report("files", "must name the base's files")
    # no digest can be computed over files that were already refused
    if reader.count_problems() == before and tree_digest(pin.files) != pin.tree_digest:
        reader.report("tree_digest", "is not the digest of the files listed")
    if (pin.origin is BaseOrigin.PACKAGE) != (pin.package_digest is not None):
        reader.report("package_digest", "belongs to a base of origin `package`, and only to it")
    if (pin.origin is BaseOrigin.HUB) != (pin.revision is not None):
        reader.report("revision", "belongs to a base of origin `hub`, and only to it")
    return pin


def _golden(reader: ObjectReader) -> GoldenFacts:
    bars = reader.child("bars")
    return GoldenFacts(
        texts=reader.integer("texts", at_least=1),
        bars=GoldenBars(
            one_minus_cosine=bars.number("one_minus_cosine"),
            max_abs=bars.number("max_abs"),
            norm=bars.number("norm"),
            unknown=bars.unknown(),
        ),
        adapter_shift=reader.optional_number("adapter_shift"),
        unknown=reader.unknown(),
    )


def _devices(reader: ObjectReader) -> DeviceHints:
    trial = reader.child("trial")
    return DeviceHints(
        dtype=reader.choice("dtype", DTYPES),
        order=reader.texts("order"),
        weights_bytes=reader.integer("weights_bytes", at_least=0),
        batch_size=reader.integer("batch_size", at_least=1),
        attention=reader.optional_text("attention"),
        trial=Trial(
            batch_size=trial.integer("batch_size", at_least=1),
            max_length=trial.integer("max_length", at_least=1),
            peak_bytes=trial.integer("peak_bytes", at_least=0),
            unknown=trial.unknown(),
        ),
        unknown=reader.unknown(),
    )


def _provenance(reader: ObjectReader) -> Provenance:
    return Provenance(
        libraries=reader.text_map("libraries"),
        source=reader.text("source"),
        left_out=tuple(
            LeftOutFile(path=item.text("path"), reason=item.text("reason"), unknown=item.unknown())
            for item in reader.children("left_out", at_most=MAX_FILES)
        ),
        unknown=reader.unknown(),
    )
