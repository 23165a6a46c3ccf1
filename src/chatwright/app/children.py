"""Child processes of `up`: started again when they die, stopped in order, never left behind. Called by `up` only."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from chatwright.domain.errors import ChatwrightError

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_HEALTHY_AFTER_S = 10.0
_GIVE_UP_AFTER = 5
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)


class ChildFailed(ChatwrightError):
    """A process of ours ended again and again before it ever worked."""

    code = "child_failed"


class Child:
    """One role in a process of its own. `run` keeps it alive until cancelled, then `stop` ends it."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        descriptors: Sequence[int] = (),
        log_file: Path | None = None,
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._descriptors = descriptors
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._worked = asyncio.Event()
        self._stopping = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process of the moment, or None between two of them."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def mark_working(self) -> None:
        """Say that the role did its work once: from now on it is started again without end."""
        self._worked.set()

    async def run(self) -> None:
        """Start the process and start it again whenever it ends, with a growing pause. Raises ChildFailed when it
        ends five times before it ever worked."""
        pause_s, failures = _FIRST_PAUSE_S, 0
        while not self._stopping:
            started_s = time.monotonic()
            self._process = await start(
                self._arguments,
                environment=self._environment,
                descriptors=self._descriptors,
                log_file=self._log_file,
            )
            code = await self._process.wait()
            if self._stopping:
                return
            ran_s = time.monotonic() - started_s
            log.warning("child.ended", child=self.name, code=code, ran_s=round(ran_s, 1))
            failures = 0 if self._worked.is_set() else failures + 1
            if failures >= _GIVE_UP_AFTER:
                raise ChildFailed(
                    f"the {self.name} process ended {failures} times in a row (exit code {code}); {self._last_words()}. "
                    "`chatwright doctor` looks at each part"
                )
            pause_s = _FIRST_PAUSE_S if ran_s > _HEALTHY_AFTER_S else min(pause_s * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
            self.restarts += 1

    def _last_words(self) -> str:
        if self._log_file is None:
            return "its own words stand above"
        lines = self._log_file.read_text("utf-8", "replace").splitlines()[-15:]
        return "\n".join((f"the end of {self._log_file}:", *(f"  | {line}" for line in lines), ""))

    async def stop(self, *, within_s: float) -> None:
        """Ask the process to end; kill it when it has not within `within_s`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            log.warning("child.killed", child=self.name, within_s=within_s)
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End the process now."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


async def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    stdout: int | None = asyncio.subprocess.DEVNULL,
    log_file: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start `chatwright ARGUMENTS` as a child that dies with us, in a session of its own: Ctrl-C in the terminal
    reaches only us, and we stop the others in order. Its logs go to `log_file`, or to our own standard error."""
    with log_file.open("ab") if log_file is not None else contextlib.nullcontext() as log_to:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chatwright",
            *arguments,
            "--parent",
            str(os.getpid()),
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=log_to,
            pass_fds=tuple(descriptors),
            start_new_session=True,
        )


def die_with(parent: int | None) -> None:
    """In the child: ask the kernel to kill us when `parent` dies, however it dies. None: nobody minds us.

    SIGKILL, because the next `up` wants the port at once; what was under way is safe in PostgreSQL.
    """
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
