"""What no caller should send: always a clear 4xx of the contract, never a 500, and nothing is lost by it."""

import http.client
import json
import random
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import psutil
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Live

UNKNOWN = "01890000-0000-7000-8000-000000000000"
PATHS = [
    ("GET", "/api/v1/chatbots/{}"),
    ("PATCH", "/api/v1/chatbots/{}"),
    ("DELETE", "/api/v1/chatbots/{}"),
    ("DELETE", "/api/v1/keys/{}"),
    ("POST", "/api/v1/keys/{}/rotate"),
    ("GET", "/api/v1/conversations/{}"),
    ("GET", "/api/v1/conversations/{}/messages"),
    ("POST", "/api/v1/conversations/{}/messages"),
    ("GET", "/api/v1/conversations/{}/events"),
    ("POST", "/api/v1/conversations/{}/messages/{}/cancel"),
    ("GET", "/api/v1/knowledge-bases/{}"),
    ("GET", "/api/v1/knowledge-bases/{}/documents"),
    ("POST", "/api/v1/knowledge-bases/{}/documents"),
    ("GET", "/api/v1/knowledge-bases/{}/documents/{}"),
    ("DELETE", "/api/v1/knowledge-bases/{}/documents/{}"),
    ("GET", "/api/v1/knowledge-bases/{}/documents/{}/chunks"),
    ("POST", "/api/v1/knowledge-bases/{}/documents/{}/reindex"),
    ("PATCH", "/api/v1/knowledge-bases/{}"),
    ("DELETE", "/api/v1/knowledge-bases/{}"),
    ("GET", "/api/v1/knowledge-bases/{}/crawls"),
    ("GET", "/api/v1/knowledge-bases/{}/crawls/{}"),
    ("GET", "/api/v1/knowledge-bases/{}/crawls/{}/pages"),
    ("DELETE", "/api/v1/knowledge-bases/{}/crawls/{}"),
    ("GET", "/api/v1/knowledge-bases/{}/search?q=x"),
    ("GET", "/api/v1/jobs/{}"),
    ("GET", "/api/v1/dead-letters/{}"),
    ("POST", "/api/v1/dead-letters/{}/replay"),
    ("POST", "/api/v1/dead-letters/{}/discard"),
    ("GET", "/v1/models/{}"),
]
BODIES = {
    "/api/v1/conversations/{}/messages": {"text": "x"},
    "/api/v1/knowledge-bases/{}/documents": {"title": "t", "text": "x"},
    "/api/v1/knowledge-bases/{}": {"name": "x"},
}
NAMES = [
    UNKNOWN,
    "x",
    "A" * 3000,
    "%00",
    "%ff%fe",
    "..%2f..%2fetc",
    "'; DROP TABLE tenants;--",
    "\U0001f600",
    "-",
    "1e3",
]


def envelope(reply: Any) -> dict[str, Any]:
    error = reply.json["error"]
    assert set(error) >= {"type", "code", "message", "param", "request_id"}
    assert error["message"]
    return error


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda value: value.replace("/api/v1", ""))
def test_unknown_names_are_not_found(live: "Live", method: str, path: str) -> None:
    for name in NAMES:
        text = name if name.startswith("%") else quote(name, safe="%")
        body = BODIES.get(path, {} if method in ("POST", "PATCH") else None)
        reply = live.http(method, path.replace("{}", text), body)
        assert reply.status == 404, (name, reply.body)
        assert envelope(reply)["code"] == "not_found"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "PROPFIND"])
def test_methods_that_are_not_there_are_not_allowed(live: "Live", method: str) -> None:
    reply = live.http(method, "/api/v1/chatbots")
    assert (reply.status, envelope(reply)["code"]) == (405, "method_not_allowed")
    assert "GET" in reply.headers["allow"]


def test_addresses_that_are_not_there_are_not_found(live: "Live") -> None:
    for path in ("/api/v1/nothing", "/api/v1/importer", "/api/v1/chatbots/", "//", "/api/v1/../v1/x", "/%00"):
        assert envelope(live.http("GET", path))["code"] == "not_found", path


