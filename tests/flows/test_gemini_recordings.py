"""Every exchange with Gemini and Vertex AI, served again in pieces and read by the wire format.

Ours at any cut must agree with a plain reading written here, with the official SDK where it can read the exchange, and
on usage with `genai_prices`.
"""

import asyncio
import itertools
import json
import warnings
from typing import Any

import pytest
from genai_prices import extract_usage

from bench.simulator.replay import cut_every
from chatwright.adapters.providers.base import join
from chatwright.adapters.providers.gemini import Gemini
from chatwright.adapters.providers.gemini_reading import GeminiReader
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

GENERATE = ("generateContent", "streamGenerateContent")
EMBED = ("batchEmbedContents", "embedContent", "predict", "embeddings")
PROVIDERS = ("gemini", "vertex")
ALL = recordings(*GENERATE, providers=PROVIDERS)
BAD = tuple(r for r in ALL if not r.good)
HELD_BACK = {"blocked-prompt", "finish-safety"}
GOOD = tuple(r for r in ALL if r.good and r.kind not in HELD_BACK)
EMBEDDINGS = tuple(
    r
    for r in recordings(*EMBED, providers=PROVIDERS)
    if "mbed" in r.api or r.api == "predict" or r.kind == "embeddings"
)
FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}


def chunks_of(recording: Recording) -> list[dict[str, Any]]:
    """The answer's objects, read with nothing shared with the wire format."""
    if recording.streamed:
        return recording.events
    whole = json.loads(recording.body)
    return whole if isinstance(whole, list) else [whole]


def plainly(recording: Recording) -> Reading:
    text, finish = "", None
    calls: list[tuple[str, str, Any]] = []
    counts: dict[str, int] = {}
    for chunk in chunks_of(recording):
        counts |= {k: v for k, v in (chunk.get("usageMetadata") or {}).items() if k.endswith("Count")}
        for candidate in chunk.get("candidates") or []:
            if candidate.get("index", 0):
                continue
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts") or []:
                text += part["text"] if part.get("text") and not part.get("thought") else ""
                call = part.get("functionCall")
                if call and call.get("name"):
                    calls.append((call.get("id", ""), call["name"], call.get("args") or {}))
                for piece in (call or {}).get("partialArgs") or []:
                    put(calls[-1][2], piece)
    usage = None
    if {"promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"} & set(counts):
        thoughts = counts.get("thoughtsTokenCount", 0)
        usage = (
            counts.get("promptTokenCount", 0) + counts.get("toolUsePromptTokenCount", 0),
            counts.get("cachedContentTokenCount", 0),
            counts.get("candidatesTokenCount", 0) + thoughts,
            thoughts,
        )
    named = "tool_calls" if calls and finish == "STOP" else FINISH[finish] if finish else None
    return Reading(text, named, usage, tuple((i, n, json.dumps(a, sort_keys=True)) for i, n, a in calls))


def put(arguments: dict[str, Any], piece: dict[str, Any]) -> None:
    """One piece of streamed arguments, by eval of its path: slow and plain. A text grows by each of its pieces."""
    steps = [
        int(step) if step.isdigit() else step
        for step in piece["jsonPath"].removeprefix("$").replace("[", ".").replace("]", "").strip(".").split(".")
    ]
    holder: Any = arguments
    for step, following in itertools.pairwise(steps):
        if isinstance(holder, list) and len(holder) == step:
            holder.append([] if isinstance(following, int) else {})
        elif isinstance(holder, dict):
            holder.setdefault(step, [] if isinstance(following, int) else {})
        holder = holder[step]
    last = steps[-1]
    if isinstance(holder, list) and len(holder) == last:
        holder.append(None)
    if "stringValue" in piece:
        before = (holder.get(last) if isinstance(holder, dict) else holder[last]) or ""
        holder[last] = before + piece["stringValue"]
    else:
        holder[last] = piece.get("numberValue", piece.get("boolValue"))


