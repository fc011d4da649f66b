"""What a whole registry holds: models, versions, their packages, their ledgers."""

from pairlock.inventory.facts import (
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
    "Inventory",
    "LedgerFacts",
    "ModelFacts",
    "PackageFacts",
    "PackageState",
    "PinFacts",
    "VersionFacts",
    "take",
]
