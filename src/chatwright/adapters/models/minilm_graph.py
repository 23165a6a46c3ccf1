"""The network of all-MiniLM-L6-v2 as we run it: written anew, at load time, around the weights of the installed model file.

The file's own graph widens its int8 weights to floats and multiplies floats. Here the weights stay bytes, and so do the
activations while they are multiplied: a token's row is divided by its largest value (or by what its values cannot exceed) and
rounded to a byte, what the rounding left is rounded to a second byte, and two products of bytes, exact in whole numbers, give
one that is as good as a product of floats (vectors agree to six digits) in half of its time. A row's rounding does not
look at other rows, so a text's vector does not depend on its batch.

Called by `minilm.py`. Why and how fast: docs/decisions/0034-encoder-in-bytes.md.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.adapters.models.onnx_wire import MICROSOFT, Graph, read_weights

LAYERS = 6
WIDTH = 384
HEADS = 12
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("sums", "largest")
"""`sums`: (texts, 6, 384), after each layer the sum over a text's tokens. `largest`: (texts, 384), of the last layer."""

_EPSILON = 1e-12
_HALF = (
    128  # the zero of a rounded activation: bytes without a sign times bytes with one is what processors are good at
)
_CPU_FLAGS = Path("/proc/cpuinfo")

_Weights = Mapping[str, NDArray[Any]]
_Matrix = tuple[NDArray[np.int8], NDArray[np.float32]]
"""int8 (inputs, outputs), and the scale of each output."""
_Linear = Callable[[Graph, str, _Matrix, str, float | None], str]
"""Puts values times a matrix into the graph, under a name; told what the values do not exceed, if that is known."""


def multiplies_bytes() -> bool:
    """Whether this processor adds up products of bytes without cutting them off in between.

    x86 before VNNI adds two products in 16 bits, which overflow: there the floats are right and about as fast.
    """
    try:
        flags = _CPU_FLAGS.read_text("utf-8", errors="replace").replace("\n", " ").split(" ")
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


def rewrite(model: bytes, *, in_bytes: bool) -> bytes:
    """The file's weights in our graph, as a serialised ONNX model: INPUTS to OUTPUTS.

    `in_bytes` False multiplies floats, on any processor. Raises ValueError or KeyError if the file is of another make.
    """
    weights = read_weights(model)
    matrices = [name.removesuffix("_q") for name in weights if name.startswith("val_") and name.endswith("_q")]
    if len(matrices) != 6 * LAYERS:
        raise ValueError(f"the model file has {len(matrices)} matrices instead of {6 * LAYERS}")
    graph = Graph()
    tokens = _embed(graph, weights)
    graph.node("Cast", ["attention_mask"], "heeded", to=6)
    graph.node("Cast", ["attention_mask"], "real", to=1)
    graph.node("Unsqueeze", ["real", graph.constant("middle", np.array([1]))], "summing")
    linear = _multiply_bytes if in_bytes else _multiply_floats
    sums: list[str] = []
    for number in range(LAYERS):
        named = matrices[
            6 * number : 6 * number + 6
        ]  # in the order of the network: query, key, value, output, up, down
        tokens = _layer(graph, weights, tokens, number, [_matrix(weights, name) for name in named], linear)
        sums.append(graph.node("MatMul", ["summing", tokens], f"sum_{number}"))
    graph.node("Concat", sums, "sums", axis=1)
    _take_largest(graph, tokens)
    return graph.serialise(INPUTS, OUTPUTS)


def _matrix(weights: _Weights, name: str) -> _Matrix:
    return weights[name + "_q"], weights[name + "_scale"].reshape(-1)


def _embed(graph: Graph, weights: _Weights) -> str:
    """What each token is, plus where it stands. All tokens are of segment 0."""
    rows, scales = (
        weights["inner.embeddings.word_embeddings.weight_q"],
        weights["inner.embeddings.word_embeddings.weight_scale"],
    )
    places = weights["inner.embeddings.position_embeddings.weight_q"].astype(np.float32)
    places = places * weights["inner.embeddings.position_embeddings.weight_scale"]
    places = places + weights["inner.embeddings.token_type_embeddings.weight"][0]
    graph.node("Gather", [graph.constant("words", rows), "input_ids"], "word_bytes")
    graph.node("Cast", ["word_bytes"], "word_floats", to=1)
    graph.node("Gather", [graph.constant("word_scales", scales), "input_ids"], "word_scale")
    graph.node("Mul", ["word_floats", "word_scale"], "word")
    graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    first = graph.constant("first", np.array([0]))
    graph.node("Slice", [graph.constant("places", places), first, "length", first], "place")
    graph.node("Add", ["word", "place"], "embedded")
    return _normalise(graph, weights, "embedded", "embeddings.LayerNorm", "tokens")


