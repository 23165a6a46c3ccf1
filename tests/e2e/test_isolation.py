"""One tenant never sees, names or changes what is another's; one visitor never another visitor's."""

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

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
        live.base_url,
    ):
        refused = token(live, theirs.chatbot, origin=origin)
        assert (refused.status, refused.json["error"]["param"]) == (403, "origin"), origin
        assert refused.headers.get("access-control-allow-origin") != origin or origin == live.base_url
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
