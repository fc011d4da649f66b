"""A registry that is made in bulk, and then changed one act at a time as somebody would."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow import MlflowClient

from pairlock.catalog import DIGEST_TAG, HEAD_TAG, LEDGER_TAG, ensure_database
from pairlock.ledger import (
    Act,
    Anchor,
    Entry,
    GateRecord,
    Held,
    Ledger,
    Sealed,
    State,
    Subject,
    next_state,
    replaced_by,
)
from pairlock.profiling import PROFILE_TAG
from pairlock.stores.opening import open_store
from support.planting.packages import Package

START_MS = 1_700_000_000_000
AT = "2026-01-31T12:00:00.000Z"
_READY = 2  # MLflow's LoggedModelStatus, as its table has it
_AT_ONCE = 16


@dataclass
class Model:
    """A registered model."""

    name: str
    created_ms: int
    versions: list[Version] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    acts: list[tuple[Act, str, Version | None, tuple[GateRecord, ...]]] = field(
        default_factory=list
    )
    """What is to be written into the ledger when the registry is built."""

    sealed: list[Sealed] = field(default_factory=list)
    """The ledger's entries."""

    def promote(self, stage: str, version: Version, *, gates: Iterable[GateRecord] = ()) -> None:
        """Bring a version into a stage when the registry is built."""
        self.acts.append((Act.PROMOTE, stage, version, tuple(gates)))

    def demote(self, stage: str) -> None:
        """Empty a stage when the registry is built."""
        self.acts.append((Act.DEMOTE, stage, None, ()))


@dataclass
class Logged:
    """A logged model: bytes with a place, of which no version need be registered."""

    model_id: str
    location: str
    files: Mapping[str, bytes]
    digest: str | None
    created_ms: int
    status: int = _READY


@dataclass(eq=False)
class Version:
    """A registered version."""

    model: Model
    number: int
    logged: Logged
    package: Package | None
    created_ms: int
    tags: dict[str, str]
    status: str = "READY"
    legacy_stage: str = "None"
    location: str = ""
    """Where the registry says that its bytes lie."""

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self.model.name

    @property
    def uri(self) -> str:
        """What it is loaded as."""
        return f"models:/{self.name}/{self.number}"

    @property
    def own(self) -> Package:
        """Its package; it must have one."""
        assert self.package is not None
        return self.package


