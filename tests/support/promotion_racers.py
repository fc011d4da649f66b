"""A program that lets forked processes promote versions of one model at once, round after round.

    python promotion_racers.py <stock> <registry> <processes> <rounds>

Every process plans its two versions once, as the command does. In every round it renews the plan on
the newest entry, waits for the others, and executes. It prints, as JSON, one list for each process
with what came of each round: the number of its entry, or what the conflict said; and what was wrong
after each round.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from pairlock.catalog import HEAD_TAG, registered_model
from pairlock.errors import ConflictError, PairlockError
from pairlock.ledger import parse_anchor
from pairlock.promotion import execute
from support.promotions import NAME, STAGE, Stock, faults, looked, planned, proofs_reused, replanned
from support.registries import active


def race(
    worker: int, stock: Stock, registry: Path, rounds: int, barrier: Any, results: Any
) -> None:
    """One process."""
    os.environ["PAIRLOCK_ACTOR"] = f"worker-{worker}"
    said: list[Any] = []
    wrong: list[str] = []
    try:
        with active(f"sqlite:///{registry}/mlflow.db"), proofs_reused(stock):
            plans = [planned(2 * worker + 1), planned(2 * worker + 2)]
            ledger = looked().ledger
            for number in range(rounds):
                head = ledger.head() if number == 0 else ledger.read(number - 1)
                held = None if head is None else head.entry.state.stages[STAGE].version
                barrier.wait(60)
                plan = replanned(next(p for p in plans if _version(p) != held), ledger, None)
                barrier.wait(60)
                try:
                    done = execute(plan)
                    said.append(done.entry.sequence)
                    wrong += [f"round {number}: {moved}" for moved in done.followed.moved]
                except ConflictError as error:
                    said.append(f"{error.kind} {error.found}")
                except PairlockError as error:
                    said.append(f"{type(error).__name__} {error.to_dict()}")
                barrier.wait(60)
                if worker == 0:
                    wrong += [f"round {number}: {fault}" for fault in _faults()]
    except BaseException:  # noqa: BLE001 - the others must not wait for this one
        barrier.abort()
        said.append(traceback.format_exc())
    results.put((worker, said, wrong))


def _version(plan: Any) -> int:
    return int(plan.subject.version)


def _faults() -> list[str]:
    """What a look at the end of a round shows; the whole history is read at the end only."""
    model = registered_model(NAME)
    anchor = parse_anchor(model.tags[HEAD_TAG], where=HEAD_TAG)
    opened = looked()
    assert opened.head is not None
    found = []
    if anchor.digest != opened.head.digest:
        found.append(f"the tag says {anchor}, the head is {opened.head.entry.sequence}")
    holder = opened.state.stages[STAGE].version
    if model.aliases.get(STAGE) != holder:
        found.append(f"alias {model.aliases.get(STAGE)}, holder {holder}")
    return found


def main() -> None:
    """Start the processes and collect what they say."""
    stock: Stock = pickle.loads(Path(sys.argv[1]).read_bytes())
    registry, processes, rounds = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    _warm_up(stock, registry)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=race, args=(worker, stock, registry, rounds, barrier, results))
        for worker in range(processes)
    ]
    for worker in workers:
        worker.start()
    got = sorted(results.get(timeout=240) for _ in workers)
    for worker in workers:
        worker.join()
    with active(f"sqlite:///{registry}/mlflow.db"):
        wrong = faults()
    wrong += [fault for _, _, found in got for fault in found]
    print(json.dumps({"said": [said for _, said, _ in got], "wrong": wrong}))


def _warm_up(stock: Stock, registry: Path) -> None:
    """Import all that a promotion needs before forking, on another copy of the registry."""
    copy = stock.copy(registry.with_name(f"{registry.name}-warm"))
    place = os.environ.pop("PAIRLOCK_LEDGER", None)
    with active(copy.uri), proofs_reused(stock):
        execute(planned(1))
    if place is not None:
        os.environ["PAIRLOCK_LEDGER"] = place
        from pairlock.stores import s3_clients

        s3_clients.shared_client()  # made once, used by nobody yet
    gc.collect()
    gc.freeze()  # no forked process looks through the libraries for garbage


if __name__ == "__main__":
    main()
