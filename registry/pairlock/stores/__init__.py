"""Where package bytes lie. `interface` is the seam; one module per kind of store."""

from pairlock.stores.interface import Entry, EntryType, Store
from pairlock.stores.local import LocalStore

__all__ = ["Entry", "EntryType", "LocalStore", "Store"]
