"""What an adapter does, as data: independent of the files that it came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.embeddings.adapter.utils import BaseAdapter

from pairlock.layouts import listing_of, read_peft_config
from pairlock.manifest import CustomFacts, LayerFacts
from pairlock.stores import LocalStore
from pairlock_flavors.torch_runtime.adapters.peft import named_as_in_the_encoder
from pairlock_flavors.torch_runtime.adapters.tensors import read_tensors
from pairlock_flavors.torch_runtime.models.identity import tensor_digests
from pairlock_flavors.torch_runtime.models.plain_data import plain, without_empty

_NOT_OF_THE_VECTORS = frozenset(
    {
        # names of the base, of the task and of the release
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_version",
        "revision",
        "task_type",
        # how the training began and went
        "eva_config",
        "init_ia3_weights",
        "init_lora_weights",
        "init_weights",
        "lora_dropout",
        "module_dropout",
        "rank_dropout",
        "rank_dropout_scale",
    }
)
"""Settings of PEFT that change no vector of an adapter whose tensors are known (0.21)."""

_IN_ANY_ORDER = frozenset(
    {
        "exclude_modules",
        "feedforward_modules",
        "layers_pattern",
        "layers_to_transform",
        "modules_to_save",
        "target_modules",
    }
)
"""Settings of PEFT that are sets, and are saved in another order by each process."""


def describe_layer(adapter: BaseAdapter, facts: LayerFacts | CustomFacts) -> dict[str, Any]:
    """A layer that vectors pass through, as JSON data; which roles do is not part of it.

    Args:
        adapter: the layer in memory.
        facts: what the manifest says about it.
    """
    if isinstance(facts, LayerFacts):
        name = facts.class_name
        config: Any = {"activation": facts.activation, "add_residual": facts.add_residual}
    else:
        name, config = facts.class_path, facts.config
    return {
        "class": name,
        "config": plain(config),
        "tensors": tensor_digests(adapter.state_dict()),
    }


def describe_peft(config_file: Path, weights_file: Path) -> dict[str, Any]:
    """What PEFT puts inside an encoder, as JSON data.

    Args:
        config_file: `adapter_config.json`.
        weights_file: `adapter_model.safetensors`.

    Raises:
        IntegrityError: the weights cannot be read.
        UnsupportedError: the method, or one of its settings, is not packaged by this release.
    """
    listing = listing_of(LocalStore(config_file.parent, follow_links=True))
    known = plain(read_peft_config(listing, config_file.name))
    settings = {
        name: sorted(value, key=str) if name in _IN_ANY_ORDER and isinstance(value, list) else value
        for name, value in known.items()
        if name not in _NOT_OF_THE_VECTORS
    }
    return {
        "config": without_empty(settings),
        "tensors": tensor_digests(named_as_in_the_encoder(read_tensors(weights_file))),
    }
