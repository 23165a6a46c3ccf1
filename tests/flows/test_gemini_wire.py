"""The wire format of Gemini and Vertex AI: what is sent, to whom, with which key, and answers that are out of the usual."""

import asyncio
import itertools
import json
import string
import time
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

from bench.simulator.replay import Replay, run_replay
from chatwright.adapters.providers.address_guard import AddressGuard
from chatwright.adapters.providers.base import join
from chatwright.adapters.providers.failures import read_failure
from chatwright.adapters.providers.gemini import Gemini, vertex_base_url
from chatwright.adapters.providers.gemini_arguments import GrowingCall, PartialArgument
from chatwright.adapters.providers.gemini_reading import GeminiReader
from chatwright.adapters.providers.gemini_request import chat_fields
from chatwright.adapters.providers.gemini_schema import cleaned
from chatwright.adapters.providers.google_tokens import TOKEN_URI, open_google_tokens
from chatwright.adapters.providers.http import open_http
from chatwright.domain.errors import (
    AuthenticationError,
    BadRequest,
    ContentFilterError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from chatwright.domain.providers import Finish, Prompt, Route, Turn, Usage
from tests.flows.recorded import streamed

KEY = "AIzaTest-0123456789abcdef"
ANSWER = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], **more}


@asynccontextmanager
async def replayed(*chunks: Any, **fields: Any) -> AsyncGenerator[tuple[Replay, Gemini, Route]]:
    async with open_http() as clients, run_replay(sse(*(chunks or (ANSWER,)))) as replay:
        for name, value in fields.items():
            setattr(replay, name, value)
        base = f"http://127.0.0.1:{replay.port}/v1beta"
        yield replay, Gemini(clients), Route(provider="gemini", model="gemini-x", base_url=base, api_key=KEY)


@asynccontextmanager
async def answering(respond: Callable[[int, Any], tuple[int, Any]]) -> AsyncGenerator[str]:
    """A server whose status and JSON answer are a function of the request's number and body. Yields its address."""
    count = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        status, answer = respond(next(count), json.loads(await reader.readexactly(length)))
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 %d -\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def sent(prompt: Prompt, *quirks: str) -> dict[str, Any]:
    return chat_fields(prompt, frozenset(quirks))


# What is sent


CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rīga"}'}}
SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
TURNS = [
    Turn("system", "Be brief."),
    Turn("system", "", {"content": [{"type": "text", "text": "Be kind."}]}),
    Turn("user", "Weather?"),
    Turn("assistant", "", {"tool_calls": [SIGNED, {**CALL, "id": "c2"}]}),
    Turn("tool", '{"sky": "clear"}', {"tool_call_id": "c1"}),
    Turn("tool", "16 degrees", {"tool_call_id": "c2"}),
    Turn("user", "And this?", {"content": [{"type": "text", "text": "And this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}, {"type": "refusal"}]}),
]  # fmt: skip
OPTIONS = {
    "stop": ".",
    "top_p": 0.9,
    "seed": 7,
    "n": 3,
    "user": "ann",
    "logit_bias": {"1": 2},
    "reasoning_effort": "low",
    "presence_penalty": 0.1,
    "tools": [
        {"type": "function", "function": {"name": "get_weather", "description": "d", "strict": True,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                "additionalProperties": False}}},
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "now"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
}  # fmt: skip


def test_a_request_says_the_same_in_googles_words() -> None:
    assert sent(Prompt(turns=TURNS, temperature=0.5, max_tokens=70, options=OPTIONS)) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Rīga"}},
                        "thoughtSignature": "c2ln",
                    },
                    {"functionCall": {"id": "c2", "name": "get_weather", "args": {"city": "Rīga"}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "get_weather", "response": {"sky": "clear"}}},
                    {"functionResponse": {"id": "c2", "name": "get_weather", "response": {"output": "16 degrees"}}},
                    {"text": "And this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                ],
            },
        ],
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 70,
            "topP": 0.9,
            "seed": 7,
            "presencePenalty": 0.1,
            "stopSequences": ["."],
            "thinkingConfig": {"thinkingBudget": 1024},
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"},
        },
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "get_weather",
                        "description": "d",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"city": {"type": "STRING"}},
                            "required": ["city"],
                        },
                    },
                    {"name": "now"},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["now"]}},
    }


