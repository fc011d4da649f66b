"""Adapters of other packages' classes: named in the package, run only where they are allowed."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.embeddings.adapter import AdapterEmbeddingModel
from llama_index.embeddings.adapter.utils import BaseAdapter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, InvalidInputError, PairlockError, UnsupportedError
from pairlock.digests import canonical_json
from support import acme
from support.models import TEXTS
from support.vectors import one_minus_cosine

GATED = "support.acme:Gated"


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """A trained adapter's folder."""
    acme.make("Gated", 32, tmp_path / "gated")
    return tmp_path / "gated"


def computed(adapter: BaseAdapter, base: Path) -> np.ndarray:
    """What an adapter gives on a base's vectors: (n_texts, dim)."""
    vectors = SentenceTransformer(str(base), device="cpu").encode(TEXTS)
    with torch.inference_mode():
        return adapter(torch.from_numpy(vectors)).numpy()


def queries(embedding: Any) -> np.ndarray:
    """What a loaded model gives for queries: (n_texts, dim)."""
    return np.asarray([embedding.get_query_embedding(text) for text in TEXTS])


def load_kind(uri: str, **kwargs: Any) -> ErrorKind:
    """The kind of the error with which a package does not load."""
    with pytest.raises(PairlockError) as caught:
        pairlock.load(uri, **kwargs)
    return caught.value.kind


def test_a_custom_adapter_computes_what_was_trained(
    gated: Path, packaged: Any, shared_registry: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """From a folder and a class's name: the vectors are the class's own, never in training mode."""
    uri = shared_registry.log(gated, "gated", base=packaged("tiny_model"), adapter_class=GATED)
    own = pairlock.load(uri, allow=[GATED], golden=True)
    expected = computed(acme.make("Gated", 32, tmp_path / "again"), tiny_model)
    assert one_minus_cosine(queries(own), expected) <= 1e-8
    assert isinstance(own, AdapterEmbeddingModel)
    assert pairlock.receipt(own).kind == "custom"
    base = pairlock.load(packaged("tiny_model"))
    assert own.get_text_embedding_batch(TEXTS) == base.get_text_embedding_batch(TEXTS)


def test_a_live_custom_adapter_is_packaged_with_its_class(
    gated: Path, packaged: Any, shared_registry: Any, tiny_model: Path
) -> None:
    """A live wrapper knows its class, and is compared with the finished package."""
    live = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(tiny_model), device="cpu"),
        str(gated),
        adapter_cls=acme.Gated,
        device="cpu",
    )
    uri = shared_registry.log(live, "gated-live", base=packaged("tiny_model"))
    own = pairlock.load(uri, allow=[GATED])
    live._adapter.eval()
    assert one_minus_cosine(queries(own), [live.get_query_embedding(t) for t in TEXTS]) <= 1e-8


