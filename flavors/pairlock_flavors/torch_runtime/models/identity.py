"""What a pipeline does to a text in one role, as data: independent of the files that it came in.

Read from the model in memory, so that neither the format of the weights, nor the names of files,
nor the release of the library that saved them plays a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from pairlock.manifest import Role
from pairlock_flavors.torch_runtime.models.description import length_of
from pairlock_flavors.torch_runtime.models.loading import is_own, is_router
from pairlock_flavors.torch_runtime.models.plain_data import plain, without_empty
from pairlock_flavors.torch_runtime.models.vocabularies import vocabulary_digest

_NOT_OF_THE_VECTORS = frozenset(
    {
        # where the configuration came from, and by which release
        "_name_or_path",
        "name_or_path",
        "_commit_hash",
        "transformers_version",
        "architectures",
        "auto_map",
        # the dtype that the weights were saved in: they are hashed in float32
        "dtype",
        "torch_dtype",
        # how the same sums are computed, or kept for another call
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_attn_implementation_internal",
        "use_cache",
        "gradient_checkpointing",
        "return_dict",
        "output_attentions",
        # of other tasks, and of training
        "id2label",
        "label2id",
        "problem_type",
        "initializer_range",
    }
)
"""Settings in a configuration of transformers that change no vector."""

_OF_ROLE: Mapping[Role, frozenset[str]] = {
    Role.QUERY: frozenset({"query_length", "query_expansion"}),
    Role.TEXT: frozenset({"document_length"}),
}
"""Settings of Sentence-Transformers' Transformer that one role has alone (6.2)."""

_ELSEWHERE = frozenset({"max_seq_length"})
"""Settings that are described by what is in effect."""

_TASKS = {Role.QUERY: "query", Role.TEXT: "document"}


class PipelineIdentity:
    """Describes a pipeline in both roles, and hashes every module once.

    Args:
        model: the pipeline with its settings applied, in float32 on the CPU.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._known: dict[int, dict[str, Any]] = {}

    def modules(self, role: Role) -> tuple[dict[str, Any], ...]:
        """The modules that a text of a role passes through, in order, as JSON data."""
        others = frozenset().union(*(names for of, names in _OF_ROLE.items() if of is not role))
        found = []
        for module in _passed(self._model.children(), role):
            known = self._described(module)
            config = {name: value for name, value in known["config"].items() if name not in others}
            found.append({**known, "config": config})
        return tuple(found)

    def _described(self, module: torch.nn.Module) -> dict[str, Any]:
        # a module that roles or routes share is hashed once
        if id(module) not in self._known:
            self._known[id(module)] = _describe(module)
        return self._known[id(module)]


def tensor_digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """Name to shape and SHA-256 of every tensor: of its float32 values, little-endian, by rows."""
    return {name: [list(tensor.shape), _hash(tensor)] for name, tensor in tensors.items()}


def _hash(tensor: torch.Tensor) -> str:
    values = tensor.detach().cpu()
    if values.dtype.is_floating_point:
        values = values.to(torch.float32)
    values = values.reshape(-1).contiguous()
    digest = hashlib.sha256()
    if not values.dtype.is_floating_point:
        digest.update(str(values.dtype).encode())
    if values.numel():
        # from the tensor's own memory: a copy of the weights would take as much again
        digest.update(memoryview(values.numpy()).cast("B"))  # type: ignore[arg-type]
    return digest.hexdigest()


def _passed(modules: Iterable[torch.nn.Module], role: Role) -> Iterator[torch.nn.Module]:
    for module in modules:
        if not is_router(module):
            yield module
            continue
        route = _route(module, role)
        if route is None:
            yield module  # then all routes count, and how it chooses among them
        for name, inner in module.sub_modules.items():  # type: ignore[union-attr,operator]
            if route in (None, name):
                yield from _passed(inner, role)


def _route(router: Any, role: Role) -> str | None:
    """The route that a Router sends a role, by the library's own choice (6.2); None: not known."""
    try:
        return str(router._resolve_route(task=_TASKS[role], modality="text"))
    except (AttributeError, TypeError, ValueError):
        return None


def _describe(module: torch.nn.Module) -> dict[str, Any]:
    encoder = getattr(module, "auto_model", None)
    config = _module_config(module)
    tensors = module.state_dict() if encoder is None else _read_tensors(encoder, config)
    # a processor of several modalities holds its tokenizer inside
    kept = [*vars(module).values(), getattr(module, "tokenizer", None)]
    vocabularies = map(vocabulary_digest, {id(value): value for value in kept}.values())
    return {
        "class": _class_name(module),
        "config": config,
        "encoder": None if encoder is None else _encoder_config(encoder.config),
        "max_tokens": length_of(module),
        "tokenizers": sorted(digest for digest in vocabularies if digest is not None),
        "tensors": tensor_digests(tensors),
    }


def _read_tensors(encoder: Any, config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of an encoder that a vector depends on."""
    reads_pooler = "pooler" in str(config)
    return {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        # positions are counted: some releases save them. And many encoders are saved without a
        # pooler, which is made up then and read by nobody
        if not name.endswith("position_ids") and (reads_pooler or not name.startswith("pooler."))
    }


def _class_name(module: torch.nn.Module) -> str:
    # Sentence-Transformers moves its classes between releases
    found = type(module)
    return found.__name__ if is_own(module) else f"{found.__module__}:{found.__qualname__}"


def _module_config(module: torch.nn.Module) -> dict[str, Any]:
    if hasattr(module, "get_config_dict"):
        found: Mapping[str, Any] = module.get_config_dict()  # type: ignore[operator]
    else:
        found = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_")
            and isinstance(value, bool | int | float | str | list | dict)
        }
        found.pop("training", None)
    known = {name: plain(value) for name, value in found.items() if name not in _ELSEWHERE}
    # what a class of another package means by nothing is its own affair
    return without_empty(known) if is_own(module) else known


def _encoder_config(config: Any) -> dict[str, Any]:
    """What changes vectors in a configuration of transformers, without what every model has."""
    known = plain(config.to_diff_dict())
    assert isinstance(known, dict)
    return _settings(known)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        # an encoder may hold the configurations of others
        name: _settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _NOT_OF_THE_VECTORS
    }
    return without_empty(kept)
