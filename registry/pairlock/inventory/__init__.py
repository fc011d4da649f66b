"""What a whole registry holds: models, versions, their packages, their ledgers."""

from pairlock.inventory.facts import (
    ForeignFacts,
    Inventory,
    LedgerFacts,
    ModelFacts,
    PackageFacts,
    PackageState,
    PinFacts,
    VersionFacts,
)
from pairlock.inventory.taking import take

__all__ = [
    "ForeignFacts",
    "Inventory",
    "LedgerFacts",
    "ModelFacts",
    "PackageFacts",
    "PackageState",
    "PinFacts",
    "VersionFacts",
    "take",
]