def test_a_class_runs_only_where_it_is_allowed(
    gated: Path, packaged: Any, shared_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not without being named; by the argument, by the environment, not by another's name."""
    uri = shared_registry.log(gated, "gated-2", base=packaged("tiny_model"), adapter_class=GATED)
    assert load_kind(uri) is ErrorKind.CLASS_NOT_ALLOWED
    assert load_kind(uri, allow=["support.acme:Twin"]) is ErrorKind.CLASS_NOT_ALLOWED
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", GATED)
    assert pairlock.load(uri).get_query_embedding("card")


def test_a_class_that_is_not_allowed_is_not_even_imported(
    gated: Path, packaged: Any, shared_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing runs code: a load where the module was not imported yet leaves it alone."""
    uri = shared_registry.log(gated, "gated-3", base=packaged("tiny_model"), adapter_class=GATED)
    folders = [str(shared_registry.folder_of(one)) for one in (uri, packaged("tiny_model"))]
    monkeypatch.delitem(sys.modules, "support.acme")
    assert load_kind(folders[0], base=folders[1]) is ErrorKind.CLASS_NOT_ALLOWED
    assert "support.acme" not in sys.modules
    assert pairlock.load(folders[0], base=folders[1], allow=[GATED])
    assert "support.acme" in sys.modules


def test_an_installed_package_offers_its_own_classes(
    gated: Path,
    packaged: Any,
    shared_registry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A distribution with an entry point in `pairlock.adapters` needs no other permission."""
    uri = shared_registry.log(gated, "gated-4", base=packaged("tiny_model"), adapter_class=GATED)
    info = tmp_path / "site" / "acme_adapters-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-adapters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pairlock.adapters]\ngated = {GATED}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert pairlock.load(uri).get_query_embedding("card")


def test_another_class_with_the_same_tensors_is_found_out(
    gated: Path, packaged: Any, shared_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code is not packaged: a class that computes something else is refused by its vectors."""
    uri = shared_registry.log(gated, "gated-5", base=packaged("tiny_model"), adapter_class=GATED)
    monkeypatch.setattr(acme.Gated, "forward", acme.Twin.forward)
    assert load_kind(uri, allow=[GATED]) in {ErrorKind.GOLDEN, ErrorKind.ADAPTER_NOT_APPLIED}


def test_a_class_with_other_tensors_is_refused(
    gated: Path, packaged: Any, shared_registry: Any, tiny_model: Path
) -> None:
    """A folder of one class is not packaged as another whose tensors differ."""
    with pytest.raises(PairlockError):
        shared_registry.log(
            gated, "x", base=packaged("tiny_model"), adapter_class="support.acme:Linear"
        )


def test_a_class_that_looks_like_a_linear_layer_is_itself(
    packaged: Any, shared_registry: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """Its folder is a LinearLayer's; named by its class it computes what was trained."""
    adapter = acme.make("Linear", 32, tmp_path / "looks-linear")
    path = "support.acme:Linear"
    uri = shared_registry.log(
        tmp_path / "looks-linear", "looks", base=packaged("tiny_model"), adapter_class=path
    )
    own = pairlock.load(uri, allow=[path])
    assert one_minus_cosine(queries(own), computed(adapter, tiny_model)) <= 1e-8


def test_a_folder_of_an_unknown_class_says_how_to_name_it(
    gated: Path, packaged: Any, shared_registry: Any
) -> None:
    """Without the class's name the folder cannot be packaged."""
    with pytest.raises(UnsupportedError) as caught:
        shared_registry.log(gated, "x", base=packaged("tiny_model"))
    assert caught.value.kind is ErrorKind.KIND_UNSUPPORTED
    assert "adapter_class" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("support.nowhere:Gated", ErrorKind.CLASS_MISSING),
        ("support.acme:Nothing", ErrorKind.CLASS_MISSING),
        ("support.acme:make", ErrorKind.CLASS_MISSING),
        ("pathlib:Path", ErrorKind.CLASS_MISSING),
    ],
)
def test_a_class_that_is_none_is_refused(
    path: str, kind: ErrorKind, gated: Path, packaged: Any, shared_registry: Any
) -> None:
    """Only an importable adapter class can be named."""
    with pytest.raises(InvalidInputError) as caught:
        shared_registry.log(gated, "x", base=packaged("tiny_model"), adapter_class=path)
    assert caught.value.kind is kind


def test_a_class_that_nobody_else_can_import_is_refused(
    packaged: Any, shared_registry: Any, tiny_model: Path
) -> None:
    """A class made inside a function has no import path, and a configuration must be JSON."""

    class Local(acme.Gated):
        pass

    for cls, kind in (
        (Local, ErrorKind.CLASS_MISSING),
        (acme.Unwritable, ErrorKind.ARGUMENT_INVALID),
    ):
        live = _wrapper(cls(32, 32), tiny_model)
        with pytest.raises(InvalidInputError) as caught:
            shared_registry.log(live, "x", base=packaged("tiny_model"))
        assert caught.value.kind is kind


def _wrapper(adapter: BaseAdapter, base: Path) -> AdapterEmbeddingModel:
    made = AdapterEmbeddingModel(
        HuggingFaceEmbedding(str(base), device="cpu"), str(_linear(base)), device="cpu"
    )
    made._adapter = adapter
    return made


def _linear(base: Path) -> Path:
    from llama_index.embeddings.adapter.utils import LinearLayer

    folder = base.with_name("a-linear")
    LinearLayer(32, 32).save(str(folder))
    return folder


def test_an_adapter_that_does_not_take_the_base_s_vectors_is_refused(
    packaged: Any, shared_registry: Any, tmp_path: Path
) -> None:
    """An adapter for 48 dimensions is not packaged on a base of 32."""
    acme.make("Gated", 48, tmp_path / "wide")
    with pytest.raises(InvalidInputError) as caught:
        shared_registry.log(
            tmp_path / "wide", "x", base=packaged("tiny_model"), adapter_class=GATED
        )
    assert caught.value.kind is ErrorKind.DIMENSION


@pytest.mark.parametrize(
    "changes",
    [
        {"class_path": "support.acme:Twin"},
        {"config": {"in_features": 32, "out_features": 32, "scale": 2.0}},
        {"transforms": ["query", "text"]},
    ],
    ids=["class", "config", "transforms"],
)
def test_a_manifest_that_names_something_else_never_loads(
    changes: Any, gated: Path, packaged: Any, registry: Any, tiny_model: Path
) -> None:
    """Class, configuration and sides are under the package digest that the registry holds."""
    base = registry.log(tiny_model, "base")
    uri = registry.log(gated, "gated", base=base, adapter_class=GATED)
    path = registry.folder_of(uri) / "pairlock.json"
    document = json.loads(path.read_bytes())
    document["adapter"].update(changes)
    path.write_bytes(canonical_json(document))
    with pytest.raises(IntegrityError):
        pairlock.load(uri, allow=[GATED, "support.acme:Twin"])


def test_a_package_says_which_class_and_distribution_it_needs(
    gated: Path, packaged: Any, shared_registry: Any
) -> None:
    """The manifest names the class, the requirements what offers it, and no code is packaged."""
    uri = shared_registry.log(gated, "gated-6", base=packaged("tiny_model"), adapter_class=GATED)
    folder = shared_registry.folder_of(uri)
    facts = json.loads((folder / "pairlock.json").read_bytes())["adapter"]
    assert facts["class_path"] == GATED
    assert facts["config"] == {"in_features": 32, "out_features": 32, "scale": 1.0}
    assert not [path for path in folder.rglob("*") if path.suffix in {".py", ".bin", ".pkl"}]


def test_a_pickled_embedding_takes_its_permission_along(
    gated: Path, packaged: Any, shared_registry: Any
) -> None:
    """A worker process loads what its parent loaded; a dictionary from anywhere allows nothing."""
    uri = shared_registry.log(gated, "gated-7", base=packaged("tiny_model"), adapter_class=GATED)
    own = pairlock.load(uri, allow=[GATED])
    again = pickle.loads(pickle.dumps(own))
    assert again.get_query_embedding("card") == own.get_query_embedding("card")
    with pytest.raises(UnsupportedError) as caught:
        type(own).from_dict(own.to_dict())
    assert caught.value.kind is ErrorKind.CLASS_NOT_ALLOWED
