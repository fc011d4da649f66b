"""A registered model with all that an act on its stages needs: ledger, aliases, policy."""

from __future__ import annotations

from dataclasses import dataclass

from pairlock.catalog import (
    HEAD_TAG,
    RegisteredModel,
    fix_ledger_place,
    ledger_location,
    registered_model,
)
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.in_force import InForce
from pairlock.installed import need
from pairlock.ledger import Anchor, Ledger, Sealed, State, parse_anchor
from pairlock.policy import StagePolicy
from pairlock.references import check_model_name
from pairlock.stores.opening import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One registered model, as it was when it was looked at."""

    model: RegisteredModel
    ledger: Ledger
    anchor: Anchor | None
    """The newest entry that the aliases were known to follow, by the registered model's tag."""

    head: Sealed | None
    """The newest entry; None when nothing was ever done."""

    @property
    def state(self) -> State:
        """Who holds what."""
        return State() if self.head is None else self.head.entry.state


def open_model(name: str) -> Opened:
    """Look at a registered model and the newest entry of its ledger.

    Args:
        name: the registered model's name.

    Raises:
        NotFoundError: there is no such model.
        IntegrityError: the newest entry is not whole, or the ledger ends before it should.
        UnavailableError: the registry or the ledger's store cannot be reached, or MLflow is not
            installed.
        UnsupportedError: nobody said where the ledger of a model behind a proxy shall lie.
    """
    model, ledger = open_ledger(name)
    anchor = anchor_of(model)
    return Opened(model=model, ledger=ledger, anchor=anchor, head=ledger.head(anchor))


def open_ledger(name: str) -> tuple[RegisteredModel, Ledger]:
    """Look at a registered model, and find its ledger; nothing of the ledger is read.

    Raises:
        PairlockError: as `open_model`, but for what an entry can be.
    """
    need("what concerns stages and ledgers", "mlflow")
    check_model_name(name)
    model = registered_model(name)
    location = ledger_location(model)
    if location is None:
        fix_ledger_place(name, root=current_settings().ledger)
        model = registered_model(name)
        location = ledger_location(model)
        assert location is not None  # it was recorded just now
    ledger = Ledger(open_store(location), model=model.name, model_created_ms=model.created_ms)
    return model, ledger


def anchor_of(model: RegisteredModel) -> Anchor | None:
    """The newest entry that a command left behind, as the registered model remembers it.

    Raises:
        IntegrityError: its tag cannot be read.
    """
    tag = model.tags.get(HEAD_TAG)
    return None if tag is None else parse_anchor(tag, where=f"the tag {HEAD_TAG} of {model.name}")


def stage_policy(in_force: InForce, stage: str) -> StagePolicy:
    """What a stage asks for.

    Raises:
        InvalidInputError: the policy knows no such stage.
    """
    found = in_force.policy.stages.get(stage)
    if found is None:
        raise InvalidInputError(
            f"there is no stage {stage!r}",
            kind=ErrorKind.STAGE_UNKNOWN,
            checked=f"the policy: {', '.join(in_force.sources)}",
            expected=" or ".join(in_force.policy.stages) or "a stage",
            found=stage,
            done="nothing was changed",
            hint="name one of them, or add the stage to pairlock.toml",
        )
    return found
