"""Make `mlruns.example`: a small registry of real, tiny models, with something to find in it.

Everything is made anew in a temporary folder beside the target, which is replaced at the end, or
left alone if anything fails. Two runs on one machine, with the same libraries, give the same
package digests; times and MLflow's ids differ, and with them the ledgers' folders and digests.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
READABLE_FILES = ("README.md", "faq_adapters.py", "pairlock.toml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder to make, or to replace")
    target = parser.parse_args().folder.absolute()
    if problem := unfit(target):
        parser.error(problem)
    settle()
    target.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        make(place / "new", place / "work")
        replace(target, place / "new", aside=place / "old")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target.name}: {size / 1e6:.1f} MB")


def unfit(target: Path) -> str | None:
    """Why a folder may not be replaced: it holds something, and that is no example."""
    if not target.exists():
        return None
    if not target.is_dir():
        return f"{target} is a file"
    names = {path.name for path in target.iterdir()}
    if names and not names.issuperset({"mlflow.db", *READABLE_FILES}):
        return f"{target} holds something else than an example; name a new folder, or remove it"
    return None


def settle() -> None:
    """Nothing of the caller's settings may decide what is made."""
    for name in [name for name in os.environ if name.startswith(("PAIRLOCK_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ.update(
        HF_HUB_OFFLINE="1",
        LOGNAME="example",  # MLflow notes the user of a run
        MLFLOW_DISABLE_TELEMETRY="true",
        OMP_NUM_THREADS="1",  # sums in another order end in other bits
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",
    )
    logging.disable(logging.WARNING)


def make(folder: Path, work: Path) -> None:
    """Make the whole example.

    Args:
        folder: where; it is made.
        work: a folder for what the trainers save; it is made.

    Raises:
        SystemExit: something of this machine is left in it.
    """
    import mlflow
    import portable
    import recipes
    import story
    import torch

    from pairlock.catalog import ensure_database

    torch.set_num_threads(1)
    work.mkdir()
    folder.mkdir()
    before = Path.cwd()
    os.chdir(work)  # PEFT notes the path of a LoRA's base in the LoRA: a relative one
    os.environ["PAIRLOCK_CACHE"] = str(work / "cache")
    try:
        uri = f"sqlite:///{folder / portable.DATABASE}"
        ensure_database(uri)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        mlflow.set_experiment(
            experiment_id=mlflow.create_experiment("example", str(folder / "artifacts"))
        )
        story.build(recipes.write_dataset(folder / "questions.json"))
        story.damage()
    finally:
        os.chdir(before)
    for name in READABLE_FILES:
        shutil.copyfile(HERE / name, folder / name)
    portable.make_portable(folder)
    left = portable.traces(folder, portable.names_of_this_machine(folder, work, HERE.parent.parent))
    if left:
        sys.exit("error: this machine's names are left in the example:\n  " + "\n  ".join(left))


def replace(target: Path, made: Path, *, aside: Path) -> None:
    """Put what was made in the target's place; the old one is put back if that fails."""
    if target.exists():
        target.rename(aside)
    try:
        made.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


if __name__ == "__main__":
    main()
