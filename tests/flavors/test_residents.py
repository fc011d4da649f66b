"""One base in memory: shared by everything on it, and nobody's settings in another's vectors."""

from __future__ import annotations

import asyncio
import copy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

import pairlock
from pairlock import ErrorKind, IntegrityError, NotFoundError
from pairlock_flavors.torch_runtime.models import residents
from support.models import TEXTS
from support.peft_adapters import METHODS, save, save_by_peft, trained
from support.vectors import one_minus_cosine


@pytest.fixture(scope="module")
def crowd(
    tmp_path_factory: pytest.TempPathFactory, packaged: Any, shelf: Any, tiny_model: Path
) -> Any:
    """URIs of a base and of six adapters on it, each of which cuts or changes texts otherwise."""
    from support.registries import active

    root = tmp_path_factory.mktemp("crowd")
    uris = [packaged("tiny_model"), packaged("linear"), packaged("tanh")]
    with active(shelf.uri):
        for number, length in enumerate((64, 12, 5)):
            config = METHODS[("lora", "loha", "ia3")[number]]()
            model = trained(tiny_model, config, steps=2 + number)
            model.max_seq_length = length
            folder = save(model, root / f"peft-{number}")
            uris.append(shelf.log(folder, f"crowd-{number}", base=uris[0]))
        uris.append(shelf.log(save_by_peft(tiny_model, root / "alone"), "crowd-3", base=uris[0]))
    return uris


def pointers(embedding: Any) -> set[int]:
    """Where the weights of a loaded model lie in memory."""
    return {p.untyped_storage().data_ptr() for p in embedding._model.parameters()}


def own_bytes(embeddings: list[Any]) -> int:
    """Bytes of all different weights under some embeddings, each once."""
    storages: dict[int, int] = {}
    for embedding in embeddings:
        modules: list[torch.nn.Module] = [embedding.resident_model._model]
        modules += [
            getattr(embedding, name) for name in ("_model", "_adapter") if hasattr(embedding, name)
        ]
        for module in modules:
            for tensor in [*module.parameters(), *module.buffers()]:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def test_everything_on_a_base_shares_it(crowd: list[str], shared_registry: Any) -> None:
    """A base and all adapters on it are one model in memory, which goes with the last of them."""
    assert pairlock.resident() == ()
    loaded = [pairlock.load(uri, merge=False) for uri in crowd]
    (only,) = pairlock.resident()
    assert (only.device, only.dtype) == ("cpu", "float32")
    assert only.tree_digest == pairlock.receipt(loaded[1]).base.tree_digest
    assert only.weights_bytes > 90_000
    base = pointers(loaded[0])
    for embedding in loaded[3:]:
        assert base <= pointers(embedding)
    del embedding, loaded[1:]
    assert len(pairlock.resident()) == 1
    del loaded
    assert pairlock.resident() == ()


def test_merging_owns_no_more_than_what_the_adapter_touches(
    crowd: list[str], shared_registry: Any
) -> None:
    """A merged LoRA on query and value has these matrices of its own; the rest is the base's."""
    base, merged = pairlock.load(crowd[0]), pairlock.load(crowd[3])
    own = {
        name
        for name, parameter in merged._model.named_parameters()
        if parameter.untyped_storage().data_ptr() not in pointers(base)
    }
    assert own
    assert all("self.query" in name or "self.value" in name for name in own)
    assert not any("lora" in name for name, _ in merged._model.named_modules())