def test_the_official_sdks_types_know_every_field_that_is_sent() -> None:
    types = pytest.importorskip("google.genai.types")
    fields = sent(Prompt(turns=TURNS, temperature=0.5, max_tokens=70, options=OPTIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in [*fields["contents"], fields["systemInstruction"]]:
            types.Content.model_validate(content)
        types.GenerationConfig.model_validate(fields["generationConfig"])
        types.Tool.model_validate(fields["tools"][0])
        types.ToolConfig.model_validate(fields["toolConfig"])
        with pytest.raises(ValueError, match="functionCal"):
            types.Part.model_validate({"functionCal": {}})


def test_contents_alternate_begin_with_the_user_and_hold_no_empty_text() -> None:
    turns = [
        Turn("assistant", "Welcome!"),
        Turn("assistant", ""),
        Turn("assistant", "Ask me."),
        Turn("user", "a"),
        Turn("user", ""),
        Turn("user", "b"),
        Turn("assistant", ""),
    ]
    assert sent(Prompt(turns=turns)) == {
        "contents": [
            {"role": "user", "parts": [{"text": " "}]},
            {"role": "model", "parts": [{"text": "Welcome!"}, {"text": "Ask me."}]},
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        ]
    }


def test_a_prompt_of_the_system_alone_is_asked_as_the_users() -> None:
    assert sent(Prompt(turns=[Turn("system", "Say hi.")])) == {
        "contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]
    }


def test_a_stream_is_asked_for_with_the_key_in_its_header_and_not_in_the_address() -> None:
    async def check() -> None:
        async with replayed() as (server, wire, route):
            prompt = Prompt(turns=[Turn("user", "x")])
            await streamed(wire, replace(route, call_id="call-1"), prompt)
            await wire.complete(replace(route, base_url=route.base_url + "/?trace=1"), prompt)
            await streamed(wire, replace(route, model="models/a b", base_url=route.base_url + "?trace=1"), prompt)
            heads = [head.decode() for head, _ in server.requests]
            assert heads[0].startswith("POST /v1beta/models/gemini-x:streamGenerateContent?alt=sse HTTP/1.1\r\n")
            assert f"x-goog-api-key: {KEY}\r\n" in heads[0].lower().replace(KEY.lower(), KEY)
            assert "x-chatwright-call-id: call-1" in heads[0].lower()
            assert "authorization" not in heads[0].lower()
            assert heads[1].startswith("POST /v1beta/models/gemini-x:generateContent?trace=1 HTTP/1.1\r\n")
            assert "POST /v1beta/models/a%20b:streamGenerateContent?trace=1&alt=sse HTTP" in heads[2]
            assert KEY not in heads[0].split("\r\n")[0]

    asyncio.run(check())


@pytest.mark.parametrize("model", ["../../v1/other", "models/../x", "", "a//b", "models/."])
def test_a_model_name_cannot_lead_out_of_its_path(model: str) -> None:
    async def check() -> None:
        async with replayed() as (server, wire, route):
            with pytest.raises(ProviderError) as caught:
                await wire.complete(replace(route, model=model), Prompt(turns=[Turn("user", "x")]))
            assert caught.value.error_class == "model_not_found"
            assert server.requests == []

    asyncio.run(check())


REFUSALS = {
    "Function call is missing a thought_signature in functionCall parts.": lambda body: (
        "thoughtSignature" in body["contents"][1]["parts"][0]
    ),
    "Invalid JSON payload received. Unknown name \"id\" at 'contents[1].parts[0].function_call'": lambda body: (
        "id" not in body["contents"][1]["parts"][0]["functionCall"]
    ),
    "Developer instruction is not enabled for models/gemma-x": lambda body: (
        "systemInstruction" not in body and body["contents"][0]["parts"][0] == {"text": "Be brief."}
    ),
    "Thinking budget is not supported for this model.": lambda body: "thinkingConfig" not in body["generationConfig"],
    "Penalty is not enabled for this model": lambda body: "presencePenalty" not in body["generationConfig"],
}


@pytest.mark.parametrize("words", REFUSALS)
def test_what_a_model_refuses_is_left_out_once_and_for_all(words: str) -> None:
    turns = [TURNS[0], TURNS[2], Turn("assistant", "", {"tool_calls": [CALL]}), TURNS[4]]
    prompt = Prompt(turns=turns, options={"reasoning_effort": "high", "presence_penalty": 0.5})
    refusal = {"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}
    bodies: list[Any] = []

    def respond(n: int, body: Any) -> tuple[int, Any]:
        bodies.append(body)
        return (200, ANSWER) if n else (400, refusal)

    async def check() -> None:
        async with open_http() as clients, answering(respond) as base:
            wire, route = Gemini(clients), Route(provider="gemini", model="gemini-x", base_url=base, api_key=KEY)
            assert (await wire.complete(route, prompt)).text == "hi"
            assert (await wire.complete(route, prompt)).text == "hi"
            assert [REFUSALS[words](body) for body in bodies] == [False, True, True]
            # Of another model nothing is known.
            await wire.complete(replace(route, model="other"), prompt)
            assert not REFUSALS[words](bodies[3])

    asyncio.run(check())


def test_of_parallel_calls_the_first_is_signed() -> None:
    turns = [Turn("user", "x"), Turn("assistant", "", {"tool_calls": [CALL, {**CALL, "id": "c2"}]})]
    parts = sent(Prompt(turns=turns), "stand_in_signatures")["contents"][1]["parts"]
    assert ["thoughtSignature" in part for part in parts] == [True, False]
    assert not any("thoughtSignature" in part for part in sent(Prompt(turns=turns))["contents"][1]["parts"])


def test_a_refusal_that_repeats_is_not_answered_for_ever() -> None:
    body = json.dumps({"error": {"code": 400, "message": "missing a thought_signature", "status": "INVALID_ARGUMENT"}})

    async def check() -> None:
        async with replayed(status=400, pieces=[body.encode()]) as (server, wire, route):
            with pytest.raises(ProviderError):
                await wire.complete(route, Prompt(turns=[Turn("user", "x")]))
            assert len(server.requests) == 2

    asyncio.run(check())


# Schemas


def test_a_schema_loses_what_gemini_refuses_and_keeps_its_meaning() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": {"type": ["string", "null"], "format": "uri", "minLength": 1},
            "when": {"type": "string", "format": "date-time"},
            "kind": {"const": "a"},
            "size": {"enum": ["s", "m", None]},
            "count": {"type": "integer", "exclusiveMinimum": 0, "enum": [1, 2]},
            "pet": {"$ref": "#/$defs/Pet", "description": "whose"},
            "any": {},
            "list": {"type": "array"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "m"},
            "either": {"oneOf": [{"type": "integer"}, {"type": "string"}], "description": "e", "title": "E"},
            "both": {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]},
        },
        "required": ["name", "gone"],
        "$defs": {"Pet": {"type": "object", "properties": {"friend": {"$ref": "#/$defs/Pet"}}}},
    }
    before = json.dumps(schema)
    made = cleaned(schema)
    assert json.dumps(schema) == before
    properties = made.pop("properties")
    assert made == {"type": "OBJECT", "required": ["name"]}
    pet = properties.pop("pet")
    assert (pet["type"], pet["description"]) == ("OBJECT", "whose")
    assert properties == {
        "name": {"type": "STRING", "nullable": True, "minLength": 1},
        "when": {"type": "STRING", "format": "date-time"},
        "kind": {"type": "STRING", "enum": ["a"]},
        "size": {"type": "STRING", "enum": ["s", "m"], "nullable": True},
        "count": {"type": "INTEGER"},
        "any": {"type": "STRING"},
        "list": {"type": "ARRAY", "items": {"type": "STRING"}},
        "maybe": {"type": "INTEGER", "nullable": True, "description": "m"},
        "either": {"anyOf": [{"description": "e", "type": "INTEGER"}, {"description": "e", "type": "STRING"}]},
        "both": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
    }


