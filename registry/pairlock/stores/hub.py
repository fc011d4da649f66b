"""Hugging Face Hub snapshots at one commit: from the local hub cache, or from a reachable hub."""

from __future__ import annotations

from pathlib import Path

from pairlock.errors import ErrorKind, NotFoundError
from pairlock.installed import need
from pairlock.references import HubReference

# What the layout rules may select; keeps optimizer states and other runtimes on the hub.
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.md", "*.jinja", "*.codes", "LICENSE*"]
_UNWANTED = ["onnx/*", "openvino/*", "checkpoint-*/*"]


def hub_snapshot(reference: HubReference, *, offline: bool = False) -> Path:
    """The folder of a snapshot on this disk, fetched when it is not here, or not whole.

    Args:
        reference: which snapshot.
        offline: whether the hub may not be asked.

    Raises:
        NotFoundError: it is in no local cache, and the hub cannot be asked or does not have it.
        UnavailableError: `huggingface-hub` is not installed.
    """
    need(f"{reference}, a model on the Hugging Face Hub,", "huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    cached = _cached(reference)
    if cached is not None and any(cached.rglob("*.safetensors")):
        return cached
    try:
        path = snapshot_download(
            reference.repository,
            revision=reference.commit,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=offline,
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        if cached is not None:
            return cached  # the proof says what is missing from it
        raise _not_found(reference, error) from error
    return Path(path)


def _cached(reference: HubReference) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                reference.repository, revision=reference.commit, local_files_only=True
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _not_found(reference: HubReference, error: Exception) -> NotFoundError:
    from huggingface_hub.constants import HF_HUB_CACHE

    return NotFoundError(
        f"{reference} cannot be found",
        kind=ErrorKind.HUB_SNAPSHOT_NOT_FOUND,
        checked=f"the hub cache {HF_HUB_CACHE}, then the hub",
        expected=f"commit {reference.commit} of {reference.repository}",
        found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}",
        done="nothing was loaded or written",
        hint=f"run `hf download {reference.repository} --revision {reference.commit}` where the "
        "hub can be reached and copy the cache, or name a folder that holds the same files",
    )
