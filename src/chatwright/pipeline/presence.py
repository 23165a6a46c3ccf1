"""Who works: every worker shows itself in Valkey while it really consumes, and with it its metrics.

`/health/ready` asks `readiness`, `/metrics` shows `metrics_page`, `app/serve.py` runs `show_presence`. A worker that
hangs, lost Valkey or is stopping no longer shows itself, within `LIFETIME_S`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import structlog
from prometheus_client import generate_latest

from chatwright.adapters.valkey import Valkey, translate
from chatwright.domain.errors import Unavailable
from chatwright.pipeline.providers import measure_states
from chatwright.pipeline.services import Services
from chatwright.telemetry.exposition import merge_metrics

INTERVAL_S = 1.0
LIFETIME_S = 3.0
METRICS_LIFETIME_S = 10
_NAMES = "cw:workers"
_ASK_WITHIN_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPresence:
    """What a worker last said of itself. `in_flight` counts the jobs it runs, `started_s` is Unix time."""

    name: str
    in_flight: int
    started_s: float


async def show_presence(
    app: Services, name: str, *, consuming: Callable[[], bool], in_flight: Callable[[], int]
) -> None:
    """Say "I work" once a second, as long as `consuming` is true; run until cancelled. Valkey's outages are waited out."""
    started_s = time.time()
    quiet = False
    while True:
        try:
            if consuming():
                measure_states(app)
                beat = {"in_flight": in_flight(), "started_s": started_s}
                async with asyncio.timeout(_ASK_WITHIN_S):
                    await _show(app, name, msgspec.json.encode(beat), generate_latest(app.metrics.registry))
            quiet = False
        except (Unavailable, TimeoutError) as error:
            if not quiet:
                log.warning("presence.not_shown", worker=name, error=str(error) or type(error).__name__)
            quiet = True
        await asyncio.sleep(INTERVAL_S)


async def leave(app: Services, name: str) -> None:
    """Take the sign down at once: a stopping worker takes no more jobs. Never raises for a Valkey that is away."""
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            with translate():
                await app.valkey.delete(_key(name), _metrics_key(name))
    except (Unavailable, TimeoutError):
        return


async def readiness(app: Services) -> tuple[bool, dict[str, Any]]:
    """Whether a message sent now would be accepted and answered, and how each part does; never raises for a fault."""
    parts: dict[str, Any] = {"postgres": "ok", "valkey": "ok", "workers": 0}
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            await app.db.operator_fetch("SELECT 1")
    except (Unavailable, TimeoutError):
        parts["postgres"] = "away"
    try:
        parts["workers"] = len(await workers_present(app))
    except Unavailable:
        parts["valkey"] = "away"
    return parts["postgres"] == "ok" and parts["workers"] > 0, parts


async def workers_present(app: Services) -> list[WorkerPresence]:
    """The workers that consume now, by name. Raises Unavailable when Valkey does not answer."""
    return await present(app.valkey)


async def present(valkey: Valkey) -> list[WorkerPresence]:
    """The same with nothing but a client. Raises Unavailable."""
    found: list[WorkerPresence] = []
    for name, raw in (await _read_all(valkey, _key)).items():
        said = msgspec.json.decode(raw)
        found.append(WorkerPresence(name=name, in_flight=said["in_flight"], started_s=said["started_s"]))
    return sorted(found, key=lambda worker: worker.name)


async def metrics_page(app: Services) -> bytes:
    """The metrics of this process and each worker's as it last wrote them, in Prometheus' text form; ours alone while
    Valkey is away."""
    measure_states(app)
    pages = {"api": generate_latest(app.metrics.registry).decode()}
    try:
        pages.update({name: raw.decode() for name, raw in (await _read_all(app.valkey, _metrics_key)).items()})
    except Unavailable as error:
        log.debug("presence.metrics_missing", error=error.message)
    return merge_metrics(pages)


async def _show(app: Services, name: str, beat: bytes, metrics: bytes) -> None:
    with translate():
        pipeline = app.valkey.pipeline(transaction=False)
        pipeline.sadd(_NAMES, name)
        pipeline.set(_key(name), beat, px=int(LIFETIME_S * 1000))
        pipeline.set(_metrics_key(name), metrics, ex=METRICS_LIFETIME_S)
        await pipeline.execute()


async def _read_all(valkey: Valkey, key: Callable[[str], str]) -> dict[str, bytes]:
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            with translate():
                names = sorted(raw.decode() for raw in cast("set[bytes]", await cast("Any", valkey.smembers(_NAMES))))
                if not names:
                    return {}
                values = cast("list[bytes | None]", await valkey.mget([key(name) for name in names]))
                found = {name: raw for name, raw in zip(names, values, strict=True) if raw is not None}
                # Names of workers long gone go with the first look that misses their metrics too.
                if key is _metrics_key and len(found) < len(names):
                    await cast("Any", valkey.srem(_NAMES, *(set(names) - set(found))))
    except TimeoutError as error:
        raise Unavailable("Valkey does not answer") from error
    return found


def _key(name: str) -> str:
    return f"cw:worker:{name}"


def _metrics_key(name: str) -> str:
    return f"cw:worker:{name}:metrics"
