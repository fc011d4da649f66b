"""The folder that LlamaIndex's `BaseAdapter.save` writes.

LlamaIndex 0.6 writes `config.json` (the constructor's arguments) and `pytorch_model.bin` (a pickled
state dict), and neither the class, nor the base, nor which side is transformed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.layouts.listing import Listing
from pairlock.manifest import Kind, LayerFacts, Role

ADAPTER_CONFIG = "config.json"
ADAPTER_PICKLE = "pytorch_model.bin"

_LINEAR = {"in_features", "out_features", "bias"}
_TWO_LAYER = _LINEAR | {"hidden_features", "activation_fn_str", "add_residual"}
ACTIVATIONS = ("relu", "sigmoid", "tanh", "leaky_relu")
"""Activations that LlamaIndex's TwoLayerNN knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLayout:
    """A recognised adapter folder."""

    source: str
    kind: Kind
    facts: LayerFacts
    weights: str
    """Path of the pickled state dict."""

    left_out: tuple[tuple[str, str], ...]


def is_llama_index_adapter(listing: Listing) -> bool:
    """Whether the folder holds an adapter's constructor arguments."""
    if not listing.has(ADAPTER_CONFIG) or listing.has("modules.json"):
        return False
    config = listing.read_object(ADAPTER_CONFIG)
    return "model_type" not in config and {"in_features", "out_features"} <= config.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFolder:
    """An adapter's folder, whatever its class."""

    config: dict[str, Any]
    """The constructor's arguments."""

    weights: str
    """Path of the pickled state dict."""

    left_out: tuple[tuple[str, str], ...]


def read_adapter_folder(listing: Listing) -> AdapterFolder:
    """Read a folder that `BaseAdapter.save` wrote, without opening the pickle.

    Raises:
        InvalidInputError: the configuration or the weights are missing.
    """
    for path, what in (
        (ADAPTER_CONFIG, "the constructor's arguments"),
        (ADAPTER_PICKLE, "the state dict that the adapter's save() wrote"),
    ):
        if not listing.has(path):
            raise InvalidInputError(
                f"the adapter in {listing.location} is not complete",
                kind=ErrorKind.MODEL_INCOMPLETE,
                checked=path,
                expected=what,
                found=", ".join(sorted(listing.sizes)) or "an empty folder",
                done="nothing was written",
                hint="save the adapter again",
            )
    return AdapterFolder(
        config=listing.read_object(ADAPTER_CONFIG),
        weights=ADAPTER_PICKLE,
        left_out=tuple(
            (path.encode("utf-8", "backslashreplace").decode(), "not part of the adapter")
            for path in sorted(listing.sizes)
            if path not in {ADAPTER_CONFIG, ADAPTER_PICKLE}
        ),
    )


def read_llama_index_adapter(listing: Listing) -> AdapterLayout:
    """Read the folder of one of LlamaIndex's own layers, without opening the pickle.

    Raises:
        InvalidInputError: the configuration is incomplete, or the weights are missing.
        UnsupportedError: it is neither a LinearLayer nor a TwoLayerNN.
    """
    kind, facts = adapter_facts(listing.read_object(ADAPTER_CONFIG), where=listing.location)
    folder = read_adapter_folder(listing)
    return AdapterLayout(
        source="llama-index adapter folder",
        kind=kind,
        facts=facts,
        weights=folder.weights,
        left_out=folder.left_out,
    )


def adapter_facts(config: dict[str, Any], *, where: str) -> tuple[Kind, LayerFacts]:
    """Say which LlamaIndex adapter a configuration belongs to.

    Args:
        config: the constructor's arguments, as `get_config_dict` gives them.
        where: what to call it in messages.

    Returns:
        The kind and the facts; `transforms` is LlamaIndex's default, queries only.

    Raises:
        InvalidInputError: an argument has a value that cannot be.
        UnsupportedError: the arguments are of another class.
    """
    if config.keys() == _LINEAR:
        kind, class_name = Kind.LINEAR, "LinearLayer"
    elif config.keys() == _TWO_LAYER:
        kind, class_name = Kind.TWO_LAYER, "TwoLayerNN"
    else:
        raise UnsupportedError(
            f"{where} is an adapter of a class of its own",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked="the constructor arguments in config.json",
            expected=f"LinearLayer {sorted(_LINEAR)} or TwoLayerNN {sorted(_TWO_LAYER)}",
            found=str(sorted(config)),
            done="nothing was written",
            hint="name the class it was trained with: adapter_class='package.module:Class', or "
            "--adapter-class",
        )
    problems = [
        f"{key}={config[key]!r}"
        for key in ("in_features", "out_features", "hidden_features")
        if key in config and not _is_dimension(config[key])
    ]
    problems += [
        f"{key}={config[key]!r}"
        for key in ("bias", "add_residual")
        if key in config and not isinstance(config[key], bool)
    ]
    if kind is Kind.TWO_LAYER and config["activation_fn_str"] not in ACTIVATIONS:
        problems.append(f"activation_fn_str={config['activation_fn_str']!r}")
    if problems:
        raise InvalidInputError(
            f"the adapter configuration of {where} is wrong",
            kind=ErrorKind.MODEL_INCOMPLETE,
            checked="config.json",
            expected=f"positive dimensions, true or false, an activation of {ACTIVATIONS}",
            found=", ".join(problems),
            done="nothing was written",
            hint="save the adapter again",
        )
    return kind, LayerFacts(
        class_name=class_name,
        in_features=config["in_features"],
        hidden_features=config.get("hidden_features"),
        out_features=config["out_features"],
        bias=config["bias"],
        activation=config.get("activation_fn_str"),
        add_residual=config.get("add_residual", False),
        transforms=(Role.QUERY,),
    )


def _is_dimension(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
