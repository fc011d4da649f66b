"""Where each kind of index keeps its stamp: always with the vectors, where that can be.

`finding` tells what was handed in; `storage`, `folder`, `chroma` and `qdrant` are the places.
"""

from pairlock.index.places.finding import find_places
from pairlock.index.places.interface import Place

__all__ = ["Place", "find_places"]
