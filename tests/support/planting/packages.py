"""Many packages from a few real ones: each has a digest of its own, and is valid.

The real ones are those of `mlruns.example`. A small one keeps their structure and has a few bytes
in each file, so that thousands are written in seconds; a whole one has their bytes, and loads.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pairlock.auditing.gathering import installed_libraries
from pairlock.digests import FileRecord, canonical_json, digest_bytes, tree_digest
from pairlock.inventory.tags import version_tags
from pairlock.inventory.telling import tell
from pairlock.manifest import MANIFEST_NAME

EXAMPLE = Path(__file__).parents[3] / "mlruns.example"
ADAPTERS = ("linear", "two_layer", "custom", "peft")
_MODEL = "payload/model/"
_NOT_NEEDED = {
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
"""What a small package goes without, for files cost most of the time."""

_LEFT_OUT = {MANIFEST_NAME, "conda.yaml", "python_env.yaml", "requirements.txt"}

Files = dict[str, bytes]
Document = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A package that lies nowhere yet."""

    kind: str
    document: Document
    content: bytes
    """The manifest's bytes."""

    files: Mapping[str, bytes]
    """Everything beside the manifest, by path."""

    @property
    def digest(self) -> str:
        """The package digest."""
        return digest_bytes(self.content)

    @property
    def payload(self) -> list[str]:
        """Paths that the manifest lists."""
        return sorted(path for path in self.files if path.startswith("payload/"))

    @property
    def everything(self) -> Files:
        """Every file by path."""
        return {**self.files, MANIFEST_NAME: self.content}

    @property
    def tags(self) -> dict[str, str]:
        """What `pairlock log` writes on the version."""
        told = tell(self.content, self.digest, approved=False, where="a planted package")
        return version_tags(told)

    def changed(self, change: Callable[[Document, Files], None]) -> Package:
        """A package that is valid and says, or holds, another thing.

        Args:
            change: changes manifest and files; the records of the files are made anew after it.
        """
        document, files = copy.deepcopy(self.document), dict(self.files)
        change(document, files)
        return packed(document, files)


@dataclass(frozen=True)
class Pinned:
    """What a package is pinned to."""

    uri: str
    origin: str
    records: tuple[FileRecord, ...]
    dimension: int = 32
    package_digest: str | None = None
    document_space: str | None = None
    revision: str | None = None

    @property
    def tree(self) -> str:
        """Digest of the base's files."""
        return tree_digest(self.records)


def pinned(uri: str, package: Package) -> Pinned:
    """A pin on a registered full model."""
    return Pinned(
        uri=uri,
        origin="package",
        records=records({path.removeprefix(_MODEL): c for path, c in model_files(package).items()}),
        dimension=package.document["dimension"],
        package_digest=package.digest,
        document_space=package.document["spaces"]["document"],
    )


def model_files(package: Package) -> Files:
    """The files of a full model, without its golden vectors."""
    return {path: text for path, text in package.files.items() if path.startswith(_MODEL)}


def records(files: Mapping[str, bytes]) -> tuple[FileRecord, ...]:
    """Records of files, by path."""
    return tuple(
        FileRecord(path=path, size_bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
        for path, text in sorted(files.items())
    )


def packed(document: Document, files: Files) -> Package:
    """A package of a manifest and files, whose records are made here."""
    payload = {path: text for path, text in files.items() if path.startswith("payload/")}
    document["files"] = [one.to_dict() for one in records(payload)]
    return Package(document["kind"], document, canonical_json(document), files)


def package(kind: str, mark: str, *, base: Pinned | None = None, whole: bool = False) -> Package:
    """A new package.

    Args:
        kind: of `mlruns.example`'s.
        mark: what tells it from every other.
        base: what an adapter is pinned to.
        whole: whether it holds the real bytes, so that it loads.
    """
    template = _templates()[kind]
    document, files = copy.deepcopy(template.document), dict(template.files)
    provenance = document["provenance"]
    provenance["source"] = f"planted {mark}"
    provenance["libraries"] |= _installed()
    if not whole:
        files = {
            path: text if not path.startswith("payload/") else _bytes(f"{mark} {path}")
            for path, text in files.items()
            if path.rpartition("/")[2] not in _NOT_NEEDED and not path.endswith("/config.json")
        }
        space = _space(mark)
        if kind == "full":
            document["spaces"] = {"document": space, "query": space}
        else:
            document["spaces"]["query"] = space
    if base is not None:
        document["base"] = {
            "uri": base.uri,
            "requested": base.uri,
            "origin": base.origin,
            "revision": base.revision,
            "package_digest": base.package_digest,
            "tree_digest": base.tree,
            "dimension": base.dimension,
            "files": [one.to_dict() for one in base.records],
        }
        if base.document_space is not None and not whole:
            document["spaces"]["document"] = base.document_space
    return packed(document, files)


def foreign_files(flavor: str, others: Mapping[str, bytes]) -> Files:
    """A model that another flavor of MLflow's logged, by its small files."""
    text = f"artifact_path: model\nflavors:\n  {flavor}:\n    data: model\nmlflow_version: 3.17.2\n"
    return {"MLmodel": text.encode(), **others}


@cache
def _installed() -> dict[str, str]:
    return installed_libraries()


def _bytes(mark: str) -> bytes:
    seed = hashlib.sha256(mark.encode()).digest()
    return b"{" + (seed * 8)[: 40 + seed[0] % 100]


def _space(mark: str) -> str:
    return f"sha256:{hashlib.sha256(mark.encode()).hexdigest()}"


@cache
def _templates() -> dict[str, Package]:
    """The packages of the example that are whole, one of each kind, all on one base."""
    found: list[Package] = []
    for manifest in sorted(EXAMPLE.rglob(MANIFEST_NAME)):
        folder = manifest.parent
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in _LEFT_OUT
        }
        document = json.loads(manifest.read_bytes())
        listed = document["files"]
        if packed(document, files).document["files"] == listed:
            found.append(Package(document["kind"], document, manifest.read_bytes(), files))
    base = next(one for one in found if one.kind == "custom").document["base"]
    templates = {"full": next(one for one in found if one.digest == base["package_digest"])}
    for kind in ADAPTERS:
        templates[kind] = next(
            one
            for one in found
            if one.kind == kind and one.document["base"]["tree_digest"] == base["tree_digest"]
        )
    return templates