@pytest.fixture(scope="module")
def conversation(live: "Live") -> str:
    return live.http("POST", "/api/v1/conversations", {"chatbot": live.llm_chatbot}).json["id"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[]", 422, None),
        (b"{}", 422, "text"),
        (b'{"text":""}', 422, "text"),
        (b'{"text":"  \\n "}', 400, "text"),
        (b'{"text":5}', 422, "text"),
        (b'{"text":"a","priority":11}', 422, "priority"),
        (b'{"text":"a","extra":1}', 422, "extra"),
        (b'{"text":"a\\u0000"}', 400, "text"),
        (b'{"text":"\\ud800"}', 400, "text"),
        (b'{"text":"\\udfff\\ud800"}', 400, "text"),
        (b'{"text":"a","metadata":{"k":"\\u0000"}}', 400, "metadata.k"),
        (b'{"text":"a","metadata":' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}", 400, None),
        (json.dumps({"text": "x" * 32_001}).encode(), 413, "text"),
        (json.dumps({"text": "x" * 1_000_000}).encode(), 413, "text"),
        (json.dumps({"text": "x" * 1_100_000}).encode(), 413, None),
    ],
)
def test_a_bad_message_is_refused(live: "Live", conversation: str, body: bytes, status: int, param: str | None) -> None:
    reply = live.http("POST", f"/api/v1/conversations/{conversation}/messages", body)
    assert (reply.status, envelope(reply)["param"]) == (status, param)


def test_the_longest_text_is_taken(live: "Live", conversation: str) -> None:
    reply = live.http("POST", f"/api/v1/conversations/{conversation}/messages", {"text": "\U0001f600" * 32_000})
    assert reply.status == 202, reply.body


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
def test_other_content_types_are_refused(live: "Live", conversation: str, kind: str) -> None:
    paths = [
        f"/api/v1/conversations/{conversation}/messages",
        "/api/v1/chatbots",
        "/v1/chat/completions",
        "/v1/embeddings",
    ]
    for path in paths:
        reply = live.http("POST", path, b'{"text":"a"}', headers={"content-type": kind})
        assert (reply.status, envelope(reply)["code"]) == (415, "unsupported_media_type"), path


def test_json_with_a_charset_is_taken(live: "Live") -> None:
    reply = live.http(
        "POST", "/api/v1/analyze", b'{"texts":["a"]}', headers={"content-type": "Application/JSON; charset=UTF-8"}
    )
    assert reply.status == 200


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=a",
        "limit=%00",
        "cursor=%00",
        "limit=" + "9" * 400,
        "cursor='",
    ],
)
def test_a_bad_page_is_refused(live: "Live", query: str) -> None:
    for path in ("/api/v1/chatbots", "/api/v1/conversations", "/api/v1/keys", "/api/v1/dead-letters", "/api/v1/audit"):
        reply = live.http("GET", f"{path}?{query}")
        assert reply.status == 400, path
        assert envelope(reply)["param"] == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize(
    "query",
    [
        "group_by=nothing",
        "group_by=day,day",
        "from=yesterday",
        "from=2026-01-02&to=2026-01-01",
        "to=%00",
        "to=9999-12-31",
        "from=0001-01-01T00:00:00%2B14:00",
    ],
)
def test_a_bad_report_is_refused(live: "Live", query: str) -> None:
    assert envelope(live.http("GET", f"/api/v1/usage?{query}"))["code"] == "bad_request"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"slug": "Not A Slug"}, "slug"),
        ({"slug": UNKNOWN}, "slug"),
        ({"name": ""}, "name"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"allowed_origins": ["*"]}, "allowed_origins"),
        ({"knowledge_base_id": UNKNOWN}, "knowledge_base_id"),
        ({"knowledge_base_id": "x"}, "knowledge_base_id"),
        (
            {"providers": [{"provider": "openai", "model": "m", "base_url": "http://10.0.0.1/v1"}]},
            "providers[0].base_url",
        ),
        ({"providers": [{"provider": "openai", "model": "m", "base_url": "ftp://x"}]}, "providers[0].base_url"),
        ({"providers": [{"model": "m"}]}, "providers[0].provider"),
        ({"widget_id": "cw_pub_mine"}, "widget_id"),
        ({"tenant_id": UNKNOWN}, "tenant_id"),
    ],
)
def test_a_bad_chatbot_is_refused(live: "Live", fields: dict[str, Any], param: str) -> None:
    slug = f"bad-{uuid.uuid4().hex[:8]}"
    reply = live.http("POST", "/api/v1/chatbots", {"name": "Bad", "slug": slug} | fields)
    assert (reply.status, envelope(reply)["param"]) == (422, param)
    assert live.http("GET", f"/api/v1/chatbots/{slug}").status == 404


