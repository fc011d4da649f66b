"""What the environment says about this machine: cache, network, mirrors, classes, ledger.

PAIRLOCK_CACHE    the cache folder; default: `pairlock` in the user's cache folder
PAIRLOCK_OFFLINE  1: use no network, and the last answers of the registry
PAIRLOCK_MIRRORS  where bases may also be found: folders or s3:// URIs that `pairlock export` wrote,
                  separated by white space
PAIRLOCK_LOCKS    off: fetch without waiting for another process that fetches the same bytes
PAIRLOCK_ALLOW_CLASSES  classes of other packages that models may be built from, as
                  `package.module:Class`, separated by commas
PAIRLOCK_RUNTIME  what computes vectors: torch, onnx, or auto (torch where it is installed)
PAIRLOCK_RUNTIMES what packages are made for, separated by commas: torch,onnx; or torch alone
PAIRLOCK_POLICY   the policy's file, in place of a pairlock.toml here or in a folder above
PAIRLOCK_ACTOR    who is acting, for the ledger; default: user and machine, such as kim@build-7
PAIRLOCK_LEDGER   where new ledgers lie: a folder that all share, or s3://bucket/prefix; a model
                  that has a ledger keeps it where it is
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.manifest.format import CLASS_PATH
from pairlock.references import absolute_folder

_YES = {"1", "true", "yes", "on"}
_RUNTIMES = ("auto", "torch", "onnx")
_NO = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process reaches and keeps bytes."""

    cache: Path
    """The cache folder; it need not be there yet."""

    offline: bool = False
    """Whether every use of a network is refused."""

    mirrors: tuple[str, ...] = ()
    """Where bases may also be found, in this order."""

    locking: bool = True
    """Whether to wait for another process that fetches the same bytes."""

    rehash: bool = False
    """Whether to hash cached files again although nothing says that they changed."""

    in_place: bool = True
    """Whether what lies in a local folder is used there; else it is brought into the cache, too."""

    allowed_classes: frozenset[str] = frozenset()
    """Classes of other packages that may be imported and run, as `package.module:Class`."""

    runtime: str = "auto"
    """What computes vectors where the caller does not say: torch, onnx or auto."""

    runtimes: tuple[str, ...] = ("torch", "onnx")
    """What packages are made for where the caller does not say."""

    policy: Path | None = None
    """The policy's file; None to look for a `pairlock.toml`."""
    actor: str | None = None
    """Who is acting; None for the user and the machine."""

    ledger: str | None = None
    """Where new ledgers lie: a folder's absolute path, or an `s3://` URI."""


def current_settings(
    *,
    offline: bool | None = None,
    rehash: bool = False,
    allow: Iterable[str] = (),
    in_place: bool = True,
) -> Settings:
    """The settings of the environment as it is now.

    Args:
        offline: what the caller says; None for what the environment says.
        rehash: whether cached files are hashed again.
        allow: classes that may be run beside those that the environment allows, as
            `package.module:Class`.
        in_place: whether what lies in a local folder is used there.

    Raises:
        InvalidInputError: a variable or an argument has a value that means nothing.
    """
    found = read_settings(os.environ)
    return replace(
        found,
        offline=found.offline if offline is None else offline,
        rehash=rehash or found.rehash,
        in_place=in_place,
        allowed_classes=found.allowed_classes | _class_paths(allow, "the argument allow"),
    )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in some environment variables.

    Raises:
        InvalidInputError: a variable has a value that means nothing.
    """
    cache = environment.get("PAIRLOCK_CACHE", "")
    policy = environment.get("PAIRLOCK_POLICY", "")
    return Settings(
        cache=absolute_folder(cache) if cache else _default_cache(),
        offline=_flag(environment, "PAIRLOCK_OFFLINE", default=False),
        mirrors=tuple(environment.get("PAIRLOCK_MIRRORS", "").split()),
        locking=_flag(environment, "PAIRLOCK_LOCKS", default=True),
        allowed_classes=_class_paths(
            environment.get("PAIRLOCK_ALLOW_CLASSES", "").split(","),
            "the environment variable PAIRLOCK_ALLOW_CLASSES",
        ),
        runtime=_one_of(environment, "PAIRLOCK_RUNTIME", _RUNTIMES) or "auto",
        runtimes=package_runtimes(
            environment.get("PAIRLOCK_RUNTIMES", "torch,onnx").split(","),
            "the environment variable PAIRLOCK_RUNTIMES",
        ),
        policy=absolute_folder(policy) if policy else None,
        actor=environment.get("PAIRLOCK_ACTOR", "").strip() or None,
        ledger=_place(environment.get("PAIRLOCK_LEDGER", "").strip()),
    )


def package_runtimes(names: Iterable[str], where: str) -> tuple[str, ...]:
    """What a package shall be made for.

    Args:
        names: `torch`, which every package is made for, and perhaps `onnx`.
        where: who says so, for messages.

    Raises:
        InvalidInputError: another name, or no torch.
    """
    wanted = {name.strip() for name in names} - {""}
    if wanted in ({"torch"}, {"torch", "onnx"}):
        return tuple(name for name in ("torch", "onnx") if name in wanted)
    raise InvalidInputError(
        "a package cannot be made for these runtimes",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=where,
        expected="torch, or torch and onnx: what is packaged is computed by torch first",
        found=", ".join(sorted(wanted)) or "none",
        done="nothing was written",
        hint="say torch,onnx, or torch alone",
    )


def _one_of(environment: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = environment.get(name, "").strip().lower()
    if not value or value in known:
        return value or None
    raise InvalidInputError(
        f"{name} is none of {', '.join(known)}",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=f"the environment variable {name}",
        expected=", ".join(known),
        found=repr(environment[name]),
        done="nothing was looked up",
        hint=f"set {name}={known[0]}, or unset it",
    )


def _place(text: str) -> str | None:
    """A place to be recorded for good, so that one that cannot be is refused here."""
    if not text:
        return None
    split = urlsplit(text)
    if not split.scheme:
        return str(absolute_folder(text))
    if split.scheme == "file" and not split.netloc and split.path.startswith("/"):
        return unquote(split.path)
    if split.scheme == "s3" and split.netloc and not split.query and not split.fragment:
        return text.rstrip("/")
    raise InvalidInputError(
        "PAIRLOCK_LEDGER names no place for a ledger",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked="the environment variable PAIRLOCK_LEDGER",
        expected="a folder, or s3://bucket/prefix",
        found=repr(text),
        done="nothing was looked up",
        hint="a ledger needs a store that creates a file only if there is none",
    )


def _default_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("pairlock", appauthor=False))


def _class_paths(texts: Iterable[str], where: str) -> frozenset[str]:
    paths = frozenset(text.strip() for text in texts) - {""}
    wrong = sorted(path for path in paths if not re.fullmatch(CLASS_PATH, path))
    if wrong:
        raise InvalidInputError(
            f"{wrong[0]!r} is no class of a package",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked=where,
            expected="package.module:Class, such as acme.modules:Gate",
            found=", ".join(map(repr, wrong)),
            done="nothing was looked up or imported",
            hint="write the module with dots, then a colon and the class",
        )
    return paths


def _flag(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environment.get(name, "").strip().lower()
    if not value:
        return default
    if value in _YES or value in _NO:
        return value in _YES
    raise InvalidInputError(
        f"{name} is neither on nor off",
        kind=ErrorKind.ARGUMENT_INVALID,
        checked=f"the environment variable {name}",
        expected="1 or 0",
        found=repr(environment[name]),
        done="nothing was looked up",
        hint=f"set {name}=1, {name}=0, or unset it",
    )
