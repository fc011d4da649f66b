"""What the registry answered last, so that a later question can be cheap, or can be spared.

An answer is keyed by the registry and by what was asked. It holds no credentials.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pairlock.cache.folder import CacheFolder

IMPORTED = "imported"
"""The registry of answers that came with `pairlock import`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a model lay, and which digest was recorded for it, when it was last asked."""

    registry: str
    requested: str
    uri: str
    location: str
    anchors: Mapping[str, str] = field(default_factory=dict)
    graphs: Mapping[str, str] = field(default_factory=dict)
    """Digests of graphs that were made for the version later, by precision."""

    name: str | None = None
    version: int | None = None
    created_ms: int | None = None
    """When the version was made, by the registry: a version made again has another time."""

    package_digest: str | None = None
    """The digest of what was found there, once it was proved."""

    asked_at: float = field(default=0.0, compare=False)
    """Seconds since 1970."""


def remember(folder: CacheFolder, answer: Answer) -> None:
    """Keep an answer; not in a read-only cache.

    Args:
        folder: the cache.
        answer: what was answered now.
    """
    path = _path(folder, answer)
    with suppress(OSError):
        if _read(path) == answer:
            os.utime(path)
            return
        folder.prepare()
        document = {
            **asdict(answer),
            "anchors": dict(answer.anchors),
            "graphs": dict(answer.graphs),
        }
        del document["asked_at"]  # the file's own time, so that the same answer is not written anew
        folder.write(path, json.dumps(document, indent=1).encode())


def recall(folder: CacheFolder, registry: str, requested: str) -> Answer | None:
    """The last answer to a question; None when there is none that can be read."""
    return _read(folder.answers / _name(registry, requested))


def forget(folder: CacheFolder, answer: Answer) -> None:
    """Forget an answer that is no longer true."""
    with suppress(OSError):
        _path(folder, answer).unlink()


def all_answers(folder: CacheFolder) -> Iterator[Answer]:
    """Every answer that is kept."""
    for path in sorted(folder.answers.glob("*.json")):
        if (found := _read(path)) is not None:
            yield found


def _path(folder: CacheFolder, answer: Answer) -> Path:
    return folder.answers / _name(answer.registry, answer.requested)


def _name(registry: str, requested: str) -> str:
    return hashlib.sha256(f"{registry}\n{requested}".encode()).hexdigest() + ".json"


def _read(path: Path) -> Answer | None:
    try:
        document = json.loads(path.read_bytes())
        answer = Answer(**{**document, "asked_at": path.stat().st_mtime})
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return answer if _is_sound(answer) else None


def _is_sound(answer: Answer) -> bool:
    """Whether every field has its type: the file may be damaged."""
    texts = (answer.registry, answer.requested, answer.uri, answer.location)
    optional_texts = (answer.name, answer.package_digest)
    numbers = (answer.version, answer.created_ms)
    return (
        all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in optional_texts)
        and all(number is None or type(number) is int for number in numbers)
        and all(
            isinstance(texts_by_name, dict)
            and all(isinstance(text, str) for item in texts_by_name.items() for text in item)
            for texts_by_name in (answer.anchors, answer.graphs)
        )
    )
