"""This machine's copy of what was fetched: by content, write-once, shared by all versions."""

from pairlock.cache.answers import IMPORTED, Answer, all_answers, forget, recall, remember
from pairlock.cache.blobs import Arrival, Stamp, right_blob, store_small
from pairlock.cache.folder import CacheFolder, writing
from pairlock.cache.locks import alone
from pairlock.cache.views import View, ViewKey, ViewKind

__all__ = [
    "IMPORTED",
    "Answer",
    "Arrival",
    "CacheFolder",
    "Stamp",
    "View",
    "ViewKey",
    "ViewKind",
    "all_answers",
    "alone",
    "forget",
    "recall",
    "remember",
    "right_blob",
    "store_small",
    "writing",
]
