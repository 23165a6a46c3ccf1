"""One tenant never sees, names or changes what is another's; one visitor never another visitor's."""

import asyncio
import http.client
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from chatwright.features.credentials import VisitorTokens

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

ORIGIN = "https://shop.example"


@dataclass(frozen=True)
class Tenant:
    key: str
    chatbot: dict[str, Any]
    conversation: str
    message: str
    document: str
    job: str
    api_key: str


@pytest.fixture(scope="module")
def theirs(live: "Live") -> Tenant:
    """Another tenant with one of everything."""
    made = live.http("POST", "/api/v1/tenants", {"name": "Theirs"}, key="admin").json
    key = made["key"]["secret"]
    body = {
        "name": "Secret plans",
        "slug": f"theirs-{uuid.uuid4().hex[:8]}",
        "providers": [{"provider": "openai", "model": "sim:reply=the%20secret%20answer"}],
        "allowed_origins": [ORIGIN],
    }
    chatbot = live.http("POST", "/api/v1/chatbots", body, key=key).json
    conversation = live.http("POST", "/api/v1/conversations", {"chatbot": chatbot["slug"]}, key=key).json["id"]
    path = f"/api/v1/conversations/{conversation}/messages?wait=true"
    message = live.http("POST", path, {"text": "the secret question"}, key=key, timeout_s=60).json["message_id"]
    base = f"/api/v1/knowledge-bases/{chatbot['knowledge_base_id']}/documents"
    document = live.http("POST", base, {"title": "Plans", "text": "The secret launch is in May."}, key=key).json["id"]
    deadline = time.monotonic() + 30
    while live.http("GET", f"{base}/{document}", key=key).json["state"] != "indexed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    job = live.http("POST", "/api/v1/jobs", {"type": "sentiment_analysis", "payload": {"text": "x"}}, key=key).json
    chatbot = live.http("GET", f"/api/v1/chatbots/{chatbot['id']}", key=key).json  # it has knowledge now
    return Tenant(key, chatbot, conversation, message, document, job["id"], made["key"]["id"])


def test_every_id_of_another_tenant_is_unknown(live: "Live", theirs: Tenant) -> None:
    base = f"/api/v1/knowledge-bases/{theirs.chatbot['knowledge_base_id']}"
    talk = f"/api/v1/conversations/{theirs.conversation}"
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"/api/v1/chatbots/{theirs.chatbot['id']}", None),
        ("GET", f"/api/v1/chatbots/{theirs.chatbot['slug']}", None),
        ("PATCH", f"/api/v1/chatbots/{theirs.chatbot['id']}", {"name": "Mine"}),
        ("DELETE", f"/api/v1/chatbots/{theirs.chatbot['id']}", None),
        ("GET", talk, None),
        ("GET", f"{talk}/messages", None),
        ("POST", f"{talk}/messages", {"text": "hello"}),
        ("GET", f"{talk}/events", None),
        ("POST", f"{talk}/messages/{theirs.message}/cancel", None),
        ("GET", base, None),
        ("GET", f"{base}/documents", None),
        ("GET", f"{base}/documents/{theirs.document}", None),
        ("DELETE", f"{base}/documents/{theirs.document}", None),
        ("GET", f"{base}/documents/{theirs.document}/chunks", None),
        ("POST", f"{base}/documents/{theirs.document}/reindex", None),
        ("GET", f"{base}/crawls", None),
        ("PATCH", base, {"name": "Mine"}),
        ("DELETE", base, None),
        ("POST", f"{base}/documents", {"sitemap": "https://example.com/"}),
        ("POST", f"{base}/documents", {"title": "x", "text": "x"}),
        ("GET", f"{base}/search?q=secret", None),
        ("GET", f"/api/v1/jobs/{theirs.job}", None),
        ("DELETE", f"/api/v1/keys/{theirs.api_key}", None),
        ("POST", f"/api/v1/keys/{theirs.api_key}/rotate", {}),
        ("POST", "/api/v1/conversations", {"chatbot": theirs.chatbot["slug"]}),
        ("POST", "/api/v1/conversations", {"chatbot": theirs.chatbot["id"]}),
        ("GET", f"/v1/models/{theirs.chatbot['slug']}", None),
        (
            "POST",
            "/v1/chat/completions",
            {"model": theirs.chatbot["slug"], "messages": [{"role": "user", "content": "x"}]},
        ),
        ("GET", f"/api/v1/conversations?chatbot={theirs.chatbot['id']}", None),
        (
            "POST",
            "/api/v1/jobs",
            {"type": "knowledge_search", "chatbot": theirs.chatbot["id"], "payload": {"query": "x"}},
        ),
    ]
    for method, path, body in requests:
        reply = live.http(method, path, body)
        assert reply.status == 404, (method, path, reply.body)
        assert "ecret" not in reply.body.decode()
    # All of it is still there, untouched.
    assert live.http("GET", f"/api/v1/chatbots/{theirs.chatbot['id']}", key=theirs.key).json == theirs.chatbot
    assert len(live.http("GET", f"{talk}/messages", key=theirs.key).json["items"]) == 2


