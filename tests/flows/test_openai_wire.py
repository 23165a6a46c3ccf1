"""The OpenAI-compatible wire format against servers that behave, and against servers that do not."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator import Simulator, run_simulator
from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.address_guard import AddressGuard
from chatwright.adapters.providers.base import join, join_tool_calls
from chatwright.adapters.providers.failures import failed, failure_of, read_failure, retry_after_s, scrubbed
from chatwright.adapters.providers.http import open_http
from chatwright.adapters.providers.openai_chat import OpenAiChat
from chatwright.adapters.providers.openai_reading import ChatReader
from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from chatwright.domain.providers import Delta, Finish, Prompt, Route, StatedLimits, Turn, Usage, Window

KEY = "sk-test-0123456789abcdef"


def ask(text: str = "Hello there", **fields: Any) -> Prompt:
    return Prompt(turns=[Turn("system", "Be brief."), Turn("user", text)], **fields)


async def read(wire: OpenAiChat, route: Route, prompt: Prompt) -> list[Delta]:
    async with aclosing(wire.stream(route, prompt)) as stream:
        return [delta async for delta in stream]


@asynccontextmanager
async def simulated(**verbs: Any) -> AsyncGenerator[tuple[Simulator, OpenAiChat, Route]]:
    async with open_http() as clients, run_simulator(**verbs) as sim:
        yield sim, OpenAiChat(clients), Route(provider="openai", model="m", base_url=sim.base_url, api_key=KEY)


@asynccontextmanager
async def replayed(*lines: str, **fields: Any) -> AsyncGenerator[tuple[Replay, OpenAiChat, Route]]:
    body = "".join(f"data: {line}\n\n" for line in lines)
    async with open_http() as clients, run_replay(fields.pop("body", body)) as replay:
        for name, value in fields.items():
            setattr(replay, name, value)
        yield replay, OpenAiChat(clients), Route(provider="openai", model="m", base_url=replay.base_url, api_key=KEY)


def chunk(content: str | None = None, finish: str | None = None, **fields: Any) -> str:
    delta = {} if content is None else {"content": content}
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields})


# What is sent


def test_a_request_holds_the_prompt_and_passes_the_callers_options_on() -> None:
    async def check() -> None:
        async with replayed(chunk("hi", "stop"), "[DONE]") as (server, wire, route):
            prompt = Prompt(
                turns=[
                    Turn("system", "Be brief."),
                    Turn("user", "Weather?", {"name": "ann"}),
                    Turn("assistant", "", {"tool_calls": [{"id": "c1"}]}),
                    Turn("tool", "rain", {"tool_call_id": "c1", "role": "system"}),
                    Turn("user", "x", {"content": [{"type": "text", "text": "parts"}]}),
                ],
                temperature=0.5,
                max_tokens=7,
                options={"stop": ["."], "model": "other", "stream": False, "stream_options": {"a": 1}, "tools": [{}]},
            )
            await read(wire, replace(route, call_id="call-1"), prompt)
            await wire.complete(route, prompt)
            head, body = server.requests[0]
            assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
            headers = head.decode().lower()
            assert f"authorization: bearer {KEY}\r\n" in headers
            assert "x-chatwright-call-id: call-1\r\n" in headers
            assert "accept-encoding: identity\r\n" in headers
            assert "cookie" not in headers
            assert json.loads(body) == {
                "model": "m",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Weather?", "name": "ann"},
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
                    {"role": "tool", "content": "rain", "tool_call_id": "c1"},
                    {"role": "user", "content": [{"type": "text", "text": "parts"}]},
                ],
                "temperature": 0.5,
                "max_tokens": 7,
                "stop": ["."],
                "tools": [{}],
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            head, body = server.requests[1]
            assert b"x-chatwright-call-id" not in head.lower()
            assert {"stream", "stream_options"} & set(json.loads(body)) == set()

    asyncio.run(check())


def test_azure_gets_its_own_key_header_and_keeps_the_query_at_the_end() -> None:
    async def check() -> None:
        async with replayed(chunk("hi", "stop"), "[DONE]") as (server, wire, route):
            base = server.base_url.replace("/v1", "/openai/deployments/d/?api-version=2024-10-21")
            await read(wire, replace(route, provider="azure-openai", base_url=base), ask())
            head = server.requests[0][0].decode()
            assert head.startswith("POST /openai/deployments/d/chat/completions?api-version=2024-10-21 HTTP/1.1")
            assert f"api-key: {KEY}\r\n" in head.lower()

    asyncio.run(check())


def test_text_that_no_utf8_can_carry_is_sent_without_it() -> None:
    async def check() -> None:
        async with simulated(echo=True) as (_, wire, route):
            assert (await wire.complete(route, ask("a\ud800b \x00 ü"))).text == "a?b \x00 ü"

    asyncio.run(check())


def test_a_key_with_a_line_break_is_refused_and_never_sent() -> None:
    async def check() -> None:
        async with simulated() as (sim, wire, route):
            for key in ("sk-1\r\nx-evil: 1", "schlüssel"):
                with pytest.raises(AuthenticationError):
                    await wire.complete(replace(route, api_key=key), ask())
            assert sim.calls() == []

    asyncio.run(check())


def test_a_model_that_wants_the_other_name_of_max_tokens_is_asked_again_once_and_remembered() -> None:
    async def check() -> None:
        async with simulated(want_max_completion_tokens=True) as (sim, wire, route):
            for _ in range(2):
                assert (await wire.complete(route, ask(max_tokens=5))).finish is Finish.STOP
            assert join(await read(wire, route, ask(max_tokens=5))).finish is Finish.STOP
            assert [call.status for call in sim.calls()] == [400, 200, 200, 200]
            await wire.complete(replace(route, model="other"), ask(max_tokens=5))
            assert [call.status for call in sim.calls()] == [400, 200, 200, 200, 400, 200]

    asyncio.run(check())


@pytest.mark.parametrize(
    ("message", "requests", "gone"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", 2, "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported.", 2, "temperature"),
        ("Unrecognized request argument supplied: stream_options", 2, "stream_options"),
        ("Unsupported parameter: 'stop' is not supported with this model.", 2, "stop"),
        ("property 'top_p' is unsupported", 2, "top_p"),
        ("Model grok-x does not support parameter presence_penalty.", 2, "presence_penalty"),
        ('[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]', 2, "seed"),
        ("max_tokens is too large: 999999. This model supports at most 4096 completion tokens", 1, None),
        ("Invalid 'temperature': decimal above maximum value.", 1, None),
        ("Tools are not supported with this model", 1, None),
        ("Invalid 'messages'", 1, None),
    ],
)  # fmt: skip
def test_a_refused_parameter_is_mended_at_most_once(message: str, requests: int, gone: str | None) -> None:
    async def check() -> None:
        options = {"stop": ["."], "top_p": 0.5, "presence_penalty": 1, "seed": 3, "tools": [{}]}
        async with replayed(body=json.dumps({"error": {"message": message}}), status=400) as (server, wire, route):
            for _ in range(2):
                server.requests.clear()
                with pytest.raises(ProviderError) as caught:
                    await read(wire, route, ask(max_tokens=5, temperature=0.2, options=options))
                assert not caught.value.retriable
                # What did not help is not remembered: the second call begins as the first.
                assert len(server.requests) == requests
                if gone:
                    assert gone in json.loads(server.requests[0][1])
                    assert gone not in json.loads(server.requests[1][1])

    asyncio.run(check())


class Picky(list[tuple[bytes, bytes]]):
    """Requests of a replay that refuses one after another of some fields, each in OpenAI's words."""

    def __init__(self, server: Replay, *refused: str, status: int = 400, quirk: str = "not supported") -> None:
        super().__init__()
        self._server = server
        self._refused = refused
        self._status = status
        self._quirk = quirk
        self._good = server.pieces
        server.requests = self

    def append(self, item: tuple[bytes, bytes], /) -> None:
        super().append(item)
        sent = json.loads(item[1])
        for name in self._refused:
            if name in sent:
                error = {"message": f"Unsupported parameter: '{name}' is {self._quirk}.", "param": name}
                self._server.status, self._server.pieces = self._status, [json.dumps({"error": error}).encode()]
                return
        self._server.status, self._server.pieces = 200, self._good


