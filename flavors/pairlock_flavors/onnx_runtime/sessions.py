"""onnxruntime sessions in memory, each held once per process: by model, graph and weights.

A session is safe to run from many threads. It goes when the last embedding on it goes.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pairlock.errors import ErrorKind, IntegrityError, StorageError
from pairlock.manifest.compiled import DERIVED

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

    @property
    def device(self) -> str:
        """Where it computes, as torch names it."""
        return "cpu"

    @property
    def dtype(self) -> str:
        """What it computes in, as torch names it."""
        return "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFiles:
    """What a session is made of."""

    graph: bytes
    """The graph, without weights."""

    model_folder: Path
    """Where the graph's weights lie. They are mapped: nobody may write to these files."""

    weights: Mapping[str, NDArray[Any]]
    """All weights, by the graph's names for them, where some are in no file of the model. The graph
    says then that they are in a file of the name `derived`, which holds nothing, so that one that
    is forgotten is an error. Else none: onnxruntime maps the files itself."""


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
        # onnxruntime uses these where they are, for as long as the session lives
        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(weight)
            for name, weight in files.weights.items()
        }
        self._arrays = dict(files.weights)
        self._inference = _inference_session(files, self._values, key.threads)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the graph takes."""
        return tuple(found.name for found in self._inference.get_inputs())

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


def all_residents() -> tuple[Session, ...]:
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


def _inference_session(
    files: GraphFiles, values: Mapping[str, onnxruntime.OrtValue], threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    for name, value in values.items():
        options.add_initializer(name, value)
    try:
        with _weights_folder(files) as folder:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(folder)
            )
            return onnxruntime.InferenceSession(
                files.graph, options, providers=["CPUExecutionProvider"]
            )
    except OSError as error:
        raise StorageError.of(
            error,
            "the folder for weights that are derived cannot be made",
            checked=str(error.filename or tempfile.gettempdir()),
            done="nothing was loaded",
            hint="check free space and permissions there; TMPDIR moves it",
        ) from error
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


@contextmanager
def _weights_folder(files: GraphFiles) -> Iterator[Path]:
    """Where onnxruntime looks for the files that a graph names, while it makes a session.

    It looks for the file of a weight also where it is given the weight itself.
    """
    if not files.weights:
        yield files.model_folder
        return
    with tempfile.TemporaryDirectory(prefix="pairlock-weights-") as name:
        (Path(name) / DERIVED).touch()
        yield Path(name)
