"""SQL over the guard's log, the tenants' allow lists and their own policies. Functions never commit.

Every change of an allow list or a policy raises `changed_at` of the tenant's row in the same transaction: other processes
read by it whose rules they hold are out of date (`directory.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatwright.adapters.postgres import Connection, Database
from chatwright.domain.errors import Conflict
from chatwright.domain.ids import TenantId, is_id, new_id
from chatwright.domain.scope import Scope
from chatwright.domain.times import rfc3339
from chatwright.features.guard.allow import AT_MOST, WHOLE_TEXT, Allowed
from chatwright.features.guard.events import GuardEvent

_EVENT_COLUMNS = """id, chatbot_id, conversation_id, message_id, document_id, direction, rule, rules, verdict, score,
    span_start, span_end, excerpt, wrong_at, created_at"""

INSERT_EVENTS = """
-- $1 the tenant. An event outlives its chatbot's deletion by a moment: it is then kept without it.
INSERT INTO guard_events (id, tenant_id, chatbot_id, conversation_id, message_id, document_id, direction, rule, rules,
                          verdict, score, span_start, span_end, excerpt, text_mark, span_mark)
SELECT new.id, $1, chatbots.id, new.conversation_id, new.message_id, new.document_id, new.direction, new.rule,
       string_to_array(new.rules, ','), new.verdict, new.score, new.span_start, new.span_end, new.excerpt,
       new.text_mark, new.span_mark
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[],
              $11::real[], $12::integer[], $13::integer[], $14::text[], $15::bytea[], $16::bytea[])
       AS new (id, chatbot_id, conversation_id, message_id, document_id, direction, rule, rules, verdict, score, span_start,
               span_end, excerpt, text_mark, span_mark)
  LEFT JOIN chatbots ON chatbots.tenant_id = $1 AND chatbots.id = new.chatbot_id
ON CONFLICT (id) DO NOTHING
"""

LIST_EVENTS = f"""
SELECT {_EVENT_COLUMNS} FROM guard_events
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($4::uuid IS NULL OR chatbot_id = $4)
   AND ($5::text IS NULL OR direction = $5) AND ($6::text IS NULL OR $6 = ANY (rules))
   AND ($7::text IS NULL OR verdict = $7) AND ($8::uuid IS NULL OR document_id = $8)
 ORDER BY id DESC LIMIT $3
"""

GET_EVENT = f"SELECT {_EVENT_COLUMNS} FROM guard_events WHERE tenant_id = $1 AND id = $2"

MARK_WRONG = f"""
UPDATE guard_events SET wrong_at = coalesce(wrong_at, now()) WHERE tenant_id = $1 AND id = $2
RETURNING {_EVENT_COLUMNS}, text_mark, span_mark
"""

FORGET_EVENTS_OF_DOCUMENT = """
DELETE FROM guard_events WHERE tenant_id = $1 AND document_id = $2 AND direction = 'document' AND wrong_at IS NULL
"""

COUNT_EVENTS = """
SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, direction, rule, verdict, count(*) AS events,
       count(wrong_at) AS wrong
  FROM guard_events
 WHERE tenant_id = $1 AND created_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
                                        - make_interval(days => $2 - 1)
   AND ($3::uuid IS NULL OR chatbot_id = $3)
 GROUP BY 1, 2, 3, 4 ORDER BY 1 DESC, 5 DESC, 2, 3, 4
"""

# Some at a time: a log of months goes in many small transactions.
TRIM_EVENTS = """
DELETE FROM guard_events
 WHERE id IN (SELECT id FROM guard_events WHERE created_at < now() - make_interval(days => $1) LIMIT $2)
"""

COUNT_ALLOWED = "SELECT count(*) FROM guard_allowed WHERE tenant_id = $1"

ALLOW = """
INSERT INTO guard_allowed (id, tenant_id, rule, mark, excerpt, event_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, rule, mark) DO UPDATE SET excerpt = excluded.excerpt
RETURNING id, rule, excerpt, event_id, created_at
"""

LIST_ALLOWED = """
SELECT id, rule, excerpt, event_id, created_at FROM guard_allowed
 WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

REMOVE_ALLOWED = "DELETE FROM guard_allowed WHERE tenant_id = $1 AND id = $2 RETURNING id"

