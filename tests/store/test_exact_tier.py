"""The exact tier of several processes on one Valkey: one fetch for many, bounded memory, purges that hold."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from chatwright.adapters.valkey import Link, open_link
from chatwright.domain.providers import Finish, Usage
from chatwright.features.cache import CachedAnswer, ExactTier, Flight, encode_entry, exact, open_exact_tier

TENANT, BOT, OTHER_BOT = "0198c0de-0000-7000-8000-000000000001", "bot-1", "bot-2"


@dataclass
class Process:
    tier: ExactTier
    link: Link


@asynccontextmanager
async def process(url: str, *, memory_mib: int = 4) -> AsyncGenerator[Process]:
    async with open_link(url) as link, open_exact_tier(link, prefix="t", memory_mib=memory_mib) as tier:
        async with asyncio.timeout(5):
            while not link.connected:
                await asyncio.sleep(0.005)
        yield Process(tier, link)


@asynccontextmanager
async def processes(url: str, count: int) -> AsyncGenerator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(process(url)) for _ in range(count)]


def entry(text: str = "Nine to five.", **more: object) -> CachedAnswer:
    fields = {"question": "When are you open?", "answer_id": "a-1", "document_ids": ("d-1",), **more}
    return CachedAnswer(
        text=text,
        provider="openai",
        model="m",
        finish=Finish.STOP,
        usage=Usage(),
        cost_nano=5,
        **fields,  # pyright: ignore[reportArgumentType]
    )


async def ask(tier: ExactTier, key: str = "k", *, wait_s: float = 10.0, token: str | None = None, bot: str = BOT):
    return await tier.find(TENANT, bot, key, lead=True, wait_s=wait_s, token=token)


async def lead(tier: ExactTier, key: str = "k", *, token: str | None = None) -> Flight:
    flight = await ask(tier, key, token=token)
    assert isinstance(flight, Flight)
    assert not flight.alone
    return flight


async def test_an_answer_is_kept_for_its_time(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (one, other):
        flight = await lead(one.tier)
        flight.land(entry(), 0.6)
        await one.tier.settled()
        found = await ask(other.tier)
        assert found == entry()
        assert await other.tier.get("k") == entry()
        await asyncio.sleep(0.7)
        assert await other.tier.get("k") is None
        assert isinstance(await ask(other.tier), Flight)


async def test_of_many_equal_questions_one_is_to_fetch_the_answer(valkey_url: str) -> None:
    async with processes(valkey_url, 4) as running:
        flight = await lead(running[0].tier)
        asking = [asyncio.create_task(ask(running[place % 4].tier)) for place in range(100)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asking)
        flight.land(entry(), 60)
        assert await asyncio.gather(*asking) == [entry()] * 100


async def test_when_the_leader_fails_one_of_those_who_wait_takes_over(valkey_url: str) -> None:
    async with processes(valkey_url, 3) as running:
        leaders = 0

        async def fetch(tier: ExactTier) -> CachedAnswer:
            nonlocal leaders
            found = await ask(tier)
            if isinstance(found, CachedAnswer):
                return found
            assert isinstance(found, Flight)
            assert not found.alone
            leaders += 1
            await asyncio.sleep(0.05)
            if leaders < 3:
                found.fail()
                raise ConnectionError
            found.land(entry(), 60)
            return entry()

        got = await asyncio.gather(*[fetch(running[place % 3].tier) for place in range(30)], return_exceptions=True)
        assert leaders == 3
        assert sum(isinstance(one, ConnectionError) for one in got) == 2
        assert [one for one in got if isinstance(one, CachedAnswer)] == [entry()] * 28


async def test_when_the_answer_is_not_for_others_all_go_on_at_once(valkey_url: str) -> None:
    async with processes(valkey_url, 3) as running:
        flight = await lead(running[0].tier)
        asking = [asyncio.create_task(ask(running[place % 3].tier)) for place in range(30)]
        await asyncio.sleep(0.1)
        flight.part()
        async with asyncio.timeout(5):
            got = await asyncio.gather(*asking)
        assert all(isinstance(one, Flight) and one.alone for one in got)


async def test_a_leader_that_died_is_followed(valkey_url: str) -> None:
    async with process(valkey_url) as waiting:
        async with process(valkey_url) as dying:
            await lead(dying.tier, token="message-1")
            asking = asyncio.create_task(ask(waiting.tier))
            await asyncio.sleep(0.1)
        # Its process is gone; nobody renews the lease.
        async with asyncio.timeout(exact.LEASE_S + 5):
            found = await asking
        assert isinstance(found, Flight)
        assert not found.alone


async def test_the_same_question_taken_up_by_another_process_leads_on(valkey_url: str) -> None:
    async with process(valkey_url) as after:
        async with process(valkey_url) as dying:
            await lead(dying.tier, token="message-1")
        assert isinstance(await ask(after.tier, wait_s=0, token="message-2"), Flight)
        async with asyncio.timeout(1):
            await lead(after.tier, token="message-1")


async def test_a_leader_that_lives_is_not_overtaken(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "LEASE_S", 0.6)
    async with processes(valkey_url, 2) as (one, other):
        flight = await lead(one.tier)
        asking = asyncio.create_task(ask(other.tier))
        await asyncio.sleep(1.5)
        assert not asking.done()
        flight.land(entry(), 60)
        assert await asking == entry()


async def test_who_has_waited_long_enough_goes_on_alone(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (one, other):
        flight = await lead(one.tier)
        got = await asyncio.gather(*[ask(process.tier, wait_s=0.2) for process in (one, other) for _ in range(5)])
        assert all(isinstance(one, Flight) and one.alone for one in got)
        flight.land(entry(), 60)
        await one.tier.settled()
        late = got[0]
        assert isinstance(late, Flight)
        late.land(entry("Another answer."), 60)  # it may still be kept: the newest wins
        await one.tier.settled()
        assert await one.tier.get("k") == entry("Another answer.")


async def test_without_valkey_nobody_waits_and_nothing_fails() -> None:
    async with open_link("redis://127.0.0.1:1") as link, open_exact_tier(link, prefix="t") as tier:
        async with asyncio.timeout(1):
            assert await ask(tier) is None
        assert await tier.get("k") is None
        assert await tier.epoch(TENANT, BOT) == -1
        flight = tier.ready(TENANT, BOT, "k", 0)
        flight.land(entry(), 60)
        await tier.settled()


async def test_a_tier_without_memory_is_off(valkey_url: str) -> None:
    async with process(valkey_url, memory_mib=0) as off:
        assert not off.tier.is_on
        assert await ask(off.tier) is None
        assert not await off.tier.put(TENANT, BOT, "k", entry(), 60)


async def used_bytes(link: Link) -> int:
    total = 0
    for key in await link.execute("KEYS", "t:*"):
        total += int(await link.execute("MEMORY", "USAGE", key, "SAMPLES", "0"))
    return total


async def test_memory_stays_bounded_over_all_chatbots_oldest_first(valkey_url: str) -> None:
    async with process(valkey_url, memory_mib=2) as one:
        tier, text = one.tier, "x" * 1_000
        for place in range(4_000):
            await tier.put(TENANT, f"bot-{place % 8}", f"{place:032x}", entry(text), 3_600)
        stats = await tier.stats(TENANT, "bot-0")
        assert stats.bytes <= 2 * 1024 * 1024
        assert stats.bytes > 0.9 * 2 * 1024 * 1024
        assert stats.chatbot_bytes <= stats.bytes
        kept = stats.entries
        assert await tier.get(f"{3_999:032x}") is not None
        assert await tier.get(f"{4_000 - kept:032x}") is not None
        assert await tier.get(f"{4_000 - kept - 1:032x}") is None
        # What we count is what it costs.
        assert await used_bytes(one.link) <= stats.bytes


async def test_one_chatbot_cannot_fill_the_memory(valkey_url: str) -> None:
    async with process(valkey_url, memory_mib=2) as one:
        tier, text = one.tier, "x" * 1_000
        await tier.put(TENANT, OTHER_BOT, "theirs", entry(text), 3_600)
        for place in range(1_000):
            await tier.put(TENANT, BOT, f"{place:032x}", entry(text), 3_600)
        stats = await tier.stats(TENANT, BOT)
        assert stats.chatbot_bytes <= 512 * 1024
        assert await tier.get("theirs") is not None


async def test_ended_entries_leave_no_traces(valkey_url: str) -> None:
    async with process(valkey_url) as one:
        for place in range(40):
            await one.tier.put(TENANT, OTHER_BOT, f"old-{place}", entry(), 0.05)
        await asyncio.sleep(0.1)
        await one.tier.put(TENANT, BOT, "new", entry(), 60)
        stats = await one.tier.stats(TENANT, OTHER_BOT)
        assert (stats.entries, stats.chatbot_entries, stats.chatbot_bytes) == (1, 0, 0)
        assert stats.bytes == len(encode_entry(entry())) + exact.OVERHEAD_BYTES


async def test_an_entry_too_large_is_not_kept(valkey_url: str) -> None:
    async with process(valkey_url) as one:
        assert not await one.tier.put(TENANT, BOT, "k", entry("x" * 70_000), 60)
        flight = await lead(one.tier)
        asking = asyncio.create_task(ask(one.tier))
        await asyncio.sleep(0.05)
        flight.land(entry("x" * 70_000), 60)
        assert await asking == entry("x" * 70_000)  # who waited in this process gets it all the same
        await one.tier.settled()
        assert await one.tier.get("k") is None


async def test_purging_drops_what_meets_the_conditions_and_nothing_else(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (one, other):
        tier = one.tier
        await tier.put(TENANT, BOT, "k1", entry("Open at NINE.", document_ids=("d-1", "d-2"), answer_id="a-1"), 60)
        await tier.put(TENANT, BOT, "k2", entry("Closed.", document_ids=("d-2",), answer_id="a-2"), 60)
        await tier.put(TENANT, BOT, "k3", entry("Maybe.", document_ids=(), answer_id="a-3", question="At nine?"), 60)
        await tier.put(TENANT, OTHER_BOT, "k4", entry("Open at nine.", document_ids=("d-1",)), 60)
        assert await other.tier.purge(TENANT, BOT, answer_id="a-9") == 0
        assert await other.tier.purge(TENANT, BOT, document_id="d-1") == 1
        assert await tier.get("k1") is None
        assert await other.tier.purge(TENANT, BOT, text="nine") == 1
        assert await tier.get("k3") is None
        assert await other.tier.purge(TENANT, BOT, matches=lambda kept: kept.text == "Closed.") == 1
        assert await tier.get("k4") is not None
        await tier.put(TENANT, BOT, "k5", entry(), 60)
        assert await other.tier.purge(TENANT, BOT) == 1
        stats = await tier.stats(TENANT, BOT)
        assert (stats.entries, stats.chatbot_entries, stats.chatbot_bytes) == (1, 0, 0)


async def test_what_was_asked_for_before_a_purge_is_not_kept_after_it(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (one, other):
        flight = await lead(one.tier)
        unread = one.tier.ready(TENANT, BOT, "w", await one.tier.epoch(TENANT, BOT))
        other_bot = await one.tier.find(TENANT, OTHER_BOT, "o", lead=True, wait_s=1)
        assert isinstance(other_bot, Flight)
        assert await other.tier.purge(TENANT, BOT) == 0
        for one_flight in (flight, unread, other_bot):
            one_flight.land(entry(), 60)
        await one.tier.settled()
        assert await other.tier.get("k") is None
        assert await other.tier.get("w") is None
        assert await other.tier.get("o") is not None
        again = await lead(other.tier)  # and the lease is free
        again.land(entry(), 60)
        await other.tier.settled()
        assert await one.tier.get("k") is not None


async def test_entries_are_listed_newest_first(valkey_url: str) -> None:
    async with process(valkey_url) as one:
        for place in range(5):
            await one.tier.put(TENANT, BOT, f"k{place}", entry(str(place)), 60)
            await asyncio.sleep(0.002)
        listed = await one.tier.entries(TENANT, BOT, limit=3)
        assert [kept.entry.text for kept in listed] == ["4", "3", "2"]
        assert [kept.key for kept in await one.tier.entries(TENANT, BOT, offset=3)] == ["k1", "k0"]
        assert all(0 < kept.ttl_s <= 60 for kept in listed)


async def test_a_server_that_lost_its_scripts_is_told_them_again(valkey_url: str) -> None:
    async with process(valkey_url) as one:
        (await lead(one.tier)).land(entry(), 60)
        await one.tier.settled()
        await one.link.execute("SCRIPT", "FLUSH")
        (await lead(one.tier, "k2")).land(entry(), 60)
        await one.tier.settled()
        assert await one.tier.get("k2") == entry()
