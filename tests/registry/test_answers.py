"""What is kept of a registry's answers: apart by registry, without credentials, and never more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pairlock import ErrorKind, PairlockError, UnavailableError
from pairlock.cache import IMPORTED, Answer, CacheFolder, all_answers, forget, recall, remember
from pairlock.config import current_settings
from pairlock.references import without_credentials
from support.proxy import FaultProxy
from support.registries import active
from support.tracking import Tracking, opened

PASSWORD = "correct-horse-7f3a"
ANSWER = Answer(
    registry="http://registry.example",
    requested="models:/support@live",
    uri="models:/support/3",
    location="s3://bucket/prefix",
    anchors={"version tag": f"sha256:{'1' * 64}", "logged model tag": f"sha256:{'1' * 64}"},
    name="support",
    version=3,
    created_ms=1_700_000_000_123,
    package_digest=f"sha256:{'1' * 64}",
)


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    """A cache that is not there yet."""
    return CacheFolder(tmp_path / "answers-cache")


@contextmanager
def with_password(proxy: FaultProxy) -> Iterator[str]:
    """Use a registry whose URI holds a name and a password."""
    uri = proxy.endpoint.replace("http://", f"http://somebody:{PASSWORD}@")
    with active(uri):
        yield uri


def everything_in(folder: Path) -> bytes:
    """The names and the content of all files but the blobs and what links to them."""
    found = b""
    for path in folder.rglob("*"):
        found += str(path).encode()
        if path.is_file() and path.stat().st_size < 1 << 16:
            found += path.read_bytes()
    return found


# --- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        replace(ANSWER, name=None, version=None, created_ms=None, package_digest=None, anchors={}),
        replace(ANSWER, requested="models:/größe@日本", registry="", name="größe"),
    ],
)
def test_an_answer_comes_back_as_it_was(folder: CacheFolder, answer: Answer) -> None:
    """Every field is kept, and the time of the answer is now."""
    remember(folder, answer)
    found = recall(folder, answer.registry, answer.requested)
    assert found == answer
    assert found is not None
    assert abs(found.asked_at - folder.root.stat().st_mtime) < 10
    assert list(all_answers(folder)) == [answer]


def test_the_same_answer_again_is_only_newer(folder: CacheFolder) -> None:
    """A file is not written anew for an answer that did not change; its time is."""
    remember(folder, ANSWER)
    (path,) = folder.answers.iterdir()
    os.utime(path, (1_000_000, 1_000_000))
    inode = path.stat().st_ino
    remember(folder, ANSWER)
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > 1_000_000
    remember(folder, replace(ANSWER, version=4))
    assert recall(folder, ANSWER.registry, ANSWER.requested) == replace(ANSWER, version=4)


def test_registries_and_questions_do_not_mix(folder: CacheFolder) -> None:
    """The same question to two registries, and two questions to one, are four answers."""
    answers = [
        replace(ANSWER, registry=registry, requested=requested, location=f"s3://{number}/x")
        for number, (registry, requested) in enumerate(
            (registry, requested)
            for registry in ("http://a", "http://b", "", IMPORTED)
            for requested in ("models:/x/1", "models:/x/2", "models:/x@1")
        )
    ]
    for answer in answers:
        remember(folder, answer)
    assert len(list(all_answers(folder))) == len(answers) == 12
    for answer in answers:
        assert recall(folder, answer.registry, answer.requested) == answer
    forget(folder, answers[0])
    assert recall(folder, answers[0].registry, answers[0].requested) is None
    assert all(recall(folder, a.registry, a.requested) == a for a in answers[1:])
    forget(folder, answers[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"17",
        b"\xff\xfe",
        b"{}",
        b'{"registry": "http://registry.example"}',
        b'{"anchors": []}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_cannot_be_read_is_none(folder: CacheFolder, content: bytes) -> None:
    """A damaged file is as good as no answer, and is written over by the next one."""
    remember(folder, ANSWER)
    (path,) = folder.answers.iterdir()
    path.write_bytes(content)
    assert recall(folder, ANSWER.registry, ANSWER.requested) is None
    assert list(all_answers(folder)) == []
    remember(folder, ANSWER)
    assert recall(folder, ANSWER.registry, ANSWER.requested) == ANSWER


@pytest.mark.parametrize(
    "change", [{"location": 7}, {"uri": None}, {"version": "3"}, {"later": "a new key"}]
)
def test_an_answer_of_the_wrong_types_is_none(
    folder: CacheFolder, change: dict[str, object]
) -> None:
    """A file that JSON can read and Pairlock did not write is not believed."""
    remember(folder, ANSWER)
    (path,) = folder.answers.iterdir()
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert recall(folder, ANSWER.registry, ANSWER.requested) is None


def test_an_answer_that_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    """A cache folder that is a file stops no answer from being used."""
    (tmp_path / "file").write_text("mine")
    folder = CacheFolder(tmp_path / "file")
    remember(folder, ANSWER)
    forget(folder, ANSWER)
    assert recall(folder, ANSWER.registry, ANSWER.requested) is None
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("uri", "without"),
    [
        ("http://somebody:secret@host:5000/x", "http://host:5000/x"),
        ("https://token@host", "https://host"),
        ("postgresql://u:p%40ss@db/mlflow?password=secret", "postgresql://db/mlflow"),
        ("http://host/?token=secret", "http://host/"),
        ("http://a:b@c:d@host/x", "http://host/x"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("databricks://profile", "databricks://profile"),
        ("/data/mlruns", "/data/mlruns"),
        ("", ""),
    ],
)
def test_a_registry_is_named_without_credentials(uri: str, without: str) -> None:
    """User, password and query are left out, and nothing else is."""
    assert without_credentials(uri) == without


# --- from a real registry -------------------------------------------------------------------------


def test_two_registries_with_one_model_name_do_not_mix(tracking: Tracking) -> None:
    """Each registry's answer stays its own, online and offline, with one cache for both."""
    name = tracking.new_name()
    with FaultProxy(tracking.server.uri) as other, FaultProxy(tracking.server.uri) as one:
        with active(one.endpoint):
            uri = tracking.register("tiny_model", name, alias="live")
            first = opened(uri)
        # seen from the other address, it is another registry with another model of this name
        tracking.client.delete_registered_model(name)
        tracking.register("tiny_other", name, alias="live")
        with active(other.endpoint):
            with pytest.raises(UnavailableError) as caught:
                opened(uri, offline=True)
            assert caught.value.kind is ErrorKind.NEVER_ASKED
            second = opened(uri)
            assert second.located.warnings == ()
        assert first.digest == tracking.stored["tiny_model"].digest
        assert second.digest == tracking.stored["tiny_other"].digest
        for proxy, package in ((one, first), (other, second), (one, first)):
            with active(proxy.endpoint):
                assert opened(uri, offline=True).digest == package.digest


