"""Where package bytes lie: `interface` is the seam, `opening` finds the store of a location."""

from pairlock.stores.interface import (
    BrokenStreamError,
    ByteStream,
    Entry,
    EntryType,
    OtherSizeError,
    Store,
)
from pairlock.stores.local import LocalStore

__all__ = [
    "BrokenStreamError",
    "ByteStream",
    "Entry",
    "EntryType",
    "LocalStore",
    "OtherSizeError",
    "Store",
]
