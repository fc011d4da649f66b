"""Why a model gets no graph: it is no error, for torch runs it all the same."""

from __future__ import annotations


class NotExportedError(Exception):
    """A model that the onnx runtime cannot run.

    Args:
        reason: why not, in a sentence without an end.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
