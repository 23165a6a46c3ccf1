"""SQL over the outbox of alerts: fanned out once, taken by one process at a time, told again until heard.

All of it under the operators' role, because one process delivers for everybody. Functions never commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.features.alerts.store import Alert, alert_of
from chatwright.features.alerts.webhooks import Sealed, WebhookKind, sealed_of

# Each alert's rows are made in the statement that marks it, by whoever locks it first.
FAN_OUT = """
WITH taken AS (
    SELECT id, tenant_id, kind FROM alerts WHERE fanned_out_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
), made AS (
    INSERT INTO alert_deliveries (alert_id, webhook_id, tenant_id)
    SELECT taken.id, webhooks.id, webhooks.tenant_id
      FROM taken JOIN webhooks ON webhooks.enabled
                              AND (webhooks.tenant_id IS NULL OR webhooks.tenant_id = taken.tenant_id)
     WHERE EXISTS (SELECT FROM unnest(webhooks.events) AS event
                    WHERE event = '*' OR event = taken.kind
                       OR (right(event, 2) = '.*' AND starts_with(taken.kind, left(event, -1))))
    ON CONFLICT (alert_id, webhook_id) DO NOTHING
    RETURNING 1
), marked AS (
    UPDATE alerts SET fanned_out_at = clock_timestamp() FROM taken WHERE alerts.id = taken.id RETURNING 1
)
SELECT (SELECT count(*) FROM marked) AS alerts, (SELECT count(*) FROM made) AS deliveries,
       EXISTS (SELECT FROM alert_deliveries WHERE state = 'pending' AND next_at <= now()) AS due
"""

# Few of each webhook, one of a webhook that failed lately: a place that does not answer takes no room from others. In any
# order, so that the long backlogs of some do not always come first.
# $1 most rows, $2 most of one webhook, $3 webhooks to leave out, $4 seconds after which another process may take them.
TAKE_DUE = """
WITH due AS (
    SELECT d.alert_id, d.webhook_id
      FROM (SELECT id, failures FROM webhooks WHERE enabled AND id <> ALL ($3::uuid[]) ORDER BY random()) AS w
     CROSS JOIN LATERAL (
               SELECT alert_id, webhook_id FROM alert_deliveries
                WHERE webhook_id = w.id AND state = 'pending' AND next_at <= now()
                ORDER BY next_at LIMIT CASE WHEN w.failures > 0 THEN 1 ELSE $2::int END
                  FOR UPDATE SKIP LOCKED) AS d
     LIMIT $1
)
UPDATE alert_deliveries AS d
   SET attempts = d.attempts + 1, next_at = clock_timestamp() + make_interval(secs => $4::float8)
  FROM due, alerts AS a, webhooks AS w
 WHERE d.alert_id = due.alert_id AND d.webhook_id = due.webhook_id AND a.id = d.alert_id AND w.id = d.webhook_id
RETURNING d.webhook_id, d.attempts, extract(epoch FROM clock_timestamp() - d.created_at)::float8 AS age_s,
          a.id AS alert_id, a.tenant_id AS alert_tenant_id, a.kind AS alert_kind, a.level, a.subject, a.period, a.message,
          a.detail, a.created_at,
          w.id, w.tenant_id, w.kind AS webhook_kind, w.target, w.sealed, w.sealed_by, w.version