def test_lists_hold_nothing_of_another_tenant(live: "Live", theirs: Tenant) -> None:
    for path in (
        "/api/v1/chatbots",
        "/api/v1/conversations",
        "/api/v1/keys",
        "/api/v1/dead-letters",
        "/api/v1/audit",
        "/api/v1/knowledge-bases",
        "/v1/models",
    ):
        text = live.http("GET", f"{path}?limit=200" if path.startswith("/api") else path).body.decode()
        for secret in (
            theirs.chatbot["id"],
            theirs.chatbot["slug"],
            theirs.conversation,
            theirs.api_key,
            theirs.document,
            "ecret",
        ):
            assert secret not in text, (path, secret)
    own = live.http("GET", "/api/v1/usage?group_by=chatbot", key=theirs.key).json
    assert {row["chatbot"] for row in own["rows"]} <= {theirs.chatbot["id"], None}


def test_another_tenants_knowledge_base_cannot_be_taken(live: "Live", theirs: Tenant) -> None:
    body = {
        "name": "Thief",
        "slug": f"thief-{uuid.uuid4().hex[:8]}",
        "knowledge_base_id": theirs.chatbot["knowledge_base_id"],
    }
    assert live.http("POST", "/api/v1/chatbots", body).status == 422


def test_the_same_key_and_slug_mean_different_things_to_different_tenants(live: "Live", theirs: Tenant) -> None:
    body, headers = {"name": "Shared", "slug": f"shared-{uuid.uuid4().hex[:8]}"}, {"idempotency-key": uuid.uuid4().hex}
    mine = live.http("POST", "/api/v1/chatbots", body, headers=headers)
    other = live.http("POST", "/api/v1/chatbots", body, key=theirs.key, headers=headers)
    assert (mine.status, other.status) == (201, 201)
    assert mine.json["id"] != other.json["id"]
    assert "idempotency-replayed" not in other.headers


def token(live: "Live", chatbot: dict[str, Any], visitor_id: str | None = None, **headers: str) -> Any:
    body = {"widget_id": chatbot["widget_id"]} | ({} if visitor_id is None else {"visitor_id": visitor_id})
    return live.http("POST", "/api/v1/widget/token", body, key=None, headers={"origin": ORIGIN} | headers)


def test_a_token_needs_an_allowed_origin(live: "Live", theirs: Tenant) -> None:
    good = token(live, theirs.chatbot)
    assert good.status == 200
    assert set(good.json) >= {"token", "expires_at", "visitor_id"}
    assert good.headers["access-control-allow-origin"] == ORIGIN
    for origin in (
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://sub.shop.example",
        "null",
    ):
        refused = token(live, theirs.chatbot, origin=origin)
        assert (refused.status, refused.json["error"]["param"]) == (403, "origin"), origin
        assert refused.headers.get("access-control-allow-origin") != origin
    assert live.http("POST", "/api/v1/widget/token", {"widget_id": theirs.chatbot["widget_id"]}, key=None).status == 403
    assert token(live, {"widget_id": "cw_pub_nobody"}).status == 404