def same(mine: Reading, expected: Reading) -> bool:
    """Ids that Google did not give are ours to make; arguments are compared as values."""
    calls = tuple((i, n, json.dumps(json.loads(a), sort_keys=True)) for i, n, a in mine.calls)
    made = [call_id for call_id, _, _ in calls]
    given = tuple((e[0] and i, n, a) for (i, n, a), e in zip(calls, expected.calls, strict=True))
    return (
        (mine.text, mine.finish, mine.usage, given) == (expected.text, expected.finish, expected.usage, expected.calls)
        and all(made)
        and len(set(made)) == len(made)
    )


def test_there_are_exchanges_of_every_sort() -> None:
    written = [r for r in ALL if r.provenance == "written-here"]
    assert len(written) >= 24
    assert {r.provider for r in written} == set(PROVIDERS)
    assert sum(r.streamed for r in GOOD if r.provenance == "written-here") >= 5


@needs_recordings
def test_there_are_recordings_of_every_sort() -> None:
    recorded = [r for r in ALL if r.provenance != "written-here"]
    assert len(recorded) >= 47
    assert sum("crlf" in r.tags for r in recorded) >= 10


def test_every_good_exchange_reads_the_same_at_any_cut() -> None:
    async def check() -> None:
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in GOOD:
                body = recording.body.encode()
                expected = plainly(recording)
                for pieces in ways_to_cut(body):
                    load(replay, recording, pieces)
                    deltas = await streamed(wire, route)
                    assert same(ours(join(deltas)), expected), recording.id
                    assert [d.finish is not None for d in deltas] == [False] * (len(deltas) - 1) + [True], recording.id
                load(replay, recording, cut_every(body, 1000))
                assert same(ours(await wire.complete(route, PROMPT)), expected), recording.id

    asyncio.run(check())


def test_every_streamed_exchange_reads_the_same_byte_by_byte() -> None:
    for recording in (r for r in GOOD if r.streamed):
        deltas = byte_by_byte(recording.body.encode(), GeminiReader())
        assert same(ours(join(deltas)), plainly(recording)), recording.id


def test_every_streamed_exchange_is_a_cut_stream_when_it_ends_early() -> None:
    async def check() -> int:
        cuts = 0
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in (r for r in GOOD if r.streamed):
                body = recording.body.encode()
                marker = body.find(b'"finishReason"')
                assert marker > 0, recording.id
                for end in {marker, max(0, body.rfind(b"data:", 0, marker))}:
                    load(replay, recording, [body[:end]] if end else [b": nothing\r\n\r\n"])
                    for replay.close_early in (False, True):
                        with pytest.raises(CutStream):
                            await streamed(wire, route)
                        cuts += 1
        return cuts

    assert asyncio.run(check()) >= 20


def test_thoughts_are_reasoning_and_never_text() -> None:
    async def check() -> int:
        seen = 0
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in GOOD:
                parts = [
                    part
                    for chunk in chunks_of(recording)
                    for part in (chunk["candidates"][0].get("content") or {}).get("parts") or []
                ]
                load(replay, recording)
                deltas = await streamed(wire, route)
                thoughts = "".join(part["text"] for part in parts if part.get("thought"))
                assert "".join(delta.reasoning for delta in deltas) == thoughts, recording.id
                seen += bool(thoughts)
        return seen

    assert asyncio.run(check()) >= 1


def test_signatures_of_calls_are_given_out_where_they_can_be_given_back() -> None:
    async def check() -> int:
        seen = 0
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in (r for r in GOOD if r.kind.startswith("tools")):
                parts = [
                    part
                    for chunk in chunks_of(recording)
                    for part in (chunk["candidates"][0].get("content") or {}).get("parts") or []
                    if (part.get("functionCall") or {}).get("name")
                ]
                load(replay, recording)
                calls = (await wire.complete(route, PROMPT)).tool_calls or []
                found = [call.get("extra_content", {}).get("google", {}).get("thought_signature") for call in calls]
                assert found == [part.get("thoughtSignature") for part in parts], recording.id
                seen += sum(signature is not None for signature in found)
        return seen

    assert asyncio.run(check()) >= 3


