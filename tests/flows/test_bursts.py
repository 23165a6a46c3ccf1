"""Bursts: what is written in quick succession is answered once, and every message still ends once."""

import asyncio
import json
from typing import Any

import pytest

from bench.simulator import Simulator
from chatwright.domain import events
from chatwright.domain.chatbot import ProviderLink
from chatwright.domain.messages import Accepted, MessageState
from chatwright.features import conversations
from chatwright.features.credentials import new_widget_id
from chatwright.features.tenancy import NewChatbot
from chatwright.pipeline import manage, sweep
from chatwright.pipeline.accept import cancel
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import Outcome, wait_for_answer
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker
from tests.flows.test_chat_pipeline import frames, rows, say

WINDOW_MS = 400


async def open_burst_shop(app: Services, *, window_ms: int = WINDOW_MS, model: str = "mock") -> Shop:
    shop = await open_shop(app, name=f"Burst{window_ms}")
    chatbot = await manage.create_chatbot(
        app,
        shop.scope,
        NewChatbot(
            name="Burst",
            slug="burst",
            widget_id=new_widget_id(),
            providers=(ProviderLink(provider="openai", model=model),),
            knowledge_enabled=False,
            burst_window_ms=window_ms,
        ),
        actor="test",
    )
    return Shop(shop.scope, chatbot)


async def outcome_of(app: Services, shop: Shop, accepted: Accepted, *, timeout_s: float = 15) -> Outcome:
    return await wait_for_answer(app, shop.scope, accepted, timeout_s=timeout_s)


async def states(superuser_url: str) -> list[tuple[str, str, str | None]]:
    """(text, state, text of the message that it was merged into) of all messages, in order."""
    found = await rows(
        superuser_url,
        "SELECT m.text, m.state, c.text AS carrier FROM messages m LEFT JOIN messages c ON c.id = m.merged_into"
        " ORDER BY m.conversation_id, m.ordinal",
    )
    return [(row["text"], row["state"], row["carrier"]) for row in found]


async def terminals(app: Services, shop: Shop, accepted: Accepted) -> dict[str, list[Any]]:
    """Every message's last events, by message id."""
    page = await app.log.read(shop.scope.tenant_id, accepted.conversation_id, after_seq=0)
    found: dict[str, list[Any]] = {}
    for _, payload in page.events:
        head, event = events.decode_header(payload), events.decode(payload)
        told = found.setdefault(str(head.message_id), [])
        if event.type in events.TERMINAL_TYPES:
            told.append(event)
    return found


async def test_three_messages_at_once_are_answered_once(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "Hello")
        second = await say(app, shop, "I have a question", to=first)
        third = await say(app, shop, "[[sim:echo]]Where is my order?", to=first)
        outcomes = [await outcome_of(app, shop, one) for one in (first, second, third)]
        await app.ledger.flush()
    texts = {outcome.answer.text for outcome in outcomes if outcome.answer}
    assert len(texts) == 1
    assert texts.pop().endswith("Hello\nI have a question\nWhere is my order?")  # what the model was asked
    assert [outcome.merged_into for outcome in outcomes] == [third.message_id, third.message_id, None]
    assert await states(superuser_url) == [
        ("Hello", "merged_into", "[[sim:echo]]Where is my order?"),
        ("I have a question", "merged_into", "[[sim:echo]]Where is my order?"),
        ("[[sim:echo]]Where is my order?", "answered", None),
    ]
    assert len(simulator.calls()) == 1  # nobody was called within the window
    assert len(await rows(superuser_url, "SELECT FROM answers")) == 1
    told = await terminals(app, shop, first)
    assert {message: len(ends) for message, ends in told.items()} == dict.fromkeys(told, 1)
    ends = {message: one[0] for message, one in told.items()}
    assert ends[first.message_id].state == ends[second.message_id].state == "merged_into"
    # Each was told the next one, which was true then; the database has them all with the one that carries the answer.
    assert (ends[first.message_id].merged_into, ends[second.message_id].merged_into) == (
        second.message_id,
        third.message_id,
    )
    assert ends[third.message_id].state == "answered"
    assert [seq for seq, _ in await frames(app, shop, first)] == list(range(1, len(await frames(app, shop, first)) + 1))


