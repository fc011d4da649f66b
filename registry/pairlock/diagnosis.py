"""What `pairlock doctor` looks at: what is installed, where things are, what is wrong."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from pairlock._bridge import loading
from pairlock.cache import CacheFolder
from pairlock.cache.survey import Survey, survey
from pairlock.catalog import reach_registry, sqlite_path, tracking_uri
from pairlock.config import current_settings
from pairlock.errors import PairlockError
from pairlock.installed import SERVE_EXTRA, TORCH_EXTRA, is_installed
from pairlock.references import without_credentials
from pairlock.wording import counted

_LOW_SPACE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that was looked at."""

    name: str
    value: str
    problem: str = ""
    """What is wrong with it and what to do; empty when nothing is."""


def diagnose() -> list[Fact]:
    """Look at this machine. Writes nothing but a file in the temporary folder, and removes it."""
    return [
        *_installed(),
        *_runtimes(),
        *_devices(),
        *_registry(),
        *_cache(),
        _hub_cache(),
        _temporary_folder(),
        *_risky_environment(),
    ]


def to_dict(facts: list[Fact]) -> dict[str, Any]:
    """The facts as JSON data."""
    return {
        "healthy": not any(fact.problem for fact in facts),
        "facts": [asdict(fact) for fact in facts],
    }


def _installed() -> list[Fact]:
    facts = [Fact(name="python", value=platform.python_version())]
    needed = [line for line in requires("pairlock") or [] if "extra ==" not in line]
    for line in ["pairlock", *needed]:
        name = _distribution(line)
        found = _version(name)
        problem = "" if found else f"run `pip install '{line}'`"
        facts.append(Fact(name=name, value=found or "not installed", problem=problem))
    return facts


def _runtimes() -> list[Fact]:
    """What the extras bring, and which runtime computes where nobody says."""
    serve = _names_of(SERVE_EXTRA)
    torch = [name for name in _names_of(TORCH_EXTRA) if name not in serve]
    facts = [
        _extra(SERVE_EXTRA, serve, is_there=is_installed("onnxruntime", "tokenizers")),
        _extra(TORCH_EXTRA, torch, is_there=is_installed("torch", "sentence_transformers")),
    ]
    return [*facts, _runtime()]


def _names_of(extra: str) -> list[str]:
    lines = [line for line in requires("pairlock") or [] if _is_of(line, extra)]
    return [name for name in map(_distribution, lines) if name != "pairlock"]


def _extra(extra: str, names: list[str], *, is_there: bool) -> Fact:
    name = f"pairlock[{extra}]"
    if not is_there:
        # some of it may be, for the sake of another distribution
        return Fact(name=name, value="not installed")
    found = [f"{one} {there}" for one in names if (there := _version(one))]
    value = ", ".join(found) or "installed"
    if missing := [one for one in names if not _version(one)]:
        value += f"; without {', '.join(missing)}"
    return Fact(name=name, value=value)


def _runtime() -> Fact:
    try:
        settings = current_settings()
        chosen = loading().runtime_name(None, settings)
    except PairlockError as error:
        return Fact(name="runtime", value="none", problem=f"{error.summary}; {error.hint}")
    why = "PAIRLOCK_RUNTIME says so"
    if settings.runtime == "auto":
        why = "torch is installed" if chosen == "torch" else "torch is not installed"
    return Fact(name="runtime", value=f"{chosen}: {why}")


def _distribution(line: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", line)
    return found[0] if found else line


def _is_of(line: str, extra: str) -> bool:
    return re.search(rf"extra == ['\"]{extra}['\"]", line) is not None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[Fact]:
    if not is_installed("torch"):
        return [Fact(name="devices", value="cpu; torch, which knows others, is not installed")]
    try:
        import torch
    except ImportError as error:
        return [Fact(name="devices", value="unknown", problem=f"torch cannot be imported: {error}")]
    found = ["cpu"]
    found += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [Fact(name="devices", value=", ".join(found))]


def _registry() -> list[Fact]:
    try:
        uri = tracking_uri()
    except PairlockError as error:
        problem = f"{error.found}; {error.hint}"
        return [Fact(name="registry", value="unknown", problem=problem)]
    facts = [Fact(name="registry", value=without_credentials(uri))]
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return [
            *facts,
            Fact(name="registry state", value="not there yet; `pairlock log` makes it"),
        ]
    try:
        facts.append(Fact(name="registry state", value=reach_registry()))
    except PairlockError as error:
        facts.append(
            Fact(
                name="registry state",
                value="does not answer",
                problem=f"{error.found}; {error.hint}",
            )
        )
    return facts


def _cache() -> list[Fact]:
    try:
        settings = current_settings()
        found = survey(CacheFolder(settings.cache))
    except PairlockError as error:
        problem = f"{error.found}; {error.hint}"
        return [Fact(name="cache", value=error.checked, problem=problem)]
    facts = [_cache_folder(settings.cache, found)]
    if settings.offline:
        facts.append(Fact(name="network", value="not used: PAIRLOCK_OFFLINE is on"))
    if settings.mirrors:
        facts.append(Fact(name="mirrors", value=", ".join(settings.mirrors)))
    return facts


def _cache_folder(root: Path, found: Survey) -> Fact:
    if not root.exists():
        value = f"{root} (not there yet; only packages in S3 or behind a proxy need it)"
        return Fact(name="cache", value=value)
    if not root.is_dir():
        problem = "is no folder; set PAIRLOCK_CACHE to another path"
        return Fact(name="cache", value=str(root), problem=problem)
    things = counted(len(found.views), "package or base", "packages and bases")
    held = f"{things}, {found.size_bytes / 1e6:.1f} MB"
    if not os.access(root, os.W_OK):
        return Fact(name="cache", value=f"{root}, {held}, read-only: what is in it can be loaded")
    free_bytes = shutil.disk_usage(root).free
    advice = "little space: `pairlock cache prune`, or set PAIRLOCK_CACHE to another disk"
    return Fact(
        name="cache",
        value=f"{root}, {held}, {free_bytes / (1 << 30):.1f} GiB free",
        problem=advice if free_bytes < _LOW_SPACE_BYTES else "",
    )


def _hub_cache() -> Fact:
    if not is_installed("huggingface_hub"):
        return Fact(name="hub cache", value="not used: huggingface-hub is not installed")
    from huggingface_hub.constants import HF_HUB_CACHE

    path = Path(HF_HUB_CACHE)
    there = "" if path.is_dir() else " (not there yet; only hf:// bases need it)"
    return Fact(name="hub cache", value=f"{path}{there}")


def _temporary_folder() -> Fact:
    path = tempfile.gettempdir()
    try:
        with tempfile.NamedTemporaryFile(dir=path) as stream:
            stream.write(b"x")
        free_bytes = shutil.disk_usage(path).free
    except OSError as error:
        return Fact(
            name="temporary folder",
            value=path,
            problem=f"cannot be written to ({error}); set TMPDIR to another folder",
        )
    advice = "little space: packages are made there; set TMPDIR to another folder"
    return Fact(
        name="temporary folder",
        value=f"{path}, {free_bytes / (1 << 30):.1f} GiB free",
        problem=advice if free_bytes < _LOW_SPACE_BYTES else "",
    )


def _risky_environment() -> list[Fact]:
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    if os.environ.get(name, "").lower() not in {"1", "y", "yes", "true"}:
        return []
    problem = "lets torch.load run code in every other program here; unset it (Pairlock ignores it)"
    return [Fact(name=name, value=os.environ[name], problem=problem)]
