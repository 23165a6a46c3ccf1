"""`/v1/chat/completions`, bare: requests per second on one core, CPU per request, latency added at half that load, and
what budgets and rate limits take of it.
"""

from typing import Any

from bench.figure import Figure, at_least, at_most
from bench.load.plan import Result
from bench.machine import percentile
from bench.product import BARE_FIELDS
from bench.stage import Stage

GROUP = "gateway"
PRICED = "gpt-4.1-mini"
"""Of the price book: a model without a price is refused under a budget, and costs nothing to book."""
_FREELY, _BOUNDED = "freely", "bounded"
_BUDGET_USD = "1000000"
_LIMITS = {"requests_per_minute": 100_000_000, "tokens_per_minute": 900_000_000, "concurrency": 10_000}
"""More than any load here reaches: what is measured is the asking."""


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
        pair = await _bounded(stage, clients)
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
    return figures + pair


async def _bounded(stage: Stage, clients: int) -> list[Figure]:
    """Two tenants in turn, the same load: one with four budgets, and limits of its chatbot and its key.

    A tenant's own limits are its plan's; the highest of them is below what is sent here, so those are left out.
    """
    loads: dict[str, dict[str, Any]] = {}
    for name in (_FREELY, _BOUNDED):
        bounded = name == _BOUNDED
        tenant = await stage.rest.make_tenant(name)
        chain = [{"provider": "openai", "model": PRICED}]
        await stage.rest.make_chatbot(tenant, name, **BARE_FIELDS, providers=chain, limits=_LIMITS if bounded else {})
        key = tenant.key
        if bounded:
            for scope in ({"scope": "tenant"}, {"scope": "chatbot", "scope_id": name}):
                for period in ("day", "month"):
                    body = {**scope, "period": period, "limit_usd": _BUDGET_USD}
                    await stage.rest.call("PUT", "/api/v1/budgets", tenant.key, body)
            made = await stage.rest.call("POST", "/api/v1/keys", tenant.key, {"name": name, "limits": _LIMITS})
            key = made["secret"]
        loads[name] = {"key": key, "model": name}
    sums = {name: Result() for name in loads}
    # In turn, and each time the other way round: what disturbs the machine disturbs both.
    for turn in range(stage.lengths.count(6, 2)):
        for name in (_FREELY, _BOUNDED) if turn % 2 else (_BOUNDED, _FREELY):
            found = await stage.load(
                "closed", clients=clients, warm_s=1, duration_s=stage.lengths.seconds(3, 2), watch_pids=[stage.api_pid()],
                rest_pids=stage.rest_pids(), **loads[name],
            )  # fmt: skip
            _sum_up(sums[name], found)
    freely, bounded = sums[_FREELY], sums[_BOUNDED]
    detail = {
        "requests_per_s": {name: round(one.done / max(0.001, one.window_s)) for name, one in sums.items()},
        "api_cpu_us": {name: round(one.watched_cpu_s / max(1, one.done) * 1e6, 1) for name, one in sums.items()},
        "other_core_cpu_us": {name: round(one.rest_cpu_s / max(1, one.done) * 1e6, 1) for name, one in sums.items()},
        "api_core_busy": {name: round(one.watched_cpu_s / max(0.001, one.window_s), 3) for name, one in sums.items()},
        "latency_p50_ms": {name: round(percentile(one.latency_ms, 0.5), 2) for name, one in sums.items()},
        "bad": freely.bad + bounded.bad,
        "errors": {**freely.errors, **bounded.errors},
    }
    rates = [one.done / max(0.001, one.window_s) for one in (bounded, freely)]
    costs = [one.watched_cpu_s / max(1, one.done) for one in (bounded, freely)]
    return [
        Figure(
            group=GROUP, name="requests per second with 4 budgets and 6 limits, of those without", unit="share",
            profile="bare", value=rates[0] / max(0.001, rates[1]), goal=at_least(0.70), samples=bounded.done, detail=detail,
        ),
        Figure(
            group=GROUP, name="CPU of the API per request with them, of that without", unit="share", profile="bare",
            value=costs[0] / max(1e-9, costs[1]), samples=bounded.done,
        ),
    ]  # fmt: skip


def _sum_up(total: Result, found: Result) -> None:
    total.done += found.done
    total.bad += found.bad
    total.errors = {**total.errors, **found.errors}
    total.window_s += found.window_s
    total.watched_cpu_s += found.watched_cpu_s
    total.rest_cpu_s += found.rest_cpu_s
    total.latency_ms += found.latency_ms


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