async def test_a_call_that_has_said_nothing_yet_is_superseded_and_booked(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app, window_ms=150)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "[[sim:latency=8000]] Hello")
        async with asyncio.timeout(5):
            while not simulator.calls():
                await asyncio.sleep(0.01)
        second = await say(app, shop, "[[sim:latency=0,reply=Both.]] Are you there?", to=first)
        outcome = await outcome_of(app, shop, second)
        async with asyncio.timeout(5):
            while simulator.calls()[0].ended == "":
                await asyncio.sleep(0.01)
        await app.ledger.flush()
    assert outcome.answer is not None
    assert outcome.answer.text == "Both."
    assert [call.ended for call in simulator.calls()] == ["client_closed", "complete"]
    calls = await rows(
        superuser_url, "SELECT message_id::text, state, input_tokens, estimated FROM calls ORDER BY opened_at"
    )
    assert [(call["message_id"], call["state"]) for call in calls] == [
        (first.message_id, "cancelled"),
        (second.message_id, "ok"),
    ]
    # The provider had the prompt, and may charge for it: that is what the books say.
    assert calls[0]["input_tokens"] > 0
    assert calls[0]["estimated"]
    assert [state for _, state, _ in await states(superuser_url)] == ["merged_into", "answered"]


async def test_an_answer_that_can_be_seen_is_finished_and_the_rest_waits_together(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "[[sim:chunks=12,interval=150]] Hello")
        async with asyncio.timeout(10):
            while not any(isinstance(event, events.StreamChunk) for _, event in await frames(app, shop, first)):
                await asyncio.sleep(0.02)
        second = await say(app, shop, "And another thing", to=first)
        third = await say(app, shop, "[[sim:echo]]Is it true?", to=first)
        outcomes = [await outcome_of(app, shop, one) for one in (first, second, third)]
    assert [outcome.state for outcome in outcomes] == [MessageState.ANSWERED] * 3
    assert [outcome.merged_into for outcome in outcomes] == [None, third.message_id, None]
    assert outcomes[2].answer is not None
    assert outcomes[2].answer.text.endswith("And another thing\nIs it true?")  # what the model was asked
    assert len(simulator.calls()) == 2


async def test_a_lone_message_waits_no_longer_than_the_window_and_without_bursts_not_at_all(
    app: Services, valkey_url: str, superuser_url: str
) -> None:
    waits: list[float] = []
    for window_ms in (600, 0):
        shop = await open_burst_shop(app, window_ms=window_ms)
        async with running_worker(app, valkey_url):
            outcome = await outcome_of(app, shop, await say(app, shop, "Hello"))
        assert outcome.state is MessageState.ANSWERED
        asked = await rows(
            superuser_url,
            "SELECT extract(epoch FROM c.opened_at - m.created_at) AS waited, j.visible_at IS NOT NULL AS marked"
            " FROM calls c JOIN messages m ON m.id = c.message_id JOIN jobs j ON j.message_id = m.id"
            " WHERE m.tenant_id = $1",
            shop.scope.tenant_id,
        )
        waits.append(float(asked[0]["waited"]))
        assert asked[0]["marked"] is (window_ms > 0)  # without bursts nothing is written for them
    assert waits[0] > 0.55
    assert waits[1] < waits[0]


async def test_without_a_window_each_message_is_answered_by_itself(
    app: Services, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app, window_ms=0)
    first = await say(app, shop, "one")
    second = await say(app, shop, "two", to=first)
    async with running_worker(app, valkey_url):
        for one in (first, second):
            assert (await outcome_of(app, shop, one)).state is MessageState.ANSWERED
    assert [state for _, state, _ in await states(superuser_url)] == ["answered", "answered"]


async def test_a_merged_message_is_replayed_and_cancelled_like_any_other_that_has_ended(
    app: Services, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app)
    first = await say(app, shop, "Hello", client_message_id="a")
    again = await say(app, shop, "Where is my order?", to=first, client_message_id="b")
    receipt = await say(app, shop, "Hello", client_message_id="a")
    assert (receipt.message_id, receipt.replayed) == (first.message_id, True)
    assert await cancel(app, shop.scope, first.message_id, visitor_id=None) is MessageState.MERGED_INTO
    async with running_worker(app, valkey_url):
        outcome = await outcome_of(app, shop, receipt)  # waits for the answer of the one that carries it
    assert outcome.merged_into == again.message_id
    assert outcome.answer is not None
    assert outcome.answer.message_id == again.message_id
    assert [state for _, state, _ in await states(superuser_url)] == ["merged_into", "answered"]


async def test_a_message_that_is_cancelled_within_the_window_ends_at_once_and_takes_nothing_along(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app, window_ms=10_000)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "Forget it")
        async with asyncio.timeout(5):
            while (await rows(superuser_url, "SELECT state FROM jobs"))[0]["state"] != "running":
                await asyncio.sleep(0.01)
        assert await cancel(app, shop.scope, first.message_id, visitor_id=None) is MessageState.ACCEPTED
        outcome = await wait_for_answer(app, shop.scope, first, timeout_s=8)
        assert outcome.state is MessageState.CANCELLED
    assert simulator.calls() == []