def test_usage_is_what_genai_prices_reads() -> None:
    compared = 0
    for recording in (r for r in GOOD if r.provider in PROVIDERS):
        usage = plainly(recording).usage
        if usage is None:
            continue
        theirs = extract_usage(chunks_of(recording)[-1], provider_id="google").usage
        if recording.kind == "finish-safety-stream":
            continue  # its last chunk leaves out what the one before had counted
        assert (theirs.input_tokens, theirs.cache_read_tokens or 0, theirs.output_tokens or 0) == usage[:3], (
            recording.id
        )
        compared += 1
    assert compared >= 8


def test_the_official_sdk_reads_the_same() -> None:
    genai = pytest.importorskip("google.genai")
    compared = 0

    async def check() -> None:
        nonlocal compared
        async with serving(Gemini, "gemini") as (replay, wire, route):
            options = genai.types.HttpOptions(base_url=route.base_url, api_version="v1beta")
            client = genai.Client(api_key=KEY, http_options=options)
            try:
                for recording in GOOD:
                    if recording.api == "streamGenerateContent" and not recording.streamed:
                        continue  # the SDK does not read what comes without alt=sse
                    load(replay, recording, cut_every(recording.body.encode(), 1000))
                    mine = ours(join(await streamed(wire, route)))
                    text, finish, counts, calls = await by_sdk(client, streamed=recording.streamed)
                    assert mine.text == text, recording.id
                    assert mine.finish == ("tool_calls" if calls and finish == "STOP" else FINISH[finish]), recording.id
                    names = [(name, json.loads(arguments)) for _, name, arguments in mine.calls]
                    assert [name for name, _ in names] == [name for name, _ in calls], recording.id
                    # The SDK leaves arguments that come in pieces to its caller.
                    assert all(not given or given == made for (_, made), (_, given) in zip(names, calls, strict=True))
                    if counts is not None and recording.kind != "finish-safety-stream":
                        assert mine.usage is not None
                        assert (mine.usage[0], mine.usage[2]) == counts, recording.id
                    compared += 1
            finally:
                await client.aio.aclose()
                client.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(check())
    assert compared >= 9


async def by_sdk(
    client: Any, *, streamed: bool
) -> tuple[str, str, tuple[int, int] | None, list[tuple[str, dict[str, Any]]]]:
    """Text, finish, usage and calls by the SDK."""
    if streamed:
        answers = [a async for a in await client.aio.models.generate_content_stream(model="m", contents="x")]
    else:
        answers = [await client.aio.models.generate_content(model="m", contents="x")]
    text, finish, usage = "", "", None
    calls: list[tuple[str, dict[str, Any]]] = []
    for answer in answers:
        usage = answer.usage_metadata or usage
        candidate = answer.candidates[0]
        finish = candidate.finish_reason.name if candidate.finish_reason else finish
        for part in (candidate.content.parts if candidate.content else None) or []:
            if part.text and not part.thought:
                text += part.text
            if part.function_call and part.function_call.name:
                calls.append((part.function_call.name, part.function_call.args or {}))
    counts = None
    if usage is not None and usage.prompt_token_count is not None:
        counts = (
            usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0),
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        )
    return text, finish, counts, calls


def test_what_google_holds_back_is_a_content_filter_error_with_its_usage() -> None:
    held = [r for r in ALL if r.kind in HELD_BACK]
    assert len(held) >= 3

    async def check() -> None:
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in held:
                for pieces in ways_to_cut(recording.body.encode()):
                    load(replay, recording, pieces)
                    with pytest.raises(ContentFilterError) as caught:
                        await streamed(wire, route)
                    usage, expected = caught.value.usage, plainly_used(recording)
                    assert (usage and (usage.input_tokens, usage.output_tokens)) == expected, recording.id
                with pytest.raises(ContentFilterError):
                    await wire.complete(route, PROMPT)

    asyncio.run(check())


def plainly_used(recording: Recording) -> tuple[int, int] | None:
    usage = chunks_of(recording)[-1].get("usageMetadata", {})
    if "promptTokenCount" not in usage:
        return None
    return usage["promptTokenCount"], usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)


