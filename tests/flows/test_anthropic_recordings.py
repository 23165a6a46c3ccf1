"""Every exchange with Anthropic's Messages API, served again in pieces and read by the wire format.

Three readings must agree: ours at any cut, a plain one written here, and the official SDK's where it can read the
exchange at all; usage also with `genai-prices`.
"""

import asyncio
import json
from typing import Any

import anthropic
import pytest
from genai_prices import extract_usage

from bench.simulator.replay import cut_every
from chatwright.adapters.providers.anthropic import Anthropic
from chatwright.adapters.providers.anthropic_reading import MessageReader
from chatwright.adapters.providers.base import join
from chatwright.domain.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    CutStream,
    ProviderError,
    RateLimitError,
)
from tests.flows.recorded import (
    KEY,
    PROMPT,
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

ALL = recordings("messages", providers=["anthropic"])
GOOD = [r for r in ALL if r.good]
BAD = [r for r in ALL if not r.good]
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def plainly(recording: Recording) -> Reading:
    """The independent reading: whole body, standard json, nothing shared with the wire format."""
    blocks: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    finish, message_id = None, None
    for event in recording.events:
        kind = event["type"]
        if kind == "message":
            blocks = dict(enumerate(event["content"]))
            usage, finish = event["usage"], event["stop_reason"]
        elif kind == "message_start":
            if event["message"]["id"] != message_id:
                blocks = {}
            message_id = event["message"]["id"]
            usage |= event["message"]["usage"]
        elif kind == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif kind == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            block["text"] = block.get("text", "") + delta.get("text", "")
            block["json"] += delta.get("partial_json", "")
        elif kind == "message_delta":
            finish = event["delta"]["stop_reason"]
            usage |= {name: value for name, value in event["usage"].items() if value is not None}
    steps = usage.get("iterations") or [usage]
    total = {name: sum(step.get(name) or 0 for step in steps) for name in COUNTS}
    return Reading(
        "".join(block["text"] for block in blocks.values() if block["type"] == "text"),
        FINISH.get(finish or "", "other"),
        (
            total["input_tokens"] + total["cache_read_input_tokens"] + total["cache_creation_input_tokens"],
            total["cache_read_input_tokens"],
            total["output_tokens"],
            (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        ),
        tuple(
            (block["id"], block["name"], block.get("json") or json.dumps(block["input"]))
            for block in blocks.values()
            if block["type"] == "tool_use"
        ),
    )


COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def same(mine: Reading, expected: Reading, recording: Recording) -> None:
    """Equal, tool arguments as JSON where they are complete."""
    assert (mine.text, mine.finish, mine.usage) == (expected.text, expected.finish, expected.usage), recording.id
    assert [call[:2] for call in mine.calls] == [call[:2] for call in expected.calls], recording.id
    for (_, _, one), (_, _, other) in zip(mine.calls, expected.calls, strict=True):
        assert one == other or json.loads(one) == json.loads(other), recording.id


def refused(recording: Recording) -> bool:
    reading = plainly(recording)
    return reading.finish == "content_filter" and not reading.text and not reading.calls


@needs_recordings
def test_there_are_recordings_of_every_sort() -> None:
    recorded = [r for r in ALL if r.provenance != "written-here"]
    assert len(recorded) == 53
    assert sum(r.streamed for r in recorded if r.good) >= 20
    assert {r.provider for r in ALL} == {"anthropic"}


def test_every_good_exchange_reads_the_same_at_any_cut() -> None:
    async def check() -> None:
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
            for recording in GOOD:
                if refused(recording):
                    continue
                body = recording.body.encode()
                expected = plainly(recording)
                for pieces in ways_to_cut(body):
                    load(replay, recording, pieces)
                    deltas = await streamed(wire, route)
                    same(ours(join(deltas)), expected, recording)
                    assert [d.finish is not None for d in deltas] == [False] * (len(deltas) - 1) + [True], recording.id
                load(replay, recording, cut_every(body, 1000))
                same(ours(await wire.complete(route, PROMPT)), expected, recording)

    asyncio.run(check())


def test_every_stream_reads_the_same_byte_by_byte() -> None:
    for recording in GOOD:
        if recording.streamed:
            deltas = byte_by_byte(recording.body.encode(), MessageReader())
            same(ours(join(deltas)), plainly(recording), recording)


def test_an_answer_that_was_held_back_is_a_content_filter_error_with_its_usage() -> None:
    async def check() -> int:
        found = 0
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
            for recording in filter(refused, GOOD):
                found += 1
                load(replay, recording, cut_every(recording.body.encode(), 7))
                for call in (lambda: streamed(wire, route), lambda: wire.complete(route, PROMPT)):
                    with pytest.raises(ContentFilterError) as caught:
                        await call()
                    usage, counts = caught.value.usage, plainly(recording).usage
                    assert usage is not None
                    assert counts is not None
                    assert (usage.input_tokens, usage.output_tokens) == (counts[0], counts[2]), recording.id
        return found

    assert asyncio.run(check()) >= 1


def test_every_stream_that_ends_before_message_stop_is_a_cut_stream() -> None:
    async def check() -> None:
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
            for recording in (r for r in GOOD if r.streamed):
                body = recording.body.encode()
                last = max(body.rfind(b"event: message_stop"), body.rfind(b'data: {"type":"message_stop"'))
                delta = max(body.rfind(b"event: message_delta"), body.rfind(b'data: {"type":"message_delta"'))
                assert 0 < delta < last, recording.id
                first = body.find(b"\r\n\r\n") + 4 if b"\r\n" in body else body.find(b"\n\n") + 2
                for end in (first, delta, delta + 20, last, last + 20):
                    load(replay, recording, [body[:end]])
                    for replay.close_early in (False, True):
                        with pytest.raises(CutStream) as caught:
                            await streamed(wire, route)
                        assert caught.value.usage is not None, recording.id

    asyncio.run(check())


# What the SDK cannot read as we do: it knows one message a stream, and takes its last step's usage for the whole.
NOT_THE_SDK = ("spliced", "begun-anew", "duplicate")


def test_the_official_sdk_reads_the_same() -> None:
    async def check() -> int:
        compared = 0
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
            base = route.base_url.removesuffix("/v1")
            async with anthropic.AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0) as sdk:
                for recording in GOOD:
                    if refused(recording) or any(word in recording.id for word in NOT_THE_SDK):
                        continue
                    load(replay, recording, cut_every(recording.body.encode(), 1000))
                    theirs = await by_sdk(sdk, recording)
                    load(replay, recording, cut_every(recording.body.encode(), 7))
                    mine = ours(join(await streamed(wire, route)))
                    assert mine.text == "".join(b.text for b in theirs.content if b.type == "text"), recording.id
                    assert mine.finish == FINISH[theirs.stop_reason or ""], recording.id
                    calls = [(b.id, b.name, b.input) for b in theirs.content if b.type == "tool_use"]
                    if theirs.stop_reason != "max_tokens":
                        assert [(a, b, json.loads(c)) for a, b, c in mine.calls] == calls, recording.id
                    usage = theirs.usage
                    if '"iterations"' not in recording.body:
                        total = (
                            usage.input_tokens
                            + (usage.cache_read_input_tokens or 0)
                            + (usage.cache_creation_input_tokens or 0)
                        )
                        assert mine.usage is not None
                        assert (mine.usage[0], mine.usage[2]) == (total, usage.output_tokens), recording.id
                    compared += 1
        return compared

    assert asyncio.run(check()) >= 5


async def by_sdk(sdk: anthropic.AsyncAnthropic, recording: Recording) -> anthropic.types.Message:
    if not recording.streamed:
        return await sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    async with sdk.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream:
        return await stream.get_final_message()


def test_usage_agrees_with_genai_prices() -> None:
    async def check() -> int:
        compared = 0
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
            for recording in GOOD:
                if refused(recording) or '"iterations"' in recording.body:
                    continue
                events = recording.events
                usage: dict[str, Any] = {}
                for event in events:
                    usage |= (event.get("message") or {}).get("usage") or {}
                    usage |= event.get("usage") or {}
                theirs = extract_usage({"model": "claude-haiku-4-5", "usage": usage}, provider_id="anthropic").usage
                load(replay, recording)
                mine = (await wire.complete(route, PROMPT)).usage
                assert mine is not None
                assert (mine.input_tokens, mine.output_tokens) == (theirs.input_tokens, theirs.output_tokens)
                assert mine.cached_tokens == (theirs.cache_read_tokens or 0), recording.id
                assert mine.cache_write_tokens == (theirs.cache_write_tokens or 0), recording.id
                compared += 1
        return compared

    assert asyncio.run(check()) >= 5


EXPECTED: dict[str, type[ProviderError]] = {
    "err-auth": AuthenticationError,
    "err-context-length": ContextLengthError,
    "err-rate-limit": RateLimitError,
    "err-truncated-stream": CutStream,
}
CLASSES = {
    "err-quota": (False, "quota"),
    "err-model-not-found": (False, "model_not_found"),
    "err-invalid-request": (False, "refused"),
    "err-server": (True, "server_error"),
    "err-midstream": (True, "server_error"),
}


def test_every_error_becomes_the_exception_of_the_table() -> None:
    async def check() -> None:
        async with serving(Anthropic, "anthropic") as (replay, wire, route):
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
    assert type(error) is EXPECTED.get(recording.kind, ProviderError), where
    if recording.kind in CLASSES:
        assert (error.retriable, error.error_class) == CLASSES[recording.kind], where
    if recording.kind == "err-rate-limit":
        assert error.retry_after_s == float(recording.headers["retry-after"]), where
    if recording.status == 200:
        # Broken off inside the answer: what was reported of it is charged.
        assert error.usage is not None, where
    assert error.upstream_status == recording.status, where
    assert len(error.message) <= 500
    assert KEY not in error.message