LOAD_RULES = """
-- All that a process holds of a tenant, in one row. `blocks`: whether any chatbot, or the tenant, refuses messages.
SELECT (SELECT policy FROM guard_policies WHERE tenant_id = $1) AS policy,
       ARRAY(SELECT rule FROM guard_allowed WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2) AS rules,
       ARRAY(SELECT mark FROM guard_allowed WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2) AS marks,
       EXISTS (SELECT FROM chatbots WHERE tenant_id = $1 AND guard_policy->>'input' = 'block') AS blocks
"""

PUT_POLICY = """
INSERT INTO guard_policies (tenant_id, policy) VALUES ($1, $2)
ON CONFLICT (tenant_id) DO UPDATE SET policy = excluded.policy, changed_at = clock_timestamp()
"""

TOUCH = """
INSERT INTO guard_policies (tenant_id) VALUES ($1)
ON CONFLICT (tenant_id) DO UPDATE SET changed_at = clock_timestamp()
"""

# The tenant's rules are part of what its chatbots are: answers kept under other rules are not given again.
RAISE_REVISIONS = "UPDATE chatbots SET revision = revision + 1, updated_at = now() WHERE tenant_id = $1"

GET_POLICY = "SELECT policy FROM guard_policies WHERE tenant_id = $1"

# Operators' role: whose rules changed within so many seconds.
LATELY_CHANGED = "SELECT tenant_id FROM guard_policies WHERE changed_at > now() - make_interval(secs => $1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """An event as it is shown. `wrong_at` is when somebody said that it was none; times are UTC."""

    id: str
    chatbot_id: str | None
    conversation_id: str | None
    message_id: str | None
    document_id: str | None
    direction: str
    rule: str
    rules: list[str]
    verdict: str
    score: float | None
    span_start: int
    span_end: int
    excerpt: str
    wrong_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedEntry:
    """One entry of an allow list. `rule` `*`: of a whole text."""

    id: str
    rule: str
    excerpt: str
    event_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRules:
    """What a tenant's verdicts are made with. `blocks`: whether a message may be refused at all."""

    policy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    allowed: Allowed = frozenset()
    blocks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """None: all of them."""

    chatbot_id: str | None = None
    direction: str | None = None
    rule: str | None = None
    verdict: str | None = None
    document_id: str | None = None


async def insert_events(db: Connection, scope: Scope, events: Sequence[GuardEvent]) -> None:
    """Keep events of one tenant. Those that stand there already are left alone: a batch may be written twice."""
    await db.execute(
        INSERT_EVENTS,
        scope.tenant_id,
        [event.id for event in events],
        [event.scope.chatbot_id for event in events],
        [event.conversation_id for event in events],
        [event.message_id for event in events],
        [event.document_id for event in events],
        [event.direction for event in events],
        [event.rule for event in events],
        [",".join(event.rules) for event in events],
        [event.verdict for event in events],
        [event.score for event in events],
        [event.span_start for event in events],
        [event.span_end for event in events],
        [event.excerpt for event in events],
        [event.text_mark for event in events],
        [event.span_mark for event in events],
    )


async def list_events(
    db: Connection, scope: Scope, wanted: EventFilter, *, before: str | None, limit: int
) -> list[LoggedEvent]:
    """Newest first, those older than the id `before`."""
    rows = await db.fetch(
        LIST_EVENTS, scope.tenant_id, before, limit, wanted.chatbot_id, wanted.direction, wanted.rule, wanted.verdict,
        wanted.document_id,
    )  # fmt: skip
    return [LoggedEvent(**row) for row in rows]


async def get_event(db: Connection, scope: Scope, event_id: str) -> LoggedEvent | None:
    row = await db.fetchrow(GET_EVENT, scope.tenant_id, event_id) if is_id(event_id) else None
    return None if row is None else LoggedEvent(**row)


async def mark_wrong(db: Connection, scope: Scope, event_id: str, *, span_only: bool) -> LoggedEvent | None:
    """Say that an event was no attack and put it on the allow list: its whole text, or its span under its rule.

    None if it is unknown. Raises Conflict when the list is full. Twice is once.
    """
    row = await db.fetchrow(MARK_WRONG, scope.tenant_id, event_id) if is_id(event_id) else None
    if row is None:
        return None
    values = dict(row)
    text_mark, span_mark = values.pop("text_mark"), values.pop("span_mark")
    event = LoggedEvent(**values)
    rule, mark = (event.rule, span_mark) if span_only else (WHOLE_TEXT, text_mark)
    await allow(db, scope, rule=rule, mark=mark, excerpt=event.excerpt, event_id=event.id)
    return event


