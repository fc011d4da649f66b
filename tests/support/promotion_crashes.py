"""A program that kills acts on a stage after each of their steps, and then lets commands go on.

    python promotion_crashes.py <stock> <folder> <scenario>...

A step is a change that outlives the process: a folder, a file, half a file, a link, a flush, an
alias, a tag, an object in S3. For every step of a scenario one forked process kills itself right
after it; the first dies before any. Forked processes then run the next command, each on a copy of
what is left. It prints, as JSON, a list of `Left` for every scenario.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

import mlflow

from pairlock.catalog import HEAD_TAG
from pairlock.promotion import demote, execute, history, promote, repair, rollback
from pairlock.promotion.rules.notes import PREFIX
from pairlock.stores.s3 import S3Store
from support.promotions import NAME, STAGE, Stock, faults, looked, planned, proofs_reused
from support.registries import active

MOST_STEPS = 120
LANES = 2


@dataclass
class Next:
    """What a command after a crash came to."""

    command: str
    error: str | None = None
    before: int = -1
    """The head's number before it; -1 without one."""

    after: int = -1
    holder: int | None = None
    """The version that holds the stage, by the ledger, before it."""

    rolls_back_to: int | None = None
    """The entry that a rollback returns to, by the ledger, before it."""

    alias: int | None = None
    """The version that the alias named before it."""

    moved: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Left:
    """One crash: after which step, and what came of each next command."""

    steps: list[str]
    ended: int = 0
    """How the process ended: 0 when the act has no further step."""

    next: list[Next] = field(default_factory=list)


# where to die


class Steps:
    """Counts the steps of an act, and ends the process after one of them."""

    def __init__(self, last: int, log: Path) -> None:
        self._left = last
        self._log = log

    def did(self, what: str) -> None:
        """A step was done."""
        with self._log.open("a") as log:
            log.write(f"{what}\n")
        self._left -= 1
        self.die_if_over()

    def die_if_over(self) -> None:
        """Die when no step is left."""
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _Halved:
    """A file whose first half is a step of its own."""

    def __init__(self, stream: Any, steps: Steps) -> None:
        self._stream, self._steps = stream, steps

    def __enter__(self) -> _Halved:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, content: bytes) -> None:
        """In two halves."""
        middle = len(content) // 2
        for part in (content[:middle], content[middle:]):
            self._stream.write(part)
            self._stream.flush()
            self._steps.did("half of a file")


@contextmanager
def counted(steps: Steps) -> Iterator[None]:
    """Let every lasting change of this process be a step."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    def after(original: Callable[..., Any], what: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            key = getattr(args[-1], "key", "")
            steps.did(f"tag {PREFIX if key.startswith(PREFIX) else key}" if key else what)
            return result

        return wrapper

    opening = Path.open

    def open_new(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = opening(path, mode, *args, **kwargs)
        if mode != "xb":
            return stream
        steps.did("an empty file")
        return _Halved(stream, steps)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("link", "fsync", "mkdir", "unlink"):
            patch.setattr(os, name, after(getattr(os, name), name))
        patch.setattr(Path, "open", open_new)
        for method, what in {
            "set_registered_model_alias": "alias",
            "delete_registered_model_alias": "alias removed",
            "set_registered_model_tag": "tag",
            "delete_registered_model_tag": "tag removed",
        }.items():
            patch.setattr(SqlAlchemyStore, method, after(getattr(SqlAlchemyStore, method), what))
        patch.setattr(S3Store, "create", after(S3Store.create, "put"))
        steps.die_if_over()
        yield


# what is killed


def _nothing() -> None:
    pass


def _two_before() -> None:
    for version in (1, 2):
        execute(planned(version))


def _an_alias_left_behind() -> None:
    """Two promotions; the second one was killed before its alias was written."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    execute(planned(1))
    SqlAlchemyStore.set_registered_model_alias = _die
    execute(planned(2))


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _promote_3() -> None:
    execute(planned(3))


def _demote() -> None:
    demote(NAME, stage=STAGE)


def _rollback() -> None:
    rollback(NAME, stage=STAGE)


def _overtaken_at(method: str, work: Callable[[], None] = _promote_3) -> Callable[[], None]:
    """Do something; as its first write of a kind is due, somebody else promotes another version.

    What is written then is out of date.
    """

    def act() -> None:
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

        write = getattr(SqlAlchemyStore, method)
        others = [4]

        def late(*args: Any, **kwargs: Any) -> Any:
            if others and getattr(args[-1], "key", HEAD_TAG) == HEAD_TAG:
                execute(planned(others.pop()))
            return write(*args, **kwargs)

        setattr(SqlAlchemyStore, method, late)
        work()

    return act


@dataclass(frozen=True)
class Scenario:
    """An act that is killed."""

    before: Callable[[], None]
    """What was done before it."""

    act: Callable[[], None]
    commands: tuple[str, ...] = ("history", "promote", "rollback", "repair")
    """The next commands. Each step gets some of them, in turn."""

    each: int = 1
    """How many of them each step gets."""

    first: int = 0
    """After how many steps it is killed first."""


