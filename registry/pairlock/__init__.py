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
    from pairlock.api import load, log_model
    from pairlock.carrying import Carried, export_packages, import_packages
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
    from pairlock.logged import LoggedPackage
    from pairlock.memory import Resident, resident
    from pairlock.profiling import Profile, profile
    from pairlock.pulling import Pulled, pull
    from pairlock.receipts import Receipt, receipt
    from pairlock.verification import Verification, verify

__all__ = [
    "AlreadyExistsError",
    "Carried",
    "ConflictError",
    "ErrorKind",
    "Finding",
    "FormatError",
    "IntegrityError",
    "InvalidInputError",
    "LoggedPackage",
    "NotFoundError",
    "PairlockError",
    "Profile",
    "Pulled",
    "Receipt",
    "RefusedError",
    "Resident",
    "StorageError",
    "UnavailableError",
    "UnsupportedError",
    "Verification",
    "export_packages",
    "import_packages",
    "load",
    "log_model",
    "profile",
    "pull",
    "receipt",
    "resident",
    "verify",
]

_ELSEWHERE = {
    "Carried": "pairlock.carrying",
    "Profile": "pairlock.profiling",
    "Pulled": "pairlock.pulling",
    "export_packages": "pairlock.carrying",
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
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "pairlock.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
