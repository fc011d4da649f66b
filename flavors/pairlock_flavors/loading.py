"""From what a user wrote to a loaded model: which runtime, and what is done while it is imported.

Imports cost most of a cold load: seconds for torch and its libraries, where finding and proving a
model takes tenths. So the first load of a process finds the model, imports its runtime in a thread
beside the fetch and the proof, and lets no garbage be collected meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from threading import Thread
from typing import Any

from pairlock.catalog import Located
from pairlock.config import Settings
from pairlock.errors import ErrorKind, InvalidInputError, NotFoundError, UnavailableError
from pairlock.garbage import collector_off
from pairlock.installed import missing_of
from pairlock.packages import make_ready
from pairlock.progress import Progress
from pairlock.resolution import resolve
from pairlock_flavors.proving import Proved, prove
from pairlock_flavors.wish import INTERFACES, Wish

_TORCH, _ONNX = "pairlock_flavors.torch_runtime.open", "pairlock_flavors.onnx_runtime.open"

RUNTIMES = {
    "torch": (_TORCH, ("torch", "sentence_transformers")),
    "onnx": (_ONNX, ("onnxruntime", "tokenizers")),
}
"""Of each runtime, the module that opens models in it, and the packages that it needs."""


def load(uri: str, *, settings: Settings, wish: Wish, progress: Progress) -> Any:
    """Load what a user named. See `pairlock.load`.

    Args:
        uri: what to load.
        settings: which cache and mirrors, whether the network may be used, which classes may run.
        wish: what else the caller asks for.
        progress: told about the work.

    Returns:
        A `BaseEmbedding`, or an encoder where the wish says so; each carries its receipt.

    Raises:
        PairlockError: every reason not to load.
    """
    module, early_imports = _runtime(wish, settings)
    if module == _ONNX:
        settings = replace(settings, in_place=False)
    if module in sys.modules:
        return _opened(module, resolve(uri, settings), settings, wish, progress, None)
    with collector_off():
        located = resolve(uri, settings)
        make_ready(located, settings=settings)
        with _importing(early_imports):
            # not when it is opened: nothing is in memory that a base could be shared with
            proved = prove(located, settings=settings, wish=wish, progress=progress)
            # this waits for the runtime, and not for LlamaIndex
            return _opened(module, located, settings, wish, progress, proved)


def load_located(located: Located, *, settings: Settings, wish: Wish, progress: Progress) -> Any:
    """Load a package that was found already. See `load`."""
    module, _ = _runtime(wish, settings)
    return _opened(module, located, settings, wish, progress, None)


def _opened(
    module: str,
    located: Located,
    settings: Settings,
    wish: Wish,
    progress: Progress,
    proved: Proved | None,
) -> Any:
    opening = import_module(module)
    try:
        return opening.open_model(
            located, settings=settings, wish=wish, progress=progress, proved=proved
        )
    except NotFoundError as error:
        is_asked_for = (wish.runtime or settings.runtime) != "auto" or wish.dtype == "int8"
        if error.kind is not ErrorKind.RUNTIME_MISSING or is_asked_for or is_installed("torch"):
            raise
        raise torch_alone_can(located.uri) from error


def torch_alone_can(uri: str) -> UnavailableError:
    """The error where a package has no graph, and torch is not installed."""
    return UnavailableError(
        f"{uri} holds no graph for the onnx runtime, and torch, which runs it, is not installed",
        kind=ErrorKind.LIBRARY_MISSING,
        checked="the runtimes that its manifest names, and those that are installed",
        expected="one that is both",
        found="the package is made for torch; onnx is installed",
        done="nothing was loaded",
        hint="pip install 'pairlock[torch]', or, where that is installed, make a graph with "
        f"`pairlock compile {uri}`",
    )


def runtime_name(wished: str | None, settings: Settings) -> str:
    """The runtime that a load would use: `torch` or `onnx`.

    Args:
        wished: what the caller says; None for what the settings say.
        settings: see there.

    Raises:
        InvalidInputError: there is no such runtime.
        UnavailableError: it is not installed.
    """
    name = wished or settings.runtime
    if name == "auto":
        name = "torch" if is_installed("torch") or not is_installed("onnx") else "onnx"
    if name not in RUNTIMES:
        raise _unknown("runtime", name, ("auto", *RUNTIMES))
    if not is_installed(name):
        raise _not_installed(name)
    return name


def is_installed(runtime: str) -> bool:
    """Whether everything is there that a runtime needs; nothing is imported."""
    return not missing_of(RUNTIMES[runtime][1])


def _runtime(wish: Wish, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The module that opens models in the wished runtime, and what may be imported beside."""
    if wish.interface not in INTERFACES:
        raise _unknown("interface", wish.interface, INTERFACES)
    module, _ = RUNTIMES[runtime_name(wish.runtime, settings)]
    if module == _ONNX and wish.interface == "llama_index":
        return module, (module, "llama_index.core.base.embeddings.base")
    return module, (module,)


@contextmanager
def _importing(modules: tuple[str, ...]) -> Iterator[None]:
    """Import modules in a thread while the block runs, and wait for them at its end.

    What goes wrong there goes wrong again, and is told, where they are imported for use.
    """
    missing = [name for name in modules if name not in sys.modules]
    if not missing:
        yield
        return
    thread = Thread(target=_import_quietly, args=(missing,), daemon=True, name="pairlock-imports")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _import_quietly(modules: list[str]) -> None:
    for name in modules:
        try:
            import_module(name)
        except Exception:  # noqa: BLE001 - told by the import for use
            return


def _unknown(what: str, found: str, known: tuple[str, ...]) -> InvalidInputError:
    return InvalidInputError(
        f"there is no {what} {found!r}",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=what,
        expected=", ".join(known),
        found=repr(found),
        done="nothing was loaded",
        hint=f"choose one of these, or leave {what} out",
    )


def _not_installed(runtime: str) -> UnavailableError:
    needed = RUNTIMES[runtime][1]
    extra = "torch" if runtime == "torch" else "serve"
    return UnavailableError(
        f"the {runtime} runtime is not installed",
        kind=ErrorKind.LIBRARY_MISSING,
        checked="installed packages",
        expected=", ".join(needed),
        found="not " + ", not ".join(missing_of(needed)),
        done="nothing was loaded",
        hint=f"pip install 'pairlock[{extra}]', or choose another runtime",
    )
