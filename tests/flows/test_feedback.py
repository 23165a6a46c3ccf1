"""Thumbs up and down: what visitors say of answers, who reads it, and what the caches make of it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from chatwright.domain.ids import new_id
from chatwright.entrypoints.wire_widget import TranscriptAnswer, TranscriptMessage
from chatwright.pipeline.limits import RATINGS_A_MINUTE
from chatwright.pipeline.services import Services
from tests.flows.conftest import running_worker
from tests.flows.knowledge_support import Client, Reply, client_of, run_api
from tests.flows.test_chat_pipeline import rows

SHOP = "https://shop.example"


@dataclass
class Desk:
    """A tenant with a chatbot, and what its visitors may call."""

    app: Services
    client: Client
    chatbot: dict[str, Any]

    async def visitor(self, name: str = "ann") -> "Visitor":
        body = {"widget_id": self.chatbot["widget_id"], "visitor_id": name}
        made = await self.client.call("POST", "/api/v1/widget/token", json=body)
        assert made.status == 200, made.body
        return Visitor(self, made.body["token"])

    async def list(self, query: str = "") -> list[dict[str, Any]]:
        reply = await self.client.call("GET", f"/api/v1/feedback{query}")
        assert reply.status == 200, reply.body
        return reply.body["items"]

    async def summary(self, query: str = "") -> dict[str, Any]:
        reply = await self.client.call("GET", f"/api/v1/feedback/summary{query}")
        assert reply.status == 200, reply.body
        return reply.body


@dataclass
class Visitor:
    desk: Desk
    token: str

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        headers = {"authorization": f"Bearer {self.token}", "origin": SHOP}
        return await self.desk.client.call(method, path, headers=headers, **({} if body is None else {"json": body}))

    async def ask(self, text: str) -> "Asked":
        made = await self.call("POST", "/api/v1/conversations", {})
        assert made.status == 201, made.body
        messages = f"/api/v1/conversations/{made.body['id']}/messages"
        answered = await self.call("POST", f"{messages}?wait=true", {"text": text})
        assert answered.status == 200, answered.body
        return Asked(messages, answered.body["message_id"], answered.body["answer"])

    async def rate(self, asked: "Asked", rating: Any, **more: Any) -> Reply:
        return await self.call("POST", f"{asked.messages}/{asked.message_id}/feedback", {"rating": rating, **more})


@dataclass
class Asked:
    messages: str
    message_id: str
    answer: dict[str, Any]


@pytest.fixture
async def desk(app: Services, valkey_url: str) -> AsyncGenerator[Desk]:
    async with run_api(app) as (url, session), running_worker(app, valkey_url):
        client = await client_of(app, session, url, name="Shop")
        chain = [{"provider": "openai", "model": "mock"}]
        body = {
            "name": "Shop",
            "slug": "shop",
            "providers": chain,
            "knowledge_enabled": False,
            "allowed_origins": [SHOP],
        }
        made = await client.call("POST", "/api/v1/chatbots", json=body)
        assert made.status == 201, made.body
        yield Desk(app, client, made.body)


async def test_a_visitor_rates_and_takes_it_back(desk: Desk) -> None:
    ann = await desk.visitor()
    asked = await ann.ask("Where is my order?")
    first = await ann.rate(asked, "up")
    assert (first.status, first.headers["access-control-allow-origin"]) == (200, SHOP)
    assert first.body == {
        "message_id": asked.message_id, "answer_id": asked.answer["id"], "rating": "up", "comment": "",
    }  # fmt: skip
    second = await ann.rate(asked, "down", comment="  It is \u202enot\u200b there.\x07 ")
    assert (second.body["rating"], second.body["comment"]) == ("down", "It is not there.")

    async def shown() -> Any:
        question, answer = (await ann.call("GET", asked.messages)).body["items"]
        msgspec.convert(question, TranscriptMessage)
        msgspec.convert(answer, TranscriptAnswer)
        assert set(question) == set(TranscriptMessage.__struct_fields__)
        assert set(answer) | {"tone"} == set(TranscriptAnswer.__struct_fields__)
        return answer["rating"]

    assert await shown() == "down"
    (item,) = await desk.list()
    assert (item["rating"], item["comment"], item["cached"]) == ("down", "It is not there.", asked.answer["cached"])
    assert (item["question"], item["answer"]) == ("Where is my order?", asked.answer["text"])
    assert (item["visitor_id"], item["message_id"], item["answer_id"]) == ("ann", asked.message_id, asked.answer["id"])
    assert item["created_at"] < item["updated_at"]

    taken = await ann.rate(asked, None, comment="and this is forgotten")
    assert (taken.status, taken.body["rating"], taken.body["comment"]) == (200, None, "")
    assert (await shown(), await desk.list()) == (None, [])
    assert desk.app.metrics.feedback.labels("up")._value.get() == 1  # type: ignore[attr-defined]
    assert desk.app.metrics.feedback.labels("down")._value.get() == 1  # type: ignore[attr-defined]
    await ann.rate(asked, "down")
    await ann.rate(asked, "down", comment="still")
    assert desk.app.metrics.feedback.labels("down")._value.get() == 2  # type: ignore[attr-defined]


async def test_many_at_once_leave_one_word(desk: Desk) -> None:
    ann = await desk.visitor()
    asked = await ann.ask("Hello")
    replies = await asyncio.gather(*(ann.rate(asked, "up" if number % 2 else "down") for number in range(10)))
    assert {reply.status for reply in replies} == {200}
    assert len(await desk.list()) == 1


async def test_nobody_rates_without_end(desk: Desk) -> None:
    """A bound of its own: it takes nothing of what messages may, nor of what other visitors say."""
    ann, bob = await desk.visitor("ann"), await desk.visitor("bob")
    asked, other = await ann.ask("Hello"), await bob.ask("Hello")
    replies: list[Reply] = []
    while not replies or (replies[-1].status != 429 and len(replies) < 10 * RATINGS_A_MINUTE):
        # Conversations that are not there, another one each time, are no way round it.
        there = Asked(f"/api/v1/conversations/{new_id()}/messages", asked.message_id, {})
        replies.append(await ann.rate(asked if len(replies) % 2 else there, "up"))
    *before, last = replies
    assert len(before) >= RATINGS_A_MINUTE
    assert {reply.status for reply in before} == {200, 404}
    assert (last.status, last.body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(last.headers["retry-after"]) >= 1
    assert (await bob.rate(other, "up")).status == 200
    path = f"{asked.messages}/{asked.message_id}/feedback"
    assert (await desk.client.call("POST", path, json={"rating": "down"})).status == 200
    await ann.ask("And a message?")


async def test_nobody_rates_for_another(desk: Desk) -> None:
    ann, bob = await desk.visitor("ann"), await desk.visitor("bob")
    asked = await ann.ask("Hello")
    assert (await bob.rate(asked, "down")).status == 404
    other = await ann.ask("Hello again")
    crossed = Asked(other.messages, asked.message_id, asked.answer)  # a message of another conversation
    assert (await ann.rate(crossed, "down")).status == 404
    for path in (f"{asked.messages}/{new_id()}/feedback", f"{asked.messages}/x/feedback"):
        assert (await ann.call("POST", path, {"rating": "up"})).status == 404
    assert await desk.list() == []
    theirs = await client_of(desk.app, desk.client.session, desk.client.url, name="Other")
    reply = await theirs.call("POST", f"{asked.messages}/{asked.message_id}/feedback", json={"rating": "up"})
    assert reply.status == 404
    assert (await theirs.call("GET", "/api/v1/feedback")).body["items"] == []
    assert (await theirs.call("GET", "/api/v1/feedback/summary?chatbot=shop")).status == 404
    for path in ("/api/v1/feedback", "/api/v1/feedback/summary"):
        assert (await ann.call("GET", path)).status == 403


async def test_the_tenant_rates_for_its_visitor(desk: Desk) -> None:
    ann = await desk.visitor()
    asked = await ann.ask("Hello")
    reply = await desk.client.call("POST", f"{asked.messages}/{asked.message_id}/feedback", json={"rating": "up"})
    assert reply.status == 200
    assert [(item["visitor_id"], item["rating"]) for item in await desk.list()] == [("ann", "up")]
    await ann.rate(asked, "down")  # her own word, in the place of it
    assert [item["rating"] for item in await desk.list()] == ["down"]


@pytest.mark.parametrize(
    "body",
    [{}, {"rating": "good"}, {"rating": 1}, {"rating": "up", "comment": "x" * 2_001}, {"rating": "up", "comment": None},
     {"rating": "up", "stars": 5}],
)  # fmt: skip
async def test_what_cannot_be_meant_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    ann = await desk.visitor()
    path = f"/api/v1/conversations/{new_id()}/messages/{new_id()}/feedback"
    assert (await ann.call("POST", path, body)).status == 422


async def test_a_message_without_an_answer_cannot_be_rated(desk: Desk) -> None:
    ann = await desk.visitor()
    made = await ann.call("POST", "/api/v1/conversations", {})
    messages = f"/api/v1/conversations/{made.body['id']}/messages"
    failed = await ann.call("POST", f"{messages}?wait=true", {"text": "[[sim:status=401]] Hello"})
    assert failed.status >= 400
    assert (await ann.rate(Asked(messages, failed.body["message_id"], {}), "down")).status == 404


async def test_lists_and_sums(desk: Desk) -> None:
    ann, bob = await desk.visitor("ann"), await desk.visitor("bob")
    asked = [await ann.ask(f"Question {number}") for number in range(3)] + [await bob.ask("Question 3")]
    for one, who, rating in zip(asked, (ann, ann, ann, bob), ("up", "up", "down", "up"), strict=True):
        assert (await who.rate(one, rating, comment="Wrong." if rating == "down" else "")).status == 200
    assert [item["question"] for item in await desk.list()] == [f"Question {number}" for number in (3, 2, 1, 0)]
    assert [item["question"] for item in await desk.list("?rating=down&chatbot=shop")] == ["Question 2"]
    page = (await desk.client.call("GET", "/api/v1/feedback?limit=3")).body
    rest = (await desk.client.call("GET", f"/api/v1/feedback?limit=3&cursor={page['next_cursor']}")).body
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (3, 1, None)
    sums = await desk.summary("?chatbot=shop&time_zone=Europe/Vienna")
    assert (sums["up"], sums["down"], sums["share"], sums["time_zone"]) == (3, 1, 0.75, "Europe/Vienna")
    assert sums["comments"] == 1
    days = sums["days"]  # one, or at midnight two
    assert (sum(day["up"] for day in days), sum(day["down"] for day in days)) == (3, 1)
    assert await desk.list("?to=2020-01-01") == []
    empty = await desk.summary("?from=2020-01-01&to=2020-01-31")
    assert (empty["up"], empty["down"], empty["share"], empty["days"]) == (0, 0, None, [])
    for query in ("?rating=good", "?from=yesterday", "?cursor=x", "?days=0", "?days=7&from=2020-01-01"):
        assert (await desk.client.call("GET", f"/api/v1/feedback{query}")).status == 400, query
    assert (await desk.client.call("GET", "/api/v1/feedback?chatbot=none")).status == 404


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
async def test_the_last_days_are_those_of_the_time_zone(desk: Desk, superuser_url: str, zone: str) -> None:
    """They begin at its midnight: what was said a minute before is not among them."""
    ann = await desk.visitor()
    asked = [await ann.ask(f"Question {number}") for number in range(2)]
    for one in asked:
        await ann.rate(one, "up")
    before = datetime.now(ZoneInfo(zone)).date()
    sums = await desk.summary(f"?days=3&time_zone={zone}")
    after = datetime.now(ZoneInfo(zone)).date()
    since = datetime.fromisoformat(sums["since"]).astimezone(ZoneInfo(zone))
    assert since.time() == time()
    assert before - timedelta(days=2) <= since.date() <= after - timedelta(days=2)
    for one, moved in zip(asked, (timedelta(minutes=1), timedelta(minutes=-1)), strict=True):
        when = (since + moved).isoformat()
        await rows(superuser_url, f"UPDATE feedback SET created_at = '{when}' WHERE message_id = '{one.message_id}'")
    assert (await desk.summary(f"?days=3&time_zone={zone}"))["up"] == 1
    assert [item["question"] for item in await desk.list(f"?days=3&time_zone={zone}")] == ["Question 0"]


async def test_feedback_goes_with_its_chatbot(desk: Desk) -> None:
    ann = await desk.visitor()
    await ann.rate(await ann.ask("Hello"), "up")
    assert (await desk.client.call("DELETE", "/api/v1/chatbots/shop")).status == 204
    assert await desk.list() == []