def test_a_schema_that_refers_to_itself_or_grows_without_end_stays_small() -> None:
    started = time.process_time()
    assert cleaned({"$ref": "#"}) == {"type": "OBJECT"}
    assert cleaned({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})
    doubling = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    made = cleaned({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": doubling})
    assert len(json.dumps(made)) < 300_000
    assert time.process_time() - started < 0.5


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)
)
NAMES = st.sampled_from(
    (
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "format",
        "nullable",
        "$ref",
        "$defs",
        "default",
        "not",
        "title",
    )
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    JSON_VALUES | st.sampled_from(["string", "object", "array", "null", "integer", "#/$defs/a", "date-time"]),
    lambda inner: (
        st.dictionaries(NAMES | st.text(string.ascii_lowercase, max_size=2), inner, max_size=5)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=20,
)


@given(schema=st.dictionaries(NAMES, SCHEMAS, max_size=6))
@example(schema={"required": [[]], "properties": {}})
def test_any_json_becomes_a_schema_with_types_and_known_names_only(schema: dict[str, Any]) -> None:
    def check(made: dict[str, Any]) -> None:
        assert "type" in made or "anyOf" in made
        assert not {"$ref", "oneOf", "allOf", "const", "additionalProperties", "not"} & made.keys()
        if "anyOf" in made:
            assert made.keys() == {"anyOf"}
        for inner in [*made.get("properties", {}).values(), *made.get("anyOf", [])]:
            check(inner)
        if "items" in made:
            check(made["items"])

    check(cleaned(schema))
    json.dumps(cleaned(schema))


# Answers out of the usual


def read(*chunks: Any) -> Any:
    reader = GeminiReader()
    deltas = [reader.read(json.dumps(one).encode()) for one in chunks]
    return reader, join([delta for delta in [*deltas, reader.last()] if delta])


def test_fields_of_unexpected_types_are_skipped_and_the_rest_is_kept() -> None:
    _, got = read(
        {
            "candidates": [
                {"content": {"parts": [{"text": "a", "thought": "no"}, {"text": 5}, 7, {"text": "b"}]}, "index": "0"}
            ],
            "usageMetadata": {"promptTokenCount": "12", "candidatesTokenCount": {"x": 1}},
            "modelVersion": ["m"],
        },
        chunk({"text": "c"}, finish="BRAND_NEW_REASON", promptFeedback=[]),
    )
    assert (got.text, got.finish, got.usage) == ("abc", Finish.OTHER, Usage(input_tokens=12))


def test_other_candidates_are_no_part_of_the_answer() -> None:
    two = {"candidates": [{"index": 1, "content": {"parts": [{"text": "B"}]}}, ANSWER["candidates"][0]]}
    assert read(two)[1].text == "hi"


def test_calls_that_google_does_not_name_get_ids_that_differ() -> None:
    call = {"functionCall": {"name": "f", "args": {"é": 1}}}
    _, got = read(chunk(call, call, responseId="R1"), chunk(call, finish="STOP", responseId="R1"))
    assert got.finish is Finish.TOOL_CALLS
    assert [made["id"] for made in got.tool_calls] == ["call_R1_0", "call_R1_1", "call_R1_2"]
    assert got.tool_calls[0]["function"] == {"name": "f", "arguments": '{"é":1}'}


def test_a_call_that_never_ends_is_given_out_with_the_finish() -> None:
    piece = {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}], "willContinue": True}}
    _, got = read(chunk({"functionCall": {"name": "f", "willContinue": True}}), chunk(piece, finish="STOP"))
    assert got.tool_calls[0]["function"] == {"name": "f", "arguments": '{"a":"x"}'}


