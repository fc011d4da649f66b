"""onnxruntime sessions in memory, each held once per process: by model, graph and weights.

A session is safe to run from many threads. It goes when the last embedding on it goes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, IntegrityError

_QUIET = 3
"""onnxruntime's log level for errors: its warnings name optimisations that it made."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """What tells sessions apart."""

    tree_digest: str
    """Digest of the model's files, which the weights are mapped from."""

    runtime_digest: str
    """Digest of the graph, and of everything but those files that the weights are made of."""

    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFiles:
    """What a session is made of."""

    graph: bytes
    """The graph, without weights."""

    model_folder: Path
    """Where the graph's weights lie. They are mapped: nobody may write to these files."""

    in_memory: Mapping[str, NDArray[np.uint8]]
    """Weights in no file of the model, by the name that the graph calls them by."""


class Session:
    """A model in memory.

    Args:
        key: what it is.
        files: what it is made of.
        loaded_from: where the model's files were.
        weights_bytes: bytes of its weights.

    Raises:
        IntegrityError: onnxruntime cannot make a session of it.
    """

    def __init__(
        self, key: SessionKey, files: GraphFiles, *, loaded_from: str, weights_bytes: int
    ) -> None:
        self.key = key
        self.loaded_from = loaded_from
        self.weights_bytes = weights_bytes
        self._inference = _inference_session(files, key.threads)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Run the graph: every input (n_texts, n_tokens) to (n_texts, dimension) float32."""
        outputs: Any = self._inference.run(None, dict(inputs))
        return np.asarray(outputs[0], dtype=np.float32)


_held: WeakValueDictionary[SessionKey, Session] = WeakValueDictionary()
_guard = threading.Lock()
_making: dict[SessionKey, threading.Lock] = {}


def shared(key: SessionKey, make: Callable[[], Session]) -> Session:
    """The session under a key: the one in memory, or one that is made now.

    Args:
        key: what is wanted.
        make: makes it; called by one thread, while others that want the same wait.
    """
    with _guard:
        lock = _making.setdefault(key, threading.Lock())
    with lock:
        found = _held.get(key)
        if found is None:
            found = make()
            with _guard:
                _held[key] = found
        return found


def all_sessions() -> tuple[Session, ...]:
    """Every session that is in memory."""
    with _guard:
        return tuple(_held.values())


def thread_count() -> int:
    """Threads that a session computes with: `OMP_NUM_THREADS`, as torch reads it, else the cores.

    onnxruntime itself does not read the variable.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isdigit() and int(text) > 0:
        return int(text)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _inference_session(files: GraphFiles, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(files.model_folder)
    )
    if files.in_memory:
        buffers = list(files.in_memory.values())
        options.add_external_initializers_from_files_in_memory(
            list(files.in_memory), buffers, [buffer.nbytes for buffer in buffers]
        )
    try:
        return onnxruntime.InferenceSession(
            files.graph, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # onnxruntime's errors have no common class but Exception
        raise IntegrityError(
            "onnxruntime cannot run the graph",
            kind=ErrorKind.RUNTIME_INVALID,
            checked=f"the package's graph, by onnxruntime {onnxruntime.__version__}",
            expected="a graph that fits the model's weights",
            found=str(error).strip().partition("\n")[0][:300],
            done="nothing was loaded",
            hint="install the version of onnxruntime that the package was made with (`pairlock "
            "show` names it), or load with runtime='torch'",
        ) from error