"""

# $3: the attempt that ended; one that was taken over by another process in between changes nothing.
MARK_SENT = """
WITH sent AS (
    UPDATE alert_deliveries SET state = 'sent', last_status = $4, last_error = NULL, ended_at = clock_timestamp()
     WHERE alert_id = $1 AND webhook_id = $2 AND attempts = $3 AND state = 'pending'
)
UPDATE webhooks SET last_ok_at = clock_timestamp(), failures = 0 WHERE id = $2
"""

# $6 null: given up. $7: the receiver said that it is gone.
MARK_FAILED = """
WITH failed AS (
    UPDATE alert_deliveries
       SET state = CASE WHEN $6::float8 IS NULL THEN 'failed' ELSE 'pending' END, last_status = $4, last_error = $5,
           next_at = clock_timestamp() + make_interval(secs => coalesce($6::float8, 0)),
           ended_at = CASE WHEN $6::float8 IS NULL THEN clock_timestamp() END
     WHERE alert_id = $1 AND webhook_id = $2 AND attempts = $3 AND state = 'pending'
)
UPDATE webhooks SET last_error = $5, failures = failures + 1, enabled = enabled AND NOT $7::boolean WHERE id = $2
"""

# Pending rows of a webhook that is switched off are not taken: they end here.
EXPIRE = """
UPDATE alert_deliveries SET state = 'failed', ended_at = now(), last_error = coalesce(last_error, 'not delivered in time')
 WHERE state = 'pending' AND created_at < now() - make_interval(hours => $1)
"""

TRIM_DELIVERIES = """
DELETE FROM alert_deliveries WHERE state <> 'pending' AND created_at < now() - make_interval(days => $1)
"""


# Of everybody. Given up within a day: older ones are nobody's concern any more.
COUNT_DELIVERIES = """
SELECT count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'failed') AS failed
  FROM alert_deliveries WHERE state = 'pending' OR (state = 'failed' AND ended_at > now() - interval '1 day')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FannedOut:
    """What one pass did. `due`: whether a delivery waits to be taken, these aside."""

    alerts: int
    deliveries: int
    due: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to tell one alert in one place. `attempts` counts this one; `age_s` since it was fanned out."""

    alert: Alert
    webhook_id: str
    kind: WebhookKind
    target: str
    secret: Sealed
    attempts: int
    age_s: float


async def fan_out(db: Connection, *, limit: int) -> FannedOut:
    """Make the deliveries of up to `limit` alerts that have none yet. Any number of processes at once."""
    row = await db.fetchrow(FAN_OUT, limit)
    assert row is not None
    return FannedOut(alerts=row["alerts"], deliveries=row["deliveries"], due=row["due"])


async def take_due(
    db: Connection, *, limit: int, per_webhook: int, leave_out: Sequence[str], lease_s: float
) -> list[Delivery]:
    """Take up to `limit` deliveries that are due, few of each webhook, none of those in `leave_out`.

    What is taken and not ended within `lease_s` is due again.
    """
    rows = await db.fetch(TAKE_DUE, limit, per_webhook, list(leave_out), lease_s)
    return [_delivery(row) for row in rows]


async def mark_sent(db: Connection, delivery: Delivery, *, status: int | None) -> None:
    await db.execute(MARK_SENT, delivery.alert.id, delivery.webhook_id, delivery.attempts, status)


async def mark_failed(
    db: Connection, delivery: Delivery, *, status: int | None, error: str, retry_in_s: float | None, gone: bool = False
) -> None:
    """Note a failed attempt; `retry_in_s` None: it was the last. `gone` switches the webhook off."""
    place = (delivery.alert.id, delivery.webhook_id, delivery.attempts)
    await db.execute(MARK_FAILED, *place, status, error, retry_in_s, gone)


async def trim_deliveries(db: Connection, *, days: int, expire_hours: int) -> None:
    """End what nobody takes any more, and delete what ended long ago."""
    await db.execute(EXPIRE, expire_hours)
    await db.execute(TRIM_DELIVERIES, days)


async def count_deliveries(db: Connection) -> tuple[int, int]:
    """(those that wait to be heard, those given up within a day)."""
    row = await db.fetchrow(COUNT_DELIVERIES)
    assert row is not None
    return row["pending"], row["failed"]


def _delivery(row: Mapping[str, Any]) -> Delivery:
    alert = {**row, "id": row["alert_id"], "tenant_id": row["alert_tenant_id"], "kind": row["alert_kind"]}
    return Delivery(
        alert=alert_of(alert),
        webhook_id=row["webhook_id"],
        kind=row["webhook_kind"],
        target=row["target"],
        secret=sealed_of(row),
        attempts=row["attempts"],
        age_s=row["age_s"],
    )
