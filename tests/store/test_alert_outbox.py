"""The outbox of alerts on a real PostgreSQL: whose rows they are, who takes them, when they come back, how they end."""

import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.postgres import Database, open_database
from chatwright.app.keyfile import GivenKeys
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features import alerts, tenancy
from chatwright.features.alerts import DELAYS_S, GIVE_UP_AFTER_S, Delivery, Webhook, next_delay_s
from chatwright.features.provider_keys import KeyEncryptionKey, KeyRing
from chatwright.pipeline.provider_keys import reseal

OLD, NEW = KeyEncryptionKey.of("old", os.urandom(32)), KeyEncryptionKey.of("new", os.urandom(32))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=10) as database:
        yield database


async def a_tenant(db: Database) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="A", plan="standard", time_zone="UTC", weight=1.0)
    return Scope(tenant_id=tenant.id)


@pytest.fixture
async def scope(db: Database) -> Scope:
    return await a_tenant(db)


async def add(db: Database, scope: Scope | None, *, ring: KeyRing | None = None) -> Webhook:
    row_id, tenant_id = new_id(), None if scope is None else scope.tenant_id
    sealed, sealed_by = (b"", "") if ring is None else ring.seal("whsec_c2VjcmV0", tenant_id=tenant_id, row_id=row_id)
    async with db.operator() if scope is None else db.transaction(scope) as connection:
        return await alerts.insert_webhook(
            connection,
            tenant_id,
            webhook_id=row_id,
            kind="webhook",
            target="https://ops.example.com/",
            events=("*",),
            sealed=sealed,
            sealed_by=sealed_by,
        )


async def raise_alerts(db: Database, scope: Scope, count: int) -> None:
    async with db.transaction(scope) as connection:
        for place in range(count):
            await alerts.raise_alert(
                connection,
                scope.tenant_id,
                kind="budget.threshold",
                level="info",
                subject="s",
                period=str(place),
                message="m",
            )
    async with db.operator() as connection:
        await alerts.fan_out(connection, limit=1000)


async def take(db: Database, *, limit: int = 100, per_webhook: int = 100, lease_s: float = 60.0) -> list[Delivery]:
    async with db.operator() as connection:
        return await alerts.take_due(connection, limit=limit, per_webhook=per_webhook, leave_out=(), lease_s=lease_s)


async def test_a_tenant_sees_and_changes_its_own_only(db: Database, scope: Scope) -> None:
    other = await a_tenant(db)
    mine, theirs, platform = await add(db, scope), await add(db, other), await add(db, None)
    await raise_alerts(db, other, 1)
    async with db.transaction(scope) as connection:
        assert [one.id for one in await alerts.list_webhooks(connection, scope, after=None, limit=9)] == [mine.id]
        assert await connection.fetchval("SELECT count(*) FROM webhooks") == 1
        assert await connection.fetchval("SELECT count(*) FROM alert_deliveries") == 0
        for webhook_id in (theirs.id, platform.id, new_id(), "x"):
            assert await alerts.get_webhook(connection, scope, webhook_id) is None
            assert await alerts.patch_webhook(connection, scope, webhook_id, events=None, enabled=False) is None
            assert not await alerts.delete_webhook(connection, scope, webhook_id)
        # Even a statement that forgets its tenant reaches nobody else's.
        assert await connection.execute("UPDATE webhooks SET enabled = false") == "UPDATE 1"
        assert await connection.execute("DELETE FROM webhooks WHERE id = $1", theirs.id) == "DELETE 0"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.transaction(scope) as connection:
            await connection.execute("INSERT INTO webhooks (id, tenant_id, kind, target, events) VALUES ($1, $2, $3, $4, $5)",
                                     new_id(), other.tenant_id, "webhook", "x", ["*"])  # fmt: skip
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.transaction(other) as connection:
            await connection.execute("UPDATE alert_deliveries SET state = 'sent'")
    async with db.transaction(other) as connection:
        assert await connection.fetchval("SELECT count(*) FROM alert_deliveries") == 1  # the platform's is not theirs


async def test_fifty_at_once_take_each_delivery_once(db: Database, scope: Scope) -> None:
    for _ in range(5):
        await add(db, scope)
    await asyncio.gather(*(raise_alerts(db, scope, 20) for _ in range(5)))
    taken = [one for some in await asyncio.gather(*(take(db, limit=7) for _ in range(50))) for one in some]
    while more := await take(db, limit=7):
        taken += more
    assert len(taken) == 100
    assert len({(one.alert.id, one.webhook_id) for one in taken}) == 100


async def test_few_of_each_webhook_and_one_of_a_failing_one(db: Database, scope: Scope) -> None:
    first, second = await add(db, scope), await add(db, scope)
    await raise_alerts(db, scope, 10)
    taken = await take(db, per_webhook=2)
    assert sorted(one.webhook_id for one in taken) == sorted([first.id] * 2 + [second.id] * 2)
    failed = next(one for one in taken if one.webhook_id == first.id)
    async with db.operator() as connection:
        await alerts.mark_failed(connection, failed, status=500, error="e", retry_in_s=3600)
    again = await take(db, per_webhook=2)
    assert sorted(one.webhook_id for one in again) == sorted([first.id] + [second.id] * 2)
    async with db.operator() as connection:
        left_out = await alerts.take_due(connection, limit=9, per_webhook=9, leave_out=(second.id,), lease_s=60)
    assert {one.webhook_id for one in left_out} == {first.id}


