"""500 answers streaming at once, inline and over conversations: do all finish, what does each cost, how late are pieces."""

import math

from bench.figure import Figure, at_least, at_most
from bench.load.plan import Mode
from bench.machine import percentile
from bench.stage import Stage

GROUP = "streams"
STREAMS = 500
OPTIONS = {
    # So that 500 answers of one tenant may run at once in one worker.
    "CHATWRIGHT_WORKER_CONCURRENCY": str(STREAMS + 40),
    "CHATWRIGHT_TENANT_IN_FLIGHT": "0",
}
"""What the product is started with for these figures; all else is as it comes."""


async def measure(stage: Stage) -> list[Figure]:
    stage.unpin()
    chunks = stage.lengths.count(30, 8)
    ramp_s = stage.lengths.seconds(3.0, 1.5)
    base = math.nan
    figures: list[Figure] = []
    watched: tuple[tuple[str, Mode, list[int]], ...] = (
        ("/v1 streams", "streams", [stage.api_pid()]),
        ("conversation streams", "talk_streams", [stage.api_pid(), stage.worker_pid()]),
    )
    for what, mode, pids in watched:
        await stage.provider.control(ttft=20, chunks=4, interval=5, stamp=1)
        # What is loaded and opened once is no stream's cost.
        await stage.load(mode, clients=24, ramp_s=0.3)
        await stage.provider.control(ttft=200, chunks=chunks, interval=300, stamp=1)
        result = await stage.load(mode, clients=STREAMS, ramp_s=ramp_s, watch_pids=pids)
        direct = await stage.load("streams", direct=True, clients=STREAMS, ramp_s=ramp_s) if mode == "streams" else None
        if direct is not None:
            base = percentile(direct.lag_ms, 0.99)
        detail = {
            "done": result.done, "bad": result.bad, "errors": result.errors, "chunks": len(result.lag_ms),
            "rss_kib_per_stream": round(result.rss_growth / 1024 / STREAMS, 1),
            "cpu_us_per_chunk": round(result.watched_cpu_s / max(1, len(result.lag_ms)) * 1e6, 1),
            "lag_p50_ms": percentile(result.lag_ms, 0.5), "first_piece_p50_ms": percentile(result.first_ms, 0.5),
        }  # fmt: skip
        figures += [
            Figure(
                group=GROUP, name=f"{what}: finished of {STREAMS}", unit="streams", profile="bare", value=result.done,
                goal=at_least(STREAMS), samples=STREAMS, detail=detail,
            ),
            Figure(
                group=GROUP, name=f"{what}: memory per stream (PSS)", unit="KiB", profile="bare",
                value=result.pss_growth / 1024 / STREAMS, goal=at_most(64), samples=STREAMS,
            ),
            Figure(
                group=GROUP, name=f"{what}: chunk lag, p99", unit="ms", profile="bare",
                value=percentile(result.lag_ms, 0.99), goal=at_most(60), baseline=base,
                baseline_of="direct to the simulator", samples=len(result.lag_ms),
            ),
        ]  # fmt: skip
    return figures