def test_up_to_three_refused_fields_are_learned_and_left_out_from_then_on() -> None:
    async def check() -> None:
        options = {"stop": ["."], "top_p": 0.5, "seed": 1}
        prompt = ask(temperature=0.2, max_tokens=9, options=options)
        async with replayed(chunk("hi", "stop"), "[DONE]") as (server, wire, route):
            requests = Picky(server, "temperature", "top_p", "max_tokens")
            for _ in range(2):
                assert join(await read(wire, route, prompt)).text == "hi"
            assert len(requests) == 5
            sent = json.loads(requests[-1][1])
            assert not {"temperature", "top_p", "max_tokens"} & set(sent)
            assert (sent["stop"], sent["seed"], sent["max_completion_tokens"]) == (["."], 1, 9)
        async with replayed(chunk("hi", "stop"), "[DONE]") as (server, wire, route):
            requests = Picky(server, "temperature", "top_p", "max_tokens", "stop")
            for sends in (4, 8):
                with pytest.raises(ProviderError, match="stop"):
                    await read(wire, route, prompt)
                assert len(requests) == sends

    asyncio.run(check())


def test_a_server_that_knows_only_the_old_name_of_the_limit_is_given_it() -> None:
    async def check() -> None:
        async with replayed(chunk("hi", "stop"), "[DONE]") as (server, wire, route):
            requests = Picky(server, "max_completion_tokens", status=422, quirk="not permitted")
            for _ in range(2):
                await read(wire, route, ask(options={"max_completion_tokens": 7}))
            assert [json.loads(body).get("max_tokens") for _, body in requests] == [None, 7, 7]

    asyncio.run(check())


