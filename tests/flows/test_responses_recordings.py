"""Every recorded answer of the Responses API, served again in pieces and read by the wire format.

The streams' deltas must say what their last event repeats as a whole; the official SDK and genai-prices are asked too.
"""

import asyncio
import json
import warnings
from typing import Any

import pytest

from bench.simulator.replay import cut_every
from chatwright.adapters.providers.base import join
from chatwright.adapters.providers.responses_reading import ResponsesReader
from chatwright.domain.errors import AuthenticationError, ContextLengthError, CutStream, ProviderError
from tests.flows.recorded import (
    KEY,
    PROMPT,
    Reading,
    Recording,
    byte_by_byte,
    needs_recordings,
    ours,
    recordings,
    streamed,
    ways_to_cut,
)
from tests.flows.responses_support import responses_server

GOOD = [r for r in recordings("responses") if r.good]
BAD = [r for r in recordings("responses") if not r.good]


def finished(recording: Recording) -> dict[str, Any]:
    """The whole answer: the body, or what the last event of a stream repeats."""
    last = recording.events[-1]
    return last["response"] if recording.streamed else last


def plainly(recording: Recording) -> Reading:
    """The independent reading, of the finished answer only."""
    answer = finished(recording)
    text, calls = "", []
    for item in answer["output"]:
        if item["type"] == "message":
            text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
        elif item["type"] == "function_call":
            calls.append((item["call_id"], item["name"], item["arguments"]))
    if answer["status"] == "incomplete":
        finish = {"max_output_tokens": "length", "content_filter": "content_filter"}[
            answer["incomplete_details"]["reason"]
        ]
    else:
        assert answer["status"] == "completed"
        finish = "tool_calls" if calls else "stop"
    usage = answer["usage"]
    counts = (
        usage["input_tokens"],
        usage["input_tokens_details"]["cached_tokens"],
        usage["output_tokens"],
        usage["output_tokens_details"]["reasoning_tokens"],
    )
    return Reading(text, finish, counts if any(counts) else None, tuple(calls))


@needs_recordings
def test_there_are_recordings_of_every_sort() -> None:
    assert len(GOOD) >= 45
    assert len(BAD) >= 13
    assert sum(r.streamed for r in GOOD) >= 18
    assert {"openai", "azure-openai", "local", "deepseek", "openrouter", "xai"} <= {r.provider for r in GOOD}


def test_every_good_recording_reads_the_same_at_any_cut() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            for recording in GOOD:
                body = recording.body.encode()
                expected = plainly(recording)
                for pieces in ways_to_cut(body):
                    server.load(recording, pieces)
                    deltas = await streamed(wire, route)
                    assert ours(join(deltas)) == expected, recording.id
                    assert [d.finish is not None for d in deltas] == [False] * (len(deltas) - 1) + [True], recording.id
                server.load(recording, cut_every(body, 1000))
                assert ours(await wire.complete(route, PROMPT)) == expected, recording.id
            assert server.paths.count("/v1/chat/completions") == 1

    asyncio.run(check())


def test_every_streamed_recording_reads_the_same_byte_by_byte() -> None:
    for recording in (r for r in GOOD if r.streamed):
        assert ours(join(byte_by_byte(recording.body.encode(), ResponsesReader()))) == plainly(recording), recording.id


def test_reasoning_is_read_and_never_shown() -> None:
    read = 0
    for recording in (r for r in GOOD if r.streamed):
        wanted = "".join(
            (part.get("text") or "")
            for item in finished(recording)["output"]
            if item["type"] == "reasoning"
            for part in item.get("content") or item.get("summary") or ()
        )
        deltas = byte_by_byte(recording.body.encode(), ResponsesReader())
        assert "".join(delta.reasoning for delta in deltas) == wanted, recording.id
        read += bool(wanted)
    assert read >= 1


