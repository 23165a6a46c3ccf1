"""Provider keys on a real PostgreSQL: held in memory, forgotten in time, sealed anew while they are used."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.app.keyfile import GivenKeys
from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import alerts, provider_keys, tenancy
from chatwright.features.provider_keys import (
    PLATFORM,
    Activity,
    KeyEncryptionKey,
    KeyRecord,
    KeyRing,
    NewKey,
    ProviderKey,
)

OLD = KeyEncryptionKey.of("old", os.urandom(32))
KEKS = GivenKeys((OLD,))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=6) as database:
        yield database


async def a_tenant(db: Database) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="A", plan="standard", time_zone="UTC", weight=1.0)
    return Scope(tenant_id=tenant.id)


@pytest.fixture
async def scope(db: Database) -> Scope:
    return await a_tenant(db)


async def add(
    db: Database, scope: Scope | None, secret: str, *, provider: str = "openai", ring: KeyRing | None = None
) -> KeyRecord:
    row_id, tenant_id = new_id(), None if scope is None else scope.tenant_id
    sealed, sealed_by = (ring or KeyRing(db, KEKS)).seal(secret, tenant_id=tenant_id, row_id=row_id)
    new = NewKey(
        id=row_id,
        tenant_id=tenant_id,
        provider=provider,
        name="k",
        hint="…",
        sealed=sealed,
        sealed_by=sealed_by,
        base_url=None,
        request_limit=None,
        token_limit=7,
    )
    async with db.operator() if scope is None else db.transaction(scope) as connection:
        return await provider_keys.insert_key(connection, new)


async def end(db: Database, scope: Scope | None, key_id: str, **how: Any) -> KeyRecord | None:
    async with db.operator() if scope is None else db.transaction(scope) as connection:
        return await provider_keys.end_key(connection, scope, key_id, **how)


async def secrets_of(ring: KeyRing, scope: Scope, provider: str = "openai") -> list[str]:
    return [key.secret.reveal() for key in await ring.keys_for(scope, provider)]


async def test_keys_come_newest_first_and_stay_with_their_owner(db: Database, scope: Scope) -> None:
    other = await a_tenant(db)
    ring = KeyRing(db, KEKS)
    first, second = await add(db, scope, "s-1"), await add(db, scope, "s-2")
    await add(db, scope, "g-1", provider="gemini")
    await add(db, other, "s-3")
    platform = await add(db, None, "p-1")
    assert await secrets_of(ring, scope) == ["s-2", "s-1"]
    assert await secrets_of(ring, scope, "gemini") == ["g-1"]
    assert await secrets_of(ring, scope, "anthropic") == []
    assert await secrets_of(ring, other) == ["s-3"]
    assert [key.secret.reveal() for key in await ring.platform_keys("openai")] == ["p-1"]
    assert (await ring.get(scope, first.id)).token_limit == 7
    assert (await ring.get(None, platform.id)).secret.reveal() == "p-1"
    for stranger, key_id in (
        (other, second.id),
        (scope, platform.id),
        (None, first.id),
        (scope, new_id()),
        (scope, "x"),
    ):
        with pytest.raises(NotFound):
            await ring.get(stranger, key_id)


async def test_what_is_held_costs_no_round_trip(db: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(db, KEKS)
    key = await add(db, scope, "s-1")
    await asyncio.gather(*(ring.keys_for(scope, "openai") for _ in range(50)))
    await ring.platform_keys("openai")

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("asked the database")

    monkeypatch.setattr(db, "transaction", refuse)
    monkeypatch.setattr(db, "operator", refuse)
    keys: Sequence[ProviderKey] = ()
    started = time.perf_counter()
    for _ in range(20_000):
        keys = await ring.keys_for(scope, "openai")
    each_us = (time.perf_counter() - started) / 20_000 * 1e6
    assert [one.id for one in keys] == [key.id]
    assert await ring.keys_for(scope, "anthropic") == ()  # that there is none is held too
    assert await ring.platform_keys("openai") == ()
    assert (await ring.get(scope, key.id)).id == key.id
    assert each_us < 20, f"{each_us:.2f} µs"  # measured: 0.3


async def test_a_thousand_askers_make_one_read(db: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(db, KEKS)
    reads = 0
    plain = db.transaction

    def counting(scope: Scope) -> Any:
        nonlocal reads
        reads += 1
        return plain(scope)

    monkeypatch.setattr(db, "transaction", counting)
    await asyncio.gather(*(ring.keys_for(scope, "openai") for _ in range(1000)))
    assert reads == 1
    assert ring._loading == {}


async def test_without_a_key_encryption_key_nothing_is_stored(db: Database, scope: Scope) -> None:
    class Nothing:
        def newest(self) -> None:
            return None

        def find(self, key_id: str) -> None:
            del key_id

    ring = KeyRing(db, Nothing())
    with pytest.raises(Unavailable, match="CHATWRIGHT_KEY_ENCRYPTION_KEYS"):
        await add(db, scope, "s-1", ring=ring)
    await add(db, scope, "s-2")
    assert await secrets_of(ring, scope) == []  # nor opened, but the process goes on


# Changes --------------------------------------------------------------------------------------------------------------


async def test_a_look_at_the_latest_changes_finds_what_came_and_what_ended(db: Database, scope: Scope) -> None:
    ring = KeyRing(db, KEKS)
    first = await add(db, scope, "s-1")
    assert await secrets_of(ring, scope) == ["s-1"]
    await add(db, scope, "s-2")
    await add(db, None, "p-1")
    assert await secrets_of(ring, scope) == ["s-1"]
    await ring.platform_keys("openai")
    await ring.drop_changed()
    assert await secrets_of(ring, scope) == ["s-2", "s-1"]
    held = ring._held[scope.tenant_id]
    await ring.drop_changed()
    assert ring._held[scope.tenant_id] is held, "what is known already is not read again"
    await end(db, scope, first.id)
    await ring.drop_changed()
    assert await secrets_of(ring, scope) == ["s-2"]


async def test_a_change_while_we_read_is_not_held(db: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(db, KEKS)
    key = await add(db, scope, "s-1")
    plain = ring._open

    def revoked_meanwhile(*arguments: Any) -> Any:
        ring.drop_owner(scope.tenant_id)  # the notice comes between the read and its use
        return plain(*arguments)

    monkeypatch.setattr(ring, "_open", revoked_meanwhile)
    assert await secrets_of(ring, scope) == ["s-1"]
    monkeypatch.undo()
    await end(db, scope, key.id)
    assert await secrets_of(ring, scope) == []


async def test_an_end_to_come_is_kept_to_the_moment(db: Database, scope: Scope) -> None:
    old, fresh = await add(db, scope, "s-old"), await add(db, scope, "s-new")
    ended = await end(db, scope, old.id, after_s=0.4, successor_id=fresh.id)
    assert ended is not None
    ring = KeyRing(db, KEKS)
    assert await secrets_of(ring, scope) == ["s-new", "s-old"]
    assert (await ring.get(scope, old.id)).id == fresh.id
    await asyncio.sleep(0.45)
    assert await secrets_of(ring, scope) == ["s-new"]
    assert (await ring.get(scope, old.id)).id == fresh.id  # chatbots that name the old key go on
    await end(db, scope, old.id, after_s=1000)  # an end does not move back
    await end(db, scope, fresh.id)
    ring.drop_all()
    with pytest.raises(NotFound):
        await ring.get(scope, old.id)


async def test_in_the_overlap_the_old_key_stands_in_for_a_new_one_that_was_revoked(db: Database, scope: Scope) -> None:
    old, fresh = await add(db, scope, "s-old"), await add(db, scope, "s-new")
    await end(db, scope, old.id, after_s=60, successor_id=fresh.id)
    await end(db, scope, fresh.id)
    assert (await KeyRing(db, KEKS).get(scope, old.id)).id == old.id


async def test_what_has_ended_is_forgotten(db: Database, scope: Scope) -> None:
    now, later = await add(db, scope, "s-1"), await add(db, scope, "s-2")
    await end(db, scope, now.id)
    await end(db, scope, later.id, after_s=0.1)
    await asyncio.sleep(0.15)
    async with db.operator() as connection:
        assert [row["id"] for row in await connection.fetch("SELECT id FROM provider_keys WHERE sealed <> ''")] == [
            later.id
        ]
        await provider_keys.forget_ended(connection)
        assert await connection.fetchval("SELECT count(*) FROM provider_keys WHERE sealed <> ''") == 0
        assert await connection.fetchval("SELECT count(*) FROM provider_keys WHERE sealed_by <> ''") == 0
        assert await provider_keys.take_to_reseal(connection, "new", after=PLATFORM, limit=9) == []


async def test_the_last_use_is_written_once_a_minute(db: Database, scope: Scope) -> None:
    ring = KeyRing(db, KEKS, watch_interval_s=0.02, used_interval_s=0.05)
    key, idle = await add(db, scope, "s-1"), await add(db, scope, "s-2")
    for _ in range(3):
        ring.used(key.id)
        ring.used("env")
    watching = asyncio.create_task(ring.watch(), name="test-watch")
    try:
        async with asyncio.timeout(5):
            while True:
                async with db.transaction(scope) as connection:
                    found = {
                        one.id: one for one in await provider_keys.list_keys(connection, scope, after=None, limit=9)
                    }
                if found[key.id].last_used_at is not None:
                    break
                await asyncio.sleep(0.02)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert found[idle.id].last_used_at is None
    assert ring._used == set()


# What PostgreSQL holds ------------------------------------------------------------------------------------------------


async def test_a_ciphertext_moved_to_another_row_does_not_open(
    db: Database, scope: Scope, superuser_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the database still cannot make us use one tenant's key for another."""
    other = await a_tenant(db)
    mine, also_mine = await add(db, scope, "s-mine"), await add(db, scope, "s-also")
    theirs, platform = await add(db, other, "s-theirs"), await add(db, None, "p-1")
    connection: Any = await asyncpg.connect(superuser_url)
    copy = "UPDATE provider_keys SET sealed = (SELECT sealed FROM provider_keys WHERE id = $1) WHERE id = $2"
    try:
        await connection.execute(copy, mine.id, theirs.id)  # to another tenant's row
        await connection.execute(copy, mine.id, also_mine.id)  # to another row of its own
        await connection.execute(copy, mine.id, platform.id)
        assert await secrets_of(KeyRing(db, KEKS), other) == []
        assert await secrets_of(KeyRing(db, KEKS), scope) == ["s-mine"]
        assert await KeyRing(db, KEKS).platform_keys("openai") == ()
        await connection.execute("UPDATE provider_keys SET version = 2 WHERE id = $1", mine.id)
        assert await secrets_of(KeyRing(db, KEKS), scope) == []
        await connection.execute(
            "UPDATE provider_keys SET version = 1, tenant_id = $2 WHERE id = $1", mine.id, other.tenant_id
        )
        assert await secrets_of(KeyRing(db, KEKS), other) == []  # the row itself given away
    finally:
        await connection.close()
    logged = capsys.readouterr()
    assert "provider_keys.not_opened" in logged.out + logged.err
    assert "s-mine" not in logged.out + logged.err