def test_a_text_grows_only_while_its_piece_says_so() -> None:
    call = GrowingCall(None, "f", None)
    for text, more in (("a", True), ("b", True), ("c", False), ("d", False), ("e", True), ("f", False)):
        call.take(PartialArgument("$['a b']", text, will_continue=more))
        assert call.arguments["a b"] == {"a": "a", "b": "ab", "c": "abc", "d": "d", "e": "e", "f": "ef"}[text]


@given(paths=st.lists(st.text(alphabet="$.[]ab'\"0129\\", max_size=12), max_size=8))
def test_no_path_of_a_piece_can_break_the_arguments_or_make_them_large(paths: list[str]) -> None:
    call = GrowingCall(None, "f", None)
    for path in [*paths, "$.ok", "$.l[999999999]", "$" + ".a" * 500]:
        call.take(PartialArgument(path, "v"))
    assert call.arguments["ok"] == "v"
    call.take(PartialArgument("$.gap[3]", "v"))
    assert not call.arguments["gap"]
    assert len(json.dumps(call.arguments)) < 500


def test_a_model_that_lost_its_way_may_be_asked_again_unless_something_was_shown() -> None:
    async def check() -> None:
        async with replayed(chunk(finish="UNEXPECTED_TOOL_CALL")) as (_, wire, route):
            with pytest.raises(ProviderError) as caught:
                await streamed(wire, route)
            assert caught.value.retriable
        async with replayed(chunk({"text": "a"}), chunk(finish="MALFORMED_FUNCTION_CALL")) as (_, wire, route):
            got = join(await streamed(wire, route))
            assert (got.text, got.finish) == ("a", Finish.OTHER)

    asyncio.run(check())