def test_credentials_that_are_none(live: "Live") -> None:
    for header in ("", "Bearer", "Bearer ", "Basic abc", "bearer cw_sk_x", "Bearer \x80\xff", "Bearer " + "a" * 4000):
        reply = live.http("GET", "/api/v1/chatbots", key=None, headers={"authorization": header})
        assert reply.status == 401, header
        assert envelope(reply)["code"] == "unauthenticated"
        assert reply.headers["www-authenticate"] == "Bearer"


def test_an_admin_key_is_no_tenant_and_a_tenant_no_admin(live: "Live") -> None:
    assert live.http("GET", "/api/v1/chatbots", key="admin").status == 403
    assert live.http("GET", "/api/v1/tenants").status == 403
    acting = {"x-chatwright-tenant": live.tenant_id}
    assert live.http("GET", "/api/v1/chatbots", key="admin", headers=acting).status == 200
    assert live.http("GET", "/api/v1/chatbots", key="admin", headers={"x-chatwright-tenant": UNKNOWN}).status == 404
    assert live.http("GET", "/api/v1/chatbots", key="admin", headers={"x-chatwright-tenant": "x"}).status == 404


@pytest.mark.parametrize("key", ["", "ä", "x" * 256, "a\tb"])
def test_bad_idempotency_keys_are_refused(live: "Live", key: str) -> None:
    reply = live.http("POST", "/api/v1/keys", {}, headers={"idempotency-key": key.encode("latin-1").decode("latin-1")})
    assert (reply.status, envelope(reply)["param"]) == (400, "idempotency-key")


