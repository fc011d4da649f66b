"""Golden vectors: what is recorded, and that a wrong library is caught by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError
from pairlock.bases import Base, open_base
from pairlock.catalog import locate
from pairlock.config import current_settings
from pairlock.manifest import GoldenBars
from pairlock.packages import Package, open_package
from pairlock.progress import SILENT
from pairlock.references import parse_reference
from pairlock.verification import Outcome
from pairlock_flavors.embeddings.package_embedding import PackageEmbedding
from pairlock_flavors.golden_vectors import check_golden
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, Placement, assemble
from pairlock_flavors.torch_runtime.embeddings.adapter_embedding import AdapterEmbedding
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel
from support.adapters import ADAPTERS, computed
from support.golden import stored_vectors
from support.vectors import one_minus_cosine

Change = Callable[[pytest.MonkeyPatch], None]


def recorded(folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The golden texts and vectors of a package."""
    texts = json.loads((folder / "payload" / "golden.json").read_bytes())["texts"]
    return texts, stored_vectors(folder)


def opened(uri: str, dtype: str) -> tuple[Package, PackageEmbedding]:
    """A proved package, and its model on the CPU in a dtype."""
    settings = current_settings()
    package = open_package(locate(parse_reference(uri)), settings=settings, progress=SILENT)
    pin = package.manifest.base

    def base() -> Base:
        assert pin is not None
        return open_base(pin, instead=None, settings=settings, progress=SILENT)

    embedding = assemble(
        Parts(manifest=package.manifest, root=package.root, base=base),
        identity=Identity(uri=uri, package_digest=package.digest),
        placement=Placement(device="cpu", dtype=dtype),
    )
    return package, embedding


def test_a_full_model_records_thirteen_texts_in_both_roles(
    packaged: Callable[[str], str], shared_registry: Any, tiny_prompts: Path
) -> None:
    """The recorded vectors are the library's own, for texts that tell mistakes apart."""
    texts, vectors = recorded(shared_registry.folder_of(packaged("tiny_prompts")))
    model = SentenceTransformer(str(tiny_prompts), device="cpu")
    assert len(texts) == len(set(texts)) == 13
    assert "" in texts
    assert any(len(model.tokenizer(text)["input_ids"]) > model.max_seq_length for text in texts)
    assert any(text != text.lower() for text in texts)
    assert any(ord(letter) > 0x2E80 for text in texts for letter in text)
    assert vectors.keys() == {"query", "text"}
    assert {array.dtype for array in vectors.values()} == {np.dtype("float32")}
    assert one_minus_cosine(vectors["query"], model.encode_query(texts)) <= 1e-12
    assert one_minus_cosine(vectors["text"], model.encode_document(texts)) <= 1e-12
    assert one_minus_cosine(vectors["query"], vectors["text"]) > 1e-4


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_records_its_base_s_vectors_too(
    name: str,
    packaged: Callable[[str], str],
    adapter_folders: Callable[[str], Path],
    shared_registry: Any,
    tiny_model: Path,
) -> None:
    """Both roles are recorded with and without the adapter, and the shift between them."""
    folder = shared_registry.folder_of(packaged(name))
    texts, vectors = recorded(folder)
    base = SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
    assert vectors.keys() == {"query", "text", "base_query", "base_text"}
    assert one_minus_cosine(vectors["base_query"], base) <= 1e-12
    assert one_minus_cosine(vectors["query"], computed(name, adapter_folders(name), base)) <= 1e-8
    assert np.array_equal(vectors["text"], vectors["base_text"])
    shift = json.loads((folder / "pairlock.json").read_bytes())["golden"]["adapter_shift"]
    expected = np.linalg.norm(vectors["query"].astype(float) - vectors["base_query"], axis=1).max()
    assert shift == pytest.approx(expected)