def test_words_that_quote_the_caller_do_not_change_the_request() -> None:
    async def check() -> None:
        error = {"message": "Unsupported value: 'temperature' of tools[0].", "param": "tools[0].function.name"}
        async with replayed(body=json.dumps({"error": error}), status=400) as (server, wire, route):
            with pytest.raises(ProviderError):
                await read(wire, route, ask(temperature=0.2, options={"tools": [{}]}))
            assert len(server.requests) == 1

    asyncio.run(check())


def test_the_cache_key_goes_to_openai_itself_only() -> None:
    async def check() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            del host, port
            return ["127.0.0.1"]

        body = f"data: {chunk('hi', 'stop')}\n\ndata: [DONE]\n\n"
        guard = AddressGuard(["api.openai.com", "api.other.com"], lookup=lookup)
        async with open_http(guard=guard) as clients, run_replay(body) as server:
            wire = OpenAiChat(clients)
            sent: list[object] = []
            for host, options in (
                ("api.openai.com", {}),
                ("api.openai.com", {"prompt_cache_key": "callers"}),
                ("api.other.com", {}),
            ):
                base = f"http://{host}:{server.port}/v1"
                route = Route(provider="openai", model="m", base_url=base, api_key=KEY, guarded=True)
                await read(wire, route, ask(cache_key="bot-1", options=options))
                sent.append(json.loads(server.requests[-1][1]).get("prompt_cache_key"))
            assert sent == ["bot-1", "callers", None]
            requests = Picky(server, "prompt_cache_key")
            route = Route(
                provider="openai", model="n", base_url=f"http://api.openai.com:{server.port}/v1", guarded=True
            )
            for _ in range(2):
                await read(wire, route, ask(cache_key="bot-1"))
            assert ["prompt_cache_key" in json.loads(body) for _, body in requests] == [True, False, False]

    asyncio.run(check())


def test_the_bare_address_of_an_azure_resource_is_enough() -> None:
    async def check() -> None:
        async def lookup(host: str, port: int) -> list[str]:
            del host, port
            return ["127.0.0.1"]

        body = f"data: {chunk('hi', 'stop')}\n\ndata: [DONE]\n\n"
        host = "example-resource.openai.azure.com"
        async with open_http(guard=AddressGuard([host], lookup=lookup)) as clients, run_replay(body) as server:
            wire = OpenAiChat(clients)
            for path, wanted in (
                ("", "/openai/v1/chat/completions"),
                ("/", "/openai/v1/chat/completions"),
                ("/openai", "/openai/v1/chat/completions"),
                ("/openai/v1/", "/openai/v1/chat/completions"),
                ("/?api-version=preview", "/openai/v1/chat/completions?api-version=preview"),
                (
                    "/openai/deployments/d?api-version=2024-10-21",
                    "/openai/deployments/d/chat/completions?api-version=2024-10-21",
                ),
            ):
                # Known by its host, whatever the operator calls the provider.
                base = f"http://{host}:{server.port}{path}"
                await read(wire, Route(provider="mine", model="m", base_url=base, api_key=KEY, guarded=True), ask())
                head = server.requests[-1][0].decode()
                assert head.startswith(f"POST {wanted} HTTP/1.1\r\n")
                assert f"api-key: {KEY}\r\n" in head.lower()

    asyncio.run(check())


def test_what_the_headers_say_of_limits_is_told_once_an_answer_before_its_body() -> None:
    async def check() -> None:
        headers = {"x-ratelimit-limit-requests": "9", "X-RateLimit-Remaining-Requests": "8"}
        limits = StatedLimits(requests=Window(limit=9, remaining=8))
        heard: list[StatedLimits] = []
        async with replayed(chunk("hi", "stop"), "[DONE]", headers=headers) as (server, wire, silent):
            route = replace(silent, heard=heard.append)
            stream = wire.stream(route, ask())
            async with aclosing(stream):
                await anext(stream)
                assert heard == [limits]
                assert [delta.finish async for delta in stream] == [Finish.STOP]
            await wire.complete(route, ask())
            server.status = 429
            await raised(wire.complete(route, ask()))
            server.status = 307
            await raised(wire.complete(route, ask()))
            assert heard == [limits] * 4
            server.headers, server.status = {"content-type": "text/event-stream"}, 200
            await wire.complete(route, ask())
            assert len(heard) == 4

    asyncio.run(check())


# Answers as they should be, and odd ones


def test_stream_and_complete_give_the_same_answer() -> None:
    async def check() -> None:
        async with simulated(reply="Grüße aus Köln, 日本 🙂", chunks=6, cached_tokens=3, input_tokens=9) as (
            sim,
            wire,
            route,
        ):
            whole = await wire.complete(route, ask())
            deltas = await read(wire, route, ask())
            assert whole.text == "Grüße aus Köln, 日本 🙂"
            assert whole.upstream_request_id == "req_sim_1"
            assert join(deltas) == replace(whole, upstream_request_id=None)
            assert whole.usage == Usage(input_tokens=9, cached_tokens=3, output_tokens=6)
            assert deltas[-1] == Delta(finish=Finish.STOP, usage=whole.usage, model="m")
            assert all(delta.text and delta.finish is None for delta in deltas[:-1])
            assert [call.ended for call in sim.calls()] == ["complete", "complete"]

    asyncio.run(check())


