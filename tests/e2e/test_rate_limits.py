"""Rate limits as a client sees them: headers, Retry-After, OpenAI's own client, the socket, keys and plans."""

import asyncio
import json
import math
import time
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import pytest
import websockets
from openai import OpenAI

from chatwright.adapters.providers.rate_headers import reset_s
from tests.e2e import conftest as e2e

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


def client(live: "Live", key: str | None = None) -> OpenAI:
    return OpenAI(base_url=f"{live.base_url}/v1", api_key=key or live.tenant_key, max_retries=0, timeout=30)


def model_of(live: "Live", **limits: int) -> str:
    slug = f"rl-{uuid.uuid4().hex[:10]}"
    body = {
        "name": slug,
        "slug": slug,
        "providers": [{"provider": "openai", "model": "sim:reply=Yes"}],
        "knowledge_enabled": False,
        "max_tokens": 100,
        "limits": limits,
    }
    made = live.http("POST", "/api/v1/chatbots", body)
    assert made.status == 201, made.body
    assert made.json["limits"] == limits
    return slug


def ask(text: str = "Hello") -> list[Any]:
    return [{"role": "user", "content": text}]


def test_headers_count_down_and_a_refusal_says_when_to_come_back(live: "Live") -> None:
    model = model_of(live, requests_per_minute=60, tokens_per_minute=60_000)
    ours = client(live)
    for left in (59, 58):
        raw = ours.chat.completions.with_raw_response.create(model=model, messages=ask())
        assert raw.headers["x-ratelimit-limit-requests"] == "60"
        assert int(raw.headers["x-ratelimit-remaining-requests"]) in (left, left + 1)
        assert 0 < (reset_s(raw.headers["x-ratelimit-reset-requests"], 0) or 0) <= 2
        assert raw.headers["x-ratelimit-limit-tokens"] == "60000"
        assert 59_000 < int(raw.headers["x-ratelimit-remaining-tokens"]) < 60_000
    with ours.chat.completions.with_streaming_response.create(model=model, messages=ask(), stream=True) as streamed:
        assert int(streamed.headers["x-ratelimit-remaining-requests"]) >= 57
        streamed.read()
    refused: openai.RateLimitError | None = None
    for _ in range(80):
        try:
            ours.chat.completions.create(model=model, messages=ask())
        except openai.RateLimitError as error:
            refused = error
            break
    assert refused is not None
    assert refused.code == "rate_limit_exceeded"
    assert refused.type == "rate_limit_error"
    headers = refused.response.headers
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 55 < (reset_s(headers["x-ratelimit-reset-requests"], 0) or 0) <= 60
    time.sleep(int(headers["retry-after"]))
    assert ours.chat.completions.create(model=model, messages=ask()).choices[0].message.content == "Yes"


def test_openais_client_waits_as_told_by_itself(live: "Live") -> None:
    model = model_of(live, requests_per_minute=60, concurrency=1)
    patient = client(live).with_options(max_retries=3)
    for _ in range(62):
        patient.chat.completions.create(model=model, messages=ask())


def test_without_limits_there_are_no_headers(live: "Live") -> None:
    raw = client(live).chat.completions.with_raw_response.create(model=model_of(live), messages=ask())
    assert not [name for name in raw.headers if name.startswith("x-ratelimit")]


def test_a_message_is_refused_with_the_same_words(live: "Live") -> None:
    model = model_of(live, requests_per_minute=1)
    made = live.http("POST", "/api/v1/conversations", {"chatbot": model})
    path = f"/api/v1/conversations/{made.json['id']}/messages"
    first = live.http("POST", path, {"text": "One"})
    assert first.status == 202
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    second = live.http("POST", path, {"text": "Two"})
    assert second.status == 429
    assert second.json["error"]["code"] == "rate_limit_exceeded"
    assert 50 < int(second.headers["retry-after"]) <= 60
    assert second.headers["x-ratelimit-limit-requests"] == "1"
    messages = live.http("GET", path).json["items"]
    assert [item["text"] for item in messages].count("One") == 1
    assert "Two" not in json.dumps(messages)


def test_a_socket_is_told_and_stays_open(live: "Live") -> None:
    model = model_of(live, visitor_requests_per_minute=1, requests_per_minute=1)

    async def talk() -> list[dict[str, Any]]:
        url = live.base_url.replace("http", "ws", 1) + "/api/v1/ws"
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(30), websockets.connect(url) as socket:
            await socket.send(json.dumps({"type": "auth", "token": live.tenant_key}))
            for name in ("a", "b"):
                frame = {"type": "message", "chatbot": model, "text": "Hi", "client_message_id": name}
                await socket.send(json.dumps(frame))
            await socket.send(json.dumps({"type": "ping"}))
            while not {"pong", "stream_complete"} <= {frame["type"] for frame in found}:
                found.append(json.loads(await socket.recv()))
        return found

    refused = [frame for frame in asyncio.run(talk()) if frame.get("code") == "rate_limit_exceeded"]
    assert [frame["client_message_id"] for frame in refused] == ["b"]
    assert 50 < refused[0]["retry_after_s"] <= 60


def test_a_key_with_limits_of_its_own(live: "Live") -> None:
    model = model_of(live)
    made = live.http("POST", "/api/v1/keys", {"name": "small", "limits": {"requests_per_minute": 2}})
    assert made.status == 201, made.body
    assert made.json["limits"] == {"requests_per_minute": 2}
    small = client(live, made.json["secret"])
    small.chat.completions.create(model=model, messages=ask())
    small.embeddings.create(model="chatwright-embed", input="a text")
    with pytest.raises(openai.RateLimitError):
        small.chat.completions.create(model=model, messages=ask())
    client(live).chat.completions.create(model=model, messages=ask())
    rotated = live.http("POST", f"/api/v1/keys/{made.json['id']}/rotate", {})
    assert rotated.json["limits"] == {"requests_per_minute": 2}


