"""The tensors of LlamaIndex's own adapter layers, whichever runtime computes them."""

from __future__ import annotations

from pairlock.manifest import LayerFacts


def layer_shapes(facts: LayerFacts) -> dict[str, tuple[int, ...]]:
    """The exact tensors of a layer, by name.

    From LlamaIndex 0.6 (`embeddings/adapter/utils.py`): a TwoLayerNN ignores `bias` and always has
    biases and a residual weight.
    """
    if facts.class_name == "LinearLayer":
        shapes: dict[str, tuple[int, ...]] = {
            "linear.weight": (facts.out_features, facts.in_features)
        }
        return shapes | ({"linear.bias": (facts.out_features,)} if facts.bias else {})
    hidden = facts.hidden_features or 0
    return {
        "linear1.weight": (hidden, facts.in_features),
        "linear1.bias": (hidden,),
        "linear2.weight": (facts.out_features, hidden),
        "linear2.bias": (facts.out_features,),
        "residual_weight": (1,),
    }
