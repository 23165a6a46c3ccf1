"""Provider keys over several processes: new ones known and ended ones gone within a second, seals renewed under load."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatwright.app.addresses import Addresses
from chatwright.app.keyfile import ensure_key_file, open_keks, rotate_key_file
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.errors import ChatwrightError, Conflict, NotFound, Unavailable, Unprocessable
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features import alerts, provider_keys
from chatwright.pipeline import manage
from chatwright.pipeline import provider_keys as flows
from chatwright.pipeline.services import Services

AWAY = "redis://127.0.0.1:1"
Opener = Callable[..., AbstractAsyncContextManager[Services]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path, openai_base_url="http://127.0.0.1:1/v1")
    ensure_key_file(made)
    return made


@pytest.fixture
def opened(database_url: str, valkey_url: str, settings: Settings) -> Opener:
    """Opens one process's worth of services; `redis_url` may be one that nobody answers."""

    def opener(*, redis_url: str = valkey_url, using: Settings = settings) -> AbstractAsyncContextManager[Services]:
        return open_services(using, Addresses(database_url=database_url, redis_url=redis_url))

    return opener


@pytest.fixture
async def app(opened: Opener) -> AsyncIterator[Services]:
    async with opened() as services:
        yield services


@pytest.fixture
async def scope(app: Services) -> Scope:
    tenant, _ = await manage.create_tenant(app, actor="test", name="Shop")
    return Scope(tenant_id=tenant.id)


async def add(app: Services, scope: Scope | None, secret: str, **more: Any) -> str:
    return (await flows.add_key(app, scope, actor="test", provider="openai", secret=secret, **more)).id


async def held(app: Services, scope: Scope) -> list[str]:
    return [key.secret.reveal() for key in await app.provider_keys.keys_for(scope, "openai")]


# Changes reach other processes -----------------------------------------------------------------------------------------

_WATCHER = """
import asyncio, json, os, sys, time
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.scope import Scope
from pathlib import Path

async def main():
    settings = Settings(data_dir=Path(os.environ["DATA_DIR"]))
    addresses = Addresses(database_url=os.environ["PG"], redis_url=os.environ["VALKEY"])
    scope, seen = Scope(tenant_id=os.environ["TENANT"]), None
    async with open_services(settings, addresses) as app:
        while True:
            now = [key.secret.reveal() for key in await app.provider_keys.keys_for(scope, "openai")]
            if now != seen:
                print(json.dumps([time.monotonic(), now]), flush=True)
                seen = now
            await asyncio.sleep(0.002)

asyncio.run(main())
"""


