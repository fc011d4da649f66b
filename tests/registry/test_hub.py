"""Hub snapshots: one commit, from the local cache, and no foreign error."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from pairlock.errors import ErrorKind, NotFoundError
from pairlock.references import HubReference
from pairlock.stores import EntryType, LocalStore
from pairlock.stores.hub import hub_snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = HubReference("org/name", COMMIT)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def cached(hub_cache: Path, commit: str) -> Path:
    repository = hub_cache / "models--org--name"
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    (repository / "blobs" / "abc").write_bytes(b"{}")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    return snapshot


def not_found(reference: HubReference) -> NotFoundError:
    with pytest.raises(NotFoundError) as caught:
        hub_snapshot(reference)
    return caught.value


def test_a_cached_snapshot_is_found_without_a_hub(hub_cache: Path) -> None:
    """A snapshot in the local cache is used as it lies there, links and all."""
    snapshot = cached(hub_cache, COMMIT)
    found = hub_snapshot(REFERENCE)
    assert found.resolve() == snapshot.resolve()
    entries = LocalStore(found, follow_links=True).entries()
    assert entries["config.json"].type is EntryType.FILE


def test_another_commit_is_not_the_one_asked_for(hub_cache: Path) -> None:
    """A snapshot of another commit, even one that a branch points to, is not given instead."""
    other = cached(hub_cache, COMMIT[::-1])
    refs = hub_cache / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text(other.name)
    assert not_found(REFERENCE).kind is ErrorKind.HUB_SNAPSHOT_NOT_FOUND


def test_an_empty_cache_without_a_hub_is_not_found(hub_cache: Path) -> None:
    """Where neither cache nor hub has it, the error names the repository and the commit."""
    error = not_found(REFERENCE)
    assert error.kind is ErrorKind.HUB_SNAPSHOT_NOT_FOUND
    assert REFERENCE.repository in error.expected
    assert REFERENCE.commit in error.expected


@pytest.mark.parametrize("repository", ["../..", "a--b", "name.git", "x" * 100], ids=len)
def test_a_name_the_hub_refuses_is_not_found(hub_cache: Path, repository: str) -> None:
    """A name that the hub's own library refuses is an error of ours."""
    error = not_found(HubReference(repository, COMMIT))
    assert error.kind is ErrorKind.HUB_SNAPSHOT_NOT_FOUND


@pytest.mark.parametrize(
    "failure", [ConnectionError(), OSError("disk full"), TimeoutError(), PermissionError("no")]
)
def test_a_failing_download_is_not_found(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    """Whatever breaks the download, with or without a message, is an error of ours."""

    def snapshot_download(*args: object, local_files_only: bool = False, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("not cached") if local_files_only else failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    error = not_found(REFERENCE)
    assert error.kind is ErrorKind.HUB_SNAPSHOT_NOT_FOUND
    assert error.__cause__ is failure


def test_a_download_asks_for_the_commit_and_for_no_pickles(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download names the commit and leaves pickles and other runtimes on the hub."""
    asked: dict[str, object] = {}

    def snapshot_download(
        repository: str, *, local_files_only: bool = False, **kwargs: object
    ) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        asked.update(kwargs, repository=repository)
        return str(hub_cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert hub_snapshot(REFERENCE) == hub_cache
    assert asked["repository"] == "org/name"
    assert asked["revision"] == COMMIT
    files = [
        "LICENSE",
        "1_Pooling/config.json",
        "model.safetensors",
        "optimizer.pt",
        "pytorch_model.bin",
        "modeling.py",
        "onnx/config.json",
        "checkpoint-10/model.safetensors",
    ]
    allowed, ignored = asked["allow_patterns"], asked["ignore_patterns"]
    chosen = filter_repo_objects(files, allow_patterns=allowed, ignore_patterns=ignored)
    assert list(chosen) == files[:3]