def test_an_array_without_a_finish_reason_or_without_its_end_is_no_answer() -> None:
    whole = json.dumps([chunk({"text": "a"}), chunk({"text": "b"})]).encode()

    async def check() -> None:
        async with replayed() as (server, wire, route):
            for pieces, kinds in ([whole], {"cut_stream"}), ([whole[:-9]], {"malformed"}), ([b"[]"], {"malformed"}):
                server.pieces = pieces
                with pytest.raises(ProviderError) as caught:
                    await streamed(wire, route)
                assert (caught.value.retriable, caught.value.error_class) == (True, *kinds)

    asyncio.run(check())


def test_html_and_garbage_are_malformed_and_an_end_without_text_is_cut() -> None:
    async def check() -> None:
        async with replayed() as (server, wire, route):
            for body in (b"<html><title>502</title>", b"data: {nonsense}\r\n\r\n", b"data: 5\r\n\r\n", b'{"a": 1}'):
                server.pieces = [body]
                with pytest.raises(ProviderError) as caught:
                    await streamed(wire, route)
                assert caught.value.error_class == "malformed", body
            server.pieces = [b"\r\n"]
            with pytest.raises(CutStream):
                await streamed(wire, route)

    asyncio.run(check())


def test_a_server_that_stays_open_after_the_finish_does_not_hold_the_answer_back_for_long() -> None:
    async def check() -> None:
        async with replayed(hang=True) as (_, wire, route):
            begun = time.perf_counter()
            assert join(await streamed(wire, route)).text == "hi"
            assert time.perf_counter() - begun < 3

    asyncio.run(check())