SCENARIOS = {
    "first": Scenario(_nothing, _promote_3),
    "promote": Scenario(_an_alias_left_behind, _promote_3, each=2),
    "promote-s3": Scenario(_an_alias_left_behind, _promote_3),
    "demote": Scenario(_two_before, _demote, first=4),
    "rollback": Scenario(_two_before, _rollback, first=4),
    # from where the other one's entry is there; the files before are those of "promote"
    "overtaken-at-alias": Scenario(
        _two_before, _overtaken_at("set_registered_model_alias"), ("history",), first=19
    ),
    "overtaken-at-removal": Scenario(
        _two_before,
        _overtaken_at("delete_registered_model_alias", _demote),
        ("history",),
        first=19,
    ),
    "overtaken-at-tag": Scenario(
        _two_before, _overtaken_at("set_registered_model_tag"), ("history",), first=19
    ),
}


# what comes next

COMMANDS: dict[str, Callable[[], list[str]]] = {
    "history": lambda: [str(one) for one in history(NAME).moved],
    "promote": lambda: [str(one) for one in promote(NAME, 5, to=STAGE).followed.moved],
    "rollback": lambda: [str(one) for one in rollback(NAME, stage=STAGE).followed.moved],
    "repair": lambda: [str(one) for one in repair(NAME).followed.moved],
}


def _go_on(command: str) -> Next:
    found = Next(command)
    opened = looked()
    found.before = -1 if opened.head is None else opened.head.entry.sequence
    held = opened.state.stages.get(STAGE)
    if held is not None:
        found.holder, found.rolls_back_to = held.version, held.previous
    found.alias = opened.model.aliases.get(STAGE)
    try:
        found.moved = COMMANDS[command]()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        found.error = f"{type(error).__name__}: {error}"
        history(NAME)  # a refused act changes nothing, so it heals nothing either
    head = looked().head
    found.after = -1 if head is None else head.entry.sequence
    found.wrong = faults()
    return found


# processes


def _start(work: Callable[[], Any]) -> int:
    """Run something in a process of its own; its number."""
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a forked process must not return
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return process


def _end(process: int) -> int:
    """How a process ended."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _in_a_fork(work: Callable[[], Any]) -> int:
    """Run something in a process of its own; how it ended."""
    return _end(_start(work))


def _use(folder: Path) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


def _scenario(scenario: Scenario, stock: Stock, root: Path, s3: str | None) -> list[Left]:
    """Every step of one scenario. On S3 copies would share a ledger, so each one begins anew."""
    start = root / "start"
    if s3 is None:
        _begin(scenario, stock, start, None)
    found: list[Left] = []
    for last in range(scenario.first, MOST_STEPS):
        killed, log = root / str(last), root / f"{last}.log"
        if s3 is None:
            shutil.copytree(start, killed)
        else:
            _begin(scenario, stock, killed, f"{s3}/{last}")
        end = _in_a_fork(partial(_killed, scenario, killed, last, log))
        left = Left(log.read_text().splitlines(), end)
        for number in range(scenario.each):
            command = scenario.commands[(last + 2 * number) % len(scenario.commands)]
            here = root / f"{last}-{command}"
            shutil.copytree(killed, here)
            assert _in_a_fork(partial(_go_on_in, here, command)) == 0, (root.name, last, command)
            left.next.append(Next(**json.loads((here / "next.json").read_text())))
        found.append(left)
        if left.ended != -signal.SIGKILL:
            return found
    raise AssertionError(f"more than {MOST_STEPS} steps")


def _begin(scenario: Scenario, stock: Stock, folder: Path, ledger: str | None) -> None:
    stock.copy(folder, placed=False)

    def work() -> None:
        _use(folder)
        if ledger is not None:
            os.environ["PAIRLOCK_LEDGER"] = ledger
        scenario.before()

    _in_a_fork(work)


def _killed(scenario: Scenario, folder: Path, last: int, log: Path) -> None:
    _use(folder)
    log.touch()
    with counted(Steps(last, log)):
        scenario.act()


def _go_on_in(folder: Path, command: str) -> None:
    _use(folder)
    (folder / "next.json").write_text(json.dumps(asdict(_go_on(command))))


def main() -> None:
    """Kill, go on, and print what came of it."""
    stock: Stock = pickle.loads(Path(sys.argv[1]).read_bytes())
    root = Path(sys.argv[2])
    s3 = os.environ.pop("PAIRLOCK_LEDGER", None)
    warm = stock.copy(root / "warm")
    with active(warm.uri), proofs_reused(stock):
        for version in (1, 2):
            execute(planned(version))
        for command in COMMANDS.values():
            command()
        if s3 is not None:
            from pairlock.stores import s3_clients

            s3_clients.shared_client()  # made once, used by nobody yet
        gc.collect()
        gc.freeze()  # no forked process looks through the libraries for garbage
        names = sys.argv[3:]
        lanes = [
            _start(partial(_lane, names[lane::LANES], stock, root, s3)) for lane in range(LANES)
        ]
        assert [_end(lane) for lane in lanes] == [0] * LANES
    found = {name: json.loads((root / f"{name}.json").read_text()) for name in names}
    print(json.dumps(found))


def _lane(names: list[str], stock: Stock, root: Path, s3: str | None) -> None:
    """Some scenarios, one after the other."""
    for name in names:
        place = s3 if name.endswith("-s3") else None
        left = _scenario(SCENARIOS[name], stock, root / name, place)
        (root / f"{name}.json").write_text(json.dumps([asdict(one) for one in left]))


if __name__ == "__main__":
    main()
