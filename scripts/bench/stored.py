"""Bytes stored for many adapters of one base, against the base and the adapters as trainers saved.

The registry holds MiniLM and `--adapters` versions of a linear adapter, then of a LoRA: every file
in the artifact store counts, MLflow's own and the golden vectors too. The database does not: it is
the same for everybody. Beside it, what MLflow's Sentence-Transformers flavor stores for the same
LoRAs, which has no notion of a base, and of linear adapters it has none at all. A few versions of
each kind are registered and the rest are counted: one adapter's package is as large as the next.
The bar is shown against what was saved, and against the adapters' own files alone, without the
tokenizer that Sentence-Transformers saves beside a LoRA.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import mean

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from samples import log, log_theirs, minilm, save_linear, save_loras, trainer_bytes

BAR = 1.02


def stored(name: str) -> Path:
    """The folder that the newest version of a registered model lies in."""
    import mlflow

    (newest,) = mlflow.MlflowClient().get_registered_model(name).latest_versions
    model = mlflow.get_logged_model(newest.source.removeprefix("models:/"))
    return Path(model.artifact_location.removeprefix("file://"))


def parts(folder: Path) -> dict[str, int]:
    """Bytes by file, for a package of an adapter."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def our_parts(folder: str, name: str, base: str | None = None) -> dict[str, int]:
    """What Pairlock stores for a folder."""
    log(folder, name, base)
    return parts(stored(name))


def theirs_bytes(folder: str) -> int:
    """What MLflow's own flavor stores for a LoRA."""
    from sentence_transformers import SentenceTransformer

    log_theirs(SentenceTransformer(folder, device="cpu"), "theirs-lora")
    return sum(parts(stored("theirs-lora")).values())


def tell(name: str, size_bytes: float, least_bytes: float) -> None:
    """Print a row of the table."""
    print(f"{name:<40}{size_bytes / 1e6:9.2f} MB  {size_bytes / least_bytes:7.3f}")


def adapter_bytes(package: dict[str, int]) -> int:
    """Bytes of the adapter's own files: a LoRA is saved with its base's tokenizer."""
    return sum(size for name, size in package.items() if name.startswith("payload/adapter/"))


def keeps(what: str, total: float, least: float) -> bool:
    """Print a bar, and whether it is kept."""
    met = total <= BAR * least
    word = "kept  " if met else "MISSED"
    print(f"{word}  pairlock / base and {what}: {total / least:.3f}, at most {BAR}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--made", type=int, default=3, help="how many are really registered")
    arguments = parser.parse_args()
    count, kept = arguments.adapters, True
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PAIRLOCK_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        numbers = range(arguments.made)
        saved = {
            kind: [f"{folder}/{kind}-{number}" for number in numbers] for kind in ("linear", "lora")
        }
        for seed, name in enumerate(saved["linear"]):
            save_linear(name, seed)
        save_loras(saved["lora"])
        base_parts = our_parts(minilm(), "minilm")
        base = sum(base_parts.values())
        base_saved = sum(
            size for name, size in base_parts.items() if name.startswith("payload/model/")
        )
        for kind, folders in saved.items():
            packages = [our_parts(name, kind, "models:/minilm/1") for name in folders]
            own = mean(trainer_bytes(name) for name in folders)
            ours = mean(sum(package.values()) for package in packages)
            total, least = base + count * ours, base_saved + count * own
            print(f"\nMiniLM and {count} adapters, {kind} ({arguments.made} of them registered)")
            tell("the base and the adapters as saved", least, least)
            tell("pairlock", total, least)
            if kind == "lora":
                others = mean(theirs_bytes(name) for name in folders)
                tell("mlflow.sentence_transformers, no base", count * others, least)
            print(f"a package takes {ours / 1e3:.1f} kB:")
            for name, size in Counter(packages[-1]).most_common():
                print(f"  {size / 1e3:8.1f} kB  {name}")
            alone = mean(adapter_bytes(package) for package in packages)
            for what, each in (("as saved", own), ("the adapter's files alone", alone)):
                kept &= keeps(what, total, base_saved + count * each)
                allowed = (BAR * (base_saved + count * each) - base) / count
                print(f"        allows {allowed / 1e3:.1f} kB, {each / 1e3:.1f} kB of it {what}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