def test_usage_that_comes_after_the_finish_is_counted() -> None:
    usage = {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}

    async def check() -> None:
        async with replayed(ANSWER, usage) as (_, wire, route):
            assert join(await streamed(wire, route)).usage == Usage(input_tokens=3, output_tokens=4)

    asyncio.run(check())


def test_an_answer_broken_off_by_an_error_brings_what_was_used() -> None:
    started = chunk({"text": "It"}, usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 1})
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": f"key {KEY} of ya29.abc-def is busy"}}

    async def check() -> None:
        async with replayed(started, error) as (_, wire, route):
            async with aclosing(wire.stream(route, Prompt(turns=[Turn("user", "x")]))) as stream:
                assert (await anext(stream)).text == "It"
                with pytest.raises(ProviderError) as caught:
                    await anext(stream)
            assert caught.value.error_class == "rate_limited"
            assert caught.value.usage == Usage(input_tokens=9, output_tokens=1)
            assert KEY not in caught.value.message
            assert "ya29" not in caught.value.message

    asyncio.run(check())


def test_googles_details_are_read_whatever_they_hold() -> None:
    details = [5, {}, {"violations": "x"}, {"retryDelay": "soon"}, {"reason": 3}, {"violations": [7, {}]}]
    failure = read_failure(json.dumps({"error": {"code": 429, "message": "m", "details": details}}).encode())
    assert (failure.wait_s, failure.spent) == (None, None)


@pytest.mark.parametrize("words", ["You exceeded your current quota, please check your plan and billing details.", "x"])
def test_a_limit_that_names_no_quota_is_one_of_the_minute(words: str) -> None:
    body = json.dumps({"error": {"code": 429, "message": words, "status": "RESOURCE_EXHAUSTED"}})

    async def check() -> None:
        async with replayed(status=429, pieces=[body.encode()]) as (_, wire, route):
            with pytest.raises(RateLimitError):
                await streamed(wire, route)

    asyncio.run(check())


def test_a_report_without_counts_does_not_undo_the_one_before() -> None:
    counted = {"promptTokenCount": 40, "cachedContentTokenCount": 32, "candidatesTokenCount": 2}
    _, got = read(
        chunk({"text": "a"}, usageMetadata=counted), chunk(finish="STOP", usageMetadata={"trafficType": "ON_DEMAND"})
    )
    assert got.usage == Usage(input_tokens=40, cached_tokens=32, output_tokens=2)


def test_a_blocked_prompt_says_why() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}, "usageMetadata": {}}

    async def check() -> None:
        async with replayed(blocked) as (_, wire, route):
            with pytest.raises(ContentFilterError, match=r"\(SAFETY\) No\."):
                await streamed(wire, route)

    asyncio.run(check())


# Embeddings


def test_embeddings_are_asked_for_in_batches_and_joined_in_order() -> None:
    seen: list[int] = []

    def respond(_: int, body: Any) -> tuple[int, Any]:
        asked = body["requests"]
        assert {one["model"] for one in asked} == {"models/e"}
        seen.append(len(asked))
        values = [{"values": [float(one["content"]["parts"][0]["text"])]} for one in asked]
        return 200, {"embeddings": values, "usageMetadata": {"promptTokenCount": len(asked)}}

    async def check() -> None:
        async with open_http() as clients, answering(respond) as base:
            route = Route(provider="gemini", model="e", base_url=base, api_key=KEY)
            got = await Gemini(clients).embed(route, [str(n) for n in range(1050)])
            assert [vector[0] for vector in got.vectors] == [float(n) for n in range(1050)]
            assert got.usage == Usage(input_tokens=1050)
            assert sorted(seen) == [50, *[100] * 10]

    asyncio.run(check())


