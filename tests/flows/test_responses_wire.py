"""The Responses API as a second endpoint of the OpenAI wire format: when it goes there, what it sends and reads."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.base import Unreadable, join
from chatwright.adapters.providers.responses import response_fields
from chatwright.adapters.providers.responses_reading import ResponsesReader
from chatwright.domain.errors import (
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from chatwright.domain.providers import Completion, Finish, Prompt, Turn, Usage
from tests.flows.recorded import PROMPT, streamed
from tests.flows.responses_support import ONLY_RESPONSES, responses_server

USAGE = {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}


def text(*pieces: str, place: int = 0) -> list[dict[str, Any]]:
    return [{"type": "response.output_text.delta", "output_index": place, "delta": piece} for piece in pieces]


def done(status: str = "completed", **fields: Any) -> dict[str, Any]:
    response = {"status": status, "model": "m-1", "output": [], "usage": USAGE, **fields}
    return {"type": f"response.{status}", "response": response}


# When it goes there


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": ONLY_RESPONSES, "type": "invalid_request_error", "param": "model", "code": None}),
        (404, {"message": "This is not a chat model and thus not supported in the v1/chat/completions endpoint."}),
        (400, {"message": "Function tools with reasoning_effort are not supported. Please use /v1/responses instead."}),
        (400, {"message": "The chatCompletion operation does not work with the specified model, x.", "code": "OperationNotSupported"}),
        (400, {"message": "To use this model, use the Responses API."}),
    ],
)  # fmt: skip
def test_a_model_that_takes_no_chat_completions_is_asked_there_and_remembered(
    status: int, error: dict[str, Any]
) -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            server.refusal = (status, {"error": error})
            server.say(*text("Hel", "lo"), done())
            for _ in range(2):
                answer = join(await streamed(wire, route))
                assert (answer.text, answer.finish, answer.model) == ("Hello", Finish.STOP, "m-1")
            server.give(done(output=[message("whole")])["response"])
            assert (await wire.complete(route, PROMPT)).text == "whole"
            assert server.paths == ["/v1/chat/completions", "/v1/responses", "/v1/responses", "/v1/responses"]
            await wire.complete(replace(route, model="other"), PROMPT)
            assert server.paths[4:] == ["/v1/chat/completions", "/v1/responses"]

    asyncio.run(check())


def message(*texts: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]}


def test_a_server_without_that_api_is_blamed_for_what_it_said_first() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            server.give({"error": {"message": "Not Found"}}, status=404)
            for _ in range(2):
                with pytest.raises(ProviderError, match="only supported in v1/responses"):
                    await wire.complete(route, PROMPT)
            # Nothing was learned: the model is asked as before.
            assert server.paths == ["/v1/chat/completions", "/v1/responses"] * 2
            server.give({"error": {"code": "rate_limit_exceeded", "message": "slow"}}, status=429)
            with pytest.raises(RateLimitError):
                await wire.complete(route, PROMPT)
            server.give({"error": {"code": "context_length_exceeded", "message": "long"}}, status=400)
            with pytest.raises(ContextLengthError):
                await wire.complete(route, PROMPT)

    asyncio.run(check())


def test_fields_that_the_model_refuses_there_are_left_out_too() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            refused = "Unsupported parameter: 'temperature' is not supported with this model."
            server.give({"error": {"message": refused, "param": "temperature"}}, status=400)
            prompt = replace(PROMPT, temperature=0.2, options={"reasoning_effort": "low"})
            with pytest.raises(ProviderError):
                await wire.complete(route, prompt)
            first, second, third = server.bodies
            assert first["temperature"] == second["temperature"] == 0.2
            assert "temperature" not in third
            assert third["reasoning"] == {"effort": "low"}
            assert len(server.bodies) == 3

    asyncio.run(check())


# What is sent


def test_a_prompt_becomes_input_items() -> None:
    prompt = Prompt(
        turns=[
            Turn("system", "Be brief."),
            Turn("user", "Look", {"content": [
                {"type": "text", "text": "at"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
                {"type": "image_url", "image_url": "https://x/y.png"},
                {"type": "file", "file": {"file_id": "f1"}},
                {"type": "new"},
            ]}),
            Turn("assistant", "Let me see.", {"tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls"}},
            ]}),
            Turn("tool", "rain", {"tool_call_id": "c1"}),
            Turn("tool", "files", {"tool_call_id": "c2"}),
            Turn("assistant", "", {"content": [{"type": "text", "text": "So"}, {"type": "refusal", "refusal": "no"}]}),
            Turn("user", "And now?"),
        ]
    )  # fmt: skip
    assert response_fields("m", prompt, stream=True) == {
        "model": "m",
        "store": False,
        "stream": True,
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "at"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
                {"type": "input_file", "file_id": "f1"},
                {"type": "new"},
            ]},
            {"role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}'},
            {"type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "ls"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "files"},
            {"role": "assistant", "content": "Sono"},
            {"role": "user", "content": "And now?"},
        ],
    }  # fmt: skip


def test_options_are_translated_or_left_out() -> None:
    schema = {"name": "s", "strict": True, "schema": {"type": "object"}}
    prompt = Prompt(
        turns=[Turn("user", "x")],
        temperature=0.5,
        max_tokens=100,
        options={
            "stop": ["."],
            "seed": 1,
            "presence_penalty": 1,
            "stream_options": {"include_usage": True},
            "n": 2,
            "model": "other",
            "top_p": 0.9,
            "reasoning_effort": "low",
            "verbosity": "low",
            "response_format": {"type": "json_schema", "json_schema": schema},
            "parallel_tool_calls": False,
            "user": "u",
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}},
                {"type": "function", "function": {"name": "g"}},
                {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}},
                {"type": "custom", "custom": {"name": "d"}},
                {"type": "web_search"},
            ],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
    )  # fmt: skip
    fields = response_fields("m", prompt, stream=False)
    del fields["input"]
    assert fields == {
        "model": "m",
        "store": False,
        "temperature": 0.5,
        "max_output_tokens": 100,
        "top_p": 0.9,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        "parallel_tool_calls": False,
        "user": "u",
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark"}},
            {"type": "custom", "name": "d"},
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "f"},
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 16}),
        ({"max_completion_tokens": 50}, {"max_output_tokens": 50}),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        ),
        ({"tools": []}, {}),
        ({"tools": "none", "response_format": 7, "reasoning_effort": None}, {}),
    ],
)  # fmt: skip
def test_odd_options_are_translated(options: dict[str, Any], expected: dict[str, Any]) -> None:
    fields = response_fields("m", replace(PROMPT, options=options), stream=False)
    assert {name: fields[name] for name in fields if name not in ("model", "input", "store")} == expected


# What is read


def call_events(place: int | None, *pieces: str, name: str = "f", item_id: str = "fc_1") -> list[dict[str, Any]]:
    where = {"output_index": place} if place is not None else {}
    item = {"type": "function_call", "id": item_id, "call_id": f"call_{item_id}", "name": name}
    return [
        {"type": "response.output_item.added", **where, "item": {**item, "arguments": ""}},
        *(
            {"type": "response.function_call_arguments.delta", **where, "item_id": item_id, "delta": piece}
            for piece in pieces
        ),
        {"type": "response.output_item.done", **where, "item": {**item, "arguments": "".join(pieces)}},
    ]


def calls_of(answer: Completion) -> list[tuple[str, str, str]]:
    return [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in answer.tool_calls or []]


async def both(*events: dict[str, Any]) -> Completion:
    """The answer of a stream, which must be the same where a stream was not asked for."""
    async with responses_server() as (server, wire, route):
        server.say(*events)
        answer = join(await streamed(wire, route))
        assert await wire.complete(route, PROMPT) == answer
        return answer


def test_text_reasoning_and_tool_calls_are_told_apart() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            server.say(
                {"type": "response.created", "response": {"status": "in_progress", "model": "m-0"}},
                {"type": "response.reasoning_summary_text.delta", "delta": "hm "},
                {"type": "response.reasoning_text.delta", "delta": "so"},
                {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}},
                *text("Let me ", "see", "", place=1),
                {"type": "response.output_text.done", "output_index": 1, "text": "Let me see"},
                *call_events(2, '{"a"', ":1}"),
                *call_events(3, name="g", item_id="fc_2"),
                {"type": "response.future.delta", "delta": {"new": 1}},
                {"type": "response.output_text.annotation.added", "annotation": {"type": "url_citation"}},
                done(),
            )
            deltas = await streamed(wire, route)
            assert "".join(delta.reasoning for delta in deltas) == "hm so"
            answer = join(deltas)
            assert (answer.text, answer.finish, answer.model) == ("Let me see", Finish.TOOL_CALLS, "m-1")
            assert calls_of(answer) == [("call_fc_1", "f", '{"a":1}'), ("call_fc_2", "g", "")]
            assert answer.usage == Usage(input_tokens=9, cached_tokens=2, output_tokens=4)

    asyncio.run(check())


def test_tool_calls_are_read_however_a_host_tells_them() -> None:
    async def check() -> None:
        added, delta, ended = call_events(0, "{}")
        for events in (
            [added, delta, ended],
            [added, ended],
            [ended],
            [{**ended, "type": "response.output_item.added"}, ended],
            [*call_events(None, "{", "}")],
        ):
            answer = await both(*events, done())
            assert calls_of(answer) == [("call_fc_1", "f", "{}")], events
            assert answer.finish is Finish.TOOL_CALLS
        answer = await both(*call_events(None, "1"), *call_events(None, "2", item_id="fc_2"), done())
        assert calls_of(answer) == [("call_fc_1", "f", "1"), ("call_fc_2", "f", "2")]
        custom = {"type": "custom_tool_call", "id": "x", "call_id": "c", "name": "run", "input": ""}
        answer = await both(
            {"type": "response.output_item.added", "output_index": 0, "item": custom},
            {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "l"},
            {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "s"},
            {"type": "response.output_item.done", "output_index": 0, "item": {**custom, "input": "ls"}},
            done(),
        )
        assert answer.tool_calls == [{"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}]

    asyncio.run(check())


def test_text_that_comes_only_with_the_last_event_is_not_lost() -> None:
    async def check() -> None:
        item = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
        answer = await both(done(output=[{"type": "reasoning", "summary": []}, message("a", "b"), item]))
        assert (answer.text, calls_of(answer)) == ("ab", [("c1", "f", "{}")])

    asyncio.run(check())


@pytest.mark.parametrize(
    ("last", "finish"),
    [
        (done(), Finish.STOP),
        (done("incomplete", incomplete_details={"reason": "max_output_tokens"}), Finish.LENGTH),
        (done("incomplete", incomplete_details={"reason": "content_filter"}), Finish.CONTENT_FILTER),
        (done("incomplete", incomplete_details={"reason": "tired"}), Finish.OTHER),
        (done("incomplete", incomplete_details=None), Finish.OTHER),
        (done(usage={"input_tokens": "many"}, model=7, output="none"), Finish.STOP),
    ],
)
def test_every_ending_is_read(last: dict[str, Any], finish: Finish) -> None:
    async def check() -> None:
        assert (await both(*text("a"), last)).finish is finish
        async with responses_server() as (server, wire, route):
            server.give({**last["response"], "output": [message("a")]})
            answer = await wire.complete(route, PROMPT)
            assert (answer.text, answer.finish) == ("a", finish)

    asyncio.run(check())


def test_what_is_held_back_is_no_answer_and_what_was_shown_is_marked() -> None:
    async def check() -> None:
        filtered = done("incomplete", incomplete_details={"reason": "content_filter"})
        refusal = {"type": "response.refusal.delta", "delta": "I will not"}
        assert (await both(*text("a"), refusal, done())).finish is Finish.CONTENT_FILTER
        async with responses_server() as (server, wire, route):
            for events in ([filtered], [refusal, done()]):
                server.say(*events)
                with pytest.raises(ContentFilterError) as caught:
                    await streamed(wire, route)
                assert caught.value.usage is not None
            whole = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
            server.give(done(output=[whole])["response"])
            with pytest.raises(ContentFilterError):
                await wire.complete(route, PROMPT)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("event", "kind", "error_class", "retriable"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}, RateLimitError, "rate_limited", True),
        ({"type": "error", "error": {"type": "server_error", "message": "oh"}}, ProviderError, "server_error", True),
        ({"type": "error", "code": "insufficient_quota", "message": "no money"}, ProviderError, "quota", False),
        (done("failed", error={"code": "server_error", "message": "oh"}), ProviderError, "server_error", True),
        (done("failed", error=None), ProviderError, "server_error", True),
        (done("cancelled"), ProviderError, "server_error", True),
        (done("failed", error={"code": "context_length_exceeded", "message": "long"}), ContextLengthError, "context_too_long", False),
        (done("failed", error={"code": "invalid_prompt", "message": "flagged"}), ContentFilterError, "content_filter", False),
        ({"error": {"code": "content_filter", "message": "held back"}}, ContentFilterError, "content_filter", False),
        ({"error": {"code": "rate_limit_exceeded", "message": "slow"}}, RateLimitError, "rate_limited", True),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_is_the_exception_of_the_table(
    event: dict[str, Any], kind: type[ProviderError], error_class: str, retriable: bool
) -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            for before in ([], text("a")):
                server.say(*before, event)
                with pytest.raises(ProviderError) as caught:
                    await streamed(wire, route)
                error = caught.value
                assert (type(error), error.error_class, error.retriable) == (kind, error_class, retriable)
                assert (error.usage is not None) == ("response" in event)

    asyncio.run(check())


def test_a_stream_without_an_ending_is_cut() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            running = {"type": "response.in_progress", "response": {"status": "in_progress"}}
            for end in ("", "data: [DONE]\n\n", 'data: {"type":"response.compl'):
                server.say(running, *text("a", "b"), *call_events(1, "{}"), end=end)
                with pytest.raises(CutStream):
                    await streamed(wire, route)
            server.give({"status": "in_progress", "output": [message("a")]})
            with pytest.raises(CutStream):
                await wire.complete(route, PROMPT)
            server.say(*text("a"), end="data: {half\n\n")
            with pytest.raises(ProviderError, match="cannot be read"):
                await streamed(wire, route)

    asyncio.run(check())


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "delta", "item", "response", "output", "error", "status", "usage", "content", "text",
                         "output_index", "input_tokens", "call_id", "arguments"]), inner, max_size=4),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_payload_is_read_or_unreadable(data: bytes) -> None:
    for kind in (b"", b"error"):
        reader = ResponsesReader()
        for read in (
            lambda reader=reader, kind=kind: reader.read(data, kind),
            lambda reader=reader: reader.read_whole(data),
        ):
            with suppress(Unreadable):
                read()
        reader.usage_now()
        reader.last()
