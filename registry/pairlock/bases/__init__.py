"""The base under an adapter: found, proved, and handed to the libraries as a local folder.

Never by a name that a library looks up by itself. `finding` finds what shall become a base, `pins`
finds the one that an adapter's manifest names.
"""

from pairlock.bases.base import Base
from pairlock.bases.finding import find_base, model_records
from pairlock.bases.keeping import kept_base
from pairlock.bases.pins import base_error, examine_base, open_base

__all__ = [
    "Base",
    "base_error",
    "examine_base",
    "find_base",
    "kept_base",
    "model_records",
    "open_base",
]
