"""Evidence beside a version: JSON in tags, which MLflow shows and anybody may read."""

from __future__ import annotations

from pairlock.catalog.asking import asked
from pairlock.catalog.registry import ask, need_registry, unanswered


def store_evidence(name: str, version: int, tag: str, text: str) -> None:
    """Put a tag on a registered version, in place of one of that name.

    Args:
        name: the registered model.
        version: its version.
        tag: the tag's name.
        text: its value; MLflow 3.17 takes at most 100 000 characters.

    Raises:
        NotFoundError: there is no such version.
        UnavailableError: the registry is not there, or did not take it.
    """
    ask(f"models:/{name}/{version}", "set_model_version_tag", name, str(version), tag, text)


def read_evidence(name: str, version: int, prefix: str) -> dict[str, str]:
    """The tags of a registered version whose names begin with a prefix.

    Args:
        name: the registered model.
        version: its version.
        prefix: what the names begin with.

    Returns:
        Values by the rest of their names, in the order of the names.

    Raises:
        NotFoundError: there is no such version.
        UnavailableError: the registry did not answer.
    """
    need_registry()
    with unanswered(f"models:/{name}/{version}"):
        tags = asked(lambda registry: registry.versions.version(name, version)).tags
    return {
        tag.removeprefix(prefix): str(text)
        for tag, text in sorted(tags.items())
        if tag.startswith(prefix)
    }
