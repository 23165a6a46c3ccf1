"""The waits of an exchange: each is bounded, none is charged to the provider while we are the slow side."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from time import perf_counter

import pytest

from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.exchange import MAX_REMEMBERED, Quirks, encode, keep
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.domain.errors import ProviderError
from chatwright.domain.providers import Route
from tests.flows.recorded import PROMPT, streamed

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def replayed(
    *pieces: bytes, pause_s: float = 0.0, hang: bool = False
) -> AsyncGenerator[tuple[Replay, OpenAiChat]]:
    async with open_http() as clients, run_replay() as replay:
        replay.pieces, replay.pause_s, replay.hang = pieces, pause_s, hang
        yield replay, OpenAiChat(clients)


def route_to(server: Replay, *, first_byte_s: float = 5.0, idle_s: float = 5.0) -> Route:
    return Route(
        provider="p", model="m", base_url=server.base_url, first_byte_timeout_s=first_byte_s, idle_timeout_s=idle_s
    )


def test_a_slow_reader_is_no_silent_provider() -> None:
    async def check() -> None:
        async with replayed(CHUNK, CHUNK, CHUNK, END, pause_s=0.05) as (server, wire):
            async with aclosing(wire.stream(route_to(server, idle_s=0.2), PROMPT)) as stream:
                text = ""
                async for delta in stream:
                    text += delta.text
                    # Longer than the provider may be silent, while nothing is asked of it.
                    await asyncio.sleep(0.3)
            assert text == "aaa"

    asyncio.run(check())


def test_bytes_that_make_no_event_are_no_sign_of_life() -> None:
    async def check() -> None:
        drops = [CHUNK[i : i + 1] for i in range(len(CHUNK))]
        async with replayed(b": waiting\n\n", *drops, END, pause_s=0.05) as (server, wire):
            began = perf_counter()
            with pytest.raises(ProviderError) as failed:
                await streamed(wire, route_to(server, first_byte_s=0.4, idle_s=0.4))
            assert failed.value.error_class == "timeout"
            assert perf_counter() - began < 1.0

    asyncio.run(check())


def test_a_steady_stream_may_take_longer_than_any_single_wait() -> None:
    async def check() -> None:
        async with replayed(*[CHUNK] * 12, END, pause_s=0.05) as (server, wire):
            assert len(await streamed(wire, route_to(server, first_byte_s=0.3, idle_s=0.2))) == 13

    asyncio.run(check())


@pytest.mark.parametrize(
    ("pieces", "first_byte_s", "idle_s", "least_s"),
    [((), 0.3, 5.0, 0.25), ((CHUNK,), 5.0, 0.3, 0.25), ((CHUNK, CHUNK), 0.3, 0.6, 0.55)],
)
def test_a_silent_provider_is_left_at_its_limit(
    pieces: tuple[bytes, ...], first_byte_s: float, idle_s: float, least_s: float
) -> None:
    async def check() -> None:
        async with replayed(*pieces, hang=True) as (server, wire):
            started = perf_counter()
            with pytest.raises(ProviderError) as caught:
                await streamed(wire, route_to(server, first_byte_s=first_byte_s, idle_s=idle_s))
            assert caught.value.error_class == "timeout"
            assert caught.value.retriable
            assert least_s < perf_counter() - started < least_s + 1
            async with asyncio.timeout(5):
                while server.open_connections:
                    await asyncio.sleep(0.01)

    asyncio.run(check())


def test_no_timer_is_left_behind() -> None:
    async def check() -> None:
        async with replayed(CHUNK, CHUNK, END) as (server, wire):
            loop = asyncio.get_running_loop()
            for _ in range(20):
                await streamed(wire, route_to(server, first_byte_s=60, idle_s=60))
            waiting = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            assert not [handle for handle in waiting if handle.when() > loop.time() + 30]

    asyncio.run(check())


def test_what_is_remembered_is_bounded() -> None:
    cache: dict[int, int] = {}
    for number in range(3 * MAX_REMEMBERED):
        assert keep(cache, number, number) == number
        assert number in cache
    assert len(cache) <= MAX_REMEMBERED
    quirks = Quirks()
    route = Route(provider="p", model="m", base_url="http://x")
    quirks.learn(route, "one")
    quirks.learn(route, "two")
    assert quirks.of(route) == {"one", "two"}
    assert quirks.of(Route(provider="p", model="m", base_url="http://y")) == frozenset()


def test_a_lone_surrogate_anywhere_in_a_request_is_replaced() -> None:
    assert encode({"a\ud800": ["b\udfff", {"c": 1, "d": None}]}) == b'{"a?":["b?",{"c":1,"d":null}]}'
