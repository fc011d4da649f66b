"""PEFT adapters put inside a pipeline, from proved tensors and in no other way.

PEFT and transformers look a base up by name, log a line for tensors that are missing or left over,
and load what fits. Here the base is already in memory, and every tensor is accounted for.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer

from pairlock.errors import ErrorKind, IntegrityError, UnavailableError
from pairlock.layouts import listing_of, read_peft_config
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.adapters.tensors import (
    check_taken,
    check_tensors,
    read_tensors,
    shapes_of,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

# PEFT's own prefix, and the way through a SentenceTransformer where PEFT was put around all of it
_PREFIX = re.compile(r"^base_model\.model\.(0\.(auto_model|model)\.)?")


def put_peft(
    model: SentenceTransformer, config_file: Path, weights_file: Path, *, merge: bool
) -> None:
    """Put a PEFT adapter inside the encoder of a pipeline.

    Args:
        model: a pipeline of this adapter's own.
        config_file: `adapter_config.json`.
        weights_file: `adapter_model.safetensors`.
        merge: add the adapter to weights of the pipeline's own, so that it costs nothing when
            texts are embedded; else keep it apart, so that all weights stay shared.

    Raises:
        UnsupportedError: the method, or one of its settings, is not packaged by this release.
        UnavailableError: the installed PEFT does not know the configuration.
        IntegrityError: the tensors are not exactly those that the configuration needs.
    """
    tensors = named_as_in_the_encoder(read_tensors(weights_file))
    listing = listing_of(LocalStore(config_file.parent, follow_links=True))
    # the rules of packaging hold for whoever made the package
    known = read_peft_config(listing, config_file.name)
    config = _read_config(known, config_file.name)
    encoder = model[0].auto_model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        holder = _inject(encoder, config)
        if known.get("bias", "none") != "none":
            # such an adapter brings biases of the encoder itself, and is filled by writing to them
            for module in encoder.modules():
                _own(module, only="bias")
        _fill(holder, tensors, where=weights_file.name, what=f"a {known['peft_type']} adapter")
        if merge:
            _own_targets(encoder)
            merged = holder.merge_and_unload()
            assert merged is encoder
    encoder.eval()
    encoder.requires_grad_(False)


def named_as_in_the_encoder(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under the names that they have inside the encoder."""
    return {_PREFIX.sub("", name): tensor for name, tensor in tensors.items()}


def _read_config(known: Mapping[str, Any], name: str) -> PeftConfig:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    config_class = PEFT_TYPE_TO_CONFIG_MAPPING.get(known["peft_type"])
    fields = {field.name for field in dataclasses.fields(config_class)} if config_class else set()
    # PEFT drops a setting that it does not know, and computes something else
    if strange := sorted(key for key, value in known.items() if value and key not in fields):
        raise _unknown_to_peft(name, f"{', '.join(strange)}, which it does not know")
    # nothing that PEFT could look up
    own = {"base_model_name_or_path": None, "revision": None, "inference_mode": True}
    settings = {key: value for key, value in known.items() if key in fields} | own
    try:
        return config_class(**config_class.check_kwargs(**settings))
    except (TypeError, ValueError, KeyError) as error:
        raise _unknown_to_peft(name, f"{type(error).__name__}: {error}") from error


def _unknown_to_peft(name: str, found: str) -> UnavailableError:
    return UnavailableError(
        "the installed PEFT does not know this adapter's configuration",
        kind=ErrorKind.LIBRARY_VERSION,
        checked=f"{name}, by peft {version('peft')}",
        expected="a release that knows every setting",
        found=found,
        done="nothing was loaded or written",
        hint="install the version of peft that the adapter was saved with",
    )


def _inject(encoder: Any, config: PeftConfig) -> PeftModel:
    from peft import PeftModel

    try:
        return PeftModel(encoder, config)
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        raise IntegrityError(
            "the adapter does not fit the base's encoder",
            kind=ErrorKind.TENSOR_KEYS,
            checked="the modules that adapter_config.json names, in the base",
            expected="modules that PEFT can adapt",
            found=f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}",
            done="nothing was loaded or written",
            hint="name the base that the adapter was trained on",
        ) from error


def _fill(holder: PeftModel, tensors: dict[str, torch.Tensor], *, where: str, what: str) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    empty = named_as_in_the_encoder(get_peft_model_state_dict(holder, save_embedding_layers=False))
    check_tensors(shapes_of(empty), tensors, what=what, where=where)
    set_peft_model_state_dict(
        holder, {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    )
    filled = named_as_in_the_encoder(get_peft_model_state_dict(holder, save_embedding_layers=False))
    check_taken(
        filled,
        tensors,
        who=f"PEFT, of {where},",
        hint="install the version of peft that the package's requirements.txt lists",
    )


def _own_targets(encoder: torch.nn.Module) -> None:
    """Give the modules that are merged into weights of their own; the others stay shared."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in encoder.modules():
        if isinstance(module, BaseTunerLayer):
            for part in module.get_base_layer().modules():
                _own(part)


def _own(module: torch.nn.Module, *, only: str | None = None) -> None:
    # a new parameter: one with other data would still share the count of writes
    for name, shared in list(module.named_parameters(recurse=False)):
        if only in {None, name}:
            own = torch.nn.Parameter(shared.detach().clone(), requires_grad=False)
            module.register_parameter(name, own)
