"""The worker's door: decodes a queued job, claims its row, calls one flow, and says what becomes of it.

Owns the running tasks by message, so that a cancellation stops the right one at once, and the leases of the rows it
runs. The consumer below it owns slots, locks and retries; PostgreSQL decides what is really to be run.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from chatwright.adapters.queue import Consumer, Done, Failed, Outcome, QueuedJob, RetryLater
from chatwright.domain.errors import ChatwrightError, LostLock, Unavailable
from chatwright.domain.ids import JobId, MessageId, TenantId, is_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.scope import Scope
from chatwright.features import jobs
from chatwright.features.conversations import LoadedTurn, turn_of
from chatwright.pipeline.ending import announce_again, uncut
from chatwright.pipeline.foreign import adopt
from chatwright.pipeline.perform import perform, settle_failure
from chatwright.pipeline.services import Services
from chatwright.pipeline.turns import is_held, was_cancelled

_log = structlog.get_logger(__name__)
_NOTICES_KEPT = 1000
"""Cancellations remembered for jobs that are being claimed just now."""


class Worker:
    """One per process. `run` consumes until cancelled; `stop` lets running answers finish first."""

    def __init__(self, app: Services, consumer: Consumer) -> None:
        self._app = app
        self._consumer = consumer
        # By attempt: a job whose lock was lost may come back here while its earlier attempt still unwinds.
        self._running: dict[tuple[JobId, int], tuple[Job, asyncio.Task[None]]] = {}
        self._asked: deque[MessageId] = deque(maxlen=_NOTICES_KEPT)
        self._prefetching: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consume, keep leases and listen for cancellations, until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._forever(self._keep_leases), name="worker-leases"),
                tasks.create_task(self._forever(self._listen_for_cancels), name="worker-cancels"),
            ]
            try:
                await self._consumer.run(self.handle)
            finally:
                for helper in helpers:
                    helper.cancel()

    async def stop(self, *, grace_s: float) -> None:
        """Take no new job; running ones get `grace_s` seconds, then go back to the queue."""
        await self._consumer.stop(grace_s=grace_s)

    async def handle(self, queued: QueuedJob) -> Outcome:
        """Run one queued job. Raises only CancelledError; every other ending is an Outcome."""
        began = time.time()
        self._app.metrics.queue_wait_seconds.labels(queued.queue).observe(max(0.0, began - queued.enqueued_at_s))
        try:
            claimed = await self._claim(queued)
        except LostLock:
            return Done()
        except Unavailable as error:
            return RetryLater(1.0, error.message)
        except ChatwrightError as error:
            return Failed(f"{error.code}: {error.message}")
        if claimed is None:
            return Done()
        job, turn = claimed
        current = asyncio.current_task()
        assert current is not None
        self._running[job.id, job.attempt] = (job, current)
        if job.message_id in self._asked:
            turn = None  # the notice overtook the claim's reply, and the turn knows nothing of it: load it anew
        try:
            with structlog.contextvars.bound_contextvars(tenant_id=job.scope.tenant_id, job_id=job.id):
                return await self._perform(job, turn)
        finally:
            self._running.pop((job.id, job.attempt), None)

    async def _perform(self, job: Job, turn: LoadedTurn | None) -> Outcome:
        try:
            return Done(await perform(self._app, job, turn))
        except LostLock as error:
            _log.info("job.lost_lock", attempt=job.attempt, reason=error.message)
            return Done()
        except asyncio.CancelledError:
            if await self._has_ended(job):
                return Done()
            raise
        except ChatwrightError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the one place for it: the job's row must still come to an end
            _log.exception("job.crashed", job_type=job.type)
            failure = ChatwrightError(f"an unexpected error: {type(error).__name__}")
        try:
            delay_s = await uncut(settle_failure(self._app, job, failure), name="job-settle")
        except LostLock:
            return Done()
        except ChatwrightError as error:
            return RetryLater(1.0, error.message)
        return Failed(failure.message) if delay_s is None else RetryLater(delay_s, failure.message)

    async def _claim(self, queued: QueuedJob) -> tuple[Job, LoadedTurn | None] | None:
        """Begin an attempt on the row behind a queued job; None when there is nothing to do (any more).

        A chat job brings its turn along: claiming and loading share one transaction and one round trip.
        """
        job_id, generation = queued.data.get("job_id"), queued.data.get("generation")
        tenant_id = queued.tenant_id
        if not isinstance(job_id, str) or not isinstance(generation, int):
            adopted = await adopt(self._app, queued)
            return None if adopted is None else (adopted, None)
        if not is_id(job_id) or not is_id(tenant_id):
            return None
        scope = Scope(tenant_id=TenantId(tenant_id))
        settings = self._app.settings
        chatbot_id = queued.data.get("chatbot_id")
        if isinstance(chatbot_id, str) and is_id(chatbot_id):
            # Into memory while the row is claimed; whether the job may use it is decided by the row.
            self._prefetch(scope, chatbot_id)
        claimed = await jobs.claim_with_turn(
            self._app.db,
            scope,
            JobId(job_id),
            generation=generation,
            lease_s=settings.lease_s,
            history=settings.history_messages,
        )
        if claimed is not None:
            job, turn = claimed
            return job, None if turn is None else turn_of(turn)
        if queued.type == JobType.CHAT_RESPONSE:
            await announce_again(self._app, scope, JobId(job_id))
        return None

    def _prefetch(self, scope: Scope, chatbot_id: str) -> None:
        async def look_up() -> None:
            with suppress(ChatwrightError, TimeoutError):
                await self._app.chatbots.get(scope, chatbot_id)

        task = asyncio.create_task(look_up(), name="worker-prefetch")
        self._prefetching.add(task)
        task.add_done_callback(self._prefetching.discard)

    async def _has_ended(self, job: Job) -> bool:
        """Whether a cancelled task's message came to its end (for the visitor, or just in time): nothing is left to do.
        Else the worker is stopping, and another attempt goes on."""
        current = asyncio.current_task()
        if job.type is not JobType.CHAT_RESPONSE or current is None:
            return False
        try:
            if await uncut(is_held(self._app, job), name="job-is-held"):
                return False
        except ChatwrightError:
            return False
        while current.cancelling():
            current.uncancel()
        return True

    async def _keep_leases(self) -> None:
        lease_s = self._app.settings.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            running = [str(job_id) for job_id, _ in self._running]
            if running:
                async with self._app.db.operator() as db:
                    asked = await jobs.renew_leases(db, running, lease_s=lease_s)
                for job, task in list(self._running.values()):
                    # A notice that Valkey could not carry: PostgreSQL knows. One that unwinds already is left to it.
                    if job.id in asked and not task.cancelling():
                        task.cancel()

    async def _listen_for_cancels(self) -> None:
        async for message_id in self._app.channel.cancels():
            if message_id is not None:
                self._asked.append(message_id)
            for job, task in list(self._running.values()):
                if message_id is None:
                    # Some notices may have been missed: ask PostgreSQL about each running message.
                    if job.message_id is not None and await was_cancelled(self._app, job):
                        task.cancel()
                elif job.message_id == MessageId(message_id):
                    task.cancel()

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (ChatwrightError, TimeoutError) as error:
                _log.warning("worker.helper_failed", helper=work.__name__, error=str(error))
            except Exception:  # noqa: BLE001 - whatever it is, it must not take the running answers with it
                _log.exception("worker.helper_failed", helper=work.__name__)
            await asyncio.sleep(0.5)
