"""MLflow's registry as Pairlock sees it: versions, approved digests, aliases, tags."""

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
