"""The measured window of a load, and what the watched processes used in it."""

import asyncio
import time
from types import TracebackType

from bench.load.plan import Plan, Result
from bench.machine import cpu_s, memory, waited_s


class Window:
    """From the end of the warm-up to the end of the load, on `time.perf_counter`."""

    def __init__(self, plan: Plan) -> None:
        self._pids = plan.watch_pids
        self._rest = plan.rest_pids
        self.start_s = time.perf_counter() + plan.warm_s
        self.end_s = self.start_s + plan.duration_s

    async def read(self, result: Result) -> None:
        """Sleep through the window and write its length and the CPU time in it into `result`."""
        await asyncio.sleep(self.start_s - time.perf_counter())
        began, watched, own = time.perf_counter(), cpu_s(self._pids), time.process_time()
        rest = cpu_s(self._rest)
        waited, rest_waited = waited_s(self._pids), waited_s(self._rest)
        await asyncio.sleep(self.end_s - time.perf_counter())
        result.window_s = time.perf_counter() - began
        result.watched_cpu_s = cpu_s(self._pids) - watched
        result.rest_cpu_s = cpu_s(self._rest) - rest
        result.watched_waited_s = waited_s(self._pids) - waited
        result.rest_waited_s = waited_s(self._rest) - rest_waited
        result.own_cpu_s = time.process_time() - own


class Peak:
    """Reads the watched processes' memory twice a second while the block runs: growth from its start to the peak."""

    def __init__(self, plan: Plan, result: Result) -> None:
        self._pids = plan.watch_pids
        self._result = result
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._began_s = time.perf_counter()
        self._cpu_s = cpu_s(self._pids)
        self._own_cpu_s = time.process_time()
        self._before = memory(self._pids)
        self._task = asyncio.create_task(self._watch(), name="load.peak")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        self._look()
        self._result.window_s = time.perf_counter() - self._began_s
        self._result.watched_cpu_s = cpu_s(self._pids) - self._cpu_s
        self._result.own_cpu_s = time.process_time() - self._own_cpu_s

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._look()

    def _look(self) -> None:
        now = memory(self._pids)
        self._result.rss_growth = max(self._result.rss_growth, now.rss - self._before.rss)
        self._result.pss_growth = max(self._result.pss_growth, now.pss - self._before.pss)
