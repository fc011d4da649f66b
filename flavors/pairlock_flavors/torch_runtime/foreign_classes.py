"""Classes of other packages that a model is built from: which are allowed, and their import.

A package names such classes and holds none of their code. They come from what is installed here,
and only where the caller, the environment or an installed distribution says so.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from pairlock.config import Settings
from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError

ENTRY_POINT_GROUP = "pairlock.adapters"
"""Entry points by which an installed distribution offers classes, such as `acme.adapters:Gated`."""

Class = TypeVar("Class")


def allowed_classes(settings: Settings) -> frozenset[str]:
    """The classes that may be imported here: `package.module:Class`.

    Args:
        settings: what the environment and the caller allow.

    Returns:
        Those, and what installed distributions offer as `pairlock.adapters`. Nothing is imported.
    """
    offered = {f"{entry.module}:{entry.attr}" for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return settings.allowed_classes | offered


def import_class(
    path: str,
    allowed: frozenset[str],
    *,
    base_class: type[Class],
    outside: Path | None = None,
) -> type[Class]:
    """Import a class of another package, if that is allowed.

    Args:
        path: `package.module:Class`.
        allowed: what may be imported; nothing else is.
        base_class: what the class has to be a subclass of.
        outside: a folder whose files are no code, even if Python's search path leads there: the
            model's own.

    Returns:
        The class.

    Raises:
        UnsupportedError: the class is not allowed, or its package lies in `outside`. Nothing was
            imported.
        InvalidInputError: it is allowed, and it cannot be imported or is of another kind.
    """
    check_allowed(path, allowed)
    module_name, _, name = path.partition(":")
    _refuse_code_in(outside, module_name, path)
    try:
        found = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise _missing(path, base_class, f"{type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base_class)):
        raise _missing(path, base_class, f"{found!r}"[:200])
    return found


def check_allowed(path: str, allowed: frozenset[str]) -> None:
    """Refuse a class of another package that the caller does not allow.

    Raises:
        UnsupportedError: it is not allowed.
    """
    if path not in allowed:
        raise _not_allowed(path, found=", ".join(sorted(allowed)) or "no class is allowed")


def _refuse_code_in(folder: Path | None, module_name: str, path: str) -> None:
    if folder is None:
        return
    inside = [place for place in _places(module_name) if place.is_relative_to(folder.resolve())]
    if inside:
        raise _not_allowed(path, found=f"a file of the model itself: {inside[0]}")


def _places(module_name: str) -> list[Path]:
    # looks at the top-level package only: looking further would import it
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(module_name.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    named = [spec.origin] if spec.has_location and spec.origin else []
    return [Path(place).resolve() for place in [*named, *(spec.submodule_search_locations or [])]]


def _not_allowed(path: str, *, found: str) -> UnsupportedError:
    return UnsupportedError(
        f"the model runs the class {path}, which is not allowed here",
        kind=ErrorKind.CLASS_NOT_ALLOWED,
        checked="the classes of other packages that may be run",
        expected=f"{path}, from an installed package",
        found=found,
        done="nothing was imported or loaded",
        hint=f"if you trust that class as it is installed here, allow it: "
        f"PAIRLOCK_ALLOW_CLASSES={path}",
    )


def _missing(path: str, base_class: type, found: str) -> InvalidInputError:
    return InvalidInputError(
        f"the model needs the class {path}, which is not there",
        kind=ErrorKind.CLASS_MISSING,
        checked=f"the import of {path}",
        expected=f"a subclass of {base_class.__module__}.{base_class.__qualname__}",
        found=found,
        done="nothing was loaded",
        hint="install the version of the package that the model was trained with",
    )
