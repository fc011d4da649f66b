"""Moving files between a store and this machine."""

from pairlock.transfer.download import Sink, Wanted, download
from pairlock.transfer.upload import upload

__all__ = ["Sink", "Wanted", "download", "upload"]
