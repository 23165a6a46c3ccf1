"""The answer caches over HTTP: what a request's headers ask for, and what its reply says."""

import secrets
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


@pytest.fixture
def chatbot(live: "Live") -> str:
    slug = f"cached-{secrets.token_hex(4)}"
    made = live.http(
        "POST",
        "/api/v1/chatbots",
        {
            "name": "Cached",
            "slug": slug,
            "providers": [{"provider": "openai", "model": "mock"}],
            "knowledge_enabled": False,
        },
    )
    assert made.status == 201, made.body
    return slug


def complete(live: "Live", chatbot: str, **headers: str) -> tuple[str, str]:
    """(the header of the reply, what its body says)"""
    reply = live.http(
        "POST",
        "/v1/chat/completions",
        {"model": chatbot, "messages": [{"role": "user", "content": "When are you open?"}]},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert reply.status == 200, reply.body
    return reply.headers["x-chatwright-cache"], reply.json["chatwright"]["cached"]


def test_completions(live: "Live", chatbot: str) -> None:
    assert complete(live, chatbot, cache_control="no-store") == ("bypass", "bypass")
    assert complete(live, chatbot) == ("miss", "miss")
    assert complete(live, chatbot) == ("exact", "exact")
    assert complete(live, chatbot, x_chatwright_cache="off") == ("bypass", "bypass")
    assert complete(live, chatbot, cache_control="no-cache") == ("bypass", "bypass")
    assert complete(live, chatbot, x_chatwright_cache="read-only", cache_control="no-store") == ("exact", "exact")
    streamed = live.http(
        "POST",
        "/v1/chat/completions",
        {"model": chatbot, "messages": [{"role": "user", "content": "When are you open?"}], "stream": True},
    )
    assert streamed.headers["x-chatwright-cache"] == "exact"
    assert b'"cached":"exact"' in streamed.body
    wrong = live.http(
        "POST",
        "/v1/chat/completions",
        {"model": chatbot, "messages": [{"role": "user", "content": "Hi"}]},
        headers={"x-chatwright-cache": "perhaps"},
    )
    assert wrong.status == 400
    assert wrong.json["error"]["param"] == "x-chatwright-cache"


def test_messages(live: "Live", chatbot: str) -> None:
    def say(**headers: str) -> tuple[str, str]:
        opened = live.http("POST", "/api/v1/conversations", {"chatbot": chatbot})
        reply = live.http(
            "POST",
            f"/api/v1/conversations/{opened.json['id']}/messages?wait=true",
            {"text": "Where are you?"},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout_s=60,
        )
        assert reply.status == 200, reply.body
        return reply.headers["x-chatwright-cache"], reply.json["answer"]["cached"]

    assert say(x_chatwright_cache="read-only") == ("miss", "miss")
    assert say() == ("miss", "miss")
    assert say() == ("exact", "exact")
    assert say(cache_control="no-store") == ("bypass", "bypass")


def test_policies(live: "Live", chatbot: str) -> None:
    patched = live.http("PATCH", f"/api/v1/chatbots/{chatbot}", {"cache_policy": {"mode": "sometimes"}})
    assert patched.status == 422
    assert patched.json["error"]["param"] == "cache_policy.mode"
    patched = live.http("PATCH", f"/api/v1/chatbots/{chatbot}", {"cache_policy": {"mode": "off"}})
    assert patched.status == 200
    assert complete(live, chatbot) == ("bypass", "bypass")
