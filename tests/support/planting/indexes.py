"""Defects of stamped indexes beside a registry."""

from __future__ import annotations

import json
from pathlib import Path

from pairlock.index import Stamp
from pairlock.index.places.folder import INDEX_STORE, PersistedIndex
from support.planting.case import STAGES, Case
from support.planting.packages import Package


def unknown(case: Case) -> None:
    """What an index was built with is no version."""
    way = case.way(
        ("deleted", "nobody's", "another package", "same space"), ("there", "other name", "folder")
    )
    base = case.stock()
    version = case.adapter(base) if way == "same space" else case.any()
    place = _index(case, version.own, "models:/nobody/1" if way == "nobody's" else version.uri)
    if way in {"deleted", "same space", "other name"}:
        if way == "other name":
            case.site.version(f"{case.name}-other", version.own)
        case.delete(version)
        case.finds((version.name, None), place)
    elif way == "nobody's":
        _stamp(place, case.full(), "models:/nobody/1")
        case.finds((None, None), place)
    elif way == "another package":
        _stamp(place, case.full(), version.uri)
        case.finds(version, place)
    elif way == "folder":
        _stamp(place, version.own, version.location)


def foreign_space(case: Case) -> None:
    """No version in a stage is in an index's space, or its version never was."""
    way = case.way(("overtaken", "contradicted"), ("holder", "same space", "no stage"))
    stage = case.random.choice(STAGES)
    if way == "overtaken":
        holder = case.held(stage, make=case.full, before=case.random.randint(1, 2))
        version = case.random.choice(holder.model.versions[:-1])
    elif way == "same space":
        base = case.stock()
        holder = case.held(stage, make=lambda: case.adapter_package(base), before=1)
        version = holder.model.versions[0]
    elif way == "holder":
        version = case.held(stage)
    else:
        version = case.any()
    space = "sha256:" + "0" * 64 if way == "contradicted" else None
    case.finds(version, _index(case, version.own, version.uri, space=space))


def _index(case: Case, package: Package, uri: str, *, space: str | None = None) -> str:
    """The folder of an index as LlamaIndex persists it, without its vectors, and stamped."""
    folder = case.site.folder / "indexes" / case.name
    folder.mkdir(parents=True)
    structure = {"__type__": "vector_store", "__data__": "{}"}
    (folder / INDEX_STORE).write_text(json.dumps({"index_store/data": {"0": structure}}))
    _stamp(str(folder), package, uri, space=space)
    case.indexes.append(str(folder))
    return str(folder)


def _stamp(folder: str, package: Package, uri: str, *, space: str | None = None) -> None:
    document = package.document
    stamp = Stamp(
        document_space=space or document["spaces"]["document"],
        package_digest=package.digest,
        uri=uri,
        kind=document["kind"],
        dimension=document["dimension"],
        base_uri=document["base"]["uri"] if document["base"] else None,
        stamped_at="2026-01-02T03:04:05+00:00",
    )
    PersistedIndex(Path(folder), "0").write(stamp)
