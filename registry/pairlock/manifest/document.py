"""The manifest as frozen data. See `docs/package-format.md` for the page that specifies it.

Every class here keeps the keys it does not know in `unknown`, so that a document written by a newer
release survives a read and a write by this one, and keeps its digest. File records have no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pairlock.digests import FileRecord

Unknown = Mapping[str, Any]


class Kind(StrEnum):
    """What a package holds."""

    FULL = "full"
    LINEAR = "linear"
    TWO_LAYER = "two_layer"
    CUSTOM = "custom"
    """A LlamaIndex `BaseAdapter` of another package's class."""

    PEFT = "peft"
    """LoRA, and what else PEFT writes as `adapter_config.json` and `adapter_model.safetensors`."""

    @property
    def is_adapter(self) -> bool:
        """Whether the package stands on a base."""
        return self is not Kind.FULL


class Role(StrEnum):
    """What a text is to a retrieval system; instructions and adapters differ by it."""

    QUERY = "query"
    TEXT = "text"


class BaseOrigin(StrEnum):
    """Where a base was found when it was pinned."""

    PACKAGE = "package"
    """A Pairlock package: its package digest is pinned beside its files."""

    MLFLOW = "mlflow.sentence_transformers"
    """A model logged by MLflow's own Sentence-Transformers flavor."""

    HUB = "hub"
    """A Hugging Face Hub snapshot at one commit."""

    FOLDER = "folder"
    """A folder on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """How text becomes a vector. What is recorded here is what a load applies."""

    modules: tuple[str, ...]
    """Sentence-Transformers module names in order, such as `("Transformer", "Pooling")`."""

    pooling: tuple[str, ...]
    """Pooling modes in order, such as `("mean",)`; empty when no Pooling module is there."""

    normalize: bool
    """Whether vectors are L2-normalised after the modules ran, on top of a Normalize module."""

    max_seq_length: int | None
    """Tokens after which a text is cut; None when the tokenizer has no limit."""

    query_instruction: str
    """Put before every query; empty for none."""

    text_instruction: str
    """Put before every document; empty for none."""

    truncate_dim: int | None
    """Matryoshka dimension that vectors are cut to; None for the model's own."""

    similarity: str | None
    """The similarity function that the model names for itself, such as `cosine`."""

    foreign_modules: tuple[str, ...] = ()
    """Import paths of modules that Sentence-Transformers does not ship, such as
    `acme.modules:Gate`. They are loaded only where the caller allows them."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spaces:
    """Which vectors may be compared: those of one space. See `pairlock.spaces`."""

    document: str
    """The space of a document's vector, `sha256:<hex>`."""

    query: str
    """The space of a query's vector, `sha256:<hex>`."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """LlamaIndex's own adapter layers, of which its folders do not even record the class."""

    class_name: str
    """LlamaIndex class: `LinearLayer` or `TwoLayerNN`."""

    in_features: int
    """Dimension of the base's vectors."""

    hidden_features: int | None
    """Width of the hidden layer of a `TwoLayerNN`."""

    out_features: int
    """Dimension of the adapted vectors."""

    bias: bool
    """The constructor's `bias`. `TwoLayerNN` ignores it and always has biases."""

    activation: str | None
    """Activation of a `TwoLayerNN`: relu, sigmoid, tanh or leaky_relu."""

    add_residual: bool
    """Whether a `TwoLayerNN` adds its output, scaled, to its input."""

    transforms: tuple[Role, ...]
    """The roles whose vectors pass through the adapter; LlamaIndex's own wrapper: queries."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomFacts:
    """An adapter of a class that another package offers. The package holds no code."""

    class_path: str
    """Where the class is imported from, such as `acme.adapters:GatedAdapter`."""

    distribution: str | None
    """The installed distribution that offers the class, such as `acme-adapters==1.2`."""

    config: Mapping[str, Any]
    """The constructor's arguments, as the class's `get_config_dict` gives them."""

    in_features: int
    """Dimension of the base's vectors."""

    out_features: int
    """Dimension of the adapted vectors."""

    transforms: tuple[Role, ...]
    """The roles whose vectors pass through the adapter."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftFacts:
    """Weights that PEFT puts inside the base's encoder. The configuration is in the payload."""

    peft_type: str
    """PEFT's name for the method, such as `LORA`."""

    summary: str
    """The configuration in one line, such as `r=8, alpha=16, on query, value`."""

    own_modules: bool
    """Whether the modules after the encoder are the adapter's; else they are the base's."""

    own_tokenizer: bool
    """Whether the tokenizer is the adapter's; else it is the base's."""

    unknown: Unknown = field(default_factory=dict)


