"""The job queue alone, beside the stock BullMQ worker on the same Valkey: `bench/queue_bench.py` has the runs."""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import structlog

from bench import queue_bench
from bench.figure import Figure, Goal, at_most
from bench.queue_bench import FAIR_JOB_S, FAIR_JOBS, LATENCY_JOBS
from bench.stage import Lengths
from chatwright.app.embedded import run_embedded

GROUP = "queue"
_FAIR_LIMIT_MS = 5 * FAIR_JOB_S * 1000 + 10
_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("jobs_per_s", "jobs per second through one worker", "jobs/s"),
    ("cpu_us_per_job", "CPU of the worker process per job", "µs"),
    ("enqueue_to_start_p50_ms", "enqueue to start, p50", "ms"),
    ("enqueue_to_start_p99_ms", "enqueue to start, p99", "ms"),
)


async def measure(lengths: Lengths) -> list[Figure]:
    """On a Valkey of its own, with the embedded server's settings (append-only file on)."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    jobs = lengths.count(20_000, 4_000)
    # A directory of its own, not below another: the servers' account must reach it.
    folder = Path(tempfile.mkdtemp(prefix="cw-bench-q-"))
    try:
        async with run_embedded(folder, postgres=False) as servers:
            with contextlib.redirect_stdout(io.StringIO()):
                found = await queue_bench.run(servers.redis_url, jobs=jobs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = [
        Figure(
            group=GROUP,
            name=words,
            unit=unit,
            value=found[f"own_{name}"],
            baseline=found[f"stock_{name}"],
            baseline_of="stock Python BullMQ worker",
            samples=LATENCY_JOBS if "enqueue" in name else jobs,
        )
        for name, words, unit in _PAIRS
    ]
    small, large = (found[f"tenant_b_wait_p99_ms_behind_{backlog}"] for backlog in (1_000, 10_000))
    within: Goal = at_most(_FAIR_LIMIT_MS)
    detail = {"job_ms": FAIR_JOB_S * 1000}
    return [
        *figures,
        Figure(group=GROUP, name="B's wait behind 1,000 jobs of A, p99", unit="ms", value=small, goal=within, samples=FAIR_JOBS, detail=detail),
        Figure(
            group=GROUP, name="B's wait behind 10,000 jobs of A, p99", unit="ms", value=large,
            goal=at_most(min(_FAIR_LIMIT_MS, 2 * small)), baseline=small, baseline_of="behind 1,000", samples=FAIR_JOBS, detail=detail,
        ),
    ]  # fmt: skip
