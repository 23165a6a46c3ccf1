"""The queued path (WebSocket → PostgreSQL → queue → worker → stream): time to the first piece, and throughput."""

from typing import Any

from bench.figure import Figure, Goal, at_least, at_most
from bench.load.plan import Mode, Result
from bench.machine import percentile
from bench.stage import BARE, Stage

GROUP = "queued"
TTFT_MS = 50.0
QUESTIONS = [
    "How do I teach a chatbot my own documents?",
    "Which language model providers can I use?",
    "What happens to a message when a worker dies?",
    "How are tenants kept apart from each other?",
    "How do I run chatwright on several machines?",
    "Which port does the API listen on?",
    "How do I replay a dead letter?",
    "What is the extractive provider?",
    "How do I stream an answer over WebSocket?",
    "How are budgets kept?",
    "How do I back up my data?",
    "Does the load balancer need sticky sessions?",
]


async def measure(stage: Stage) -> list[Figure]:
    stage.unpin()
    figures: list[Figure] = []
    for profile in ("bare", "full"):
        figures += await _first_piece(stage, profile)
    for profile, goal in (("bare", None), ("full", at_least(100))):
        figures.append(await _throughput(stage, profile, goal))
    return figures


async def _first_piece(stage: Stage, profile: str) -> list[Figure]:
    """20 messages a second, spread over 64 sockets; the simulator's first piece comes 50 ms after its headers."""
    await stage.provider.control(ttft=TTFT_MS, chunks=6, interval=2)
    seconds = stage.lengths.seconds(15, 5)
    rate = 20.0
    result = await _talk(
        stage, profile, "talk_open", rate_per_s=rate, clients=64, warm_s=stage.lengths.seconds(2, 1), duration_s=seconds
    )
    direct = await stage.load(
        "open",
        direct=True,
        stream=True,
        pinned=False,
        rate_per_s=rate,
        warm_s=0.5,
        duration_s=stage.lengths.seconds(5, 2),
    )
    goals = {"bare": ((0.5, at_most(6)), (0.99, at_most(25))), "full": ((0.5, at_most(20)), (0.99, None))}
    figures: list[Figure] = []
    for share, goal in goals[profile]:
        figures.append(
            Figure(
                group=GROUP, name=f"time to first piece added, p{share * 100:g}", unit="ms",
                profile="bare" if profile == "bare" else "full",
                value=percentile(result.first_ms, share) - TTFT_MS, goal=goal,
                baseline=percentile(direct.first_ms, share) - TTFT_MS, baseline_of="direct to the simulator",
                samples=len(result.first_ms),
                detail={"rate_per_s": rate, "accepted_ms": percentile(result.accepted_ms, share),
                        "generator_late_p99_ms": percentile(result.late_ms, 0.99), "bad": result.bad, "errors": result.errors},
            )
        )  # fmt: skip
    return figures


async def _throughput(stage: Stage, profile: str, goal: Goal | None) -> Figure:
    """Closed loop over 48 conversations, provider latency 0, everything (load included) on this machine's cores."""
    await stage.provider.control(chunks=12)
    pids = [stage.api_pid(), stage.worker_pid()]
    result = await _talk(
        stage,
        profile,
        "talk_closed",
        clients=48,
        warm_s=stage.lengths.seconds(2, 1),
        duration_s=stage.lengths.seconds(10, 3),
        watch_pids=pids,
    )
    direct = await stage.load(
        "closed", direct=True, pinned=False, clients=48, warm_s=0.5, duration_s=stage.lengths.seconds(2, 1)
    )
    return Figure(
        group=GROUP, name="messages per second", unit="msg/s", profile="bare" if profile == "bare" else "full",
        value=result.done / result.window_s if result.window_s else 0.0, goal=goal,
        baseline=direct.done / direct.window_s, baseline_of="direct calls to the simulator", samples=result.done,
        detail={"conversations": 48, "answer_p50_ms": percentile(result.latency_ms, 0.5),
                "answer_p99_ms": percentile(result.latency_ms, 0.99), "bad": result.bad, "errors": result.errors,
                "api_and_worker_waited_for_a_core": round(result.watched_waited_s / max(0.001, result.window_s), 3),
                "api_and_worker_cpu_ms_per_message": round(result.watched_cpu_s / max(1, result.done) * 1e3, 3)},
    )  # fmt: skip


async def _talk(stage: Stage, profile: str, mode: Mode, **fields: Any) -> Result:
    if profile == "bare":
        return await stage.load(mode, model=BARE, pinned=False, **fields)
    return await stage.load(mode, model=stage.demo_chatbot, key=stage.demo_key, texts=QUESTIONS, pinned=False, **fields)
