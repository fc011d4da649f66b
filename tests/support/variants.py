"""Four small models that are really different, and what makes another model of each of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from llama_index.embeddings.adapter.utils import LinearLayer
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, StaticEmbedding, Transformer
from transformers import Qwen3Config, Qwen3Model

from pairlock.golden import adapter_shift, golden_texts
from pairlock.manifest import Role
from pairlock_flavors.golden_vectors import Vectors
from pairlock_flavors.torch_runtime.models.description import describe
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel
from support.models import MAX_TOKENS, PROMPTS, save_model, tokenizer

GOLDEN = golden_texts(MAX_TOKENS)
LORA_ON = {"bert": ["query", "value"], "cls_dense": ["query", "value"], "qwen3": ["q_proj"]}
"""Which modules a LoRA goes on; a table of embeddings has none."""

PAIRS = (
    ["how do i get my money back", "where is my invoice", "the card", "a refund"],
    ["the refund is to the card", "the invoice document", "a payment", "get the money back"],
)

Change = Callable[[SentenceTransformer], object]


def bert(folder: Path) -> SentenceTransformer:
    """BERT, mean pooling, normalised."""
    return SentenceTransformer(str(save_model(folder, prompts=PROMPTS)), device="cpu")


def cls_dense(folder: Path) -> SentenceTransformer:
    """BERT, CLS pooling, a Dense head, not normalised."""
    made = save_model(folder, pooling="cls", dense=20, normalize=False, seed=3, prompts=PROMPTS)
    return SentenceTransformer(str(made), device="cpu")


def qwen3(folder: Path) -> SentenceTransformer:
    """Qwen3: RMSNorm, rotary positions, causal, last-token pooling."""
    words = tokenizer()
    torch.manual_seed(4)
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=64, initializer_range=0.3,
        max_position_embeddings=MAX_TOKENS, pad_token_id=0,
    )  # fmt: skip
    Qwen3Model(config).save_pretrained(folder)
    words.save_pretrained(folder)
    modules = [
        Transformer(str(folder), max_seq_length=MAX_TOKENS),
        Pooling(32, "lasttoken"),
        Normalize(),
    ]
    return SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS)


def static(folder: Path) -> SentenceTransformer:
    """A table of embeddings without layers."""
    torch.manual_seed(5)
    table = StaticEmbedding(tokenizer(), embedding_dim=32)
    return SentenceTransformer(modules=[table, Normalize()], device="cpu", prompts=PROMPTS)


MODELS: dict[str, Callable[[Path], SentenceTransformer]] = {
    "bert": bert,
    "cls_dense": cls_dense,
    "qwen3": qwen3,
    "static": static,
}


def embed(model: SentenceTransformer, dtype: str = "float32", *, batch_size: int = 32) -> Vectors:
    """The golden texts in both roles, by the product's own encoder, in a dtype on the CPU."""
    placed = copy.deepcopy(model).to(dtype=getattr(torch, dtype))
    encoder = SentenceModel.alone(placed, describe(placed), batch_size=batch_size)
    return {role.value: encoder.encode(GOLDEN, role) for role in Role}


def changed(model: SentenceTransformer, change: Change) -> SentenceTransformer:
    """A copy with a change."""
    other = copy.deepcopy(model)
    change(other)
    return other


def rate(model: SentenceTransformer) -> float:
    """A learning rate as people use it; a table without layers is trained with larger ones."""
    return 2e-5 if hasattr(model[0], "auto_model") else 1e-3


def finetune(model: SentenceTransformer, steps: int, *, rate: float) -> None:
    """Move questions towards their answers, without dropout."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=rate)
    for _ in range(steps):
        left, right = (
            torch.nn.functional.normalize(
                model(model.preprocess(list(side)))["sentence_embedding"], dim=-1
            )
            for side in PAIRS
        )
        optimizer.zero_grad()
        scores = 20 * left @ right.T
        torch.nn.functional.cross_entropy(scores, torch.arange(len(left))).backward()
        optimizer.step()


def with_lora(model: SentenceTransformer, name: str, *, seed: int) -> SentenceTransformer:
    """A copy with a LoRA that was trained for eight steps."""
    torch.manual_seed(seed)
    other = copy.deepcopy(model)
    other.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=LORA_ON[name]))
    finetune(other, 8, rate=5e-3)
    return other.eval()


def through_layer(base: Vectors, *, shift: float, seed: int = 0) -> Vectors:
    """Queries through a linear layer that moves them by about `shift`, with the base's vectors."""
    width = base["query"].shape[1]
    torch.manual_seed(seed)
    layer = LinearLayer(width, width)
    layer.linear.weight.data = torch.eye(width) + shift * torch.randn(width, width) / width**0.5
    with torch.inference_mode():
        query = layer(torch.from_numpy(base["query"])).numpy()
    bases = {f"base_{name}": vectors for name, vectors in base.items()}
    return {"query": query, "text": base["text"], **bases}


def other_pooling(model: SentenceTransformer) -> None:
    """Mean where it was something else, CLS where it was the mean."""
    width = model[1].embedding_dimension
    model[1] = Pooling(width, "cls" if "mean" in str(model[1].pooling_mode) else "mean")


def toggle_normalize(model: SentenceTransformer) -> None:
    """Take the normalisation away, or put one where there was none."""
    if isinstance(model[-1], Normalize):
        del model[-1]
    else:
        model.append(Normalize())


def no_prompt(model: SentenceTransformer) -> None:
    """Forget the instruction of queries."""
    model.prompts["query"] = ""


def other_tokenizer(model: SentenceTransformer) -> None:
    """Keep the case that was lowered."""
    words = model.tokenizer
    inner = getattr(words, "backend_tokenizer", words)
    state = json.loads(inner.to_str())
    state["normalizer"]["lowercase"] = False
    state["normalizer"]["strip_accents"] = False
    new = type(inner).from_str(json.dumps(state))
    if inner is words:
        model[0].tokenizer = new
    else:
        words._tokenizer = new


def flip_high_bit(model: SentenceTransformer) -> None:
    """Flip the highest exponent bit of one weight that every text goes through."""
    if hasattr(model[0], "auto_model"):
        named = model[0].auto_model.named_parameters()
        weight = next(p for name, p in named if p.dim() == 2 and "embed" not in name)
        row = 3
    else:
        weight = model[0].embedding.weight
        row = model.tokenizer.token_to_id("the")
    weight.data.view(torch.int32)[row, 5] ^= 1 << 30


def eager(model: SentenceTransformer) -> None:
    """Another implementation of attention."""
    model[0].auto_model.set_attn_implementation("eager")


def padded(model: SentenceTransformer) -> None:
    """Pad every text to the maximum length."""
    model[0].processing_kwargs = {"text": {"padding": "max_length"}}


def relative_shift(recorded: Vectors) -> float:
    """The shift of queries in units of the base's root mean square norm, as a projection has it."""
    base = recorded["base_query"].astype(float)
    unit = float((base**2).sum(axis=1).mean() ** 0.5)
    return adapter_shift(recorded["query"], recorded["base_query"]) / unit