AdapterFacts = LayerFacts | CustomFacts | PeftFacts
"""What an adapter is and how it is applied; one class for `linear` and `two_layer` together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePin:
    """The exact base an adapter was trained on: where it was, and what it was."""

    uri: str
    """Where it was found: `models:/name/version`, `hf://org/name@commit` or a folder."""

    requested: str
    """What was asked for, such as an alias, before it was resolved to `uri`."""

    origin: BaseOrigin
    """What was found there."""

    revision: str | None
    """The hub's commit, 40 hex digits."""

    package_digest: str | None
    """The base's own package digest, when it is a Pairlock package."""

    tree_digest: str
    """Digest over `files`."""

    dimension: int
    """Dimension of the base's vectors."""

    files: tuple[FileRecord, ...]
    """Every file of the model folder, relative to it, so that any mirror can be verified."""

    unknown: Unknown = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of the base's files."""
        return sum(record.size_bytes for record in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenBars:
    """How far recomputed vectors may lie from the recorded ones, in float32 on the CPU."""

    one_minus_cosine: float
    """Largest allowed 1 - cosine of any text, computed in float64."""

    max_abs: float
    """Largest allowed absolute difference of any component, per unit of the vector's norm."""

    norm: float
    """Largest allowed relative difference of the norms."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFacts:
    """The golden vectors in the payload."""

    texts: int
    """How many texts were embedded, each in every role."""

    bars: GoldenBars
    """The tolerances they are compared with."""

    adapter_shift: float | None
    """Largest distance between an adapted golden vector and its base's; None for a full model."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One batch that was really embedded on the CPU when the package was made."""

    batch_size: int
    """Texts in the batch."""

    max_length: int
    """Tokens of each text."""

    peak_bytes: int
    """Most bytes of tensors that were alive at once, the weights not counted."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHints:
    """What the weights are, where they should run, and what that takes."""

    dtype: str
    """torch dtype that the model, or the base, is saved and run in: float32, float16, bfloat16."""

    order: tuple[str, ...]
    """Device types to try for `device="auto"`, best first."""

    weights_bytes: int
    """Bytes of all weights in memory, an adapter's base among them."""

    batch_size: int
    """Texts that are encoded at once."""

    attention: str | None
    """transformers' attention implementation, such as `sdpa`; None where there is no attention."""

    trial: Trial
    """What a batch took when the package was made."""

    unknown: Unknown = field(default_factory=dict)

    @property
    def batch_bytes(self) -> int:
        """Bytes that a batch of `batch_size` of the longest texts takes, beside the weights.

        What a batch holds grows with the number of its texts.
        """
        return -(-self.trial.peak_bytes * self.batch_size // self.trial.batch_size)

    @property
    def needed_bytes(self) -> int:
        """The least memory that a device needs for the weights and one batch."""
        return self.weights_bytes + self.batch_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFile:
    """A file of the source folder that does not belong to the model."""

    path: str
    reason: str
    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the package came from.

    It holds no time and no run: MLflow records both, and one model packaged twice keeps one digest.
    """

    libraries: Mapping[str, str]
    """Distribution name to version, as installed when the package was made."""

    source: str
    """The layout or live object that was packaged, such as `sentence-transformers folder`."""

    left_out: tuple[LeftOutFile, ...]
    """Files of the source that were not packaged, and why."""

    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of `pairlock.json`."""

    format_version: int
    kind: Kind
    dimension: int
    """Dimension of the vectors that a load gives."""

    files: tuple[FileRecord, ...]
    """Every payload file, by path relative to the package, in path order."""

    encode: EncodeSettings
    spaces: Spaces
    adapter: AdapterFacts | None
    base: BasePin | None
    golden: GoldenFacts
    devices: DeviceHints
    runtimes: tuple[str, ...]
    """Runtimes the payload can be run by: `torch`, and `onnx` where it holds what that needs."""

    provenance: Provenance
    unknown: Unknown = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of the payload."""
        return sum(record.size_bytes for record in self.files)

    @property
    def foreign_classes(self) -> tuple[str, ...]:
        """Import paths of the classes that a load runs and that a caller has to allow."""
        own = (self.adapter.class_path,) if isinstance(self.adapter, CustomFacts) else ()
        return own + self.encode.foreign_modules
