"""Plant defects of every audit code and as many clean twins, and see whether an audit tells them.

    python scripts/plant_defects.py --each 60

makes a registry on local disk and one in S3 (SeaweedFS, started for it), audits each by default,
with --deep and with --golden, and prints a line for each code:

    planted  defects that were made
    found    of these, with the right code at the right place, and with all that follows from them
    missed   findings that had to be there and were not
    invented findings at defects that nobody planted
    on twins findings at clean twins, missed or invented

The exit status is 1 when any of the last three is not 0. What exactly is wrong is told below.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pairlock.auditing.codes import Code
from support.planting.run import HEADER, PLANTED, Tally, plant_and_audit, rows
from support.servers import start_seaweedfs

MOST_TOLD = 50


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=60, help="defects of each code; 60")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("disk", "s3"), action="append", help="both")
    parser.add_argument("--code", choices=[code.value for code in PLANTED], action="append")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", FutureWarning)  # MLflow's, of its legacy stages
    codes = [Code(code) for code in arguments.code or PLANTED]
    is_right = True
    with tempfile.TemporaryDirectory() as name:
        for store in arguments.store or ("disk", "s3"):
            started = time.monotonic()
            tallies = _planted(Path(name), store, codes, arguments.each, arguments.seed)
            print(f"\n{store}, {time.monotonic() - started:.0f} s\n{HEADER}")
            print("\n".join(rows(tallies)))
            for text in _told(tallies):
                print(f"  {text}")
            is_right &= all(one.is_right for one in tallies.values())
    print("\nall found, none invented" if is_right else "\nNOT right")
    return 0 if is_right else 1


def _planted(
    folder: Path, store: str, codes: list[Code], each: int, seed: int
) -> dict[Code, Tally]:
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"{store} {time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    if store == "disk":
        return plant_and_audit(folder / store, each=each, seed=seed, codes=codes, tell=tell)
    server = start_seaweedfs(folder / "seaweedfs")
    try:
        client = server.client()
        client.create_bucket(Bucket="pairlock")
        os.environ.update(server.environment())
        root = "s3://pairlock/planted"
        return plant_and_audit(
            folder / store, each=each, seed=seed, codes=codes, root=root, s3=client, tell=tell
        )
    finally:
        server.stop()


def _told(tallies: dict[Code, Tally]) -> list[str]:
    told = [text for one in tallies.values() for text in one.wrong + one.invented + one.on_twins]
    more = len(told) - MOST_TOLD
    return told[:MOST_TOLD] + ([f"and {more} more"] if more > 0 else [])


if __name__ == "__main__":
    sys.exit(main())
