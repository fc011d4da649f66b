"""A program that packages in forked processes: killed half-way, and many at once.

    python crashes.py <root> <model>

Every point of `POINTS` is one process on the registry in `<root>/<point>`, which kills itself
there. Then several processes start together on the fresh registry in `<root>/race`. It prints how
each process ended, as JSON: 0, or minus the signal.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RACERS = 3


def _die(*_args: Any, **_kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _while_building(_root: Path) -> None:
    from pairlock_flavors.packaging import build

    build.write_golden = _die


def _after_the_first_file(root: Path) -> None:
    import shutil

    copy = shutil.copy2

    def copy_and_die(source: Any, target: Any, **kwargs: Any) -> Any:
        done = copy(source, target, **kwargs)
        if str(target).startswith(str(root)):
            _die()
        return done

    shutil.copy2 = copy_and_die


def _before_the_version(_root: Path) -> None:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore.create_model_version = _die


def _after_the_version(_root: Path) -> None:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    create = SqlAlchemyStore.create_model_version

    def create_and_die(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        _die()

    SqlAlchemyStore.create_model_version = create_and_die


def _while_creating_the_registry(_root: Path) -> None:
    os.link = _die


POINTS: dict[str, Callable[[Path], None]] = {
    "creating-the-registry": _while_creating_the_registry,
    "building": _while_building,
    "first-file": _after_the_first_file,
    "before-version": _before_the_version,
    "after-version": _after_the_version,
}


def _package(registry: Path, model: str, name: str) -> None:
    import mlflow

    import pairlock

    uri = f"sqlite:///{registry}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    pairlock.load(pairlock.log_model(model, registered_model_name=name).uri, golden=True)


def _fork(work: Callable[[], None]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - a forked process must not return
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _kill(root: Path, model: str) -> dict[str, int]:
    ends = {}
    for name, prepare in POINTS.items():

        def work(name: str = name, prepare: Callable[[Path], None] = prepare) -> None:
            prepare(root / name)
            _package(root / name, model, "crashed")

        ends[name] = os.waitstatus_to_exitcode(os.waitpid(_fork(work), 0)[1])
    return ends


def _race(root: Path, model: str) -> dict[str, int]:
    reader, writer = os.pipe()

    def work() -> None:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        _package(root, model, "raced")

    processes = [_fork(work) for _ in range(RACERS)]
    os.close(writer)
    return {str(p): os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in processes}


def _import_all(root: Path, model: str) -> None:
    """Have everything imported before forking, so that the processes meet where they work.

    Nothing of it is a registry: the processes make and open theirs.
    """
    import torch
    from mlflow.store.model_registry import sqlalchemy_store as _versions  # noqa: F401
    from mlflow.store.tracking import sqlalchemy_store as _runs  # noqa: F401

    import pairlock
    import pairlock_flavors.embedding as flavor

    torch.set_num_threads(1)
    folder = root / "imported"
    flavor.save_model(model, folder)
    pairlock.load(str(folder), golden=True)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Kill, then race."""
    root, model = Path(sys.argv[1]), sys.argv[2]
    _import_all(root, model)
    print(json.dumps({"kill": _kill(root, model), "race": _race(root / "race", model)}))


if __name__ == "__main__":
    main()
