"""Tiny seeded models of the families that people finetune, each with its own kind of tokenizer.

Weights are random and large, so that a setting that is lost moves every vector. Tokenizers learn
their words from the texts of the tests, in the algorithm and with the class that the family has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    GemmaTokenizer,
    GPT2Config,
    GPT2Model,
    LlamaTokenizer,
    MistralConfig,
    MistralModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    NomicBertConfig,
    NomicBertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

from pairlock.golden import golden_texts
from support.models import TEXTS, tokenizer

HIDDEN = 32
MAX_TOKENS = 48
SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.3,
}
CORPUS = [*TEXTS, *golden_texts(MAX_TOKENS)]

Made = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def word_pieces(words: Any, **options: Any) -> PreTrainedTokenizerBase:
    """BERT's algorithm, with the special tokens that a class has for itself."""
    marks = words(vocab={"a": 0})
    special = list(dict.fromkeys(marks.all_special_tokens))
    inner = Tokenizer(models.WordPiece(unk_token=marks.unk_token))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    )
    made: PreTrainedTokenizerBase = words(
        vocab=inner.get_vocab(), model_max_length=MAX_TOKENS, **options
    )
    return made


def byte_pairs(words: Any, special: list[str], **options: Any) -> PreTrainedTokenizerBase:
    """GPT-2's algorithm over bytes."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(CORPUS, trainer)
    return _of_pairs(words, inner, **options)


def sentence_pieces(words: Any, special: list[str], **options: Any) -> PreTrainedTokenizerBase:
    """SentencePiece's byte pairs, which Llama and Gemma have."""
    inner = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    inner.normalizer = normalizers.Replace(" ", "▁")
    alphabet = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*special, *alphabet], show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return _of_pairs(words, inner, **options)


def unigrams(special: list[str]) -> list[tuple[str, float]]:
    """SentencePiece's unigrams with their scores, which XLM-R and T5 have."""
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return [tuple(pair) for pair in json.loads(inner.to_str())["model"]["vocab"]]


