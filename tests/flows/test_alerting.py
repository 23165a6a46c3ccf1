"""Alerts leave the house: over real HTTP and SMTP on this machine, signed, once each, again until heard."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from chatwright.adapters.alerts import Letter, Place, read_smtp_url
from chatwright.adapters.alerts.email import EmailCourier
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.errors import Conflict, NotFound, RateLimited, Unprocessable
from chatwright.domain.scope import Scope
from chatwright.features import alerts, tenancy
from chatwright.features.alerts import Webhook
from chatwright.pipeline import alerting, webhooks
from chatwright.pipeline.services import Services

Open = Callable[[], AbstractAsyncContextManager[Services]]
LEVELS = (80, 95, 100)


@dataclass
class Endpoint:
    """A receiver that answers as it is told, in order; 200 when nothing is left to tell."""

    url: str = ""
    answers: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    stall_s: float = 0.0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    at_s: list[float] = field(default_factory=list[float])

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, body))
        self.at_s.append(time.monotonic())
        if self.stall_s:
            await asyncio.sleep(self.stall_s)
        status, text = self.answers.pop(0) if self.answers else (200, "ok")
        return web.Response(status=status, text=text, headers=self.headers)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@asynccontextmanager
async def receiver() -> AsyncGenerator[Endpoint]:
    endpoint = Endpoint()
    server = web.Application()
    server.router.add_post("/{tail:.*}", endpoint.answer)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alerts"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with receiver() as one:
        yield one


@pytest.fixture
def opened(database_url: str, valkey_url: str, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Services]]:
    addresses = Addresses(database_url=database_url, redis_url=valkey_url)

    def opener(**more: Any) -> AbstractAsyncContextManager[Services]:
        given: dict[str, Any] = {
            "allowed_addresses": ("127.0.0.1",),
            "key_encryption_keys": "k1:" + "A" * 43 + "=",
            **more,
        }
        return open_services(Settings(data_dir=tmp_path, **given), addresses)

    return opener


@pytest.fixture
async def app(opened: Open) -> AsyncIterator[Services]:
    async with opened() as services:
        yield services


async def a_tenant(app: Services) -> Scope:
    async with app.db.operator() as db:
        tenant = await tenancy.create_tenant(db, name="A", plan="standard", time_zone="UTC", weight=1.0)
    return Scope(tenant_id=tenant.id)


@pytest.fixture
async def scope(app: Services) -> Scope:
    return await a_tenant(app)


async def raise_alert(app: Services, scope: Scope | None, *, kind: str = "budget.threshold", period: str = "1") -> bool:
    async with webhooks.rows_of(app, scope) as db:
        return await alerts.raise_alert(
            db,
            None if scope is None else scope.tenant_id,
            kind=kind,
            level="warning",
            subject="month",
            period=period,
            message="80 % of <October's> budget & more is spent",
            detail={"spent_nano": 8},
        )


async def add(
    app: Services, scope: Scope | None, target: str, *, kind: alerts.WebhookKind = "webhook", events: str = "*"
) -> webhooks.Added:
    return await webhooks.add_webhook(app, scope, actor="test", kind=kind, target=target, events=events.split())


async def look(app: Services, scope: Scope | None, webhook_id: str) -> Webhook:
    async with webhooks.rows_of(app, scope) as db:
        found = await alerts.get_webhook(db, scope, webhook_id)
    assert found is not None
    return found


@asynccontextmanager
async def delivering(*apps: Services, poll_s: float = 0.05) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(alerting.deliver_forever(app, poll_s=poll_s), name="deliver") for app in apps]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def books(superuser_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def states(books: asyncpg.Connection) -> list[tuple[str, int]]:
    rows = await books.fetch("SELECT state, attempts FROM alert_deliveries ORDER BY created_at, alert_id")
    return [(row["state"], row["attempts"]) for row in rows]


async def all_sent(books: asyncpg.Connection, count: int, *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while [state for state, _ in await states(books)] != ["sent"] * count:
            await asyncio.sleep(0.02)


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """The check that a receiver makes, from the words of the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return (
        any(hmac.compare_digest(f"v1,{wanted}", one) for one in headers["webhook-signature"].split(" "))
        and abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    )