def test_one_failed_batch_fails_the_call_with_its_error() -> None:
    def respond(n: int, body: Any) -> tuple[int, Any]:
        if n == 1:
            return 503, {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
        return 200, {"embeddings": [{"values": [1.0]}] * len(body["requests"])}

    async def check() -> None:
        async with open_http() as clients, answering(respond) as base:
            route = Route(provider="gemini", model="e", base_url=base, api_key=KEY)
            with pytest.raises(ProviderError) as caught:
                await Gemini(clients).embed(route, ["x"] * 350)
            assert (caught.value.retriable, caught.value.upstream_status) == (True, 503)

    asyncio.run(check())


def test_no_texts_need_no_call() -> None:
    async def check() -> None:
        async with replayed() as (server, wire, route):
            assert (await wire.embed(route, [])).vectors == []
            assert server.requests == []

    asyncio.run(check())


# Vertex AI


def test_vertex_addresses() -> None:
    path = "/projects/p-1/locations"
    assert vertex_base_url("p-1", "europe-west4") == (
        f"https://europe-west4-aiplatform.googleapis.com/v1{path}/europe-west4/publishers/google"
    )
    assert vertex_base_url("p-1", "global") == f"https://aiplatform.googleapis.com/v1{path}/global/publishers/google"
    assert vertex_base_url("p-1", "eu").startswith("https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/")
    assert vertex_base_url("example.com:p-1", "us-east1", "http://gw:8/x/") == (
        "http://gw:8/x/v1/projects/example.com:p-1/locations/us-east1/publishers/google"
    )
    assert vertex_base_url("p-1", "us-east1", "http://gw/v1beta1").startswith("http://gw/v1beta1/projects/p-1/")
    assert vertex_base_url("", "", "http://gw/v1/projects/q/locations/r/publishers/google/") == (
        "http://gw/v1/projects/q/locations/r/publishers/google"
    )


@pytest.mark.parametrize(
    ("project", "location"),
    [("p-1", "evil.example/#"), ("p-1", ""), ("p-1", "EU@x"), ("../p", "global"), ("p/x", "global"), ("", "global")],
)
def test_a_project_or_location_cannot_lead_to_another_address(project: str, location: str) -> None:
    with pytest.raises(BadRequest):
        vertex_base_url(project, location)


@pytest.fixture(scope="module")
def account() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = {"type": "service_account", "client_email": "r@p", "private_key": key.decode(), "token_uri": TOKEN_URI}
    return json.dumps(fields)


@asynccontextmanager
async def vertex(*chunks: Any, **fields: Any) -> AsyncGenerator[tuple[Replay, Replay, Gemini, Route]]:
    """A token endpoint, a server, and the wire format between them."""
    guard = AddressGuard(["127.0.0.1"])
    async with run_replay() as grants, open_http(guard=guard) as clients, run_replay(sse(*(chunks or (ANSWER,)))) as at:
        grants.headers = {"content-type": "application/json"}
        grants.pieces = [json.dumps({"access_token": "ya29.one", "expires_in": 3600}).encode()]
        for name, value in fields.items():
            setattr(at, name, value)
        uri = f"http://127.0.0.1:{grants.port}/token"
        base = vertex_base_url("p-1", "global", f"http://127.0.0.1:{at.port}")
        async with open_google_tokens(tenants_token_uri=uri) as tokens:
            yield grants, at, Gemini(clients, tokens=tokens), Route(provider="vertex", model="gemini-x", base_url=base)


def test_a_tenants_account_is_exchanged_for_a_token_which_alone_is_sent(account: str) -> None:
    async def check() -> None:
        async with vertex() as (grants, server, wire, route):
            for _ in range(3):
                assert join(await streamed(wire, replace(route, api_key=account))).text == "hi"
            head = server.requests[0][0].decode()
            path = "/v1/projects/p-1/locations/global/publishers/google/models/gemini-x:streamGenerateContent?alt=sse"
            assert head.startswith(f"POST {path} HTTP/1.1\r\n")
            assert "authorization: bearer ya29.one\r\n" in head.lower()
            assert "x-goog-api-key" not in head.lower()
            assert len(grants.requests) == 1
            for sent_bytes in server.requests:
                assert b"PRIVATE KEY" not in b"".join(sent_bytes)

    asyncio.run(check())


def test_the_platforms_token_is_never_sent_to_an_address_of_a_tenants(account: str) -> None:
    async def check() -> None:
        async with vertex() as (grants, server, wire, route):
            for key in (None, ""):
                assert join(await streamed(wire, replace(route, guarded=True, api_key=key))).text == "hi"
                assert b"authorization" not in server.requests.pop()[0].lower()
            assert grants.requests == []
            # Its own account's token may go there.
            assert join(await streamed(wire, replace(route, guarded=True, api_key=account))).text == "hi"
            assert b"authorization: bearer" in server.requests[0][0].lower()

    asyncio.run(check())


def test_a_token_that_is_refused_is_an_authentication_error_and_not_used_again(account: str) -> None:
    refusal = json.dumps({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "invalid credentials"}})

    async def check() -> None:
        async with vertex(status=401, pieces=[refusal.encode()]) as (grants, server, wire, at):
            route = replace(at, api_key=account)
            with pytest.raises(AuthenticationError):
                await streamed(wire, route)
            tokens = wire._tokens
            assert tokens is not None
            tokens._tenants_slot(account).quiet_until_s = 0.0
            grants.pieces = [json.dumps({"access_token": "ya29.two", "expires_in": 3600}).encode()]
            with pytest.raises(AuthenticationError):
                await streamed(wire, route)
            assert b"ya29.two" in server.requests[1][0]

    asyncio.run(check())


