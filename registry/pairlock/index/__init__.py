"""Which model an index was built with, written down in the index, and held to.

    pairlock.index.stamp(index, embedding)
    pairlock.index.check("storage/", pairlock.load("models:/support@production"))
    index = pairlock.guard(index, embedding)

See `docs/index-guard.md`. Importing this imports neither LlamaIndex nor a vector store.
"""

from pairlock.index.acts import check, read, stamp
from pairlock.index.stamped import StampedIndex, stamped_indexes
from pairlock.index.stamps import Stamp

__all__ = ["Stamp", "StampedIndex", "check", "read", "stamp", "stamped_indexes"]
