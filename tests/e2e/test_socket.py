"""The WebSocket as a widget uses it: auth, messages, resume, and readers and writers that misbehave."""

import json
import socket
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

ENDINGS = ("stream_complete", "stream_error")


def make_chatbot(live: "Live", model: str) -> dict[str, Any]:
    slug = f"ws-{uuid.uuid4().hex[:10]}"
    body = {
        "name": slug,
        "slug": slug,
        "providers": [{"provider": "openai", "model": model}],
        "allowed_origins": ["https://shop.example"],
    }
    made = live.http("POST", "/api/v1/chatbots", body)
    assert made.status == 201, made.body
    return made.json


def visitor_token(live: "Live", chatbot: dict[str, Any], visitor_id: str | None = None) -> dict[str, Any]:
    body = {"widget_id": chatbot["widget_id"]} | ({} if visitor_id is None else {"visitor_id": visitor_id})
    made = live.http("POST", "/api/v1/widget/token", body, key=None, headers={"origin": "https://shop.example"})
    assert made.status == 200, made.body
    return made.json


def address(live: "Live") -> str:
    return live.base_url.replace("http", "ws", 1) + "/api/v1/ws"


@contextmanager
def opened(live: "Live", token: str) -> Generator[ClientConnection]:
    with connect(address(live), proxy=None, compression=None) as connection:
        say(connection, type="auth", token=token)
        assert hear(connection)["type"] == "ready"
        yield connection


def say(connection: ClientConnection, **frame: Any) -> None:
    connection.send(json.dumps(frame))


def hear(connection: ClientConnection, timeout_s: float = 20) -> dict[str, Any]:
    return json.loads(connection.recv(timeout=timeout_s))