async def test_a_row_is_sealed_anew_only_at_the_version_it_was_read(db: Database, scope: Scope) -> None:
    key = await add(db, scope, "s-1")
    new = KeyEncryptionKey.of("new", os.urandom(32))

    def fresh(version: int) -> bytes:
        return provider_keys.seal(new, "s-1", tenant_id=scope.tenant_id, row_id=key.id, version=version)

    async with db.operator() as connection:
        assert await provider_keys.write_resealed(connection, "new", [(key.id, 1, fresh(2))]) == 1
        assert await provider_keys.write_resealed(connection, "new", [(key.id, 1, fresh(2))]) == 0
        assert await provider_keys.write_resealed(connection, "new", []) == 0
    assert await secrets_of(KeyRing(db, GivenKeys((new, OLD))), scope) == ["s-1"]


async def test_two_that_seal_anew_take_different_rows(db: Database, scope: Scope) -> None:
    ids = {(await add(db, scope, f"s-{n}")).id for n in range(4)}
    async with db.operator() as one, db.operator() as two:
        first = await provider_keys.take_to_reseal(one, "new", after=PLATFORM, limit=2)
        second = await provider_keys.take_to_reseal(two, "new", after=PLATFORM, limit=9)
    assert {row.id for row in first} | {row.id for row in second} == ids
    assert len(first) + len(second) == 4


