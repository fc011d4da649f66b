"""Whatever Sentence-Transformers saves for dense text embeddings is packaged whole, or refused."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Router, WordEmbeddings
from sentence_transformers.models.tokenizer import PhraseTokenizer

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError, PairlockError, UnsupportedError
from pairlock.config import Settings
from pairlock.layouts import listing_of, recognise
from pairlock.layouts.modules import MODULES
from pairlock.manifest import read_manifest
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.foreign_classes import allowed_classes, import_class
from pairlock_flavors.torch_runtime.models.description import describe
from pairlock_flavors.torch_runtime.models.loading import load_sentence_transformer
from support.models import PROMPTS, TEXTS
from support.modules import (
    HIDDEN,
    PIPELINES,
    WORDS,
    build,
    save,
    shaken,
    static,
    transformer,
    word_embeddings,
)

Saved = Callable[[str], tuple[SentenceTransformer, Path]]

WEIGHTS = {
    "layers": ("model.safetensors", "1_WeightedLayerPooling", "4_Dense", "5_LayerNorm"),
    "static": ("model.safetensors",),
    "words": ("model.safetensors",),
    "word_weights": ("1_WordWeights",),
    "cnn": ("1_CNN",),
    "lstm": ("1_LSTM",),
    "bow": ("1_Dense",),
    "router": (
        "query_0_StaticEmbedding",
        "query_1_Dense",
        "document_0_Transformer",
    ),
    "router_heads": ("2_Router/query_0_Dense", "2_Router/document_0_Dense"),
}
"""Every place where weights lie, by pipeline: each kind of module that has any is there."""

PLACES = [
    (name, place if place.endswith(".safetensors") else f"{place}/model.safetensors")
    for name, places in WEIGHTS.items()
    for place in places
]
CONFIGURATIONS = [
    ("layers", "1_WeightedLayerPooling/config.json"),
    ("layers", "2_Pooling/config.json"),
    ("layers", "3_Dropout/config.json"),
    ("layers", "4_Dense/config.json"),
    ("layers", "5_LayerNorm/config.json"),
    ("static", "tokenizer.json"),
    ("words", "wordembedding_config.json"),
    ("words", "whitespacetokenizer_config.json"),
    ("word_weights", "1_WordWeights/config.json"),
    ("bow", "0_BoW/config.json"),
    ("cnn", "1_CNN/cnn_config.json"),
    ("lstm", "1_LSTM/lstm_config.json"),
    ("router", "router_config.json"),
    ("router", "query_0_StaticEmbedding/tokenizer.json"),
    ("router", "document_0_Transformer/config.json"),
    ("router", "document_0_Transformer/tokenizer*"),
    ("router", "document_1_Pooling/config.json"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A pipeline as it was trained, and the folder that it was saved in; built once."""
    root = tmp_path_factory.mktemp("modules")
    made: dict[str, tuple[SentenceTransformer, Path]] = {}

    def of(name: str) -> tuple[SentenceTransformer, Path]:
        if name not in made:
            model = build(name, root / f"{name}-parts")
            made[name] = model, save(model, root / name)
        return made[name]

    return of


@pytest.fixture
def copied(saved: Saved, tmp_path: Path) -> Callable[[str], Path]:
    """A folder to break."""
    return lambda name: shutil.copytree(saved(name)[1], tmp_path / f"copy-{name}")


def deviation(expected: Any, found: Any) -> float:
    """The largest 1 - cosine of two sets of vectors in float64; a vector of zeros equals itself."""
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    assert a.shape == b.shape
    assert np.isfinite(a).all()
    norms = [np.linalg.norm(vectors, axis=1) for vectors in (a, b)]
    assert np.allclose(*norms, rtol=1e-5, atol=0)
    a, b = (v / np.where(n > 0, n, 1)[:, None] for v, n in zip((a, b), norms, strict=True))
    return float(((a - b) ** 2).sum(axis=1).max() / 2)


def assert_same(own: Any, model: SentenceTransformer, **options: Any) -> None:
    """Both roles, one by one and in a batch, are what the trainer's object gives."""
    queries, texts = model.encode_query(TEXTS, **options), model.encode_document(TEXTS, **options)
    assert deviation(queries, [own.get_query_embedding(text) for text in TEXTS]) <= 1e-8
    assert deviation(texts, [own.get_text_embedding(text) for text in TEXTS]) <= 1e-8
    assert deviation(texts, own.get_text_embedding_batch(TEXTS)) <= 1e-8


