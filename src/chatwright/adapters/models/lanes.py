"""Threads that run the local models, off the event loop, and the order in which texts reach them.

One `Lanes` per process, shared by all its models: a second model adds no threads. Each lane runs one batch of one model
at a time on its own thread:

- query lanes take single texts. A free lane starts at once on whatever waits; texts that arrive while all lanes are busy
  form the next batch. So a lone query is never held back to wait for company, and under load batches grow by themselves.
- bulk lanes, as many, take documents, a few passages at a time, in turn between models and between callers. Their threads
  run at a lower operating-system priority, so that indexing yields the CPU to visitors and to the event loop.

Called by `minilm.py` and `multilingual.py`; `local.py` opens and closes it.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from chatwright.adapters.models.embedder import ModelUnavailable, Vectors

BULK_NICENESS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a batch is done by: texts of two works never share one.

    `run` is called on a lane's thread and returns one row of `dimension` floats a text. A batch holds at most `texts`,
    and texts × the longest of them at most `characters` (a text longer than that goes alone).
    """

    run: Callable[[list[str]], Vectors]
    dimension: int
    texts: int = 8
    characters: int = 1_200


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
    """A thread pool of one priority and the requests that wait for it, by work; the work whose turn it is comes first."""

    name: str
    threads: int
    executor: ThreadPoolExecutor
    busy: int = 0
    waiting: dict[Work, deque[_Request]] = field(default_factory=dict[Work, "deque[_Request]"])


class Lanes:
    """`threads` query lanes (at most one per CPU that this process may use) and as many bulk lanes. For one event loop.

    What waits is bounded by its callers: every request is an awaiting task.
    """

    def __init__(self, threads: int, *, close_timeout_s: float = 5.0) -> None:
        threads = max(1, min(threads, _cpu_count()))
        self._close_timeout_s = close_timeout_s
        self._closed = False
        self._running: set[asyncio.Future[Vectors]] = set()
        self._query = _Lane("query", threads, _threads("embed-query", threads, None))
        self._bulk = _Lane("bulk", threads, _threads("embed-bulk", threads, _yield_cpu))

    async def embed(self, work: Work, texts: Sequence[str], *, bulk: bool) -> Vectors:
        """Have `texts` embedded: shape (len(texts), work.dimension), in the order of `texts`.

        Raises ModelUnavailable once closed, and what `work.run` raises. A cancelled call gives up what has not started.
        """
        if self._closed:
            raise ModelUnavailable("the embedder is closed")
        vectors: Vectors = np.empty((len(texts), work.dimension), np.float32)
        if not texts:
            return vectors
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        lane = self._bulk if bulk else self._query
        lane.waiting.setdefault(work, deque()).append(_Request(texts, vectors, future, deque(order), len(texts)))
        self._dispatch(lane)
        return await future

    def _dispatch(self, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        while lane.busy < lane.threads and (taken := _take(lane)):
            work, batch = taken
            lane.busy += 1
            running = loop.run_in_executor(lane.executor, work.run, [request.texts[index] for request, index in batch])
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

    async def close(self) -> None:
        """Stop the threads: batches that run end (each well under a second), what waits fails."""
        self._closed = True
        for lane in (self._query, self._bulk):
            for request in [request for requests in lane.waiting.values() for request in requests]:
                if not request.future.done():
                    request.future.set_exception(ModelUnavailable("the embedder was closed"))
            lane.waiting.clear()
            lane.executor.shutdown(wait=False, cancel_futures=True)
        if self._running:
            await asyncio.wait(self._running, timeout=self._close_timeout_s)


def _take(lane: _Lane) -> tuple[Work, list[tuple[_Request, int]]] | None:
    """Take the lane's next batch; None if nothing waits. A work that still has requests goes to the back."""
    while lane.waiting:
        work, requests = next(iter(lane.waiting.items()))
        del lane.waiting[work]
        batch = _fill(work, requests)
        if requests:
            lane.waiting[work] = requests
        if batch:
            return work, batch
    return None


def _fill(work: Work, requests: deque[_Request]) -> list[tuple[_Request, int]]:
    """A batch of one work: texts of the oldest request, then of the next ones while they fit beside them.

    A request that still has texts goes to the back, so a document of 500 passages and one of 3 take turns.
    """
    batch: list[tuple[_Request, int]] = []
    longest = 0
    while requests:
        request = requests.popleft()
        if request.future.done():  # cancelled, or failed in an earlier batch
            continue
        taken_before = len(batch)
        while request.waiting and len(batch) < work.texts:
            size = max(longest, min(len(request.texts[request.waiting[0]]), work.characters))
            if batch and size * (len(batch) + 1) > work.characters:
                break
            longest = size
            batch.append((request, request.waiting.popleft()))
        if request.waiting:
            if len(batch) > taken_before:
                requests.append(request)
            else:
                requests.appendleft(request)  # it got nothing, so it leads the next batch
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
