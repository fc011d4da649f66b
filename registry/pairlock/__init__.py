"""Pairlock: a model registry for finetuned embedding models, on MLflow.

The vectors you get are the vectors that were approved, or you get an error.

    import pairlock

    pairlock.log_model("out/full", registered_model_name="minilm")
    pairlock.log_model("out/adapter", base="models:/minilm/1", registered_model_name="support")
    embedding = pairlock.load("models:/support/1")
    pairlock.receipt(embedding)

Names are imported when they are first used, so that `import pairlock` and `pairlock --help` cost
next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairlock import index
    from pairlock.api import load, log_model
    from pairlock.auditing.acts import audit
    from pairlock.auditing.result import Audit
    from pairlock.carrying import Carried, export_packages, import_packages
    from pairlock.catalog.runs import LoggedRun
    from pairlock.comparing.difference import Difference
    from pairlock.comparing.diffing import diff
    from pairlock.compiling import CompiledVersion, compile_version
    from pairlock.encoder import Encoder
    from pairlock.errors import (
        AlreadyExistsError,
        ConflictError,
        ErrorKind,
        Finding,
        FormatError,
        IntegrityError,
        InvalidInputError,
        NotFoundError,
        PairlockError,
        RefusedError,
        StorageError,
        UnavailableError,
        UnsupportedError,
    )
    from pairlock.evaluation.evaluating import Evaluation, evaluate
    from pairlock.index.guarding import guard
    from pairlock.logged import LoggedPackage
    from pairlock.memory import Resident, resident
    from pairlock.profiling import Profile, profile
    from pairlock.promotion import (
        Executed,
        History,
        Plan,
        Repaired,
        Sent,
        adopt,
        approve,
        demote,
        execute,
        history,
        plan_promotion,
        promote,
        repair,
        request,
        rollback,
        send,
    )
    from pairlock.pulling import Pulled, pull
    from pairlock.receipts import Receipt, receipt
    from pairlock.report.recording import log_audit
    from pairlock.standing.tracing import Lineage, lineage
    from pairlock.verification import Verification, verify
    from pairlock.warming import Warmed, warm

__all__ = [
    "AlreadyExistsError",
    "Audit",
    "Carried",
    "CompiledVersion",
    "ConflictError",
    "Difference",
    "Encoder",
    "ErrorKind",
    "Evaluation",
    "Executed",
    "Finding",
    "FormatError",
    "History",
    "IntegrityError",
    "InvalidInputError",
    "Lineage",
    "LoggedPackage",
    "LoggedRun",
    "NotFoundError",
    "PairlockError",
    "Plan",
    "Profile",
    "Pulled",
    "Receipt",
    "RefusedError",
    "Repaired",
    "Resident",
    "Sent",
    "StorageError",
    "UnavailableError",
    "UnsupportedError",
    "Verification",
    "Warmed",
    "adopt",
    "approve",
    "audit",
    "compile_version",
    "demote",
    "diff",
    "evaluate",
    "execute",
    "export_packages",
    "guard",
    "history",
    "import_packages",
    "index",
    "lineage",
    "load",
    "log_audit",
    "log_model",
    "plan_promotion",
    "profile",
    "promote",
    "pull",
    "receipt",
    "repair",
    "request",
    "resident",
    "rollback",
    "send",
    "verify",
    "warm",
]

_ELSEWHERE = {
    "CompiledVersion": "pairlock.compiling",
    "Warmed": "pairlock.warming",
    "compile_version": "pairlock.compiling",
    "warm": "pairlock.warming",
    "Audit": "pairlock.auditing.result",
    "Carried": "pairlock.carrying",
    "Difference": "pairlock.comparing.difference",
    "Encoder": "pairlock.encoder",
    "Evaluation": "pairlock.evaluation.evaluating",
    "Lineage": "pairlock.standing.tracing",
    "Profile": "pairlock.profiling",
    "diff": "pairlock.comparing.diffing",
    "lineage": "pairlock.standing.tracing",
    "LoggedRun": "pairlock.catalog.runs",
    "log_audit": "pairlock.report.recording",
    "Pulled": "pairlock.pulling",
    "audit": "pairlock.auditing.acts",
    "evaluate": "pairlock.evaluation.evaluating",
    "export_packages": "pairlock.carrying",
    "guard": "pairlock.index.guarding",
    "import_packages": "pairlock.carrying",
    "profile": "pairlock.profiling",
    "pull": "pairlock.pulling",
    "LoggedPackage": "pairlock.logged",
    "Receipt": "pairlock.receipts",
    "Resident": "pairlock.memory",
    "Verification": "pairlock.verification",
    "load": "pairlock.api",
    "log_model": "pairlock.api",
    "receipt": "pairlock.receipts",
    "resident": "pairlock.memory",
    "verify": "pairlock.verification",
    "Executed": "pairlock.promotion",
    "History": "pairlock.promotion",
    "Plan": "pairlock.promotion",
    "Repaired": "pairlock.promotion",
    "adopt": "pairlock.promotion",
    "approve": "pairlock.promotion",
    "demote": "pairlock.promotion",
    "execute": "pairlock.promotion",
    "history": "pairlock.promotion",
    "plan_promotion": "pairlock.promotion",
    "promote": "pairlock.promotion",
    "repair": "pairlock.promotion",
    "request": "pairlock.promotion",
    "rollback": "pairlock.promotion",
    "send": "pairlock.promotion",
    "Sent": "pairlock.promotion",
}

_MODULES = {"index"}
"""Public names that are modules."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"pairlock.{name}")
    return getattr(import_module(_ELSEWHERE.get(name, "pairlock.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
