"""Makes a graph whose matrices are 8-bit integers, by onnxruntime's own quantiser.

Activations are quantised at run time, so that nothing has to be calibrated. Matrices have a scale
for each column and use 7 of the 8 bits: on processors without VNNI the sums of full ones overflow
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import safetensors.numpy
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from pairlock.manifest.format import STORED_WEIGHTS
from pairlock_flavors.packaging.graphs.binding import WeightFiles, bind, find_weights, shorten
from pairlock_flavors.packaging.graphs.compiling import Graph, Source
from pairlock_flavors.packaging.graphs.exporting import export, quiet
from pairlock_flavors.packaging.graphs.refusal import NotExportedError


def quantized_graph(source: Source, whole: SentenceTransformer, target: Path) -> Graph:
    """Export a pipeline and quantise its matrices; what is quantised is written beside the graph.

    Args:
        source: what the graph is made of.
        whole: the pipeline with a PEFT adapter added to its weights; else the bare one.
        target: where the quantised weights are written.

    Returns:
        The graph.

    Raises:
        NotExportedError: it cannot be exported, or has no matrices to quantise.
    """
    exported, inputs = export(whole)
    model = _quantized(exported)
    shorten(model)
    stored: dict[str, NDArray[Any]] = {}
    files = WeightFiles(source.folders)
    weights = find_weights(model, files, stored)
    if not any(array.dtype == np.int8 for array in stored.values()):
        raise NotExportedError("it has no matrix that could be quantised")
    target.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(stored, target / STORED_WEIGHTS)
    derived = bind(model, weights, {}, files)
    return Graph(model=model, inputs=inputs, derived=derived, precision="int8")


def _quantized(exported: ir.Model) -> ir.Model:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="pairlock-") as name, quiet():
        source, target = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        ir.save(exported, source, external_data="float32.data")
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        made: ir.Model = ir.from_proto(onnx.load(target))
        return made