def test_a_body_that_never_ends_is_cut(live: "Live") -> None:
    address = urlsplit(live.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    try:
        connection.putrequest("POST", "/api/v1/analyze")
        connection.putheader("authorization", f"Bearer {live.tenant_key}")
        connection.putheader("content-type", "application/json")
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        piece = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        try:
            for _ in range(700):  # 44 MiB
                connection.send(piece)
        except OSError:
            pass  # the server has hung up, with or without our reading its reply
        else:
            assert connection.getresponse().status == 413
    finally:
        connection.close()
    assert live.http("GET", "/health/live", key=None).status == 200


def test_random_bytes_on_every_route(live: "Live") -> None:
    """A small fuzzer with a fixed seed: whatever comes, the reply is never a 5xx."""
    chance = random.Random(7)
    document = live.http("GET", "/openapi.json", key=None).json
    samples: list[Any] = [
        None,
        0,
        -1,
        1e308,
        "",
        "x",
        "\0",
        "\ud800",
        [],
        {},
        [[]],
        {"a": {"b": []}},
        True,
        "9" * 400,
        UNKNOWN,
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" not in operation or path == "/api/v1/tenants/{tenant_id}":
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            name = schema.get("$ref", "").rsplit("/", 1)[-1]
            fields = list(document["components"]["schemas"].get(name, {}).get("properties", {"x": {}}))
            for _ in range(12):
                body: Any = {
                    field: chance.choice(samples) for field in chance.sample(fields, chance.randint(0, len(fields)))
                }
                raw = json.dumps(body).encode() if chance.random() < 0.8 else chance.randbytes(40)
                target = path.replace("{", "").replace("}", "")
                reply = live.http(method.upper(), target, raw, key=chance.choice(["tenant", "admin", None]))
                assert reply.status < 500, (method, path, raw, reply.body)


def test_a_broken_request_does_not_hurt_the_server(live: "Live") -> None:
    address = urlsplit(live.base_url)
    for raw in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"/x" * 50_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=5) as connection:
            try:
                connection.sendall(raw)
                connection.recv(100)
            except OSError:
                pass
    assert live.http("GET", "/health/live", key=None).status == 200


def test_a_report_may_begin_with_the_calendar(live: "Live") -> None:
    assert live.http("GET", "/api/v1/usage?to=0001-01-01").status == 200


@pytest.mark.parametrize("path", ["/demo/cw_pub_%00", "/demo/cw_pub_%ff", "/demo/%00", "/widget/frame/cw_pub_%00"])
def test_demo_pages_that_cannot_be(live: "Live", path: str) -> None:
    assert envelope(live.http("GET", path, key=None))["code"] == "not_found"


@pytest.mark.parametrize("origin", ["http://[::1", "http://", "//", "http://[", "\xff"])
def test_origins_that_are_none_are_refused(live: "Live", origin: str) -> None:
    body = {"widget_id": live.widget_id}
    reply = live.http("POST", "/api/v1/widget/token", body, key=None, headers={"origin": origin})
    assert (reply.status, envelope(reply)["param"]) == (403, "origin")


@pytest.mark.parametrize("zone", ["Mars/Phobos", "0" * 99, "../x", "Europe", ""])
def test_time_zones_that_are_none_are_refused(live: "Live", zone: str) -> None:
    reply = live.http("POST", "/api/v1/tenants", {"name": "x", "time_zone": zone}, key="admin")
    assert (reply.status, envelope(reply)["param"]) == (422, "time_zone")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"deadline": "0001-01-01T00:00:00+14:00"}, "deadline"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "deadline"),
        ({"deadline": "2026-01-01T00:00:00"}, "deadline"),
        ({"type": "document_index", "payload": {"document_id": "x"}}, "payload.document_id"),
        ({"type": "document_index", "payload": {"document_id": 5}}, "payload.document_id"),
        ({"type": "conversation_summary", "payload": {"conversation_id": "x"}}, "payload.conversation_id"),
    ],
)
def test_a_bad_job_is_refused(live: "Live", fields: dict[str, Any], param: str) -> None:
    reply = live.http("POST", "/api/v1/jobs", {"type": "sentiment_analysis", "payload": {"text": "x"}} | fields)
    assert (reply.status, envelope(reply)["param"]) == (422, param)


def test_an_edited_dead_letter_that_makes_no_sense_dies_again(live: "Live") -> None:
    """The payload comes from an operator's editor: the job must come to rest whatever it holds."""
    job = live.http("POST", "/api/v1/jobs", {"type": "document_index", "payload": {"document_id": UNKNOWN}}).json["id"]
    for generation, payload in enumerate(({"document_id": "x"}, {}, {"document_id": [1]}), start=1):
        letter = _dead_letter(live, job, generation)
        path = f"/api/v1/dead-letters/{letter}/replay"
        assert live.http("POST", path, {"payload": payload}).status == 202
    _dead_letter(live, job, 4)