def test_looking_at_what_is_in_memory_imports_nothing() -> None:
    """A process that loaded no model has none, and does not import torch to say so."""
    code = (
        "import sys, pairlock; assert pairlock.resident() == (); "
        "assert not {'torch', 'mlflow', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_eight_threads_get_what_one_gets(crowd: list[str], shared_registry: Any) -> None:
    """Adapters, lengths and roles mixed from eight threads: every vector is its own model's."""
    loaded = [pairlock.load(uri, merge=False) for uri in crowd]

    def embed(number: int) -> list[float]:
        embedding, text = loaded[number % len(loaded)], TEXTS[number % len(TEXTS)]
        role = number % 2
        found: list[float] = (
            embedding.get_query_embedding(text) if role else embedding.get_text_embedding(text)
        )
        return found

    numbers = range(336)
    alone = [embed(number) for number in numbers]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(embed, numbers))
    assert max(one_minus_cosine([a], [b]) for a, b in zip(alone, together, strict=True)) <= 1e-12
    # the models do differ, or the above says nothing
    assert len({tuple(embedding.get_text_embedding(TEXTS[-1])) for embedding in loaded[2:]}) >= 5


def test_tasks_of_one_loop_get_what_one_gets(crowd: list[str], shared_registry: Any) -> None:
    """The same for asyncio, where many tasks wait for many models at once."""
    loaded = [pairlock.load(uri, merge=False) for uri in crowd]
    alone = [embedding.get_text_embedding_batch(TEXTS) for embedding in loaded]

    async def all_at_once() -> list[list[list[float]]]:
        tasks = [embedding.aget_text_embedding_batch(TEXTS) for embedding in loaded * 4]
        return list(await asyncio.gather(*tasks))

    for number, found in enumerate(asyncio.run(all_at_once())):
        assert one_minus_cosine(found, alone[number % len(loaded)]) <= 1e-12


