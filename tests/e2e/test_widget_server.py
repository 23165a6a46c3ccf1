"""Whose pages a running server lets speak: the socket's Origin, the frame page's own, and the list that changes meanwhile."""

import json
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

SHOP = "https://shop.example"


def make_chatbot(live: "Live", *, origins: tuple[str, ...] = (SHOP,)) -> dict[str, Any]:
    slug = f"origins-{uuid.uuid4().hex[:10]}"
    body = {"name": slug, "slug": slug, "providers": [{"provider": "openai", "model": "sim:chunks=3,interval=1"}]}
    made = live.http("POST", "/api/v1/chatbots", body | {"allowed_origins": list(origins)})
    assert made.status == 201, made.body
    return made.json


def token_of(live: "Live", chatbot: dict[str, Any], visitor_id: str = "ann") -> str:
    """A visitor's token, got with the tenant's key: so it says nothing of any page."""
    made = live.http("POST", "/api/v1/widget/token", {"widget_id": chatbot["widget_id"], "visitor_id": visitor_id})
    assert made.status == 200, made.body
    return made.json["token"]


@contextmanager
def socket_of(live: "Live", origin: str | None) -> Generator[ClientConnection]:
    url = live.base_url.replace("http", "ws", 1) + "/api/v1/ws"
    with connect(url, proxy=None, compression=None, origin=origin) as connection:  # type: ignore[arg-type]
        yield connection


def authenticate(connection: ClientConnection, token: str) -> dict[str, Any]:
    connection.send(json.dumps({"type": "auth", "token": token}))
    return json.loads(connection.recv(timeout=20))


def assert_refused(connection: ClientConnection, frame: dict[str, Any]) -> None:
    assert (frame["type"], frame["code"], frame["param"]) == ("error", "forbidden", "origin")
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://shop.example", "https://shop.example:8443", "null", ""]
)
def test_a_visitor_s_token_opens_no_socket_on_another_site(live: "Live", origin: str) -> None:
    token = token_of(live, make_chatbot(live))
    with socket_of(live, origin) as connection:
        assert_refused(connection, authenticate(connection, token))


def test_sockets_open_on_the_listed_site_our_own_pages_and_outside_of_browsers(live: "Live") -> None:
    token = token_of(live, make_chatbot(live))
    for origin in (SHOP, "HTTPS://SHOP.example", live.base_url, None):
        with socket_of(live, origin) as connection:
            assert authenticate(connection, token)["type"] == "ready", origin


def test_our_own_pages_speak_for_a_chatbot_without_a_list_only_where_it_has_a_demo(live: "Live") -> None:
    made = live.http("POST", "/api/v1/tenants", {"name": f"Elsewhere {uuid.uuid4().hex[:6]}"}, key="admin")
    assert made.status == 201, made.body
    key = made.json["key"]["secret"]
    chatbot = live.http("POST", "/api/v1/chatbots", {"name": "Hidden"}, key=key).json
    asked = {"widget_id": chatbot["widget_id"], "visitor_id": "ann"}
    token = live.http("POST", "/api/v1/widget/token", asked, key=key).json["token"]
    with socket_of(live, live.base_url) as connection:
        assert_refused(connection, authenticate(connection, token))
    own = {"origin": live.base_url, "sec-fetch-site": "same-origin"}
    assert live.http("POST", "/api/v1/widget/token", asked, key=None, headers=own).status == 403
    assert live.http("GET", f"/widget/frame/{chatbot['widget_id']}", key=None).status == 403
    shown = make_chatbot(live, origins=())  # of the demo's tenant
    with socket_of(live, live.base_url) as connection:
        assert authenticate(connection, token_of(live, shown))["type"] == "ready"


def test_a_site_that_was_taken_off_the_list_is_shut_out_with_its_next_token(live: "Live") -> None:
    chatbot = make_chatbot(live)
    with socket_of(live, SHOP) as connection:
        assert authenticate(connection, token_of(live, chatbot))["type"] == "ready"
        changed = live.http(
            "PATCH", f"/api/v1/chatbots/{chatbot['id']}", {"allowed_origins": ["https://other.example"]}
        )
        assert changed.status == 200
        assert_refused(connection, authenticate(connection, token_of(live, chatbot)))


def test_a_tenant_s_key_is_not_bound_to_pages(live: "Live") -> None:
    with socket_of(live, "https://evil.example") as connection:
        assert authenticate(connection, live.tenant_key)["type"] == "ready"


def test_a_visitor_on_the_listed_site_is_answered_and_rates(live: "Live") -> None:
    chatbot = make_chatbot(live)
    token = token_of(live, chatbot)
    with socket_of(live, SHOP) as connection:
        authenticate(connection, token)
        connection.send(json.dumps({"type": "message", "text": "Hello", "client_message_id": uuid.uuid4().hex}))
        frame: dict[str, Any] = {"type": ""}
        while frame["type"] not in ("stream_complete", "stream_error", "error"):
            frame = json.loads(connection.recv(timeout=30))
    assert frame["type"] == "stream_complete"
    path = f"/api/v1/conversations/{frame['conversation_id']}/messages"
    preflight = live.http(
        "OPTIONS", f"{path}/{frame['message_id']}/feedback", key=None,
        headers={"origin": SHOP, "access-control-request-method": "POST"},
    )  # fmt: skip
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, SHOP)
    rated = live.http(
        "POST", f"{path}/{frame['message_id']}/feedback", {"rating": "up"}, key=token, headers={"origin": SHOP}
    )
    assert (rated.status, rated.json["rating"]) == (200, "up")
    answer = live.http("GET", path, key=token).json["items"][-1]
    assert (answer["role"], answer["rating"]) == ("assistant", "up")


def test_the_metric_counts_ratings(live: "Live") -> None:
    asked = live.ask("How do I start?")
    path = f"/api/v1/conversations/{asked['conversation_id']}/messages/{asked['message_id']}/feedback"
    assert live.http("POST", path, {"rating": "down", "comment": "no"}).status == 200
    assert 'ai_feedback_total{process="api",rating="down"}' in live.http("GET", "/metrics", key=None).body.decode()
