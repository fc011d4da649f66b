"""What a user may write to name a model, parsed once. No I/O.

models:/support/3             a registered version
models:/support@production    whatever version the alias points to now
models:/support/Production    whatever version is in MLflow's legacy stage now
models:/m-<32 hex digits>     a logged model that is not registered
runs:/<run id>/<name>         a model logged under a run
hf://org/name@<commit>        a Hugging Face Hub snapshot at one commit (bases only)
s3://bucket/prefix            a package or a base in another store
path/to/folder, file://…      a folder
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from pairlock.errors import ErrorKind, InvalidInputError

LEGACY_STAGES = ("None", "Staging", "Production", "Archived")
"""MLflow's four fixed stages (deprecated there since 2.9, still served)."""

# MLflow refuses / and : in names; it accepts @ and % and then cannot load the model.
_NAME_REFUSED = re.compile(r"[/:@%\x00-\x1f]")
_MAX_VERSION_DIGITS = 18
# The hub's own rule for names (huggingface_hub.utils.validate_repo_id).
_REPOSITORY = re.compile(r"(?:[A-Za-z0-9](?:[\w.-]*\w)?/)?[A-Za-z0-9_](?:[\w.-]*\w)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VersionReference:
    """`models:/name/3`."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class AliasReference:
    """`models:/name@alias`."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}"


@dataclass(frozen=True, slots=True)
class StageReference:
    """`models:/name/Production`, one of MLflow's legacy stages."""

    name: str
    stage: str

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.stage}"


@dataclass(frozen=True, slots=True)
class LoggedModelReference:
    """`models:/m-…`."""

    model_id: str

    def __str__(self) -> str:
        return f"models:/{self.model_id}"


@dataclass(frozen=True, slots=True)
class RunReference:
    """`runs:/<run id>/<name>`."""

    run_id: str
    name: str

    def __str__(self) -> str:
        return f"runs:/{self.run_id}/{self.name}"


@dataclass(frozen=True, slots=True)
class HubReference:
    """`hf://org/name@<commit>`."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.commit}"


@dataclass(frozen=True, slots=True)
class FolderReference:
    """A folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class RemoteReference:
    """Another store's URI, such as `s3://bucket/prefix`."""

    uri: str
    scheme: str

    def __str__(self) -> str:
        return self.uri


Reference = (
    VersionReference
    | AliasReference
    | StageReference
    | LoggedModelReference
    | RunReference
    | HubReference
    | FolderReference
    | RemoteReference
)


def parse_reference(text: str) -> Reference:
    """Read what the user wrote.

    Args:
        text: one of the forms in the module's docstring.

    Returns:
        The reference. A relative folder stays relative to the working directory, made absolute.

    Raises:
        InvalidInputError: it is none of the forms, or asks for "latest".
    """
    if not text or "\x00" in text:
        raise _invalid(text, "a model reference", "an empty or unprintable reference")
    if text.startswith("models:"):
        return _parse_models(text)
    if text.startswith("runs:"):
        return _parse_runs(text)
    if text.startswith(("hf://", "hf:")):
        return _parse_hub(text)
    if text.startswith("file:"):
        return _parse_file(text)
    if match := _SCHEME.match(text):
        return RemoteReference(text, match.group(1).lower())
    return FolderReference(absolute_folder(text, kind=ErrorKind.REFERENCE_INVALID))


def without_credentials(uri: str) -> str:
    """A URI without user name, password and query."""
    try:
        split = urlsplit(uri)
    except ValueError:
        return uri
    if "@" not in split.netloc and not split.query:
        return uri
    return urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2], query=""))


