"""Tiny seeded models, built and saved by Sentence-Transformers itself."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, LayerNorm, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

MAX_TOKENS = 64
PROMPTS = {"query": "as a query: ", "document": "as a document: "}

TEXTS = [
    "How do I get my money back?",
    "Refunds are paid to the card.",
    "where is the invoice",
    "PayPal, PAYPAL and paypal",
    "",
    "the card of the back and the card of the money " * 12,
]
"""Texts that differ in what a wrong setting would change: case, length, emptiness."""

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_MARKS = ".,:;!?'\"()<>/@%#$&*+-=[]_|{}"
_WORDS = (
    "how do i get my money back refund invoice payment card the of and a to is as query document"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that spells what it does not know, and has [UNK] for other scripts."""
    words = [*_SPECIAL, *_LETTERS, *_MARKS, *_WORDS.split(), *(f"##{c}" for c in _LETTERS)]
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


def save_encoder(folder: Path, *, hidden: int = 32, seed: int = 1) -> Path:
    """A bare transformers encoder with its tokenizer, saved by transformers."""
    words = tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_model(
    folder: Path,
    *,
    hidden: int = 32,
    seed: int = 1,
    pooling: str = "mean",
    dense: int | None = None,
    layer_norm: bool = False,
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A Sentence-Transformers pipeline, saved by Sentence-Transformers; returns its folder."""
    encoder = save_encoder(folder.with_name(f"{folder.name}-encoder"), hidden=hidden, seed=seed)
    modules = [
        Transformer(str(encoder), max_seq_length=MAX_TOKENS),
        Pooling(hidden, pooling_mode=pooling),
    ]
    if dense is not None:
        modules.append(Dense(hidden, dense, activation_function=torch.nn.Tanh()))
    if layer_norm:
        modules.append(LayerNorm(hidden))
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save(str(folder), create_model_card=False)
    return folder
