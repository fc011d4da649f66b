"""Whoever changes a loaded model changes his own, or nobody gets vectors from it any more."""

from __future__ import annotations

import copy
import gc
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from transformers import GPT2Config, GPT2Model

import pairlock
from pairlock import ErrorKind, IntegrityError
from pairlock_flavors.torch_runtime.adapters.peft import put_peft
from pairlock_flavors.torch_runtime.models.residents import (
    ModelKey,
    ResidentModel,
    all_residents,
    resident,
)
from pairlock_flavors.torch_runtime.models.seals import Seal
from support import acme
from support.models import MAX_TOKENS, TEXTS, save_model, tokenizer
from support.peft_adapters import METHODS, save_by_peft

GATED = "support.acme:Gated"


@pytest.fixture(scope="module")
def uris(shelf: Any, packaged: Any, tiny_model: Path, tmp_path_factory: Any) -> dict[str, str]:
    """A full model and an adapter of each sort on it, by name."""
    from support.registries import active

    root = tmp_path_factory.mktemp("isolation")
    base = packaged("tiny_model")
    acme.make("Gated", 32, root / "gated")
    with active(shelf.uri):
        return {
            "full": base,
            "linear": packaged("linear"),
            "lora": shelf.log(save_by_peft(tiny_model, root / "lora"), "iso-lora", base=base),
            "gated": shelf.log(root / "gated", "iso-gated", base=base, adapter_class=GATED),
        }


@pytest.fixture
def load(uris: dict[str, str], shared_registry: Any) -> Any:
    """Loads one of `uris`."""
    return lambda name, **kwargs: pairlock.load(uris[name], allow=[GATED], **kwargs)


def refuses(embedding: Any) -> bool:
    """Whether a loaded model gives no query vector any more, for that its weights were changed."""
    try:
        embedding.get_query_embedding("card")
    except IntegrityError as error:
        return error.kind is ErrorKind.WEIGHTS_CHANGED
    return False


# --- what PEFT does to weights that others use


def gpt2(folder: Path) -> SentenceTransformer:
    """An encoder whose layers keep their weights the other way round (Conv1D)."""
    torch.manual_seed(3)
    words = tokenizer()
    config = GPT2Config(
        vocab_size=len(words), n_embd=32, n_layer=2, n_head=4, n_positions=MAX_TOKENS,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    GPT2Model(config).save_pretrained(folder)
    words.save_pretrained(folder)
    modules = [Transformer(str(folder), max_seq_length=MAX_TOKENS), Pooling(32), Normalize()]
    return SentenceTransformer(modules=modules, device="cpu")


def bert(folder: Path) -> SentenceTransformer:
    """An encoder like most."""
    return SentenceTransformer(str(save_model(folder)), device="cpu")


QUERY = ["query"]
CASES: dict[str, tuple[Any, Any]] = {
    **{name: (bert, make) for name, make in METHODS.items()},
    "lora bias": (bert, lambda: LoraConfig(r=2, target_modules=QUERY, lora_bias=True)),
    "all biases": (bert, lambda: LoraConfig(r=2, target_modules=QUERY, bias="all")),
    "dora on words": (
        bert,
        lambda: LoraConfig(r=2, target_modules=["word_embeddings", "query"], use_dora=True),
    ),
    "a whole layer": (
        bert,
        lambda: LoraConfig(r=2, target_modules=QUERY, modules_to_save=["encoder.layer.1"]),
    ),
    "all words": (
        bert,
        lambda: LoraConfig(r=2, target_modules=QUERY, modules_to_save=["word_embeddings"]),
    ),
    "conv1d": (
        gpt2,
        lambda: LoraConfig(r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
    ),
    "dora conv1d": (
        gpt2,
        lambda: LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, use_dora=True),
    ),
}


def bytes_of(model: torch.nn.Module) -> dict[str, str]:
    """A digest of every weight and buffer."""
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in model.state_dict().items()
    }