def until(connection: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while not frames or frames[-1]["type"] not in kinds:
        frames.append(hear(connection))
    return frames


def closed_with(connection: ClientConnection, timeout_s: float = 15) -> int:
    deadline = time.monotonic() + timeout_s
    with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - frames may still come before the end
        while time.monotonic() < deadline:
            connection.recv(timeout=timeout_s)
    received = closed.value.rcvd
    assert received is not None
    return received.code


def test_a_visitor_writes_and_is_answered(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim:chunks=12,interval=20")
    token = visitor_token(live, chatbot)
    with opened(live, token["token"]) as connection:
        say(connection, type="message", text="Hello", client_message_id="m1", metadata={"current_page": "/"})
        frames = until(connection, *ENDINGS)
        assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
        assert [frames[0]["type"], frames[1]["type"]] == ["message_accepted", "stream_start"]
        assert frames[0]["client_message_id"] == "m1"
        assert frames[1]["chatbot_id"] == chatbot["id"]
        assert frames[-1]["type"] == "stream_complete"
        assert len({frame["conversation_id"] for frame in frames}) == 1
        assert len({frame["stream_id"] for frame in frames}) == 1
        for name in ("sentiment", "intent", "animation", "suggested_actions", "sources", "usage", "cached"):
            assert name in frames[-1]
        conversation = frames[0]["conversation_id"]
        say(connection, type="message", text="And again", client_message_id="m2", conversation_id=conversation)
        more = until(connection, *ENDINGS)
        assert more[0]["seq"] == frames[-1]["seq"] + 1
        assert more[-1]["conversation_id"] == conversation
    path = f"/api/v1/conversations/{conversation}/messages"
    items = live.http("GET", path, key=token["token"]).json["items"]
    assert [item["role"] for item in items] == ["visitor", "assistant"] * 2
    chunks = "".join(frame["chunk"] for frame in frames if frame["type"] == "stream_chunk")
    assert chunks == items[1]["text"]


def test_a_dropped_client_resumes_without_loss_or_doubling(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim:chunks=40,interval=40")
    token = visitor_token(live, chatbot)["token"]
    with opened(live, token) as connection:
        say(connection, type="message", text="Tell me all", client_message_id="m1")
        seen = [hear(connection) for _ in range(6)]
    conversation, last = seen[0]["conversation_id"], seen[-1]["seq"]
    time.sleep(0.3)
    with opened(live, token) as connection:
        say(connection, type="resume", conversation_id=conversation, after_seq=last)
        rest = until(connection, *ENDINGS)
    numbers = [frame["seq"] for frame in [*seen, *rest]]
    assert numbers == list(range(1, len(numbers) + 1))
    with opened(live, token) as connection:
        say(connection, type="resume", conversation_id=conversation, after_seq=0)
        assert until(connection, *ENDINGS) == [*seen, *rest]


def test_two_connections_see_the_same_events(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim:chunks=10,interval=20")
    token = visitor_token(live, chatbot)["token"]
    with opened(live, token) as one, opened(live, token) as two:
        say(one, type="message", text="Hello", client_message_id="m1")
        first = hear(one)
        say(two, type="resume", conversation_id=first["conversation_id"])
        assert [first, *until(one, *ENDINGS)] == until(two, *ENDINGS)


def test_the_same_client_message_id_is_one_message(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim-1")
    token = visitor_token(live, chatbot)["token"]
    with opened(live, token) as connection:
        say(connection, type="message", text="Once", client_message_id="same")
        first = until(connection, *ENDINGS)[0]
        say(connection, type="message", text="Once", client_message_id="same")
        again = hear(connection)
        assert (again["type"], again["message_id"]) == ("message_accepted", first["message_id"])
        assert again["conversation_id"] == first["conversation_id"]
        say(connection, type="message", text="Twice", client_message_id="same")
        refused = hear(connection)
        assert (refused["type"], refused["code"], refused["client_message_id"]) == ("error", "conflict", "same")


def test_an_answer_is_cancelled(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim:chunks=100,interval=50")
    with opened(live, visitor_token(live, chatbot)["token"]) as connection:
        say(connection, type="message", text="Go on and on", client_message_id="m1")
        frames = until(connection, "stream_chunk")
        say(connection, type="cancel", message_id=frames[0]["message_id"])
        asked = time.monotonic()
        ending = until(connection, *ENDINGS)[-1]
        assert time.monotonic() - asked < 2
        assert (ending["type"], ending["code"]) == ("stream_error", "cancelled")


def test_a_tenants_key_speaks_for_its_chatbots(live: "Live") -> None:
    with opened(live, live.tenant_key) as connection:
        say(connection, type="message", text="Hi", client_message_id=uuid.uuid4().hex)
        assert hear(connection)["param"] == "chatbot"
        say(connection, type="message", text="Hi", client_message_id=uuid.uuid4().hex, chatbot=live.llm_chatbot)
        assert until(connection, *ENDINGS)[-1]["type"] == "stream_complete"


def test_an_open_socket_ends_with_its_key(live: "Live") -> None:
    fresh = live.http("POST", "/api/v1/keys", {"name": "socket"}).json
    with opened(live, fresh["secret"]) as connection:
        live.http("DELETE", f"/api/v1/keys/{fresh['id']}")
        revoked = time.monotonic()
        assert closed_with(connection) == 4401
        assert time.monotonic() - revoked < 2


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"auth","token":"nonsense"}',
        '{"type":"auth","token":"cw_vt_AAAA"}',
        '{"type":"ping"}',
        "not json",
        '{"type":"auth"}',
        "[]",
    ],
)
def test_without_auth_there_is_no_connection(live: "Live", first: str) -> None:
    with connect(address(live), proxy=None) as connection:
        connection.send(first)
        assert hear(connection)["type"] == "error"
        assert closed_with(connection) == 4401


def test_who_says_nothing_is_closed(live: "Live") -> None:
    with connect(address(live), proxy=None) as connection:
        opened_at = time.monotonic()
        assert closed_with(connection, timeout_s=20) == 4408
        assert 8 < time.monotonic() - opened_at < 13


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{", "bad_request", None),
        ('{"type":"dance"}', "unprocessable", "type"),
        ('{"type":"message","text":"a"}', "unprocessable", "client_message_id"),
        ('{"type":"message","text":"a\\u0000","client_message_id":"n"}', "bad_request", "text"),
        ('{"type":"message","text":"\\ud800","client_message_id":"n"}', "bad_request", "text"),
        ('{"type":"message","text":"   ","client_message_id":"n"}', "bad_request", "text"),
        ('{"type":"message","text":"a","client_message_id":"n","chatbot":"not-mine"}', "not_found", None),
        ('{"type":"message","text":"a","client_message_id":"n","conversation_id":"x"}', "not_found", "conversation_id"),
        ('{"type":"resume","conversation_id":"00000000-0000-7000-8000-000000000000"}', "not_found", "conversation_id"),
        ('{"type":"cancel","message_id":"x"}', "not_found", "message_id"),
        ('{"type":"ping","extra":1}', "unprocessable", "extra"),
        (json.dumps({"type": "message", "text": "x" * 40_000, "client_message_id": "n"}), "payload_too_large", "text"),
    ],
)
def test_a_bad_frame_is_answered_and_the_connection_goes_on(
    live: "Live", frame: str, code: str, param: str | None
) -> None:
    chatbot = make_chatbot(live, "sim-1")
    with opened(live, visitor_token(live, chatbot)["token"]) as connection:
        connection.send(frame)
        answer = hear(connection)
        assert (answer["type"], answer["code"], answer.get("param")) == ("error", code, param)
        connection.send(b'{"type":"ping"}')
        assert hear(connection)["type"] == "pong"


def test_whoever_sends_nothing_but_nonsense_is_closed(live: "Live") -> None:
    with opened(live, live.tenant_key) as connection:
        for _ in range(40):
            try:
                connection.send("nonsense")
            except ConnectionClosed:
                break
        assert closed_with(connection) == 1008


def test_a_visitor_cannot_reach_another_visitors_conversation(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim:chunks=30,interval=30")
    mine, theirs = visitor_token(live, chatbot)["token"], visitor_token(live, chatbot)["token"]
    with opened(live, theirs) as connection:
        say(connection, type="message", text="Private", client_message_id="m1")
        private = hear(connection)
        with opened(live, mine) as other:
            say(other, type="resume", conversation_id=private["conversation_id"])
            assert hear(other)["code"] == "not_found"
            say(
                other,
                type="message",
                text="Let me in",
                client_message_id="m1",
                conversation_id=private["conversation_id"],
            )
            assert hear(other)["code"] == "not_found"
            say(other, type="cancel", message_id=private["message_id"])
            assert hear(other)["code"] == "not_found"
            say(other, type="auth", token=theirs)
            assert hear(other)["code"] == "not_found"
        assert until(connection, *ENDINGS)[-1]["type"] == "stream_complete"


def test_a_token_is_renewed_on_an_open_connection(live: "Live") -> None:
    chatbot = make_chatbot(live, "sim-1")
    token = visitor_token(live, chatbot)
    again = visitor_token(live, chatbot, token["visitor_id"])
    assert again["visitor_id"] == token["visitor_id"]
    with opened(live, token["token"]) as connection:
        say(connection, type="auth", token=again["token"])
        assert hear(connection) == {"type": "ready", "visitor_id": token["visitor_id"]}


def test_a_reader_that_never_reads_is_closed_and_harms_nobody(live: "Live") -> None:
    """A raw socket that sends requests and never takes a byte: the server must not keep it, nor buffer without end."""
    chatbot = make_chatbot(live, "sim:chunks=1")
    token = visitor_token(live, chatbot)["token"]
    where = urlsplit(live.base_url)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect((where.hostname, where.port))
        raw.settimeout(2)
        raw.sendall(
            f"GET /api/v1/ws HTTP/1.1\r\nhost: {where.netloc}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n".encode()
        )
        raw.recv(200)
        raw.sendall(_masked({"type": "auth", "token": token}))
        ping = _masked({"type": "ping"}) * 200
        started = time.monotonic()
        try:
            while time.monotonic() - started < 40:
                try:
                    raw.sendall(ping)
                except TimeoutError:
                    continue
        except OSError:
            pass  # closed on us, as it should be
        assert time.monotonic() - started < 40
    with opened(live, token) as connection:
        say(connection, type="ping")
        assert hear(connection)["type"] == "pong"


def _masked(frame: dict[str, Any]) -> bytes:
    payload = json.dumps(frame).encode()
    head = bytes([0x81, 0x80 | len(payload)]) if len(payload) < 126 else b"\x81\xfe" + len(payload).to_bytes(2)
    return head + b"\0\0\0\0" + payload  # a mask of zeros leaves the payload as it is