def test_connections_are_used_again() -> None:
    async def check() -> None:
        async with simulated(chunks=5, interval=1) as (sim, wire, route):
            for _ in range(4):
                await read(wire, route, ask())
                await wire.complete(route, ask())
                with pytest.raises(ProviderError):
                    await wire.complete(replace(route, model="sim:status=500"), ask())
            assert sim.connections_seen == 1

    asyncio.run(check())


def test_tool_calls_arrive_whole() -> None:
    async def check() -> None:
        async with simulated(tool="look_up") as (_, wire, route):
            for answer in (await wire.complete(route, ask()), join(await read(wire, route, ask()))):
                assert answer.finish is Finish.TOOL_CALLS
                assert answer.tool_calls is not None
                assert answer.tool_calls[0]["function"] == {"name": "look_up", "arguments": "{}"}

    asyncio.run(check())


def test_fragments_without_an_index_and_interleaved_ones_are_put_together() -> None:
    def part(text: str, **fields: Any) -> dict[str, Any]:
        return {"function": {"arguments": text}, **fields}

    assert [
        (call["id"], call["function"]["arguments"])
        for call in join_tool_calls(
            [part("a", index=1, id="x"), part("1", index=0, id="y"), part("b", index=1), part("2", index=0)]
        )
    ] == [("y", "12"), ("x", "ab")]
    assert [
        (call["id"], call["function"]["arguments"])
        for call in join_tool_calls([part("a", id="x"), part("b"), part("c", id="y"), part("d", id=None)])
    ] == [("x", "ab"), ("y", "cd")]


ODD_STREAMS: dict[str, tuple[list[str], str, Finish]] = {
    "null content, empty delta, empty choices, unknown keys": (
        [
            '{"choices":[],"prompt_filter_results":[{}]}',
            '{"choices":[{"delta":{"role":"assistant","content":null},"finish_reason":null}],"new":{"a":[1]}}',
            chunk("a"),
            '{"choices":[{"index":0,"delta":{}}],"usage":null}',
            '{"choices":null,"error":null}',
            chunk("b"),
            chunk(None, "stop"),
            "[DONE]",
        ],
        "ab",
        Finish.STOP,
    ),
    "no end marker": ([chunk("a"), chunk("b", "length")], "ab", Finish.LENGTH),
    "no finish reason": ([chunk("a"), "[DONE]"], "a", Finish.STOP),
    "unknown finish reason": ([chunk("a", "tired"), "[DONE]"], "a", Finish.OTHER),
    "other alternatives": (
        [chunk("a"), '{"choices":[{"index":1,"delta":{"content":"NO"},"finish_reason":"length"}]}', chunk("b", "stop")],
        "ab",
        Finish.STOP,
    ),
    "fields of wrong types": (
        [
            '{"choices":[{"index":0,"delta":{"content":"a","tool_calls":"none","refusal":7}}],"usage":"none","model":5}',
            '{"choices":[null,{"index":"0","delta":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"3"}}',
        ],
        "ab",
        Finish.STOP,
    ),
    "filtered after text": ([chunk("a"), chunk(None, "content_filter"), "[DONE]"], "a", Finish.CONTENT_FILTER),
    "refusal after text": (
        [chunk("a"), '{"choices":[{"delta":{"refusal":"I will not"}}]}', chunk(None, "stop"), "[DONE]"],
        "a",
        Finish.CONTENT_FILTER,
    ),
    "parts": ([chunk([{"type": "text", "text": "a"}, {"type": "reference", "ids": [1]}], "stop")], "a", Finish.STOP),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", ODD_STREAMS)
def test_an_odd_stream_is_read(name: str) -> None:
    lines, text, finish = ODD_STREAMS[name]

    async def check() -> None:
        async with replayed(*lines) as (_, wire, route):
            for answer in (join(await read(wire, route, ask())), await wire.complete(route, ask())):
                assert (answer.text, answer.finish) == (text, finish)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("last", "usage"),
    [
        ('{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}', Usage(input_tokens=7, output_tokens=2)),
        ('{"choices":[{"delta":{},"usage":{"prompt_tokens":7,"completion_tokens":2}}]}', Usage(input_tokens=7, output_tokens=2)),
        ('{"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":2}}}', Usage(input_tokens=7, output_tokens=2)),
        (
            (
                '{"usage":{"prompt_tokens":70,"completion_tokens":20,"total_tokens":90,"prompt_tokens_details":'
                '{"cached_tokens":50,"cache_write_tokens":8},"completion_tokens_details":{"reasoning_tokens":15}}}'
            ),
            Usage(input_tokens=70, cached_tokens=50, cache_write_tokens=8, output_tokens=20, reasoning_tokens=15),
        ),
        (
            (
                '{"usage":{"prompt_tokens":70,"completion_tokens":20,"total_tokens":105,"completion_tokens_details":'
                '{"reasoning_tokens":15}}}'
            ),
            Usage(input_tokens=70, output_tokens=35, reasoning_tokens=15),
        ),
        ('{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":4}}', Usage(input_tokens=9, cached_tokens=4)),
        ('{"usage":{}}', None),
        ('{"usage":null}', None),
    ],
)  # fmt: skip
def test_usage_is_found_wherever_it_is_reported(last: str, usage: Usage | None) -> None:
    async def check() -> None:
        async with replayed(chunk("a", "stop"), last, "[DONE]") as (_, wire, route):
            assert (await read(wire, route, ask()))[-1].usage == usage

    asyncio.run(check())