def refused(folder: object, registry: Any, **options: Any) -> PairlockError:
    """The error of packaging; no version is made."""
    with pytest.raises(PairlockError) as caught:
        registry.log(folder, "refused", **options)
    assert registry.versions("refused") == []
    return caught.value


def layout_error(folder: Path) -> PairlockError:
    """The error of looking at a folder, before anything is read or copied."""
    with pytest.raises(PairlockError) as caught:
        recognise(listing_of(LocalStore(folder)))
    return caught.value


def manifest_of(registry: Any, uri: str) -> Any:
    """A package's manifest."""
    folder = registry.folder_of(uri)
    return read_manifest((folder / "pairlock.json").read_bytes(), where=str(folder))


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# --- every module


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_gives_what_its_trainer_gives(name: str, saved: Saved, registry: Any) -> None:
    """Every module that is packaged gives the vectors of the object that was trained, proved."""
    model, folder = saved(name)
    uri = registry.log(folder, name)
    own = pairlock.load(uri, golden=True)
    assert_same(own, model)
    encode = manifest_of(registry, uri).encode
    assert encode.modules[0] == type(model[0]).__name__
    assert encode.foreign_modules == ()
    assert own.to_dict()  # LlamaIndex stores what an index was built with


def test_every_module_of_the_list_is_in_a_pipeline(saved: Saved) -> None:
    """No module is packaged without a test that proves it."""
    shown = {
        part.rpartition("/")[2] for name in PIPELINES for part in describe(saved(name)[0]).modules
    }
    assert shown == set(MODULES)


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_missing_weights_are_refused_before_anything_is_made(
    name: str, path: str, copied: Callable[[str], Path], registry: Any
) -> None:
    """Weights that are gone, there only as a pickle, or lack a tensor, are never made up."""
    folder = copied(name)
    tensors = safetensors.torch.load((folder / path).read_bytes())
    lost = sorted(key for key in tensors if "pooler" not in key)[-1]
    rest = {key: value for key, value in tensors.items() if key != lost}
    safetensors.torch.save_file(rest, folder / path, metadata={"format": "pt"})
    assert refused(folder, registry).kind is ErrorKind.TENSOR_KEYS

    (folder / path).unlink()
    pickle = (folder / path).with_name("pytorch_model.bin")
    pickle.write_bytes(b"not even a pickle")
    assert layout_error(folder).kind is ErrorKind.UNSAFE_PICKLE

    pickle.unlink()
    error = layout_error(folder)
    assert error.kind is ErrorKind.MODEL_INCOMPLETE
    assert error.checked == path


@pytest.mark.parametrize(("name", "pattern"), CONFIGURATIONS)
def test_a_missing_configuration_is_refused(
    name: str, pattern: str, copied: Callable[[str], Path]
) -> None:
    """A module without its configuration or its tokenizer would be guessed, so it is refused."""
    folder = copied(name)
    gone = list(folder.glob(pattern))
    assert gone
    for path in gone:
        path.unlink()
    assert layout_error(folder).kind is ErrorKind.MODEL_INCOMPLETE


@pytest.mark.parametrize("name", ["layers", "static", "cnn", "router"])
def test_one_changed_byte_anywhere_is_refused(name: str, saved: Saved, registry: Any) -> None:
    """A package with one changed byte in any module's configuration or weights does not load."""
    uri = registry.log(saved(name)[1], "damaged")
    payload = registry.folder_of(uri) / "payload" / "model"
    files = [path for path in payload.rglob("*") if path.is_file()]
    assert {path for place, path in PLACES if place == name} <= {
        str(path.relative_to(payload)) for path in files
    }
    for path in [path for path in files if "token" not in path.name]:
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(uri)
        assert caught.value.kind is ErrorKind.FILE_DIGEST
        path.write_bytes(content)
    pairlock.load(uri)


def test_weights_that_the_library_does_not_read_are_refused(
    saved: Saved, tmp_path: Path, registry: Any
) -> None:
    """Trained word weights, which Sentence-Transformers saves and never reads, are not lost."""
    model = build("word_weights", tmp_path / "parts")
    model[1].emb_layer.weight.data += 1
    folder = save(model, tmp_path / "model")
    again = SentenceTransformer(str(folder), device="cpu")
    assert deviation(model.encode(["card"]), saved("word_weights")[0].encode(["card"])) < 1e-8
    assert not torch.equal(again[1].emb_layer.weight, model[1].emb_layer.weight)
    assert refused(folder, registry).kind is ErrorKind.TENSOR_VALUES


