"""This machine's copy of what was fetched: by content, write-once, shared by all versions."""

from pairlock.cache.answers import IMPORTED, Answer, all_answers, forget, recall, remember
from pairlock.cache.blobs import Arrival, blob_is_right
from pairlock.cache.folder import CacheFolder, writing
from pairlock.cache.locks import alone
from pairlock.cache.views import View, ViewKey, ViewKind, store_small

__all__ = [
    "IMPORTED",
    "Answer",
    "Arrival",
    "CacheFolder",
    "View",
    "ViewKey",
    "ViewKind",
    "all_answers",
    "alone",
    "blob_is_right",
    "forget",
    "recall",
    "remember",
    "store_small",
    "writing",
]