def test_credentials_in_the_registrys_uri_are_kept_nowhere(
    tracking: Tracking, asked: FaultProxy
) -> None:
    """A password in the tracking URI is in no file of the cache, and the answer is found by it."""
    uri = tracking.register("tiny_model", alias="live")
    with with_password(asked):
        opened(uri)
        opened(uri.rpartition("/")[0] + "@live")
        assert opened(uri, offline=True).digest == tracking.stored["tiny_model"].digest
    kept = everything_in(current_settings().cache)
    assert asked.endpoint.encode() in kept
    assert PASSWORD.encode() not in kept
    assert b"somebody" not in kept


@pytest.mark.parametrize("state", ["gone", "not found", "never asked"])
def test_credentials_in_the_registrys_uri_are_in_no_error(
    tracking: Tracking, asked: FaultProxy, state: str
) -> None:
    """Errors end in logs and tickets: they name the registry without its password."""
    if state == "gone":
        asked.stop()
    with with_password(asked), pytest.raises(PairlockError) as caught:
        opened("models:/not-there/1", offline=state == "never asked")
    error = caught.value
    expected = {
        "gone": ErrorKind.REGISTRY_UNAVAILABLE,
        "not found": ErrorKind.MODEL_NOT_FOUND,
        "never asked": ErrorKind.NEVER_ASKED,
    }
    assert error.kind is expected[state]
    assert PASSWORD not in str(error) + json.dumps(error.to_dict())