@asynccontextmanager
async def second_process(
    scope: Scope, settings: Settings, database_url: str, valkey_url: str
) -> AsyncGenerator[Callable[[list[str]], Any]]:
    """A process of its own that tells when it sees which keys."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WATCHER,
        env={
            **os.environ,
            "DATA_DIR": str(settings.data_dir),
            "PG": database_url,
            "VALKEY": valkey_url,
            "TENANT": scope.tenant_id,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    lines = process.stdout

    async def until(wanted: list[str]) -> float:
        async with asyncio.timeout(20):
            while True:
                at_s, seen = json.loads(await lines.readline())
                if seen == wanted:
                    return at_s

    try:
        yield until
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("valkey", ["there", "away"])
async def test_another_process_follows_within_a_second(
    opened: Opener, settings: Settings, database_url: str, valkey_url: str, valkey: str
) -> None:
    """`time.monotonic` is one clock for all processes of a machine."""
    redis_url = valkey_url if valkey == "there" else AWAY
    late_s: dict[str, list[float]] = {"added": [], "rotated": [], "revoked": []}
    async with opened(redis_url=redis_url) as app:
        tenant, _ = await manage.create_tenant(app, actor="test", name="Shop")
        scope = Scope(tenant_id=tenant.id)
        async with second_process(scope, settings, database_url, redis_url) as until:
            await until([])
            for round_ in range(4 if valkey == "there" else 2):
                started = time.monotonic()
                key_id = await add(app, scope, f"s-{round_}-first")
                late_s["added"].append(await until([f"s-{round_}-first"]) - started)
                started = time.monotonic()
                fresh = await flows.rotate_key(app, scope, key_id, actor="test", secret=f"s-{round_}-next")
                late_s["rotated"].append(await until([f"s-{round_}-next"]) - started)
                started = time.monotonic()
                await flows.revoke_key(app, scope, fresh.id, actor="test")
                late_s["revoked"].append(await until([]) - started)
    worst = {what: round(max(times), 3) for what, times in late_s.items()}
    print(f"\nValkey {valkey}: slowest changes seen by another process, in seconds: {worst}")
    assert max(worst.values()) < 1.0, worst


# Seals are renewed -----------------------------------------------------------------------------------------------------


async def test_seals_are_renewed_under_load(
    opened: Opener, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes read and write while the key-encryption key is rotated three times and all is sealed anew, twice at
    once: every key opens every time, and in the end the old keys can go."""
    reads = writes = rounds = 0
    async with opened() as one, opened() as two:
        shops: dict[Scope, set[str]] = {}
        for number in range(4):
            tenant, _ = await manage.create_tenant(one, actor="test", name=f"Shop {number}")
            scope = Scope(tenant_id=tenant.id)
            shops[scope] = {f"s-{number}-{place}" for place in range(30)}
            for secret in shops[scope]:
                await add(one, scope, secret)
        over = asyncio.Event()

        async def read(app: Services) -> None:
            nonlocal reads
            while not over.is_set():
                scope = random.choice(list(shops))
                if random.random() < 0.5:
                    app.provider_keys.drop_owner(scope.tenant_id)  # else it would be held
                found = set(await held(app, scope))
                assert shops[scope] <= found, shops[scope] - found
                reads += 1
                await asyncio.sleep(0)

        async def write(app: Services) -> None:
            nonlocal writes
            while not over.is_set():
                scope = random.choice(list(shops))
                key_id = await add(app, scope, f"s-{new_id()}")
                fresh = await flows.rotate_key(app, scope, key_id, actor="test", secret=f"s-{new_id()}", overlap_s=0.2)
                await flows.revoke_key(app, scope, fresh.id, actor="test")
                writes += 1

        async def renew() -> None:
            nonlocal rounds
            try:
                for _ in range(3):
                    rotate_key_file(settings)
                    # A process of its own reads the file itself.
                    both = [flows.reseal(app.db, open_keks(settings), batch=7) for app in (one, two)]
                    for report in await asyncio.gather(*both):
                        assert report.broken == 0
                    rounds += 1
                    await asyncio.sleep(0.2)
            finally:
                over.set()

        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            for app in (one, two):
                group.create_task(read(app), name="read")
                group.create_task(write(app), name="write")
            group.create_task(renew(), name="renew")
        final = await flows.reseal(one.db, open_keks(settings))
        assert (final.left, final.broken) == (0, 0)
        newest = open_keks(settings).newest()
        assert newest is not None

        class OnlyNewest:
            def newest(self) -> provider_keys.KeyEncryptionKey:
                return newest

            def find(self, key_id: str) -> provider_keys.KeyEncryptionKey | None:
                return newest if key_id == newest.id else None

        alone = provider_keys.KeyRing(one.db, OnlyNewest())
        for scope, secrets in shops.items():
            assert secrets <= {key.secret.reveal() for key in await alone.keys_for(scope, "openai")}
    told = capsys.readouterr()
    assert "not_opened" not in told.out + told.err
    assert "not_resealed" not in told.out + told.err
    print(
        f"\n{rounds} rotations of the key-encryption key, {reads} reads of 30 keys, {writes} keys came and went: 0 failed"
    )
    assert (rounds, reads > 50, writes > 5) == (3, True, True)


async def test_sealing_anew_goes_on_where_it_was_stopped(app: Services, scope: Scope, settings: Settings) -> None:
    for place in range(10):
        await add(app, scope, f"s-{place}")
    rotate_key_file(settings)

    class Stopped(Exception):
        pass

    def stop(report: flows.Resealed) -> None:
        if report.done == 4:
            raise Stopped

    with pytest.raises(Stopped):
        await flows.reseal(app.db, open_keks(settings), batch=2, progress=stop)
    seen: list[flows.Resealed] = []
    report = await flows.reseal(app.db, open_keks(settings), batch=2, progress=seen.append)
    assert all(one != other for one, other in itertools.pairwise(seen)), "nothing is told twice"
    assert (report.done, report.left, report.broken) == (6, 0, 0)
    assert [one.left for one in seen][:3] == [4, 2, 0]
    assert (await flows.reseal(app.db, open_keks(settings))).done == 0
    assert sorted(await held(app, scope)) == [f"s-{place}" for place in range(10)]


