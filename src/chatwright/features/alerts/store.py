"""SQL over alerts. Functions never commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339

Level = Literal["info", "warning", "critical"]

# The same subject, kind and period twice is told once, whoever comes first.
RAISE_ALERT = """
INSERT INTO alerts (id, tenant_id, kind, level, subject, period, message, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id, kind, subject, period) DO NOTHING
RETURNING id
"""

LIST_ALERTS = """
SELECT id, tenant_id, kind, level, subject, period, message, detail, created_at FROM alerts
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

LIST_ALERTS_OF_ALL = """
SELECT id, tenant_id, kind, level, subject, period, message, detail, created_at FROM alerts
 WHERE ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `tenant_id` None: the platform's. `created_at` is RFC 3339 in UTC."""

    id: str
    tenant_id: str | None
    kind: str
    level: Level
    subject: str
    period: str
    message: str
    detail: dict[str, Any]
    created_at: str


async def raise_alert(
    db: Connection,
    tenant_id: str | None,
    *,
    kind: str,
    level: Level,
    subject: str,
    period: str,
    message: str,
    detail: Mapping[str, Any] | None = None,
) -> bool:
    """Keep an alert. Returns False if it was told before. The platform's own need the operators' role.

    `period` is the stretch of time in which it is told once, such as an hour: ``2026-01-31T13``.
    """
    args = (new_id(), tenant_id, kind, level, subject, period, message, dict(detail or {}))
    return await db.fetchval(RAISE_ALERT, *args) is not None


async def list_alerts(db: Connection, scope: Scope | None, *, after: str | None, limit: int) -> list[Alert]:
    """Alerts newest first, those older than `after`; everybody's for scope None (operators' role)."""
    if scope is None:
        rows = await db.fetch(LIST_ALERTS_OF_ALL, after, limit)
    else:
        rows = await db.fetch(LIST_ALERTS, scope.tenant_id, after, limit)
    return [alert_of(row) for row in rows]


def alert_of(row: Mapping[str, Any]) -> Alert:
    return Alert(
        id=row["id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        level=row["level"],
        subject=row["subject"],
        period=row["period"],
        message=row["message"],
        detail=row["detail"],
        created_at=rfc3339(row["created_at"]),
    )
