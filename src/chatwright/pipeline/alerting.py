"""Alerts are delivered: each is fanned out once into an outbox, and told there until it is heard or a day has passed.

`deliver_forever` runs beside the sweeper in every worker; any number of them share the work through row locks. A row is
taken for `LEASE_S`; who dies with it leaves it to the next, under the same id. A place that does not answer holds
nobody up: few deliveries of one webhook are under way at once, and one of a webhook that failed lately.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress

import structlog

from chatwright.adapters.alerts import Letter, Outcome
from chatwright.domain.errors import ChatwrightError
from chatwright.features import alerts
from chatwright.features.alerts import Alert, Delivery
from chatwright.pipeline.services import Services
from chatwright.pipeline.webhooks import send_letter

log = structlog.get_logger(__name__)
POLL_S = 1.0
"""Between two looks: an alert's first attempt follows within this and a moment."""
LEASE_S = 60.0
"""Longer than any courier takes (25 s) and its row's two updates."""
FAN_OUT_AT_MOST = 200
AT_ONCE = 200
"""Deliveries under way in one process."""
PER_WEBHOOK = 2
_NOTE_AT_MOST_S = 5.0
KEEP_DAYS = 30
EXPIRE_HOURS = 25


async def deliver_forever(app: Services, *, poll_s: float = POLL_S) -> None:
    """Fan out and deliver until cancelled. A pass that fails is logged; the next one tries again."""
    async with asyncio.TaskGroup() as group:
        desk = _Desk(app, group)
        while True:
            try:
                await desk.look()
            except (ChatwrightError, TimeoutError) as error:
                log.warning("alerts.look_failed", error=str(error))
            except Exception:  # a full disk, a failover: a worker must not go on without its alerts
                log.exception("alerts.look_failed")
                await asyncio.sleep(poll_s)
            await desk.wait(poll_s)


async def tidy_alerts(app: Services) -> None:
    """End deliveries that nobody takes any more, and delete those that ended long ago."""
    async with app.db.operator() as db:
        await alerts.trim_deliveries(db, days=KEEP_DAYS, expire_hours=EXPIRE_HOURS)


async def measure_deliveries(app: Services) -> None:
    """Set the gauge of alerts that are not heard."""
    async with app.db.operator() as db:
        pending, failed = await alerts.count_deliveries(db)
    app.metrics.alert_deliveries.labels("pending").set(pending)
    app.metrics.alert_deliveries.labels("failed").set(failed)


class _Desk:
    """What one process has under way."""

    def __init__(self, app: Services, group: asyncio.TaskGroup) -> None:
        self._app = app
        self._group = group
        self._under_way = Counter[str]()
        self._freed = asyncio.Event()

    async def wait(self, poll_s: float) -> None:
        """Until a delivery has ended, so that a long outbox drains at the receiver's pace, or for `poll_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(poll_s):
                await self._freed.wait()

    async def look(self) -> None:
        """Fan out what is new, take what is due, and begin to deliver it."""
        self._freed.clear()
        async with self._app.db.operator() as db:
            found = await alerts.fan_out(db, limit=FAN_OUT_AT_MOST)
        room = AT_ONCE - self._under_way.total()
        if room <= 0 or not (found.due or found.deliveries):
            return
        busy = [webhook_id for webhook_id, count in self._under_way.items() if count >= PER_WEBHOOK]
        async with self._app.db.operator() as db:
            taken = await alerts.take_due(db, limit=room, per_webhook=PER_WEBHOOK, leave_out=busy, lease_s=LEASE_S)
        for delivery in taken:
            self._under_way[delivery.webhook_id] += 1
            self._group.create_task(self._deliver(delivery), name=f"alerts.deliver.{delivery.webhook_id}")

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await deliver(self._app, delivery)
        except (ChatwrightError, TimeoutError) as error:
            # Its lease ends by itself; it is told again then, under the same id.
            log.warning("alert.not_noted", alert_id=delivery.alert.id, webhook_id=delivery.webhook_id, error=str(error))
        except Exception:  # one delivery must not end the others
            log.exception("alert.delivery_crashed", alert_id=delivery.alert.id, webhook_id=delivery.webhook_id)
        finally:
            self._under_way[delivery.webhook_id] -= 1
            if not self._under_way[delivery.webhook_id]:
                del self._under_way[delivery.webhook_id]
            self._freed.set()


async def deliver(app: Services, delivery: Delivery) -> Outcome:
    """Make one attempt and write down what came of it. Raises Unavailable when that could not be written."""
    started = time.perf_counter()
    outcome = await send_letter(
        app, _letter(delivery.alert), kind=delivery.kind, target=delivery.target, secret=delivery.secret
    )
    took_s = time.perf_counter() - started
    noting = asyncio.create_task(_note(app, delivery, outcome, took_s), name="alerts.note")
    try:
        await asyncio.shield(noting)
    except asyncio.CancelledError:
        # A worker that stops has told it already: unnoted, the next one would tell it again.
        await asyncio.wait({noting}, timeout=_NOTE_AT_MOST_S)
        noting.cancel()
        raise
    return outcome


async def _note(app: Services, delivery: Delivery, outcome: Outcome, took_s: float) -> None:
    retry_in_s: float | None = None
    if not outcome.ok and not outcome.gone:
        spread = random.random()  # noqa: S311 - spreads load, guards nothing
        retry_in_s = alerts.next_delay_s(
            delivery.attempts, age_s=delivery.age_s, spread=spread, asked_s=outcome.retry_after_s
        )
    async with app.db.operator() as db:
        if outcome.ok:
            await alerts.mark_sent(db, delivery, status=outcome.status)
        else:
            await alerts.mark_failed(
                db, delivery, status=outcome.status, error=outcome.error, retry_in_s=retry_in_s, gone=outcome.gone
            )
    fields = {
        "alert_id": delivery.alert.id,
        "webhook_id": delivery.webhook_id,
        "kind": delivery.alert.kind,
        "attempts": delivery.attempts,
        "status": outcome.status,
        "took_s": round(took_s, 3),
    }
    if outcome.ok:
        log.info("alert.delivered", **fields)
    elif retry_in_s is None:
        log.error("alert.given_up", error=outcome.error, **fields)
    else:
        log.warning("alert.not_delivered", error=outcome.error, retry_in_s=round(retry_in_s, 1), **fields)


def _letter(alert: Alert) -> Letter:
    return Letter(
        id=alert.id,
        type=alert.kind,
        level=alert.level,
        message=alert.message,
        subject=alert.subject,
        period=alert.period,
        tenant_id=alert.tenant_id,
        detail=alert.detail,
        created_at=alert.created_at,
    )
