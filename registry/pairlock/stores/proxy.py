"""A folder behind the artifact proxy of an MLflow server (`mlflow-artifacts:`).

MLflow's settings for authentication and TLS hold. What is read is asked for directly, where they
are plain; otherwise, and for what is written, requests go through MLflow's own client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.references import without_credentials
from pairlock.registries import registry_in_use
from pairlock.stores.body import HttpBody, give_back, open_body, read_small
from pairlock.stores.failures import (
    FETCHING,
    NOTHING_DONE,
    STORING,
    file_missing,
    first_line,
    reading,
    refused,
    unreachable,
)
from pairlock.stores.interface import (
    ByteStream,
    Entry,
    EntryType,
    OtherSizeError,
)
from pairlock.tracking_server import NoAnswerError, TrackingServer, server
from pairlock.without_mlflow import OnlyMlflowError, mlflow_is_loaded, need_mlflow

_SERVICE = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT_S = 30
_UPLOAD_TIMEOUT_S = 600  # the server answers when it has stored all of it
_RETRIES = 3
_HINT = (
    "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "and whether this user may read the model"
)


class ProxyStore:
    """One folder behind a proxy.

    Args:
        uri: `mlflow-artifacts:/path`, or `mlflow-artifacts://host:port/path`.
    """

    # a server that keeps artifacts in S3 fetches the whole file for every part it is asked for
    splits_files = False

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # threads that read from it later do not know which registry it was opened for
        self._server = registry_in_use().tracking

    @property
    def location(self) -> str:
        """The URI."""
        return self._uri

    def make_ready(self) -> None:
        """Whoever found the location has asked the same server, and imported what that takes."""

    def entries(self, folder: str = "", *, after: str = "") -> dict[str, Entry]:
        """Every file below a folder, behind `after`, by path relative to the store.

        Raises:
            UnavailableError: the server cannot be reached, or refuses.
        """
        with self._translated(folder):
            return dict(sorted(item for item in self._walk(folder) if item[0] > after))

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it is larger than `at_most_bytes`.
            UnavailableError: the server cannot be reached, or refuses.
        """
        return read_small(
            lambda: self._get(path, {}, start=0), self._place(path), at_most_bytes=at_most_bytes
        )

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        """A part of a file.

        Raises:
            NotFoundError: there is no such file.
            BrokenStreamError: the answer is not the part that was asked for.
            UnavailableError: the server cannot be reached, or refuses.
        """
        wanted = {"Range": f"bytes={start}-{start + length - 1}"} if start else {}
        with self._get(path, wanted, start=start) as body:
            yield body

    def write(self, path: str, source: Path, record: FileRecord) -> None:  # noqa: ARG002 - the protocol's
        """Store a file; MLflow's proxy takes no checksum.

        Raises:
            UnavailableError: the server cannot be reached, or refuses, or MLflow is not installed.
            UnsupportedError: the server would store another file.
        """
        need_mlflow(OnlyMlflowError("storing files behind the artifact proxy"))
        from mlflow.utils.rest_utils import http_request

        if unquote(path) != path:
            raise UnsupportedError(
                "MLflow's artifact proxy cannot keep a file of this name",
                kind=ErrorKind.STORE_UNSUPPORTED,
                checked=self._place(path),
                expected="a name without % and two hex digits, which the server would decode",
                found=path,
                done=STORING,
                hint="rename the file, or keep models in S3 or a folder",
            )
        # MLflow's own upload leaves ? and # in a name as they are, and stores another file
        with (
            self._translated(path, done=STORING),
            reading(source),
            source.open("rb") as stream,
        ):
            answer = http_request(
                self._repository._host_creds,
                f"/{quote(path)}",
                "PUT",
                data=stream,
                max_retries=_RETRIES,
                timeout=_UPLOAD_TIMEOUT_S,
                raise_on_status=False,
            )
        self._check(path, answer.status_code, done=STORING)

    def create(self, path: str, content: bytes) -> None:  # noqa: ARG002 - the protocol's
        """Never works: the proxy replaces what is there.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "MLflow's artifact proxy cannot create a file only if there is none",
            kind=ErrorKind.CONDITION_UNSUPPORTED,
            checked=self._place(path),
            expected="a store with conditional writes",
            found="MLflow's artifact proxy",
            done="nothing was stored",
            hint="use a folder, or S3",
        )

    def creates_conditionally(self) -> bool:
        """False."""
        return False

    @cached_property
    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self._uri, tracking_uri=self._server)

    @contextmanager
    def _get(self, path: str, wanted: dict[str, str], *, start: int) -> Iterator[HttpBody]:
        with self._translated(path):
            headers = {"Accept-Encoding": "identity", **wanted}
            answer = self._ask(f"{self._resolved.folder}/{quote(path)}", {}, headers)
        try:
            self._check(path, answer.status)
            told = {name.lower(): value for name, value in answer.headers.items()}
            yield open_body(answer, status=answer.status, headers=told, start=start)
        finally:
            give_back(answer)

    def _ask(self, endpoint: str, fields: dict[str, str], headers: dict[str, str]) -> Any:
        """urllib3's response, its body still to come."""
        if self._direct is not None:
            return self._direct.get(
                endpoint,
                fields,
                headers=headers,
                retries=_RETRIES,
                timeout_s=_TIMEOUT_S,
                raise_on_status=False,
                preload=False,
            )
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        return http_request(
            get_default_host_creds(self._resolved.server),
            endpoint,
            "GET",
            params=fields,
            max_retries=_RETRIES,
            extra_headers=headers,
            timeout=_TIMEOUT_S,
            raise_on_status=False,
            stream=True,
        ).raw

    @cached_property
    def _direct(self) -> TrackingServer | None:
        """The server, where it can be asked without MLflow."""
        try:
            return server(self._resolved.server)
        except OnlyMlflowError as reason:
            need_mlflow(reason)
        return None

    @cached_property
    def _resolved(self) -> _Resolved:
        return _resolve(self._uri, self._server)

    def _check(self, path: str, status: int, *, done: str = FETCHING) -> None:
        place = self._place(path)
        if status in {200, 206}:
            return
        if status == 404:
            raise file_missing(place)
        if status in {401, 403}:
            raise refused(place, f"status {status}", hint=_HINT, done=done)
        if status == 416:
            raise OtherSizeError("a file that ends before the part that was asked for")
        raise unreachable(place, f"status {status}", done=done)

    def _walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        for item in self._children(folder):
            path = f"{folder}/{item['path']}".lstrip("/")
            if item.get("is_dir"):
                yield from self._walk(path)
            else:
                size_bytes = int(item.get("file_size") or 0)
                yield path, Entry(type=EntryType.FILE, size_bytes=size_bytes, stamp=())

    def _children(self, folder: str) -> list[dict[str, Any]]:
        # MLflow's own listing waits for a dead server for minutes
        root = self._resolved.folder.partition(_SERVICE)[2]
        path = {"path": f"{root}/{folder}".strip("/")}
        answer = self._ask(_SERVICE, path, {})
        try:
            self._check(folder, answer.status)
            found: list[dict[str, Any]] = json.loads(answer.read(decode_content=True)).get(
                "files", []
            )
            return [item for item in found if "/" not in item["path"]]
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise unreachable(self._place(folder), first_line(error)) from error
        finally:
            give_back(answer)

    def _place(self, path: str) -> str:
        return f"{self._uri.rstrip('/')}/{path}" if path else self._uri

    @contextmanager
    def _translated(self, path: str, *, done: str = FETCHING) -> Iterator[None]:
        place = self._place(path)
        try:
            yield
        except _errors() as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in {401, 403}:
                raise refused(place, first_line(error), hint=_HINT, done=done) from error
            raise unreachable(place, first_line(error), done=done) from error


