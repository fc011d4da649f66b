"""The hub's cache of downloaded models, as huggingface_hub lays it out."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill_hub_cache(cache: Path, repository: str, model: Path) -> Path:
    """Lay a model out as the hub's cache does: blobs, and a snapshot made of links to them."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    for number, path in enumerate(sorted(p for p in model.rglob("*") if p.is_file())):
        blob = root / "blobs" / f"{number:040x}"
        shutil.copyfile(path, blob)
        link = snapshot / path.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot
