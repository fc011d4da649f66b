"""A prefix in an S3 bucket, by botocore's client, and boto3's transfer for what goes up in parts.

MLflow's own variables apply: `MLFLOW_S3_UPLOAD_EXTRA_ARGS`, `MLFLOW_S3_EXPECTED_BUCKET_OWNER`, and
those of `pairlock.stores.s3_clients`.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pairlock.digests import FileRecord
from pairlock.errors import (
    AlreadyExistsError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from pairlock.stores.body import HttpBody, give_back, open_body, read_small
from pairlock.stores.failures import (
    FETCHING,
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
from pairlock.stores.s3_clients import shared_client

_MULTIPART_BYTES = 16 << 20
"""Larger files go up in parts of this size, in parallel."""

_MISSING = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}
_REFUSED = {
    "AccessDenied",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "401",
    "403",
}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_CREDENTIALS_HINT = (
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or AWS_PROFILE; "
    "a session token may have expired"
)
_NOT_STORED = "nothing is known to be stored"


class S3Store:
    """One prefix.

    Args:
        uri: `s3://bucket/prefix`.
    """

    splits_files = True

    def __init__(self, uri: str) -> None:
        split = urlsplit(uri)
        self._bucket = split.netloc
        self._prefix = split.path.strip("/")
        if not self._bucket or split.query or split.fragment:
            raise InvalidInputError(
                f"{uri!r} does not name a place in S3",
                kind=ErrorKind.REFERENCE_INVALID,
                checked="the URI",
                expected="s3://bucket/prefix",
                found=uri,
                done="nothing was looked up",
                hint="write s3://, the bucket, and the prefix under which pairlock.json lies",
            )

    @property
    def location(self) -> str:
        """The URI."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def make_ready(self) -> None:
        """Import what requests take, and make a client, which sends none.

        Raises:
            UnavailableError: the environment's settings cannot be used.
        """
        _ = self._client

    def entries(self, folder: str = "", *, after: str = "") -> dict[str, Entry]:
        """Every object below a folder, behind `after`, by key relative to the prefix.

        Raises:
            UnavailableError: the store cannot be reached, or refuses.
            NotFoundError: there is no such bucket.
        """
        start = self._key(folder) + "/" if self._key(folder) else ""
        behind = {"StartAfter": self._key(after)} if after else {}
        found = {}
        with self._translated(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=start, **behind, **self._owner
            )
            for page in pages:
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        path = item["Key"][len(self._prefix) :].lstrip("/")
                        size_bytes = int(item["Size"])
                        found[path] = Entry(
                            type=EntryType.FILE, size_bytes=size_bytes, stamp=_stamp(item)
                        )
        return dict(sorted(found.items()))

    def read_small(self, path: str, *, at_most_bytes: int) -> bytes:
        """A whole small object.

        Raises:
            NotFoundError: there is no such object.
            StorageError: it is larger than `at_most_bytes`.
            UnavailableError: the store cannot be reached, or refuses.
        """
        return read_small(
            lambda: self._get(path, {}, start=0), self._place(path), at_most_bytes=at_most_bytes
        )

    @contextmanager
    def open_range(self, path: str, *, start: int, length: int) -> Iterator[ByteStream]:
        """A part of an object.

        Raises:
            NotFoundError: there is no such object.
            BrokenStreamError: the answer is not the part that was asked for.
            UnavailableError: the store cannot be reached, or refuses.
        """
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._get(path, wanted, start=start) as body:
            yield body

    def write(self, path: str, source: Path, record: FileRecord) -> None:
        """Store a file. The server is given its sha256, or those of its parts, to check.

        Raises:
            UnavailableError: the store cannot be reached, refuses, or got other bytes.
        """
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import S3Transfer, TransferConfig
        from botocore.exceptions import ClientError

        key = self._key(path)
        with self._translated(path, done=STORING), reading(source):
            if record.size_bytes <= _MULTIPART_BYTES:
                with source.open("rb") as stream:
                    self._client.put_object(
                        Bucket=self._bucket,
                        Key=key,
                        Body=stream,
                        ChecksumSHA256=base64.b64encode(bytes.fromhex(record.sha256)).decode(),
                        **self._upload_arguments,
                    )
                return
            in_parts = TransferConfig(
                multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES
            )
            arguments = {"ChecksumAlgorithm": "SHA256", **self._upload_arguments}
            try:
                with S3Transfer(self._client, in_parts) as transfer:
                    transfer.upload_file(str(source), self._bucket, key, extra_args=arguments)
            except S3UploadFailedError as error:
                if isinstance(error.__context__, ClientError):
                    raise error.__context__ from None
                raise unreachable(self._place(path), first_line(error), done=STORING) from error

    def create(self, path: str, content: bytes) -> None:
        """Store a small object if there is none of this key (`If-None-Match: *`).

        When an answer is lost, boto3 asks again and finds its own object. So an object with the
        same content counts as created: content has to be unique to the caller.

        Raises:
            AlreadyExistsError: there is one.
            UnsupportedError: the server knows no such condition.
            UnavailableError: the store cannot be reached, or refuses.
        """
        try:
            with self._translated(path, done=_NOT_STORED):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(path),
                    Body=content,
                    IfNoneMatch="*",
                    **self._upload_arguments,
                )
        except AlreadyExistsError:
            if not self._holds(path, content):
                raise

    def creates_conditionally(self) -> bool:
        """Create one object twice: a server that ignores the condition lets the second pass.

        Raises:
            UnavailableError: the store cannot be reached, or refuses.
        """
        path = f".pairlock-probe-{uuid.uuid4().hex}"
        try:
            self.create(path, b"first")
            try:
                self.create(path, b"other")
            except AlreadyExistsError:
                return True
            return False
        except UnsupportedError:
            return False
        finally:
            with self._translated(path):
                self._client.delete_object(Bucket=self._bucket, Key=self._key(path), **self._owner)

    def _holds(self, path: str, content: bytes) -> bool:
        try:
            return self.read_small(path, at_most_bytes=len(content)) == content
        except (NotFoundError, StorageError):
            return False  # removed since, or larger

    @contextmanager
    def _get(self, path: str, wanted: dict[str, str], *, start: int) -> Iterator[HttpBody]:
        with self._translated(path):
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key(path), **wanted, **self._owner
            )
        facts = answer["ResponseMetadata"]
        # NOTE: botocore's own wrapper has no read that returns what has arrived
        raw = answer["Body"]._raw_stream
        try:
            yield open_body(
                raw, status=facts["HTTPStatusCode"], headers=facts["HTTPHeaders"], start=start
            )
        finally:
            give_back(raw)

    @property
    def _client(self) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            return shared_client()
        except (BotoCoreError, ValueError) as error:
            hint = "check the AWS settings of this environment"
            raise refused(self.location, first_line(error), hint=hint) from error

    @property
    def _owner(self) -> dict[str, Any]:
        owner = os.environ.get("MLFLOW_S3_EXPECTED_BUCKET_OWNER")
        return {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def _upload_arguments(self) -> dict[str, Any]:
        text = os.environ.get("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "")
        try:
            extra = json.loads(text) if text else {}
            if unknown := sorted(extra.keys() - _upload_argument_names()):
                raise ValueError(f"{', '.join(unknown)} cannot be given")
            return {**self._owner, **extra}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInputError(
                "MLFLOW_S3_UPLOAD_EXTRA_ARGS cannot be read",
                kind=ErrorKind.ARGUMENT_INVALID,
                checked="the environment variable",
                expected='a JSON object, such as {"ServerSideEncryption": "AES256"}',
                found=first_line(error),
                done="nothing was stored",
                hint="correct it, or unset it",
            ) from error

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, path) if part)

    def _place(self, path: str) -> str:
        return f"s3://{self._bucket}/{self._key(path)}"

    @contextmanager
    def _translated(self, path: str, *, done: str = FETCHING) -> Iterator[None]:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            CredentialRetrievalError,
            NoCredentialsError,
            PartialCredentialsError,
            TokenRetrievalError,
        )

        place = self._place(path)
        try:
            yield
        except ClientError as error:
            raise self._from_server(place, error, done) from error
        except (
            NoCredentialsError,
            PartialCredentialsError,
            CredentialRetrievalError,
            TokenRetrievalError,
        ) as error:
            raise refused(place, first_line(error), hint=_CREDENTIALS_HINT, done=done) from error
        except BotoCoreError as error:
            raise unreachable(place, first_line(error), done=done) from error

    def _from_server(self, place: str, error: Any, done: str) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _MISSING or status == 404:
            return _missing(place, code)
        if code in _REFUSED or status in {401, 403}:
            return refused(place, first_line(error), hint=_CREDENTIALS_HINT, done=done)
        if code in _TAKEN or status == 412:
            return AlreadyExistsError(
                f"{place} is already there",
                kind=ErrorKind.TARGET_EXISTS,
                checked=place,
                expected="no such object",
                found="one",
                done="it stays as it is",
                hint="read what is there",
            )
        if status == 416:
            return OtherSizeError("a file that ends before the part that was asked for")
        if code == "NotImplemented" or status == 501:
            return UnsupportedError(
                f"the server cannot do what is asked of it: {place}",
                kind=ErrorKind.CONDITION_UNSUPPORTED,
                checked=place,
                expected="a server that knows If-None-Match",
                found=first_line(error),
                done="nothing was stored",
                hint="use a store with conditional writes",
            )
        return unreachable(place, first_line(error), done=done)


def _stamp(item: Any) -> tuple[int, ...]:
    """What a listing says that changes with an object: when it was written, and its ETag."""
    etag = zlib.crc32(str(item.get("ETag", "")).encode())
    written = item.get("LastModified")
    return (etag, int(written.timestamp() * 1000)) if written else (etag,)


def _upload_argument_names() -> set[str]:
    from boto3.s3.transfer import S3Transfer

    # the checksum is that of the manifest
    return {name for name in S3Transfer.ALLOWED_UPLOAD_ARGS if not name.startswith("Checksum")}


def _missing(place: str, code: str) -> NotFoundError:
    if code != "NoSuchBucket":
        return file_missing(place)
    return NotFoundError(
        f"there is no such bucket: {place}",
        kind=ErrorKind.FOLDER_MISSING,
        checked=place,
        expected="a bucket",
        found="none of this name at this endpoint",
        done="nothing was loaded",
        hint="check the name, AWS_ENDPOINT_URL_S3 and MLFLOW_S3_ENDPOINT_URL",
    )