class _Resolved(NamedTuple):
    """A folder behind a proxy, as URLs have it."""

    server: str
    folder: str
    """The path on the server."""


def _resolve(uri: str, tracking_uri: str) -> _Resolved:
    """Where a folder is; as `MlflowArtifactsRepository.resolve_uri` of MLflow 3.17.

    Raises:
        UnavailableError: nowhere, as the registry in use is no server, or the URI names no host.
    """
    try:
        split, tracking = urlsplit(uri), urlsplit(tracking_uri)
        if tracking.scheme not in {"http", "https"}:
            raise ValueError(f"the registry {without_credentials(tracking_uri)} is no server")
        if split.hostname and split.hostname.isdecimal() and not split.port:
            raise ValueError("the URI has a port and no host")
    except ValueError as error:
        raise unreachable(uri, str(error), done=NOTHING_DONE) from error
    netloc = split.netloc or tracking.netloc
    # a store's root lies at the server's root there, whatever path the server has
    prefix = "" if split.path == "/" else tracking.path.rstrip("/")
    folder = re.sub("//+", "/", f"{_SERVICE}/{split.path}").rstrip("/")
    return _Resolved(f"{tracking.scheme}://{netloc}{prefix}", folder)


def _errors() -> tuple[type[Exception], ...]:
    """What asking raises; MLflow's errors can only be there when MLflow is."""
    from urllib3.exceptions import HTTPError

    if not mlflow_is_loaded():
        return (NoAnswerError, HTTPError)
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return (NoAnswerError, HTTPError, MlflowException, RequestException)
