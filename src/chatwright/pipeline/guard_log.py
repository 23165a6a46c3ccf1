"""The guard's events written down behind the visitors' backs, and attack waves told.

`logging_guard` is open in every process. Verdicts are in force without the log, so nobody waits for it: events of one
moment share a statement, a database that is away is waited for while the line has room, and a killed process loses what
it noted in its last fraction of a second. What a message came to (its state, its error code) is in PostgreSQL regardless.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby

import structlog

from chatwright.domain.errors import ChatwrightError, Unavailable
from chatwright.domain.ids import TenantId
from chatwright.domain.scope import Scope
from chatwright.features import alerts
from chatwright.features.guard import store
from chatwright.features.guard.events import GuardEvent
from chatwright.features.guard.waves import Tide
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
BATCH = 500
GATHER_S = 0.1
"""Events of so long share a commit."""
PAUSE_S = 1.0
WRITE_S = 10.0
STOP_S = 3.0
WAVE_ALERT = "guard.wave"
TRIM_AT_ONCE = 5_000
_TRIMS_AT_MOST = 200


@asynccontextmanager
async def logging_guard(app: Services) -> AsyncGenerator[None]:
    """Write what is noted while this is open. On leaving, what waits is written if that takes no more than `STOP_S`."""
    task = asyncio.create_task(_run(app), name="guard.log")
    watch = asyncio.create_task(app.guard.directory.watch(), name="guard.watch")
    try:
        yield
    finally:
        watch.cancel()
        app.guard.line.close()
        await asyncio.wait({task}, timeout=STOP_S)
        task.cancel()
        await asyncio.wait({task, watch})


async def drain(app: Services, *, timeout_s: float = 10.0) -> bool:
    """Wait until everything noted so far is written. Returns False if time ran out."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not app.guard.line.is_idle:  # noqa: ASYNC110 - for tests and tools
                await asyncio.sleep(0.01)
    return app.guard.line.is_idle


async def trim_guard_log(app: Services) -> int:
    """Delete events that are older than they are kept. Returns how many."""
    gone = 0
    for _ in range(_TRIMS_AT_MOST):
        async with app.db.operator() as db:
            went = await store.trim_events(db, days=app.settings.guard_log_days, at_most=TRIM_AT_ONCE)
        gone += went
        if went < TRIM_AT_ONCE:
            break
    return gone


async def _run(app: Services) -> None:
    line = app.guard.line
    while not (line.closed and not line.waiting):
        await line.came.wait()
        line.came.clear()
        if not line.closed:
            await asyncio.sleep(GATHER_S)
        while line.waiting:
            events = line.take(BATCH)
            try:
                async with asyncio.timeout(WRITE_S):
                    await _write(app, events)
            except (Unavailable, TimeoutError) as error:
                line.put_back(events)
                _log.warning("guard.log_waits", events=len(line.waiting), error=str(error))
                if line.closed:
                    return
                await asyncio.sleep(PAUSE_S)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a full disk: the next events may do
                line.done(events)
                app.metrics.guard_events_lost.inc(len(events))
                _log.exception("guard.log_failed", events=len(events))
            else:
                line.done(events)


async def _write(app: Services, events: Sequence[GuardEvent]) -> None:
    """Keep a batch; count flagged messages and tell a wave. A batch that is written twice stands there once. What cannot be
    kept of one tenant (it was deleted meanwhile) takes nothing of the others with it."""
    ordered = sorted(events, key=lambda event: event.scope.tenant_id)
    flagged: Counter[TenantId] = Counter()
    for tenant_id, group in groupby(ordered, key=lambda event: event.scope.tenant_id):
        scope, its = Scope(tenant_id=tenant_id), list(group)
        try:
            async with app.db.transaction(scope) as db:
                await store.insert_events(db, scope, its)
        except (Unavailable, TimeoutError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - a tenant deleted meanwhile
            app.metrics.guard_events_lost.inc(len(its))
            _log.exception("guard.log_failed", tenant_id=tenant_id, events=len(its))
            continue
        if messages := sum(event.direction == "input" for event in its):
            flagged[tenant_id] = messages
    for tenant_id, messages in flagged.items():
        await _count(app, tenant_id, messages)


async def _count(app: Services, tenant_id: TenantId, messages: int) -> None:
    try:
        tide = await app.guard.waves.count(tenant_id, messages)
        if tide.began_at_s is not None and not tide.told:
            await _tell(app, tenant_id, tide)
            await app.guard.waves.told(tenant_id, tide)
    except ChatwrightError as error:  # Valkey away: waves are not seen meanwhile
        _log.warning("guard.not_counted", error=str(error))


async def _tell(app: Services, tenant_id: TenantId, tide: Tide) -> None:
    assert tide.began_at_s is not None
    scope = Scope(tenant_id=tenant_id)
    began = datetime.fromtimestamp(tide.began_at_s, UTC)
    async with app.db.transaction(scope) as db:
        raised = await alerts.raise_alert(
            db,
            tenant_id,
            kind=WAVE_ALERT,
            level="warning",
            subject=str(tenant_id),
            period=f"{began:%Y-%m-%dT%H:%M:%S}",
            message=(
                f"{tide.lately} messages looked like attacks in ten minutes; usual are {tide.usual:g}. "
                "`chatwright guard log` shows them."
            ),
            detail={"lately": tide.lately, "usual": tide.usual, "began_at": f"{began:%Y-%m-%dT%H:%M:%SZ}"},
        )
    if raised:
        _log.warning("guard.wave", tenant_id=tenant_id, lately=tide.lately, usual=tide.usual)
