"""What happened in the example's registry, act by act, in the words that a user would use.

It is told in two parts. `build` does what Pairlock is for: it logs models and adapters, measures
some, and brings them into stages. `damage` then does behind its back what an audit is to find.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import recipes
from mlflow import MlflowClient

import pairlock
from pairlock.catalog import locate
from pairlock.in_force import store_policy
from pairlock.manifest.format import ADAPTER_WEIGHTS
from pairlock.policy import read_policy_file
from pairlock.references import VersionReference

POLICY = Path(__file__).parent / "pairlock.toml"
GATED = "faq_adapters:Gated"


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Act as somebody: the ledger keeps the name that the environment gives, and proves none."""
    before = os.environ.get("PAIRLOCK_ACTOR")
    os.environ["PAIRLOCK_ACTOR"] = who
    try:
        yield
    finally:
        os.environ.pop("PAIRLOCK_ACTOR")
        if before is not None:
            os.environ["PAIRLOCK_ACTOR"] = before


def build(dataset: Path) -> None:
    """Fill the registry in use. What the trainers save goes to the working directory.

    Args:
        dataset: questions to measure some versions by.
    """
    _bases()
    _support(dataset)
    _faq()
    _search()
    _legal()
    _billing()


def damage() -> None:
    """Do what nobody should do to a registry; each of it is for an audit to find."""
    client = MlflowClient()

    # a base is deleted, and another model takes its name and number: what stands on it is lost
    client.delete_registered_model("bge-tiny")
    _log(recipes.base(Path("bge-again"), seed=4, epochs=4), "bge-tiny")

    # one byte of a package's weights changes: its size stays as it was, so a look does not tell
    _flip_a_byte(_package("billing", 1) / ADAPTER_WEIGHTS)

    # an alias is moved in MLflow's own page, past the gates and past the ledger
    client.set_registered_model_alias("faq", "production", "2")


def _bases() -> None:
    """The base that nearly everything stands on, and its second version, which is tried out."""
    _log(recipes.base(Path("minilm-1"), seed=1, epochs=8), "minilm-tiny")
    _log(recipes.base(Path("minilm-2"), seed=1, epochs=12), "minilm-tiny")
    with acting("ana"):
        pairlock.promote("minilm-tiny", 1, to="production", reason="the base of this year")
        pairlock.promote("minilm-tiny", 2, to="staging", reason="more epochs, on trial")


def _support(dataset: Path) -> None:
    """Adapters of four kinds on one base, with a policy: asked for, approved, brought back."""
    base, uri = Path("minilm-1"), "models:/minilm-tiny/1"
    _log(recipes.linear(base, Path("linear-1"), steps=40), "support", base=uri)
    store_policy("support", read_policy_file(POLICY))
    _measure("support", 1, dataset)
    with acting("kim"):
        pairlock.promote("support", 1, to="staging", reason="first release")
        asked = pairlock.request("support", 1, to="production", reason="first release")
    with acting("lee"):
        pairlock.approve("support", asked.entry.request or "", reason="read the ten worst answers")
    with acting("kim"):
        pairlock.promote("support", 1, to="production", reason="first release")

    _log(recipes.linear(base, Path("linear-2"), steps=80), "support", base=uri)
    _measure("support", 2, dataset)
    with acting("kim"):
        pairlock.promote("support", 2, to="staging", reason="trained for longer")
        pairlock.promote(
            "support",
            2,
            to="production",
            bypass=["approvals"],
            reason="refunds are answered wrongly today, lee agreed by phone",
        )
    with acting("lee"):
        pairlock.rollback("support", stage="production", reason="invoices got worse")

    _log(recipes.two_layer(base, Path("two-layer"), seed=1, steps=60), "support", base=uri)
    _log(recipes.lora(base, Path("lora"), seed=1, epochs=4), "support", base=uri)
    with acting("kim"):
        pairlock.promote("support", 3, to="staging", reason="two layers, on trial")
        pairlock.request("support", 3, to="production", reason="when the trial is over")


def _faq() -> None:
    """An adapter of a class of one's own; then one on the base's second version."""
    _log(
        recipes.gated(Path("minilm-1"), Path("gated"), seed=1, steps=60),
        "faq",
        base="models:/minilm-tiny/1",
        adapter_class=GATED,
        allow=[GATED],
    )
    with acting("ana"):
        pairlock.promote(
            "faq", 1, to="production", allow=[GATED], reason="beats the linear one on the FAQ"
        )
    _log(
        recipes.linear(Path("minilm-2"), Path("linear-on-2"), steps=40),
        "faq",
        base="models:/minilm-tiny/2",
    )


def _search() -> None:
    """A model that was finetuned whole: it stands on nothing, and needs an index of its own."""
    _log(recipes.full(Path("minilm-1"), Path("full"), seed=1, epochs=5), "search")
    with acting("ci"):
        pairlock.promote("search", 1, to="staging", reason="nightly finetune")


def _legal() -> None:
    """An adapter on another base."""
    base = recipes.base(Path("bge"), seed=3, epochs=4)
    _log(base, "bge-tiny")
    _log(
        recipes.linear(base, Path("legal"), steps=40),
        "legal",
        base="models:/bge-tiny/1",
    )
    with acting("lee"):
        pairlock.promote("legal", 1, to="production", reason="contracts only")


def _billing() -> None:
    """One more adapter on the common base."""
    _log(
        recipes.linear(Path("minilm-1"), Path("billing"), steps=20),
        "billing",
        base="models:/minilm-tiny/1",
    )
    with acting("kim"):
        pairlock.promote("billing", 1, to="production", reason="invoices and refunds")


def _log(folder: Path, name: str, **options: object) -> None:
    pairlock.log_model(folder, registered_model_name=name, **options)


def _measure(name: str, version: int, dataset: Path) -> None:
    pairlock.evaluate(f"models:/{name}/{version}", dataset, device="cpu", k=[1, 10])


def _package(name: str, version: int) -> Path:
    return Path(locate(VersionReference(name, version)).location)


def _flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
