"""A folder behind the artifact proxy of an MLflow server (`mlflow-artifacts:`).

Requests go through MLflow's own client, so that its settings for authentication and TLS hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from pairlock.digests import FileRecord
from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.stores.body import HttpBody, check_range
from pairlock.stores.failures import file_missing, first_line, refused, too_large, unreachable
from pairlock.stores.interface import BrokenStreamError, ByteStream, Entry, EntryType

_TIMEOUT_S = 30
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

    @property
    def location(self) -> str:
        """The URI."""
        return self._uri

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Every file below a folder, by path relative to the store.

        Raises:
            UnavailableError: the server cannot be reached, or refuses.
        """
        with self._translated(folder):
            return dict(sorted(self._walk(folder)))

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small file.

        Raises:
            NotFoundError: there is no such file.
            StorageError: it is larger than `at_most_bytes`.
            UnavailableError: the server cannot be reached, or refuses.
        """
        content = bytearray()
        answer = self._get(path, headers={})
        try:
            body = HttpBody(answer.raw, None)
            while len(content) <= at_most_bytes and (data := body.read(1 << 20)):
                content += data
        except BrokenStreamError as error:
            raise unreachable(self._place(path), str(error)) from error
        finally:
            answer.close()
        if len(content) > at_most_bytes:
            raise too_large(self._place(path), at_most_bytes)
        return bytes(content)

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        """A part of a file.

        Raises:
            NotFoundError: there is no such file.
            BrokenStreamError: the answer is not the part that was asked for.
            UnavailableError: the server cannot be reached, or refuses.
        """
        wanted = {"Range": f"bytes={start}-{start + length - 1}"} if start else {}
        answer = self._get(path, headers={**wanted, "Accept-Encoding": "identity"})
        length_header = answer.headers.get("Content-Length")
        body = HttpBody(
            answer.raw,
            check_range(
                answer.status_code,
                answer.headers.get("Content-Range"),
                int(length_header) if length_header else None,
                start=start,
            ),
        )
        try:
            yield body
        finally:
            body.close()

    def write(self, path: str, source: Path, record: FileRecord) -> None:  # noqa: ARG002 - the protocol's
        """Store a file; MLflow's proxy takes no checksum.

        Raises:
            UnavailableError: the server cannot be reached, or refuses.
        """
        target = PurePosixPath(path)
        folder = "" if str(target.parent) == "." else str(target.parent)
        with self._translated(path):
            if source.name == target.name:
                self._repository.log_artifact(str(source), folder or None)
                return
            with TemporaryDirectory(prefix="pairlock-") as aside:
                named = Path(aside) / target.name
                shutil.copyfile(source, named)
                self._repository.log_artifact(str(named), folder or None)

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

        return get_artifact_repository(self._uri)

    def _get(self, path: str, *, headers: dict[str, str]) -> Any:
        from mlflow.utils.rest_utils import http_request

        place = self._place(path)
        with self._translated(path):
            answer = http_request(
                self._repository._host_creds,
                f"/{quote(path)}",
                "GET",
                max_retries=_RETRIES,
                extra_headers=headers,
                timeout=_TIMEOUT_S,
                raise_on_status=False,
                stream=True,
            )
        status = answer.status_code
        if status in {200, 206}:
            return answer
        answer.close()
        if status == 404:
            raise file_missing(place)
        if status in {401, 403}:
            raise refused(place, f"status {status}", hint=_HINT)
        if status == 416:
            raise BrokenStreamError(f"{place} ends before the part that was asked for")
        raise unreachable(place, f"status {status}")

    def _walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        for item in self._repository.list_artifacts(folder or None):
            if item.is_dir:
                yield from self._walk(item.path)
            else:
                size_bytes = int(item.file_size or 0)
                yield item.path, Entry(type=EntryType.FILE, size_bytes=size_bytes, stamp=())

    def _place(self, path: str) -> str:
        return f"{self._uri.rstrip('/')}/{path}" if path else self._uri

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            yield
        except (MlflowException, RequestException) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in {401, 403}:
                raise refused(self._place(path), first_line(error), hint=_HINT) from error
            raise unreachable(self._place(path), first_line(error)) from error