def _dead_letter(live: "Live", job: str, generation: int) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        items = live.http("GET", "/api/v1/dead-letters?state=open&limit=200").json["items"]
        found = [item["id"] for item in items if item["job_id"] == job and item["generation"] == generation]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"generation {generation} of job {job} never came to rest")


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [98, 110, 500, 960])
def test_what_is_stored_can_be_read_again(live: "Live", opening: str, depth: int) -> None:
    """Decoding takes nearly a thousand levels, later readers take less: what passes the door must pass everywhere."""
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    slug = f"deep-{uuid.uuid4().hex[:8]}"
    for path, fields in (
        ("/api/v1/chatbots", f'"name":"Deep","slug":"{slug}","limits":{{"a":{deep}}}'),
        ("/api/v1/conversations", f'"chatbot":"{live.llm_chatbot}","metadata":{{"a":{deep}}}'),
    ):
        made = live.http("POST", path, b"{" + fields.encode() + b"}")
        if path.endswith("chatbots") and depth < 100:
            assert made.status == 422, made.body  # no field of a chatbot takes anything at all
            continue
        assert made.status == (201 if depth < 100 else 400), made.body
        if made.status == 400:
            assert "nested" in envelope(made)["message"]
            continue
        assert live.http("GET", f"{path}/{made.json['id']}").status == 200
        if path.endswith("conversations"):
            message = b'{"text":"deep","metadata":{"a":' + deep.encode() + b"}}"
            talk = f"{path}/{made.json['id']}/messages"
            assert live.http("POST", f"{talk}?wait=true", message).status == 200
            assert live.http("GET", talk).status == 200


def test_brackets_in_texts_are_no_depth(live: "Live") -> None:
    made = live.http("POST", "/api/v1/analyze", {"texts": ["[" * 5_000, '\\"{{[' * 500]})
    assert made.status == 200


def raw_exchange(live: "Live", *pieces: bytes, timeout_s: float = 5) -> bytes:
    """What the server sends until it hangs up; stops sending when it does."""
    where = urlsplit(live.base_url)
    received = b""
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=timeout_s) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass
        try:
            while part := connection.recv(65_536):
                received += part
        except TimeoutError:
            received += b"<still open>"
        except OSError:
            pass
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"get / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: a\rset-cookie: b=c\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n12345",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -4\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so(live: "Live", request_bytes: bytes) -> None:
    head, _, body = raw_exchange(live, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"set-cookie" not in head
    assert json.loads(body)["error"]["code"] == "bad_request"


def _api_bytes(live: "Live") -> int:
    family = psutil.Process(live.process.pid).children(recursive=True)
    return sum(one.memory_info().rss for one in family if "api" in one.cmdline())


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET /health/live HTTP/1.1\r\nx: ",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /health/live HTTP/1.1\r\nx: ",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ",
    ],
    ids=["address", "header", "second", "trailer"],
)
def test_a_head_that_never_ends_is_cut(live: "Live", start: bytes) -> None:
    before = _api_bytes(live)
    received = raw_exchange(live, start, *[b"a" * 65_536] * 500)
    assert b"<still open>" not in received
    assert _api_bytes(live) - before < 16 * 1024 * 1024  # of 32 that were on offer


def test_whoever_sends_no_request_is_hung_up_on(live: "Live") -> None:
    started = time.monotonic()
    with_nothing = raw_exchange(live, timeout_s=25)
    assert (with_nothing, time.monotonic() - started < 20) == (b"", True)


def test_pings_without_a_reader_cost_no_memory(live: "Live") -> None:
    before = _api_bytes(live)
    upgrade = (
        b"GET /api/v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    where = urlsplit(live.base_url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=5) as connection:
        connection.sendall(upgrade)
        assert connection.recv(200).startswith(b"HTTP/1.1 101 ")
        pings = (b"\x89\xfd\0\0\0\0" + b"a" * 125) * 1_000
        for _ in range(500):
            connection.sendall(pings)
        assert _api_bytes(live) - before < 16 * 1024 * 1024  # of 64 that pongs to all would be


def test_a_handshake_by_another_method_is_answered(live: "Live") -> None:
    request = (
        b"POST /api/v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"content-length: 2\r\n\r\n{}"
    )
    assert raw_exchange(live, request, timeout_s=2).startswith(b"HTTP/1.1 404 ")