async def test_a_cancellation_that_no_notice_told_of_is_found_with_the_next_lease(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str
) -> None:
    shop = await open_burst_shop(app, window_ms=10_000)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "Forget it")
        async with asyncio.timeout(5):
            while (await rows(superuser_url, "SELECT state FROM jobs"))[0]["state"] != "running":
                await asyncio.sleep(0.01)
        async with app.db.transaction(shop.scope) as db:  # Valkey was away: nobody was told
            await conversations.ask_cancel(db, shop.scope, first.message_id, visitor_id=None)
        outcome = await wait_for_answer(app, shop.scope, first, timeout_s=8)
        assert outcome.state is MessageState.CANCELLED
    assert simulator.calls() == []


async def test_what_was_asked_to_be_cancelled_is_not_taken_over(app: Services, superuser_url: str) -> None:
    shop = await open_burst_shop(app)
    first = await say(app, shop, "Forget it")
    async with app.db.transaction(shop.scope) as db:  # its worker has not heard of it yet
        await conversations.ask_cancel(db, shop.scope, first.message_id, visitor_id=None)
    await say(app, shop, "Where is my order?", to=first)
    assert [state for _, state, _ in await states(superuser_url)] == ["accepted", "accepted"]


async def test_a_burst_ends_after_ten_windows_and_at_twenty_messages(app: Services, superuser_url: str) -> None:
    shop = await open_burst_shop(app)
    first = await say(app, shop, "long ago")
    await rows(superuser_url, "UPDATE messages SET created_at = now() - interval '4.1 s'")
    await say(app, shop, "now", to=first)
    assert [state for _, state, _ in await states(superuser_url)] == ["accepted", "accepted"]
    other = await say(app, shop, "0")
    for number in range(1, 21):
        await say(app, shop, str(number), to=other)
    found = await rows(
        superuser_url,
        "SELECT state FROM messages WHERE conversation_id = $1 ORDER BY ordinal",
        other.conversation_id,
    )
    assert [row["state"] for row in found] == ["merged_into"] * 19 + ["accepted"] * 2


async def test_long_texts_and_replays_are_answered_by_themselves(app: Services, superuser_url: str) -> None:
    shop = await open_burst_shop(app)
    long = await say(app, shop, "x" * 9_000)
    await say(app, shop, "y" * 9_000, to=long)
    assert [state for _, state, _ in await states(superuser_url)] == ["accepted", "accepted"]
    replayed = await say(app, shop, "again")
    await rows(superuser_url, "UPDATE jobs SET generation = 2 WHERE message_id = $1", replayed.message_id)
    await say(app, shop, "and this", to=replayed)
    assert {state for _, state, _ in await states(superuser_url)} == {"accepted"}


async def test_the_history_after_a_burst_has_each_text_once(
    app: Services, simulator: Simulator, valkey_url: str
) -> None:
    shop = await open_burst_shop(app, model="sim:record=1")
    async with running_worker(app, valkey_url):
        before = await say(app, shop, "First of all")
        await outcome_of(app, shop, before)
        one = await say(app, shop, "Hello", to=before)
        two = await say(app, shop, "Where is it?", to=before)
        await outcome_of(app, shop, two)
        after = await say(app, shop, "Thanks", to=before)
        await outcome_of(app, shop, after)
    del one
    asked = [[turn["content"] for turn in json.loads(body)["messages"]] for _, _, body in simulator.recorded]
    assert asked[1][-1].endswith("Hello\nWhere is it?")
    assert sum("Hello" in text for text in asked[1]) == 1
    assert sum("Hello" in text for text in asked[2]) == 1
    assert sum("Where is it?" in text for text in asked[2]) == 1


