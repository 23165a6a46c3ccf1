"""One running server: start it, notice that it died, start it again, stop it. Called by `run`."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from chatwright.app.embedded import processes
from chatwright.app.embedded.errors import EmbeddedError, failure

_log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 0.05
_BACKOFF_AT_MOST_S = 1.0
_HEALTHY_AFTER_S = 10.0
_KEEP_LOG_SHORT_EVERY_S = 60.0
_ASK_LEAVING_EVERY_S = 0.5


@dataclass(slots=True, kw_only=True)
class Server:
    """A server program under watch. `answers` says whether the server takes requests; it may raise OSError for "no".

    `on_launch` is called for each new process, at the first start too.
    """

    name: str
    log_path: Path
    launch: Callable[[], subprocess.Popen[bytes]]
    answers: Callable[[int], Awaitable[bool]]
    on_launch: Callable[[], None]
    stop_steps: Sequence[tuple[signal.Signals, float]]
    ready_at_most_s: float
    leaving: Callable[[int], bool] | None = None
    """Whether this process was asked to end by somebody else and lets nobody in any more, though it still runs."""
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Launch and wait until it answers. Raises EmbeddedError with its last words; the process is gone then."""
        since = processes.size_of(self.log_path)
        self.process = process = self.launch()
        self.on_launch()
        deadline = time.monotonic() + self.ready_at_most_s
        while not await self._answers(process.pid):
            if process.poll() is not None:
                words = processes.tail(self.log_path, since=since)
                raise failure(
                    f"{self.name} ended while starting (exit code {process.returncode})", words, self.log_path
                )
            if time.monotonic() > deadline:
                await self.stop()
                words = processes.tail(self.log_path, since=since)
                raise failure(f"{self.name} was not ready after {self.ready_at_most_s:.0f} s", words, self.log_path)
            await asyncio.sleep(0.005)

    async def _answers(self, pid: int) -> bool:
        try:
            async with asyncio.timeout(2):
                return await self.answers(pid)
        except (OSError, EOFError):  # TimeoutError is an OSError
            return False

    async def watch(self) -> None:
        """Start the server again whenever it ends, until cancelled. The wait between tries grows up to 1 s."""
        wait_s = 0.0
        started_s = kept_short_s = asked_s = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now_s = time.monotonic()
            if now_s - kept_short_s > _KEEP_LOG_SHORT_EVERY_S:
                kept_short_s = now_s
                processes.keep_short(self.log_path)
            process = self.process
            if process is None:
                continue
            if process.poll() is None:
                if self.leaving is not None and now_s - asked_s > _ASK_LEAVING_EVERY_S:
                    asked_s = now_s
                    if self.leaving(process.pid):
                        # It would wait for its clients, and they keep their connections: for ever.
                        _log.warning("server.leaving", server=self.name, pid=process.pid)
                        await self.stop()
                continue
            _log.error("server.died", server=self.name, pid=process.pid, exit_code=process.returncode)
            wait_s = 0.0 if now_s - started_s > _HEALTHY_AFTER_S else min(wait_s + 0.1, _BACKOFF_AT_MOST_S)
            await asyncio.sleep(wait_s)
            try:
                await self.start()
            except EmbeddedError as error:
                _log.error("server.restart_failed", server=self.name, message=error.message)
                continue
            started_s = time.monotonic()
            _log.warning("server.restarted", server=self.name, pid=self.pid, took_s=round(started_s - now_s, 3))

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    async def stop(self) -> None:
        """End the server in the order of its steps. Bounded by their sum."""
        if self.process is not None:
            await processes.stop(self.process, self.stop_steps)
