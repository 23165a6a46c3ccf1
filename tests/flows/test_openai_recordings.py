"""Every chat completion and embeddings answer of `recorded`, served again in pieces and read by the wire format.

Three readings must agree: ours at any cut, a plain one written here, and the official SDK's where it can read the
recording at all; genai-prices is asked about the usage. The Responses API has `test_responses_recordings.py`.
"""

import asyncio
import base64
import json
import struct
import warnings
from typing import Any

import pytest

from bench.simulator.replay import cut_every
from chatwright.adapters.providers.base import join
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
from chatwright.domain.providers import Usage
from tests.flows.recorded import (
    KEY,
    PROMPT,
    RECORDINGS,
    WRITTEN_HERE,
    Reading,
    Recording,
    byte_by_byte,
    load,
    needs_recordings,
    ours,
    recordings,
    serving,
    streamed,
    ways_to_cut,
)

GOOD = [r for r in recordings("chat.completions") if r.good]
BAD = [r for r in recordings("chat.completions") if not r.good]


def plainly(recording: Recording) -> Reading:
    """The independent reading: whole body, standard json, nothing shared with the wire format."""
    text, finish, usage = "", None, None
    calls: dict[int, list[str]] = {}
    for item in recording.events:
        usage = item.get("usage") or (item.get("x_groq") or {}).get("usage") or usage
        for choice in item.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            finish = choice.get("finish_reason") or finish
            message = (choice.get("delta") if recording.streamed else choice.get("message")) or {}
            content = message.get("content") or ""
            text += (
                content if isinstance(content, str) else "".join(p["text"] for p in content if p.get("type") == "text")
            )
            for position, call in enumerate(message.get("tool_calls") or []):
                held = calls.setdefault(call.get("index", position), ["", "", ""])
                inner = call.get("function") or call.get("custom") or {}
                held[0] = call.get("id") or held[0]
                held[1] = inner.get("name") or held[1]
                held[2] += inner.get("arguments") or inner.get("input") or ""
    counts = None
    if usage:
        details = usage.get("prompt_tokens_details") or {}
        counts = (
            usage["prompt_tokens"],
            details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
            usage["completion_tokens"],
            (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        )
    return Reading(text, finish, counts, tuple((a, b, c) for _, (a, b, c) in sorted(calls.items())))


READ_ELSEWHERE = {
    "responses",
    "messages",
    "generateContent",
    "streamGenerateContent",
    "batchEmbedContents",
    "embedContent",
    "predict",
}
"""APIs with tests of their own beside this file."""
NOT_CALLED = {
    "completions": "completions of a bare text, replaced by chat completions everywhere",
    "models": "lists of models: the catalogue comes from elsewhere",
    "moderations": "no part of an answer",
    "countTokens": "tokens are estimated, never asked for",
    "count_tokens": "tokens are estimated, never asked for",
    "/api/chat": "Ollama's own dialect: it speaks chat completions as well",
    "/api/generate": "Ollama's own dialect: it speaks chat completions as well",
}
"""APIs that no wire format calls, and why."""


def test_every_exchange_is_read_by_a_test_or_left_out_by_name() -> None:
    paths = [*WRITTEN_HERE.glob("*.json"), *RECORDINGS.glob("*/*.json")]
    apis = {json.loads(path.read_text(encoding="utf-8"))["api"] for path in paths}
    assert {"chat.completions", "embeddings", "responses"} <= apis
    assert apis <= {"chat.completions", "embeddings"} | READ_ELSEWHERE | set(NOT_CALLED)


@needs_recordings
def test_there_are_recordings_of_every_sort() -> None:
    assert len(GOOD) >= 110
    assert len(BAD) >= 40
    assert sum(r.streamed for r in GOOD) >= 45
    assert {"azure-openai", "cerebras", "deepseek", "gemini", "groq", "huggingface", "local", "mistral", "openai",
            "openrouter", "perplexity", "together", "zai"} <= {r.provider for r in GOOD}  # fmt: skip


def test_every_good_recording_reads_the_same_at_any_cut() -> None:
    async def check() -> None:
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in GOOD:
                body = recording.body.encode()
                expected = plainly(recording)
                for pieces in ways_to_cut(body):
                    load(replay, recording, pieces)
                    deltas = await streamed(wire, route)
                    assert ours(join(deltas)) == expected, recording.id
                    assert [d.finish is not None for d in deltas] == [False] * (len(deltas) - 1) + [True], recording.id
                load(replay, recording, cut_every(body, 1000))
                assert ours(await wire.complete(route, PROMPT)) == expected, recording.id

    asyncio.run(check())


def test_every_streamed_recording_reads_the_same_byte_by_byte() -> None:
    for recording in (r for r in GOOD if r.streamed):
        deltas = byte_by_byte(recording.body.encode(), ChatReader())
        assert ours(join(deltas)) == plainly(recording), recording.id


def test_every_streamed_recording_is_a_cut_stream_when_it_ends_early() -> None:
    async def check() -> None:
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in (r for r in GOOD if r.streamed):
                body = recording.body.encode()
                marker = body.find(b'"finish_reason":"')
                marker = marker if marker >= 0 else body.find(b'"finish_reason": "')
                assert marker > 0, recording.id
                for end in (marker, body.rfind(b"\n\n", 0, marker) + 2):
                    load(replay, recording, [body[:end]])
                    for replay.close_early in (False, True):
                        with pytest.raises(CutStream):
                            await streamed(wire, route)

    asyncio.run(check())


@needs_recordings
def test_the_official_sdk_reads_the_same() -> None:
    openai = pytest.importorskip("openai")
    compared = 0

    async def check() -> None:
        nonlocal compared
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            sdk = openai.AsyncOpenAI(base_url=route.base_url, api_key=KEY, max_retries=0)
            async with sdk:
                for recording in GOOD:
                    load(replay, recording, cut_every(recording.body.encode(), 1000))
                    mine = ours(join(await streamed(wire, route)))
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        theirs = await by_sdk(sdk, streamed=recording.streamed)
                    if theirs is None:
                        continue
                    compared += 1
                    text, finish, usage, calls = theirs
                    assert (mine.text, mine.finish, mine.calls) == (text, finish, calls), recording.id
                    if usage is not None:
                        assert mine.usage is not None
                        assert (mine.usage[0], mine.usage[2]) == usage, recording.id

    asyncio.run(check())
    assert compared >= 90


async def by_sdk(
    sdk: Any, *, streamed: bool
) -> tuple[str, str | None, tuple[int, int] | None, tuple[tuple[str, str, str], ...]] | None:
    """Text, finish, usage, calls by the SDK; None where its types do not fit the recording (Mistral's lists of parts)."""
    messages = [{"role": "user", "content": "x"}]
    text, finish, usage = "", None, None
    calls: dict[int, list[str]] = {}

    def take(found: Any, place: int) -> None:
        inner = found.function if getattr(found, "function", None) else found.custom
        held = calls.setdefault(place, ["", "", ""])
        held[0] = found.id or held[0]
        held[1] = inner.name or held[1]
        held[2] += getattr(inner, "arguments", None) or getattr(inner, "input", None) or ""

    if not streamed:
        answer = await sdk.chat.completions.create(model="m", messages=messages)
        if not hasattr(answer, "choices"):
            return None  # without a content type the SDK gives the body as text
        message = answer.choices[0].message
        finish, usage = answer.choices[0].finish_reason, answer.usage
        if isinstance(message.content, list):
            return None
        text = message.content or ""
        for place, call in enumerate(message.tool_calls or ()):
            take(call, place)
    else:
        async with await sdk.chat.completions.create(model="m", messages=messages, stream=True) as stream:
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    if choice.index == 0 and choice.delta is not None:
                        if isinstance(choice.delta.content, list):
                            return None
                        text += choice.delta.content or ""
                        finish = choice.finish_reason or finish
                        for place, call in enumerate(choice.delta.tool_calls or ()):
                            take(call, place if call.index is None else call.index)
    counts = (usage.prompt_tokens, usage.completion_tokens) if usage else None
    return text, finish, counts, tuple((a, b, c) for _, (a, b, c) in sorted(calls.items()))


@needs_recordings
def test_genai_prices_reads_the_same_usage() -> None:
    prices = pytest.importorskip("genai_prices")
    compared = 0
    for recording in GOOD:
        mine = plainly(recording)
        with_usage = [event for event in recording.events if event.get("usage")]
        if mine.usage is None or not with_usage:
            continue
        # Its model is one that the library knows: the shape of the usage is what is asked about.
        answer = {**with_usage[-1], "model": "gpt-4.1"}
        usage = prices.extract_usage(answer, provider_id="openai", api_flavor="chat").usage
        assert ((usage.input_tokens or 0), (usage.output_tokens or 0)) == (mine.usage[0], mine.usage[2]), recording.id
        if "prompt_cache_hit_tokens" not in with_usage[-1]["usage"]:  # DeepSeek's older place, unknown to it
            assert (usage.cache_read_tokens or 0) == mine.usage[1], recording.id
        compared += 1
    assert compared >= 85


EXPECTED: dict[str, type[ProviderError]] = {
    "err-auth": AuthenticationError,
    "err-context-length": ContextLengthError,
    "err-rate-limit": RateLimitError,
    "err-truncated-stream": CutStream,
    "err-content-filter": ContentFilterError,
}
NOT_RETRIABLE = {"err-quota": "quota", "err-model-not-found": "model_not_found", "err-invalid-request": "refused"}


def test_every_recorded_error_becomes_the_exception_of_the_table() -> None:
    async def check() -> None:
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in BAD:
                body = recording.body.encode()
                for pieces in ([body], cut_every(body, 7)):
                    load(replay, recording, pieces)
                    for call in (lambda: streamed(wire, route), lambda: wire.complete(route, PROMPT)):
                        with pytest.raises(ProviderError) as caught:
                            await call()
                        check_error(recording, caught.value)

    asyncio.run(check())


def check_error(recording: Recording, error: ProviderError) -> None:
    where = f"{recording.id}: {type(error).__name__} {error.error_class} {error.message}"
    kind = recording.kind
    assert type(error) is EXPECTED.get(kind, ProviderError), where
    if kind in NOT_RETRIABLE:
        assert not error.retriable, where
        assert error.error_class == NOT_RETRIABLE[kind], where
    if kind == "err-server":
        assert error.retriable, where
        assert error.error_class == "server_error", where
    if kind == "err-midstream":
        # The official error codes inside: 400 of Groq and OpenRouter, a server error of OpenAI.
        assert error.retriable == (recording.provider == "openai"), where
    if kind != "err-truncated-stream":
        assert error.upstream_status == recording.status, where
    assert len(error.message) <= 500
    assert KEY not in error.message


@needs_recordings
def test_the_wait_that_a_rate_limit_asks_for_is_the_larger_of_its_headers() -> None:
    async def check() -> None:
        waits: dict[str, float | None] = {}
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in (r for r in BAD if r.kind == "err-rate-limit"):
                load(replay, recording, [recording.body.encode()])
                with pytest.raises(RateLimitError) as caught:
                    await wire.complete(route, PROMPT)
                waits[recording.provider] = caught.value.retry_after_s
        assert waits == {"azure-openai": 1.0, "openai": 3.0, "openrouter": None}

    asyncio.run(check())


def test_every_embeddings_answer_is_read() -> None:
    async def check() -> None:
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in recordings("embeddings"):
                for pieces in ([recording.body.encode()], cut_every(recording.body.encode(), 7)):
                    load(replay, recording, pieces)
                    if not recording.good:
                        with pytest.raises(ProviderError) as caught:
                            await wire.embed(route, ["x"])
                        assert caught.value.error_class == NOT_RETRIABLE[recording.kind]
                        continue
                    data = json.loads(recording.body)
                    got = await wire.embed(route, ["x"] * len(data["data"]))
                    wanted = sorted(data["data"], key=lambda item: item["index"])
                    assert got.vectors == [numbers(item["embedding"], recording) for item in wanted], recording.id
                    assert got.usage == Usage(input_tokens=data["usage"]["prompt_tokens"]), recording.id

    asyncio.run(check())


def numbers(vector: list[float] | str, recording: Recording) -> list[float]:
    """The vector by its provider's documentation: base64 of 32-bit floats, Perplexity's of signed bytes."""
    if not isinstance(vector, str):
        return vector
    raw = base64.b64decode(vector)
    if recording.provider == "perplexity":
        return [float(number) for number in struct.unpack(f"{len(raw)}b", raw)]
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@needs_recordings
def test_the_vectors_as_base64_have_the_size_that_was_asked_for() -> None:
    sizes: dict[str, int] = {}

    async def check() -> None:
        async with serving(OpenAiChat, "openai") as (replay, wire, route):
            for recording in recordings("embeddings"):
                wanted = (recording.request or {}).get("dimensions")
                if recording.good and wanted and recording.provenance != "written-here":
                    load(replay, recording)
                    got = await wire.embed(route, ["x"] * len(json.loads(recording.body)["data"]))
                    sizes[recording.provider] = len(got.vectors[0])
                    assert sizes[recording.provider] == wanted

    asyncio.run(check())
    assert sizes == {"openai": 512, "openrouter": 768, "perplexity": 256}
