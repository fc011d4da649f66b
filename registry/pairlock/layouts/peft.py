"""The folders that PEFT adapters are saved in: by PEFT itself, and by Sentence-Transformers.

PEFT 0.21 writes `adapter_config.json` and `adapter_model.safetensors`; the configuration names the
base by a path or a hub name that nothing proves. Sentence-Transformers 6.2 writes the same two
files where the encoder would be, and its own modules, settings and tokenizer around them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pairlock.errors import ErrorKind, InvalidInputError, UnsupportedError
from pairlock.layouts.listing import Listing
from pairlock.layouts.modules import (
    PEFT_CONFIG,
    TOKENIZER_FILES,
    ModuleFolder,
    check_module,
    check_tokenizer,
    read_modules,
)
from pairlock.layouts.peft_settings import wrong_setting
from pairlock.layouts.sentence_transformers import belongs, check_settings

PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_PICKLE = "adapter_model.bin"

_TOKENIZER = re.compile(TOKENIZER_FILES, re.VERBOSE)
_FILES_OF_THE_PIPELINE = ("modules.json", "config_sentence_transformers.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftLayout:
    """A recognised PEFT folder."""

    source: str
    peft_type: str
    summary: str
    base_name: str
    """What the folder calls its base: a hub name or a raw path, not proved by anything."""

    config: str
    """Path of the configuration."""

    weights: str
    """Path of the tensors: safetensors, or a pickled state dict."""

    has_modules: bool
    """Whether the folder says which modules come after the encoder."""

    settings: tuple[str, ...]
    """Files of those modules, and of the pipeline's own settings."""

    encoder_settings: str | None
    """Sentence-Transformers' settings of the encoder, to compare with the base's."""

    tokenizer: tuple[str, ...]
    """Files of the tokenizer, empty where the folder has none."""

    left_out: tuple[tuple[str, str], ...]


def is_peft(listing: Listing) -> bool:
    """Whether PEFT or Sentence-Transformers saved a PEFT adapter here."""
    return _config_path(listing) is not None


def read_peft(listing: Listing) -> PeftLayout:
    """Read what a PEFT folder says about itself, without its tensors.

    Raises:
        InvalidInputError: the configuration or the weights are missing.
        UnsupportedError: the method, or one of its settings, is not packaged by this release.
    """
    config_path = _config_path(listing)
    assert config_path is not None
    folder = config_path.rpartition("/")[0]
    config = read_peft_config(listing, config_path)
    peft_type = str(config["peft_type"])
    has_pipeline = listing.has("modules.json")
    modules = _modules(listing, folder) if has_pipeline else {}
    has_tokenizer = listing.has(_in(folder, "tokenizer_config.json"))
    if has_tokenizer:
        check_tokenizer(listing, folder)
    weights = _weights(listing, folder)
    _refuse_encoder(listing, folder)
    settings, tokenizer, left_out = [], [], []
    encoder_settings = None
    for path in sorted(listing.sizes):
        parent, _, name = path.rpartition("/")
        if path in {config_path, weights}:
            continue
        if parent == folder and _TOKENIZER.fullmatch(name):
            tokenizer.append(path)
        elif has_pipeline and parent == folder and re.fullmatch(r"sentence_\w+_config\.json", name):
            encoder_settings = path
        elif has_pipeline and (
            path in _FILES_OF_THE_PIPELINE
            or (parent in modules and belongs(listing, modules[parent], name))
        ):
            settings.append(path)
        else:
            readable = path.encode("utf-8", "backslashreplace").decode()
            left_out.append((readable, "not part of the adapter"))
    return PeftLayout(
        source="sentence-transformers folder with a PEFT adapter"
        if has_pipeline
        else "PEFT adapter folder",
        peft_type=peft_type,
        summary=_summary(config),
        base_name=str(config.get("base_model_name_or_path") or ""),
        config=config_path,
        weights=weights,
        has_modules=has_pipeline,
        settings=tuple(settings),
        encoder_settings=encoder_settings,
        tokenizer=tuple(tokenizer) if has_tokenizer else (),
        left_out=tuple(left_out),
    )


def read_peft_config(listing: Listing, path: str) -> dict[str, Any]:
    """The configuration of an adapter, for packaging and for a load alike.

    A package may be made by hand: its digest proves that it was approved, not that it was made by
    these rules.

    Args:
        listing: the adapter's folder.
        path: of its `adapter_config.json`.

    Returns:
        The configuration, of a method that is packaged and without a setting that is not.

    Raises:
        InvalidInputError: it is not JSON.
        UnsupportedError: the method, or one of its settings, is not packaged by this release.
    """
    config = listing.read_object(path)
    _check_config(listing, config, str(config.get("peft_type", "unknown")))
    return config