def test_live_objects_are_packaged_whole(saved: Saved, registry: Any) -> None:
    """A live model of any modules is saved by its own library, and the package agrees with it."""
    model, _ = saved("router")
    assert_same(pairlock.load(registry.log(model, "live"), golden=True), model)


def test_token_vectors_in_half_precision_are_proved_in_float32(
    tmp_path: Path, registry: Any
) -> None:
    """The dtype of a load reaches modules without an encoder, which the library leaves alone."""
    model = SentenceTransformer(modules=[static().half()], device="cpu")
    uri = registry.log(save(model, tmp_path / "model"), "half")
    pairlock.load(uri, golden=True)
    assert manifest_of(registry, uri).devices.dtype == "float16"
    golden = registry.folder_of(uri) / "payload"
    recorded = safetensors.torch.load((golden / "golden.safetensors").read_bytes())["query"]
    texts = json.loads((golden / "golden.json").read_text())["texts"]
    wide = SentenceTransformer(modules=[static().half().float()], device="cpu")
    assert deviation(recorded, wide.encode_query(texts)) <= 1e-8
    loaded = load_sentence_transformer(
        Opened(tmp_path / "model"), device="cpu", dtype="bfloat16", allowed=frozenset()
    )
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.bfloat16}


def test_words_without_a_limit_are_recorded_as_such(saved: Saved) -> None:
    """A million words are the library's way to say no limit, and make no golden text as long."""
    assert saved("words")[0].max_seq_length == 1_000_000
    assert describe(saved("words")[0]).max_seq_length is None


