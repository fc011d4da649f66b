"""Opens a package: finds it, reads its manifest, proves every byte.

Nothing here loads a model. A package that was opened is right, byte for byte; what it was
compared with is on its `anchors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pairlock.catalog import Located
from pairlock.errors import (
    ErrorKind,
    Finding,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from pairlock.hashing import ProvedFiles, prove_files
from pairlock.integrity import compare_anchors
from pairlock.manifest import MANIFEST_NAME, Manifest, package_digest, read_manifest
from pairlock.manifest.format import MAX_MANIFEST_BYTES, PAYLOAD
from pairlock.progress import Progress
from pairlock.stores import LocalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that was found and read, with everything that is wrong with it."""

    located: Located
    manifest: Manifest
    digest: str
    """Package digest of what was found."""

    anchors: Mapping[str, str]
    """Digests recorded elsewhere that it was compared with; empty for a bare folder."""

    proved: ProvedFiles
    findings: tuple[Finding, ...]

    @property
    def root(self) -> Path:
        """The package's folder."""
        return self.proved.store.root


def examine_package(
    located: Located, *, progress: Progress, expected_digest: str | None = None
) -> Package:
    """Find everything that is wrong with a package.

    Args:
        located: where it lies and which digests were recorded for it.
        progress: told about the bytes hashed.
        expected_digest: a package digest that the caller knows from elsewhere.

    Returns:
        The package; its `findings` are empty when all is well.

    Raises:
        NotFoundError: there is no package there.
        FormatError: the manifest cannot be read.
        StorageError: files cannot be read.
        UnsupportedError: it lies in a store that this release does not read.
    """
    store = local_store(located)
    manifest, digest = read_package_manifest(store, located)
    anchors = dict(located.anchors)
    if expected_digest is not None:
        anchors["caller"] = checked_digest(expected_digest)
    findings, proved = prove_files(
        store,
        manifest.files,
        store.entries(PAYLOAD),
        progress=progress,
        whole_folder=PAYLOAD,
    )
    return Package(
        located=located,
        manifest=manifest,
        digest=digest,
        anchors=anchors,
        proved=proved,
        findings=compare_anchors(digest, anchors) + findings,
    )


def open_package(
    located: Located, *, progress: Progress, expected_digest: str | None = None
) -> Package:
    """Open a package that is right, or fail.

    Raises:
        IntegrityError: anything at all differs; every difference is listed.
        NotFoundError: as `examine_package`, and so are the other errors.
    """
    package = examine_package(located, progress=progress, expected_digest=expected_digest)
    if package.findings:
        raise package_error(package.located.uri, package.findings)
    return package


def package_error(uri: str, findings: tuple[Finding, ...]) -> IntegrityError:
    """The error for a package whose bytes are not the approved ones."""
    return IntegrityError(
        f"{uri} is not the package that was approved",
        kind=findings[0].kind,
        checked="the manifest's digest, and path, size and sha256 of every payload file",
        findings=findings,
        done="nothing was loaded",
        hint="restore the files from a backup of the store, or log the model as a new version",
    )


def read_package_manifest(store: LocalStore, located: Located) -> tuple[Manifest, str]:
    """Read a package's manifest and compute the package digest.

    Raises:
        NotFoundError: there is no manifest.
        FormatError: it cannot be read.
    """
    try:
        content = store.read_small(MANIFEST_NAME, at_most_bytes=MAX_MANIFEST_BYTES)
    except NotFoundError:
        raise _no_manifest(store, located) from None
    where = f"{MANIFEST_NAME} of {located.uri}"
    return read_manifest(content, where=where), package_digest(content)


def local_store(located: Located) -> LocalStore:
    """The store a located model lies in.

    Raises:
        UnsupportedError: it is not on this machine's disks.
    """
    if located.location.startswith("hf://"):
        raise InvalidInputError(
            f"{located.uri} is a hub snapshot and no package",
            kind=ErrorKind.REFERENCE_INVALID,
            checked="what the reference names",
            expected="a registered model, or a package's folder",
            found="a model on the hub",
            done="nothing was loaded",
            hint="log its folder first, or name it as an adapter's base",
        )
    if "://" in located.location or located.location.startswith("mlflow-artifacts:"):
        raise UnsupportedError(
            f"{located.uri} lies in a store that this release does not load from",
            kind=ErrorKind.STORE_UNSUPPORTED,
            checked="where its bytes lie",
            expected="a folder on this machine",
            found=located.location,
            done="nothing was loaded",
            hint="copy it with `mlflow artifacts download -u <that URI> -d <folder>` and load the "
            "folder, giving the digest from the version's pairlock.package_digest tag",
        )
    return LocalStore(Path(located.location))


def checked_digest(digest: str) -> str:
    """A package digest as a caller gave it.

    Raises:
        InvalidInputError: it has another form.
    """
    hexadecimal = digest.removeprefix("sha256:")
    if len(hexadecimal) != 64 or set(hexadecimal) - set("0123456789abcdef"):
        raise InvalidInputError(
            f"{digest!r} is no package digest",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="the expected digest",
            expected="sha256: and 64 lower-case hex digits",
            found=repr(digest),
            done="nothing was loaded",
            hint="copy it from `pairlock show`",
        )
    return f"sha256:{hexadecimal}"


def _no_manifest(store: LocalStore, located: Located) -> NotFoundError:
    is_mlflow_model = store.entry("MLmodel") is not None
    exists = store.root.is_dir()
    return NotFoundError(
        f"{located.uri} is not a Pairlock package",
        kind=ErrorKind.MANIFEST_MISSING if exists else ErrorKind.FOLDER_MISSING,
        checked=f"{store.root}/{MANIFEST_NAME}",
        expected="the manifest that Pairlock writes into every package",
        found="a model of another MLflow flavor, or an incomplete package"
        if is_mlflow_model
        else ("a folder without it" if exists else "no such folder"),
        done="nothing was loaded",
        hint="log the model with `pairlock log`; a package whose upload broke off is not a version"
        if exists
        else "check the path; a version whose folder is gone has to be restored or logged again",
    )
