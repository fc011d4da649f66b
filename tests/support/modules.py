"""One seeded model for every module that Sentence-Transformers ships for dense text embeddings.

Each is built and saved by Sentence-Transformers itself. Dropout and layers that start at zero or at
one get random weights, so that a module that is lost or made up moves every vector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import (
    CNN,
    LSTM,
    BoW,
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
    WeightedLayerPooling,
    WordEmbeddings,
    WordWeights,
)
from sentence_transformers.models.tokenizer import WhitespaceTokenizer

from support.models import MAX_TOKENS, save_encoder, tokenizer

HIDDEN = 32
WORDS = ("how", "do", "i", "get", "my", "money", "back", "refund", "invoice", "card", "document")
WEIGHTS_OF_WORDS = {word: 0.5 + index / 7 for index, word in enumerate(WORDS[:9])}

Modules = list[torch.nn.Module]
Recipe = Callable[[Path], SentenceTransformer]


def shaken(module: torch.nn.Module, seed: int = 5) -> torch.nn.Module:
    """A module with random weights in every place."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.3
    return module


def transformer(folder: Path, *, seed: int = 1, length: int = MAX_TOKENS) -> Transformer:
    """A tiny encoder of its own folder."""
    encoder = save_encoder(folder / f"encoder-{seed}", hidden=HIDDEN, seed=seed)
    return Transformer(str(encoder), max_seq_length=length)


def all_layers(folder: Path) -> Transformer:
    """A tiny encoder that gives the states of all its layers."""
    encoder = transformer(folder)
    encoder.auto_model.config.output_hidden_states = True
    return encoder


def static(dimension: int = HIDDEN, *, seed: int = 3) -> StaticEmbedding:
    """Token vectors without an encoder, as model2vec distils them."""
    words = tokenizer()
    weights = torch.randn(len(words), dimension, generator=torch.Generator().manual_seed(seed))
    return StaticEmbedding(words, embedding_weights=weights)


def word_embeddings(dimension: int = HIDDEN, *, seed: int = 7) -> WordEmbeddings:
    """Vectors of whole words, split at white space."""
    weights = torch.randn(len(WORDS) + 1, dimension, generator=torch.Generator().manual_seed(seed))
    weights[0] = 0  # padding, as `WordEmbeddings.from_text_file` has it
    words = WhitespaceTokenizer(["[PAD]", *WORDS], stop_words=["the", "of"], do_lower_case=True)
    return WordEmbeddings(words, weights)


def word_weights() -> WordWeights:
    """Weights of whole words, as a search engine has them."""
    return WordWeights(["[PAD]", *WORDS], WEIGHTS_OF_WORDS, unknown_word_weight=0.3)


def layers(folder: Path) -> Modules:
    """Every module that may follow an encoder."""
    return [
        all_layers(folder),
        shaken(WeightedLayerPooling(HIDDEN, num_hidden_layers=2, layer_start=1)),
        Pooling(HIDDEN, pooling_mode=("mean", "max")),
        Dropout(0.5),
        shaken(Dense(2 * HIDDEN, HIDDEN, activation_function=torch.nn.GELU(), use_residual=True)),
        shaken(LayerNorm(HIDDEN)),
        Normalize(),
    ]


def routed(folder: Path) -> Modules:
    """Queries by token vectors alone, documents by an encoder."""
    router = Router.for_query_document(
        query_modules=[static(), shaken(Dense(HIDDEN, HIDDEN), 9)],
        document_modules=[transformer(folder, length=24), Pooling(HIDDEN)],
    )
    return [router, Normalize()]


def two_lengths(folder: Path) -> Modules:
    """Two encoders with maximum lengths of their own."""
    router = Router.for_query_document(
        query_modules=[transformer(folder, length=8), Pooling(HIDDEN)],
        document_modules=[transformer(folder, seed=2, length=48), Pooling(HIDDEN, "cls")],
    )
    return [router]


def two_heads(folder: Path) -> Modules:
    """One encoder, and a head for each side after it: the older way to be asymmetric."""
    heads = Router.for_query_document(
        query_modules=[shaken(Dense(HIDDEN, 20), 4)],
        document_modules=[shaken(Dense(HIDDEN, 20), 6)],
    )
    return [transformer(folder), Pooling(HIDDEN), heads]


def shared_encoder(folder: Path) -> Modules:
    """One encoder that two routes share, with a head for queries only; routes found by a table."""
    encoder, pooling = transformer(folder), Pooling(HIDDEN)
    router = Router(
        {"asked": [encoder, pooling, shaken(Dense(HIDDEN, HIDDEN), 4)], "told": [encoder, pooling]},
        default_route="told",
        route_mappings={("query", "text"): "asked", ("document", None): "told"},
    )
    return [router]


PIPELINES: dict[str, Callable[[Path], Modules]] = {
    "layers": layers,
    "weighted_layers": lambda folder: [layers(folder)[0], layers(folder)[1], Pooling(HIDDEN)],
    "dense": lambda folder: [transformer(folder), Pooling(HIDDEN), shaken(Dense(HIDDEN, 20))],
    "static": lambda folder: [static()],
    "static_normalized": lambda folder: [static(), Normalize()],
    "bow": lambda folder: [BoW(list(WORDS), WEIGHTS_OF_WORDS, 0.1), shaken(Dense(len(WORDS), 16))],
    "bow_alone": lambda folder: [BoW(list(WORDS), cumulative_term_frequency=False)],
    "words": lambda folder: [word_embeddings(), Pooling(HIDDEN)],
    "word_weights": lambda folder: [word_embeddings(), word_weights(), Pooling(HIDDEN)],
    "cnn": lambda folder: [
        word_embeddings(),
        shaken(CNN(HIDDEN, out_channels=8, kernel_sizes=[1, 3])),
        Pooling(16),
    ],
    "lstm": lambda folder: [
        word_embeddings(),
        shaken(LSTM(HIDDEN, 12, num_layers=2, dropout=0.5)),
        Pooling(24),
    ],
    "router": routed,
    "router_lengths": two_lengths,
    "router_heads": two_heads,
    "router_shared": shared_encoder,
}
"""How to build every pipeline, given a folder for what it is built from."""


def build(name: str, folder: Path, **options: object) -> SentenceTransformer:
    """A pipeline in memory, not training."""
    torch.manual_seed(11)
    model = SentenceTransformer(modules=PIPELINES[name](folder), device="cpu", **options)
    return model.eval()


def save(model: SentenceTransformer, folder: Path) -> Path:
    """Save a model by its own library; returns its folder."""
    model.save(str(folder), create_model_card=False)
    return folder
