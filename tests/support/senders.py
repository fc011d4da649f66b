"""A program that promotes in another registry, and is killed one step later each time.

    python senders.py <source uri> <destination uri> <stage>

For every point in `_points`, in the order in which a promotion comes to them, one forked process
goes on where the one before was killed, and is killed there. Then one is let alone.
It prints how each ended, as JSON: minus the signal, or what it said.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def _die(*_args: Any, **_kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(module: Any, name: str) -> None:
    """Die when a function is called."""
    setattr(module, name, _die)


def _after(module: Any, name: str) -> None:
    """Die when a function has done its work."""
    inner = getattr(module, name)

    def dying(*args: Any, **kwargs: Any) -> None:
        inner(*args, **kwargs)
        _die()

    setattr(module, name, dying)


def _points() -> dict[str, Callable[[], None]]:
    from mlflow import MlflowClient

    import pairlock_flavors.embedding as flavor
    from pairlock.ledger import Ledger
    from pairlock.promotion.execution import delivering, following

    return {
        "logged model made, no bytes": lambda: _before(flavor, "upload"),
        "payload stored, no manifest": lambda: _before(MlflowClient, "log_model_artifacts"),
        "base stored, not registered": lambda: _before(delivering, "add_version"),
        "registered model made, no version": lambda: _after(
            MlflowClient, "create_registered_model"
        ),
        "base registered": lambda: _after(MlflowClient, "create_model_version"),
        "package stored, not registered": lambda: _before(delivering, "add_version"),
        "package registered, no entry": lambda: _before(Ledger, "append"),
        "entry there, no alias": lambda: _after(Ledger, "append"),
        "alias there, head not noted": lambda: _after(following, "set_alias"),
        "all there, no entry here": lambda: _before(Ledger, "append"),
        "entry here": lambda: _after(Ledger, "append"),
    }


def _fork(work: Callable[[], str]) -> tuple[int, str]:
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.write(writer, work().encode())
        except BaseException as error:  # noqa: BLE001 - a forked process must not return
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def _send(destination: str, stage: str) -> str:
    from pairlock import PairlockError
    from pairlock.promotion import send

    try:
        send("support", 1, to=stage, to_registry=destination)
    except PairlockError as error:
        return str(error.kind)
    return "done"


def _import_all() -> None:
    """Have everything imported, and no connection open, before forking."""
    import torch
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Models
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Runs

    import pairlock

    torch.set_num_threads(1)
    pairlock.verify("models:/support/1")
    for store in (Models, Runs):
        for engine in store._engine_map.values():
            engine.dispose()  # connections cannot be forked
    gc.collect()
    gc.freeze()  # no forked process looks through the libraries for garbage


def main() -> None:
    """Kill at one point after the other, then finish."""
    source, destination, stage = sys.argv[1:]
    os.environ["MLFLOW_TRACKING_URI"] = source
    _import_all()
    ends: dict[str, Any] = {}
    for name, prepare in _points().items():

        def killed(prepare: Callable[[], None] = prepare) -> str:
            prepare()
            return _send(destination, stage)

        code, said = _fork(killed)
        ends[name] = code or said
    ends["last"] = _fork(lambda: _send(destination, stage))[1]
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