class Site:
    """A registry in a folder, with its bytes there or in S3.

    Args:
        folder: where the database goes; it is made.
        root: where the bytes go: a folder, or `s3://bucket/prefix`.
        s3: a boto3 client, for S3.
        template: an empty registry to copy, for making one takes seconds; None to make one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: str | None = None,
        s3: Any = None,
        template: Path | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.uri = f"sqlite:///{folder}/mlflow.db"
        if template is not None:
            shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
        ensure_database(self.uri)
        self.root = root or str(folder / "artifacts")
        self._s3 = s3
        self.client = MlflowClient(self.uri, self.uri)
        self.experiment = self.client.create_experiment("planted", self.root)
        self.models: dict[str, Model] = {}
        self.logged: list[Logged] = []
        self._now_ms = START_MS
        self._is_built = False

    @property
    def is_remote(self) -> bool:
        """Whether the bytes lie in S3."""
        return self._s3 is not None

    # what is to be

    def model(self, name: str) -> Model:
        """A registered model; made where it is not there."""
        if name not in self.models:
            self.models[name] = Model(name, self._tick())
        return self.models[name]

    def log(self, files: Mapping[str, bytes], digest: str | None) -> Logged:
        """A logged model; after the registry was built it is written at once."""
        model_id = f"m-{uuid.uuid4().hex}"
        place = f"{self.root}/models/{model_id}/artifacts"
        made = Logged(model_id, place, files, digest, self._tick())
        self.logged.append(made)
        if self._is_built:
            self._write(made)
            with closing(sqlite3.connect(self.folder / "mlflow.db", timeout=60)) as db, db:
                self._insert_logged(db, [made])
        return made

    def version(
        self, name: str, package: Package | None, *, files: Mapping[str, bytes] | None = None
    ) -> Version:
        """The next version of a model: a profiled package, or files that another flavor wrote."""
        model = self.model(name)
        digest = None if package is None else package.digest
        logged = self.log(package.everything if package is not None else files or {}, digest)
        tags = {} if package is None else {**package.tags, **profile(package)}
        made = Version(
            model, len(model.versions) + 1, logged, package, self._tick(), tags,
            location=logged.location,
        )  # fmt: skip
        model.versions.append(made)
        return made

    def build(self) -> None:
        """Write everything: bytes, ledgers, and rows in MLflow's tables."""
        with ThreadPoolExecutor(_AT_ONCE if self.is_remote else 2) as pool:
            for done in [pool.submit(self._write, one) for one in self.logged]:
                done.result()
            for done in [pool.submit(self._record, one) for one in self.models.values()]:
                done.result()
        with closing(sqlite3.connect(self.folder / "mlflow.db", timeout=60)) as db, db:
            self._insert(db)
        self._is_built = True

    # acts on what is there

    def append(
        self, model: Model, act: Act, stage: str, version: Version | None = None,
        gates: tuple[GateRecord, ...] = (),
    ) -> Sealed:  # fmt: skip
        """Write an entry into a model's ledger. Neither aliases nor the head's tag follow."""
        ledger = Ledger(
            open_store(self.ledger_location(model)),
            model=model.name,
            model_created_ms=model.created_ms,
        )
        sealed = ledger.append(_entry(model, act, stage, version, gates))
        model.sealed.append(sealed)
        return sealed

    def set_head(self, model: Model) -> None:
        """Let the model's tag name the newest entry."""
        self.client.set_registered_model_tag(model.name, HEAD_TAG, _head(model))

    def ledger_location(self, model: Model) -> str:
        """Where a model's ledger lies."""
        own = f"pairlock-ledger/{quote(model.name, safe='')}/{model.created_ms}"
        return f"{self.root if self.is_remote else self.folder}/{own}"

    def sql(self, statement: str, *values: Any) -> None:
        """Change a row of MLflow's tables where MLflow offers no way to."""
        with closing(sqlite3.connect(self.folder / "mlflow.db", timeout=60)) as db, db:
            db.execute(statement, values)

    # bytes

    def read(self, location: str, path: str) -> bytes:
        """A file's bytes."""
        if not _is_s3(location):
            return Path(location, path).read_bytes()
        bucket, key = _key(location, path)
        content: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write(self, location: str, path: str, content: bytes) -> None:
        """Write a file, whatever lay there."""
        if not _is_s3(location):
            target = Path(location, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            return
        bucket, key = _key(location, path)
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)

    def remove(self, location: str, path: str) -> None:
        """Delete a file."""
        if not _is_s3(location):
            Path(location, path).unlink()
            return
        bucket, key = _key(location, path)
        self._s3.delete_object(Bucket=bucket, Key=key)

    def remove_all(self, location: str) -> None:
        """Delete everything below a place."""
        if not _is_s3(location):
            shutil.rmtree(location)
            return
        bucket, prefix = _key(location, "")
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                self._s3.delete_object(Bucket=bucket, Key=item["Key"])

    # inside

    def _tick(self) -> int:
        self._now_ms += 1000
        return self._now_ms

    def _write(self, logged: Logged) -> None:
        for path, content in logged.files.items():
            self.write(logged.location, path, content)

    def _record(self, model: Model) -> None:
        if not model.acts:
            return
        for act, stage, version, gates in model.acts:
            self.append(model, act, stage, version, gates)
        state = model.sealed[-1].entry.state
        model.aliases.update({stage: held.version for stage, held in state.stages.items()})
        location = self.ledger_location(model)
        # beside a database Pairlock notes the place relative to it
        model.tags[LEDGER_TAG] = (
            location if self.is_remote else location.removeprefix(f"{self.folder}/")
        )
        model.tags[HEAD_TAG] = _head(model)

    def _insert(self, db: sqlite3.Connection) -> None:
        models = self.models.values()
        versions = [one for model in models for one in model.versions]
        for statement, rows in (
            (
                "INSERT INTO registered_models (name, creation_time, last_updated_time)"
                " VALUES (?, ?, ?)",
                [(one.name, one.created_ms, one.created_ms) for one in models],
            ),
            (
                "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?, ?, ?)",
                [(one.name, *alias) for one in models for alias in one.aliases.items()],
            ),
            (
                "INSERT INTO registered_model_tags (name, key, value) VALUES (?, ?, ?)",
                [(one.name, *tag) for one in models for tag in one.tags.items()],
            ),
            (
                "INSERT INTO model_versions (name, version, creation_time, last_updated_time,"
                " current_stage, source, storage_location, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        one.name, one.number, one.created_ms, one.created_ms, one.legacy_stage,
                        f"models:/{one.logged.model_id}", one.location, one.status,
                    )
                    for one in versions
                ],
            ),
            (
                "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
                [(one.name, one.number, *tag) for one in versions for tag in one.tags.items()],
            ),
        ):  # fmt: skip
            db.executemany(statement, rows)
        self._insert_logged(db, self.logged)

    def _insert_logged(self, db: sqlite3.Connection, logged: list[Logged]) -> None:
        db.executemany(
            "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
            " creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage)"
            " VALUES (?, ?, 'planted', ?, ?, ?, ?, 'active')",
            [
                (
                    one.model_id, self.experiment, one.location, one.created_ms, one.created_ms,
                    one.status,
                )
                for one in logged
            ],
        )  # fmt: skip
        db.executemany(
            "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value)"
            " VALUES (?, ?, ?, ?)",
            [
                (one.model_id, self.experiment, DIGEST_TAG, one.digest)
                for one in logged
                if one.digest
            ],
        )