def test_reasoning_and_legacy_function_calls_are_told_apart_from_text() -> None:
    async def check() -> None:
        lines = [
            '{"choices":[{"delta":{"reasoning":"hm","content":""}}]}',
            '{"choices":[{"delta":{"reasoning_content":"so"}}]}',
            '{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"!"}]}]}}]}',
            '{"choices":[{"delta":{"function_call":{"name":"f","arguments":""}}}]}',
            '{"choices":[{"delta":{"function_call":{"arguments":"{}"}}}]}',
            chunk(None, "function_call"),
            "[DONE]",
        ]
        async with replayed(*lines) as (_, wire, route):
            deltas = await read(wire, route, ask())
            assert "".join(delta.reasoning for delta in deltas) == "hmso!"
            answer = join(deltas)
            assert (answer.text, answer.finish) == ("", Finish.TOOL_CALLS)
            call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            assert answer.tool_calls == [call]

    asyncio.run(check())


def test_json_where_a_stream_was_asked_for_is_an_answer() -> None:
    body = {"choices": [{"message": {"content": "whole"}, "finish_reason": None}], "usage": {"prompt_tokens": 1}}

    async def check() -> None:
        async with replayed(body="\n " + json.dumps(body)) as (_, wire, route):
            answer = join(await read(wire, route, ask()))
            assert (answer.text, answer.finish, answer.usage) == ("whole", Finish.STOP, Usage(input_tokens=1))

    asyncio.run(check())


def test_a_server_that_neither_ends_nor_closes_after_its_finish_reason_does_not_hold_the_answer_back() -> None:
    async def check() -> None:
        async with replayed(chunk("a", "stop"), hang=True) as (_, wire, route):
            start = time.monotonic()
            assert join(await read(wire, replace(route, idle_timeout_s=30), ask())).text == "a"
            assert 1.5 < time.monotonic() - start < 4

    asyncio.run(check())


def test_embeddings_come_in_the_order_of_the_texts() -> None:
    async def check() -> None:
        async with simulated() as (sim, wire, route):
            one = await wire.embed(route, ["a"])
            both = await wire.embed(route, ["b", "a"])
            assert len(both.vectors[0]) == 256
            assert both.vectors[1] == one.vectors[0] != both.vectors[0]
            assert both.usage == Usage(input_tokens=1)
            assert (await wire.embed(route, [])).vectors == []
            assert len(sim.calls()) == 2
        body = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1]}]}
        async with replayed(body=json.dumps(body)) as (_, wire, route):
            assert (await wire.embed(route, ["a", "b"])).vectors == [[1.0], [2.0]]
            with pytest.raises(ProviderError):
                await wire.embed(route, ["a", "b", "c"])

    asyncio.run(check())


_TWISTS: list[tuple[str, str, Any]] = [
    *(("delta", "content", value) for value in (None, "", "ü🙂", [{"type": "text", "text": "p"}], 7)),
    *(("delta", "reasoning", value) for value in ("", "hm")),
    ("delta", "reasoning_content", "so"),
    ("delta", "refusal", "no"),
    *(("delta", "tool_calls", value) for value in ([], [{"index": 0, "id": "c"}])),
    ("delta", "function_call", {"arguments": "{}"}),
    *(("choice", "index", value) for value in (1, None)),
    *(("choice", "finish_reason", value) for value in ("", "stop", "error")),
    ("choice", "message", {"content": "m"}),
    ("choice", "delta", None),
    ("choice", "usage", {"prompt_tokens": 3}),
    ("choice", "error", {"message": "x"}),
    *(("chunk", "model", value) for value in (None, "", "m-1", 7)),
    *(("chunk", "usage", value) for value in (None, {"prompt_tokens": 5, "completion_tokens": 1})),
    ("chunk", "x_groq", {"usage": {"prompt_tokens": 4}}),
    ("chunk", "error", {"message": "x", "code": "y"}),
    ("chunk", "object", "error"),
    *(("chunk", "choices", value) for value in (None, [], [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}])),
]


