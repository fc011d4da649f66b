"""Run commands in an installation without torch: those that work there, and those that say why not.

Run by scripts/check_wheel, by the interpreter of that installation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

PAIRLOCK = Path(sys.executable).parent / "pairlock"

WORKING = (
    "pull models:/lora/1 --with-base",
    "show models:/lora/1",
    "verify models:/full/1",
    "verify models:/linear/1",
    "verify models:/lora/1",
    "warm models:/full/1 models:/linear/1 models:/lora/1",
    "cache list",
    "cache verify",
    "export models:/lora/1 --to carried",
    "import carried",
    "doctor",
)

REFUSED = (
    "log base --name another",
    "compile models:/bare/1",
    "verify models:/bare/1",
    "embed models:/bare/1 text",
    "promote full 1 --to production",
    "history full",
    "audit",
    "lineage models:/full/1",
    "profile models:/full/1",
    "evaluate models:/full/1 --dataset data.json",
    "policy show full",
)
"""What needs the torch extra: exit status 3, and the command that installs it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expected", type=Path, help="what scripts/serving/make.py wrote")
    expected = json.loads(parser.parse_args().expected.read_text(encoding="utf-8"))
    Path("data.json").write_text(
        json.dumps({"queries": {"q": "a"}, "corpus": {"d": "b"}, "relevant_docs": {"q": ["d"]}}),
        encoding="utf-8",
    )
    for command in WORKING:
        found = run(command)
        assert found.returncode == 0, f"$ pairlock {command}\n{found.stdout}{found.stderr}"
        print(f"$ pairlock {command}", *found.stdout.splitlines()[-1:], sep="\n")
    embed(expected)
    for command in REFUSED:
        found = run(command)
        said = f"$ pairlock {command}\n{found.stdout}{found.stderr}"
        assert found.returncode == 3, said
        assert "Traceback" not in said, said
        assert "pip install 'pairlock[torch]'" in said, said
        print(f"$ pairlock {command}", *found.stderr.splitlines()[:1], sep="\n")


def embed(expected: dict[str, object]) -> None:
    """Prove that `pairlock embed` prints torch's vectors."""
    texts, models = expected["texts"], expected["models"]
    found = run("embed models:/lora/1 --role text --format json", texts[0])
    assert found.returncode == 0, found.stderr
    (vector,) = json.loads(found.stdout)["vectors"]
    differences = [abs(a - b) for a, b in zip(vector, models["lora"]["text"][0], strict=True)]
    assert max(differences) <= 2e-6, max(differences)
    print(f"$ pairlock embed models:/lora/1 '{texts[0]}'\n{len(vector)} numbers, those of torch")


def run(command: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of pairlock."""
    return subprocess.run(
        [PAIRLOCK, *command.split(), *more], capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    main()