# Watching -------------------------------------------------------------------------------------------------------------


def call_id(opened_at: datetime) -> str:
    """A ledger id as it would have been made at that time."""
    stamp = f"{int(opened_at.timestamp() * 1000):012x}"
    return f"{stamp[:8]}-{stamp[8:]}{new_id()[13:]}"


async def calls(
    url: str, scope: Scope, key_id: str, *, ago: timedelta, number: int, failed: int = 0, cost_nano: int = 0
) -> None:
    opened_at = datetime.now(UTC) - ago
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.executemany(
            """INSERT INTO calls (id, tenant_id, provider, model, key_id, state, cost_nano, opened_at)
               VALUES ($1, $2, 'openai', 'm', $3, $4, $5, $6)""",
            [
                (
                    call_id(opened_at),
                    scope.tenant_id,
                    key_id,
                    "failed" if place < failed else "ok",
                    cost_nano // number,
                    opened_at,
                )
                for place in range(number)
            ],
        )
    finally:
        await connection.close()


async def test_now_is_compared_with_the_week_before(db: Database, scope: Scope, superuser_url: str) -> None:
    key = await add(db, scope, "s-1")
    other = await a_tenant(db)
    await calls(superuser_url, scope, key.id, ago=timedelta(seconds=30), number=20, failed=5, cost_nano=400)
    await calls(superuser_url, other, "env", ago=timedelta(minutes=2), number=3)
    await calls(superuser_url, scope, "env", ago=timedelta(minutes=3), number=2)
    await calls(superuser_url, scope, key.id, ago=timedelta(minutes=11), number=7)  # neither now nor usual
    async with db.operator() as connection:
        await connection.executemany(
            """INSERT INTO key_usage (key_id, provider, tenant_id, opened_at, calls, failures, cost_nano)
               VALUES ($1, 'openai', $2, now() - make_interval(mins => $3), 10, 1, $4)""",
            [(key.id, scope.tenant_id, 10 * place, place) for place in range(3, 103)]
            + [(key.id, scope.tenant_id, 60 * 24 * 8 + 1, 10**12)],  # older than a week
        )
        await provider_keys.roll_up(connection)
        await provider_keys.roll_up(connection)  # twice is once
        found = {one.key_id: one for one in await provider_keys.compare(connection)}
        written = await connection.fetch(
            "SELECT tenant_id, sum(calls)::int AS calls FROM key_usage WHERE opened_at > now() - interval '25 min' GROUP BY 1"
        )
        assert await connection.fetchval("SELECT max(cost_nano) FROM key_usage") < 10**12, "trimmed"
    mine = found[key.id]
    assert isinstance(mine, Activity)
    assert (mine.tenant_id, mine.label, mine.calls, mine.failures, mine.cost_nano) == (scope.tenant_id, "k", 20, 5, 400)
    assert (mine.usual_windows, mine.usual_calls, mine.usual_failures) == (100, 1000, 100)
    assert 95 <= mine.usual_cost_nano <= 100
    assert (found["env"].tenant_id, found["env"].calls, found["env"].usual_windows) == (None, 5, 0)
    # The calls of eleven minutes ago are in a window that is still written, or in one before it.
    assert {row["tenant_id"]: row["calls"] for row in written} in ({None: 5, scope.tenant_id: n} for n in (20, 27))


