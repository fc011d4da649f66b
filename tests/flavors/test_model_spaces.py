"""Spaces of real models: what shares one, and what does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mlflow import MlflowClient
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import ByT5Tokenizer

import pairlock
from pairlock import ErrorKind, FormatError, IntegrityError
from pairlock.bases import find_base
from pairlock.config import current_settings
from pairlock.golden_files import golden_documents
from pairlock.manifest import Role, read_manifest
from pairlock.packages import Package
from pairlock.progress import SILENT
from pairlock.spaces import Spaces, Verdict, judge_spaces
from pairlock_flavors import embedding as flavor
from pairlock_flavors.torch_runtime.assemble import Identity, Parts, Placement, assemble
from pairlock_flavors.torch_runtime.models.identity import PipelineIdentity, tensor_digests
from pairlock_flavors.torch_runtime.models.plain_data import json_digest, plain
from pairlock_flavors.torch_runtime.models.vocabularies import vocabulary_digest
from pairlock_flavors.torch_runtime.spaces import compute_spaces
from support.models import PROMPTS, tokenizer
from support.modules import build, save
from support.peft_adapters import METHODS, trained
from support.tracking import opened

Change = Callable[[Path], None]
MakeFolder = Callable[[str], Path]
ENCODER = "model.safetensors"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Packages a model into a folder; the same folder with the same options only once."""
    root = tmp_path_factory.mktemp("packages")
    made: dict[str, Path] = {}

    def folder(model: Any, **options: Any) -> Path:
        key = f"{model} {options}" if isinstance(model, Path) else f"live {len(made)}"
        if key not in made:
            made[key] = root / str(len(made))
            flavor.save_model(model, made[key], **options)
        return made[key]

    return folder


@pytest.fixture(scope="module")
def spaces(package: Callable[..., Path]) -> Callable[..., Spaces]:
    """The spaces of a model, as its package records them."""

    def of(model: Any, **options: Any) -> Spaces:
        return manifest_spaces(package(model, **options))

    return of


def manifest_spaces(folder: Path) -> Spaces:
    """The spaces that a package records."""
    return read_manifest((folder / "pairlock.json").read_bytes(), where="m").spaces


