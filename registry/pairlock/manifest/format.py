"""The owner of the package format: its version, its file names and its limits.

How to change the format:

1. A new optional key needs no new version: readers keep keys they do not know.
2. A key that changes meaning, a new required key, a new value in a closed list (such as a kind or a
   dtype) or a new key of a file record raises `FORMAT_VERSION` by one. The reader of every earlier
   version stays in `reading.py`; a package that it wrote joins the tests.
3. `docs/package-format.md` changes in the same commit.

Before the first release version 1 itself changes, and the kept packages with it: nobody has others.
"""

from __future__ import annotations

FORMAT_VERSION = 1
"""The version this release writes. It reads this version and every earlier one."""

MANIFEST_NAME = "pairlock.json"
PAGE_NAME = "PAIRING.md"
PAYLOAD = "payload"
MODEL_FOLDER = "payload/model"
ADAPTER_FOLDER = "payload/adapter"
ADAPTER_WEIGHTS = f"{ADAPTER_FOLDER}/adapter.safetensors"
PEFT_CONFIG = f"{ADAPTER_FOLDER}/adapter_config.json"
PEFT_WEIGHTS = f"{ADAPTER_FOLDER}/adapter_model.safetensors"
GOLDEN_VECTORS = "payload/golden.safetensors"
GOLDEN_TEXTS = "payload/golden.json"

RUNTIME_FOLDER = "payload/runtimes/onnx"
RUNTIME_DOCUMENT = "runtime.json"
"""What the onnx runtime needs to know, in its folder."""

GRAPH_NAME = "graph.onnx.gz"
STORED_WEIGHTS = "weights.safetensors"
"""Weights that are in no file of the model: quantised ones."""

LINKED_FOLDER = "graphs"
"""Beside the payload: graphs that were made for a package later, each in a folder by its digest."""

LINKED_DOCUMENT = "graph.json"
"""What such a graph is for, and its files."""

MAX_GRAPH_BYTES = 64 << 20
"""A larger graph, unpacked, is refused: it holds no weights."""

RUNTIMES = ("torch", "onnx")

MAX_MANIFEST_BYTES = 16 << 20
"""A larger `pairlock.json` is refused before it is parsed."""

DTYPES = ("float32", "float16", "bfloat16")
"""torch dtypes a model may be saved and run in."""

CLASS_PATH = r"(?a:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)"
"""How a class of another package is written: `package.module:Class`."""

MAX_FILES = 10_000
"""More payload files than any model folder has; a manifest naming more is refused."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that RFC 8785 can write (ECMAScript's Number.MAX_SAFE_INTEGER)."""
