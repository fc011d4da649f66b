"""MLflow's registry as Pairlock sees it: where a version lies, and which digest was approved."""

from pairlock.catalog.database import ensure_database, sqlite_path
from pairlock.catalog.evidence import read_evidence, store_evidence
from pairlock.catalog.location import DIGEST_TAG, Located
from pairlock.catalog.registry import (
    ensure_registry,
    is_local_registry,
    locate,
    reach_registry,
    registry_unavailable,
    tracking_uri,
)

__all__ = [
    "DIGEST_TAG",
    "Located",
    "ensure_database",
    "ensure_registry",
    "is_local_registry",
    "locate",
    "reach_registry",
    "read_evidence",
    "registry_unavailable",
    "sqlite_path",
    "store_evidence",
    "tracking_uri",
]