def test_an_answer_that_is_stopped_after_its_first_text_keeps_it_and_says_so() -> None:
    recording = next(r for r in GOOD if r.kind == "finish-safety-stream")

    async def check() -> None:
        async with serving(Gemini, "gemini") as (replay, wire, route):
            load(replay, recording)
            got = join(await streamed(wire, route))
            assert (got.text, got.finish.value) == ("Take a ", "content_filter")
            assert got.usage == Usage(input_tokens=9, output_tokens=3)

    asyncio.run(check())


EXPECTED: dict[str, type[ProviderError]] = {
    "err-auth": AuthenticationError,
    "err-context-length": ContextLengthError,
    "err-rate-limit": RateLimitError,
    "err-truncated-stream": CutStream,
}
NOT_RETRIABLE = {"err-quota": "quota", "err-model-not-found": "model_not_found", "err-invalid-request": "refused"}


def test_every_error_becomes_the_exception_of_the_table() -> None:
    async def check() -> int:
        seen = 0
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in BAD:
                calls = [lambda: streamed(wire, route)]
                if not recording.streamed:
                    calls.append(lambda: wire.complete(route, PROMPT))  # type: ignore[arg-type,return-value]
                for pieces in ways_to_cut(recording.body.encode()):
                    load(replay, recording, pieces)
                    for call in calls:
                        with pytest.raises(ProviderError) as caught:
                            await call()
                        check_error(recording, caught.value)
                        seen += 1
        return seen

    assert asyncio.run(check()) >= 100


def check_error(recording: Recording, error: ProviderError) -> None:
    where = f"{recording.id}: {type(error).__name__} {error.error_class} {error.message}"
    kind = recording.kind
    assert type(error) is EXPECTED.get(kind, ProviderError), where
    if kind in NOT_RETRIABLE:
        assert (error.retriable, error.error_class) == (False, NOT_RETRIABLE[kind]), where
    if kind in ("err-server", "err-midstream"):
        own = (
            "broken_answer" if "MALFORMED" in recording.body else "server_error"
        )  # the model's fault, not the server's
        assert (error.retriable, error.error_class) == (True, own), where
    if kind != "err-truncated-stream":
        assert error.upstream_status == recording.status, where
    assert len(error.message) <= 500
    assert KEY not in error.message


def test_the_wait_is_read_from_the_body() -> None:
    async def check() -> dict[str, float | None]:
        waits: dict[str, float | None] = {}
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in (r for r in BAD if r.kind == "err-rate-limit"):
                load(replay, recording)
                with pytest.raises(RateLimitError) as caught:
                    await wire.complete(route, PROMPT)
                waits[recording.id] = caught.value.retry_after_s
        return waits

    waits = asyncio.run(check())
    assert waits["exchanges/gemini-err-rate-limit"] == 7.25
    assert waits["exchanges/vertex-err-rate-limit"] is None
    assert set(waits.values()) <= {7.25, None, 48.0}


def test_embeddings_of_every_form_are_read() -> None:
    async def check() -> int:
        read = 0
        async with serving(Gemini, "gemini") as (replay, wire, route):
            for recording in EMBEDDINGS:
                data = json.loads(recording.body)
                load(replay, recording)
                if recording.status != 200:
                    with pytest.raises(ProviderError) as caught:
                        await wire.embed(route, ["x"])
                    check_error(recording, caught.value)
                    continue
                found = (
                    data.get("embeddings")
                    or ([data["embedding"]] if "embedding" in data else None)
                    or [one["embeddings"] for one in data["predictions"]]
                )
                got = await wire.embed(route, ["x"] * len(found))
                assert got.vectors == [one["values"] for one in found], recording.id
                tokens = data.get("usageMetadata", {}).get("promptTokenCount")
                if tokens is None and "predictions" in data:
                    tokens = sum(one["statistics"]["token_count"] for one in found)
                assert got.usage == (Usage(input_tokens=tokens) if tokens else None), recording.id
                with pytest.raises(ProviderError) as caught:
                    await wire.embed(route, ["x"] * (len(found) + 1))
                assert caught.value.error_class == "malformed", recording.id
                read += 1
        return read

    assert asyncio.run(check()) >= 3
