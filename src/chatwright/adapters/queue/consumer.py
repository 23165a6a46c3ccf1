"""The worker loop: takes jobs, runs a handler for each, tells BullMQ how they ended.

Called by the job dispatcher, one consumer a process, serving every queue. BullMQ's own Lua scripts move the jobs, so
dashboards and workers in other languages see nothing unusual; the loop around them is ours (docs/decisions/0004).

Tasks, all children of `run`: the pump (one round trip tells what ended and fetches what is next), one listener a
queue (blocks on BullMQ's marker while there is room), the keeper (locks and stalled jobs), one task a job.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from chatwright.adapters.queue.connection import TRANSIENT, connect, disconnect, pause_after, raise_if_cancelled
from chatwright.adapters.queue.jobs import ConsumerHealth, Finish, Outcome, QueuedJob, decode_job
from chatwright.adapters.queue.lane import Lane, Running, Slots, Turn, after_fault, finish_of, give_back
from chatwright.adapters.queue.names import QUEUES, QueueSpec
from chatwright.adapters.queue.scripts import Call, base_key, load, pack, run_all, stock

Handler = Callable[[QueuedJob], Awaitable[Outcome]]

_BLOCK_S = 1.0  # longest wait for a marker; also how long a lost marker can go unnoticed
_OUT_OF_TOUCH_S = 5.0
_UNWIND_S = 5.0  # time a cancelled handler has to end before its job is handed back regardless
_MOST_STALLS = 1_000_000_000  # a stall is the worker's death, not the job's fault: attempts are counted elsewhere

log = structlog.stdlib.get_logger(__name__)


class Consumer:
    """Runs jobs of `queues`, at most `concurrency` at once, `high_priority_reserve` of them kept for reserved queues.

    `tenant_in_flight_cap` bounds the jobs of one tenant that run here at once, over all queues (0: no bound); jobs of
    other tenants pass those that wait for it. A job's lock lasts `lock_duration_s` and is renewed four times as often;
    a dead worker's jobs run again within `lock_duration_s + stalled_interval_s`. Raises ValueError for impossible
    numbers.
    """

    def __init__(
        self,
        *,
        url: str,
        queues: Sequence[QueueSpec] = tuple(QUEUES.values()),
        concurrency: int,
        high_priority_reserve: int,
        tenant_in_flight_cap: int,
        lock_duration_s: float = 2.0,
        stalled_interval_s: float = 1.0,
        prefix: str = "bull",
        command_timeout_s: float = 2.0,
    ) -> None:
        if lock_duration_s <= 0 or stalled_interval_s <= 0 or tenant_in_flight_cap < 0:
            raise ValueError("lock and stalled interval must be positive, the tenant cap not negative")
        self._lanes = [Lane(spec, base_key(prefix, spec.name)) for spec in queues]
        self._slots = Slots(self._lanes, concurrency=concurrency, reserve=high_priority_reserve)
        self._cap = tenant_in_flight_cap
        self._lock_ms = int(lock_duration_s * 1000)
        self._tick_s = min(lock_duration_s / 4, stalled_interval_s / 2)
        self._timeout_s = command_timeout_s
        self._name = f"chatwright-worker-{os.getpid()}"
        self._token = os.urandom(8).hex()
        self._turns = 0
        self._client = connect(url, timeout_s=command_timeout_s, name=self._name)
        # its socket must outlive the block, or every idle second would look like an outage
        self._blocking = connect(url, timeout_s=_BLOCK_S + command_timeout_s, name=f"{self._name}-wait")
        self._busy: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()
        self._ended = asyncio.Event()
        self._state = "new"  # new -> running -> stopping -> ended
        self._leaving = False
        self._flush_until = float("inf")
        self._contact_at = float("-inf")
        self._pumped_at = float("-inf")
        self._fetch_errors = 0
        self._handle: Handler | None = None
        self._group: asyncio.TaskGroup | None = None

    async def run(self, handle: Handler) -> None:
        """Serve until `stop` or cancellation. Outages of Valkey are waited out; nothing a handler does ends the loop.

        A handler that raises is retried with the queue's backoff, at most `attempts` times. On cancellation running
        handlers are cancelled and their jobs handed back, as far as Valkey takes them within a second.
        """
        if self._state != "new":
            raise RuntimeError("a consumer runs once")
        self._state, self._handle = "running", handle
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                helpers = {
                    group.create_task(self._listen(lane), name=f"queue-listen:{lane.spec.name}") for lane in self._lanes
                }
                helpers.add(group.create_task(self._keep(), name="queue-keep"))
                try:
                    await self._pump()
                finally:
                    self._leaving = True  # from here on handlers are cancelled by us
                while helpers:  # more than once: redis-py swallows a cancellation that meets it while it connects
                    for helper in helpers:
                        helper.cancel()
                    _, helpers = await asyncio.wait(helpers, timeout=0.1)
        finally:
            await self._close()

    async def stop(self, *, grace_s: float) -> None:
        """Fetch nothing more, wait up to `grace_s` for running handlers, then cancel them and hand their jobs back.

        Handed-back jobs are at the head of the queue at once, for any other worker. Returns when `run` is over, or a
        few seconds later if a handler refuses to end.
        """
        if self._state == "new":
            self._state = "ended"
            await self._close()
            return
        if self._state == "running":
            self._state = "stopping"
            self._kick()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._ended.wait()
                return
        for running in self._all_running():
            running.returning = True
            if running.task is not None:
                running.task.cancel("the worker is stopping")
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNWIND_S):
                await self._emptied.wait()
        self._flush_until = time.monotonic() + self._timeout_s  # handlers are done: Valkey has this long to hear of it
        for running in self._all_running():
            log.error("job.handler_refuses_to_end", job_id=running.job.id, queue=running.job.queue)
            self._end(running, running.finish("r"))
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * self._timeout_s):
                await self._ended.wait()

    def health(self) -> ConsumerHealth:
        """What /health/ready asks: does this worker consume?"""
        age_s = time.monotonic() - min(self._contact_at, self._pumped_at)
        running = self._state in ("running", "stopping")
        return ConsumerHealth(
            running=running,
            consuming=self._state == "running" and age_s < _OUT_OF_TOUCH_S,
            last_poll_age_s=age_s,
            in_flight=sum(len(lane.running) for lane in self._lanes),
            fetch_errors=self._fetch_errors,
        )

    # --- the pump

    async def _pump(self) -> None:
        failures = 0
        while not self._drained():
            raise_if_cancelled()
            self._pumped_at = time.monotonic()
            self._wake.clear()
            turns = self._slots.plan(fetch=self._state == "running")
            if not turns:
                self._rest()
                await self._wake.wait()
                continue
            try:
                async with asyncio.timeout(self._timeout_s):
                    replies = await run_all(self._client, [self._call(turn) for turn in turns])
            except TRANSIENT as error:
                failures += 1
                self._note_failure("queue.round_trip_failed", error, failures)
                give_back(turns)
                raise_if_cancelled()
                await pause_after(failures)
                continue
            except asyncio.CancelledError:
                give_back(turns)
                raise
            failures = 0
            self._contact_at = time.monotonic()
            for turn, reply in zip(turns, replies, strict=True):
                self._apply(turn, reply)

    def _drained(self) -> bool:
        if self._state != "stopping" or any(lane.running for lane in self._lanes):
            return False
        self._emptied.set()
        return not any(lane.finishes for lane in self._lanes) or time.monotonic() > self._flush_until

    def _rest(self) -> None:
        for lane in self._lanes:
            if self._state == "running" and self._slots.room(lane):
                lane.listen.set()
            else:
                lane.maybe = True  # nobody listens now: look again as soon as there is room

    def _call(self, turn: Turn) -> Call:
        self._turns += 1
        request = {
            "f": [finish.wire() for finish in turn.finishes],
            "k": [turn.lane.spec.keep_completed, turn.lane.spec.keep_failed],
            "n": turn.wanted,
            "l": self._lock_ms,
            "t": f"{self._token}:{self._turns}",
            "w": self._name,
            "c": self._cap,
            "b": self._busy if self._cap and turn.wanted else {},
        }
        return load("cycle"), (turn.lane.base,), (pack(request), *(finish.raw_id for finish in turn.finishes))

    def _apply(self, turn: Turn, reply: Any) -> None:
        codes, jobs, due_ms, more, capped = reply
        lane = turn.lane
        for finish, code in zip(turn.finishes, codes, strict=True):
            if code in (-4, -9) and finish.kind == "c":
                # a parent of a foreign flow whose children are not done: it cannot complete
                lane.finishes.append(replace(finish, kind="f", text="the job has unfinished children"))
            elif code != 0:
                # -1 gone, -2 and -6 not ours any more, -3 not active: somebody else decides about it
                log.info("job.finish_ignored", job_id=finish.raw_id.decode(errors="replace"), code=str(code))
        if turn.wanted:
            lane.capped = capped == 1
            # what happened during the round trip stays noted: a marker, or the end of a job that a capped one waits for
            lane.maybe = lane.maybe or more == 1 or (lane.capped and turn.ends != self._slots.ends)
            self._look_again_in(lane, -more / 1000 if more < 0 else due_ms / 1000 if due_ms >= 0 else None)
        for raw_id, token, items in jobs:
            self._start(lane, raw_id, token.decode(), items)

    def _look_again_in(self, lane: Lane, delay_s: float | None) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        if delay_s is not None and delay_s < _BLOCK_S:  # else the listener's own poll comes first
            # half a millisecond late rather than a touch early, which would cost a second look
            lane.timer = asyncio.get_running_loop().call_later(delay_s + 0.0005, self._kick, lane)

    def _kick(self, lane: Lane | None = None) -> None:
        if lane is not None:
            lane.maybe = True
        self._wake.set()

    # --- one job

    def _start(self, lane: Lane, raw_id: bytes, token: str, items: Sequence[bytes]) -> None:
        job, problem = decode_job(lane.spec.name, raw_id, items)
        if problem:
            log.warning("job.unreadable", job_id=job.id, queue=job.queue, reason=problem)
            lane.finishes.append(Finish("f", raw_id, token, problem, started=job.started))
            self._kick(lane)  # it may have counted towards a tenant's cap
            return
        assert self._group is not None
        running = Running(job, raw_id, token, lane)
        lane.running[token] = running
        self._busy[job.tenant_id] += 1
        running.task = self._group.create_task(self._run_one(job, lane.spec), name=f"job:{job.id}")
        running.task.add_done_callback(lambda task: self._ended_one(running, task))

    async def _run_one(self, job: QueuedJob, spec: QueueSpec) -> Outcome | Exception:
        assert self._handle is not None
        try:
            async with asyncio.timeout(spec.timeout_s):
                return await self._handle(job)
        except Exception as error:  # the one place where whatever a handler raised becomes a retry
            log.exception("job.handler_raised", job_id=job.id, queue=job.queue, job_type=job.type)
            return error

    def _ended_one(self, running: Running, task: "asyncio.Task[Outcome | Exception]") -> None:
        if running.lost:
            self._end(running, None)
        elif task.cancelled():
            # by us: hand back. By itself, which must not end the worker: a fault of the handler like any other
            ours = running.returning or self._leaving
            finish = running.finish("r") if ours else after_fault(running, "CancelledError")
            self._end(running, finish)
        elif task.exception() is not None:  # KeyboardInterrupt, SystemExit: the task group ends everything
            self._end(running, running.finish("r"))
        else:
            self._end(running, finish_of(running, task.result()))

    def _end(self, running: Running, finish: Finish | None) -> None:
        lane = running.lane
        if lane.running.pop(running.token, None) is None:
            return
        tenant = running.job.tenant_id
        self._busy[tenant] -= 1
        if self._busy[tenant] <= 0:
            del self._busy[tenant]
        if finish is not None:
            lane.finishes.append(finish)
        self._slots.ends += 1
        for each in self._lanes:
            each.maybe = each.maybe or each.capped
        self._wake.set()

    def _all_running(self) -> list[Running]:
        return [running for lane in self._lanes for running in lane.running.values()]

    # --- listening, locks, closing

    async def _listen(self, lane: Lane) -> None:
        """Block on the queue's marker whenever the pump rests and there is room. Never returns."""
        failures = 0
        while True:
            raise_if_cancelled()
            await lane.listen.wait()
            if not self._slots.room(lane):
                lane.listen.clear()
                continue
            try:
                async with asyncio.timeout(_BLOCK_S + self._timeout_s):
                    marker = await self._blocking.execute_command("BZPOPMIN", lane.base + "marker", _BLOCK_S)
                    if marker is not None and not self._slots.room(lane):
                        # slots filled up while we waited: leave the marker to a worker that has room
                        await self._client.execute_command("ZADD", lane.base + "marker", 0, "0")
                self._contact_at = time.monotonic()
                failures = 0
            except TRANSIENT as error:
                failures += 1
                self._note_failure("queue.listen_failed", error, failures)
                raise_if_cancelled()
                await pause_after(failures)
            lane.listen.clear()
            self._kick(lane)

    async def _keep(self) -> None:
        """Renew the locks of running jobs and look for jobs of dead workers, all queues in one round trip."""
        failures = 0
        while True:
            raise_if_cancelled()
            await asyncio.sleep(self._tick_s)
            held = [(lane, list(lane.running.values())) for lane in self._lanes if lane.running]
            calls: list[Call] = [(load("renew"), (lane.base,), self._renewal(jobs)) for lane, jobs in held]
            calls += [self._stalled_check(lane) for lane in self._lanes]
            try:
                async with asyncio.timeout(self._timeout_s):
                    replies = await run_all(self._client, calls)
                self._contact_at = time.monotonic()
                failures = 0
            except TRANSIENT as error:
                failures += 1
                self._note_failure("queue.keep_failed", error, failures)
                continue
            for (_, jobs), codes in zip(held, replies, strict=False):
                for running, code in zip(jobs, codes, strict=True):
                    if code in (-2, -6):
                        self._lose(running)
            self._wake.set()

    def _renewal(self, jobs: Sequence[Running]) -> tuple[bytes, ...]:
        request = {"l": self._lock_ms, "j": [[each.token, each.job.started] for each in jobs]}
        return (pack(request), *(each.raw_id for each in jobs))

    def _stalled_check(self, lane: Lane) -> Call:
        names = ("stalled", "wait", "active", "stalled-check", "meta", "paused", "marker", "events", "repeat")
        # the check key ends a bit before the next tick, or two workers' clocks would skip every other check
        arguments = (_MOST_STALLS, lane.base, int(time.time() * 1000), int(self._tick_s * 800))
        return stock("moveStalledJobsToWait"), tuple(lane.base + name for name in names), arguments

    def _lose(self, running: Running) -> None:
        if running.token not in running.lane.running or running.lost:
            return  # it ended while the renewal was on its way
        log.warning("job.lock_lost", job_id=running.job.id, queue=running.job.queue)
        running.lost = True
        if running.task is not None:
            running.task.cancel("lock lost: another worker owns this job")

    def _note_failure(self, event: str, error: Exception, failures: int) -> None:
        self._fetch_errors += 1
        for lane in self._lanes:
            lane.maybe = True
        if failures in (1, 10) or failures % 60 == 0:
            log.warning(event, error=type(error).__name__, detail=str(error)[:200], failures=failures)

    async def _close(self) -> None:
        self._state = "ended"
        for lane in self._lanes:
            if lane.timer is not None:
                lane.timer.cancel()
        with suppress(*TRANSIENT):
            async with asyncio.timeout(1.0):
                while calls := [
                    self._call(Turn(lane, lane.take_finishes(), 0)) for lane in self._lanes if lane.finishes
                ]:
                    await run_all(self._client, calls)
        await disconnect(self._client)
        await disconnect(self._blocking)
        self._emptied.set()
        self._ended.set()