def shaken_adapter(model: SentenceTransformer, config: PeftConfig, folder: Path) -> Any:
    """An adapter with random weights in every place, saved by PEFT; gives the texts' vectors."""
    own = copy.deepcopy(model)
    torch.manual_seed(1)
    adapted: Any = get_peft_model(own[0].auto_model, config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.save_pretrained(str(folder))
    return own.encode(TEXTS)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The encoders that `CASES` are put on."""
    root = tmp_path_factory.mktemp("bases")
    return {build: build(root / build.__name__) for build in (bert, gpt2)}


@pytest.mark.parametrize("name", CASES)
def test_no_method_writes_to_weights_that_others_use(name: str, bases: Any, tmp_path: Path) -> None:
    """Every byte of the base is what it was: kept apart, merged, copied and let go of."""
    build, make = CASES[name]
    model = bases[build]
    shared = ResidentModel(ModelKey("x", "cpu", "float32"), model, loaded_from="")
    bare = shared.pipeline()
    want = shaken_adapter(bare, make(), tmp_path / "adapter")
    before, alone = bytes_of(model), bare.encode(TEXTS)
    for merge in (False, True):
        own = shared.pipeline()
        files = (
            tmp_path / "adapter" / f"adapter_{end}" for end in ("config.json", "model.safetensors")
        )
        put_peft(own, *files, merge=merge)
        seal = Seal(own)
        assert abs(own.encode(TEXTS) - want).max() < 1e-6
        seal.check()  # embedding writes nothing, or it would not be allowed twice
        copy.deepcopy(own).encode(TEXTS)
        del own
        gc.collect()
        assert bytes_of(model) == before
        assert shared.is_unchanged
    assert (bare.encode(TEXTS) == alone).all()


# --- a model of one's own


def add_to_first(module: torch.nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).add_(0.01)


def other_data(module: torch.nn.Module) -> None:
    parameter = next(module.parameters())
    parameter.data = parameter.data + 0.01


def other_parameter(module: torch.nn.Module) -> None:
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, torch.nn.Parameter(parameter + 0.01, requires_grad=False))
            return


def assigned(module: torch.nn.Module) -> None:
    state = {name: tensor + 0.01 for name, tensor in module.state_dict().items()}
    module.load_state_dict(state, assign=True)


CHANGES = {
    "written": add_to_first,
    "data": other_data,
    "parameter": other_parameter,
    "assigned": assigned,
    "half": lambda module: module.half(),
    "double": lambda module: module.double(),
    "meta": lambda module: module.to("meta"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    ("name", "part"),
    [("full", "_model"), ("lora", "_model"), ("linear", "_adapter"), ("gated", "_adapter")],
)
def test_weights_that_are_replaced_are_not_used(
    name: str, part: str, change: Any, load: Any
) -> None:
    """A model or adapter that was cast, moved or trained in place gives an error, no vectors."""
    own, other = load(name), load(name)
    before = other.get_query_embedding("card")
    change(getattr(own, part))
    assert refuses(own)
    if change is not add_to_first:
        assert other.get_query_embedding("card") == before
    assert load(name).get_query_embedding("card") == before


def test_merged_weights_are_not_used_when_they_are_written_to(load: Any) -> None:
    """Weights of a merged adapter's own are in no other model, and are watched all the same."""
    merged, bare = load("lora"), load("full")
    before = bare.get_text_embedding_batch(TEXTS)
    shared = {parameter.data_ptr() for parameter in bare._model.parameters()}
    own = [p for p in merged._model.parameters() if p.data_ptr() not in shared]
    assert own
    with torch.no_grad():
        own[0].add_(0.01)
    assert refuses(merged)
    assert bare.get_text_embedding_batch(TEXTS) == before


def test_an_adapter_that_is_set_to_training_is_set_back(load: Any) -> None:
    """Dropout would give other vectors at every call; so does Sentence-Transformers with a base."""
    own = load("gated")
    before = own.get_query_embedding("card")
    own._adapter.train()
    assert own.get_query_embedding("card") == before
    own._adapter.dropout.train()
    assert own.get_query_embedding("card") == before
    base = load("full")
    before = base.get_query_embedding("card")
    base._model.train()
    assert base.get_query_embedding("card") == before


def test_a_copy_is_free(load: Any) -> None:
    """What the errors propose: a deep copy is cast, extended and trained; the original works."""
    own = load("lora", merge=False)
    before = own.get_text_embedding_batch(TEXTS)
    free = copy.deepcopy(own._model).double()
    add_to_first(free)
    free.tokenizer.add_tokens(["chargeback"])
    assert free.encode(TEXTS).dtype == "float64"
    assert own.get_text_embedding_batch(TEXTS) == before


# --- what pipelines share beside weights


@pytest.mark.parametrize("name", ["full", "linear", "lora"])
def test_tokens_that_are_added_to_a_shared_vocabulary_are_noticed(name: str, load: Any) -> None:
    """The words are one object under all models on a base: none of them reads on with others."""
    own, other = load("full"), load(name)
    before = other.get_query_embedding("chargeback of the card")
    own._model.tokenizer.add_tokens(["chargeback"])
    assert refuses(own)
    assert refuses(other)
    # a model that was changed is not handed out again, while others still hold it
    assert load(name).get_query_embedding("chargeback of the card") == before


def test_options_of_a_tokenizer_are_one_s_own(load: Any) -> None:
    """Sides, lengths and special tokens that one sets do not reach another."""
    own, other = load("full"), load("full")
    words, others = own._model.tokenizer, other._model.tokenizer
    before = other.get_text_embedding_batch(TEXTS)
    words.padding_side = words.truncation_side = "left"
    words.model_max_length = 3
    words.pad_token = "[UNK]"
    words.model_input_names.remove("attention_mask")
    assert (others.padding_side, others.truncation_side) == ("right", "right")
    assert others.pad_token == "[PAD]"
    assert "attention_mask" in others.model_input_names
    assert other.get_text_embedding_batch(TEXTS) == before
    assert load("full").get_text_embedding_batch(TEXTS) == before


def test_hooks_and_prompts_are_one_s_own(load: Any) -> None:
    """A hook, a prompt, a mode or a device that one sets does not reach another."""
    own, other = load("full"), load("full")
    before = other.get_text_embedding_batch(TEXTS)
    own._model[0].auto_model.register_forward_hook(
        lambda _module, _args, output: output.__class__(last_hidden_state=output[0] * 0)
    )
    own._model.prompts["document"] = "nonsense: "
    own._model.default_prompt_name = "document"
    own._model.truncate_dim = 4
    own._model.train().requires_grad_(True)
    assert other.get_text_embedding_batch(TEXTS) == before
    assert load("full").get_text_embedding_batch(TEXTS) == before
    assert not any(parameter.requires_grad for parameter in other._model.parameters())


@pytest.mark.parametrize("name", ["full", "linear", "lora", "gated"])
def test_a_model_is_loaded_in_inference_mode_too(name: str, load: Any) -> None:
    """A service that runs in inference mode loads and embeds like any other."""
    before = load(name).get_query_embedding("card")
    with torch.inference_mode():
        own = load(name)
        assert own.get_query_embedding("card") == before
    assert own.get_query_embedding("card") == before


@pytest.mark.parametrize("name", ["lora", "model"])
def test_a_model_is_packaged_in_inference_mode_too(
    name: str, tiny_model: Path, packaged: Any, shared_registry: Any, tmp_path: Path
) -> None:
    """So does one that packages."""
    folder = save_by_peft(tiny_model, tmp_path / "lora") if name == "lora" else tiny_model
    base = packaged("tiny_model") if name == "lora" else None
    with torch.inference_mode():
        uri = shared_registry.log(folder, f"inference-{name}", base=base)
    assert pairlock.load(uri, golden=True)


# --- loading and letting go


def test_a_load_that_breaks_leaves_nothing_behind() -> None:
    """Whoever asks next loads anew, and is not kept waiting."""
    key = ModelKey("broken", "cpu", "float32")

    def broken() -> ResidentModel:
        raise IntegrityError(
            "x",
            kind=ErrorKind.FILE_DIGEST,
            checked="x",
            expected="x",
            found="x",
            done="x",
            hint="x",
        )

    for _ in range(2):
        with pytest.raises(IntegrityError):
            resident(key, broken)
    assert key not in {found.key for found in all_residents()}


def test_a_model_that_goes_while_it_is_asked_for_is_there(load: Any) -> None:
    """Threads that load and let go of one base at once get its vectors, every time."""
    names = ["full", "linear", "lora", "gated"]
    want = {name: load(name).get_query_embedding("card") for name in names}
    assert pairlock.resident() == ()

    def once(number: int) -> bool:
        name = names[number % len(names)]
        return bool(load(name).get_query_embedding("card") == want[name])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(once, range(12)))
    gc.collect()
    assert pairlock.resident() == ()


def test_pipelines_are_made_while_others_embed(tmp_path: Path) -> None:
    """Making a pipeline and saving one disturb nobody who embeds on the same weights."""
    shared = ResidentModel(ModelKey("x", "cpu", "float32"), bert(tmp_path / "base"), loaded_from="")
    first = shared.pipeline()
    want = first.encode(TEXTS)
    stop = threading.Event()
    wrong: list[bool] = []

    def embed() -> None:
        while not stop.is_set():
            wrong.append(bool((first.encode(TEXTS) != want).any()))

    thread = threading.Thread(target=embed)
    thread.start()
    try:
        for number in range(12):
            own = shared.pipeline()
            own.max_seq_length = 3 + number
            own.encode(TEXTS)
        own.save(str(tmp_path / "saved"))
    finally:
        stop.set()
        thread.join()
    assert wrong
    assert not any(wrong)