async def test_a_key_that_does_not_open_stops_no_other(
    app: Services, scope: Scope, settings: Settings, tmp_path: Path
) -> None:
    await add(app, scope, "s-1")
    lost = Settings(data_dir=tmp_path / "other")
    ensure_key_file(lost)
    report = await flows.reseal(app.db, open_keks(lost))
    assert (report.done, report.broken, report.left) == (0, 1, 1)
    rotate_key_file(settings)
    await add(app, scope, "s-2")
    assert (await flows.reseal(app.db, open_keks(settings))).left == 0
    assert await held(app, scope) == ["s-2", "s-1"]


# Rules of the flows ----------------------------------------------------------------------------------------------------


async def test_what_cannot_be_a_key_is_refused(app: Services, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(
        kind: type[ChatwrightError], owner: Scope | None = scope, provider: str = "openai", **more: Any
    ) -> str:
        with pytest.raises(kind) as caught:
            await flows.add_key(app, owner, actor="test", provider=provider, secret="s-canary", **more)
        assert "s-canary" not in caught.value.message
        return caught.value.message

    await refused(Unprocessable, provider="nobody")
    await refused(Unprocessable, provider="extractive")
    await refused(Unprocessable, provider="azure")
    await refused(Unprocessable, provider="local")
    for url in (
        "http://169.254.169.254/v1",
        "http://localhost:1/v1",
        "http://10.0.0.1",
        "https://u:p@example.com",
        "x",
    ):
        await refused(Unprocessable, base_url=url)
    for url in (
        "ftp://example.com",
        "https://example.com/?a=b",
        "https://example.com/#a",
        "https://u@example.com",
        "x",
    ):
        await refused(Unprocessable, owner=None, base_url=url)
    await refused(NotFound, owner=Scope(tenant_id=scope.tenant_id.__class__(new_id())))
    assert await held(app, scope) == []
    own = await flows.add_key(
        app, None, actor="test", provider="local", secret="ollama", base_url="http://10.0.0.1:11434/v1/"
    )
    assert own.base_url == "http://10.0.0.1:11434/v1"
    made = await flows.add_key(
        app, scope, actor="test", provider="mistral", secret="s-1", base_url="https://llm.example/v1"
    )
    assert (made.base_url, made.hint) == ("https://llm.example/v1", "…")
    monkeypatch.setattr(provider_keys, "KEYS_AT_MOST", 1)
    await refused(Conflict)
    await flows.revoke_key(app, scope, made.id, actor="test")
    await add(app, scope, "s-2")


async def test_a_key_is_rotated_once(app: Services, scope: Scope) -> None:
    key_id = await add(app, scope, "s-1", name="main", token_limit=5)
    tries = [flows.rotate_key(app, scope, key_id, actor="test", secret=f"s-next-{n}", overlap_s=60) for n in range(4)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    fresh = [one for one in done if not isinstance(one, BaseException)]
    assert len(fresh) == 1
    assert all(isinstance(one, Conflict) for one in done if isinstance(one, BaseException))
    assert (fresh[0].name, fresh[0].token_limit, fresh[0].ends_at) == ("main", 5, None)
    assert len(await held(app, scope)) == 2
    await flows.revoke_key(app, scope, key_id, actor="test")
    again = await flows.revoke_key(app, scope, key_id, actor="test")
    assert again.successor_id == fresh[0].id
    assert len(await held(app, scope)) == 1
    for stranger in (None, Scope(tenant_id=scope.tenant_id.__class__(new_id()))):
        with pytest.raises(NotFound):
            await flows.revoke_key(app, stranger, key_id, actor="test")
        with pytest.raises(NotFound):
            await flows.rotate_key(app, stranger, fresh[0].id, actor="test", secret="s-x")
    async with app.db.transaction(scope) as db:
        rows = await db.fetch("SELECT action FROM audit_log WHERE tenant_id = $1 ORDER BY id", scope.tenant_id)
    actions = [row["action"] for row in rows if row["action"].startswith("provider_key")]
    assert actions == ["provider_key.created", "provider_key.rotated", *["provider_key.revoked"] * 2]


async def test_a_role_without_a_key_encryption_key_runs_and_says_so(opened: Opener, tmp_path: Path) -> None:
    async with opened(using=Settings(data_dir=tmp_path / "empty", openai_base_url="http://127.0.0.1:1/v1")) as app:
        tenant, _ = await manage.create_tenant(app, actor="test", name="Shop")
        with pytest.raises(Unavailable, match="rotate-kek"):
            await add(app, Scope(tenant_id=tenant.id), "s-1")
        assert await held(app, Scope(tenant_id=tenant.id)) == []


# Watching --------------------------------------------------------------------------------------------------------------


async def test_the_unusual_is_told_once_an_hour_to_its_owner(
    opened: Opener, app: Services, scope: Scope, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id = await add(app, scope, "s-canary-1", name="main")
    async with app.db.operator() as db:
        await db.executemany(
            """INSERT INTO key_usage (key_id, provider, tenant_id, opened_at, calls, failures, cost_nano)
               VALUES ($1, 'openai', $2, now() - make_interval(mins => $3), 100, 1, 1000000000)""",
            [(key_id, scope.tenant_id, 10 * place) for place in range(3, 40)],
        )
        for owner_key, failed in ((key_id, 0), ("env", 12)):
            await db.executemany(
                """INSERT INTO calls (id, tenant_id, provider, model, key_id, state, cost_nano)
                   VALUES ($1, $2, 'openai', 'm', $3, $4, 300000000)""",
                [(new_id(), scope.tenant_id, owner_key, "failed" if place < failed else "ok") for place in range(12)],
            )
    async with opened() as two:
        raised = await asyncio.gather(*(flows.watch_keys(one) for one in (app, two, app)))
    assert sorted(raised) == [0, 0, 2], "one process watches"
    async with app.db.operator() as db:
        await db.execute("UPDATE chores SET done_at = now() - interval '2 min'")
    assert await flows.watch_keys(app) in (0, 2)  # 2 only if the hour has just ended
    async with app.db.operator() as db:
        found = await alerts.list_alerts(db, None, after=None, limit=99)
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    told = {(one.tenant_id, one.kind, one.subject, one.level) for one in found if one.period == hour}
    assert told == {
        (scope.tenant_id, "provider_key.spend", key_id, "warning"),
        (None, "provider_key.errors", "env:openai", "critical"),
    }
    async with app.db.transaction(scope) as db:
        mine = await alerts.list_alerts(db, scope, after=None, limit=9)
    assert {one.kind for one in mine} == {"provider_key.spend"}
    assert "main of openai spent 3.6" in mine[0].message
    logged = capsys.readouterr()
    assert "provider_key.unusual" in logged.out + logged.err
    assert "s-canary" not in logged.out + logged.err


async def test_watching_reads_the_latest_calls_only(app: Services, scope: Scope) -> None:
    """The ledger grows for ever; a look at it once a minute must not."""
    async with app.db.operator() as db:
        await db.executemany(
            "INSERT INTO calls (id, tenant_id, provider, model, key_id, state, opened_at) "
            "VALUES ($1, $2, 'openai', 'm', 'env', 'ok', now() - interval '2 days')",
            [("0190" + new_id()[4:], scope.tenant_id) for _ in range(5000)],
        )
        from chatwright.features.provider_keys import usage

        for statement in (usage.COMPARE, usage.ROLL_UP):
            plan = await db.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {statement}", 600)
            scans = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") == "calls"]
            assert [node["Node Type"] for node in scans] != []
            assert all("Index" in node["Node Type"] or "Bitmap" in node["Node Type"] for node in scans), scans


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    with contextlib.suppress(KeyError):
        return [plan, *(inner for child in plan["Plans"] for inner in _nodes(child))]
    return [plan]