def test_a_browser_may_ask_before_it_sends(live: "Live", theirs: Tenant) -> None:
    del theirs  # its chatbot allows the origin
    asks = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    for path in ("/api/v1/widget/token", "/api/v1/conversations"):
        allowed = live.http("OPTIONS", path, key=None, headers=asks)
        assert allowed.status == 204
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        refused = live.http("OPTIONS", path, key=None, headers=asks | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
    admin = live.http("OPTIONS", "/api/v1/chatbots", key=None, headers=asks)
    assert "access-control-allow-origin" not in admin.headers


def test_a_visitor_sees_its_own_conversations_only(live: "Live", theirs: Tenant) -> None:
    one, two = token(live, theirs.chatbot).json, token(live, theirs.chatbot).json
    assert one["visitor_id"] != two["visitor_id"]
    made = live.http("POST", "/api/v1/conversations", {}, key=one["token"])
    assert (made.status, made.json["visitor_id"]) == (201, one["visitor_id"])
    talk = f"/api/v1/conversations/{made.json['id']}"
    sent = live.http("POST", f"{talk}/messages?wait=true", {"text": "mine"}, key=one["token"], timeout_s=60)
    assert sent.status == 200
    assert live.http("GET", talk, key=one["token"]).status == 200
    for method, path, body in (
        ("GET", talk, None),
        ("GET", f"{talk}/messages", None),
        ("GET", f"{talk}/events", None),
        ("POST", f"{talk}/messages", {"text": "not mine"}),
        ("POST", f"{talk}/messages/{sent.json['message_id']}/cancel", None),
        ("GET", f"/api/v1/conversations/{theirs.conversation}", None),
    ):
        assert live.http(method, path, body, key=two["token"]).status == 404, (method, path)
    other_bot = {"chatbot": live.chatbot}
    assert live.http("POST", "/api/v1/conversations", other_bot, key=one["token"]).status == 404
    claims = {"visitor_id": two["visitor_id"]}
    assert live.http("POST", "/api/v1/conversations", claims, key=one["token"]).status == 403


def test_a_visitor_is_no_tenant(live: "Live", theirs: Tenant) -> None:
    visitor = token(live, theirs.chatbot).json["token"]
    for method, path in (
        ("GET", "/api/v1/chatbots"),
        ("GET", "/api/v1/conversations"),
        ("GET", "/api/v1/keys"),
        ("GET", "/api/v1/usage"),
        ("GET", "/v1/models"),
        ("GET", "/api/v1/tenants"),
        ("GET", "/api/v1/audit"),
    ):
        assert live.http(method, path, key=visitor).status == 403, path


def test_a_page_cannot_become_a_known_visitor(live: "Live", theirs: Tenant) -> None:
    """The tenant's server wrote for its user 42; a page that claims to be user 42 sees nothing of it."""
    body = {"chatbot": theirs.chatbot["slug"], "visitor_id": "user-42"}
    private = live.http("POST", "/api/v1/conversations", body, key=theirs.key).json["id"]
    claimed = token(live, theirs.chatbot, "user-42").json
    assert claimed["visitor_id"] == "user-42"
    assert live.http("GET", f"/api/v1/conversations/{private}", key=claimed["token"]).status == 404
    given = live.http(
        "POST",
        "/api/v1/widget/token",
        {"widget_id": theirs.chatbot["widget_id"], "visitor_id": "user-42"},
        key=theirs.key,
    ).json
    assert live.http("GET", f"/api/v1/conversations/{private}", key=given["token"]).status == 200
    foreign = live.http("POST", "/api/v1/widget/token", {"widget_id": theirs.chatbot["widget_id"]})
    assert foreign.status == 404


def test_forged_tokens_are_refused(live: "Live", theirs: Tenant) -> None:
    good = token(live, theirs.chatbot).json["token"]
    middle = len(good) // 2
    for forged in (
        good[:-4] + "AAAA",
        good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :],
        "cw_vt_",
    ):
        assert live.http("POST", "/api/v1/conversations", {}, key=forged).status == 401


def test_a_visitor_is_not_given_another_visitors_reply(live: "Live", theirs: Tenant) -> None:
    """Pages may number their requests: two visitors with the same Idempotency-Key are still two. A conversation's reply
    holds its visitor's id, and whoever knows that may ask for all of the visitor's conversations."""
    one, two = token(live, theirs.chatbot).json, token(live, theirs.chatbot).json
    headers = {"idempotency-key": "open-1"}
    mine = live.http("POST", "/api/v1/conversations", {}, key=one["token"], headers=headers)
    other = live.http("POST", "/api/v1/conversations", {}, key=two["token"], headers=headers)
    assert (mine.status, other.status) == (201, 201)
    assert mine.json["visitor_id"] == one["visitor_id"]
    assert other.json["visitor_id"] == two["visitor_id"]
    assert mine.json["id"] != other.json["id"]
    again = live.http("POST", "/api/v1/conversations", {}, key=one["token"], headers=headers)
    assert (again.json["id"], again.headers["idempotency-replayed"]) == (mine.json["id"], "true")
    own = live.http("POST", "/api/v1/conversations", {"chatbot": theirs.chatbot["id"]}, key=theirs.key, headers=headers)
    assert own.status == 201  # nor does a visitor's key stand in the tenant's way


def test_the_longest_visitor_id_gets_a_token_that_works(live: "Live", theirs: Tenant) -> None:
    for character in ("\U0001f600", "\x01", '"'):
        given = token(live, theirs.chatbot, character * 200)
        assert given.status == 200
        assert live.http("POST", "/api/v1/conversations", {}, key=given.json["token"]).status == 201