def test_a_base_that_many_ask_for_at_once_is_read_once(
    crowd: list[str], shared_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads load six adapters and the base: the files are read into memory once."""
    reads = []
    made = residents.ResidentModel.__init__

    def counted(*args: Any, **kwargs: Any) -> None:
        reads.append(1)
        made(*args, **kwargs)

    monkeypatch.setattr(residents.ResidentModel, "__init__", counted)
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(pairlock.load, crowd))
    assert len(reads) == 1
    assert len({id(embedding.resident_model) for embedding in loaded}) == 1


def test_settings_of_one_do_not_leak_into_another(crowd: list[str], shared_registry: Any) -> None:
    """Whoever changes a loaded model's length, prompts or modules changes that one only."""
    first, second = (pairlock.load(crowd[0]) for _ in range(2))
    before = second.get_text_embedding_batch(TEXTS)
    first._model.max_seq_length = 3
    first._model.prompts["query"] = "changed: "
    del first._model._modules["2"]
    first._model[0].auto_model.config.hidden_act = "relu"
    assert second.get_text_embedding_batch(TEXTS) == before
    assert pairlock.load(crowd[0]).get_text_embedding_batch(TEXTS) == before
    assert first.get_text_embedding_batch(TEXTS) != before


@pytest.mark.parametrize("which", [0, 1, 3], ids=["full", "linear", "peft"])
def test_weights_that_are_changed_in_memory_are_refused(
    which: int, crowd: list[str], shared_registry: Any
) -> None:
    """Training a loaded model in place would change every adapter on it: all of them refuse."""
    full, other = pairlock.load(crowd[0]), pairlock.load(crowd[which])
    before = other.get_query_embedding("card")
    weight = next(full._model.parameters())
    with torch.no_grad():
        weight.add_(0.01)
    for embedding in (full, other):
        with pytest.raises(IntegrityError) as caught:
            embedding.get_query_embedding("card")
        assert caught.value.kind is ErrorKind.WEIGHTS_CHANGED
    # a model that was changed is not handed out again
    assert pairlock.load(crowd[which]).get_query_embedding("card") == before


def test_a_copy_of_a_loaded_model_can_be_trained(crowd: list[str], shared_registry: Any) -> None:
    """What the error proposes works: a deep copy is trained, and the original stays."""
    full = pairlock.load(crowd[0])
    before = full.get_text_embedding_batch(TEXTS)
    own = copy.deepcopy(full._model).requires_grad_(True)
    with torch.no_grad():
        for weight in own.parameters():
            weight.add_(0.01)
    assert one_minus_cosine(own.encode(TEXTS), before) > 1e-6
    assert full.get_text_embedding_batch(TEXTS) == before


def test_a_model_on_shared_weights_can_be_saved(
    crowd: list[str], shared_registry: Any, tmp_path: Path
) -> None:
    """`save` writes an ordinary Sentence-Transformers folder with the same vectors."""
    full = pairlock.load(crowd[0])
    full._model.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert one_minus_cosine(again.encode(TEXTS), full.get_text_embedding_batch(TEXTS)) <= 1e-12


def test_a_base_in_memory_needs_no_files(
    registry: Any, tiny_model: Path, linear_adapter: Path
) -> None:
    """A base was proved when it was read: while it is in use, a second adapter needs no file of it.

    Asked to hash everything again, a load says that the files are gone.
    """
    base = registry.log(tiny_model, "base")
    uri = registry.log(linear_adapter, "support", base=base)
    first = pairlock.load(uri)
    shutil.rmtree(registry.folder_of(base) / "payload")
    second = pairlock.load(uri)
    assert second.get_query_embedding("card") == first.get_query_embedding("card")
    assert "memory" in pairlock.receipt(second).checks[2].detail
    assert pairlock.receipt(second).bytes_hashed < pairlock.receipt(first).bytes_hashed
    with pytest.raises((IntegrityError, NotFoundError)):
        pairlock.load(uri, rehash=True)
    del first, second
    with pytest.raises((IntegrityError, NotFoundError)):
        pairlock.load(uri)


def test_models_of_another_precision_are_other_models(
    crowd: list[str], shared_registry: Any
) -> None:
    """float32 and bfloat16 of one base are two models; the float32 vectors stay what they were."""
    exact = pairlock.load(crowd[3])
    before = exact.get_text_embedding_batch(TEXTS)
    rough = pairlock.load(crowd[3], dtype="bfloat16")
    assert {found.dtype for found in pairlock.resident()} == {"float32", "bfloat16"}
    assert pairlock.receipt(rough).dtype == rough.dtype == "bfloat16"
    assert pairlock.receipt(rough).merged is False
    assert 0 < one_minus_cosine(rough.get_text_embedding_batch(TEXTS), before) < 1e-2
    assert exact.get_text_embedding_batch(TEXTS) == before


def test_twenty_adapters_on_real_weights_cost_one_base(
    minilm: Path, packaged: Any, minilm_adapter: Path, shared_registry: Any, tmp_path: Path
) -> None:
    """Ten LoRAs and ten linear adapters on MiniLM: the weights are the base and their own bytes."""
    from peft import LoraConfig, get_peft_model

    model = SentenceTransformer(str(minilm), device="cpu")
    config = LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False)
    adapted: Any = get_peft_model(model[0].auto_model, config)
    adapted.save_pretrained(str(tmp_path / "lora"))
    base = packaged("minilm")
    uris = [
        shared_registry.log(tmp_path / "lora", "twenty-lora", base=base),
        shared_registry.log(minilm_adapter, "twenty-linear", base=base),
    ]
    loaded = [pairlock.load(uri, merge=False) for uri in uris * 10]
    (only,) = pairlock.resident()
    adapters = 10 * (
        (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size + 384 * 384 * 4
    )
    assert own_bytes(loaded) <= 1.02 * (only.weights_bytes + adapters)
    tables = [
        {name for name, table in vars(embedding._model.tokenizer).items() if _is_large(table)}
        for embedding in loaded[::2]
    ]
    assert tables[0]
    for name in tables[0]:
        words = {id(vars(embedding._model.tokenizer)[name]) for embedding in loaded[::2]}
        assert len(words) == 1


def _is_large(table: Any) -> bool:
    return isinstance(table, dict | list) and len(table) > 10_000