def test_every_streamed_recording_is_a_cut_stream_when_it_ends_early() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            for recording in (r for r in GOOD if r.streamed):
                body = recording.body.encode()
                last = max(body.rfind(b'"type":"response.' + kind) for kind in (b"completed", b"incomplete"))
                last = last if last >= 0 else body.rfind(b'"type": "response.')
                before = body.rfind(b"\n\n", 0, last) + 2
                assert 2 < before < last, recording.id
                for end in (before, last + 30, len(body.rstrip()) // 2):
                    server.load(recording, [body[:end]])
                    for server.replay.close_early in (False, True):
                        with pytest.raises(CutStream):
                            await streamed(wire, route)
                server.replay.close_early = False
                server.load(recording, [body[:before] + b"data: [DONE]\n\n"])
                with pytest.raises(CutStream):
                    await streamed(wire, route)

    asyncio.run(check())


@needs_recordings
def test_the_official_sdk_reads_the_same() -> None:
    openai = pytest.importorskip("openai")

    async def check() -> int:
        compared = 0
        async with responses_server() as (server, _, route):
            sdk = openai.AsyncOpenAI(base_url=route.base_url, api_key=KEY, max_retries=0)
            async with sdk:
                for recording in GOOD:
                    server.load(recording, cut_every(recording.body.encode(), 1000))
                    server.headers = {"content-type": "text/event-stream" if recording.streamed else "application/json"}
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        answer, deltas = await by_sdk(sdk, streamed=recording.streamed)
                    mine = plainly(recording)
                    assert answer.output_text == mine.text, recording.id
                    assert not recording.streamed or deltas == mine.text, recording.id
                    calls = [(i.call_id, i.name, i.arguments) for i in answer.output if i.type == "function_call"]
                    assert tuple(calls) == mine.calls, recording.id
                    if mine.usage is not None:
                        assert (answer.usage.input_tokens, answer.usage.output_tokens) == mine.usage[::2], recording.id
                    compared += 1
        return compared

    assert asyncio.run(check()) >= 45


async def by_sdk(sdk: Any, *, streamed: bool) -> tuple[Any, str]:
    """The finished answer, and a stream's text deltas, by the SDK."""
    if not streamed:
        return await sdk.responses.create(model="m", input="x"), ""
    answer, text = None, ""
    async with await sdk.responses.create(model="m", input="x", stream=True) as events:
        async for event in events:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type in ("response.completed", "response.incomplete"):
                answer = event.response
    return answer, text


@needs_recordings
def test_genai_prices_reads_the_same_usage() -> None:
    prices = pytest.importorskip("genai_prices")
    for recording in GOOD:
        mine = plainly(recording)
        if mine.usage is None:
            continue
        # Its model is one that the library knows: the shape of the usage is what is asked about.
        usage = prices.extract_usage(
            {**finished(recording), "model": "gpt-5"}, provider_id="openai", api_flavor="responses"
        ).usage
        assert (usage.input_tokens or 0, usage.cache_read_tokens or 0, usage.output_tokens or 0) == mine.usage[:3], (
            recording.id
        )


def test_tokens_written_to_the_cache_are_counted() -> None:
    written = [r for r in GOOD if "cache-write" in r.tags]
    assert written
    for recording in written:
        reader = ResponsesReader()
        reader.read_whole(json.dumps(finished(recording)).encode())
        usage = reader.usage_now()
        assert usage is not None
        details = finished(recording)["usage"]["input_tokens_details"]
        assert usage.cache_write_tokens == details["cache_write_tokens"] > 0


EXPECTED: dict[str, type[ProviderError]] = {
    "err-auth": AuthenticationError,
    "err-context-length": ContextLengthError,
    "err-truncated-stream": CutStream,
}
CLASSES = {
    "err-in-200": "quota",
    "err-midstream": "quota",
    "err-model-not-found": "model_not_found",
    "err-invalid-request": "refused",
}


def test_every_recorded_error_becomes_the_exception_of_the_table() -> None:
    async def check() -> None:
        async with responses_server() as (server, wire, route):
            server.say({"type": "response.completed", "response": {"status": "completed"}})
            await streamed(wire, route)  # from here on it knows the model's API
            for recording in BAD:
                body = recording.body.encode()
                for pieces in ([body], cut_every(body, 7)):
                    server.load(recording, pieces)
                    for call in (lambda: streamed(wire, route), lambda: wire.complete(route, PROMPT)):
                        with pytest.raises(ProviderError) as caught:
                            await call()
                        error = caught.value
                        where = f"{recording.id}: {type(error).__name__} {error.error_class} {error.message}"
                        assert type(error) is EXPECTED.get(recording.kind, ProviderError), where
                        assert error.error_class == CLASSES.get(recording.kind, error.error_class), where
                        assert error.retriable == (recording.kind == "err-truncated-stream"), where
                        assert error.upstream_status == recording.status, where
                        assert KEY not in error.message
            assert server.paths.count("/v1/chat/completions") == 1

    asyncio.run(check())
