"""The audit log: who changed what, append-only (no role may update or delete a row).

Written inside the transaction of the change itself, so that neither exists without the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatwright.adapters.postgres import Connection
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339

INSERT_AUDIT = """
INSERT INTO audit_log (id, tenant_id, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5, $6)
"""

LIST_AUDIT = """
SELECT id, tenant_id, actor, action, target, detail, created_at FROM audit_log
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

LIST_AUDIT_OF_ALL = """
SELECT id, tenant_id, actor, action, target, detail, created_at FROM audit_log
 WHERE ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2
"""

CHANGED_BY_OTHERS = """
SELECT EXISTS (SELECT FROM audit_log
                WHERE tenant_id = $1 AND target = $2 AND actor <> $3 AND detail -> 'fields' ? $4) AS changed
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. `actor` is ``key:<id>``, ``cli`` or ``setup``; `tenant_id` is None for the platform's own changes."""

    id: str
    tenant_id: str | None
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    created_at: str


async def record(
    db: Connection,
    tenant_id: str | None,
    *,
    actor: str,
    action: str,
    target: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry. `detail` names fields and ids, never secrets and never visitors' words."""
    await db.execute(INSERT_AUDIT, new_id(), tenant_id, actor, action, target, dict(detail or {}))


async def list_audit(db: Connection, scope: Scope | None, *, after: str | None, limit: int) -> list[AuditEntry]:
    """Entries newest first, those older than `after`; all tenants' for scope None (operators' role)."""
    if scope is None:
        rows = await db.fetch(LIST_AUDIT_OF_ALL, after, limit)
    else:
        rows = await db.fetch(LIST_AUDIT, scope.tenant_id, after, limit)
    return [
        AuditEntry(
            id=row["id"],
            tenant_id=row["tenant_id"],
            actor=row["actor"],
            action=row["action"],
            target=row["target"],
            detail=row["detail"],
            created_at=rfc3339(row["created_at"]),
        )
        for row in rows
    ]


async def changed_by_others(db: Connection, scope: Scope, *, target: str, field: str, actor: str) -> bool:
    """Whether anybody but `actor` ever changed this field of `target`."""
    return bool(await db.fetchval(CHANGED_BY_OTHERS, scope.tenant_id, target, actor, field))