async def forget_events_of(db: Connection, scope: Scope, document_id: str) -> None:
    """A document is read anew: what was found in it before is found again, or is gone."""
    await db.execute(FORGET_EVENTS_OF_DOCUMENT, scope.tenant_id, document_id)


async def count_events(
    db: Connection, scope: Scope, *, days: int, chatbot_id: str | None = None
) -> list[Mapping[str, Any]]:
    """Rows of (day in UTC, direction, rule, verdict, events, wrong) over the last `days` days, today included."""
    return [dict(row) for row in await db.fetch(COUNT_EVENTS, scope.tenant_id, days, chatbot_id)]


async def trim_events(db: Connection, *, days: int, at_most: int) -> int:
    """Delete events older than `days` (operators' role), at most so many. Returns how many went."""
    status = await db.execute(TRIM_EVENTS, days, at_most)
    return int(status.rpartition(" ")[2])


async def allow(
    db: Connection, scope: Scope, *, rule: str, mark: bytes, excerpt: str, event_id: str | None = None
) -> AllowedEntry:
    """Put a text (rule `*`) or a span on the tenant's list. Raises Conflict when the list is full."""
    await db.execute(TOUCH, scope.tenant_id)  # first: its row lock keeps two at once from passing the bound together
    if await db.fetchval(COUNT_ALLOWED, scope.tenant_id) >= AT_MOST:
        raise Conflict(f"the allow list has its {AT_MOST:,} entries; remove some first (GET /api/v1/guard/allow)")
    row = await db.fetchrow(ALLOW, new_id(), scope.tenant_id, rule, mark, excerpt, event_id)
    assert row is not None
    return AllowedEntry(**row)


async def list_allowed(db: Connection, scope: Scope, *, before: str | None, limit: int) -> list[AllowedEntry]:
    """Newest first, those older than the id `before`."""
    return [AllowedEntry(**row) for row in await db.fetch(LIST_ALLOWED, scope.tenant_id, before, limit)]


async def remove_allowed(db: Connection, scope: Scope, entry_id: str) -> bool:
    """False if it is unknown."""
    if not is_id(entry_id) or await db.fetchval(REMOVE_ALLOWED, scope.tenant_id, entry_id) is None:
        return False
    await db.execute(TOUCH, scope.tenant_id)
    return True


async def load_rules(db: Connection, scope: Scope) -> TenantRules:
    """The tenant's policy and allow list."""
    row = await db.fetchrow(LOAD_RULES, scope.tenant_id, AT_MOST)
    assert row is not None
    policy = row["policy"] or {}
    allowed = frozenset(zip(row["rules"], (bytes(mark) for mark in row["marks"]), strict=True))
    return TenantRules(policy=policy, allowed=allowed, blocks=row["blocks"] or policy.get("input") == "block")


async def touch(db: Connection, scope: Scope) -> None:
    """Something that verdicts hang on changed: have every process read the tenant's rules again."""
    await db.execute(TOUCH, scope.tenant_id)


async def get_policy(db: Connection, scope: Scope) -> dict[str, Any]:
    """What the tenant set for all its chatbots; empty: nothing."""
    return await db.fetchval(GET_POLICY, scope.tenant_id) or {}


async def put_policy(db: Connection, scope: Scope, policy: Mapping[str, Any]) -> None:
    """Set it, whole, and raise the revision of every chatbot of the tenant."""
    await db.execute(PUT_POLICY, scope.tenant_id, dict(policy))
    await db.execute(RAISE_REVISIONS, scope.tenant_id)


async def list_lately_changed(db: Database, *, within_s: float) -> list[TenantId]:
    """Tenants whose policy or allow list changed: one round trip of the operators' role."""
    return [TenantId(row["tenant_id"]) for row in await db.operator_fetch(LATELY_CHANGED, within_s)]


def shown_time(at: datetime) -> str:
    return rfc3339(at, timespec="seconds")