async def test_a_chore_is_done_by_one(db: Database) -> None:
    async def claim() -> bool:
        async with db.operator() as connection:
            return await provider_keys.claim_chore(connection, "sweep the yard", every_s=0.3)

    assert sorted(await asyncio.gather(*(claim() for _ in range(6)))) == [False] * 5 + [True]
    assert not await claim()
    await asyncio.sleep(0.35)
    assert sorted(await asyncio.gather(*(claim() for _ in range(6)))) == [False] * 5 + [True]


async def test_an_alert_is_told_once_a_period(db: Database, scope: Scope) -> None:
    async def tell(tenant_id: TenantId | None, period: str) -> bool:
        async with db.operator() as connection:
            return await alerts.raise_alert(
                connection,
                tenant_id,
                kind="k",
                level="warning",
                subject="s",
                period=period,
                message=f"{tenant_id} {period}",
            )

    other = await a_tenant(db)
    owners = (scope.tenant_id, other.tenant_id, None)
    assert [await tell(owner, period) for period in ("1", "1", "2") for owner in owners] == [
        True, True, True, False, False, False, True, True, True,
    ]  # fmt: skip
    async with db.transaction(scope) as connection:
        mine = await alerts.list_alerts(connection, scope, after=None, limit=9)
        assert [alert.message for alert in mine] == [f"{scope.tenant_id} 2", f"{scope.tenant_id} 1"]
        assert [alert.period for alert in await alerts.list_alerts(connection, scope, after=mine[0].id, limit=9)] == [
            "1"
        ]
    async with db.operator() as connection:
        assert len(await alerts.list_alerts(connection, None, after=None, limit=99)) == 6