async def test_the_ending_of_a_merged_message_is_told_by_whoever_answers_if_nobody_did(
    app: Services, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await open_burst_shop(app)

    async def died(*_: object) -> None:
        """The process that accepted the second message, killed after its commit."""

    monkeypatch.setattr("chatwright.pipeline.accept.supersede", died)
    async with running_worker(app, valkey_url):
        # The one that is taken over waits behind an answer that can be seen: no queue ever knew of its job.
        before = await say(app, shop, "[[sim:chunks=8,interval=100]] First of all")
        async with asyncio.timeout(10):
            while not any(isinstance(event, events.StreamChunk) for _, event in await frames(app, shop, before)):
                await asyncio.sleep(0.02)
        first = await say(app, shop, "Hello", to=before)
        second = await say(app, shop, "Where is my order?", to=before)
        assert (await terminals(app, shop, before))[first.message_id] == []
        await outcome_of(app, shop, second)
    told = await terminals(app, shop, before)
    assert [end.state for end in told[first.message_id]] == ["merged_into"]
    assert [end.state for end in told[second.message_id]] == ["answered"]


async def test_text_of_a_message_that_was_taken_over_is_kept_back_before_anybody_was_told(
    app: Services, simulator: Simulator, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody stops the earlier worker and nobody tells the event log: the job's row alone decides."""
    shop = await open_burst_shop(app, window_ms=1500)

    async def died(*_: object) -> None: ...

    monkeypatch.setattr("chatwright.pipeline.accept.supersede", died)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "[[sim:ttft=700,reply=Never seen.]] Hello")
        async with asyncio.timeout(10):
            while not simulator.calls():
                await asyncio.sleep(0.01)
        second = await say(app, shop, "[[sim:ttft=0,reply=Seen.]] Still there?", to=first)
        assert (await outcome_of(app, shop, second)).state is MessageState.ANSWERED
    shown = "".join(event.text for _, event in await frames(app, shop, first) if isinstance(event, events.StreamChunk))
    assert shown == "Seen."


async def test_a_worker_that_hears_of_nothing_shows_nothing_and_calls_nobody_any_more(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No notice reaches it; the fence alone keeps the earlier answer from being seen."""
    shop = await open_burst_shop(app, window_ms=200)

    async def lost(*_: object) -> None: ...

    monkeypatch.setattr(app.channel, "publish_cancel", lost)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "[[sim:ttft=1500,reply=Never seen.]] Hello")
        async with asyncio.timeout(5):
            while not simulator.calls():
                await asyncio.sleep(0.01)
        second = await say(app, shop, "[[sim:ttft=0,reply=Seen.]] Still there?", to=first)
        assert (await outcome_of(app, shop, second)).state is MessageState.ANSWERED
        async with asyncio.timeout(5):
            while any(call.ended == "" for call in simulator.calls()):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    shown = "".join(event.text for _, event in await frames(app, shop, first) if isinstance(event, events.StreamChunk))
    assert shown == "Seen."
    assert len(await rows(superuser_url, "SELECT FROM answers")) == 1
    told = await terminals(app, shop, first)
    assert {message: len(ends) for message, ends in told.items()} == dict.fromkeys(told, 1)


async def test_a_worker_that_hears_of_nothing_within_the_window_calls_nobody(
    app: Services, simulator: Simulator, valkey_url: str, superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await open_burst_shop(app, window_ms=1500)

    async def died(*_: object) -> None: ...

    monkeypatch.setattr("chatwright.pipeline.accept.supersede", died)
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "Hello")
        async with asyncio.timeout(5):
            while (await rows(superuser_url, "SELECT state FROM jobs"))[0]["state"] != "running":
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)  # so that the first one's window ends well before anybody else could stop it
        second = await say(app, shop, "Where is my order?", to=first)
        assert (await outcome_of(app, shop, second)).state is MessageState.ANSWERED
        await asyncio.sleep(0.5)
        await app.ledger.flush()
    assert len(simulator.calls()) == 1
    calls = await rows(superuser_url, "SELECT message_id::text FROM calls")
    assert [call["message_id"] for call in calls] == [second.message_id]


async def test_bursts_from_everywhere_at_once_leave_one_end_each_and_nothing_unanswered(
    app: Services, open_app: OpenApp, valkey_url: str, superuser_url: str
) -> None:
    """Two API processes, two workers, 12 conversations of 5 messages each that come in at random moments."""
    shop = await open_burst_shop(app, window_ms=60)
    async with open_app() as other, running_worker(app, valkey_url), running_worker(other, valkey_url):
        starts = [await say(app, shop, f"start {number}") for number in range(12)]

        async def talk(start: Accepted, number: int) -> list[Accepted]:
            said = [start]
            for part in range(4):
                await asyncio.sleep(((number * 7 + part * 13) % 11) / 90)
                through = app if (number + part) % 2 else other
                said.append(await say(through, shop, f"part {part} of {number}", to=start))
            return said

        accepted = [one for said in await asyncio.gather(*(talk(s, n) for n, s in enumerate(starts))) for one in said]
        outcomes = await asyncio.gather(*(outcome_of(app, shop, one) for one in accepted))
    assert {outcome.state for outcome in outcomes} == {MessageState.ANSWERED}
    found = await states(superuser_url)
    assert {state for _, state, _ in found} == {"answered", "merged_into"}
    answers = await rows(superuser_url, "SELECT m.state FROM answers a JOIN messages m ON m.id = a.message_id")
    assert [row["state"] for row in answers] == ["answered"] * sum(state == "answered" for _, state, _ in found)
    # A message that was merged points at one that was answered, never at one that was merged itself.
    wrong = await rows(
        superuser_url,
        "SELECT FROM messages m JOIN messages c ON c.id = m.merged_into WHERE c.state <> 'answered' OR c.ordinal < m.ordinal",
    )
    assert wrong == []
    for start in starts:
        told = await terminals(app, shop, start)
        assert {message: len(ends) for message, ends in told.items()} == dict.fromkeys(told, 1)
    assert await sweep.let_stranded_go(app) == 0
