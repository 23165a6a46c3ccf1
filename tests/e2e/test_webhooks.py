"""Webhooks from outside: over REST and the command line, kept apart by tenant, delivered by the running product."""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest

from chatwright.domain.ids import new_id
from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

PATH = "/api/v1/webhooks"
TARGET = "https://ops.example.com/alerts"


class _Receiver(ThreadingHTTPServer):
    """Keeps what it gets; answers 200, or 503 for `refuse` requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.refuse = 0
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("_Receiver", self.server)
        body = self.rfile.read(int(self.headers["content-length"]))
        refused = server.refuse > 0
        server.refuse -= refused
        server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        said = b"not now" if refused else b"ok"
        self.send_response(503 if refused else 200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture
def receiver() -> Generator[_Receiver]:
    with _Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, name="receiver")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tenant(live: "Live") -> str:
    """The key of a tenant of its own."""
    return live.http("POST", "/api/v1/tenants", {"name": "Alerted"}, key="admin").json["key"]["secret"]


def raise_alert(live: "Live", kind: str) -> str:
    """An alert of the live tenant, as a flow of ours would raise it. Returns its id."""
    alert_id = new_id()

    async def work() -> None:
        url = json.loads((live.data_dir / "servers.json").read_text())["superuser_database_url"]
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "INSERT INTO alerts (id, tenant_id, kind, level, subject, period, message)"
                " VALUES ($1, $2, $3, 'critical', 'month', '2026-10', 'all of it is spent')",
                alert_id,
                live.tenant_id,
                kind,
            )
        finally:
            await connection.close()

    asyncio.run(work())
    return alert_id


def wait_for(receiver: _Receiver, count: int, within_s: float) -> float:
    """Seconds until so many requests were there."""
    began_s = time.monotonic()
    while len(receiver.got) < count:
        assert time.monotonic() - began_s < within_s, receiver.got
        time.sleep(0.02)
    return time.monotonic() - began_s


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(wanted, headers["webhook-signature"])


def test_a_webhook_comes_changes_and_goes(live: "Live", tenant: str) -> None:
    made = live.http("POST", PATH, {"target": TARGET, "events": ["budget.*"]}, key=tenant,
                     headers={"idempotency-key": "w1"})  # fmt: skip
    assert made.status == 201
    secret = made.json["secret"]
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    again = live.http("POST", PATH, {"target": TARGET, "events": ["budget.*"]}, key=tenant,
                      headers={"idempotency-key": "w1"})  # fmt: skip
    assert again.json == made.json
    shown = {name: value for name, value in made.json.items() if name != "secret"}
    one = f"{PATH}/{shown['id']}"
    assert shown["events"] == ["budget.*"]
    assert live.http("GET", PATH, key=tenant).json == {"items": [shown], "next_cursor": None}
    assert live.http("GET", one, key=tenant).json == shown
    changed = live.http("PATCH", one, {"enabled": False, "events": ["*"]}, key=tenant)
    assert (changed.json["enabled"], changed.json["events"]) == (False, ["*"])
    # Another tenant, the platform, and nobody.
    for key in ("tenant", "admin"):
        assert live.http("GET", one, key=key).status == 404
        assert live.http("PATCH", one, {"enabled": True}, key=key).status == 404
        assert live.http("POST", f"{one}/test", key=key).status == 404
        assert live.http("DELETE", one, key=key).status == 404
        assert shown["id"] not in live.http("GET", f"{PATH}?limit=200", key=key).body.decode()
    assert live.http("GET", PATH, key=None).status == 401
    assert live.http("DELETE", one, key=tenant).status == 204
    assert live.http("GET", one, key=tenant).status == 404
    audit = live.http("GET", "/api/v1/audit", key=tenant)
    assert [entry["action"] for entry in audit.json["items"] if entry["action"].startswith("webhook.")] == [
        "webhook.removed",
        "webhook.changed",
        "webhook.created",
    ]
    assert secret not in audit.body.decode() + live.log_file.read_text()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"target": TARGET, "kind": "pager"},
        {"target": TARGET, "events": []},
        {"target": TARGET, "events": ["budget.*.x"]},
        {"target": "http://127.0.0.1:1/x"},
        {"target": "http://[::1]:1/x"},
        {"target": "file:///etc/passwd"},
        {"target": "ops@example.com", "kind": "email"},
        {"target": TARGET, "secret": "mine"},
    ],
)
def test_what_cannot_be_is_refused(live: "Live", tenant: str, body: dict[str, Any]) -> None:
    assert live.http("POST", PATH, body, key=tenant).status == 422
    assert live.http("GET", PATH, key=tenant).json["items"] == []


def test_the_running_product_delivers_and_comes_back(live: "Live", receiver: _Receiver) -> None:
    made = live.http("POST", PATH, {"target": receiver.url, "events": ["e2e.*"]}, key="admin").json
    one = f"{PATH}/{made['id']}"
    came = live.http("POST", f"{one}/test", key="admin")
    assert (came.status, came.json["ok"], came.json["status"]) == (200, True, 200)
    too_soon = live.http("POST", f"{one}/test", key="admin")
    assert too_soon.status == 429
    receiver.refuse = 1
    alert_id = raise_alert(live, "e2e.spent")
    raise_alert(live, "other.spent")
    assert wait_for(receiver, 2, within_s=10) < 3
    wait_for(receiver, 3, within_s=15)
    _, first, second = receiver.got
    assert first[0]["webhook-id"] == second[0]["webhook-id"] == alert_id
    assert first[1] == second[1]
    assert all(verified(made["secret"], *got) for got in receiver.got)
    assert json.loads(first[1])["data"]["tenant_id"] == live.tenant_id
    give_up_at = time.monotonic() + 5
    while live.http("GET", one, key="admin").json["last_ok_at"] is None and time.monotonic() < give_up_at:
        time.sleep(0.1)
    now = live.http("GET", one, key="admin").json
    assert (now["failures"], now["last_error"]) == (0, "answered 503: not now")
    assert len(receiver.got) == 3
    assert live.http("DELETE", one, key="admin").status == 204


# The command line -----------------------------------------------------------------------------------------------------


def cli(live: "Live", *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = e2e.clean_environment(CHATWRIGHT_DATA_DIR=str(live.data_dir))
    return e2e.chatwright("webhook", *arguments, env=env, stdin=stdin)


def test_webhooks_are_administered_from_the_command_line(live: "Live", receiver: _Receiver) -> None:
    done = cli(live, "add", TARGET, "--event", "budget.*", "--event", "provider_key.*")
    assert done.returncode == 0, done.stderr
    assert "whsec_" in done.stdout
    listed = json.loads(cli(live, "list", "--json").stdout)
    assert [(one["target"], one["events"]) for one in listed] == [(TARGET, ["budget.*", "provider_key.*"])]
    assert "budget.*, provider_key.*" in cli(live, "list").stdout
    slack = cli(live, "add", "-", "--kind", "slack", "--platform", "--json", stdin=f"{receiver.url}/hidden\n")
    made = json.loads(slack.stdout)
    assert (made["secret"], "hidden" in slack.stdout) == (None, False)
    tested = cli(live, "test", made["id"], "--platform")
    assert (tested.returncode, tested.stdout.startswith("delivered")) == (0, True), tested.stderr
    assert json.loads(receiver.got[0][1])["blocks"]
    receiver.refuse = 1
    time.sleep(5)
    refused = cli(live, "test", made["id"], "--platform", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["status"]) == (1, 503)
    assert cli(live, "remove", made["id"], "--platform", "--yes").returncode == 0
    assert cli(live, "remove", listed[0]["id"], "--yes").returncode == 0
    assert cli(live, "remove", listed[0]["id"], "--yes").returncode == 1
    assert cli(live, "add", "ops@example.com", "--kind", "email").returncode == 1
    assert cli(live, "add", TARGET, "--kind", "pager").returncode == 2