def read_peft_modules(listing: Listing) -> tuple[ModuleFolder, ...]:
    """The modules that an adapter brought along, for packaging and for a load alike.

    Args:
        listing: the adapter's folder, with a `modules.json`.

    Returns:
        Every module after the encoder, with those of every route.

    Raises:
        InvalidInputError: files are missing, or a list or a setting is malformed.
        UnsupportedError: one of them is not packaged by this release.
    """
    return _checked(listing, _all_modules(listing)[1:])


def _config_path(listing: Listing) -> str | None:
    if listing.has(PEFT_CONFIG):
        return PEFT_CONFIG
    if not listing.has("modules.json"):
        return None
    modules = listing.read_json("modules.json")
    first = modules[0] if isinstance(modules, list) and modules else None
    folder = first.get("path") if isinstance(first, dict) else None
    path = f"{folder}/{PEFT_CONFIG}"
    return path if isinstance(folder, str) and folder and listing.has(path) else None


def _modules(listing: Listing, encoder_folder: str) -> dict[str, ModuleFolder]:
    """The modules after the encoder, by folder."""
    first, *rest = _all_modules(listing)
    if first.folder != encoder_folder:
        raise _misplaced(first, encoder_folder)
    return {module.folder: module for module in _checked(listing, tuple(rest))}


def _checked(listing: Listing, modules: tuple[ModuleFolder, ...]) -> tuple[ModuleFolder, ...]:
    for module in modules:
        check_module(listing, module)
    check_settings(listing)
    return modules


def _all_modules(listing: Listing) -> tuple[ModuleFolder, ...]:
    found = read_modules(listing, frozenset())
    if found[0].name != "Transformer":
        raise _misplaced(found[0], "")
    return found


def _misplaced(first: ModuleFolder, encoder_folder: str) -> UnsupportedError:
    return UnsupportedError(
        "the adapter is not inside the first module",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked="modules.json",
        expected=f"a Transformer in {encoder_folder or 'the folder itself'}",
        found=f"{first.name} in {first.folder or 'the folder itself'}",
        done="nothing was loaded or written",
        hint="merge the adapter into its base, and log the merged model",
    )


def _weights(listing: Listing, folder: str) -> str:
    for name in (PEFT_WEIGHTS, PEFT_PICKLE):
        if listing.has(path := _in(folder, name)):
            return path
    raise InvalidInputError(
        f"the adapter in {listing.location} has no weights",
        kind=ErrorKind.MODEL_INCOMPLETE,
        checked=PEFT_WEIGHTS,
        expected="the tensors that save_pretrained wrote",
        found=", ".join(sorted(listing.sizes)),
        done="nothing was written",
        hint="save the adapter again",
    )


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _refuse_encoder(listing: Listing, folder: str) -> None:
    both = [
        path
        for path in sorted(listing.sizes)
        if path.rpartition("/")[0] == folder
        and re.fullmatch(r"(pytorch_)?model([-.].*)?\.(safetensors|bin)", path.rpartition("/")[2])
    ]
    if both:
        raise UnsupportedError(
            f"{listing.location} holds a PEFT adapter beside an encoder's own weights",
            kind=ErrorKind.KIND_UNSUPPORTED,
            checked=f"the files beside {PEFT_CONFIG}",
            expected="an adapter, or a model",
            found=", ".join(both[:3]),
            done="nothing was written",
            hint="merge the adapter into the model and save the merged model, or save the adapter "
            "alone",
        )


def _check_config(listing: Listing, config: dict[str, Any], peft_type: str) -> None:
    if (wrong := wrong_setting(config)) is None:
        return
    raise UnsupportedError(
        f"the {peft_type[:40]} adapter in {listing.location} is of a kind that this release does "
        "not package or load",
        kind=ErrorKind.KIND_UNSUPPORTED,
        checked=f"{wrong.name[:80]} in {PEFT_CONFIG}",
        expected=wrong.expected,
        found=wrong.found[:200],
        done="nothing was loaded or written",
        hint="merge the adapter into its base (model.merge_and_unload()), save the merged model "
        "with SentenceTransformer.save and log that folder",
    )


def _summary(config: dict[str, Any]) -> str:
    parts = [
        f"{label}={config[name]}"
        for label, name in (("r", "r"), ("alpha", "lora_alpha"), ("alpha", "alpha"))
        if isinstance(config.get(name), int | float)
    ]
    parts += [
        name.removeprefix("use_")
        for name in ("use_dora", "use_rslora", "lora_bias")
        if config.get(name) is True
    ]
    targets = config.get("target_modules")
    if isinstance(targets, list):
        parts.append("on " + ", ".join(sorted(map(str, targets))))
    elif targets:
        parts.append(f"on {targets}")
    if saved := config.get("modules_to_save"):
        parts.append("and all of " + ", ".join(sorted(saved)))
    return ", ".join(parts)
