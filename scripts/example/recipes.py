"""Tiny models and adapters, seeded, trained for a few steps, and saved by their own libraries.

Everything here is what a trainer does before Pairlock comes in. One thread and fixed seeds: on one
machine with the same libraries the same bytes come out each time.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import torch
from faq_adapters import Gated
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

DATA = Path(__file__).parent.parent / "data" / "helpdesk.jsonl"
DIMENSION = 32
MAX_TOKENS = 64

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_MARKS = ".,:;!?'\"()-/"


def rows() -> list[dict[str, str | list[str]]]:
    """Passages with the questions that they answer."""
    return [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]


def questions() -> list[tuple[str, str]]:
    """Questions to train on, each with the passage that answers it."""
    return [(question, row["passage"]) for row in rows() for question in row["train_questions"]]


def halves() -> list[tuple[str, str]]:
    """First sentences, each with the rest of its passage, to train a base on."""
    cut = [re.split(r"(?<=\.)\s", row["passage"], maxsplit=1) for row in rows()]
    return [(parts[0], parts[1]) for parts in cut if len(parts) == 2]


def write_dataset(file: Path) -> Path:
    """`questions`, as LlamaIndex's `EmbeddingQAFinetuneDataset` is written; returns the file.

    They are those that were trained on: models this small learn little that holds beyond them.
    """
    asked = [(row, question) for row in rows() for question in row["train_questions"]]
    document = {
        "queries": {f"q{number}": question for number, (_, question) in enumerate(asked)},
        "corpus": {row["id"]: row["passage"] for row in rows()},
        "relevant_docs": {f"q{number}": [row["id"]] for number, (row, _) in enumerate(asked)},
        "mode": "text",
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return file


def base(folder: Path, *, seed: int, epochs: int) -> Path:
    """A BERT of two layers and 32 dimensions, trained on `halves`; returns its folder."""
    words = _tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.05,
    )
    encoder = folder.with_name(f"{folder.name}-encoder")
    BertModel(config).save_pretrained(encoder)
    words.save_pretrained(encoder)
    model = SentenceTransformer(
        modules=[
            Transformer(str(encoder), max_seq_length=MAX_TOKENS),
            Pooling(DIMENSION, pooling_mode="mean"),
            Normalize(),
        ],
        device="cpu",
    )
    _train(model, halves(), seed=seed, epochs=epochs)
    return _save(model, folder)


def full(start: Path, folder: Path, *, seed: int, epochs: int) -> Path:
    """A model that was trained whole on `questions`, from a base's folder."""
    model = SentenceTransformer(str(start), device="cpu")
    _train(model, questions(), seed=seed, epochs=epochs)
    return _save(model, folder)


def lora(start: Path, folder: Path, *, seed: int, epochs: int) -> Path:
    """A LoRA of rank 4 on a base's folder, trained on `questions`."""
    torch.manual_seed(seed)
    model = SentenceTransformer(str(start), device="cpu")
    # one pattern: PEFT makes a set of a list, and writes it in an order that changes by process
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=r".*\.(query|value)"))
    _train(model, questions(), seed=seed, epochs=epochs)
    return _save(model, folder)


def linear(start: Path, folder: Path, *, steps: int) -> Path:
    """LlamaIndex's `LinearLayer`; it starts as the identity, so it needs no seed."""
    return _train_adapter(LinearLayer(DIMENSION, DIMENSION), start, folder, steps=steps)


def two_layer(start: Path, folder: Path, *, seed: int, steps: int) -> Path:
    """LlamaIndex's `TwoLayerNN` around a residual connection."""
    torch.manual_seed(seed)
    adapter = TwoLayerNN(DIMENSION, 48, DIMENSION, add_residual=True)
    return _train_adapter(adapter, start, folder, steps=steps)


def gated(start: Path, folder: Path, *, seed: int, steps: int) -> Path:
    """`faq_adapters.Gated`, a class that LlamaIndex does not ship."""
    torch.manual_seed(seed)
    return _train_adapter(Gated(DIMENSION, DIMENSION), start, folder, steps=steps)


def _train(
    model: SentenceTransformer, pairs: list[tuple[str, str]], *, seed: int, epochs: int
) -> None:
    """Move first texts towards their second ones, against the others of a batch (InfoNCE)."""
    shuffle = torch.Generator().manual_seed(seed)
    weights = [tensor for tensor in model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    model.eval()  # dropout would only blur so small a model
    for _ in range(epochs):
        for batch in torch.randperm(len(pairs), generator=shuffle).split(32):
            chosen = [pairs[index] for index in batch.tolist()]
            firsts, seconds = (
                model(model.preprocess([pair[side] for pair in chosen]))["sentence_embedding"]
                for side in (0, 1)
            )
            loss = torch.nn.functional.cross_entropy(
                20 * firsts @ seconds.T, torch.arange(len(chosen))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _train_adapter(adapter: BaseAdapter, start: Path, folder: Path, *, steps: int) -> Path:
    """Move questions towards their passages; the passages stay where the base puts them."""
    model = SentenceTransformer(str(start), device="cpu")
    found = questions()
    passages = list(dict.fromkeys(passage for _, passage in found))
    answers = torch.tensor([passages.index(passage) for _, passage in found])
    inputs = torch.from_numpy(model.encode([question for question, _ in found]))
    targets = torch.from_numpy(model.encode(passages))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2, weight_decay=0.01)
    for _ in range(steps):
        vectors = torch.nn.functional.normalize(adapter(inputs), dim=-1)
        loss = torch.nn.functional.cross_entropy(20 * vectors @ targets.T, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    adapter.save(str(folder))
    return folder


def _save(model: SentenceTransformer, folder: Path) -> Path:
    model.save(str(folder), create_model_card=False)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece of the data's frequent words; it spells what it does not know."""
    texts = [text for pair in [*halves(), *questions()] for text in pair]
    counted = Counter(word for text in texts for word in re.findall("[a-z]+", text.lower()))
    frequent = sorted(word for word, count in counted.items() if count >= 4)
    words = [*_SPECIAL, *_LETTERS, *_MARKS, *frequent, *(f"##{letter}" for letter in _LETTERS)]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), _SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=MAX_TOKENS,
        **{f"{name}_token": token for name, token in names.items()},
    )