def twisted(twists: list[tuple[str, str, Any]]) -> dict[str, Any]:
    """A chunk of text only, but for what `twists` put into it."""
    delta: dict[str, Any] = {"role": "assistant", "content": "text "}
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
    found: dict[str, Any] = {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    for place, name, value in twists:
        {"delta": delta, "choice": choice, "chunk": found}[place][name] = value
    return found


def read_both_ways(chunks: list[dict[str, Any]]) -> None:
    short, long = ChatReader(), ChatReader()
    for chunk in chunks:
        data = json.dumps(chunk).encode()
        # A named event is never taken for a plain chunk first.
        assert short.read(data) == long.read(data, b"message"), chunks
        for name in ("done", "failure", "finish", "model", "refused", "shown"):
            assert getattr(short, name) == getattr(long, name), (name, chunks)
    assert (short.last(), short.usage_now()) == (long.last(), long.usage_now())


def test_the_short_way_through_a_plain_chunk_leads_where_the_long_one_does() -> None:
    for twists in itertools.product(_TWISTS, repeat=2):
        read_both_ways([twisted([]), twisted(list(twists)), twisted([])])


@given(st.lists(st.lists(st.sampled_from(_TWISTS), max_size=2).map(twisted), max_size=12))
def test_so_it_does_in_any_order_of_chunks(chunks: list[dict[str, Any]]) -> None:
    read_both_ways(chunks)


def test_vectors_that_are_none_are_refused() -> None:
    async def check() -> None:
        async with replayed() as (server, wire, route):
            for vector in ("no base64!", "", "AAA", [], None, {"a": 1}):
                server.pieces = [json.dumps({"data": [{"index": 0, "embedding": vector}]}).encode()]
                assert (await raised(wire.embed(route, ["a"]))).error_class == "malformed"

    asyncio.run(check())


# Faults


async def raised(work: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize(
    ("verbs", "kind", "retriable", "status", "error_class"),
    [
        ({"status": 500}, ProviderError, True, 500, "server_error"),
        ({"status": 503}, ProviderError, True, 503, "server_error"),
        ({"status": 529}, ProviderError, True, 529, "server_error"),
        ({"status": 408}, ProviderError, True, 408, "server_error"),
        ({"status": 409}, ProviderError, True, 409, "server_error"),
        ({"status": 400}, ProviderError, False, 400, "refused"),
        ({"status": 422}, ProviderError, False, 422, "refused"),
        ({"status": 404}, ProviderError, False, 404, "model_not_found"),
        ({"status": 401}, AuthenticationError, False, 401, "authentication"),
        ({"status": 403}, AuthenticationError, False, 403, "authentication"),
        ({"status": 402}, ProviderError, False, 402, "quota"),
        ({"status": 413}, ContextLengthError, False, 413, "context_too_long"),
        ({"status": 429}, RateLimitError, True, 429, "rate_limited"),
        ({"status": 429, "code": "insufficient_quota"}, ProviderError, False, 429, "quota"),
        ({"status": 400, "code": "content_filter"}, ContentFilterError, False, 400, "content_filter"),
        ({"context": 1}, ContextLengthError, False, 400, "context_too_long"),
        ({"html_error": True}, ProviderError, True, 502, "server_error"),
        ({"error_in_200": True}, ProviderError, True, 200, "server_error"),
        ({"error_in_200": True, "code": "insufficient_quota"}, ProviderError, False, 200, "quota"),
        ({"error_in_200": True, "code": "rate_limit_exceeded"}, RateLimitError, True, 200, "rate_limited"),
        ({"error_in_stream": 2}, ProviderError, True, 200, "server_error"),
        ({"garble": 2}, ProviderError, True, 200, "malformed"),
        ({"refuse": True}, ProviderError, True, None, "transport"),
        ({"require_key": "sk-other"}, AuthenticationError, False, 401, "authentication"),
        ({"finish": "content_filter", "reply": "", "tool": ""}, None, False, 200, "content_filter"),
    ],
)  # fmt: skip
def test_each_fault_becomes_its_exception(
    verbs: dict[str, Any], kind: type[ProviderError] | None, *, retriable: bool, status: int | None, error_class: str
) -> None:
    async def check() -> None:
        async with simulated(**verbs) as (_, wire, route):
            if kind is None:
                assert join(await read(wire, route, ask())).finish is Finish.CONTENT_FILTER
                return
            for work in (read(wire, route, ask()), wire.complete(route, ask())):
                error = await raised(work)
                assert type(error) is kind
                assert (error.retriable, error.upstream_status, error.error_class) == (retriable, status, error_class)
                assert KEY not in error.message
                assert "Hello there" not in error.message

    asyncio.run(check())


def test_a_filtered_answer_without_text_is_an_error_that_still_says_what_it_cost() -> None:
    usage = '{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}'

    async def check() -> None:
        for lines in (
            [chunk(None, "content_filter")],
            ['{"choices":[{"delta":{"refusal":"no"}}]}', chunk(None, "stop")],
        ):
            async with replayed(*lines, usage, "[DONE]") as (_, wire, route):
                for work in (read(wire, route, ask()), wire.complete(route, ask())):
                    error = await raised(work)
                    assert isinstance(error, ContentFilterError)
                    assert error.usage == Usage(input_tokens=7, output_tokens=2)

    asyncio.run(check())


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_stream_that_is_cut_gives_its_text_and_then_fails(sent: int) -> None:
    async def check() -> None:
        async with simulated(chunks=5, cut=sent) as (sim, wire, route):
            texts: list[str] = []

            async def keep() -> None:
                async for delta in wire.stream(route, ask()):
                    texts.append(delta.text)  # noqa: PERF401 - what came before the failure must stay

            assert isinstance(await raised(keep()), CutStream)
            assert len(texts) == sent
            assert "".join(texts) == sim.calls()[0].text
            error = await raised(wire.complete(route, ask()))
            assert (error.retriable, error.error_class) == (True, "transport")

    asyncio.run(check())


def test_an_end_marker_with_nothing_before_it_is_a_cut_stream() -> None:
    async def check() -> None:
        for lines in (["[DONE]"], ['{"choices":[]}'], []):
            async with replayed(*lines) as (_, wire, route):
                assert isinstance(await raised(read(wire, route, ask())), CutStream)

    asyncio.run(check())


def test_silence_is_bounded_before_the_first_byte_and_between_bytes() -> None:
    async def check() -> None:
        async with simulated(chunks=3) as (sim, wire, usual):
            route = replace(usual, first_byte_timeout_s=0.2, idle_timeout_s=0.3)
            for model, chunks in (("sim:latency=5000", 0), ("sim:stall=2", 2), ("sim:interval=1000", 1)):
                start = time.monotonic()
                error = await raised(read(wire, replace(route, model=model), ask()))
                assert (error.retriable, error.error_class, error.upstream_status) == (True, "timeout", None)
                assert time.monotonic() - start < 1
                await asyncio.sleep(0.02)
                assert (sim.calls()[-1].ended, sim.calls()[-1].chunks_sent) == ("client_closed", chunks)
            for model in ("sim:latency=5000", "sim:stall"):
                error = await raised(wire.complete(replace(route, model=model), ask()))
                assert error.error_class == "timeout"
            # A slow stream is no silent one.
            assert join(await read(wire, replace(route, model="sim:chunks=8,interval=60"), ask())).finish is Finish.STOP

    asyncio.run(check())


def test_a_dripping_stream_is_read() -> None:
    async def check() -> None:
        async with simulated(drip=True, chunks=3) as (_, wire, route):
            assert join(await read(wire, route, ask())).text == "token1 token2 token3 "
            assert (await wire.complete(route, ask())).text == "token1 token2 token3 "

    asyncio.run(check())


def test_leaving_a_stream_closes_the_connection_upstream_at_once() -> None:
    async def check() -> None:
        async with simulated(chunks=100, interval=20) as (sim, wire, route):
            stream = wire.stream(route, ask())
            assert (await anext(stream)).text == "token1 "
            await stream.aclose()
            await asyncio.sleep(0.03)
            assert sim.calls()[0].ended == "client_closed"
            assert sim.calls()[0].chunks_sent <= 3

            task = asyncio.get_running_loop().create_task(read(wire, route, ask()), name="cancelled")
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.03)
            assert sim.calls()[1].ended == "client_closed"

            task = asyncio.get_running_loop().create_task(
                wire.complete(replace(route, model="sim:latency=9000"), ask()), name="cancelled"
            )
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.03)
            assert sim.calls()[2].ended == "client_closed"

    asyncio.run(check())


