"""Packages as somebody could make them by hand: files that match a manifest, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairlock.digests import canonical_json, record_file

Change = bytes | dict[str, Any] | list[Any] | int | None


def forge(
    package: Path, target: Path, files: Mapping[str, Change], manifest: Mapping[str, Any] = {}
) -> str:
    """Copy a package with other payload files, under a manifest that lists them as they are.

    Args:
        package: the package's folder.
        target: where the forgery goes.
        files: content by path in the payload: bytes or JSON; None takes the file out.
        manifest: keys of the manifest that get other values, beside those of the objects there.

    Returns:
        The folder, as a caller would name it.
    """
    shutil.copytree(package, target)
    for path, content in files.items():
        file = target / "payload" / path
        file.unlink(missing_ok=True)
        if content is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            is_bytes = isinstance(content, bytes)
            file.write_bytes(content if is_bytes else json.dumps(content).encode())
    document = json.loads((target / "pairlock.json").read_bytes())
    for name, value in manifest.items():
        inner = document[name]
        document[name] = {**inner, **value} if isinstance(inner, dict) else value
    found = sorted(path for path in (target / "payload").rglob("*") if path.is_file())
    records = [record_file(target, path.relative_to(target).as_posix()) for path in found]
    document["files"] = [
        {"path": record.path, "sha256": record.sha256, "size_bytes": record.size_bytes}
        for record in records
    ]
    (target / "pairlock.json").write_bytes(canonical_json(document))
    return str(target)
