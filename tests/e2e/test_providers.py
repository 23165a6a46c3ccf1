"""Providers as operators meet them: the REST routes, the verbs, health and metrics, on a running installation."""

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import chatwright, clean_environment

if TYPE_CHECKING:
    from tests.e2e.conftest import Live


def cli(live: "Live", *arguments: str) -> tuple[int, str]:
    done = chatwright("provider", *arguments, "--data-dir", str(live.data_dir), env=clean_environment())
    return done.returncode, done.stdout


def chatbot(live: "Live", slug: str, *models: str) -> str:
    chain = [{"provider": "openai", "model": model} for model in models]
    body = {"name": slug, "slug": slug, "providers": chain, "knowledge_enabled": False}
    made = live.http("POST", "/api/v1/chatbots", body)
    assert made.status == 201, made.body
    return slug


# On a server of their own: files beside them let the same provider fail, and its breaker remembers.
pytestmark = pytest.mark.alone


def test_the_list_names_what_is_set_up(live: "Live") -> None:
    items = live.http("GET", "/api/v1/providers").json["items"]
    rows = {row["provider"]: row for row in items}
    assert rows["openai"]["keys"] == "none"  # a server at an address of its own, without a key
    assert rows["openai"]["state"] == "closed"
    assert "extractive" not in rows
    code, said = cli(live, "list")
    assert code == 0
    assert "openai" in said


def test_a_test_calls_each_provider_once(live: "Live") -> None:
    for body in (None, {}, {"providers": ["openai"]}):
        reply = live.http("POST", "/api/v1/providers/test", body)
        assert reply.status == 200, reply.body
        (row,) = reply.json["items"]
        assert row["ok"]
        assert row["text"]
        assert row["took_ms"] > 0
    assert live.http("POST", "/api/v1/providers/test", {"providers": ["nobody"]}).status == 422
    code, said = cli(live, "test", "openai")
    assert code == 0
    assert "ok" in said


def test_a_test_of_a_chain_says_what_fails_and_exits_with_1(live: "Live") -> None:
    slug = chatbot(live, "half-broken", "sim:reply=fine", "sim:status=404")
    code, said = cli(live, "test", "--chatbot", slug, "--json")
    assert code == 1
    rows: list[dict[str, Any]] = json.loads(said)["items"]
    assert [row["ok"] for row in rows] == [True, False]
    assert rows[1]["error_class"] == "model_not_found"
    assert rows[1]["mend"]


def test_every_attempt_of_a_message_can_be_looked_up(live: "Live") -> None:
    slug = chatbot(live, "twice", "sim:status=400", "sim:reply=second")
    answered = live.ask("Hello there", chatbot=slug)
    assert answered["answer"]["text"] == "second"
    until = time.monotonic() + 5
    while True:  # the books are written a moment after the answer
        found = live.http("GET", f"/api/v1/calls?message_id={answered['message_id']}").json["items"]
        if time.monotonic() > until or all(call["state"] != "open" for call in found):
            break
        time.sleep(0.05)
    assert [call["state"] for call in found] == ["ok", "failed"]  # newest first
    assert found[1]["error_class"] == "refused"
    assert live.http("GET", "/api/v1/calls?message_id=nonsense").status == 400
    code, said = cli(live, "calls", "--message", answered["message_id"])
    assert code == 0
    assert said.count("sim:") == 2


def test_health_and_metrics_show_the_platforms_providers(live: "Live") -> None:
    health = live.http("GET", "/health/providers", key=None).json
    assert health["status"] == "ok"
    assert [row["provider"] for row in health["providers"]] == ["openai"]
    page = live.http("GET", "/metrics", key=None).body.decode()
    states = [line for line in page.splitlines() if line.startswith("ai_provider_state{")]
    assert states
    assert all('provider="openai"' in line and line.endswith(" 1.0") for line in states)


def test_visitors_are_not_told_the_operators_business(live: "Live") -> None:
    slug = chatbot(live, "unlucky", "sim:status=400")
    made = live.http("POST", "/api/v1/conversations", {"chatbot": slug})
    reply = live.http("POST", f"/api/v1/conversations/{made.json['id']}/messages?wait=true", {"text": "hi"})
    assert reply.status == 503
    assert reply.json["error"]["message"] == "No language model could answer just now; try again in a moment."
    letters = live.http("GET", "/api/v1/dead-letters?limit=200").json["items"]
    assert any("400" in letter["reason"] for letter in letters)