def absolute_folder(path: str | Path, *, kind: ErrorKind = ErrorKind.ARGUMENT_INVALID) -> Path:
    """A folder as the user wrote it, as an absolute path.

    Args:
        path: what was written; `~` is the user's home.
        kind: what an error is called.

    Raises:
        InvalidInputError: it begins with the home of a user that is not there.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidInputError(
            f"{str(path)!r} names no folder",
            kind=kind,
            checked="the path",
            expected="a folder",
            found=str(error),
            done="nothing was looked up",
            hint="write the whole path",
        ) from error


def check_model_name(name: str) -> None:
    """Refuse registered-model names that cannot be loaded again.

    Raises:
        InvalidInputError: the name is empty or holds a character that MLflow or a `models:/` URI
            cannot carry.
    """
    found = _NAME_REFUSED.search(name)
    if not name.strip() or found:
        raise InvalidInputError(
            f"{name!r} cannot be the name of a registered model",
            kind=ErrorKind.NAME_INVALID,
            checked="the name",
            expected="a name without / : @ % and control characters",
            found=repr(found.group()) if found else "an empty name",
            done="nothing was written",
            hint="choose a name such as support-queries",
        )


def _parse_models(text: str) -> Reference:
    body = text.removeprefix("models:").lstrip("/")
    if not text.startswith("models:/") or not body:
        raise _invalid(text, "models:/name/3, models:/name@alias or models:/m-<id>", text)
    if "@" in body:
        name, _, alias = body.partition("@")
        if any(not part or _NAME_REFUSED.search(part) for part in (name, alias)):
            raise _invalid(text, "models:/name@alias", text)
        if alias.lower() == "latest":
            raise _latest(text, name)
        return AliasReference(name, alias)
    name, _, suffix = body.partition("/")
    if not suffix:
        if re.fullmatch(r"m-[0-9a-f]{32}", name):
            return LoggedModelReference(name)
        raise _invalid(
            text,
            "a version, an alias or a stage after the name",
            "a bare name",
            hint=f"write models:/{name}/1 for version 1 or models:/{name}@production for an alias",
        )
    is_number = suffix.isascii() and suffix.isdigit() and len(suffix) <= _MAX_VERSION_DIGITS
    if is_number and int(suffix) > 0:
        return VersionReference(name, int(suffix))
    for stage in LEGACY_STAGES:
        if suffix.lower() == stage.lower():
            return StageReference(name, stage)
    if suffix.lower() == "latest":
        raise _latest(text, name)
    raise _invalid(
        text,
        f"a version number or one of {', '.join(LEGACY_STAGES)} after the name",
        repr(suffix),
        hint=f"for an alias write models:/{name}@{suffix}",
    )


def _parse_runs(text: str) -> RunReference:
    run_id, _, name = text.removeprefix("runs:").lstrip("/").partition("/")
    if not run_id or not name.strip("/"):
        raise _invalid(text, "runs:/<run id>/<model name>", text)
    return RunReference(run_id, name.rstrip("/"))


def _parse_hub(text: str) -> HubReference:
    repository, _, commit = text.removeprefix("hf:").lstrip("/").partition("@")
    form = "hf://org/name@<40 hex digits of a commit>"
    refused = "--" in repository or ".." in repository or repository.endswith(".git")
    if refused or len(repository) > 96 or not _REPOSITORY.fullmatch(repository):
        raise _invalid(text, form, f"the repository {repository!r}")
    if not _COMMIT.fullmatch(commit):
        raise _invalid(
            text,
            form,
            f"the revision {commit!r}" if commit else "no commit",
            hint="a branch or tag can move; copy the commit from the repository's history page, "
            "or from the folder name under snapshots/ in your hub cache",
        )
    return HubReference(repository, commit)


def _parse_file(text: str) -> FolderReference:
    try:
        split = urlsplit(text)
    except ValueError as error:
        raise _invalid(text, "file:///path/to/folder", str(error)) from error
    path = unquote(split.path)
    if split.netloc not in {"", "localhost"} or not path.startswith("/") or "\x00" in path:
        raise _invalid(text, "file:///path/to/folder", text)
    return FolderReference(Path(path))


def _latest(text: str, name: str) -> InvalidInputError:
    return _invalid(
        text,
        "a version number, an alias or a stage",
        '"latest", which names other bytes from one day to the next',
        hint=f"write the number, or an alias that somebody moves on purpose: models:/{name}@…",
    )


def _invalid(text: str, expected: str, found: str, *, hint: str = "") -> InvalidInputError:
    return InvalidInputError(
        f"{text!r} does not name a model",
        kind=ErrorKind.REFERENCE_INVALID,
        checked="the reference",
        expected=expected,
        found=found,
        done="nothing was looked up",
        hint=hint
        or "the forms are models:/name/3, models:/name@alias, runs:/<id>/<name>, s3://…, a folder",
    )
