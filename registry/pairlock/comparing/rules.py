"""Compares what is known of two packages. No I/O.

A package's facts are taken from its manifest as it is written, key by key, so that what a later
release adds is compared, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pairlock.comparing.difference import Change, Difference, FileChange, GoldenDeviation, Row
from pairlock.digests import FileRecord
from pairlock.evaluation.dataset import dataset_key
from pairlock.evaluation.recorded import Measured
from pairlock.golden import FLOAT32_BARS, Bars, compare_vectors
from pairlock.manifest import Manifest, Role, manifest_data
from pairlock.manifest.format import GOLDEN_TEXTS, GOLDEN_VECTORS
from pairlock.metrics import mlflow_metric_name
from pairlock.spaces import GoldenDocuments, judge_spaces

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS = "weights"
GOLDEN = "golden vectors"

_PACKAGE = ("format_version", "kind", "dimension", "runtimes")
_SECTIONS = ("package", "base", "adapter", "encode", "spaces", "devices", "golden", "libraries",
             "provenance", "metrics", "profiles", "stages")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A package's golden vectors, or why there are none."""

    texts: tuple[str, ...] = ()
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """By role, (n_texts, dimension) float32."""

    reason: str = ""
    """Why they are not at hand; empty where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: a package, and what the registry knows of it."""

    uri: str
    digest: str
    manifest: Manifest
    golden: Golden
    measured: tuple[Measured, ...] = ()
    profiles: Mapping[str, Any] = field(default_factory=dict)
    """By `<device type>.<dtype>`."""

    stages: tuple[str, ...] = ()
    """That it holds, by the ledger."""

    aliases: tuple[str, ...] = ()
    """Of MLflow's that point to it."""

    unknown: tuple[str, ...] = ()
    """What could not be found out, and why."""


def compare(before: Side, after: Side) -> Difference:
    """Everything in which one package differs from another.

    Args:
        before: what an index was made with.
        after: what shall query it.
    """
    rows = [
        Row(section="package", name="digest", before=before.digest, after=after.digest, inside=True)
    ]
    rows += _facts(before.manifest, after.manifest)
    rows += _metrics(before.measured, after.measured)
    rows += _registry_rows(before, after)
    return Difference(
        before=before.uri,
        after=after.uri,
        same=before.digest == after.digest,
        rows=tuple(sorted(rows, key=lambda row: _SECTIONS.index(row.section))),
        files=tuple(_files(before.manifest.files, after.manifest.files)),
        golden=_golden(before.golden, after.golden),
        space=judge_spaces(
            before.manifest.spaces,
            after.manifest.spaces,
            None
            if before.golden.reason or after.golden.reason
            else lambda: (_documents(before.golden), _documents(after.golden)),
        ),
        unknown=before.unknown + after.unknown,
    )


def _facts(before: Manifest, after: Manifest) -> Iterator[Row]:
    one, other = _flat(before), _flat(after)
    for section, name in dict.fromkeys([*one, *other]):
        key = (section, name)
        yield Row(
            section=section, name=name, before=one.get(key), after=other.get(key), inside=True
        )


def _flat(manifest: Manifest) -> dict[tuple[str, str], Any]:
    """Every fact of a manifest but its files, by section and name."""
    data = manifest_data(manifest)
    data.pop("files")
    if data["base"] is not None:
        data["base"].pop("files")  # the tree digest stands for them
    found: dict[tuple[str, str], Any] = {}
    provenance = data.pop("provenance")
    for name, version in provenance.pop("libraries").items():
        found["libraries", name] = version
    data["provenance"] = provenance
    for key, value in data.items():
        if key in _SECTIONS and isinstance(value, dict):
            for name, one in _leaves(value):
                found[key, name] = one
        elif value is not None or key in _PACKAGE:
            found["package", key] = value
    return found


def _leaves(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, f"{before}{key}.")
        else:
            yield f"{before}{key}", item


def _metrics(before: Sequence[Measured], after: Sequence[Measured]) -> Iterator[Row]:
    """The newest values that both have of one metric on one dataset."""
    one, other = _newest(before), _newest(after)
    for key in one:
        if key in other:
            first, second = one[key], other[key]
            dataset = first.dataset_name or second.dataset_name or key[1][:8]
            yield Row(
                section="metrics",
                name=f"{first.metric} on {dataset}",
                before=first.value,
                after=second.value,
                inside=False,
            )


def _newest(measured: Sequence[Measured]) -> dict[tuple[str, str], Measured]:
    """By metric and dataset; what was measured on an unknown one can be compared with nothing."""
    found = {}
    for one in measured:  # newest last
        if key := dataset_key(one.dataset_digest):
            found[mlflow_metric_name(one.metric), key] = one
    return dict(sorted(found.items()))


def _registry_rows(before: Side, after: Side) -> Iterator[Row]:
    for name in sorted(before.profiles.keys() | after.profiles.keys()):
        yield Row(
            section="profiles",
            name=name,
            before=before.profiles.get(name),
            after=after.profiles.get(name),
            inside=False,
        )
    for name, one, other in (
        ("stages", before.stages, after.stages),
        ("aliases", before.aliases, after.aliases),
    ):
        yield Row(
            section="stages", name=name, before=sorted(one), after=sorted(other), inside=False
        )


def _files(before: Sequence[FileRecord], after: Sequence[FileRecord]) -> Iterator[FileChange]:
    one = {record.path: record for record in before}
    other = {record.path: record for record in after}
    for path in sorted(one.keys() | other.keys()):
        first, second = one.get(path), other.get(path)
        if first is None:
            change = Change.ADDED
        elif second is None:
            change = Change.REMOVED
        else:
            change = Change.SAME if first == second else Change.CHANGED
        yield FileChange(
            path=path,
            change=change,
            role=_role(path),
            size_before=None if first is None else first.size_bytes,
            size_after=None if second is None else second.size_bytes,
        )


def _role(path: str) -> str:
    if path in {GOLDEN_VECTORS, GOLDEN_TEXTS}:
        return GOLDEN
    # a payload keeps tensors in nothing else
    return WEIGHTS if path.endswith(".safetensors") else ""


def _golden(before: Golden, after: Golden) -> GoldenDeviation:
    if reason := "; ".join(filter(None, dict.fromkeys([before.reason, after.reason]))):
        return GoldenDeviation(figures={}, reason=reason)
    roles = [role.value for role in Role]
    shapes = {one.vectors[role].shape[1] for one in (before, after) for role in roles}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        return GoldenDeviation(figures={}, reason=f"vectors have {found} dimensions")
    rows = {text: number for number, text in enumerate(after.texts)}
    shared = [(number, rows[text]) for number, text in enumerate(before.texts) if text in rows]
    if not shared:
        return GoldenDeviation(figures={}, reason="the two hold vectors of different texts")
    figures = {}
    for role in roles:
        deviation, _ = compare_vectors(
            before.vectors[role][[first for first, _ in shared]],
            after.vectors[role][[second for _, second in shared]],
            bars=Bars.recorded(FLOAT32_BARS),
            role=role,
        )
        finite = {name: value for name, value in deviation.to_dict().items() if abs(value) < 1e300}
        figures[role] = {"texts": float(len(shared)), **finite}
    return GoldenDeviation(figures=figures, reason="")


def _documents(golden: Golden) -> GoldenDocuments:
    return GoldenDocuments(texts=golden.texts, vectors=golden.vectors[Role.TEXT.value])