def profile(package: Package) -> dict[str, str]:
    """The tag of a profile."""
    return {f"{PROFILE_TAG}cpu.float32": json.dumps({"package_digest": package.digest})}


def _head(model: Model) -> str:
    newest = model.sealed[-1]
    return str(Anchor(sequence=newest.entry.sequence, digest=newest.digest))


def _entry(
    model: Model, act: Act, stage: str, version: Version | None, gates: tuple[GateRecord, ...]
) -> Entry:
    before = model.sealed[-1] if model.sealed else None
    state = State() if before is None else before.entry.state
    sequence = len(model.sealed)
    subject = None
    if version is not None:
        document = version.own.document
        pin: Mapping[str, Any] = document["base"] or {}
        subject = Subject(
            version=version.number,
            package_digest=version.own.digest,
            base_uri=pin.get("uri"),
            base_digest=pin.get("tree_digest"),
            document_space=document["spaces"]["document"],
            query_space=document["spaces"]["query"],
        )
    request = None
    if act is Act.REQUEST:
        request = f"r{sequence}"
    target: Held | None = None
    write_id = hashlib.sha256(f"{model.name} {sequence}".encode()).hexdigest()[:32]
    return Entry(
        sequence=sequence,
        previous=None if before is None else before.digest,
        write_id=write_id,
        act=act,
        actor="kim",
        at=AT,
        model=model.name,
        model_created_ms=model.created_ms,
        stage=stage,
        subject=subject,
        replaced=replaced_by(state, act, stage),
        gates=gates,
        request=request,
        state=next_state(
            state,
            act=act,
            sequence=sequence,
            actor="kim",
            at=AT,
            stage=stage,
            subject=subject,
            request=request,
            target=target,
        ),
    )


def _is_s3(location: str) -> bool:
    return location.startswith("s3://")


def _key(location: str, path: str) -> tuple[str, str]:
    place = urlsplit(location)
    return place.netloc, f"{place.path.strip('/')}/{path}"
