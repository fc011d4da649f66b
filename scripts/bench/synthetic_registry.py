"""Makes a registry of many versions in seconds: rows in MLflow's tables, and small real packages.

Every package is a valid one that was never a model: its manifest lists the small files that lie
there, with their right digests. So an inventory finds nothing wrong, and no two are the same.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlock.catalog import DIGEST_TAG, ensure_database
from pairlock.digests import FileRecord, canonical_json, digest_bytes, tree_digest

VERSIONS_PER_MODEL = 20
VERSIONS_PER_BASE = 50
_READY = 2  # MLflow's LoggedModelStatus, as its table has it
_START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Made:
    """A version to be."""

    name: str
    version: int
    model_id: str
    digest: str
    tags: dict[str, str]


def make_registry(
    folder: Path, versions: int, *, file_bytes: int = 200, remote_root: str | None = None
) -> str:
    """Make the database and the packages.

    Args:
        folder: where; it is made.
        versions: how many, beside the bases.
        file_bytes: how large an adapter's file is.
        remote_root: what clients are told that the packages lie under; the folder itself otherwise.

    Returns:
        The registry's URI.
    """
    uri = f"sqlite:///{folder}/mlflow.db"
    ensure_database(uri)
    root = folder / "mlruns" / "0" / "models"
    root.mkdir(parents=True)
    made = list(_packages(root, versions, file_bytes))
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        _insert(database, made, remote_root or str(root))
    return uri


def _packages(root: Path, versions: int, file_bytes: int) -> Iterator[Made]:
    bases = []
    for number in range(max(1, versions // VERSIONS_PER_BASE)):
        made = _package(root, f"base-{number:05}", 1, None, file_bytes)
        bases.append(made)
        yield made
    for number in range(versions - len(bases)):
        name = f"model-{number // VERSIONS_PER_MODEL:05}"
        base = bases[number % len(bases)]
        yield _package(root, name, number % VERSIONS_PER_MODEL + 1, base, file_bytes)


def _package(root: Path, name: str, version: int, base: Made | None, file_bytes: int) -> Made:
    seed = hashlib.sha256(f"{name}/{version}".encode()).digest()
    model_id = f"m-{seed.hex()[:32]}"
    place = root / model_id / "artifacts"
    inner = "payload/adapter" if base else "payload/model"
    (place / inner).mkdir(parents=True)
    files = {
        f"{inner}/{'adapter' if base else 'model'}.safetensors": seed * (file_bytes // 32),
        "payload/golden.json": b"{}",
        "payload/golden.safetensors": seed,
    }
    for path, content in files.items():
        (place / path).write_bytes(content)
    document = _document(files, seed, base)
    content = canonical_json(document)
    (place / "pairlock.json").write_bytes(content)
    (place / "MLmodel").write_bytes(b"flavors: {pairlock: {}}\n")
    digest = digest_bytes(content)
    tags = {
        DIGEST_TAG: digest,
        "pairlock.format": "1",
        "pairlock.kind": document["kind"],
        "pairlock.dimension": "384",
        "pairlock.document_space": document["spaces"]["document"],
        "pairlock.query_space": document["spaces"]["query"],
    }
    if base is not None:
        tags["pairlock.base.uri"] = document["base"]["uri"]
        tags["pairlock.base.origin"] = "package"
        tags["pairlock.base.tree_digest"] = document["base"]["tree_digest"]
        tags["pairlock.base.package_digest"] = base.digest
    return Made(name, version, model_id, digest, tags)


def _document(files: dict[str, bytes], seed: bytes, base: Made | None) -> dict[str, Any]:
    weights = FileRecord(path="model.safetensors", size_bytes=90_000_000, sha256="cd" * 32)
    records = [
        FileRecord(path=path, size_bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
        for path, text in sorted(files.items())
    ]
    space = f"sha256:{hashlib.sha256(base.name.encode() if base else seed).hexdigest()}"
    layer = {"class_name": "LinearLayer", "in_features": 384, "hidden_features": None}
    layer |= {"out_features": 384, "bias": False, "activation": None, "add_residual": False}
    pin: dict[str, Any] | None = None
    if base is not None:
        pin = {"uri": f"models:/{base.name}/1", "requested": f"models:/{base.name}@production"}
        pin |= {"origin": "package", "revision": None, "package_digest": base.digest}
        pin |= {"tree_digest": tree_digest([weights]), "dimension": 384}
        pin |= {"files": [weights.to_dict()]}
    return {
        "format_version": 1,
        "kind": "linear" if base else "full",
        "dimension": 384,
        "files": [record.to_dict() for record in records],
        "encode": {
            "modules": ["Transformer", "Pooling", "Normalize"],
            "pooling": ["mean"],
            "normalize": True,
            "max_seq_length": 256,
            "query_instruction": "query: ",
            "text_instruction": "",
            "truncate_dim": None,
            "similarity": "cosine",
            "foreign_modules": [],
        },
        "spaces": {"document": space, "query": f"sha256:{seed.hex()}"},
        "adapter": {**layer, "transforms": ["query"]} if base else None,
        "base": pin,
        "golden": {
            "texts": 13,
            "bars": {"one_minus_cosine": 1e-8, "max_abs": 2e-6, "norm": 1e-5},
            "adapter_shift": 0.75 if base else None,
        },
        "devices": {
            "dtype": "float32",
            "order": ["cuda", "cpu"],
            "weights_bytes": 1000,
            "batch_size": 32,
            "attention": "sdpa",
            "trial": {"batch_size": 2, "max_length": 64, "peak_bytes": 4000},
        },
        "runtimes": ["torch"],
        "provenance": {
            "libraries": {"torch": "2.13", "sentence-transformers": "6.2.0", "peft": "0.21.2"},
            "source": "a folder",
            "left_out": [],
        },
    }


def _insert(database: sqlite3.Connection, made: list[Made], root: str) -> None:
    names = dict.fromkeys(one.name for one in made)
    database.executemany(
        "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, ?, ?)",
        [(name, _START_MS, _START_MS + 1) for name in names],
    )
    database.executemany(
        "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?, 'production', 1)",
        [(name,) for name in names],
    )
    places = [f"{root}/{one.model_id}/artifacts" for one in made]
    database.executemany(
        "INSERT INTO model_versions (name, version, creation_time, last_updated_time,"
        " current_stage, source, storage_location, status) VALUES (?, ?, ?, ?, 'None', ?, ?,"
        " 'READY')",
        [
            (one.name, one.version, time, time, f"models:/{one.model_id}", place)
            for time, (one, place) in enumerate(zip(made, places, strict=True), _START_MS)
        ],
    )
    database.executemany(
        "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
        [(one.name, one.version, *tag) for one in made for tag in one.tags.items()],
    )
    database.executemany(
        "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
        " creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage)"
        " VALUES (?, 0, ?, ?, ?, ?, ?, 'active')",
        [
            (one.model_id, one.name, place, time, time, _READY)
            for time, (one, place) in enumerate(zip(made, places, strict=True), _START_MS)
        ],
    )
    database.executemany(
        "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value)"
        " VALUES (?, 0, ?, ?)",
        [(one.model_id, *tag) for one in made for tag in one.tags.items()],
    )
