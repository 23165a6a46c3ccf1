"""What the kernel knows: CPU time, memory and processors of process trees, and a description of this machine.

Linux `/proc` only. Called by the bench's figures, its load processes and the drill.
"""

import contextlib
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SHOWN_VERSIONS = ("uvicorn", "starlette", "aiohttp", "asyncpg", "redis", "bullmq", "msgspec", "uvloop", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a set of processes, in bytes. PSS shares pages among those who map them, so that sums are honest."""

    rss: int
    pss: int


def tree(pid: int) -> list[int]:
    """`pid` and all below it that live."""
    try:
        root = psutil.Process(pid)
        return [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """Processor seconds used by these processes, all threads; the kernel counts in steps of 10 ms."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def waited_s(pids: Iterable[int]) -> float:
    """Seconds in which these processes could have run, but their processors were busy with others."""
    waited_ns = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError, IndexError):
                    waited_ns += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text("ascii").split()[1])
    return waited_ns / 1e9


def memory(pids: Iterable[int]) -> Memory:
    """Resident and proportional memory of these processes."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1]) * 1024
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1]) * 1024
    return Memory(rss, pss)


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Let these processes, with all their threads, run on `cores` only. What they start later inherits it."""
    wanted = set(cores) & os.sched_getaffinity(0) or os.sched_getaffinity(0)
    for pid in pids:
        with contextlib.suppress(OSError):
            threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
            for thread in threads:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, wanted)


def core_for(role: str) -> set[int]:
    """The processors of a role in per-core figures: `api` has one alone, `rest` the next; both the same if there is
    but one."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]} if role == "api" or len(cores) == 1 else {cores[1]}


def all_cores() -> set[int]:
    return set(os.sched_getaffinity(0))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` (0..1) of all do not exceed.

    `values` in any order, sorted here. nan when there are none.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def describe() -> dict[str, Any]:
    """This machine and what runs on it, for the record beside the numbers."""
    model = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in ("chatwright", *_SHOWN_VERSIONS)},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
