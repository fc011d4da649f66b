"""From a location to the store that reads it. A store's module is imported when it is needed."""

from __future__ import annotations

import re
from pathlib import Path

from pairlock.errors import ErrorKind, UnsupportedError
from pairlock.stores.interface import Store
from pairlock.stores.local import LocalStore

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/", re.IGNORECASE)


def is_remote(location: str) -> bool:
    """Whether a location is another store's URI and no path on this machine."""
    if location.startswith("/"):
        return False
    return _SCHEME.match(location) is not None or location.startswith("mlflow-artifacts:")


def open_store(location: str, *, follow_links: bool = False) -> Store:
    """The store at a location. Nothing is asked of it yet.

    Args:
        location: a folder's path, `s3://bucket/prefix`, or `mlflow-artifacts:/path`.
        follow_links: for a folder, whether links count as the files they point to.

    Raises:
        UnsupportedError: no store of this release reads it.
        InvalidInputError: the URI cannot be.
    """
    if not is_remote(location):
        return LocalStore(Path(location), follow_links=follow_links)
    scheme = location.partition(":")[0].lower()
    if scheme in {"s3", "s3a"}:
        from pairlock.stores.s3 import S3Store

        return S3Store(f"s3{location[len(scheme) :]}")
    if scheme == "mlflow-artifacts":
        from pairlock.stores.proxy import ProxyStore

        return ProxyStore(location)
    raise UnsupportedError(
        f"{location} lies in a store that this release does not read",
        kind=ErrorKind.STORE_UNSUPPORTED,
        checked="where the bytes lie",
        expected="a folder, s3://, or mlflow-artifacts: behind an MLflow server",
        found=f"{scheme}:",
        done="nothing was loaded",
        hint="copy it with `mlflow artifacts download -u <that URI> -d <folder>` and load the "
        "folder, giving the digest from the version's pairlock.package_digest tag",
    )
