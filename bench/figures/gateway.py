"""`/v1/chat/completions`, bare: requests per second on one core, CPU per request, latency added at half that load."""

from typing import Any

from bench.figure import Figure, at_least, at_most
from bench.load.plan import Result
from bench.machine import percentile
from bench.stage import Stage

GROUP = "gateway"


async def measure(stage: Stage) -> list[Figure]:
    """The API has one core alone; auth and call rows are on; every request has a different user message."""
    stage.pin_per_core()
    try:
        await stage.provider.control()
        saturation, clients, best = await _saturation(stage)
        direct = await stage.load(
            "closed", direct=True, clients=clients, warm_s=0.5, duration_s=stage.lengths.seconds(2, 1)
        )
        rate = max(10.0, round(saturation / 2))
        seconds = stage.lengths.seconds(8, 3)
        at_half = await stage.load("open", rate_per_s=rate, warm_s=1, duration_s=seconds, watch_pids=[stage.api_pid()])
        direct_at_half = await stage.load("open", direct=True, rate_per_s=rate, warm_s=1, duration_s=seconds)
    finally:
        stage.unpin()
    figures = [
        Figure(
            group=GROUP, name="requests per second and core", unit="req/s", profile="bare", value=saturation,
            goal=at_least(2_000), baseline=direct.done / direct.window_s, baseline_of="direct to the simulator",
            samples=best.done,
            detail={"clients": clients, "api_core_busy": round(best.watched_cpu_s / best.window_s, 3),
                    "api_waited_for_its_core": round(best.watched_waited_s / best.window_s, 3),
                    "others_waited_for_theirs": round(best.rest_waited_s / best.window_s, 3),
                    "generator_core_busy": round(best.own_cpu_s / best.window_s, 3),
                    "other_core_cpu_us_per_request": round(best.rest_cpu_s / max(1, best.done) * 1e6, 1),
                    "latency_p50_ms": percentile(best.latency_ms, 0.5), **_faults(best)},
        ),
        Figure(
            group=GROUP, name="CPU of the API per request", unit="µs", profile="bare", samples=best.done,
            value=best.watched_cpu_s / max(1, best.done) * 1e6,
        ),
    ]  # fmt: skip
    for share, goal in ((0.5, 2.0), (0.99, 10.0)):
        through, base = percentile(at_half.latency_ms, share), percentile(direct_at_half.latency_ms, share)
        figures.append(
            Figure(
                group=GROUP, name=f"latency added at half load, p{share * 100:g}", unit="ms", profile="bare",
                value=through - base, goal=at_most(goal), baseline=base, baseline_of="direct at the same rate",
                samples=at_half.done,
                detail={"rate_per_s": rate, "through_ms": through, "generator_late_p99_ms": percentile(at_half.late_ms, 0.99),
                        "api_waited_for_its_core": round(at_half.watched_waited_s / at_half.window_s, 3),
                    "api_core_busy": round(at_half.watched_cpu_s / at_half.window_s, 3), **_faults(at_half)},
            )
        )  # fmt: skip
    return figures


async def _saturation(stage: Stage) -> tuple[float, int, Result]:
    """The best over some numbers of connections: (requests per second, connections, its result)."""
    best: tuple[float, int, Result] | None = None
    seconds = stage.lengths.seconds(6, 3)
    for clients in (64,) if stage.lengths.quick else (16, 64):
        result = await stage.load(
            "closed",
            clients=clients,
            warm_s=1.5,
            duration_s=seconds,
            watch_pids=[stage.api_pid()],
            rest_pids=stage.rest_pids(),
        )
        rate = result.done / result.window_s if result.window_s else 0.0
        if best is None or rate > best[0]:
            best = rate, clients, result
    assert best is not None
    return best


def _faults(result: Result) -> dict[str, Any]:
    return {"bad": result.bad, "errors": result.errors} if result.bad else {"bad": 0}
