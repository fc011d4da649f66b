"""Adapters of classes that other packages offer. The package holds their tensors, never code."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from llama_index.embeddings.adapter.utils import BaseAdapter

from pairlock.digests import canonical_json
from pairlock.errors import ErrorKind, IntegrityError, InvalidInputError
from pairlock.manifest import CustomFacts, Role
from pairlock_flavors.torch_runtime.adapters.layers import settle
from pairlock_flavors.torch_runtime.adapters.tensors import check_tensors, read_tensors, shapes_of
from pairlock_flavors.torch_runtime.foreign_classes import import_class


def class_path_of(adapter: BaseAdapter) -> str:
    """Where a live adapter's class is imported from.

    Raises:
        InvalidInputError: nobody else could import it: it is defined in a function or a script.
    """
    found = type(adapter)
    # a class inside a function or a class has a dot in its name
    if found.__module__ == "__main__" or "." in found.__qualname__:
        raise InvalidInputError(
            f"the adapter's class {found.__qualname__} cannot be imported by anybody else",
            kind=ErrorKind.CLASS_MISSING,
            checked="where the class is defined",
            expected="a class at the top level of an importable module",
            found=f"{found.__module__}.{found.__qualname__}",
            done="nothing was written",
            hint="move the class to a module of a package that the loading side installs too",
        )
    return f"{found.__module__}:{found.__qualname__}"


def describe_custom(
    adapter: BaseAdapter, class_path: str, transforms: tuple[Role, ...], dimension: int
) -> CustomFacts:
    """What the manifest says about an adapter of another package's class.

    Args:
        adapter: the adapter, live or rebuilt.
        class_path: where its class is imported from.
        transforms: the roles whose vectors pass through it.
        dimension: of the base's vectors.

    Raises:
        InvalidInputError: its configuration is no JSON, or it does not take the base's vectors.
    """
    config = adapter.get_config_dict()
    try:
        canonical_json(config)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the configuration of {class_path} cannot be written down",
            kind=ErrorKind.ARGUMENT_INVALID,
            checked="get_config_dict()",
            expected="a dictionary of JSON values: the constructor's arguments",
            found=f"{type(error).__name__}: {error}",
            done="nothing was written",
            hint="let get_config_dict return plain numbers, strings, lists and dictionaries",
        ) from error
    return CustomFacts(
        class_path=class_path,
        distribution=_distribution(class_path),
        config=config,
        in_features=dimension,
        out_features=_out_features(adapter, class_path, dimension),
        transforms=transforms,
    )


def construct_custom(
    class_path: str, config: Mapping[str, Any], allowed: frozenset[str]
) -> BaseAdapter:
    """Build an adapter of another package's class, without its weights.

    Raises:
        UnsupportedError: the class is not allowed. Nothing was imported.
        InvalidInputError: it cannot be imported, or its constructor refuses the configuration.
    """
    found = import_class(class_path, allowed, base_class=BaseAdapter)
    try:
        return found(**copy.deepcopy(dict(config)))  # a constructor may write to what it gets
    except Exception as error:
        raise InvalidInputError(
            f"{class_path} cannot be built from its recorded configuration",
            kind=ErrorKind.CLASS_MISSING,
            checked=f"the constructor of {class_path}",
            expected=f"one that takes {', '.join(sorted(config)) or 'no argument'}",
            found=f"{type(error).__name__}: {error}",
            done="nothing was loaded",
            hint="install the version of the package that the adapter was trained with",
        ) from error


def load_custom(
    path: Path, facts: CustomFacts, allowed: frozenset[str], *, device: str
) -> BaseAdapter:
    """Rebuild an adapter of another package's class.

    Args:
        path: the safetensors file.
        facts: what the manifest says about it.
        allowed: the classes that may be imported.
        device: where to put it.

    Returns:
        The adapter in float32 and `eval()` mode.

    Raises:
        UnsupportedError: the class is not allowed.
        InvalidInputError: it cannot be imported or built.
        IntegrityError: the tensors are not exactly those of the class.
    """
    adapter = construct_custom(facts.class_path, facts.config, allowed)
    tensors = read_tensors(path)
    shapes = shapes_of(adapter.state_dict())
    check_tensors(shapes, tensors, what=facts.class_path, where=path.name)
    settled = settle(adapter, tensors, device=device)
    found = _out_features(settled, facts.class_path, facts.in_features)
    if found != facts.out_features:
        raise IntegrityError(
            f"{facts.class_path} gives vectors of another dimension than recorded",
            kind=ErrorKind.DIMENSION,
            checked=f"the adapter's output for a vector of {facts.in_features} dimensions",
            expected=str(facts.out_features),
            found=str(found),
            done="nothing was loaded",
            hint="install the version of the package that the adapter was trained with",
        )
    return settled


def _out_features(adapter: BaseAdapter, class_path: str, dimension: int) -> int:
    was_training = adapter.training
    adapter.eval()
    parameter = next(adapter.parameters(), torch.empty(0))
    try:
        with torch.inference_mode():
            found = adapter(torch.zeros(1, dimension, device=parameter.device))
        rows, columns = found.shape
    except Exception as error:
        raise InvalidInputError(
            f"{class_path} does not take the base's vectors",
            kind=ErrorKind.DIMENSION,
            checked="the adapter's output for one vector of the base",
            expected=f"a tensor (1, out) for a tensor (1, {dimension})",
            found=f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}",
            done="nothing was loaded or written",
            hint="name the base that the adapter was trained on",
        ) from error
    finally:
        adapter.train(was_training)
    return int(columns) if rows == 1 else 0


def _distribution(class_path: str) -> str | None:
    names = packages_distributions().get(class_path.partition(":")[0].partition(".")[0], [])
    return f"{names[0]}=={version(names[0])}" if names else None