async def test_who_comes_too_late_changes_nothing(db: Database, scope: Scope) -> None:
    await add(db, scope)
    await raise_alerts(db, scope, 1)
    (slow,) = await take(db, lease_s=0.0)  # held for longer than its lease
    (quick,) = await take(db)
    assert (slow.attempts, quick.attempts, quick.alert.id) == (1, 2, slow.alert.id)
    async with db.operator() as connection:
        await alerts.mark_failed(connection, slow, status=500, error="e", retry_in_s=None)
        assert await connection.fetchval("SELECT state FROM alert_deliveries") == "pending"
        await alerts.mark_sent(connection, quick, status=200)
        await alerts.mark_failed(connection, slow, status=500, error="e", retry_in_s=1)
        assert await connection.fetchval("SELECT state FROM alert_deliveries") == "sent"


async def test_an_alert_is_fanned_out_once_also_to_nobody(db: Database, scope: Scope) -> None:
    await raise_alerts(db, scope, 3)
    webhook = await add(db, scope)  # comes later: what was raised before is not told
    async with db.operator() as connection:
        found = await alerts.fan_out(connection, limit=9)
        assert (found.alerts, found.deliveries, found.due) == (0, 0, False)
    await raise_alerts(db, await a_tenant(db), 2)
    assert await take(db) == []
    async with db.transaction(scope) as connection:
        await alerts.patch_webhook(connection, scope, webhook.id, events=None, enabled=False)
    async with db.transaction(scope) as connection:
        await alerts.raise_alert(
            connection, scope.tenant_id, kind="k", level="info", subject="s", period="p", message="m"
        )
    async with db.operator() as connection:
        assert (await alerts.fan_out(connection, limit=9)).deliveries == 0


async def test_what_ended_is_deleted_and_what_nobody_takes_ends(db: Database, scope: Scope, superuser_url: str) -> None:
    webhook = await add(db, scope)
    await raise_alerts(db, scope, 3)
    async with db.transaction(scope) as connection:
        await alerts.patch_webhook(connection, scope, webhook.id, events=None, enabled=False)
    assert await take(db) == []
    books = await asyncpg.connect(superuser_url)
    try:
        await books.execute("UPDATE alert_deliveries SET created_at = now() - period::int * interval '26 hours'"
                            "  FROM alerts WHERE id = alert_id")  # fmt: skip
        async with db.operator() as connection:
            await alerts.trim_deliveries(connection, days=2, expire_hours=25)
        rows = await books.fetch("SELECT state, last_error FROM alert_deliveries ORDER BY created_at DESC")
        assert [tuple(row) for row in rows] == [("pending", None), ("failed", "not delivered in time")]
    finally:
        await books.close()


async def test_secrets_are_sealed_anew_with_the_provider_keys(db: Database, scope: Scope) -> None:
    before = KeyRing(db, GivenKeys((OLD,)))
    made = [await add(db, owner, ring=before) for owner in (scope, None, await a_tenant(db))]
    await add(db, scope)  # e-mail has no secret
    report = await reseal(db, GivenKeys((NEW, OLD)), batch=2)
    assert (report.done, report.broken, report.left) == (3, 0, 0)
    after = KeyRing(db, GivenKeys((NEW,)))  # the old one may go now
    for webhook, owner in zip(made[:2], (scope, None), strict=True):
        async with db.operator() as connection:
            found = await alerts.get_webhook(connection, owner, webhook.id)
        assert found is not None
        stored = found.secret
        opened = after.unseal(
            stored.sealed, stored.sealed_by, tenant_id=stored.tenant_id, row_id=stored.id, version=stored.version
        )
        assert opened.reveal() == "whsec_c2VjcmV0"
    missing = await reseal(db, GivenKeys((KeyEncryptionKey.of("third", os.urandom(32)),)))
    assert (missing.done, missing.broken, missing.left) == (0, 3, 3)


@given(
    attempts=st.integers(1, 20),
    age_s=st.floats(0, 2 * GIVE_UP_AFTER_S),
    spread=st.floats(0, 1, exclude_max=True),
    asked_s=st.none() | st.floats(0, 1e7),
)
def test_waits_grow_are_spread_and_end_within_a_day(
    attempts: int, age_s: float, spread: float, asked_s: float | None
) -> None:
    delay_s = next_delay_s(attempts, age_s=age_s, spread=spread, asked_s=asked_s)
    if delay_s is None:
        assert attempts > len(DELAYS_S) or age_s + 1.1 * max(DELAYS_S[attempts - 1], 3600) > GIVE_UP_AFTER_S
    else:
        assert age_s + delay_s <= GIVE_UP_AFTER_S
        assert DELAYS_S[attempts - 1] <= delay_s <= max(1.1 * DELAYS_S[attempts - 1], 3600)
        assert asked_s is None or delay_s >= min(asked_s, 3600)


def test_the_first_waits_are_as_documented() -> None:
    assert [next_delay_s(attempt, age_s=0, spread=0) for attempt in (1, 2, 3, 4, 5, 10)] == [
        5,
        30,
        120,
        600,
        3600,
        None,
    ]
