"""What is public, and that importing it costs nothing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

import pairlock
from pairlock.receipts import ATTRIBUTE, BaseReceipt, Check

IMPORTED = "import json, sys, pairlock; print(json.dumps(sorted(sys.modules)))"
HEAVY = {
    "torch",
    "mlflow",
    "numpy",
    "transformers",
    "sentence_transformers",
    "llama_index",
    "huggingface_hub",
    "boto3",
    "pairlock_flavors",
}
RECEIPT = pairlock.Receipt(
    requested="models:/support@production",
    uri="models:/support/1",
    kind="linear",
    package_digest="sha256:ab",
    anchors={"version tag": "sha256:ab"},
    dimension=8,
    document_space="sha256:12",
    query_space="sha256:34",
    device="cpu",
    device_reason="asked for",
    passed_over=(),
    dtype="float32",
    merged=None,
    runtime="torch",
    base=BaseReceipt(uri="b", loaded_from="b", tree_digest="sha256:cd", package_digest=None),
    checks=(Check(name="package", detail="3 files"),),
    location="s3://bucket/support",
    loaded_from="/cache/support",
    answer_age_s=None,
    bytes_verified=10,
    bytes_hashed=0,
    bytes_fetched=0,
    warnings=(),
    libraries={"torch": "2.6"},
)


def test_all_lists_what_is_public() -> None:
    """The public names are exactly these; another one is a decision, and so is one less."""
    assert sorted(pairlock.__all__) == [
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
    assert len(set(pairlock.__all__)) == len(pairlock.__all__)


@pytest.mark.parametrize("name", pairlock.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """Every public name can be imported and says what it is."""
    assert getattr(pairlock, name).__doc__


@pytest.mark.parametrize("name", [name for name in pairlock.__all__ if name.endswith("Error")])
def test_every_public_error_is_a_pairlock_error_and_pickles(name: str) -> None:
    """Every public error is caught by PairlockError, here and in another process."""
    category = getattr(pairlock, name)
    assert issubclass(category, pairlock.PairlockError)
    error = category("wrong", kind=pairlock.ErrorKind.GOLDEN, found="something")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is category
    assert again.to_dict() == error.to_dict()


def test_importing_pairlock_is_light() -> None:
    """A plain import brings in no framework, so that it costs nothing where nothing is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=60
    )
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert imported & HEAVY == set()
    assert "pairlock" in imported


def test_a_receipt_is_on_what_was_loaded() -> None:
    """The receipt is found on an object that a load returned."""

    class Embedding:
        pass

    embedding = Embedding()
    setattr(embedding, ATTRIBUTE, RECEIPT)
    assert pairlock.receipt(embedding) is RECEIPT


@pytest.mark.parametrize("thing", [None, object(), "models:/support/1", type("E", (), {})()])
def test_what_was_not_loaded_here_has_no_receipt(thing: object) -> None:
    """An object that Pairlock did not load is refused."""
    with pytest.raises(pairlock.InvalidInputError) as caught:
        pairlock.receipt(thing)
    assert caught.value.kind is pairlock.ErrorKind.NOT_A_PAIRLOCK_EMBEDDING


def test_a_forged_receipt_is_none() -> None:
    """Something else under the receipt's attribute is no receipt."""
    thing = type("E", (), {ATTRIBUTE: {"uri": "models:/support/1"}})()
    with pytest.raises(pairlock.InvalidInputError) as caught:
        pairlock.receipt(thing)
    assert caught.value.kind is pairlock.ErrorKind.NOT_A_PAIRLOCK_EMBEDDING


def test_a_receipt_is_json_data() -> None:
    """A receipt can be written beside the results it belongs to."""
    data = json.loads(json.dumps(RECEIPT.to_dict()))
    assert data["package_digest"] == "sha256:ab"
    assert data["base"]["tree_digest"] == "sha256:cd"
    assert data["checks"] == [{"name": "package", "detail": "3 files"}]
    assert data["anchors"] == {"version tag": "sha256:ab"}