def saved_again(folder: Path, target: Path) -> Path:
    """What Sentence-Transformers makes of a model that it reads and saves."""
    return save(SentenceTransformer(str(folder), device="cpu"), target)


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["tiny_model", "tiny_prompts"])
def test_a_model_saved_again_has_the_same_spaces(
    name: str, model_folders: MakeFolder, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """Reading and saving by its own library changes neither space; neither does a live object."""
    folder = model_folders(name)
    again = saved_again(folder, tmp_path / "again")
    assert spaces(again) == spaces(folder)
    assert spaces(SentenceTransformer(str(folder), device="cpu")) == spaces(folder)


@pytest.mark.parametrize(
    "name", ["layers", "static", "bow", "words", "cnn", "lstm", "router", "router_shared"]
)
def test_a_pipeline_saved_again_has_the_same_spaces(
    name: str, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """Every kind of module and tokenizer survives its own library."""
    folder = save(build(name, tmp_path), tmp_path / "model")
    assert spaces(saved_again(folder, tmp_path / "again")) == spaces(folder)


def test_real_weights_saved_again_have_the_same_description(minilm: Path, tmp_path: Path) -> None:
    """MiniLM saved again lies in other files, and is the same in both roles."""
    model = SentenceTransformer(str(minilm), device="cpu")
    again = save(model, tmp_path / "again")
    assert {path.name for path in again.iterdir()} != {path.name for path in minilm.iterdir()}
    one = PipelineIdentity(model)
    other = PipelineIdentity(SentenceTransformer(str(again), device="cpu"))
    for role in Role:
        assert one.modules(role) == other.modules(role)
        assert len(one.modules(role)[0]["tensors"]) == 101  # without the pooler's two


def test_the_way_a_vocabulary_is_written_is_no_part_of_a_space(
    tiny_model: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """The same words in another order of lines, or with cutting switched on, are the same."""
    again = saved_again(tiny_model, tmp_path / "again")
    path = again / "tokenizer.json"
    known = json.loads(path.read_text())
    known["model"]["vocab"] = dict(reversed(known["model"]["vocab"].items()))
    known["truncation"] = {
        "direction": "Right",
        "max_length": 9,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    path.write_text(json.dumps(known, indent=3))
    assert spaces(again) == spaces(tiny_model)


def test_how_a_tokenizer_was_used_last_is_no_part_of_a_space() -> None:
    """Cutting and filling up are set at every call, and are still set afterwards."""
    used, fresh = tokenizer(), tokenizer()
    used(["a", "a b c"], padding=True, truncation=True, max_length=3)
    assert used.backend_tokenizer.to_str() != fresh.backend_tokenizer.to_str()
    assert vocabulary_digest(used) == vocabulary_digest(fresh)


def test_settings_are_told_by_their_values_alone() -> None:
    """The order of keys and of sets, and what is no data, are the same in every process."""
    one = plain({"b": {"y", "x"}, "a": (1, None), "c": torch.nn.GELU(), "d": 1e400, "e": 2**60})
    assert one == {"b": ["x", "y"], "a": [1, None], "c": "GELU", "d": "inf", "e": str(2**60)}
    assert json_digest(one) == json_digest(dict(reversed(one.items())))
    assert json_digest(one) != json_digest({**one, "a": [None, 1]})


def test_the_shape_of_a_tensor_is_part_of_a_space() -> None:
    """The same numbers in other rows are another matrix, which turns vectors another way."""
    numbers = torch.arange(6.0)
    wide, high = ({"weight": numbers.view(shape)} for shape in ((2, 3), (3, 2)))
    assert tensor_digests(wide) != tensor_digests(high)
    assert tensor_digests(wide) == tensor_digests({"weight": high["weight"].reshape(2, 3)})


def test_what_no_vector_depends_on_is_no_part_of_a_space(
    tiny_model: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """A lost pooler, which is made up at each load, and names in the configuration change no id."""
    again = saved_again(tiny_model, tmp_path / "again")
    tensors = safetensors.torch.load_file(again / ENCODER)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    assert len(kept) == len(tensors) - 2
    safetensors.torch.save_file(kept, again / ENCODER, metadata={"format": "pt"})
    known = json.loads((again / "config.json").read_text())
    edit(
        again / "config.json",
        _name_or_path="elsewhere",
        architectures=["X"],
        initializer_range=0.5,
        use_cache=not known.get("use_cache"),
    )
    assert spaces(again) == spaces(tiny_model)


def test_queries_and_documents_share_a_space_where_they_are_embedded_alike(
    tiny_model: Path, tiny_prompts: Path, spaces: Callable[..., Spaces]
) -> None:
    """Without instructions the two ids are one; with them they are not."""
    assert spaces(tiny_model).document == spaces(tiny_model).query
    assert spaces(tiny_prompts).document != spaces(tiny_prompts).query


def flip_weight(folder: Path) -> None:
    """One weight of thousands, by the smallest step."""
    tensors = safetensors.torch.load_file(folder / ENCODER)
    name = "encoder.layer.1.output.dense.weight"
    flat = tensors[name].view(-1)
    flat[7] = torch.nextafter(flat[7], torch.tensor(9.0))
    safetensors.torch.save_file(tensors, folder / ENCODER, metadata={"format": "pt"})


def swap_words(folder: Path) -> None:
    """Two words change their places."""
    path = folder / "tokenizer.json"
    known = json.loads(path.read_text())
    words = known["model"]["vocab"]
    words["card"], words["money"] = words["money"], words["card"]
    path.write_text(json.dumps(known))


def keep_case(folder: Path) -> None:
    """The normaliser of the tokenizer."""
    path = folder / "tokenizer.json"
    known = json.loads(path.read_text())
    known["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(known))


def drop_normalize(folder: Path) -> None:
    """Vectors are not normalised any more."""
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:-1]))


CHANGES: dict[str, Change] = {
    "weight": flip_weight,
    "words": swap_words,
    "case": keep_case,
    "normalize": drop_normalize,
    "pooling": lambda folder: edit(folder / "1_Pooling" / "config.json", pooling_mode="cls"),
    "activation": lambda folder: edit(folder / "config.json", hidden_act="relu"),
    "length": lambda folder: edit(folder / "tokenizer_config.json", model_max_length=40),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_vectors_changes_both_spaces(
    name: str, tiny_model: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """A weight, a word, a module, a setting: another one is another space."""
    changed = saved_again(tiny_model, tmp_path / "changed")
    CHANGES[name](changed)
    found, before = spaces(changed), spaces(tiny_model)
    assert found.document != before.document
    assert found.query != before.query


def test_settings_of_one_role_change_its_space_alone(
    tiny_model: Path, spaces: Callable[..., Spaces]
) -> None:
    """Another query instruction leaves documents alone, and the other way round."""
    before = spaces(tiny_model)
    query = spaces(tiny_model, query_instruction="query: ")
    text = spaces(tiny_model, text_instruction="passage: ")
    both = spaces(tiny_model, normalize=True)
    assert (query.document, text.query) == (before.document, before.query)
    assert query.query != before.query
    assert text.document != before.document
    assert both.document != before.document


def test_a_route_belongs_to_the_space_of_its_role(
    tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """Another head for queries leaves documents where they are."""
    before = build("router_heads", tmp_path)
    folder = save(before, tmp_path / "before")
    with torch.no_grad():
        before[2].sub_modules["query"][0].linear.weight += 0.01
    after = save(before, tmp_path / "after")
    assert spaces(after).document == spaces(folder).document
    assert spaces(after).query != spaces(folder).query


def test_a_model_in_half_precision_is_what_its_values_are(
    tiny_model: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """The same values in float16 and in float32 are one space; what rounding changed is another."""
    half = save(
        SentenceTransformer(str(tiny_model), device="cpu", model_kwargs={"dtype": "float16"}),
        tmp_path / "half",
    )
    whole = save(
        SentenceTransformer(str(half), device="cpu", model_kwargs={"dtype": "float32"}),
        tmp_path / "whole",
    )
    assert spaces(half) == spaces(whole)
    assert spaces(half).document != spaces(tiny_model).document


def test_adapters_of_queries_stay_in_the_space_of_their_base(
    tiny_model: Path,
    adapter_folders: MakeFolder,
    package: Callable[..., Path],
    spaces: Callable[..., Spaces],
) -> None:
    """All adapters on a base share its documents, wherever it was found; each has own queries."""
    base = spaces(tiny_model)
    packaged_base = str(package(tiny_model))
    found = [
        spaces(adapter_folders("linear"), base=str(tiny_model)),
        spaces(adapter_folders("linear_bias"), base=packaged_base),
        spaces(adapter_folders("relu_residual"), base=packaged_base),
        spaces(adapter_folders("tanh"), base=packaged_base),
    ]
    assert {one.document for one in found} == {base.document}
    assert len({base.query, *(one.query for one in found)}) == 5
    assert spaces(adapter_folders("linear"), base=packaged_base) == found[0]


def test_an_adapter_with_another_text_instruction_leaves_the_space(
    tiny_model: Path, adapter_folders: MakeFolder, spaces: Callable[..., Spaces]
) -> None:
    """Documents of an adapter are the base's only as long as they are embedded alike."""
    linear, base = adapter_folders("linear"), str(tiny_model)
    other = spaces(linear, base=base, text_instruction="passage: ")
    assert other.document != spaces(tiny_model).document
    assert other.query == spaces(linear, base=base).query


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory, tiny_dense: Path) -> dict[str, Path]:
    """One LoRA at two points of its training, and the first one saved again by PEFT."""
    root = tmp_path_factory.mktemp("loras")
    for version, steps in (("v1", 2), ("v2", 4)):
        model = trained(tiny_dense, METHODS["lora"](), steps=steps)
        model.requires_grad_(False)
        adapter = root / version
        model[0].auto_model.save_pretrained(str(adapter))
    bare = SentenceTransformer(str(tiny_dense), device="cpu")[0].auto_model
    held = PeftModel.from_pretrained(bare, str(root / "v1"))
    held.peft_config["default"].lora_dropout = 0.3
    held.save_pretrained(str(root / "again"))
    config = "adapter_config.json"
    known = json.loads((root / "v1" / config).read_text())
    # as another process may write it
    edit(root / "again" / config, target_modules=known["target_modules"][::-1])
    return {name: root / name for name in ("v1", "v2", "again")}


def test_a_lora_is_a_space_of_its_own(
    loras: dict[str, Path], tiny_dense: Path, spaces: Callable[..., Spaces]
) -> None:
    """A LoRA moves documents too: away from the base, and from its other versions."""
    base = str(tiny_dense)
    one, two = (spaces(loras[name], base=base) for name in ("v1", "v2"))
    assert len({one.document, two.document, spaces(tiny_dense).document}) == 3
    assert len({one.query, two.query, spaces(tiny_dense).query}) == 3


def test_a_lora_saved_again_has_the_same_spaces(
    loras: dict[str, Path], tiny_dense: Path, spaces: Callable[..., Spaces]
) -> None:
    """PEFT writes sets in any order, and names of the base: neither is part of a space."""
    config = "adapter_config.json"
    assert (loras["again"] / config).read_bytes() != (loras["v1"] / config).read_bytes()
    base = str(tiny_dense)
    assert spaces(loras["again"], base=base) == spaces(loras["v1"], base=base)


def test_the_scale_of_a_lora_is_part_of_its_space(
    loras: dict[str, Path], tiny_dense: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """Tensors are not everything: alpha decides how much of them is added."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((loras["v1"] / name).read_bytes())
    edit(tmp_path / "adapter_config.json", lora_alpha=16)
    base = str(tiny_dense)
    assert spaces(tmp_path, base=base).document != spaces(loras["v1"], base=base).document


def test_the_dtype_a_lora_was_saved_in_is_no_part_of_its_space(
    loras: dict[str, Path], tiny_dense: Path, tmp_path: Path, spaces: Callable[..., Spaces]
) -> None:
    """Tensors count by their values: a file in half precision, and one in full of the same."""
    weights = "adapter_model.safetensors"
    half = {
        name: tensor.half()
        for name, tensor in safetensors.torch.load_file(loras["v1"] / weights).items()
    }
    found = []
    for dtype in (torch.float16, torch.float32):
        folder = tmp_path / str(dtype)
        shutil.copytree(loras["v1"], folder)
        tensors = {name: tensor.to(dtype) for name, tensor in half.items()}
        safetensors.torch.save_file(tensors, folder / weights)
        found.append(spaces(folder, base=str(tiny_dense)))
    assert found[0] == found[1]


def test_whether_a_lora_is_merged_is_no_part_of_its_space(
    loras: dict[str, Path], tiny_dense: Path, package: Callable[..., Path]
) -> None:
    """A LoRA that is added to the weights, and one that is kept apart, are one space."""
    folder = package(loras["v1"], base=str(tiny_dense))
    made = opened(str(folder))
    parts = Parts(
        manifest=made.manifest,
        root=folder,
        base=lambda: find_base(str(tiny_dense), settings=current_settings(), progress=SILENT),
    )
    identity = Identity(uri=str(folder), package_digest=made.digest)
    for merge in (True, False):
        placement = Placement(device="cpu", dtype="float32", merge=merge)
        found = assemble(parts, identity=identity, placement=placement)
        assert compute_spaces(parts, found) == made.manifest.spaces


def test_a_tokenizer_written_in_python_is_told_by_its_words(tmp_path: Path) -> None:
    """Where nothing says what a tokenizer does, its class, its words and its settings do."""
    one = ByT5Tokenizer(extra_ids=4)
    one.save_pretrained(tmp_path)
    assert vocabulary_digest(ByT5Tokenizer.from_pretrained(tmp_path)) == vocabulary_digest(one)
    assert vocabulary_digest(ByT5Tokenizer(extra_ids=5)) != vocabulary_digest(one)
    assert vocabulary_digest("no tokenizer") is None


def verdict_on(before: Path, after: Path) -> Any:
    """The verdict on two packages, with their golden vectors as evidence."""
    one, two = (opened(str(folder)) for folder in (before, after))
    return judge_spaces(
        one.manifest.spaces,
        two.manifest.spaces,
        lambda: (golden_documents(one), golden_documents(two)),
    )


def test_another_model_needs_a_new_index(
    tiny_model: Path, tiny_other: Path, tiny_wide: Path, package: Callable[..., Path]
) -> None:
    """Other weights and another dimension are NEEDED, with figures."""
    verdict = verdict_on(package(tiny_model), package(tiny_other))
    assert verdict.verdict is Verdict.NEEDED
    assert verdict.figures["one_minus_cosine"] > 1e-3
    verdict = verdict_on(package(tiny_model), package(tiny_wide))
    assert (verdict.verdict, verdict.figures["dimension_after"]) == (Verdict.NEEDED, 48)


def test_another_maximum_length_is_told_by_the_long_text(
    tiny_model: Path, tmp_path: Path, package: Callable[..., Path]
) -> None:
    """A model that cuts texts elsewhere is NEEDED, though it agrees on the short ones."""
    shorter = saved_again(tiny_model, tmp_path / "shorter")
    CHANGES["length"](shorter)
    verdict = verdict_on(package(tiny_model), package(shorter))
    assert verdict.verdict is Verdict.NEEDED
    assert verdict.figures["texts"] >= 12


def test_a_setting_without_effect_is_equivalent_by_evidence(
    tiny_model: Path, tmp_path: Path, package: Callable[..., Path]
) -> None:
    """An id that differs by what moves no vector is EQUIVALENT, with figures."""
    again = saved_again(tiny_model, tmp_path / "again")
    edit(again / "config.json", hidden_dropout_prob=0.25)
    verdict = verdict_on(package(tiny_model), package(again))
    assert verdict.verdict is Verdict.EQUIVALENT
    assert verdict.figures == {**verdict.figures, "texts": 13, "one_minus_cosine": 0.0}


def test_an_adapter_needs_no_new_index(
    tiny_model: Path, adapter_folders: MakeFolder, package: Callable[..., Path]
) -> None:
    """From the base to an adapter, and from one adapter to another, the verdict is NONE."""
    base = package(tiny_model)
    linear, tanh = (package(adapter_folders(n), base=str(base)) for n in ("linear", "tanh"))
    assert verdict_on(base, linear).verdict is Verdict.NONE
    assert verdict_on(linear, tanh).verdict is Verdict.NONE


def test_golden_documents_are_what_the_model_gives(
    tiny_prompts: Path, package: Callable[..., Path]
) -> None:
    """The evidence is the recorded vectors of documents, one row for each text."""
    folder = package(tiny_prompts)
    texts, vectors = golden_documents(opened(str(folder)))
    model = SentenceTransformer(str(tiny_prompts), device="cpu")
    assert (len(texts), vectors.dtype) == (13, np.float32)
    expected = model.encode([PROMPTS["document"] + text for text in texts], prompt="")
    assert np.abs(expected - vectors).max() <= 2e-6


def test_golden_documents_are_read_without_torch(
    tiny_model: Path, package: Callable[..., Path]
) -> None:
    """Whoever judges a promotion loads no framework."""
    program = """
import sys
from pathlib import Path
from pairlock.golden_files import read_golden
from pairlock.manifest import read_manifest
root = Path(sys.argv[1])
manifest = read_manifest((root / "pairlock.json").read_bytes(), where="m")
print(len(read_golden(root, manifest)[1]), "torch" in sys.modules, "mlflow" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(package(tiny_model))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["13", "False", "False"]


def test_golden_documents_that_do_not_fit_are_refused(
    tiny_model: Path, tiny_wide: Path, package: Callable[..., Path]
) -> None:
    """Vectors of another shape than the manifest's are no evidence."""
    one, other = (opened(str(package(folder))) for folder in (tiny_model, tiny_wide))
    forged = Package(
        located=one.located,
        manifest=other.manifest,
        digest=one.digest,
        anchors={},
        proved=one.proved,
        findings=(),
    )
    with pytest.raises(FormatError) as caught:
        golden_documents(forged)
    assert caught.value.kind is ErrorKind.GOLDEN_INVALID


def test_golden_documents_that_change_after_the_proof_are_refused(
    tiny_model: Path, package: Callable[..., Path], tmp_path: Path
) -> None:
    """Evidence is of the bytes that were proved."""
    shutil.copytree(package(tiny_model), tmp_path / "copy")
    one = opened(str(tmp_path / "copy"))
    path = one.root / "payload" / "golden.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x40")
    with pytest.raises(IntegrityError) as caught:
        golden_documents(one)
    assert caught.value.kind is ErrorKind.FILE_CHANGED


def test_receipt_tags_and_page_name_the_spaces(
    packaged: Callable[[str], str], shared_registry: Any
) -> None:
    """What the manifest records is on the receipt, on the version, and on the page."""
    uri = packaged("linear")
    receipt = pairlock.receipt(pairlock.load(uri))
    folder = shared_registry.folder_of(uri)
    recorded = manifest_spaces(folder)
    assert (receipt.document_space, receipt.query_space) == (recorded.document, recorded.query)
    assert receipt.to_dict()["document_space"] == recorded.document
    client: MlflowClient = shared_registry.client
    _, name, version = uri.replace("models:", "").split("/")
    tags = client.get_model_version(name, version).tags
    assert tags["pairlock.document_space"] == recorded.document
    assert tags["pairlock.query_space"] == recorded.query
    page = (folder / "PAIRING.md").read_text()
    assert f"| document space | `{recorded.document}` |" in page
    assert f"| query space | `{recorded.query}` |" in page
