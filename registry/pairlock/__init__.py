"""Pairlock: a model registry for finetuned embedding models, on MLflow.

The vectors you get are the vectors that were approved, or you get an error.

    import pairlock

    pairlock.log_model("out/full", registered_model_name="minilm")
    pairlock.log_model("out/adapter", base="models:/minilm/1", registered_model_name="support")
    embedding = pairlock.load("models:/support/1")
    pairlock.receipt(embedding)
"""

from pairlock.api import load, log_model
from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    Finding,
    FormatError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PairlockError,
    StorageError,
    UnavailableError,
    UnsupportedError,
)
from pairlock.logged import LoggedPackage
from pairlock.receipts import Receipt, receipt
from pairlock.verification import Verification, verify

__all__ = [
    "AlreadyExistsError",
    "ErrorKind",
    "Finding",
    "FormatError",
    "IntegrityError",
    "InvalidInputError",
    "LoggedPackage",
    "NotFoundError",
    "PairlockError",
    "Receipt",
    "StorageError",
    "UnavailableError",
    "UnsupportedError",
    "Verification",
    "load",
    "log_model",
    "receipt",
    "verify",
]
