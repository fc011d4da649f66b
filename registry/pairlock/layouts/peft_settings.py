"""Which settings of a PEFT adapter are packaged and loaded, by method.

From the configurations of PEFT 0.21 (`tuners/*/config.py`). A setting is named here when a test
proves it. Any other must be empty: it may read files (CorDA's caches), import modules (Megatron's),
draw random numbers (Arrow, MonteCLoRA), write to the base's weights where torch does not count it
(OLoRA, KaSA) or to the adapter's own at every forward pass (COFT); and a setting of a later PEFT is
silently dropped by an earlier one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PEFT_TYPES = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "OFT", "HRA", "LN_TUNING")
"""Methods that change weights of the encoder; each is proved by a test. Prompt learning adds tokens
instead, and other methods keep random projections that their files do not hold."""

_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base's weights alone; PiSSA, OLoRA, CorDA and LoftQ
change them, so that such an adapter fits a base that was written nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSetting:
    """A setting with which an adapter is neither packaged nor loaded."""

    name: str
    expected: str
    found: str


def wrong_setting(config: Mapping[str, Any]) -> WrongSetting | None:
    """The first setting with which an adapter is not packaged, if there is one.

    Args:
        config: what `adapter_config.json` holds.
    """
    peft_type = config.get("peft_type")
    if peft_type not in PEFT_TYPES:
        return WrongSetting(name="peft_type", expected=", ".join(PEFT_TYPES), found=str(peft_type))
    settings = _SETTINGS_OF_ALL | _SETTINGS_OF[peft_type]
    for name, value in config.items():
        if _is_empty(value):
            continue
        expected = settings[name].expected if name in settings else "nothing"
        if name not in settings or not settings[name].fits(value):
            return WrongSetting(name=name, expected=expected, found=repr(value))
    if config.get("use_cayley_neumann") and _release(config) < (0, 18):
        # computed otherwise before (`tuners/oft/config.py`)
        return WrongSetting(
            name="use_cayley_neumann",
            expected="an adapter of PEFT 0.18 or later",
            found=f"peft_version={config.get('peft_version')!r}",
        )
    return None


def _is_empty(value: Any) -> bool:
    # a number is never nothing: a rank pattern of 0 is as wrong as one of 8 where none is known
    return value is None or value is False or value in ("", [], {})


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(part) is kind for part in value)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a setting may be, beside nothing."""

    expected: str
    fits: Callable[[Any], bool]


_NUMBER = _Setting("a finite number", _is_number)
_SWITCH = _Setting("true or false", lambda value: value is True)
_NAME = _Setting("a name", lambda value: isinstance(value, str))
_NOTE = _Setting("anything", lambda _: True)
_NAMES = _Setting("a list of names", lambda value: _are(value, str))
_TARGETS = _Setting("a pattern or names", lambda value: isinstance(value, str) or _are(value, str))
_LAYERS = _Setting("numbers of layers", lambda value: type(value) is int or _are(value, int))
_NUMBERS = _Setting(
    "names with a number each",
    lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
)
_RANKS = _Setting(
    "names with a rank or the kept ranks each",
    lambda value: (
        isinstance(value, dict)
        and all(type(part) is int or _are(part, bool) for part in value.values())
    ),
)
_TOKENS = _Setting(
    "numbers of tokens",
    lambda value: (
        _are(value, int)
        or (isinstance(value, dict) and all(_are(part, int) for part in value.values()))
    ),
)


def _one_of(*values: Any) -> _Setting:
    return _Setting(", ".join(map(str, values)), lambda value: value in values)


_SETTINGS_OF_ALL = {
    "peft_type": _NAME,
    "auto_mapping": _NOTE,  # read by PEFT's Auto classes alone
    "peft_version": _NAME,
    "base_model_name_or_path": _NOTE,
    "revision": _NOTE,
    "task_type": _NAME,
    "inference_mode": _SWITCH,
    "target_modules": _TARGETS,
    "exclude_modules": _TARGETS,
    "modules_to_save": _NAMES,
}
_LAYERED = {
    "layers_to_transform": _LAYERS,
    "layers_pattern": _TARGETS,
}
_LORA = _LAYERED | {
    "r": _NUMBER,
    "lora_alpha": _NUMBER,
    "lora_dropout": _NUMBER,
    "fan_in_fan_out": _SWITCH,
    "bias": _one_of("none", "all", "lora_only"),
    "use_rslora": _SWITCH,
    "init_lora_weights": _one_of(*_INITIALISATIONS),
    "rank_pattern": _NUMBERS,
    "alpha_pattern": _NUMBERS,
    "trainable_token_indices": _TOKENS,
    "use_dora": _SWITCH,
    "lora_bias": _SWITCH,
    "eva_config": _NOTE,  # how training began
    # of machines that are off unless another setting switches them on
    "megatron_core": _one_of("megatron.core"),
    "qalora_group_size": _NUMBER,
}
_LYCORIS = _LAYERED | {
    "r": _NUMBER,
    "alpha": _NUMBER,
    "rank_dropout": _NUMBER,
    "module_dropout": _NUMBER,
    "use_effective_conv2d": _SWITCH,
    "init_weights": _one_of(True, "lycoris"),
    "rank_pattern": _NUMBERS,
    "alpha_pattern": _NUMBERS,
}
_SETTINGS_OF: dict[str, dict[str, _Setting]] = {
    "LORA": _LORA,
    "ADALORA": _LORA
    | {
        **dict.fromkeys(
            ("target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2"), _NUMBER
        ),
        "orth_reg_weight": _NUMBER,
        "total_step": _NUMBER,
        "rank_pattern": _RANKS,
    },
    "IA3": {
        "feedforward_modules": _TARGETS,
        "fan_in_fan_out": _SWITCH,
        "init_ia3_weights": _SWITCH,
    },
    "LOHA": _LYCORIS,
    "LOKR": _LYCORIS
    | {"decompose_both": _SWITCH, "decompose_factor": _NUMBER, "rank_dropout_scale": _SWITCH},
    "OFT": _LAYERED
    | {
        "r": _NUMBER,
        "oft_block_size": _NUMBER,
        "module_dropout": _NUMBER,
        "fan_in_fan_out": _SWITCH,
        "bias": _one_of("none", "all", "oft_only"),
        "init_weights": _SWITCH,
        "eps": _NUMBER,
        "block_share": _SWITCH,
        "use_cayley_neumann": _SWITCH,
        "num_cayley_neumann_terms": _NUMBER,
    },
    "HRA": _LAYERED
    | {
        "r": _NUMBER,
        "apply_GS": _SWITCH,
        "bias": _one_of("none", "all", "hra_only"),
        "init_weights": _SWITCH,
    },
    "LN_TUNING": {},
}


def _release(config: Mapping[str, Any]) -> tuple[int, ...]:
    # the release that saved the adapter; before 0.18 none was written
    found = re.match(r"(\d+)\.(\d+)", str(config.get("peft_version")))
    return tuple(map(int, found.groups())) if found else (0, 0)
