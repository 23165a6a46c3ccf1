"""The simulator's dialects, read by the official SDKs: what these understand is what the real servers say."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google_types
from google.oauth2.credentials import Credentials

from bench.simulator import Behaviour, Simulator, run_simulator
from bench.simulator.behaviour import without_directives
from bench.simulator.limits import Limits, duration

KEY = "sk-test-4321"


class Heard(NamedTuple):
    """What an SDK made of an answer. `usage` is input, cached, output, all as the provider counts them."""

    text: str
    finish: str
    usage: tuple[int, int, int]
    reasoning: str = ""
    tool: tuple[str, str] | None = None


Ask = Callable[..., Awaitable[Heard]]


def an_openai(sim: Simulator) -> Any:  # their unions of event kinds are not what is tested here
    return openai.AsyncOpenAI(base_url=sim.base_url, api_key=KEY, max_retries=0)


def an_anthropic(sim: Simulator) -> Any:
    return anthropic.AsyncAnthropic(base_url=sim.origin, api_key=KEY, max_retries=0)


@asynccontextmanager
async def a_gemini(sim: Simulator) -> AsyncGenerator[Any]:
    # Left to itself this SDK takes aiohttp, asks again after a reset, and leaves connections open.
    async with httpx2.AsyncClient() as http:
        options = google_types.HttpOptions(base_url=sim.origin, api_version="v1beta", httpx_async_client=http)
        async with genai.Client(api_key=KEY, http_options=options).aio as api:
            yield api


@asynccontextmanager
async def a_vertex(sim: Simulator, token: str = "ya29.test") -> AsyncGenerator[Any]:
    async with httpx2.AsyncClient() as http:
        options = google_types.HttpOptions(base_url=sim.origin, api_version="v1", httpx_async_client=http)
        client = genai.Client(
            vertexai=True, project="p", location="europe-west4", credentials=Credentials(token), http_options=options
        )
        async with client.aio as api:
            yield api


async def chat(sim: Simulator, verbs: str, *, stream: bool) -> Heard:
    async with an_openai(sim) as client:
        asked: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": "Hello there"}],
            "extra_headers": {"x-sim": verbs},
        }
        if not stream:
            answer = await client.chat.completions.create(**asked)
            choice, usage = answer.choices[0], answer.usage
            message = choice.message
            calls = message.tool_calls or []
            tool = (calls[0].function.name, calls[0].function.arguments) if calls else None
            reasoning = getattr(message, "reasoning_content", "")
            return Heard(message.content or "", choice.finish_reason, of_openai(usage), reasoning, tool)
        text = reasoning = finish = name = arguments = ""
        usage = None
        async for chunk in await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasoning += getattr(choice.delta, "reasoning_content", "") or ""
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
        return Heard(text, finish, of_openai(usage), reasoning, (name, arguments) if name else None)


def of_openai(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens


async def responses(sim: Simulator, verbs: str, *, stream: bool) -> Heard:
    async with an_openai(sim) as client:
        asked: dict[str, Any] = {"model": "m", "input": "Hello there", "extra_headers": {"x-sim": verbs}}
        streamed = ""
        if stream:
            answer = None
            numbers: list[int] = []
            async for event in await client.responses.create(**asked, stream=True):
                numbers.append(event.sequence_number)
                if event.type == "response.output_text.delta":
                    streamed += event.delta
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    answer = event.response
            assert numbers == list(range(len(numbers)))
            if answer is None:
                return Heard(streamed, "", (0, 0, 0))
            assert streamed == answer.output_text
        else:
            answer = await client.responses.create(**asked)
        tool = next(((item.name, item.arguments) for item in answer.output if item.type == "function_call"), None)
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        finish = answer.incomplete_details.reason if answer.incomplete_details else answer.status
        usage = answer.usage
        assert usage is not None
        counts = (usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens)
        return Heard(answer.output_text, finish, counts, "".join(thoughts), tool)


async def messages(sim: Simulator, verbs: str, *, stream: bool) -> Heard:
    async with an_anthropic(sim) as client:
        asked: dict[str, Any] = {
            "model": "m",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hello there"}],
            "extra_headers": {"x-sim": verbs},
        }
        streamed = ""
        if stream:
            async with client.messages.stream(**asked) as events:
                async for event in events:
                    if event.type == "text":
                        streamed += event.text
                answer = await events.get_final_message()
        else:
            answer = await client.messages.create(**asked)
        text = "".join(block.text for block in answer.content if block.type == "text")
        assert not stream or text == streamed
        thoughts = "".join(block.thinking for block in answer.content if block.type == "thinking")
        tool = next(
            ((b.name, json.dumps(b.input, separators=(",", ":"))) for b in answer.content if b.type == "tool_use"), None
        )
        usage = answer.usage
        counts = (usage.input_tokens, usage.cache_read_input_tokens or 0, usage.output_tokens)
        return Heard(text, answer.stop_reason or "", counts, thoughts, tool)


async def google(client: AbstractAsyncContextManager[Any], verbs: str, *, stream: bool) -> Heard:
    config = google_types.GenerateContentConfig(http_options=google_types.HttpOptions(headers={"x-sim": verbs}))
    async with client as api:
        if stream:
            found = await api.models.generate_content_stream(model="gemini-m", contents="Hello there", config=config)
            chunks = [chunk async for chunk in found]
        else:
            chunks = [await api.models.generate_content(model="gemini-m", contents="Hello there", config=config)]
    text = thoughts = finish = ""
    tool = None
    for chunk in chunks:
        for candidate in chunk.candidates or ():
            finish = candidate.finish_reason.name if candidate.finish_reason else finish
            for part in (candidate.content.parts if candidate.content else None) or ():
                if part.function_call is not None:
                    tool = (part.function_call.name or "", json.dumps(part.function_call.args, separators=(",", ":")))
                elif part.thought:
                    thoughts += part.text or ""
                else:
                    text += part.text or ""
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
            finish = f"blocked {chunk.prompt_feedback.block_reason.name}"
    usage = chunks[-1].usage_metadata
    assert usage is not None
    counts = (usage.prompt_token_count or 0, usage.cached_content_token_count or 0, usage.candidates_token_count or 0)
    return Heard(text, finish, counts, thoughts, tool)


async def gemini(sim: Simulator, verbs: str, *, stream: bool) -> Heard:
    return await google(a_gemini(sim), verbs, stream=stream)


async def vertex(sim: Simulator, verbs: str, *, stream: bool) -> Heard:
    return await google(a_vertex(sim), verbs, stream=stream)


DIALECTS: tuple[Ask, ...] = (chat, responses, messages, gemini, vertex)


def run(check: Callable[[Simulator], Awaitable[None]], **verbs: Any) -> None:
    async def inside() -> None:
        async with run_simulator(**verbs) as sim:
            await check(sim)

    asyncio.run(inside())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask", DIALECTS)
def test_text_finish_usage_reasoning_and_tools_are_understood(ask: Ask, stream: bool) -> None:
    finishes: Any = {
        chat: ("stop", "length"),
        responses: ("completed", "max_output_tokens"),
        messages: ("end_turn", "max_tokens"),
    }
    stop, length = finishes.get(ask, ("STOP", "MAX_TOKENS"))
    # Anthropic counts what it read from the cache beside the input, Google the thoughts beside the output.
    cached = (8, 3, 4) if ask is messages else (11, 3, 4)
    thought = (11, 0, 3) if ask in (gemini, vertex) else (11, 0, 6)
    tool_finishes: Any = {chat: "tool_calls", messages: "tool_use"}
    tool_finish = tool_finishes.get(ask, stop)

    async def check(sim: Simulator) -> None:
        assert await ask(sim, "input_tokens=11", stream=stream) == Heard("one two three", stop, (11, 0, 3))
        assert await ask(sim, "input_tokens=11,output_tokens=4,cached_tokens=3,finish=length", stream=stream) == Heard(
            "one two three", length, cached
        )
        heard = await ask(sim, "input_tokens=11,reasoning=Hmm,reasoning_tokens=3", stream=stream)
        assert heard == Heard("one two three", stop, thought, "Hmm")
        heard = await ask(sim, 'tool=look,arguments={"city":"Bonn"},input_tokens=11,output_tokens=2', stream=stream)
        assert heard == Heard("", tool_finish, (11, 0, 2), "", ("look", '{"city":"Bonn"}'))
        calls = sim.calls()
        assert [call.ended for call in calls] == ["complete"] * 4
        assert {call.key for call in calls} == {"test" if ask is vertex else KEY[-4:]}
        assert {call.head for call in calls} == {"Hello there"}
        assert {call.stream for call in calls} == {stream}

    run(check, reply="one two three")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask", DIALECTS)
def test_errors_have_the_class_that_each_sdk_gives_them(ask: Ask, stream: bool) -> None:
    def status_of(error: Exception) -> int:
        return error.code if isinstance(error, google_errors.APIError) else getattr(error, "status_code")  # noqa: B009

    async def check(sim: Simulator) -> None:
        of_google = ask in (gemini, vertex)
        wrong_key = 400 if ask is gemini else 401
        expected = [
            ("status=429,retry_after=7", 429), ("status=500", 500), ("status=529", 503 if of_google else 529),
            ("status=404", 400 if ask is responses else 404), ("key_ok=nobody", wrong_key), ("html_error,status=503", 503),
            ("status=400,code=context_length_exceeded", 400), ("context=1", 400),
            ("status=429,code=insufficient_quota", 400 if ask is messages else 429),
        ]  # fmt: skip
        for verbs, status in expected:
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, google_errors.APIError)) as caught:
                await ask(sim, verbs, stream=stream)
            assert (verbs, status_of(caught.value)) == (verbs, status)
            if verbs.startswith("status=429,retry"):
                if of_google:
                    # Vertex says nothing at all of when to come again.
                    assert ("retryDelay" in str(caught.value)) == (ask is gemini)
                else:
                    assert caught.value.response.headers["retry-after"] == "7"  # type: ignore[union-attr]
        assert [call.ended for call in sim.calls()] == ["error"] * len(expected)

    run(check)


@pytest.mark.parametrize("ask", DIALECTS)
def test_streams_break_as_each_dialect_breaks(ask: Ask) -> None:
    in_stream = (openai.APIError, anthropic.APIStatusError, google_errors.APIError)

    async def check(sim: Simulator) -> None:
        with pytest.raises(in_stream):
            await ask(sim, "error_in_stream=2", stream=True)
        # The JSON behind a garbled event is nobody's dialect: whatever is raised, it is raised.
        with pytest.raises(Exception):  # noqa: B017
            await ask(sim, "garble=1", stream=True)
        for verbs, ended in (("cut=2", "cut"), ("reset=2", "reset"), ("reset", "reset"), ("refuse", "refused")):
            for stream in (True, False):
                # A client may or may not see that the end is missing; the log does.
                with contextlib.suppress(Exception):
                    await ask(sim, verbs, stream=stream)
                assert (verbs, sim.calls()[-1].ended) == (verbs, ended)
        texts = [call.text for call in sim.calls() if call.ended in ("cut", "reset") and call.stream]
        assert texts == ["token1 token2 ", "token1 token2 ", ""]

    run(check, chunks=4)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_refused_as_each_dialect_refuses(stream: bool) -> None:
    async def check(sim: Simulator) -> None:
        for ask in (chat, responses):
            with pytest.raises(openai.BadRequestError) as caught:
                await ask(sim, "block=SAFETY", stream=stream)
            assert caught.value.code == "content_filter"
        assert (await messages(sim, "block=SAFETY", stream=stream))[:2] == ("", "refusal")
        for ask in (gemini, vertex):
            assert (await ask(sim, "block=PROHIBITED_CONTENT", stream=stream))[:2] == ("", "blocked PROHIBITED_CONTENT")

    run(check)


def test_a_model_of_the_responses_api_refuses_chat_completions() -> None:
    async def check(sim: Simulator) -> None:
        with pytest.raises(openai.NotFoundError, match="only supported in v1/responses"):
            await chat(sim, "", stream=False)
        assert (await responses(sim, "", stream=True)).text == "yes"

    run(check, responses_only=True, reply="yes")


def test_embeddings_and_counts_in_every_dialect() -> None:
    async def check(sim: Simulator) -> None:
        async with an_openai(sim) as client:
            found = await client.embeddings.create(model="e", input=["a", "b"], dimensions=8)
            assert [len(item.embedding) for item in found.data] == [8, 8]
        async with an_anthropic(sim) as client:
            counted = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x" * 40}])
            assert counted.input_tokens == 10
        config = google_types.EmbedContentConfig(output_dimensionality=8)
        for made in (a_gemini(sim), a_vertex(sim)):
            async with made as api:
                got = await api.models.embed_content(model="text-embedding-005", contents=["a"], config=config)
                assert [len(one.values or ()) for one in got.embeddings or ()] == [8]
                assert (await api.models.count_tokens(model="gemini-m", contents="x" * 40)).total_tokens == 10
        assert [call.path for call in sim.calls()[-4:]] == [
            "/v1beta/models/text-embedding-005:batchEmbedContents", "/v1beta/models/gemini-m:countTokens",
            "/v1/projects/p/locations/europe-west4/publishers/google/models/text-embedding-005:predict",
            "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-m:countTokens",
        ]  # fmt: skip

    run(check)


def test_azure_deployments_by_azures_own_client() -> None:
    async def check(sim: Simulator) -> None:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=sim.origin, api_key=KEY, api_version="2024-10-21", max_retries=0
        )
        async with client:
            asked: dict[str, Any] = {"model": "my-gpt", "messages": [{"role": "user", "content": "Hello"}]}
            chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
            assert chunks[0].choices == []
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[1:]) == "yes"
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(**asked, extra_headers={"x-sim": "status=429,retry_after=1"})
            assert caught.value.response.headers["retry-after-ms"] == "0"
        call = sim.calls()[0]
        assert (call.model, call.key) == ("my-gpt", KEY[-4:])
        assert call.path.startswith("/openai/deployments/my-gpt/chat/completions?api-version=")
        async with openai.AsyncOpenAI(base_url=f"{sim.origin}/openai/v1", api_key=KEY, max_retries=0) as plain:
            assert (await plain.responses.create(model="m", input="Hi")).output_text == "yes"

    run(check, reply="yes")


def test_google_streams_have_crlf_usage_in_each_chunk_and_an_array_without_sse() -> None:
    async def check(sim: Simulator) -> None:
        body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
        url = f"{sim.gemini_url}/models/sim:chunks=3:streamGenerateContent"
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}?alt=sse", json=body) as answer:
                raw = await answer.read()
            chunks = [json.loads(part[6:]) for part in raw.split(b"\r\n\r\n") if part]
            assert raw.count(b"\n") == raw.count(b"\r\n")
            assert [chunk["usageMetadata"].get("candidatesTokenCount") for chunk in chunks] == [None, 1, 2, 3]
            assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, None, "STOP"]
            async with http.post(url, json=body) as answer:
                assert answer.content_type == "application/json"
                array = json.loads(await answer.read())
            assert [chunk["candidates"] for chunk in array] == [chunk["candidates"] for chunk in chunks]
            async with http.post(url, json=body, headers={"x-sim": "status=500"}) as answer:
                assert json.loads(await answer.read())[0]["error"]["status"] == "INTERNAL"
            for wrong in ("/v1beta/models/m", "/v1beta/models/m:dance", "/v1/projects/p/models/m:generateContent"):
                async with http.post(sim.origin + wrong, json=body) as answer:
                    assert answer.status == 404

    run(check)


def test_anthropic_refuses_what_the_real_one_refuses() -> None:
    good = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    wrong: list[dict[str, Any]] = [
        {"max_tokens": None}, {"messages": []}, {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
    ]  # fmt: skip

    async def check(sim: Simulator) -> None:
        async with aiohttp.ClientSession() as http:
            version = {"anthropic-version": "2023-06-01"}
            for changes, headers, status in (
                ({}, version, 200),
                ({}, {}, 400),
                *((one, version, 400) for one in wrong),
            ):
                body = {name: value for name, value in {**good, **changes}.items() if value is not None}
                async with http.post(f"{sim.origin}/v1/messages", json=body, headers=headers) as answer:
                    assert (changes, answer.status) == (changes, status)
                    assert status == 200 or (await answer.json())["error"]["type"] == "invalid_request_error"

    run(check)


def test_limits_are_stated_in_headers_and_kept() -> None:
    async def check(sim: Simulator) -> None:
        async with an_openai(sim) as client:
            asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
            stated = {"x-sim": "limit_headers=60/30000,input_tokens=300"}
            for left, tokens in ((59, 29700), (58, 29400)):
                raw = await client.chat.completions.with_raw_response.create(**asked, extra_headers=stated)
                assert raw.headers["x-ratelimit-limit-requests"] == "60"
                assert raw.headers["x-ratelimit-remaining-requests"] == str(left)
                assert tokens <= int(raw.headers["x-ratelimit-remaining-tokens"]) <= tokens + 30
                assert raw.headers["x-ratelimit-reset-requests"].endswith(("ms", "s"))
        async with an_anthropic(sim) as client:
            raw = await client.messages.with_raw_response.create(**asked, max_tokens=9, extra_headers=stated)
            assert raw.headers["anthropic-ratelimit-requests-limit"] == "60"
            assert raw.headers["anthropic-ratelimit-input-tokens-limit"] == "30000"
            assert raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
        sim.reset()
        sim.set(rpm=5, window=1.0)
        async with an_openai(sim) as client:
            for _ in range(5):
                await client.chat.completions.create(**asked)
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(**asked)
            assert caught.value.response.headers["retry-after"] == "1"
            await asyncio.sleep(0.25)
            await client.chat.completions.create(**asked)

    run(check)


def test_a_real_limit_lets_a_burst_in_and_then_its_rate() -> None:
    limits, behaviour = Limits(), Behaviour(rpm=60, window=60.0)
    taken = [limits.take("k", behaviour, 0, now / 10)[0] == 0.0 for now in range(1200)]
    assert taken[:66] == [True] * 66
    assert sum(taken) == 60 + 119
    assert limits.take("other", behaviour, 0, 120.0)[0] == 0.0
    assert [duration(seconds) for seconds in (0.0165, 6, 62.5, 0)] == ["17ms", "6s", "1m2.5s", "0ms"]


def test_the_token_endpoint_gives_out_tokens_that_google_paths_can_ask_for() -> None:
    async def check(sim: Simulator) -> None:
        async with aiohttp.ClientSession() as http:
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x.eyJpc3MiOiJhQGIifQ.y"}
            started = time.monotonic()
            async with http.post(sim.token_url, data=form, headers={"x-sim": ""}) as answer:
                token = (await answer.json())["access_token"]
            assert time.monotonic() - started >= 0.05
            assert sim.token_requests == [{"iss": "a@b"}]
            assert sim.calls() == []
            assert (await google(a_vertex(sim, token), "", stream=True)).text == "yes"
            with pytest.raises(google_errors.ClientError) as caught:
                await google(a_vertex(sim, "ya29.other"), "", stream=False)
            assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
            sim.set(token_status=401)
            async with http.post(sim.token_url, data=form) as answer:
                assert (answer.status, (await answer.json())["error"]) == (401, "invalid_grant")

    run(check, need_token=True, reply="yes", token_latency=50)


def test_directives_are_for_the_simulator_they_name() -> None:
    assert without_directives("a [[sim:cut=1]] b", "x") == ("cut=1", "a  b")
    both = "hello [[sim@one:status=500]][[sim@two:chunks=2]]"
    assert without_directives(both, "one") == ("status=500", "hello")
    assert without_directives(both, "two") == ("chunks=2", "hello")
    assert without_directives(both, "") == ("", "hello")
    assert without_directives("[[similar]] [[sim", "") == ("", "[[similar]] [[sim")

    async def check(sim: Simulator) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": both.replace("status=500", "reply=a b")}]}
        async with aiohttp.ClientSession() as http, http.post(f"{sim.base_url}/chat/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "P:hello"

    run(check, echo=True, tag="P:")
