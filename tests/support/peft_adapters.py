"""PEFT adapters, made and trained for a few steps by PEFT and Sentence-Transformers themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import (
    AdaLoraConfig,
    HRAConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    get_peft_model,
)
from sentence_transformers import SentenceTransformer

from support.adapters import PAIRS
from support.models import TEXTS

ATTENTION = ["query", "value"]

METHODS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=ATTENTION),
    "lora_all_linear": lambda: LoraConfig(r=2, target_modules=["query", "key", "value", "dense"]),
    "lora_bias": lambda: LoraConfig(r=4, target_modules=ATTENTION, bias="lora_only"),
    "lora_embeddings": lambda: LoraConfig(r=4, target_modules=["word_embeddings", "query"]),
    "lora_and_layer": lambda: LoraConfig(
        r=4, target_modules=ATTENTION, modules_to_save=["LayerNorm"]
    ),
    "lora_tokens": lambda: LoraConfig(
        r=4, target_modules=ATTENTION, trainable_token_indices={"word_embeddings": [7, 8]}
    ),
    "dora": lambda: LoraConfig(r=4, target_modules=ATTENTION, use_dora=True),
    "rslora": lambda: LoraConfig(r=4, target_modules=ATTENTION, use_rslora=True),
    "adalora": lambda: AdaLoraConfig(init_r=4, target_modules=ATTENTION, total_step=100),
    "ia3": lambda: IA3Config(
        target_modules=[*ATTENTION, "output.dense"], feedforward_modules=["output.dense"]
    ),
    "loha": lambda: LoHaConfig(r=4, target_modules=ATTENTION),
    "lokr": lambda: LoKrConfig(r=4, target_modules=ATTENTION),
    "oft": lambda: OFTConfig(r=0, oft_block_size=8, target_modules=ATTENTION),
    "hra": lambda: HRAConfig(r=4, target_modules=ATTENTION),
    "ln_tuning": lambda: LNTuningConfig(target_modules=["LayerNorm"]),
}
"""One configuration of every method that is packaged, by name."""


def trained(base: Path, config: PeftConfig, *, steps: int = 8) -> SentenceTransformer:
    """A model with an adapter that was trained for some steps; modules after the encoder too."""
    torch.manual_seed(11)
    model = SentenceTransformer(str(base), device="cpu")
    model.add_adapter(config)
    for module in list(model)[1:]:
        module.requires_grad_(True)
    fit(model, steps)
    return model


def fit(model: SentenceTransformer, steps: int) -> None:
    """Train whatever is trainable."""
    weights = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=2e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        queries, passages = (
            model(model.preprocess([pair[side] for pair in PAIRS]))["sentence_embedding"]
            for side in (0, 1)
        )
        torch.nn.functional.mse_loss(queries, passages.detach()).backward()
        optimizer.step()
    model.eval()


def save_method(name: str, base: Path, folder: Path) -> Path:
    """Train an adapter of a method, and save it as Sentence-Transformers does; returns the folder.

    What it computes is saved beside it: see `expected`.
    """
    return save(trained(base, METHODS[name]()), folder)


def save(model: SentenceTransformer, folder: Path) -> Path:
    """Save a model with an adapter, and what it computes."""
    model.save(str(folder), create_model_card=False)
    np.savez(
        folder.with_name(f"{folder.name}.npz"),
        query=model.encode_query(TEXTS),
        text=model.encode_document(TEXTS),
    )
    return folder


def save_by_peft(base: Path, folder: Path, config: PeftConfig | None = None) -> Path:
    """An adapter on the bare encoder, saved by PEFT alone, with what the pipeline computes."""
    torch.manual_seed(12)
    model = SentenceTransformer(str(base), device="cpu").requires_grad_(False)
    adapted: Any = get_peft_model(model[0].auto_model, config or METHODS["lora"]())
    fit(model, 8)
    adapted.save_pretrained(str(folder))
    np.savez(
        folder.with_name(f"{folder.name}.npz"),
        query=model.encode_query(TEXTS),
        text=model.encode_document(TEXTS),
    )
    return folder


def expected(folder: Path, role: str) -> NDArray[np.float32]:
    """What the trainer's own model computed for `TEXTS` in a role: (n_texts, dim) float32."""
    found: NDArray[np.float32] = np.load(folder.with_name(f"{folder.name}.npz"))[role]
    return found