async def _signer(live: "Live") -> VisitorTokens:
    url = json.loads((live.data_dir / "servers.json").read_text())["superuser_database_url"]
    db: Any = await asyncpg.connect(url)
    try:
        return VisitorTokens(await db.fetchval("SELECT secret FROM installation_secrets WHERE name = 'visitor_tokens'"))
    finally:
        await db.close()


def _short_token(live: "Live", chatbot: dict[str, Any], ttl_s: int) -> str:
    given, _ = asyncio.run(_signer(live)).issue(
        tenant_id=chatbot["tenant_id"], chatbot_id=chatbot["id"], visitor_id="v_1", now_s=time.time(), ttl_s=ttl_s
    )
    return given


def _socket_ends_with(live: "Live", credential: str, *, within_s: float) -> int | None:
    """The close code of a socket on which nothing is sent; None if it is still open after `within_s`."""
    address = live.base_url.replace("http", "ws", 1) + "/api/v1/ws"
    with connect(address, proxy=None, compression=None) as connection:
        connection.send(json.dumps({"type": "auth", "token": credential}))
        assert json.loads(connection.recv(timeout=5))["type"] == "ready"
        try:
            connection.recv(timeout=within_s)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
        except TimeoutError:
            return None
    raise AssertionError("nothing was asked for")


def _stream_ends(live: "Live", path: str, credential: str, *, within_s: float) -> bool:
    where = urlsplit(live.base_url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=within_s)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {credential}"})
        reply = connection.getresponse()
        assert reply.status == 200
        while reply.read1(1000):
            pass
        return True
    except TimeoutError:
        return False
    except (http.client.HTTPException, OSError):
        return True
    finally:
        connection.close()


def test_a_visitors_connections_end_with_the_token(live: "Live", theirs: Tenant) -> None:
    credential = _short_token(live, theirs.chatbot, 3)
    talk = live.http("POST", "/api/v1/conversations", {}, key=credential).json["id"]
    assert _stream_ends(live, f"/api/v1/conversations/{talk}/events", credential, within_s=8)
    assert live.http("GET", f"/api/v1/conversations/{talk}", key=credential).status == 401
    assert _socket_ends_with(live, _short_token(live, theirs.chatbot, 2), within_s=8) == 4401


def test_a_tenant_that_is_shut_out_has_no_visitors_either(live: "Live") -> None:
    made = live.http("POST", "/api/v1/tenants", {"name": "Leaver"}, key="admin").json
    body = {"name": "Bot", "slug": "bot", "providers": [{"provider": "extractive"}], "allowed_origins": [ORIGIN]}
    chatbot = live.http("POST", "/api/v1/chatbots", body, key=made["key"]["secret"]).json
    visitor = token(live, chatbot).json["token"]
    assert live.http("POST", "/api/v1/conversations", {}, key=visitor).status == 201
    assert live.http("DELETE", f"/api/v1/tenants/{made['id']}", key="admin").status == 200
    time.sleep(1)
    assert live.http("POST", "/api/v1/conversations", {}, key=visitor).status == 401
    assert token(live, chatbot).status == 404


def test_a_deleted_chatbots_visitors_are_gone(live: "Live", theirs: Tenant) -> None:
    body = {"name": "Gone", "slug": f"gone-{uuid.uuid4().hex[:8]}", "allowed_origins": [ORIGIN]}
    chatbot = live.http("POST", "/api/v1/chatbots", body, key=theirs.key).json
    visitor = token(live, chatbot).json["token"]
    assert live.http("DELETE", f"/api/v1/chatbots/{chatbot['id']}", key=theirs.key).status == 204
    time.sleep(1)
    assert live.http("POST", "/api/v1/conversations", {}, key=visitor).status == 401


def test_a_job_on_another_tenants_things_finds_nothing(live: "Live", theirs: Tenant) -> None:
    """Payloads name things by id; the tenant is the caller's whatever they name."""
    for kind, payload in (
        ("document_index", {"document_id": theirs.document}),
        ("conversation_summary", {"conversation_id": theirs.conversation}),
    ):
        job = live.http("POST", "/api/v1/jobs", {"type": kind, "payload": payload}).json["id"]
        deadline = time.monotonic() + 30
        while (found := live.http("GET", f"/api/v1/jobs/{job}").json)["state"] not in ("done", "failed"):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        assert (found["state"], found["error_code"], found["result"]) == ("failed", "not_found", None)
    base = f"/api/v1/knowledge-bases/{theirs.chatbot['knowledge_base_id']}/documents/{theirs.document}"
    assert live.http("GET", base, key=theirs.key).json["state"] == "indexed"
