"""Child processes of benches and drills: they die with us, get a clean environment, and are stopped in order."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping

from bench.machine import tree

_PR_SET_PDEATHSIG = 1
_OURS = (
    "DATABASE_URL", "REDIS_URL", "S3_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL", "GEMINI_API_KEY", "GEMINI_BASE_URL", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS", "VERTEX_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT",
    # With it set Python compiles again what an import failed to load, on every request.
    "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip


def quiet_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without anything that would change what is measured, and with `extra`."""
    kept = {
        name: value for name, value in os.environ.items() if name not in _OURS and not name.startswith("CHATWRIGHT_")
    }
    return {**kept, **(extra or {})}


def die_with_parent() -> None:
    """Between fork and exec: ask the kernel for SIGTERM when our parent ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


async def stop_process(process: asyncio.subprocess.Process, *, within_s: float) -> bool:
    """SIGTERM, and SIGKILL to the whole tree if it has not ended `within_s`. True if it ended by itself."""
    if process.returncode is not None:
        return True
    below = tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        for pid in reversed(below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
        return False
    return True
