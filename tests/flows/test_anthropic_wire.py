"""The Anthropic wire format: what it sends, and what it makes of odd and broken answers."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.anthropic import Anthropic, request_fields
from chatwright.adapters.providers.anthropic_blocks import OPENING, messages_of
from chatwright.adapters.providers.anthropic_reading import HELD_ARGUMENT_CHARS, MessageReader
from chatwright.adapters.providers.base import Unreadable, join, join_tool_calls
from chatwright.adapters.providers.http import open_http
from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
)
from chatwright.domain.providers import Completion, Finish, Prompt, Role, Route, Turn, Usage
from tests.flows.recorded import KEY, streamed

ROUTE = Route(provider="anthropic", model="claude-haiku-4-5")
USAGE = {"input_tokens": 9, "output_tokens": 1}
START = {"type": "message_start", "message": {"id": "m1", "model": "claude-haiku-4-5", "usage": USAGE}}
STOP = {"type": "message_stop"}


def begin(index: int = 0, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block or {"type": "text", "text": ""}}


def text(said: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": said}}


def arguments(part: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": part}}


def end(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def reason(why: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": why}, "usage": usage or {"output_tokens": 7}}


def sse(*events: dict[str, Any] | str) -> str:
    made = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {event}\n\n" for event in made)


def ask(said: str = "Hello there", **fields: Any) -> Prompt:
    return Prompt(turns=[Turn("system", "Be brief."), Turn("user", said)], **fields)


@asynccontextmanager
async def replayed(body: str, **fields: Any) -> AsyncGenerator[tuple[Replay, Anthropic, Route]]:
    async with open_http() as clients, run_replay(body) as replay:
        for name, value in fields.items():
            setattr(replay, name, value)
        yield replay, Anthropic(clients), replace(ROUTE, base_url=replay.base_url, api_key=KEY)


def answered(*events: dict[str, Any] | str) -> Completion:
    async def check() -> Completion:
        async with replayed(sse(*events)) as (_, wire, route):
            return join(await streamed(wire, route, ask()))

    return asyncio.run(check())


# What is sent


def test_a_request_has_the_headers_the_path_and_the_prompt() -> None:
    async def check() -> None:
        async with replayed(sse(START, begin(), text("hi"), end(), reason("end_turn"), STOP)) as (server, wire, route):
            for base in (server.base_url, server.base_url + "/", server.base_url.removesuffix("/v1")):
                await streamed(wire, replace(route, base_url=base, call_id="call-1"), ask(max_tokens=7))
            for head, body in server.requests:
                assert head.startswith(b"POST /v1/messages HTTP/1.1\r\n")
                headers = head.decode().lower()
                assert f"x-api-key: {KEY}\r\n" in headers
                assert "anthropic-version: 2023-06-01\r\n" in headers
                assert "x-chatwright-call-id: call-1\r\n" in headers
                assert "authorization" not in headers
                assert json.loads(body) == {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 7,
                    "system": [{"type": "text", "text": "Be brief."}],
                    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}],
                    "stream": True,
                }
            await wire.complete(replace(route, api_key=None), ask())
            head, body = server.requests[-1]
            assert b"x-api-key" not in head.lower()
            assert json.loads(body)["max_tokens"] == 4096
            assert "stream" not in json.loads(body)

    asyncio.run(check())


def test_without_a_base_url_the_providers_own_is_meant() -> None:
    async def check() -> None:
        async with open_http() as clients:
            wire = Anthropic(clients)
            assert str(wire._target(ROUTE).url) == "https://api.anthropic.com/v1/messages"  # pyright: ignore[reportPrivateUsage]

    asyncio.run(check())


def test_the_end_of_what_repeats_carries_a_cache_mark() -> None:
    turns = [
        Turn("system", "persona"),
        Turn("system", "rules"),
        Turn("user", "one"),
        Turn("assistant", "two"),
        Turn("user", "three"),
    ]

    def marked(stable: int, *more: Turn) -> list[str]:
        system, messages = messages_of("p", Prompt(turns=[*turns, *more], stable_turns=stable))
        blocks = [*system, *(block for message in messages for block in message["content"])]
        return [block["text"] for block in blocks if "cache_control" in block]

    assert marked(0) == []
    assert marked(1) == ["persona"]
    assert marked(2) == ["rules"]
    assert marked(4) == ["rules", "two"]
    assert marked(3) == ["rules", "one"]
    # Words of the system that change stand before the messages: a mark behind them would never be hit.
    assert marked(4, Turn("system", "today's weather"), Turn("user", "four")) == ["rules"]


def test_roles_alternate_and_tools_become_blocks() -> None:
    call = {"id": "functions.look:0", "type": "function", "function": {"name": "look", "arguments": '{"at": "Süd"}'}}
    odd = [
        {"id": "b", "function": {"name": "look", "arguments": '{"cut'}},
        {"id": "c", "function": {"name": "look", "arguments": "[1]"}},
        {"id": "d", "function": {"name": "look", "arguments": ""}},
        {"id": "e", "function": {"name": "look", "arguments": {"at": 1}}},
        {"function": {}},
        7,
    ]
    system, messages = messages_of(
        "p",
        Prompt(
            turns=[
                Turn("assistant", "Welcome!"),
                Turn("system", "Be brief."),
                Turn("user", "a"),
                Turn("user", "b", {"name": "ann"}),
                Turn("assistant", "", {"tool_calls": [call]}),
                Turn("tool", "lit", {"tool_call_id": "functions.look:0"}),
                Turn("tool", " ", {"tool_call_id": "x"}),
                Turn("tool", "loose"),
                Turn("user", "  "),
                Turn("assistant", "And", {"tool_calls": odd}),
                Turn("assistant", "so \n"),
            ]
        ),
    )
    assert system == [{"type": "text", "text": "Be brief."}]
    assert messages == [
        {"role": "user", "content": OPENING},
        {"role": "assistant", "content": [{"type": "text", "text": "Welcome!"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "functions_look_0", "name": "look", "input": {"at": "Süd"}}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "functions_look_0",
                    "content": [{"type": "text", "text": "lit"}],
                },
                {"type": "tool_result", "tool_use_id": "x"},
                {"type": "text", "text": "loose"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "And"},
                {"type": "tool_use", "id": "b", "name": "look", "input": {"arguments": '{"cut'}},
                {"type": "tool_use", "id": "c", "name": "look", "input": {"arguments": [1]}},
                {"type": "tool_use", "id": "d", "name": "look", "input": {}},
                {"type": "tool_use", "id": "e", "name": "look", "input": {"at": 1}},
                {"type": "text", "text": "so"},
            ],
        },
    ]


def test_pictures_and_documents_become_blocks() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;name=a.pdf;base64,BBBB"}},
    ]
    _, messages = messages_of("p", Prompt(turns=[Turn("user", "see", {"content": parts})]))
    assert messages[0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
    ]


@pytest.mark.parametrize("part", [{"type": "input_audio", "input_audio": {}}, {"text": "x"}, 7])
def test_content_that_the_api_cannot_take_is_refused_before_a_call(part: Any) -> None:
    async def check() -> None:
        async with replayed("") as (server, wire, route):
            prompt = Prompt(turns=[Turn("user", "x", {"content": [part]})])
            for call in (lambda: streamed(wire, route, prompt), lambda: wire.complete(route, prompt)):
                with pytest.raises(ProviderError) as caught:
                    await call()
                assert not caught.value.retriable
            assert server.requests == []

    asyncio.run(check())


def test_options_of_an_openai_caller_are_translated() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    prompt = ask(
        temperature=1.7,
        options={
            "stop": [".", " ", "END"],
            "top_p": 0.5,
            "seed": 1,
            "logprobs": True,
            "presence_penalty": 1,
            "user": "u",
            "model": "other",
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "look", "description": "d", "parameters": schema, "strict": True},
                },
                {"type": "function", "function": {"name": "bare"}},
                {"type": "custom", "custom": {"name": "no"}},
                5,
            ],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            "reasoning_effort": "minimal",
        },
    )
    fields = request_fields(ROUTE, prompt, stream=False)
    del fields["messages"], fields["system"]
    assert fields == {
        "model": "claude-haiku-4-5",
        "max_tokens": 4096,
        "temperature": 1.0,
        "top_p": 0.5,
        "stop_sequences": [".", "END"],
        "tools": [
            {"name": "look", "input_schema": schema, "description": "d", "strict": True},
            {"name": "bare", "input_schema": {"type": "object"}},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
    }


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": {"type": "allowed_tools"}}, None),
    ],
)
def test_the_choice_of_tools_is_translated(options: dict[str, Any], sent: dict[str, Any] | None) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert request_fields(ROUTE, ask(options={**options, "tools": tools}), stream=True).get("tool_choice") == sent
    assert "tool_choice" not in request_fields(ROUTE, ask(options=options), stream=True)


@pytest.mark.parametrize(
    ("message", "requests", "gone"),
    [
        ("temperature: `temperature` is deprecated for this model.", 2, "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", 3, "top_p"),
        ("This model does not support the effort parameter.", 2, "output_config"),
        ("max_tokens: 9000 > 4096, which is the maximum allowed number of output tokens for m", 2, None),
        ("temperature: Input should be less than or equal to 1", 1, None),
        ("output_config.format.schema: 'additionalProperties' is not supported", 1, None),
        ("tools.0.name: too long", 1, None),
    ],
)
def test_a_refused_parameter_is_mended_at_most_once(message: str, requests: int, gone: str | None) -> None:
    async def check() -> None:
        body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
        async with replayed(body, status=400) as (server, wire, route):
            prompt = ask(max_tokens=9000, temperature=0.2, options={"top_p": 0.5, "reasoning_effort": "high"})
            with pytest.raises(ProviderError) as caught:
                await streamed(wire, route, prompt)
            assert not caught.value.retriable
            assert len(server.requests) == requests
            first, last = (json.loads(server.requests[i][1]) for i in (0, -1))
            assert first["max_tokens"] == 9000
            assert last["max_tokens"] == (4096 if "4096" in message else 9000)
            if gone:
                assert gone in first
                assert gone not in last
            server.status, server.pieces = 200, [sse(START, begin(), text("a"), reason("end_turn"), STOP).encode()]
            await streamed(wire, route, prompt)
            await streamed(wire, replace(route, model="another"), prompt)
            *_, again, other = (json.loads(sent) for _, sent in server.requests)
            assert len(server.requests) == requests + 2
            # The model took no request without the field, so its words prove nothing.
            assert (again | {"model": ""}) == (first | {"model": ""})
            assert (other | {"model": ""}) == (first | {"model": ""})

    asyncio.run(check())


def test_a_server_that_refuses_for_ever_is_asked_a_few_times_only() -> None:
    async def check() -> None:
        async with replayed("", status=400) as (server, wire, route):

            async def shrink() -> None:
                while True:
                    limit = 8000 - len(server.requests)
                    words = {"error": {"message": f"max_tokens: 9000 > {limit}, which is the maximum"}}
                    server.pieces = [json.dumps(words).encode()]
                    await asyncio.sleep(0)

            task = asyncio.create_task(shrink(), name="shrink")
            with pytest.raises(ProviderError):
                await wire.complete(route, ask(max_tokens=9000))
            task.cancel()
            assert 2 <= len(server.requests) <= 6

    asyncio.run(check())


def test_embeddings_are_refused_without_a_call() -> None:
    async def check() -> None:
        async with replayed("") as (server, wire, route):
            with pytest.raises(ProviderError) as caught:
                await wire.embed(route, ["x"])
            assert not caught.value.retriable
            assert server.requests == []

    asyncio.run(check())


def test_a_key_with_a_line_break_is_refused_and_never_sent() -> None:
    async def check() -> None:
        async with replayed("") as (server, wire, route):
            with pytest.raises(AuthenticationError):
                await wire.complete(replace(route, api_key="sk-1\r\nx-evil: 1"), ask())
            assert server.requests == []

    asyncio.run(check())


TEXTS = st.text(max_size=6)
CALLS = st.lists(
    st.fixed_dictionaries({"id": TEXTS, "function": st.fixed_dictionaries({"name": TEXTS, "arguments": TEXTS})}),
    max_size=2,
)
EXTRAS = st.none() | st.fixed_dictionaries({}, optional={"tool_calls": CALLS, "tool_call_id": TEXTS, "name": TEXTS})
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])


@given(st.lists(st.tuples(ROLES, TEXTS, EXTRAS), max_size=8), st.integers(0, 9))
def test_any_conversation_becomes_one_that_the_api_takes(
    turns: list[tuple[Role, str, dict[str, Any] | None]], stable: int
) -> None:
    system, messages = messages_of("p", Prompt(turns=[Turn(*turn) for turn in turns], stable_turns=stable))
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"] * (
        len(messages) % 2
    )
    blocks = [*system]
    for message in messages:
        assert message["content"]
        if message["content"] != OPENING:
            blocks += message["content"]
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    assert sum("cache_control" in block for block in blocks) <= 2
    for block in blocks:
        tool_id = block.get("id", block.get("tool_use_id", "x"))
        assert tool_id.replace("_", "x").replace("-", "x").isalnum()
        assert tool_id.isascii()


# What comes back


def test_odd_streams_are_read() -> None:
    plain = (begin(), text("a"), end())
    assert answered(START, *plain, reason("end_turn"), STOP).text == "a"
    assert answered(START, *plain, reason("pause_turn"), STOP).finish is Finish.OTHER
    assert answered(START, *plain, reason("compaction"), STOP).finish is Finish.OTHER
    assert answered(START, *plain, reason("tired"), STOP).finish is Finish.OTHER
    assert answered(START, *plain, reason("refusal"), STOP).finish is Finish.CONTENT_FILTER
    assert answered(START, *plain, reason("model_context_window_exceeded"), STOP).finish is Finish.LENGTH
    assert answered(START, *plain, reason(None), STOP).finish is Finish.STOP
    assert answered(START, *plain, STOP).finish is Finish.STOP
    assert answered(START, *plain, reason("end_turn"), STOP, "[DONE]").text == "a"
    assert answered("[DONE]", START, *plain, reason("end_turn"), STOP).text == "a"
    assert answered(START, START, *plain, START, text("b"), reason("end_turn"), STOP).text == "ab"
    assert answered(START, begin(type="text", text="A"), text("b"), reason("end_turn"), STOP).text == "Ab"
    assert answered(START, reason("end_turn"), STOP) == Completion(
        text="", finish=Finish.STOP, usage=Usage(input_tokens=9, output_tokens=7), model="claude-haiku-4-5"
    )
    odd = {"type": "content_block_delta", "index": "zero", "delta": {"type": "text_delta", "text": "b", "thinking": 7}}
    wrong = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": "12", "x": []}}
    answer = answered({"type": "unknown", "delta": 5}, START, begin(), text("a"), odd, wrong, STOP)
    assert (answer.text, answer.finish, answer.usage) == ("ab", Finish.STOP, Usage(input_tokens=9, output_tokens=12))


def test_the_name_of_an_event_stands_in_for_its_type() -> None:
    async def check() -> None:
        lines = [("message_start", START), ("content_block_delta", text("a")), ("message_delta", reason("end_turn"))]
        body = "".join(
            f"event: {name}\ndata: {json.dumps({k: v for k, v in event.items() if k != 'type'})}\n\n"
            for name, event in [*lines, ("message_stop", {})]
        )
        async with replayed(body) as (_, wire, route):
            assert join(await streamed(wire, route, ask())).text == "a"

    asyncio.run(check())


def test_thinking_is_reasoning_and_no_text() -> None:
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
    signed = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}}

    async def check() -> None:
        body = sse(START, begin(type="thinking", thinking=""), thought, signed, end(), reason("end_turn"), STOP)
        async with replayed(body) as (_, wire, route):
            deltas = await streamed(wire, route, ask())
            assert [delta.reasoning for delta in deltas] == ["hm", ""]
            assert join(deltas).text == ""

    asyncio.run(check())


def test_a_short_tool_call_comes_whole_and_a_long_one_as_it_grows() -> None:
    async def check() -> None:
        parts = ['{"a":"', *["x" * 100] * 60, '"}']
        one = begin(0, type="tool_use", id="t1", name="f", input={})
        two = begin(1, type="tool_use", id="t2", name="g", input={"ready": True})
        three = begin(2, type="tool_use", id="t3", name="h", input={})
        body = sse(
            START,
            *(one, *(arguments(part) for part in parts), end()),
            *(two, end(1)),
            *(three, arguments("", 2), arguments("[", 7), end(2)),
            reason("tool_use"),
            STOP,
        )
        async with replayed(body) as (_, wire, route):
            deltas = await streamed(wire, route, ask())
        fragments = [call for delta in deltas for call in delta.tool_calls or ()]
        assert [fragment["index"] for fragment in fragments] == [0] * (len(fragments) - 2) + [1, 2]
        assert len(fragments) > 3
        assert len(fragments[0]["function"]["arguments"]) > HELD_ARGUMENT_CHARS
        calls = join_tool_calls(fragments)
        assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
            ("t1", "f", "".join(parts)),
            ("t2", "g", '{"ready":true}'),
            ("t3", "h", "{}"),
        ]

    asyncio.run(check())


def test_a_stream_cut_inside_a_short_tool_call_has_shown_nothing() -> None:
    async def check() -> None:
        body = sse(START, begin(type="tool_use", id="t1", name="f", input={}), arguments('{"a":'))
        async with replayed(body) as (_, wire, route), aclosing(wire.stream(route, ask())) as stream:
            with pytest.raises(CutStream):
                await anext(stream)

    asyncio.run(check())


def fails(*events: dict[str, Any] | str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        answered(*events)
    return caught.value


def test_failures_inside_a_stream() -> None:
    shown = (START, begin(), text("a"))
    again = {**START, "message": {"id": "m2"}}
    # Two answers never run into one.
    error = fails(*shown, again, begin(), text("b"), reason("end_turn"), STOP)
    assert error.retriable
    assert error.usage == Usage(input_tokens=9, output_tokens=1)
    error = fails(*shown, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert (error.retriable, error.error_class, error.upstream_status) == (True, "server_error", 200)
    assert isinstance(fails(START, {"error": {"type": "authentication_error", "message": "m"}}), AuthenticationError)
    assert isinstance(fails(START, reason("model_context_window_exceeded"), STOP), ContextLengthError)
    assert isinstance(fails(START, reason("refusal"), STOP), ContentFilterError)
    assert isinstance(fails(*shown, end(), reason("end_turn")), CutStream)
    assert isinstance(fails(*shown), CutStream)
    assert isinstance(fails(START, STOP), CutStream)
    assert fails(START, "{not json").error_class in ("malformed", "cut_stream")
    assert fails(START, "[1]", text("a"), STOP).error_class == "malformed"


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        ('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "server_error"),
        ('{"type":"message"}', "server_error"),
        ("[]", "malformed"),
        ("<html><title>Sign in</title></html>", "malformed"),
        ("", "cut_stream"),
    ],
)
def test_bodies_that_are_no_answer(body: str, error_class: str) -> None:
    async def check() -> None:
        async with replayed(body) as (_, wire, route):
            with pytest.raises(ProviderError) as caught:
                await streamed(wire, route, ask())
            assert caught.value.error_class == error_class
            with pytest.raises(ProviderError) as caught:
                await wire.complete(route, ask())
            assert caught.value.error_class in (error_class, "malformed")

    asyncio.run(check())


def test_a_stop_reason_without_its_end_is_not_waited_for_long() -> None:
    async def check() -> float:
        body = sse(START, begin(), text("a"), end(), reason("end_turn"))
        async with replayed(body, hang=True) as (_, wire, route):
            started = perf_counter()
            with pytest.raises(CutStream):
                await streamed(wire, route, ask())
            return perf_counter() - started

    assert 1.5 < asyncio.run(check()) < 4


def test_connections_are_used_again_and_closed_when_left() -> None:
    async def check() -> None:
        async with replayed(sse(START, begin(), text("a"), end(), reason("end_turn"), STOP)) as (server, wire, route):
            for _ in range(3):
                await streamed(wire, route, ask())
                await wire.complete(route, ask())
            assert server.connections_seen == 1
            server.hang = True
            server.pieces = [sse(START, begin(), text("a")).encode()]
            async with aclosing(wire.stream(route, ask())) as stream:
                assert (await anext(stream)).text == "a"
            async with asyncio.timeout(5):
                while server.open_connections:
                    await asyncio.sleep(0.01)

    asyncio.run(check())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
                "ping",
                "error",
            ]
        )
        | JSON,
        "index": JSON,
        "delta": JSON
        | st.fixed_dictionaries(
            {
                "type": st.sampled_from(["text_delta", "input_json_delta", "thinking_delta"]),
                "text": JSON,
                "thinking": JSON,
                "partial_json": JSON,
                "stop_reason": JSON,
            }
        ),
        "content_block": JSON
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "tool_use", "thinking"]), "text": JSON, "id": JSON, "input": JSON}
        ),
        "message": JSON | st.fixed_dictionaries({"id": JSON, "usage": JSON}),
        "usage": JSON | st.fixed_dictionaries({"input_tokens": JSON, "iterations": JSON, "cache_creation": JSON}),
        "error": JSON,
        "content": JSON,
        "stop_reason": JSON,
    },
)


@given(st.lists(EVENTS | JSON, max_size=8))
def test_any_events_are_read_without_another_exception(events: list[Any]) -> None:
    reader = MessageReader()
    for event in events:
        data = json.dumps(event).encode()
        try:
            delta = reader.read(data)
            MessageReader().read_whole(data)
        except Unreadable:
            continue
        assert delta is None or delta.finish is None
    last = reader.last()
    assert last is None or (reader.done and last.finish is not None)
    assert reader.usage_now() is None or reader.usage_now().input_tokens >= 0  # type: ignore[union-attr]