def test_unreachable_servers_are_transport_faults() -> None:
    async def check() -> None:
        async with simulated() as (sim, wire, route):
            await sim.stop()
            assert (await raised(wire.complete(route, ask()))).error_class == "transport"
            for base, retriable in (
                ("nonsense", False),
                ("ftp://x/v1", False),
                ("http://no.such.host.invalid/v1", True),
            ):
                error = await raised(wire.complete(replace(route, base_url=base), ask()))
                assert error.retriable == retriable
                assert error.upstream_status is None

    asyncio.run(check())


def test_a_redirect_is_not_followed() -> None:
    async def check() -> None:
        async with replayed(status=307, headers={"location": "http://127.0.0.1:1/v1"}) as (server, wire, route):
            error = await raised(wire.complete(route, ask()))
            assert (error.retriable, error.upstream_status) == (False, 307)
            assert len(server.requests) == 1

    asyncio.run(check())


def test_endless_answers_are_not_kept() -> None:
    async def check() -> None:
        megabyte = b"x" * (1 << 20)
        async with replayed(pieces=[b"{", *[megabyte] * 33]) as (_, wire, route):
            for work in (wire.complete(route, ask()), read(wire, route, ask())):
                assert (await raised(work)).error_class == "malformed"
        async with replayed(pieces=[b"data: ", *[megabyte] * 6]) as (_, wire, route):
            assert (await raised(read(wire, route, ask()))).error_class == "malformed"
        async with replayed(pieces=[b": x\n" * 250_000] * 33) as (_, wire, route):
            assert (await raised(read(wire, route, ask()))).error_class == "malformed"

    asyncio.run(check())


# The guard in front of the sessions


