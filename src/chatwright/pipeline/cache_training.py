"""The routers of the semantic caches, trained anew from what was learned since. A task of every worker.

One process trains one chatbot's router at a time, held by a lease in its row; who dies with it leaves it to the next. It
runs on a thread of low priority, one at a time in a process, so that answers and the event loop come first.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from chatwright.domain.errors import ChatwrightError, NotFound
from chatwright.domain.scope import Scope
from chatwright.features.cache import CachePolicy
from chatwright.features.cache.checks import error_bound
from chatwright.features.cache.router import NONE, Example, Router, train
from chatwright.features.cache.router_store import (
    LearnedText,
    count_classes,
    give_back,
    keep_router,
    list_due,
    list_examples,
    take,
    trim,
)
from chatwright.pipeline.cache_checks import tell_changed
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
POLL_S = 0.4
LEASE_S = 300.0
AT_ONCE = 20
"""Chatbots taken from the line in one pass."""
NICENESS = 15
LEAST_CLASSES = 2


async def train_forever(app: Services, *, poll_s: float = POLL_S) -> None:
    """Train what is due until cancelled. A pass that fails is logged; the next one tries again."""
    with _trainer() as threads:
        while True:
            trained = 0
            try:
                trained = await train_due(app, threads)
            except (ChatwrightError, TimeoutError) as error:
                _log.warning("cache.training_failed", error=str(error))
            except Exception:  # noqa: BLE001 - the next pass may do better, and answers need none
                _log.exception("cache.training_failed")
            # What came in while one was trained is due at once; with nothing to do the database is left in peace.
            await asyncio.sleep(poll_s / 10 if trained else poll_s)


async def train_due(app: Services, threads: ThreadPoolExecutor | None = None) -> int:
    """Train the routers that are due. Returns how many were trained."""
    async with app.db.operator() as db:
        scopes = await list_due(db, limit=AT_ONCE)
    trained = 0
    for scope in scopes:
        trained += await train_one(app, scope, threads)
    return trained


async def train_one(app: Services, scope: Scope, threads: ThreadPoolExecutor | None = None) -> bool:
    """Train one chatbot's router. Returns False if somebody else is at it, or there is too little to tell apart."""
    assert scope.chatbot_id is not None
    try:
        chatbot = await app.chatbots.get(scope, scope.chatbot_id)
    except NotFound:
        return False
    async with app.db.transaction(scope) as db:
        taken = await take(db, scope, lease_s=LEASE_S)
    if taken is None:
        return False
    began_s = time.perf_counter()
    async with app.db.transaction(scope) as db:
        gone = await trim(db, scope)
        texts = await list_examples(db, scope)
        classes = await count_classes(db, scope)
    app.metrics.cache_classes.labels(app.metrics.tenant(scope.tenant_id), app.metrics.chatbot(scope.chatbot_id)).set(
        classes
    )
    if len({text.label for text in texts if text.label is not None}) < LEAST_CLASSES:
        async with app.db.transaction(scope) as db:
            await give_back(db, scope, labels=taken.labels)
        return False
    max_error = error_bound(CachePolicy.of(chatbot.cache_policy).max_error, taken.strictness)
    router, data = await asyncio.get_running_loop().run_in_executor(threads, _train, texts, max_error)
    async with app.db.transaction(scope) as db:
        await keep_router(
            db,
            scope,
            data,
            labels=taken.labels,
            examples=len(texts),
            max_error=max_error,
            threshold=router.threshold,
            figures={
                "coverage": round(router.coverage, 4),
                "classes": classes,
                "took_s": round(time.perf_counter() - began_s, 3),
                "evicted": len(gone),
            },
        )
    app.metrics.cache_training_seconds.observe(time.perf_counter() - began_s)
    await tell_changed(app, scope)
    return True


def _train(texts: Sequence[LearnedText], max_error: float) -> tuple[Router, bytes]:
    examples = [
        Example(
            text=text.text,
            vector=text.vector,
            label=NONE if text.label is None else text.label,
            weight=text.weight,
            given=text.given,
        )
        for text in texts
    ]
    router = train(examples, max_error=max_error)
    return router, router.to_bytes()


@contextlib.contextmanager
def _trainer() -> Generator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(1, thread_name_prefix="cache-training", initializer=_yield_cpu)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _yield_cpu() -> None:
    """Lower the calling thread's priority. Linux only: elsewhere niceness belongs to the whole process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