async def test_an_alert_arrives_signed_within_three_seconds(app: Services, scope: Scope, endpoint: Endpoint) -> None:
    added = await add(app, scope, endpoint.url)
    async with delivering(app, poll_s=alerting.POLL_S):
        await asyncio.sleep(0.3)
        began_s = time.monotonic()
        assert await raise_alert(app, scope)
        await until(lambda: len(endpoint.got) == 1)
    assert endpoint.at_s[0] - began_s < 3
    headers, body = endpoint.got[0]
    assert verified(added.secret, headers, body)
    assert not verified(added.secret, headers, body + b" ")
    async with app.db.transaction(scope) as db:
        alert = (await alerts.list_alerts(db, scope, after=None, limit=9))[0]
    told = json.loads(body)
    assert headers["webhook-id"] == alert.id
    assert (told["type"], told["timestamp"]) == ("budget.threshold", alert.created_at)
    assert told["data"]["message"] == alert.message
    assert told["data"]["tenant_id"] == scope.tenant_id
    assert told["data"]["detail"] == {"spent_nano": 8}
    now = await look(app, scope, added.webhook.id)
    assert (now.failures, now.last_error, now.last_ok_at is not None) == (0, None, True)


async def test_what_answered_500_hears_it_later_under_the_same_id(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    endpoint.answers = [(500, "out of order " + "x" * 5000)]
    added = await add(app, scope, endpoint.url)
    await raise_alert(app, scope)
    with capture_logs() as lines:
        async with delivering(app):
            await until(lambda: len(endpoint.got) == 1)
            async with asyncio.timeout(5):
                while (await look(app, scope, added.webhook.id)).failures == 0:
                    await asyncio.sleep(0.02)
            row = await books.fetchrow(
                "SELECT state, last_status, last_error, extract(epoch FROM next_at - now())::float8 AS wait_s"
                "  FROM alert_deliveries"
            )
            assert row is not None
            assert (row["state"], row["last_status"]) == ("pending", 500)
            assert 3 < row["wait_s"] < 6
            assert len(row["last_error"]) == 200
            await all_sent(books, 1)
    assert endpoint.ids == [endpoint.ids[0]] * 2
    assert 4.9 < endpoint.at_s[1] - endpoint.at_s[0] < 8
    assert all(verified(added.secret, *one) for one in endpoint.got)
    assert endpoint.got[0][0]["webhook-timestamp"] != endpoint.got[1][0]["webhook-timestamp"]
    assert await states(books) == [("sent", 2)]
    now = await look(app, scope, added.webhook.id)
    assert (now.failures, (now.last_error or "")[:12]) == (0, "answered 500")
    assert added.secret not in str(lines)
    assert {line["event"] for line in lines} == {"alert.not_delivered", "alert.delivered"}


async def test_what_nobody_hears_is_a_metric(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    endpoint.answers = [(410, "gone")]
    await add(app, scope, endpoint.url)
    await raise_alert(app, scope)

    async def shown() -> tuple[float | None, ...]:
        await alerting.measure_deliveries(app)
        named = ({"state": state} for state in ("pending", "failed"))
        return tuple(app.metrics.registry.get_sample_value("chatwright_alert_deliveries", one) for one in named)

    assert await shown() == (0, 0)
    async with app.db.operator() as db:
        assert (await alerts.fan_out(db, limit=9)).deliveries == 1
    assert await shown() == (1, 0)
    async with delivering(app):
        async with asyncio.timeout(10):
            while await shown() != (0, 1):
                await asyncio.sleep(0.05)
    await books.execute("UPDATE alert_deliveries SET ended_at = now() - interval '25 hours'")
    assert await shown() == (0, 0)


async def test_fifty_workers_deliver_each_alert_once(
    opened: Open, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    async with opened() as one, opened() as two, opened() as three:
        apps = (one, two, three)
        scope = await a_tenant(one)
        for _ in range(3):
            await add(one, scope, endpoint.url)
        # Fifty find the same crossings at once: each level is raised once, whoever comes first.
        async with delivering(*(apps[place % 3] for place in range(50))):
            raised = await asyncio.gather(
                *(
                    raise_alert(apps[place % 3], scope, period=f"2026-10/{level}")
                    for place in range(50)
                    for level in LEVELS
                )
            )
            await all_sent(books, 9, within_s=20)
            await asyncio.sleep(0.3)
    assert sum(raised) == len(LEVELS)
    assert sorted(endpoint.ids) == sorted(sorted(set(endpoint.ids)) * 3)
    assert len(set(endpoint.ids)) == len(LEVELS)
    assert {attempts for _, attempts in await states(books)} == {1}


async def test_a_restart_between_fan_out_and_sending_loses_nothing(
    opened: Open, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    async with opened() as first:
        scope = await a_tenant(first)
        await add(first, scope, endpoint.url)
        for level in LEVELS:
            await raise_alert(first, scope, period=str(level))
        async with first.db.operator() as db:
            found = await alerts.fan_out(db, limit=100)
            assert (found.alerts, found.deliveries) == (3, 3)
            taken = await alerts.take_due(db, limit=1, per_webhook=1, leave_out=(), lease_s=1.0)
        assert len(taken) == 1  # dies with one in its hands
    async with opened() as second, opened() as third:
        async with delivering(second, third):
            await all_sent(books, 3)
        await raise_alert(second, scope, period="80")  # told before
        async with second.db.operator() as db:
            assert (await alerts.fan_out(db, limit=100)).alerts == 0
        with pytest.raises(NotFound):
            await webhooks.send_sample(second, None, taken[0].webhook_id)
    assert sorted(endpoint.ids) == sorted(set(endpoint.ids))
    assert sorted(attempts for _, attempts in await states(books)) == [1, 1, 2]


async def test_one_dead_endpoint_holds_nobody_up(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    async with receiver() as dead:
        dead.stall_s = 30.0
        await add(app, scope, dead.url)
        for place in range(40):
            await raise_alert(app, scope, period=f"d{place}")
        async with delivering(app):
            await until(lambda: len(dead.got) == alerting.PER_WEBHOOK)
            other = await a_tenant(app)
            await add(app, other, endpoint.url)
            await add(app, scope, endpoint.url, events="webhook.second")  # the same tenant's healthy one
            began_s = time.monotonic()
            for place in range(20):
                await raise_alert(app, other, period=str(place))
                await raise_alert(app, scope, kind="webhook.second", period=str(place))
            await until(lambda: len(endpoint.got) == 40)
            assert time.monotonic() - began_s < 5
            assert len(dead.got) <= alerting.PER_WEBHOOK + 1
            async with asyncio.timeout(5):
                while sum(state == "sent" for state, _ in await states(books)) < 40:
                    await asyncio.sleep(0.02)


async def test_the_filter_decides_who_hears_what(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    other = await a_tenant(app)
    wanted = {
        "budget.*": {"budget.threshold", "budget.forecast"},
        "budget.threshold provider_key.*": {"budget.threshold", "provider_key.spend"},
        "budget": set[str](),
        "*": {"budget.threshold", "budget.forecast", "provider_key.spend", "budgetary.x"},
    }
    ids = {(await add(app, scope, endpoint.url, events=events)).webhook.id: kinds for events, kinds in wanted.items()}
    platform = (await add(app, None, endpoint.url, events="budget.*")).webhook.id
    for kind in wanted["*"]:
        await raise_alert(app, scope, kind=kind)
    await raise_alert(app, other)
    await raise_alert(app, None, kind="budget.platform")
    async with app.db.operator() as db:
        found = await alerts.fan_out(db, limit=100)
    assert found.alerts == 6
    rows = await books.fetch("SELECT webhook_id, kind FROM alert_deliveries JOIN alerts ON alerts.id = alert_id")
    heard = {webhook_id: {row["kind"] for row in rows if str(row["webhook_id"]) == webhook_id} for webhook_id in ids}
    assert heard == ids
    # The platform's hears everybody's.
    assert sorted(row["kind"] for row in rows if str(row["webhook_id"]) == platform) == [
        "budget.forecast",
        "budget.platform",
        "budget.threshold",
        "budget.threshold",
    ]


async def test_it_is_given_up_after_a_day_and_at_once_when_gone(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    endpoint.answers = [(503, "later"), (410, "never again")]
    added = await add(app, scope, endpoint.url)
    await raise_alert(app, scope, period="1")
    async with app.db.operator() as db:
        await alerts.fan_out(db, limit=9)
    await books.execute("UPDATE alert_deliveries SET created_at = now() - interval '23 hours 59 minutes', attempts = 8")
    async with delivering(app):
        await until(lambda: len(endpoint.got) == 1)
        async with asyncio.timeout(5):
            while await states(books) != [("failed", 9)]:
                await asyncio.sleep(0.02)
        await raise_alert(app, scope, period="2")
        await until(lambda: len(endpoint.got) == 2)
        async with asyncio.timeout(5):
            while (await states(books))[-1] != ("failed", 1):
                await asyncio.sleep(0.02)
    now = await look(app, scope, added.webhook.id)
    assert (now.enabled, now.last_error) == (False, "answered 410: never again")
    await raise_alert(app, scope, period="3")
    async with app.db.operator() as db:
        found = await alerts.fan_out(db, limit=9)
    assert (found.alerts, found.deliveries) == (1, 0)


async def test_redirects_and_our_own_network_are_refused(
    opened: Callable[..., AbstractAsyncContextManager[Services]], endpoint: Endpoint
) -> None:
    endpoint.answers = [(302, "")]
    endpoint.headers = {"location": endpoint.url + "/elsewhere"}
    async with opened() as app:
        scope = await a_tenant(app)
        added = await add(app, scope, endpoint.url)
        sampled = await webhooks.send_sample(app, scope, added.webhook.id)
        assert (sampled.outcome.ok, sampled.outcome.status) == (False, 302)
        assert "redirects are not followed" in sampled.outcome.error
        with pytest.raises(RateLimited):
            await webhooks.send_sample(app, scope, added.webhook.id)
    async with opened(allowed_addresses=()) as app:
        with pytest.raises(Unprocessable):
            await add(app, scope, endpoint.url)
        await webhooks.change_webhook(app, scope, added.webhook.id, actor="test", enabled=True)
        async with app.db.operator() as db:
            webhook = await alerts.get_webhook(db, scope, added.webhook.id)
        assert webhook is not None
        letter = a_letter()
        came = await webhooks.send_letter(
            app, letter, kind="webhook", target=endpoint.url, secret=webhook.secret
        )  # stored before the list became shorter
        assert (came.ok, came.status) == (False, None)
        # An operator knows the network: the platform's own may go there.
        own = await add(app, None, endpoint.url)
        assert (await webhooks.send_sample(app, None, own.webhook.id)).outcome.ok
    assert len(endpoint.got) == 2


@pytest.mark.parametrize(
    ("kind", "target", "events"),
    [
        ("webhook", "ftp://example.com/x", "*"),
        ("webhook", "https://user:pw@example.com/x", "*"),
        ("webhook", "http://169.254.169.254/latest", "*"),
        ("webhook", "nonsense", "*"),
        ("webhook", "https://example.com/" + "x" * 1000, "*"),
        ("webhook", "https://example.com/", "budget.**"),
        ("webhook", "https://example.com/", ".*"),
        ("webhook", "https://example.com/", "Budget"),
        ("slack", "ops@example.com", "*"),
        ("email", "ops@example.com", "*"),  # no mail server is set
    ],
)
async def test_what_cannot_be_delivered_to_is_refused_at_once(
    app: Services, scope: Scope, kind: alerts.WebhookKind, target: str, events: str
) -> None:
    with pytest.raises(Unprocessable):
        await add(app, scope, target, kind=kind, events=events)


async def test_an_owner_has_a_bounded_number(app: Services, scope: Scope) -> None:
    for _ in range(alerts.WEBHOOKS_AT_MOST):
        await add(app, scope, "https://ops.example.com/x")
    with pytest.raises(Conflict):
        await add(app, scope, "https://ops.example.com/x")
    await add(app, await a_tenant(app), "https://ops.example.com/x")


async def test_slack_gets_its_shape_and_its_address_stays_hidden(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    added = await add(app, scope, endpoint.url + "/T0/B0/hidden-part", kind="slack")
    assert added.secret == ""
    assert "hidden-part" not in repr(added)
    assert (await look(app, scope, added.webhook.id)).target.endswith("/…")
    await raise_alert(app, scope)
    with capture_logs() as lines:
        async with delivering(app):
            await all_sent(books, 1)
    told = json.loads(endpoint.got[0][1])
    assert told["text"] == "Warning: budget.threshold: 80 % of &lt;October's&gt; budget &amp; more is spent"
    assert [block["type"] for block in told["blocks"]] == ["header", "section", "context"]
    stored = str([dict(row) for row in await books.fetch("SELECT * FROM webhooks")])
    assert "hidden-part" not in stored + str(lines)


# E-mail ---------------------------------------------------------------------------------------------------------------


@dataclass
class Mailbox:
    """A mail server of this machine. `refuse`: its answer to RCPT; `silent`: it accepts and says nothing."""

    port: int = 0
    refuse: str = ""
    silent: bool = False
    tls: ssl.SSLContext | None = None
    mails: list[str] = field(default_factory=list[str])
    users: list[str] = field(default_factory=list[str])
    in_tls: list[bool] = field(default_factory=list[bool])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await reader.read()
            return
        secure = writer.get_extra_info("ssl_object") is not None
        writer.write(b"220 mail.test\r\n")
        while line := (await reader.readline()).decode().strip():
            match line.split(" ")[0].upper():
                case "EHLO":
                    offers = ["mail.test", *(["STARTTLS"] if self.tls and not secure else []), "AUTH PLAIN"]
                    said = "".join(f"250-{one}\r\n" for one in offers[:-1]) + f"250 {offers[-1]}\r\n"
                    writer.write(said.encode())
                case "STARTTLS":
                    assert self.tls is not None
                    writer.write(b"220 go\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    secure = True
                case "AUTH":
                    self.users.append(base64.b64decode(line.split(" ")[2]).split(b"\0")[1].decode())
                    writer.write(b"235 ok\r\n")
                case "RCPT" if self.refuse:
                    writer.write(f"{self.refuse}\r\n".encode())
                case "DATA":
                    writer.write(b"354 go\r\n")
                    mail = await reader.readuntil(b"\r\n.\r\n")
                    self.mails.append(mail.decode())
                    self.in_tls.append(secure)
                    writer.write(b"250 taken\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")


@asynccontextmanager
async def mail_server(
    mailbox: Mailbox, *, tls_first: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncGenerator[Mailbox]:
    server = await asyncio.start_server(mailbox.serve, host, 0, ssl=tls_first)
    async with server:
        mailbox.port = server.sockets[0].getsockname()[1]
        yield mailbox


def a_letter() -> Letter:
    return Letter(
        id="0190f1d2-0000-7000-8000-000000000001",
        type="budget.threshold",
        level="critical",
        message="100 %\r\nBcc: everybody@example.com – ä",
        subject="month",
        period="2026-10",
        tenant_id=None,
        detail={},
        created_at="2026-10-31T00:00:00Z",
    )


def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(the server's TLS, a client's that trusts it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def test_an_alert_arrives_by_mail(
    opened: Callable[..., AbstractAsyncContextManager[Services]], books: asyncpg.Connection
) -> None:
    async with (
        mail_server(Mailbox()) as mailbox,
        opened(smtp_url=f"smtp://me:pw-of-mail@127.0.0.1:{mailbox.port}", smtp_from="cw@shop.example") as app,
    ):
        scope = await a_tenant(app)
        for target in ("nobody", "a@b@c", "x@example.com\r\nBcc: y@example.com", "Ops <ops@example.com>"):
            with pytest.raises(Unprocessable):
                await add(app, scope, target, kind="email")
        await add(app, scope, "ops@example.com", kind="email")
        await raise_alert(app, scope)
        async with delivering(app):
            await all_sent(books, 1)
        mailbox.refuse = "550 no such user"
        other = (await add(app, scope, "gone@example.com", kind="email")).webhook.id
        sampled = (await webhooks.send_sample(app, scope, other)).outcome
        assert (sampled.ok, sampled.status) == (False, 550)
        assert "no such user" in sampled.error
    mail = mailbox.mails[0]
    assert mailbox.users[0] == "me"
    for line in ("From: cw@shop.example", "To: ops@example.com", "kind: budget.threshold"):
        assert line in mail
    assert "Subject: [chatwright] warning: 80 % of <October's> budget & more is spent" in mail


async def test_a_mail_server_that_says_nothing_blocks_neither_the_loop_nor_the_end(tmp_path: Path) -> None:
    async with mail_server(Mailbox(silent=True)) as mailbox:
        courier = EmailCourier(read_smtp_url(f"smtp://127.0.0.1:{mailbox.port}"), timeout_s=0.5)
        began_s, ticks = time.monotonic(), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick(), name="tick")
        outcomes = await asyncio.gather(*(courier.send(a_letter(), Place(target="a@example.com")) for _ in range(10)))
        took_s = time.monotonic() - began_s
        ticking.cancel()
        await asyncio.wait({ticking})
        courier.close()
    assert {outcome.error for outcome in outcomes} == {"the mail server did not take it within 0.5 s"}
    assert took_s < 2
    assert ticks > 10, "the loop went on"
    began_s = time.monotonic()
    await asyncio.to_thread(courier._threads.shutdown, wait=True)
    assert time.monotonic() - began_s < 2  # cut off, not waited for


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_mail_goes_over_tls_that_is_checked(scheme: str, tmp_path: Path) -> None:
    server_tls, client_tls = certificate(tmp_path)
    mailbox = Mailbox(tls=server_tls)
    async with mail_server(mailbox, tls_first=server_tls if scheme == "smtps" else None):
        url = f"{scheme}://me%40shop.example:p%2Fw@127.0.0.1:{mailbox.port}"
        trusting = EmailCourier(read_smtp_url(url), tls=client_tls)
        outcome = await trusting.send(a_letter(), Place(target="ops@example.com"))
        assert outcome.ok, outcome.error
        strict = EmailCourier(read_smtp_url(url))
        refused = await strict.send(a_letter(), Place(target="ops@example.com"))
        assert not refused.ok
        assert "CERTIFICATE_VERIFY_FAILED" in refused.error
        trusting.close()
        strict.close()
    assert (mailbox.users, mailbox.in_tls, len(mailbox.mails)) == (["me@shop.example"], [True], 1)
    assert "From: me@shop.example" in mailbox.mails[0]
    assert "\nBcc:" not in mailbox.mails[0].partition("\r\n\r\n")[0]


@pytest.mark.parametrize(
    "url", ["http://x", "smtp://", "smtp://user:top-secret@host:99999", "mail.example.com", "smtp://["]
)
def test_an_unreadable_mail_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"smtp|sender") as failed:
        read_smtp_url(url)
    assert "top-secret" not in str(failed.value)


async def test_a_password_goes_to_no_other_machine_without_tls() -> None:
    async with mail_server(Mailbox(), host="127.0.0.2") as mailbox:  # not one of the names of this machine
        for user, sent in (("me:pw@", False), ("", True)):
            courier = EmailCourier(read_smtp_url(f"smtp://{user}127.0.0.2:{mailbox.port}"))
            outcome = await courier.send(a_letter(), Place(target="ops@example.com"))
            courier.close()
            assert outcome.ok is sent
            assert sent or "no TLS" in outcome.error
    assert (mailbox.users, len(mailbox.mails)) == ([], 1)


async def test_a_worker_that_is_stopped_between_telling_and_noting_notes_it(
    app: Services, scope: Scope, endpoint: Endpoint, books: asyncpg.Connection
) -> None:
    await add(app, scope, endpoint.url)
    await raise_alert(app, scope)
    endpoint.stall_s = 0.3
    task = asyncio.create_task(alerting.deliver_forever(app, poll_s=0.05), name="deliver")
    await until(lambda: len(endpoint.got) == 1)
    async with books.transaction():
        await books.execute("SELECT FROM alert_deliveries FOR UPDATE")
        await asyncio.sleep(0.8)  # answered by now; the note waits for the row
        task.cancel()
        await asyncio.sleep(0.2)
        assert not task.done()
    await asyncio.wait({task})
    assert await states(books) == [("sent", 1)]