def _of_pairs(words: Any, inner: Tokenizer, **options: Any) -> PreTrainedTokenizerBase:
    state = json.loads(inner.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    made: PreTrainedTokenizerBase = words(
        vocab=state["vocab"], merges=merges, model_max_length=MAX_TOKENS, **options
    )
    return made


def bert() -> Made:
    """BERT, with its own tokenizer class."""
    words = word_pieces(BertTokenizer)
    config = BertConfig(vocab_size=len(words), max_position_embeddings=MAX_TOKENS, **SIZES)
    return BertModel(config), words


def distilbert() -> Made:
    """DistilBERT: no token types."""
    words = word_pieces(BertTokenizer, model_input_names=["input_ids", "attention_mask"])
    config = DistilBertConfig(
        vocab_size=len(words), dim=HIDDEN, n_layers=2, n_heads=4, hidden_dim=64,
        max_position_embeddings=MAX_TOKENS, initializer_range=0.3,
    )  # fmt: skip
    return DistilBertModel(config), words


def roberta() -> Made:
    """RoBERTa: positions that are counted from the padding token, bytes."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = byte_pairs(RobertaTokenizer, special)
    config = RobertaConfig(
        vocab_size=len(words), max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, **SIZES
    )
    return RobertaModel(config), words


def xlm_roberta() -> Made:
    """XLM-RoBERTa: unigrams."""
    pieces = unigrams(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    words = XLMRobertaTokenizer(vocab=pieces, model_max_length=MAX_TOKENS)
    config = XLMRobertaConfig(
        vocab_size=len(words), max_position_embeddings=MAX_TOKENS + 2, type_vocab_size=1, **SIZES
    )
    return XLMRobertaModel(config, add_pooling_layer=False), words


def mpnet() -> Made:
    """MPNet: relative positions in buckets."""
    words = word_pieces(MPNetTokenizer)
    config = MPNetConfig(vocab_size=len(words), max_position_embeddings=MAX_TOKENS + 2, **SIZES)
    return MPNetModel(config), words


def modernbert() -> Made:
    """ModernBERT: local and global attention in turn, rotary positions."""
    words = byte_pairs(modernbert_words, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    sizes = {**SIZES, "num_hidden_layers": 4}
    config = ModernBertConfig(
        vocab_size=len(words), max_position_embeddings=MAX_TOKENS, local_attention=8,
        global_attn_every_n_layers=2, pad_token_id=3, cls_token_id=1, sep_token_id=2,
        bos_token_id=1, eos_token_id=2, **sizes,
    )  # fmt: skip
    return ModernBertModel(config), words


def modernbert_words(
    vocab: dict[str, int], merges: list[tuple[str, str]], **options: Any
) -> PreTrainedTokenizerBase:
    """A tokenizer of ModernBERT, which has no class of its own."""
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[PAD]", mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"], **options,
    )  # fmt: skip


def electra() -> Made:
    """ELECTRA: a table of embeddings that is narrower than the layers."""
    words = word_pieces(BertTokenizer)
    config = ElectraConfig(
        vocab_size=len(words), embedding_size=16, max_position_embeddings=MAX_TOKENS, **SIZES
    )
    return ElectraModel(config), words


def albert() -> Made:
    """ALBERT: one layer whose weights all layers share."""
    words = word_pieces(BertTokenizer)
    config = AlbertConfig(
        vocab_size=len(words), embedding_size=16, max_position_embeddings=MAX_TOKENS, **SIZES
    )
    return AlbertModel(config), words


def deberta() -> Made:
    """DeBERTa v2: attention to positions apart from words."""
    words = word_pieces(BertTokenizer)
    config = DebertaV2Config(
        vocab_size=len(words), max_position_embeddings=MAX_TOKENS, relative_attention=True,
        position_buckets=8, pos_att_type=["p2c", "c2p"], type_vocab_size=0, **SIZES,
    )  # fmt: skip
    return DebertaV2Model(config), words


def nomic() -> Made:
    """Nomic's BERT: rotary positions, gates."""
    words = word_pieces(BertTokenizer)
    config = NomicBertConfig(vocab_size=len(words), max_position_embeddings=MAX_TOKENS, **SIZES)
    return NomicBertModel(config), words


def t5() -> Made:
    """T5's encoder: relative positions, RMS norms, one input beside the mask."""
    words = T5Tokenizer(
        vocab=unigrams(["<pad>", "</s>", "<unk>"]), extra_ids=0, model_max_length=MAX_TOKENS
    )
    config = T5Config(
        vocab_size=len(words), d_model=HIDDEN, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return T5EncoderModel(config), words


def qwen3() -> Made:
    """Qwen3: causal, an end after every text, padding on the left."""
    words = byte_pairs(Qwen2Tokenizer, ["<|endoftext|>"], padding_side="left")
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    config = Qwen3Config(
        vocab_size=len(words), num_key_value_heads=2, head_dim=8, pad_token_id=0,
        max_position_embeddings=MAX_TOKENS, **SIZES,
    )  # fmt: skip
    return Qwen3Model(config), words


def mistral() -> Made:
    """Mistral: causal, a sliding window, a beginning and an end that the configuration asks for."""
    words = sentence_pieces(
        LlamaTokenizer, ["<unk>", "<s>", "</s>"], add_bos_token=True, add_eos_token=True,
        pad_token="</s>", padding_side="left",
    )  # fmt: skip
    config = MistralConfig(
        vocab_size=len(words), num_key_value_heads=2, head_dim=8, sliding_window=8,
        max_position_embeddings=MAX_TOKENS, **SIZES,
    )  # fmt: skip
    return MistralModel(config), words


def gemma() -> Made:
    """Gemma 3 as EmbeddingGemma has it: attention in both directions."""
    words = sentence_pieces(
        GemmaTokenizer, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], add_eos_token=True
    )
    config = Gemma3TextConfig(
        vocab_size=len(words), num_key_value_heads=1, head_dim=8, sliding_window=8,
        max_position_embeddings=MAX_TOKENS, use_bidirectional_attention=True, pad_token_id=0,
        layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8, **SIZES,
    )  # fmt: skip
    return Gemma3TextModel(config), words


def gpt2() -> Made:
    """GPT-2: matrices that are stored the other way round."""
    words = tokenizer()
    config = GPT2Config(
        vocab_size=len(words), n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=64,
        initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    return GPT2Model(config), words


FAMILIES: dict[str, tuple[Callable[[], Made], str | tuple[str, ...]]] = {
    "bert": (bert, "cls"),
    "distilbert": (distilbert, "mean_sqrt_len_tokens"),
    "roberta": (roberta, "mean"),
    "xlm_roberta": (xlm_roberta, ("mean", "max", "cls")),
    "mpnet": (mpnet, "mean"),
    "modernbert": (modernbert, "cls"),
    "electra": (electra, "max"),
    "albert": (albert, "lasttoken"),
    "deberta": (deberta, "mean"),
    "nomic": (nomic, "mean"),
    "t5": (t5, "mean"),
    "qwen3": (qwen3, "lasttoken"),
    "mistral": (mistral, ("weightedmean", "lasttoken")),
    "gemma": (gemma, "mean"),
    "gpt2": (gpt2, "weightedmean"),
}
"""Every family by name, with its pooling; every pooling is there."""


def save_encoder(name: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """A bare encoder of a family with its tokenizer, saved by transformers; returns its folder."""
    torch.manual_seed(4)
    encoder, words = FAMILIES[name][0]()
    encoder.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_family(name: str, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """A pipeline of a family, saved by Sentence-Transformers; returns its folder."""
    encoder = save_encoder(name, folder.with_name(f"{folder.name}-encoder"), dtype=dtype)
    modules = [
        Transformer(str(encoder), max_seq_length=MAX_TOKENS),
        Pooling(HIDDEN, FAMILIES[name][1]),
        Normalize(),
    ]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder
