"""What the environment says about this machine: the cache, the network, mirrors, allowed classes.

PAIRLOCK_CACHE    the cache folder; default: `pairlock` in the user's cache folder
PAIRLOCK_OFFLINE  1: use no network, and the last answers of the registry
PAIRLOCK_MIRRORS  where bases may also be found: folders or s3:// URIs that `pairlock export` wrote,
                  separated by white space
PAIRLOCK_LOCKS    off: fetch without waiting for another process that fetches the same bytes
PAIRLOCK_ALLOW_CLASSES  classes of other packages that models may be built from, as
                  `package.module:Class`, separated by commas
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pairlock.errors import ErrorKind, InvalidInputError
from pairlock.manifest.format import CLASS_PATH
from pairlock.references import absolute_folder

_YES = {"1", "true", "yes", "on"}
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

    allowed_classes: frozenset[str] = frozenset()
    """Classes of other packages that may be imported and run, as `package.module:Class`."""


def current_settings(
    *, offline: bool | None = None, rehash: bool = False, allow: Iterable[str] = ()
) -> Settings:
    """The settings of the environment as it is now.

    Args:
        offline: what the caller says; None for what the environment says.
        rehash: whether cached files are hashed again.
        allow: classes that may be run beside those that the environment allows, as
            `package.module:Class`.

    Raises:
        InvalidInputError: a variable or an argument has a value that means nothing.
    """
    found = read_settings(os.environ)
    return replace(
        found,
        offline=found.offline if offline is None else offline,
        rehash=rehash or found.rehash,
        allowed_classes=found.allowed_classes | _class_paths(allow, "the argument allow"),
    )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in some environment variables.

    Raises:
        InvalidInputError: a variable has a value that means nothing.
    """
    cache = environment.get("PAIRLOCK_CACHE", "")
    return Settings(
        cache=absolute_folder(cache) if cache else _default_cache(),
        offline=_flag(environment, "PAIRLOCK_OFFLINE", default=False),
        mirrors=tuple(environment.get("PAIRLOCK_MIRRORS", "").split()),
        locking=_flag(environment, "PAIRLOCK_LOCKS", default=True),
        allowed_classes=_class_paths(
            environment.get("PAIRLOCK_ALLOW_CLASSES", "").split(","),
            "the environment variable PAIRLOCK_ALLOW_CLASSES",
        ),
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