def test_a_token_table_of_model2vec_is_packaged(tmp_path: Path, registry: Any) -> None:
    """A folder that model2vec wrote is packaged: its own tensor names, and `.` for its folder."""
    folder = tmp_path / "model2vec"
    folder.mkdir()
    module = static()
    weights = module.embedding.weight.detach()
    mapping = torch.arange(len(weights)).flip(0)
    scale = torch.linspace(0.5, 1.5, len(weights), dtype=torch.float64)
    safetensors.torch.save_file(
        {"embeddings": weights, "mapping": mapping, "weights": scale}, folder / "model.safetensors"
    )
    module.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": ".",
            "type": "sentence_transformers.models.StaticEmbedding",
        },
        {
            "idx": 1,
            "name": "1",
            "path": "1_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    own = pairlock.load(registry.log(folder, "model2vec"), golden=True)
    assert_same(own, SentenceTransformer(str(folder), device="cpu"))


def test_phrases_are_packaged(tmp_path: Path, registry: Any) -> None:
    """Words that belong together are one token, as NLTK splits them."""
    weights = torch.randn(len(WORDS) + 2, HIDDEN, generator=torch.Generator().manual_seed(2))
    weights[0] = 0
    words = PhraseTokenizer(["[PAD]", *WORDS, "money_back"], stop_words=["the"])
    modules = [WordEmbeddings(words, weights), Pooling(HIDDEN)]
    model = SentenceTransformer(modules=modules, device="cpu").eval()
    # a bag of words would not know them apart
    assert np.abs(model.encode("money back") - model.encode("back money")).max() > 1e-2
    uri = registry.log(save(model, tmp_path / "model"), "phrases")
    assert_same(pairlock.load(uri, golden=True), model)


# --- settings


@pytest.mark.parametrize(
    ("name", "normalize"),
    [("dense", True), ("static_normalized", None), ("static_normalized", True), ("router", True)],
)
def test_vectors_are_cut_before_they_are_normalised(
    name: str, normalize: bool | None, saved: Saved, tmp_path: Path, registry: Any
) -> None:
    """A saved truncate_dim is recorded and applied in the library's order, in both roles."""
    model = SentenceTransformer(
        str(saved(name)[1]), device="cpu", truncate_dim=7, similarity_fn_name="dot"
    )
    uri = registry.log(save(model, tmp_path / "model"), "short", normalize=normalize)
    own = pairlock.load(uri, golden=True)
    assert_same(own, model, normalize_embeddings=bool(normalize))
    manifest = manifest_of(registry, uri)
    assert (manifest.encode.truncate_dim, manifest.dimension) == (7, 7)
    assert manifest.encode.similarity == "dot"
    length = np.linalg.norm(own.get_text_embedding(TEXTS[0]))
    assert (abs(length - 1) < 1e-6) == bool(normalize)


def test_a_truncation_beyond_the_dimension_changes_nothing(
    saved: Saved, tmp_path: Path, registry: Any
) -> None:
    """The recorded dimension is that of the vectors, whatever a model says of cutting them."""
    model = SentenceTransformer(str(saved("dense")[1]), device="cpu", truncate_dim=500)
    uri = registry.log(save(model, tmp_path / "model"), "long")
    assert_same(pairlock.load(uri, golden=True), saved("dense")[0])
    assert manifest_of(registry, uri).dimension == 20


@pytest.mark.parametrize(
    "change",
    [
        {"truncate_dim": 0},
        {"truncate_dim": -1},
        {"truncate_dim": "8"},
        {"truncate_dim": True},
        {"similarity_fn_name": "maxsim"},
        {"similarity_fn_name": ["cosine"]},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(
    change: dict[str, Any], copied: Callable[[str], Path]
) -> None:
    """A setting that the library would pass over in silence is refused."""
    folder = copied("static")
    rewrite(folder / "config_sentence_transformers.json", **change)
    assert layout_error(folder).kind is ErrorKind.MODEL_INCOMPLETE


@pytest.mark.parametrize(
    ("name", "default"),
    [("static", None), ("bow", "document"), ("words", None), ("router", "query")],
)
def test_prompts_reach_every_kind_of_input(
    name: str, default: str | None, tmp_path: Path, registry: Any
) -> None:
    """Saved prompts are put before texts whatever module reads them, and differ by role."""
    model = build(name, tmp_path / "parts", prompts=PROMPTS, default_prompt_name=default)
    own = pairlock.load(registry.log(save(model, tmp_path / "model"), "prompted"), golden=True)
    assert_same(own, model)
    assert (own.query_instruction, own.text_instruction) == tuple(PROMPTS.values())
    bare = model.encode_document(TEXTS, prompt="")
    assert np.abs(np.asarray(own.get_text_embedding_batch(TEXTS)) - bare).max() > 1e-3


# --- routes


def test_each_route_keeps_its_own_length(saved: Saved, registry: Any) -> None:
    """The longest of the routes' lengths is recorded, and is not given to the other routes."""
    model, folder = saved("router_lengths")
    uri = registry.log(folder, "lengths")
    own = pairlock.load(uri)
    assert manifest_of(registry, uri).encode.max_seq_length == 48
    lengths = {name: route[0].max_seq_length for name, route in own._model[0].sub_modules.items()}
    assert lengths == {"query": 8, "document": 48}
    assert_same(own, model)


def test_an_asymmetric_model_of_an_older_release_is_packaged(
    copied: Callable[[str], Path], saved: Saved, registry: Any
) -> None:
    """The names that older releases wrote, Asym and sentence_transformers.models, are known."""
    folder = copied("router_heads")
    (folder / "2_Router").rename(folder / "2_Asym")
    modules = json.loads((folder / "modules.json").read_text())
    names = ("Transformer", "Pooling", "Asym")
    for module, name in zip(modules, names, strict=True):
        module["type"] = f"sentence_transformers.models.{name}"
        module["path"] = module["path"].replace("Router", "Asym")
    modules[1]["type"] += ".Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    config = folder / "2_Asym" / "router_config.json"
    old = json.loads(config.read_text())
    old["types"] = dict.fromkeys(old["types"], "sentence_transformers.models.Dense")
    old["parameters"] = {"allow_empty_key": True}
    config.with_name("config.json").write_text(json.dumps(old))
    config.unlink()
    own = pairlock.load(registry.log(folder, "asym"), golden=True)
    assert_same(own, saved("router_heads")[0])


@pytest.mark.parametrize(
    "routes",
    [
        {"query": [static()], "document": [static(), shaken(Dense(HIDDEN, 20))]},
        {"query": [static()], "passage": [static()]},
        {"image": [static()], "audio": [static()]},
    ],
    ids=["dimensions", "no document", "neither"],
)
def test_routes_that_do_not_serve_both_roles_are_refused(
    routes: dict[str, Any], tmp_path: Path, registry: Any
) -> None:
    """A model embeds queries and documents into one dimension, or it is not packaged."""
    model = SentenceTransformer(modules=[Router(routes)], device="cpu")
    error = refused(save(model, tmp_path / "model"), registry)
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.DIMENSION


@pytest.mark.parametrize(
    "change",
    [
        {"types": []},
        {"structure": {}},
        {"structure": {"query": []}},
        {"structure": {"query": ["query_0_Gone"]}},
        {"structure": {"query": [["query_0_StaticEmbedding"]]}},
        {"types": {"../outside": "sentence_transformers.models.StaticEmbedding"}},
        {"types": {"..": "sentence_transformers.models.StaticEmbedding"}},
    ],
    ids=json.dumps,
)
def test_routes_that_make_no_sense_are_refused(
    change: dict[str, Any], copied: Callable[[str], Path]
) -> None:
    """A malformed list of routes, or one that leaves the folder, is refused."""
    folder = copied("router")
    rewrite(folder / "router_config.json", **change)
    assert layout_error(folder).kind is ErrorKind.MODEL_INCOMPLETE


# --- what is refused


def test_a_model_that_reads_padding_is_refused(tmp_path: Path, registry: Any) -> None:
    """A text that gets other vectors beside a longer text has no approved vector."""
    words = word_embeddings()
    words.emb_layer.weight.data[0] = 1
    modules = [words, build("cnn", tmp_path / "parts")[1], Pooling(16)]
    folder = save(SentenceTransformer(modules=modules, device="cpu"), tmp_path / "model")
    assert refused(folder, registry).kind is ErrorKind.NOT_REPRODUCIBLE


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, registry: Any) -> None:
    """A maximum over no word at all is minus infinity, which no index can hold."""
    modules = [word_embeddings(), Pooling(HIDDEN, "max")]
    folder = save(SentenceTransformer(modules=modules, device="cpu"), tmp_path / "model")
    error = refused(folder, registry)
    assert isinstance(error, IntegrityError)
    assert error.kind is ErrorKind.NOT_REPRODUCIBLE


@pytest.mark.parametrize(
    "class_",
    [
        "sentence_transformers.models.tokenizer.TransformersTokenizerWrapper",
        "acme.words.Splitter",
        "os.system",
        None,
    ],
)
def test_words_split_by_other_code_are_refused(
    class_: str | None, copied: Callable[[str], Path]
) -> None:
    """A tokenizer class is code as much as a module's class is."""
    folder = copied("words")
    rewrite(folder / "wordembedding_config.json", tokenizer_class=class_)
    assert layout_error(folder).kind is ErrorKind.KIND_UNSUPPORTED


@pytest.mark.parametrize("type_", ["models.CLIPModel", "sparse_encoder.models.SpladePooling"])
def test_modules_for_other_things_are_refused(type_: str, copied: Callable[[str], Path]) -> None:
    """Images and sparse vectors are refused by the name of their module."""
    folder = copied("static")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = f"sentence_transformers.{type_}"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert layout_error(folder).kind is ErrorKind.KIND_UNSUPPORTED


# --- classes of other packages

GATE = "acme_modules.gates:Gate"
CODE = """
    import torch
    from sentence_transformers.models import Module

    open({trace!r}, "a").write("imported ")

    class Gate(Module):
        config_keys = ["size"]
        config_file_name = "gate_config.json"

        def __init__(self, size):
            super().__init__()
            self.size = size
            self.scale = torch.nn.Parameter(torch.linspace(-1, 1, size))

        def forward(self, features, task=None):
            scale = self.scale.flip(0) if task == "query" else {sign} self.scale
            features["sentence_embedding"] = features["sentence_embedding"] * scale
            return features

        def get_embedding_dimension(self):
            return self.size

        def save(self, output_path, *args, safe_serialization=True, **kwargs):
            self.save_config(output_path)
            self.save_torch_weights(output_path)

        @classmethod
        def load(cls, model_name_or_path, subfolder="", **kwargs):
            known = {{"subfolder": subfolder, "local_files_only": True}}
            model = cls(**cls.load_config(model_name_or_path, **known))
            return cls.load_torch_weights(model_name_or_path, model=model, **known)

    class NoModule:
        pass

    def function():
        pass
"""


def write_code(folder: Path, trace: Path, *, sign: str = "") -> Path:
    """A package with a module of its own, that leaves a trace when it is imported."""
    package = folder / "acme_modules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    text = textwrap.dedent(CODE).format(trace=str(trace), sign=sign)
    (package / "gates.py").write_text(text)
    return folder


def forget() -> None:
    """As in a process that has imported nothing of the package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_modules"]:
        del sys.modules[name]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Says how often the package was imported."""
    return tmp_path / "trace"


@pytest.fixture
def acme(tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An installed package with a module of its own, not imported yet."""
    monkeypatch.syspath_prepend(str(write_code(tmp_path / "site", trace)))
    forget()
    yield
    forget()


@pytest.fixture
def gated(acme: Any, trace: Path, tmp_path: Path) -> tuple[SentenceTransformer, Path]:
    """A model with a module that Sentence-Transformers does not ship, and its folder."""
    from acme_modules.gates import Gate

    modules = [transformer(tmp_path / "parts"), Pooling(HIDDEN), Gate(HIDDEN), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu").eval()
    model.module_kwargs = {"2": ["task"]}  # saved in modules.json
    folder = save(model, tmp_path / "gated")
    forget()
    trace.unlink()
    return model, folder


def allow(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", ",".join(paths))


def test_a_foreign_class_is_refused_and_not_imported(
    gated: tuple[SentenceTransformer, Path], trace: Path, registry: Any, monkeypatch: Any
) -> None:
    """A class that nobody allowed is not imported, and another allowed class does not help."""
    allow(monkeypatch, "acme_modules.gates:Other", "acme_modules:gates")
    error = refused(gated[1], registry)
    assert isinstance(error, UnsupportedError)
    assert error.kind is ErrorKind.CLASS_NOT_ALLOWED
    assert GATE in error.hint
    assert not trace.exists()


def test_an_allowed_class_is_packaged_without_its_code(
    gated: tuple[SentenceTransformer, Path],
    trace: Path,
    registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An allowed class gives the trainer's vectors; each load has to be allowed to run it."""
    model, folder = gated
    assert np.abs(model.encode_query("card") - model.encode_document("card")).max() > 1e-2
    (folder / "2_Gate" / "gates.py").write_text("raise SystemExit")
    allow(monkeypatch, GATE)
    uri = registry.log(folder, "gated")
    assert trace.read_text() == "imported "
    manifest = manifest_of(registry, uri)
    assert manifest.encode.foreign_modules == (GATE,)
    paths = {record.path for record in manifest.files}
    assert "payload/model/2_Gate/gate_config.json" in paths
    assert not [path for path in paths if path.endswith(".py")]
    assert_same(pairlock.load(uri, golden=True), model)

    forget()
    trace.unlink()
    allow(monkeypatch)
    with pytest.raises(UnsupportedError) as caught:
        pairlock.load(uri)
    assert caught.value.kind is ErrorKind.CLASS_NOT_ALLOWED
    assert not trace.exists()


def test_a_foreign_class_under_a_route_is_handed_over_too(
    acme: Any, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Router resolves the classes of its routes by itself, and is given the allowed ones."""
    from acme_modules.gates import Gate

    router = Router.for_query_document([static(), Gate(HIDDEN)], [static()])
    model = SentenceTransformer(modules=[router], device="cpu").eval()
    folder = save(model, tmp_path / "model")
    assert refused(folder, registry).kind is ErrorKind.CLASS_NOT_ALLOWED
    allow(monkeypatch, GATE)
    assert_same(pairlock.load(registry.log(folder, "routed"), golden=True), model)


def test_code_in_the_models_folder_is_never_taken(
    gated: tuple[SentenceTransformer, Path],
    registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A .py of the model's is not imported, by whatever name, though the class is allowed."""
    folder = gated[1]
    local = textwrap.dedent(CODE).format(trace=str(tmp_path / "other trace"), sign="-")
    for place in (folder, folder / "2_Gate"):
        write_code(place, tmp_path / "other trace", sign="-")
        (place / "gates.py").write_text(local)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "gates.Gate"
    allow(monkeypatch, GATE, "gates:Gate")
    assert_same(pairlock.load(registry.log(folder, "gated")), gated[0])
    (folder / "modules.json").write_text(json.dumps(modules))
    error = refused(folder, registry)
    assert isinstance(error, InvalidInputError)
    assert error.kind is ErrorKind.CLASS_MISSING
    assert not (tmp_path / "other trace").exists()

    # an installed module of the same name is taken, and not the one beside the weights
    installed = local.replace("other trace", "trace").replace("else - self", "else self")
    (tmp_path / "site" / "gates.py").write_text(installed)
    allowed = frozenset([GATE, "gates:Gate"])
    loaded = load_sentence_transformer(Opened(folder), device="cpu", dtype=None, allowed=allowed)
    sys.modules.pop("gates")
    assert deviation(loaded.encode_document(TEXTS), gated[0].encode_document(TEXTS)) <= 1e-8
    assert not (tmp_path / "other trace").exists()

    # not even where Python's own search path leads into the folder
    forget()
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(UnsupportedError) as caught:
        load_sentence_transformer(Opened(folder), device="cpu", dtype=None, allowed=allowed)
    assert caught.value.kind is ErrorKind.CLASS_NOT_ALLOWED
    assert not (tmp_path / "other trace").exists()


class Opened:
    """A folder as a context manager, which is how proved files are handed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        return None


def test_a_foreign_module_whose_weights_are_nowhere_is_refused(
    gated: tuple[SentenceTransformer, Path], registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that fills in weights of its own is noticed, for they are in no file."""
    folder = gated[1]
    allow(monkeypatch, GATE)
    import acme_modules.gates as code

    def load(cls: Any, model_name_or_path: str, subfolder: str = "", **_: Any) -> Any:
        return cls(HIDDEN)

    monkeypatch.setattr(code.Gate, "load", classmethod(load))
    weights = folder / "2_Gate" / "model.safetensors"
    tensors = safetensors.torch.load(weights.read_bytes())
    safetensors.torch.save_file({"scale": tensors["scale"] + 1}, weights)
    assert refused(folder, registry).kind is ErrorKind.TENSOR_VALUES
    safetensors.torch.save_file({"other": tensors["scale"]}, weights)
    assert refused(folder, registry).kind is ErrorKind.TENSOR_KEYS
    weights.unlink()
    assert refused(folder, registry).kind is ErrorKind.TENSOR_KEYS
    weights.with_name("pytorch_model.bin").write_bytes(b"")
    assert refused(folder, registry).kind is ErrorKind.UNSAFE_PICKLE


def test_another_class_than_recorded_is_refused(
    gated: tuple[SentenceTransformer, Path], registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that names no foreign class does not fit a model that has one."""
    from pairlock_flavors.torch_runtime import assemble

    allow(monkeypatch, GATE)
    uri = registry.log(gated[1], "gated")
    apply = assemble.apply_settings

    def forgetting(model: Any, settings: Any) -> None:
        from dataclasses import replace

        apply(model, replace(settings, foreign_modules=()))

    monkeypatch.setattr(assemble, "apply_settings", forgetting)
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert caught.value.kind is ErrorKind.ENCODE_SETTINGS


@pytest.mark.parametrize("name", ["Gone", "NoModule", "function"])
def test_an_allowed_class_must_be_there_and_of_its_kind(name: str, acme: Any) -> None:
    """What is allowed and not there, or no class of the kind, is an input error."""
    path = f"acme_modules.gates:{name}"
    with pytest.raises(InvalidInputError) as caught:
        import_class(path, frozenset({path}), base_class=torch.nn.Module)
    assert caught.value.kind is ErrorKind.CLASS_MISSING


def test_a_package_that_breaks_on_import_is_an_input_error(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Whatever an allowed package raises while it is imported becomes one error of ours."""
    (tmp_path / "acme_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    for path in ("acme_broken:Gate", "acme_is_not_here:Gate", "acme_is_not_here.inner:Gate"):
        with pytest.raises(InvalidInputError) as caught:
            import_class(path, frozenset({path}), base_class=torch.nn.Module)
        assert caught.value.kind is ErrorKind.CLASS_MISSING


def test_installed_packages_offer_classes(
    acme: Any, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry point allows its class beside those of the settings, and imports nothing."""
    info = tmp_path / "site" / "acme_modules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-modules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[pairlock.adapters]\ngate = {GATE}\n[other.group]\nno = acme_modules.gates:NoModule\n"
    )
    found = allowed_classes(Settings(cache=tmp_path, allowed_classes=frozenset({"a:B"})))
    assert found == {"a:B", GATE}
    assert not trace.exists()
