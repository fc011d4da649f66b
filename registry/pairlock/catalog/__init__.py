"""MLflow's registry as Pairlock sees it: versions, approved digests, aliases, tags.

Names are imported when they are first used: a load needs few of these modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairlock.catalog.contents import (
        EXPERIMENT,
        Copy,
        add_version,
        logged_location,
        unregistered_copies,
        versions_by_digest,
    )
    from pairlock.catalog.database import ensure_database, sqlite_path
    from pairlock.catalog.descriptions import describe
    from pairlock.catalog.evidence import read_evidence, store_evidence
    from pairlock.catalog.in_use import is_local_registry, local_path, registry_file, tracking_uri
    from pairlock.catalog.location import DIGEST_TAG, GRAPH_TAG, Located
    from pairlock.catalog.looking_up import locate
    from pairlock.catalog.registry import (
        client,
        ensure_registry,
        reach_registry,
        registry_unavailable,
    )
    from pairlock.catalog.runs import LoggedRun, log_run, require_usable
    from pairlock.catalog.stages import (
        HEAD_TAG,
        LEDGER_TAG,
        MAX_TAG_CHARACTERS,
        RegisteredModel,
        delete_alias,
        delete_model_tag,
        fix_ledger_place,
        ledger_location,
        registered_model,
        set_alias,
        set_model_tag,
    )
    from pairlock.catalog.versions import (
        ARCHIVED,
        DELETED,
        READY,
        VersionState,
        legacy_holders,
        version_state,
    )

__all__ = [
    "ARCHIVED",
    "Copy",
    "DELETED",
    "DIGEST_TAG",
    "EXPERIMENT",
    "GRAPH_TAG",
    "HEAD_TAG",
    "LEDGER_TAG",
    "Located",
    "LoggedRun",
    "MAX_TAG_CHARACTERS",
    "READY",
    "RegisteredModel",
    "VersionState",
    "add_version",
    "client",
    "delete_alias",
    "delete_model_tag",
    "describe",
    "ensure_database",
    "ensure_registry",
    "fix_ledger_place",
    "is_local_registry",
    "ledger_location",
    "legacy_holders",
    "local_path",
    "locate",
    "log_run",
    "logged_location",
    "reach_registry",
    "read_evidence",
    "registered_model",
    "registry_file",
    "registry_unavailable",
    "require_usable",
    "set_alias",
    "set_model_tag",
    "sqlite_path",
    "store_evidence",
    "tracking_uri",
    "unregistered_copies",
    "version_state",
    "versions_by_digest",
]

_MODULES = {
    "ARCHIVED": "versions",
    "Copy": "contents",
    "DELETED": "versions",
    "DIGEST_TAG": "location",
    "EXPERIMENT": "contents",
    "GRAPH_TAG": "location",
    "HEAD_TAG": "stages",
    "LEDGER_TAG": "stages",
    "Located": "location",
    "LoggedRun": "runs",
    "MAX_TAG_CHARACTERS": "stages",
    "READY": "versions",
    "RegisteredModel": "stages",
    "VersionState": "versions",
    "add_version": "contents",
    "client": "registry",
    "delete_alias": "stages",
    "delete_model_tag": "stages",
    "describe": "descriptions",
    "ensure_database": "database",
    "ensure_registry": "registry",
    "fix_ledger_place": "stages",
    "is_local_registry": "in_use",
    "ledger_location": "stages",
    "legacy_holders": "versions",
    "local_path": "in_use",
    "locate": "looking_up",
    "log_run": "runs",
    "logged_location": "contents",
    "reach_registry": "registry",
    "read_evidence": "evidence",
    "registered_model": "stages",
    "registry_file": "in_use",
    "registry_unavailable": "registry",
    "require_usable": "runs",
    "set_alias": "stages",
    "set_model_tag": "stages",
    "sqlite_path": "database",
    "store_evidence": "evidence",
    "tracking_uri": "in_use",
    "unregistered_copies": "contents",
    "version_state": "versions",
    "versions_by_digest": "contents",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