def _layer(graph: Graph, weights: _Weights, tokens: str, number: int, matrices: list[_Matrix], linear: _Linear) -> str:
    def bias(of: str) -> str:
        return graph.constant(f"{of}_{number}", weights[f"inner.encoder.layer.{number}.{of}.bias"])

    def add_up(values: str, of: str, beside: str, name: str) -> str:
        graph.node("Add", [values, bias(f"{of}.dense")], f"{name}_shifted")
        graph.node("Add", [f"{name}_shifted", beside], f"{name}_sum")
        return _normalise(graph, weights, f"{name}_sum", f"encoder.layer.{number}.{of}.LayerNorm", name)

    three, (output, up, down) = matrices[:3], matrices[3:]
    asked = np.concatenate([matrix for matrix, _ in three], axis=1), np.concatenate([scale for _, scale in three])
    asking = [weights[f"inner.encoder.layer.{number}.attention.self.{part}.bias"] for part in ("query", "key", "value")]
    parts = [f"{part}_{number}" for part in ("query", "key", "value")]
    before = f"encoder.layer.{number - 1}.output.LayerNorm" if number else "embeddings.LayerNorm"
    both = linear(graph, tokens, asked, f"asked_{number}", _limit(weights, before))
    graph.node("Split", [both, graph.constant("thirds", np.array([WIDTH] * 3))], *parts, axis=-1)
    graph.node(
        "MultiHeadAttention", [*parts, graph.constant(f"asking_{number}", np.concatenate(asking)), "heeded"],
        f"attended_{number}", domain=MICROSOFT, num_heads=HEADS,
    )  # fmt: skip
    attended = linear(graph, f"attended_{number}", output, f"output_{number}", None)
    between = add_up(attended, "attention.output", tokens, f"between_{number}")
    norm = _limit(weights, f"encoder.layer.{number}.attention.output.LayerNorm")
    wide = linear(graph, between, up, f"up_{number}", norm)
    bent = graph.node("BiasGelu", [wide, bias("intermediate.dense")], f"bent_{number}", domain=MICROSOFT)
    return add_up(linear(graph, bent, down, f"down_{number}", None), "output", between, f"tokens_{number}")


def _normalise(graph: Graph, weights: _Weights, values: str, of: str, name: str) -> str:
    factors = [graph.constant(f"{of}.{part}", weights[f"inner.{of}.{part}"]) for part in ("weight", "bias")]
    return graph.node("LayerNormalization", [values, *factors], name, epsilon=_EPSILON, axis=-1)


def _multiply_floats(graph: Graph, values: str, matrix: _Matrix, name: str, _: float | None) -> str:
    rows, scales = matrix
    return graph.node("MatMul", [values, graph.constant(f"{name}_weights", rows * scales)], name)


def _multiply_bytes(graph: Graph, values: str, matrix: _Matrix, name: str, limit: float | None) -> str:
    """Values times a matrix. `limit` bounds the values' size if that is known; else each row is measured."""
    rows, scales = matrix
    weights, scale = graph.constant(f"{name}_weights", rows), graph.constant(f"{name}_scales", scales)
    zero, step = graph.constant("half", np.array(_HALF, np.uint8)), (limit or 1.0) / 127
    coarse = graph.constant(f"{name}_step", np.float32(step))
    fine = graph.constant(f"{name}_fine_step", np.float32(step / 254))  # rounding leaves half a step on either side
    part = values if limit else _divide_by_largest(graph, values, name)
    graph.node("QuantizeLinear", [part, coarse, zero], f"{name}_rounded")
    graph.node("DequantizeLinear", [f"{name}_rounded", coarse, zero], f"{name}_kept")
    graph.node("Sub", [part, f"{name}_kept"], f"{name}_left")
    graph.node("QuantizeLinear", [f"{name}_left", fine, zero], f"{name}_left_rounded")
    kind = "MatMulIntegerToFloat"
    graph.node(kind, [f"{name}_rounded", weights, coarse, scale, zero], f"{name}_most", domain=MICROSOFT)
    graph.node(kind, [f"{name}_left_rounded", weights, fine, scale, zero], f"{name}_rest", domain=MICROSOFT)
    if limit:
        return graph.node("Add", [f"{name}_most", f"{name}_rest"], name)
    graph.node("Add", [f"{name}_most", f"{name}_rest"], f"{name}_both")
    return graph.node("Mul", [f"{name}_both", f"{name}_top"], name)


def _divide_by_largest(graph: Graph, values: str, name: str) -> str:
    graph.node("Abs", [values], f"{name}_sizes")
    graph.node("ReduceMax", [f"{name}_sizes"], f"{name}_top", axes=[-1], keepdims=1)
    return graph.node("Div", [values, f"{name}_top"], f"{name}_part")


def _limit(weights: _Weights, of: str) -> float:
    """What no normalised value exceeds: of n numbers with variance 1, none is further than sqrt(n - 1) from their mean."""
    weight, bias = (np.abs(weights[f"inner.{of}.{part}"]) for part in ("weight", "bias"))
    return float((weight * math.sqrt(WIDTH - 1) + bias).max())


def _take_largest(graph: Graph, tokens: str) -> None:
    """The largest of each column over a text's own tokens: those of the padding are pushed far below."""
    one, far = graph.constant("one", np.float32(1)), graph.constant("far", np.float32(-1e9))
    graph.node("Sub", [one, "real"], "padding")
    graph.node("Mul", ["padding", far], "depth")
    graph.node("Unsqueeze", ["depth", graph.constant("last", np.array([2]))], "pushed")
    graph.node("Add", [tokens, "pushed"], "held")
    graph.node("ReduceMax", ["held"], "largest", axes=[1], keepdims=0)
