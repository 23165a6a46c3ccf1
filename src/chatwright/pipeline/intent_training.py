"""Models of custom intents, trained from their examples. A task of every worker.

One process trains one chatbot's model at a time, held by a lease in its row; who dies with it leaves it to the next. The
examples are read by the encoder's bulk lanes, the arithmetic runs on one thread of low priority: answers come first.
"""

import asyncio
import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import structlog

from chatwright.adapters.models import Encoded
from chatwright.domain.errors import ChatwrightError
from chatwright.domain.scope import Scope
from chatwright.features.analysis import intent_store as store
from chatwright.features.analysis.custom import train
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.pipeline.intents import tell_changed
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
LOOK_AGAIN_S = 5.0
"""Without a notice: one may be lost, and a worker that died leaves its lease."""
PAUSE_S = 0.1
LEASE_S = 300.0
AT_ONCE = 20
NICENESS = 15


async def train_intents_forever(app: Services) -> None:
    """Train what is due until cancelled. A pass that fails is logged; the next one tries again."""
    with _trainer() as threads:
        while True:
            app.intents.due.clear()
            trained = 0
            try:
                trained = await train_due_intents(app, threads)
            except (ChatwrightError, TimeoutError) as error:
                _log.warning("intents.training_failed", error=str(error) or type(error).__name__)
            except Exception:  # noqa: BLE001 - the next pass may do better, and answers need none
                _log.exception("intents.training_failed")
            if not trained:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await app.intents.due.wait()
            await asyncio.sleep(PAUSE_S)


async def train_due_intents(app: Services, threads: ThreadPoolExecutor | None = None) -> int:
    """Train the models that are due. Returns how many were."""
    async with app.db.operator() as db:
        scopes = await store.list_due(db, limit=AT_ONCE)
    trained = 0
    for scope in scopes:
        trained += await _train_one(app, scope, threads)
    return trained


async def _train_one(app: Services, scope: Scope, threads: ThreadPoolExecutor | None) -> bool:
    async with app.db.transaction(scope) as db:
        version = await store.take(db, scope, lease_s=LEASE_S)
        if version is None:
            return False
        intents = await store.list_intents(db, scope)
    began_s = time.perf_counter()
    model: bytes | None = None
    figures: dict[str, Any] = {}
    if intents:
        texts = [example for intent in intents for example in intent.examples]
        texts += [spoken(intent.name) for intent in intents]
        encoded = await app.embedder.encode(texts, bulk=True)
        model, figures = await asyncio.get_running_loop().run_in_executor(threads, _train, intents, texts, encoded)
    took_s = time.perf_counter() - began_s
    async with app.db.transaction(scope) as db:
        await store.keep_model(db, scope, model, version=version, figures=figures | {"took_s": round(took_s, 3)})
    _log.info("intents.trained", chatbot_id=scope.chatbot_id, intents=len(intents), took_s=round(took_s, 3))
    await tell_changed(app, scope)
    return True


def spoken(name: str) -> str:
    """A name as words: most say what the intent is about."""
    return " ".join(re.split(r"[_.-]+", name)).strip()


def _train(intents: Sequence[CustomIntent], texts: Sequence[str], encoded: Encoded) -> tuple[bytes, dict[str, Any]]:
    labels = [at for at, intent in enumerate(intents) for _ in intent.examples] + list(range(len(intents)))
    model, quality = train([intent.name for intent in intents], labels, texts, encoded, hints=len(intents))
    return model.to_bytes(), asdict(quality) | {"confusions": [asdict(one) for one in quality.confusions]}


@contextlib.contextmanager
def _trainer() -> Generator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(1, thread_name_prefix="intent-training", initializer=_yield_cpu)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _yield_cpu() -> None:
    """Lower the calling thread's priority. Linux only: elsewhere niceness belongs to the whole process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