def test_a_package_adds_little_to_a_layer(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Four texts, and files as small as a hundred adapters on one base can bear."""
    folder = shared_registry.folder_of(packaged("linear"))
    texts, vectors = recorded(folder)
    assert len(texts) == 4
    components = sum(array.size for array in vectors.values())
    own = (folder / "payload/adapter/adapter.safetensors").stat().st_size
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # of 29.8 kB beside MiniLM's linear adapter, vectors and a graph of 6.4 kB leave twice as much
    assert whole - own - 4 * components <= 8_000


@pytest.mark.parametrize("name", ["tiny_model", "tiny_unnormalized", "tiny_dense", *ADAPTERS])
def test_golden_vectors_pass_on_request(
    name: str, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """A load with golden=True recomputes them, and its receipt says so; verify does too."""
    uri = packaged(name)
    asked = {check.name for check in pairlock.receipt(pairlock.load(uri, golden=True)).checks}
    unasked = {check.name for check in pairlock.receipt(pairlock.load(uri)).checks}
    assert asked - unasked == {"golden vectors"}
    verification = pairlock.verify(uri)
    golden = verification.checks[-1]
    assert verification.passed
    assert (golden.name, golden.outcome) == ("golden vectors", Outcome.PASSED)
    assert {"query", "text"} <= golden.figures.keys()
    assert all(figure["one_minus_cosine"] <= 1e-8 for figure in golden.figures.values())
    assert pairlock.verify(uri, golden=False).checks[-1].outcome is Outcome.SKIPPED


def _skip_normalisation(patched: pytest.MonkeyPatch) -> None:
    from sentence_transformers.models import Normalize

    patched.setattr(Normalize, "forward", lambda _self, features, **_kwargs: features)


def _cut_length(patched: pytest.MonkeyPatch) -> None:
    encode = SentenceTransformer.encode

    def shorter(self: SentenceTransformer, *args: Any, **kwargs: Any) -> Any:
        self.max_seq_length = 32
        return encode(self, *args, **kwargs)

    patched.setattr(SentenceTransformer, "encode", shorter)


def _drop_prompts(patched: pytest.MonkeyPatch) -> None:
    encode = SentenceTransformer.encode

    def bare(self: SentenceTransformer, *args: Any, **kwargs: Any) -> Any:
        return encode(self, *args, **{**kwargs, "prompt": ""})

    patched.setattr(SentenceTransformer, "encode", bare)


def _swap_roles(patched: pytest.MonkeyPatch) -> None:
    from pairlock.manifest import Role

    encode = SentenceModel.encode

    def swapped(self: SentenceModel, texts: Any, role: Role) -> Any:
        return encode(self, texts, Role.TEXT if role is Role.QUERY else Role.QUERY)

    patched.setattr(SentenceModel, "encode", swapped)


def _other_pooling(patched: pytest.MonkeyPatch) -> None:
    from sentence_transformers.models import Pooling

    forward = Pooling.forward

    def unmasked(self: Any, features: dict[str, Any], **kwargs: Any) -> Any:
        mask = torch.ones_like(features["attention_mask"])
        return forward(self, {**features, "attention_mask": mask}, **kwargs)

    patched.setattr(Pooling, "forward", unmasked)


def _other_accents(patched: pytest.MonkeyPatch) -> None:
    encode = SentenceTransformer.encode

    def respelled(self: SentenceTransformer, texts: list[str], **kwargs: Any) -> Any:
        return encode(self, [text.replace("é", "e-") for text in texts], **kwargs)

    patched.setattr(SentenceTransformer, "encode", respelled)


def _not_a_number(patched: pytest.MonkeyPatch) -> None:
    encode = SentenceTransformer.encode

    def broken(self: SentenceTransformer, *args: Any, **kwargs: Any) -> Any:
        return encode(self, *args, **kwargs) * np.float32("nan")

    patched.setattr(SentenceTransformer, "encode", broken)


def _scaled(patched: pytest.MonkeyPatch) -> None:
    encode = SentenceTransformer.encode

    def longer(self: SentenceTransformer, *args: Any, **kwargs: Any) -> Any:
        return encode(self, *args, **kwargs) * np.float32(1.001)

    patched.setattr(SentenceTransformer, "encode", longer)


@pytest.mark.parametrize(
    "change",
    [
        _skip_normalisation,
        _cut_length,
        _drop_prompts,
        _swap_roles,
        _other_pooling,
        _other_accents,
        _not_a_number,
        _scaled,
    ],
)
def test_a_library_that_embeds_otherwise_is_caught(
    change: Change,
    packaged: Callable[[str], str],
    shared_registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Right bytes under a library with another setting are caught by the golden vectors."""
    uri = packaged("tiny_prompts")
    with monkeypatch.context() as patched:
        change(patched)
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(uri, golden=True)
        assert caught.value.kind is ErrorKind.GOLDEN
        assert caught.value.findings
        verification = pairlock.verify(uri)
        assert not verification.passed
        assert verification.checks[-1].outcome is Outcome.FAILED
        assert verification.checks[0].outcome is Outcome.PASSED
    assert pairlock.load(uri, golden=True)


def _skip_adapter(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(AdapterEmbedding, "vectors", AdapterEmbedding.base_vectors)


def _half_adapter(patched: pytest.MonkeyPatch) -> None:
    vectors = AdapterEmbedding.vectors

    def half(self: AdapterEmbedding, texts: Any, role: Any) -> Any:
        return (vectors(self, texts, role) + self.base_vectors(texts, role)) / 2

    patched.setattr(AdapterEmbedding, "vectors", half)


def _adapter_on_documents(patched: pytest.MonkeyPatch) -> None:
    def both(self: AdapterEmbedding, texts: Any, role: Any) -> Any:
        with torch.inference_mode():
            return self._adapter(torch.from_numpy(self.base_vectors(texts, role))).numpy()

    patched.setattr(AdapterEmbedding, "vectors", both)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_skip_adapter, ErrorKind.ADAPTER_NOT_APPLIED),
        (_half_adapter, ErrorKind.ADAPTER_NOT_APPLIED),
        (_adapter_on_documents, ErrorKind.GOLDEN),
    ],
)
@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_is_not_applied_as_recorded_is_caught(
    name: str,
    change: Change,
    kind: ErrorKind,
    packaged: Callable[[str], str],
    shared_registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An adapter that is left out, half applied or applied to documents is told apart."""
    uri = packaged(name)
    with monkeypatch.context() as patched:
        change(patched)
        with pytest.raises(IntegrityError) as caught:
            pairlock.load(uri, golden=True)
        assert caught.value.kind is kind
        assert not pairlock.verify(uri).passed
    assert pairlock.load(uri, golden=True)


def test_a_model_that_is_built_otherwise_is_refused_without_being_asked(
    packaged: Callable[[str], str], shared_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other modules or pooling than recorded are refused at every load, golden or not."""
    from pairlock_flavors.torch_runtime import assemble

    uri = packaged("tiny_model")
    read = assemble.load_sentence_transformer

    def without_normalize(*args: Any, **kwargs: Any) -> Any:
        model = read(*args, **kwargs)
        del model[-1]
        return model

    monkeypatch.setattr(assemble, "load_sentence_transformer", without_normalize)
    with pytest.raises(IntegrityError) as caught:
        pairlock.load(uri)
    assert caught.value.kind is ErrorKind.ENCODE_SETTINGS
    assert not pairlock.verify(uri).passed


def test_a_model_that_differs_between_loads_is_never_packaged(
    tiny_model: Path, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packaging proves that a second, fresh load gives the recorded vectors."""
    from pairlock_flavors.torch_runtime import assemble

    read = assemble.load_sentence_transformer

    def made_up(*args: Any, **kwargs: Any) -> Any:
        model = read(*args, **kwargs)
        torch.nn.init.normal_(next(model.parameters()))
        return model

    monkeypatch.setattr(assemble, "load_sentence_transformer", made_up)
    with pytest.raises(IntegrityError) as caught:
        registry.log(tiny_model, "random")
    assert caught.value.kind is ErrorKind.NOT_REPRODUCIBLE
    assert registry.versions("random") == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["tiny_prompts", "linear", "relu_residual"])
def test_a_model_in_half_precision_is_judged_by_its_own_bars(
    name: str, dtype: str, packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Half precision passes its own bars, and is refused by those of float32 on the CPU."""
    package, embedding = opened(packaged(name), dtype)
    own = check_golden(embedding, package.manifest, package.root, device_type="cpu", dtype=dtype)
    assert own.findings == ()
    assert own.worst() > 0
    strict = check_golden(embedding, package.manifest, package.root)
    assert {finding.kind for finding in strict.findings} == {ErrorKind.GOLDEN}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_adapter_is_named_in_half_precision(
    name: str,
    dtype: str,
    packaged: Callable[[str], str],
    shared_registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An adapter that is left out is named first, whatever the model runs in."""
    package, embedding = opened(packaged(name), dtype)
    with monkeypatch.context() as patched:
        _skip_adapter(patched)
        found = check_golden(
            embedding, package.manifest, package.root, device_type="cpu", dtype=dtype
        )
    assert found.findings[0].kind is ErrorKind.ADAPTER_NOT_APPLIED


def test_float32_on_the_cpu_is_judged_by_the_package_s_own_bars(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """Bars that a manifest records count before those of this release."""
    package, embedding = opened(packaged("tiny_prompts"), "bfloat16")
    wide = GoldenBars(one_minus_cosine=0.1, max_abs=0.1, norm=0.1)
    golden = replace(package.manifest.golden, bars=wide)
    manifest = replace(package.manifest, golden=golden)
    assert check_golden(embedding, manifest, package.root).findings == ()
    assert check_golden(
        embedding, manifest, package.root, device_type="cuda", dtype="float32"
    ).findings


def test_an_adapter_that_does_nothing_is_called_out(registry: Any, tiny_model: Path) -> None:
    """A residual adapter that changes nothing is packaged with a warning, another without one."""
    from llama_index.embeddings.adapter.utils import TwoLayerNN

    registry.log(tiny_model, "base")
    torch.manual_seed(0)
    for residual, warned in ((0.0, True), (1e-7, True), (0.5, False)):
        adapter = TwoLayerNN(32, 16, 32, add_residual=True)
        adapter.residual_weight.data = torch.tensor([residual])
        folder = tiny_model.with_name(f"residual-{residual}")
        adapter.save(str(folder))
        logged = pairlock.log_model(folder, registered_model_name="residual", base="models:/base/1")
        assert any("nothing" in warning for warning in logged.warnings) is warned