def test_a_tenants_address_is_called_only_if_it_is_public_or_listed() -> None:
    async def check() -> None:
        names = {"inside.example": ["127.0.0.1"]}

        async def lookup(host: str, port: int) -> list[str]:
            del port
            return names[host]

        async with run_simulator() as sim:
            by_name = f"http://inside.example:{sim.port}/v1"
            for base in (sim.base_url, f"http://localhost:{sim.port}/v1", by_name):
                route = Route(provider="tenant", model="m", base_url=base, api_key=KEY, guarded=True)
                async with open_http(guard=AddressGuard(lookup=lookup)) as clients:
                    error = await raised(OpenAiChat(clients).complete(route, ask()))
                    assert (error.retriable, error.error_class) == (False, "address_refused")
                    assert "CHATWRIGHT_ALLOWED_ADDRESSES" in error.message
                assert sim.connections_seen == 0
            for allowed, base in (
                (f"127.0.0.1:{sim.port}", sim.base_url),
                ("127.0.0.0/8", by_name),
                ("inside.example", by_name),
            ):
                route = Route(provider="tenant", model="m", base_url=base, guarded=True)
                async with open_http(guard=AddressGuard([allowed], lookup=lookup)) as clients:
                    assert (await OpenAiChat(clients).complete(route, ask())).finish is Finish.STOP
                    assert join(await read(OpenAiChat(clients), route, ask())).finish is Finish.STOP

    asyncio.run(check())


# The words and numbers of failures (pure)


def test_the_wait_is_the_larger_of_both_headers_in_any_spelling() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "3"}) == 3
    assert retry_after_s({"retry-after": "0.25"}) == 0.25
    assert retry_after_s({"retry-after": "1", "retry-after-ms": "2340"}) == 2.34
    assert retry_after_s({"retry-after": "1", "retry-after-ms": "0"}) == 1
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after": "-5"}) is None
    assert retry_after_s({"retry-after": "nan", "retry-after-ms": "inf"}) is None
    assert retry_after_s({"retry-after": "99999999"}) == 86_400
    at = datetime.now(UTC) + timedelta(seconds=60)
    assert 58 < (retry_after_s({"retry-after": format_datetime(at, usegmt=True)}) or 0) <= 60
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_gives_a_usable_wait_or_none(after: str, after_ms: str) -> None:
    wait = retry_after_s({"retry-after": after, "retry-after-ms": after_ms})
    assert wait is None or 0 <= wait <= 86_400


@given(
    prompt=st.text(alphabet="abc äß.", min_size=16, max_size=60),
    before=st.text(alphabet="xyz ", max_size=30),
    start=st.integers(0, 20),
    key=st.text(alphabet="0123456789abcdefXYZ-_", min_size=4, max_size=50),
)
def test_no_key_and_no_stretch_of_the_prompt_stays_in_a_message(prompt: str, before: str, start: int, key: str) -> None:
    said = scrubbed(f"{before} {prompt[start:]} key {key}! sk-proj-{key}", secrets=[key], prompt=["", prompt])
    assert key not in said.replace("[key]", "").replace("[prompt]", "")
    assert len(said) <= 500
    spread = " ".join(prompt.split())
    assert not any(spread[i : i + 16] in said for i in range(len(spread) - 15))


@pytest.mark.parametrize(
    "message",
    ["Incorrect API key provided: sk-abc123. You can", "bad key sk-proj-****wxyz given", "Authorization: Bearer abcdef0123456789",
     "key gsk_abcdefghijk", "key AIzaSyA1234567890abcdef", "Your api key: ****1234 is invalid"],
)  # fmt: skip
def test_keys_of_others_are_taken_out_too(message: str) -> None:
    said = scrubbed(message)
    assert "[key]" in said
    for secret in ("abc123", "wxyz", "abcdef0123", "abcdefghijk", "SyA12345", "1234 "):
        assert secret not in said


def test_every_shape_of_an_error_body_is_read() -> None:
    for body in (
        b'{"error":{"message":"M","type":"t","code":"c"}}',
        b'[{"error":{"code":400,"message":"M","status":"INVALID_ARGUMENT"}}]',
        b'{"error":"M"}',
        b'{"object":"error","message":"M","type":"BadRequestError","code":400}',
        b'{"detail":"M"}',
        b'{"code":"x","error":"M"}',
        b"M",
    ):
        assert read_failure(body).message == "M"
    assert read_failure(b"<html><title> 502 Bad\nGateway </title>").message == "an HTML page (502 Bad Gateway)"
    assert read_failure(b'{"detail":[{"msg":"M"}]}').message == '[{"msg":"M"}]'
    assert read_failure(b'{"error":{"code":"429","message":"M"}}').status == 429
    for odd in (b"", b"null", b"3", b"[]", b"\xff\xfe", b'{"error":null}', b'{"error":{"message":7,"code":true}}'):
        assert isinstance(read_failure(odd).message, str)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "message", "code", "type", "detail", "status", "innererror", "param"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    st.integers(200, 599),
)
def test_any_error_body_becomes_an_error_of_the_tree(value: Any, status: int) -> None:
    error = failed(failure_of(value), provider="p", status=status, headers={})
    assert isinstance(error, ProviderError)
    assert error.upstream_status == status
    assert 0 < len(error.message) <= 500


def test_the_providers_own_word_on_retrying_counts() -> None:
    for said, status, retriable in (("false", 500, False), ("true", 400, True), ("", 500, True)):
        error = failed(failure_of({}), provider="p", status=status, headers={"x-should-retry": said})
        assert error.retriable == retriable