def test_a_key_that_google_does_not_take_fails_before_anything_is_sent(account: str) -> None:
    async def check() -> None:
        async with vertex() as (grants, server, wire, route):
            with pytest.raises(AuthenticationError):
                await streamed(wire, replace(route, api_key="AIzaNotAnAccount"))
            grants.pieces = [b'{"error": "invalid_grant"}']
            grants.status = 400
            with pytest.raises(AuthenticationError, match="invalid_grant"):
                await streamed(wire, replace(route, api_key=account))
            assert server.requests == []

    asyncio.run(check())


def test_a_token_that_does_not_come_ends_with_the_routes_time_out(account: str) -> None:
    async def check() -> None:
        async with vertex() as (grants, server, wire, route):
            grants.pause_s = 1.0
            begun = time.perf_counter()
            with pytest.raises(ProviderError) as caught:
                await streamed(wire, replace(route, api_key=account, first_byte_timeout_s=0.2))
            assert time.perf_counter() - begun < 0.6
            assert (caught.value.retriable, caught.value.error_class) == (True, "timeout")
            assert server.requests == []

    asyncio.run(check())


def test_vertex_embeddings_are_asked_for_as_each_model_takes_them(account: str) -> None:
    one = json.dumps({"embedding": {"values": [1.0]}, "usageMetadata": {"promptTokenCount": 2}}).encode()
    many = json.dumps({"predictions": [{"embeddings": {"values": [1.0]}}] * 3}).encode()

    async def check() -> None:
        async with vertex(pieces=[one]) as (_, server, wire, at):
            route = replace(at, api_key=account)
            got = await wire.embed(replace(route, model="gemini-embedding-2"), ["a", "b", "c"])
            assert (got.vectors, got.usage) == ([[1.0]] * 3, Usage(input_tokens=6))
            assert all(b"/gemini-embedding-2:embedContent HTTP" in head for head, _ in server.requests)
            assert sorted(json.loads(body)["content"]["parts"][0]["text"] for _, body in server.requests) == [*"abc"]
            server.pieces = [many]
            got = await wire.embed(replace(route, model="text-embedding-005"), ["a", "b", "c"])
            assert (got.vectors, got.usage) == ([[1.0]] * 3, None)
            assert json.loads(server.requests[-1][1]) == {"instances": [{"content": text} for text in "abc"]}

    asyncio.run(check())