def test_a_key_with_limits_from_the_command_line(live: "Live") -> None:
    at = ("--data-dir", str(live.data_dir))
    made = e2e.chatwright(
        "key", "create", "--name", "cli", "--limits", "requests_per_minute=2, concurrency=1", *at, "--json"
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["limits"] == {"requests_per_minute": 2, "concurrency": 1}
    assert "concurrency=1,requests_per_minute=2" in e2e.chatwright("key", "list", *at).stdout
    for wrong, code in (("requests_per_minute", 2), ("requests_per_minute=-1", 2), ("wishes=3", 1)):
        assert e2e.chatwright("key", "create", "--limits", wrong, *at).returncode == code


def test_a_burst_gets_the_limit_and_what_comes_back_meanwhile(live: "Live") -> None:
    """2,000 requests from many connections, through HTTP, to answers that need no provider."""
    slug, minute = f"rl-{uuid.uuid4().hex[:10]}", 300
    body = {"name": slug, "slug": slug, "providers": [{"provider": "extractive", "model": "extractive"}]}
    made = live.http("POST", "/api/v1/chatbots", {**body, "limits": {"requests_per_minute": minute}})
    assert made.status == 201, made.body
    request = {"model": slug, "messages": ask()}
    waits: list[float] = []

    async def burst() -> tuple[list[int], float]:
        connector = aiohttp.TCPConnector(limit=64)
        headers = {"authorization": f"Bearer {live.tenant_key}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def one() -> int:
                async with session.post(f"{live.base_url}/v1/chat/completions", json=request) as reply:
                    await reply.read()
                    if reply.status == 429:
                        waits.append(float(reply.headers["retry-after"]))
                    return reply.status

            began = time.monotonic()
            statuses = await asyncio.gather(*(one() for _ in range(2_000)))
            return statuses, time.monotonic() - began

    statuses, took_s = asyncio.run(burst())
    let_in = statuses.count(200)
    assert let_in + statuses.count(429) == 2_000
    assert minute <= let_in <= minute + math.ceil(minute * took_s / 60)
    assert max(waits) == 1


def test_a_message_sent_again_at_the_limit_gets_its_receipt_on_both_transports(live: "Live") -> None:
    model = model_of(live, requests_per_minute=1)
    made = live.http("POST", "/api/v1/conversations", {"chatbot": model})
    path = f"/api/v1/conversations/{made.json['id']}/messages"
    message = {"text": "One", "client_message_id": "one"}
    first = live.http("POST", path, message)
    assert first.status == 202
    assert live.http("POST", path, {"text": "Two"}).status == 429
    again = live.http("POST", path, message)
    assert (again.status, again.json["message_id"]) == (202, first.json["message_id"])
    by_header = live.http("POST", path, {"text": "One"}, headers={"idempotency-key": "one"})
    assert (by_header.status, by_header.json["message_id"]) == (202, first.json["message_id"])
    waited = live.http("POST", f"{path}?wait=true", message, timeout_s=60)
    assert (waited.status, waited.json["answer"]["text"]) == (200, "Yes")

    async def talk() -> dict[str, Any]:
        url = live.base_url.replace("http", "ws", 1) + "/api/v1/ws"
        async with asyncio.timeout(30), websockets.connect(url) as socket:
            await socket.send(json.dumps({"type": "auth", "token": live.tenant_key}))
            frame = {"type": "message", "conversation_id": made.json["id"], **message}
            await socket.send(json.dumps(frame))
            while True:
                found = json.loads(await socket.recv())
                if found["type"] in ("message_accepted", "error") and found.get("client_message_id") == "one":
                    return found

    receipt = asyncio.run(talk())
    assert (receipt["type"], receipt["message_id"], receipt["replayed"]) == (
        "message_accepted",
        first.json["message_id"],
        True,
    )


def test_limits_that_there_are_not_are_refused(live: "Live") -> None:
    slug = model_of(live, requests_per_minute=5)
    for bad in ({"requests": 5}, {"requests_per_minute": -1}, {"tokens_per_minute": "many"}):
        assert live.http("PATCH", f"/api/v1/chatbots/{slug}", {"limits": bad}).status == 422
        assert live.http("POST", "/api/v1/keys", {"limits": bad}).status == 422
    assert live.http("POST", "/api/v1/keys", {"limits": {"concurrency": 1}}, key="admin").status == 422


def test_a_plan_limits_its_tenant(live: "Live") -> None:
    made = live.http("POST", "/api/v1/tenants", {"name": "Small", "plan": "free"}, key="admin")
    assert made.status == 201, made.body
    key = made.json["key"]["secret"]
    body = {"name": "S", "slug": "small", "providers": [{"provider": "openai", "model": "sim:reply=Yes"}]}
    assert live.http("POST", "/api/v1/chatbots", body, key=key).status == 201
    raw = client(live, key).chat.completions.with_raw_response.create(model="small", messages=ask(), max_tokens=50)
    assert raw.headers["x-ratelimit-limit-requests"] == "60"
    assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
    assert live.http("PATCH", f"/api/v1/tenants/{made.json['id']}", {"plan": "pro"}, key="admin").status == 200
    time.sleep(1.1)
    raw = client(live, key).chat.completions.with_raw_response.create(model="small", messages=ask(), max_tokens=50)
    assert raw.headers["x-ratelimit-limit-requests"] == "6000"
