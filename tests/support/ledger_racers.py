"""A program that lets forked processes append to one ledger at once, round after round.

    python ledger_racers.py <location> <processes> <rounds>

In every round each process makes an entry on the head, all wait for each other, and all append.
The next round begins as soon as one has won: SeaweedFS lets who comes second wait for a second or
more. The winner shows the others its file; in every tenth round they find the head themselves.

It prints, as JSON, one list for each process with what came of each round: nothing for a win, or
what the conflict said of the winner.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from pairlock.errors import ConflictError
from pairlock.ledger import Anchor, Entry, Ledger, Sealed
from pairlock.ledger.document import read_entry, write_entry
from pairlock.stores.opening import open_store
from support.ledgers import CREATED_MS, MODEL, entry_after

PATIENCE_S = 60


class Board:
    """Where a winner writes for all to see."""

    def __init__(self, context: Any, processes: int) -> None:
        self.barrier = context.Barrier(processes)
        self.results = context.Queue()
        self._number = context.Value("i", -1)
        self._content = context.Array("c", 1 << 14)

    def show(self, entry: Entry) -> None:
        """Say who won."""
        with self._number.get_lock():
            self._content.value = write_entry(entry)
            self._number.value = entry.sequence

    def winner(self, number: int) -> Sealed:
        """Wait until a round has a winner."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with self._number.get_lock():
                if self._number.value == number:
                    return read_entry(self._content.value, where="the winner's")
            time.sleep(0.001)
        raise TimeoutError(f"nobody won round {number}")


def race(worker: int, location: str, rounds: int, board: Board) -> None:
    """One process: make an entry, wait for the others, append, look who won."""
    ledger = Ledger(open_store(location), model=MODEL, model_created_ms=CREATED_MS)

    def append(entry: Entry) -> str | None:
        try:
            board.show(ledger.append(entry).entry)
        except ConflictError as error:
            return f"{error.kind} {error.found}"
        return None

    head: Sealed | None = None
    with ThreadPoolExecutor(16) as pool:
        answers = []
        for number in range(rounds):
            entry = entry_after(head, version=1 + worker, actor=f"worker-{worker}")
            board.barrier.wait(PATIENCE_S)
            answers.append(pool.submit(append, entry))
            won = board.winner(number)
            if number % 10 == 0:
                found = ledger.head(head and Anchor(head.entry.sequence, head.digest))
                assert found == won, (found, won)
            head = won
        board.results.put((worker, [answer.result() for answer in answers]))


def main() -> None:
    """Start the processes and collect what they say."""
    location, processes, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if location.startswith("s3:"):
        from pairlock.stores import s3_clients

        s3_clients.shared_client()  # made once, used by nobody yet
    context = multiprocessing.get_context("fork")
    board = Board(context, processes)
    workers = [
        context.Process(target=race, args=(worker, location, rounds, board))
        for worker in range(processes)
    ]
    for worker in workers:
        worker.start()
    said = dict(board.results.get(timeout=2 * PATIENCE_S) for _ in workers)
    for worker in workers:
        worker.join()
    print(json.dumps([said[number] for number in range(processes)]))


if __name__ == "__main__":
    main()
