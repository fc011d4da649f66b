"""Moving files between a store and this machine."""

from pairlock.transfer.downloading import Sink, Wanted, download
from pairlock.transfer.uploading import upload

__all__ = ["Sink", "Wanted", "download", "upload"]
