"""How far the same model moves golden vectors, and how little another one does.

Six small models are embedded again as the same model (other dtypes, batch sizes, threads, attention
kernels, padding) and as another one (a finetune, a neighbouring checkpoint, a missing or sibling
adapter, other pooling, prompts, tokenizer, a flipped bit), and each is judged as a load would judge
it. The constants in pairlock/golden.py are derived from this table; docs/tolerances.md says how,
and keeps it:

    scripts/bench/tolerances.py --json docs/tolerances.json
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from llama_index.embeddings.adapter.utils import BaseAdapter, LinearLayer, TwoLayerNN
from peft import LoraConfig
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize
from tolerance_models import Specimen, pairs, specimens, train
from tolerance_table import DIFFERENT, DTYPES, FIGURES, SAME, Row, document, head, markdown
from transformers.utils import logging as transformers_logging

from pairlock.golden import adapter_shift, bars_for, compare_vectors, golden_texts, project
from pairlock.manifest import Role
from pairlock_flavors.golden_vectors import Vectors, judge
from pairlock_flavors.torch_runtime.models.description import describe
from pairlock_flavors.torch_runtime.models.sentence_model import SentenceModel

_SIGN_BIT, _TOP_EXPONENT_BIT, _LOW_EXPONENT_BIT = 31, 30, 23
_HUGE = 1e18
"""Components whose squares are no longer finite in float32 count as no numbers."""

_ANY = bars_for("cpu", "bfloat16")
"""Bars for figures of which only the size is asked."""

ROLES = tuple(role.value for role in Role)
_LORA_RATE = 1e-3
_LAYER_RATE = 1e-3

Change = Callable[[SentenceTransformer], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Vectors that were recorded, and vectors that were found."""

    group: str
    what: str
    dtype: str
    recorded: Vectors
    found: Vectors


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A model and where it is measured."""

    specimen: Specimen
    device: str
    texts: tuple[str, ...]

    def embed(
        self,
        model: SentenceTransformer,
        dtype: str = "float32",
        *,
        on_cpu: bool = False,
        batch: int = 32,
    ) -> Vectors:
        """Embed the golden texts in both roles, by a copy in a dtype."""
        placed = copy.deepcopy(model).to(
            device="cpu" if on_cpu else self.device, dtype=getattr(torch, dtype)
        )
        encoder = SentenceModel.alone(placed, describe(placed), batch_size=batch)
        return {role.value: encoder.encode(self.texts, role) for role in Role}

    def is_slow(self, dtype: str) -> bool:
        """Whether a dtype has no arithmetic of its own here: float16 on most CPUs."""
        return dtype == "float16" and torch.device(self.device).type == "cpu"

    def dtypes(self) -> list[str]:
        """The dtypes for what is measured many times."""
        return [dtype for dtype in DTYPES if not self.is_slow(dtype)]

    def recorded(self, model: SentenceTransformer) -> Vectors:
        """As a package records them: in float32 on the CPU."""
        return self.embed(model, on_cpu=True)


def same(bench: Bench) -> Iterator[Case]:
    """The same weights, computed otherwise."""
    model = bench.specimen.model
    recorded = bench.recorded(model)

    def case(what: str, dtype: str, found: Vectors) -> Case:
        return Case(group=SAME, what=what, dtype=dtype, recorded=recorded, found=found)

    for dtype in DTYPES:
        yield case("as it is", dtype, bench.embed(model, dtype))
        yield case("batches of 1", dtype, bench.embed(model, dtype, batch=1))
        if bench.is_slow(dtype):
            continue
        torch.set_num_threads(2)
        yield case("two threads, batches of 5", dtype, bench.embed(model, dtype, batch=5))
        torch.set_num_threads(1)
        if bench.specimen.lora:
            for what, change in (("eager attention", _eager), ("padded to the end", _pad)):
                changed = copy.deepcopy(model)
                change(changed)
                yield case(what, dtype, bench.embed(changed, dtype))


def different(bench: Bench) -> Iterator[Case]:
    """Other weights, and other ways from a text to a vector."""
    specimen = bench.specimen
    tuned = copy.deepcopy(specimen.model)
    kept = train(tuned, 8, specimen.rate, keep=(1, 7))
    recorded = bench.recorded(specimen.model)
    others: list[tuple[str, Vectors, SentenceTransformer]] = [
        ("finetune of 1 step", recorded, kept[1]),
        ("finetune of 8 steps", recorded, tuned),
        ("checkpoint before (7 of 8 steps)", bench.recorded(tuned), kept[7]),
    ]
    changes: dict[str, Change] = {
        "query prompt missing": lambda model: model.prompts.update(query=""),
        "normalisation missing or added": _toggle_normalize,
        "another tokenizer": _other_tokenizer,
        "sign bit of one weight": lambda model: _flip(model, _SIGN_BIT),
        "lowest exponent bit of one weight": lambda model: _flip(model, _LOW_EXPONENT_BIT),
        "highest exponent bit of one weight": lambda model: _flip(model, _TOP_EXPONENT_BIT),
    }
    if specimen.lora:
        changes["other pooling"] = _other_pooling
        changes["half the maximum length"] = _shorten
    for what, change in changes.items():
        changed = copy.deepcopy(specimen.model)
        change(changed)
        others.append((what, recorded, changed))
    for what, expected, model in others:
        for dtype in bench.dtypes():
            found = bench.embed(model, dtype)
            yield Case(group=DIFFERENT, what=what, dtype=dtype, recorded=expected, found=found)


def adapted(bench: Bench) -> Iterator[Case]:
    """Adapters on the model: applied, missing, and another one."""
    yield from _layers(bench)
    if bench.specimen.lora:
        yield from _loras(bench)


def _layers(bench: Bench) -> Iterator[Case]:
    model = bench.specimen.model
    width = model.get_embedding_dimension()
    base = bench.recorded(model)
    in_dtypes = {dtype: bench.embed(model, dtype, batch=5) for dtype in DTYPES}
    sibling = _train_layer(model, LinearLayer(width, width), 60, seed=1)
    for name, make, steps in (
        ("linear adapter, 1 step", partial(LinearLayer, width, width), 1),
        ("linear adapter, 3 steps", partial(LinearLayer, width, width), 3),
        ("linear adapter, 60 steps", partial(LinearLayer, width, width), 60),
        ("residual adapter, 1 step", partial(_residual, width), 1),
        ("residual adapter, 60 steps", partial(_residual, width), 60),
    ):
        torch.manual_seed(0)
        layer = _train_layer(model, make(), steps)
        recorded = _through(layer, base)
        for dtype, found in in_dtypes.items():
            through = _through(layer, found)
            bare = {**through, "query": through["base_query"]}
            yield Case(group=SAME, what=name, dtype=dtype, recorded=recorded, found=through)
            what = f"{name}: missing"
            yield Case(group=DIFFERENT, what=what, dtype=dtype, recorded=recorded, found=bare)
            if name == "linear adapter, 60 steps":
                other = _through(sibling, found)
                what = f"{name}: a sibling"
                yield Case(group=DIFFERENT, what=what, dtype=dtype, recorded=recorded, found=other)


def _loras(bench: Bench) -> Iterator[Case]:
    specimen = bench.specimen
    base = bench.recorded(specimen.model)
    tuned = [_with_lora(specimen, seed) for seed in (0, 1)]
    recorded = {**bench.recorded(tuned[0]), **{f"base_{name}": v for name, v in base.items()}}
    for dtype in DTYPES:
        bare = bench.embed(specimen.model, dtype, batch=5)
        bases = {f"base_{name}": vectors for name, vectors in bare.items()}
        for group, what, found in (
            (SAME, "LoRA of 8 steps", bench.embed(tuned[0], dtype, batch=5)),
            (DIFFERENT, "LoRA of 8 steps: missing", bare),
            (DIFFERENT, "LoRA of 8 steps: a sibling", bench.embed(tuned[1], dtype, batch=5)),
        ):
            both = {**found, **bases}
            yield Case(group=group, what=what, dtype=dtype, recorded=recorded, found=both)


def _with_lora(specimen: Specimen, seed: int) -> SentenceTransformer:
    torch.manual_seed(seed)
    model = copy.deepcopy(specimen.model)
    model.add_adapter(LoraConfig(r=8, lora_alpha=16, target_modules=specimen.lora))
    train(model, 8, _LORA_RATE, seed=seed)
    return model.eval()


def _residual(width: int) -> TwoLayerNN:
    return TwoLayerNN(width, width, width, add_residual=True)


def _train_layer(
    model: SentenceTransformer, layer: BaseAdapter, steps: int, *, seed: int = 0
) -> BaseAdapter:
    """Move questions towards their passages, as scripts/train_adapter.py does."""
    examples = pairs()
    asked = torch.from_numpy(model.encode([question for question, _ in examples]))
    answers = torch.from_numpy(model.encode([passage for _, passage in examples]))
    answers = torch.nn.functional.normalize(answers, dim=-1)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=_LAYER_RATE, weight_decay=0.01)
    for _ in range(steps):
        chosen = torch.randperm(len(examples), generator=generator)[:64]
        vectors = torch.nn.functional.normalize(layer(asked[chosen]), dim=-1)
        optimizer.zero_grad()
        scores = 20 * vectors @ answers[chosen].T
        loss: Any = torch.nn.functional.cross_entropy(scores, torch.arange(len(chosen)))
        loss.backward()
        optimizer.step()
    return layer.eval()


def _through(layer: BaseAdapter, base: Vectors) -> Vectors:
    with torch.inference_mode():
        query = layer(torch.from_numpy(base["query"])).numpy()
    bases = {f"base_{name}": vectors for name, vectors in base.items()}
    return {"query": query, "text": base["text"], **bases}


def _eager(model: SentenceTransformer) -> None:
    model[0].auto_model.set_attn_implementation("eager")


def _pad(model: SentenceTransformer) -> None:
    model[0].processing_kwargs = {"text": {"padding": "max_length"}}


def _shorten(model: SentenceTransformer) -> None:
    model.max_seq_length //= 2


def _other_pooling(model: SentenceTransformer) -> None:
    pooling = model[1]
    mean = pooling.pooling_mode in ("mean", ("mean",), ["mean"])
    model[1] = type(pooling)(pooling.embedding_dimension, "cls" if mean else "mean")


def _toggle_normalize(model: SentenceTransformer) -> None:
    if isinstance(model[-1], Normalize):
        del model[-1]
    else:
        model.append(Normalize())


def _other_tokenizer(model: SentenceTransformer) -> None:
    """Case kept where it was lowered; a space put before a text where there was none."""
    words = model.tokenizer
    words = getattr(words, "backend_tokenizer", words)
    state = json.loads(words.to_str())
    if state["normalizer"]:
        state["normalizer"]["lowercase"] = False
    else:
        state["pre_tokenizer"]["add_prefix_space"] = True
    changed = type(words).from_str(json.dumps(state))
    if hasattr(model.tokenizer, "backend_tokenizer"):
        model.tokenizer._tokenizer = changed
    else:
        model[0].tokenizer = changed


def _flip(model: SentenceTransformer, bit: int) -> None:
    """Flip one bit of a weight in the middle of the first matrix that every text goes through."""
    if hasattr(model[0], "auto_model"):
        named = model[0].auto_model.named_parameters()
        weight = next(p for name, p in named if p.dim() == 2 and "embed" not in name)
        row = weight.shape[0] // 2
    else:
        weight = model[0].embedding.weight
        row = model.tokenizer.token_to_id("the")
    bits = weight.data.view(torch.int32)
    bits[row, weight.shape[1] // 2] ^= torch.tensor(1 << bit).to(torch.int32)


def figures(bench: Bench, case: Case) -> Row:
    """One row of the table: how far, and what a load would say."""
    result = judge(
        case.recorded, case.found, device_type=bench.device.partition(":")[0], dtype=case.dtype
    )
    row: Row = {
        "model": bench.specimen.name,
        "group": case.group,
        "what": case.what,
        "dtype": case.dtype,
        "refused": bool(result.findings),
        "by": sorted({str(finding.kind) for finding in result.findings}),
    }
    numbers = {
        role: np.isfinite(case.found[role].astype(np.float64)).all(axis=1)
        & (np.abs(case.found[role]).max(axis=1) < _HUGE)
        for role in ROLES
    }
    if not all(finite.all() for finite in numbers.values()):
        row["texts_without_numbers"] = int(sum((~finite).sum() for finite in numbers.values()))
    own = [
        compare_vectors(case.recorded[r][finite], case.found[r][finite], bars=_ANY, role=r)[0]
        for r, finite in numbers.items()
        if finite.any()
    ]
    for name in FIGURES:
        row[name] = _number(max((getattr(deviation, name) for deviation in own), default=0.0))
    if "texts_without_numbers" in row:
        return row
    row.update(_projection(case))
    return row


def _projection(case: Case) -> Row:
    """Of the role that the adapter moves most: its shift, its part applied, and the drift."""
    moved = [role for role in ROLES if f"base_{role}" in case.recorded]
    if not moved:
        return {}
    role = max(moved, key=lambda r: adapter_shift(case.recorded[r], case.recorded[f"base_{r}"]))
    base, expected = (case.recorded[n].astype(np.float64) for n in (f"base_{role}", role))
    unit = float(np.sqrt((base**2).sum(axis=1).mean()))
    shift = expected - base
    length = float(np.linalg.norm(shift))
    if length == 0:
        return {"shift": 0.0}
    # rounding alone: what is found against what this adapter, or none, gives in float32
    noise = case.found[f"base_{role}"].astype(np.float64) - base
    if case.group == SAME:
        noise = case.found[role].astype(np.float64) - expected
    return {
        "shift": _number(adapter_shift(case.recorded[role], case.recorded[f"base_{role}"]) / unit),
        "applied": _number(float(((case.found[role] - base) * shift).sum()) / length**2),
        "drift": _number(abs(float((noise * shift).sum())) / length / unit),
        "noise": _number(float(np.linalg.norm(noise)) / unit),
        "told": project(
            case.found[role], case.recorded[f"base_{role}"], case.recorded[role], dtype=case.dtype
        )
        is not None,
    }


def _number(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default cpu)")
    parser.add_argument("--json", type=Path, help="also write every row to this file")
    parser.add_argument("--only", nargs="*", default=[], help="only models of these names")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    rows, about = [], {}
    for specimen in specimens(arguments.only):
        length = specimen.model.max_seq_length if specimen.lora else None
        bench = Bench(specimen=specimen, device=arguments.device, texts=golden_texts(length))
        about[specimen.name] = specimen.about
        for part in (same, different, adapted):
            print(f"{specimen.name}: {part.__name__}", file=sys.stderr, flush=True)
            rows += [figures(bench, case) for case in part(bench)]
    top = head(arguments.device, about)
    print(markdown(top, rows))
    if arguments.json:
        arguments.json.write_text(document(top, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
