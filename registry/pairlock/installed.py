"""Which libraries are installed, and what is said where one is missing that only an extra brings.

A plain installation holds what every command needs, `pairlock[serve]` what loads models without
torch, `pairlock[torch]` everything. So what the last one alone can do has to be asked for before it
is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from pairlock.errors import ErrorKind, UnavailableError

TORCH_EXTRA = "torch"
SERVE_EXTRA = "serve"

MEASURING = ("mlflow", "torch", "sentence_transformers")
"""What measuring a model cannot do without; `pairlock[torch]` brings it, and more."""

MAKING = (*MEASURING, "onnx", "onnx_ir", "onnxscript", "onnxruntime", "tokenizers")
"""What packaging cannot do without."""

OF_AN_EXTRA = {
    "mlflow": TORCH_EXTRA,
    "torch": TORCH_EXTRA,
    "sentence_transformers": TORCH_EXTRA,
    "transformers": TORCH_EXTRA,
    "peft": TORCH_EXTRA,
    "huggingface_hub": TORCH_EXTRA,
    "onnx": TORCH_EXTRA,
    "onnx_ir": TORCH_EXTRA,
    "onnxscript": TORCH_EXTRA,
    # MLflow brings these three
    "pandas": TORCH_EXTRA,
    "requests": TORCH_EXTRA,
    "sqlalchemy": TORCH_EXTRA,
    "llama_index": SERVE_EXTRA,
    "onnxruntime": SERVE_EXTRA,
    "tokenizers": SERVE_EXTRA,
}
"""Importable packages that a plain installation has not got, and the least extra that has."""


def is_installed(*packages: str) -> bool:
    """Whether packages can be imported; nothing is imported."""
    return not missing_of(packages)


def missing_of(packages: Iterable[str]) -> tuple[str, ...]:
    """Those of some importable packages that are not installed."""
    return tuple(name for name in packages if not _is_there(name))


def need(use: str, *packages: str) -> None:
    """Go on where packages are installed.

    Args:
        use: what they are needed for, as the subject of a sentence.
        packages: importable names.

    Raises:
        UnavailableError: one of them is not installed.
    """
    if missing := missing_of(packages):
        raise library_missing(use, missing, needed=packages)


def library_missing(
    use: str, missing: Iterable[str], *, needed: Iterable[str] = ()
) -> UnavailableError:
    """The error where something cannot be done for want of a library.

    Args:
        use: what cannot be done, as the subject of a sentence.
        missing: the importable packages that are not there.
        needed: all that it takes; those that are missing when left out.
    """
    missing = tuple(missing)
    extras = {OF_AN_EXTRA.get(name, TORCH_EXTRA) for name in missing}
    extra = SERVE_EXTRA if extras == {SERVE_EXTRA} else TORCH_EXTRA
    return UnavailableError(
        f"{use} needs {', '.join(missing)}, not installed here",
        kind=ErrorKind.LIBRARY_MISSING,
        checked="installed packages",
        expected=", ".join(tuple(needed) or missing),
        found="not " + ", not ".join(missing),
        done="nothing was done",
        hint=f"pip install 'pairlock[{extra}]'",
    )


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:
        # something that is in memory under that name, and was not imported from a file
        return True
