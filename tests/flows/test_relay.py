"""The relay: deltas in, pieces out. Nothing lost, doubled or held longer than promised, whatever the timing."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.adapters.valkey import StreamLog, open_channel, open_link
from chatwright.domain import events
from chatwright.domain.errors import ContentBlocked, CutStream, LostLock, ProviderError, Unavailable
from chatwright.domain.ids import ConversationId, MessageId, TenantId, new_id
from chatwright.domain.providers import Delta, Finish, Usage
from chatwright.pipeline.hold_back import PassThrough
from chatwright.pipeline.stream import ConversationSink, Progress, relay


class Pieces:
    """A sink that remembers what came and when, and may be slow or fail."""

    def __init__(self, delay_s: float = 0.0, fail_at: int | None = None, error: Exception | None = None) -> None:
        self.texts: list[str] = []
        self.times_s: list[float] = []
        self.delay_s = delay_s
        self.fail_at = fail_at
        self.error = error
        self.busy = False

    async def chunk(self, text: str) -> None:
        assert text
        assert not self.busy, "calls overlap"
        self.busy = True
        try:
            if self.fail_at == len(self.texts) and self.error is not None:
                raise self.error
            self.texts.append(text)
            self.times_s.append(time.monotonic())
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
        finally:
            self.busy = False


class Upstream:
    """A provider's stream: steps are texts, pauses in seconds or an error; knows whether it was closed."""

    def __init__(self, steps: Sequence[str | float | Exception], *, finish: bool = True) -> None:
        self.steps = steps
        self.finish = finish
        self.given = 0
        self.closed = False

    async def deltas(self) -> AsyncGenerator[Delta]:
        try:
            for step in self.steps:
                if isinstance(step, str):
                    self.given += 1
                    yield Delta(text=step, model="m")
                elif isinstance(step, Exception):
                    raise step
                else:
                    await asyncio.sleep(step)
            if self.finish:
                yield Delta(finish=Finish.STOP)
                yield Delta(usage=Usage(output_tokens=self.given))
        finally:
            self.closed = True


def run(coroutine: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        before = asyncio.all_tasks()
        async with asyncio.timeout(20):
            result = await coroutine
        assert asyncio.all_tasks() == before, "a task was left behind"
        return result

    return asyncio.run(bounded())


class Window:
    """Holds the last `size` characters back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = ""

    def feed(self, text: str) -> str:
        self.held += text
        cut = max(len(self.held) - self.size, 0)
        out, self.held = self.held[:cut], self.held[cut:]
        return out

    def finish(self) -> str:
        out, self.held = self.held, ""
        return out


# Without NUL, which is dropped on the way: test_durability.py has a test of its own for it.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
PAUSES = st.sampled_from([0.0, 0.0, 0.0005, 0.002])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(TEXTS | PAUSES, max_size=40),
    sink_delay_s=PAUSES,
    coalesce_s=st.sampled_from([0.0, 0.001, 0.005]),
    window=st.integers(0, 6),
    fails=st.booleans(),
)
def test_the_pieces_are_the_deltas_whatever_the_timing(
    steps: list[str | float],
    sink_delay_s: float,
    coalesce_s: float,
    window: int,
    fails: bool,
) -> None:
    failure = ProviderError("cut", retriable=True)
    upstream = Upstream([*steps, failure] if fails else steps)
    sink = Pieces(sink_delay_s)
    progress = Progress()
    relayed = run(
        relay(
            upstream.deltas(),
            sink,
            coalesce_s=coalesce_s,
            hold_back=Window(window) if window else None,
            progress=progress,
        )
    )
    whole = "".join(step for step in steps if isinstance(step, str))
    assert "".join(sink.texts) == whole == relayed.text == progress.text
    assert relayed.chunks == len(sink.texts)
    assert (relayed.first_text_at_s is None) == (whole == "")
    assert upstream.closed
    if fails:
        assert relayed.error is failure
    else:
        assert (relayed.error, relayed.finish) == (None, Finish.STOP)
        assert relayed.usage == Usage(output_tokens=upstream.given)


def test_the_first_text_goes_at_once_and_later_text_within_the_window() -> None:
    upstream = Upstream(["a", "b", "c", 0.2, "d", 0.005, "e", 0.2])
    sink = Pieces()
    started_s = time.monotonic()
    run(relay(upstream.deltas(), sink, coalesce_s=0.05))
    # "a" at once, "b" and "c" when the window ends although no delta comes, "d" at once after the silence, then "e".
    assert sink.texts[-2:] == ["d", "e"]
    assert "".join(sink.texts[:-2]) == "abc"
    assert len(sink.texts) in {3, 4}
    at_s = [moment - started_s for moment in sink.times_s]
    assert at_s[0] < 0.04
    assert at_s[-3] < 0.15
    assert 0.19 < at_s[-2] < 0.245
    assert 0.045 < at_s[-1] - at_s[-2] < 0.15


def test_neither_the_end_nor_what_was_held_back_waits_for_the_window() -> None:
    started_s = time.monotonic()
    sink = Pieces()
    run(relay(Upstream(["a", 0.01, "b", 0.05]).deltas(), sink, coalesce_s=5.0))
    assert sink.texts == ["a", "b"]
    sink = Pieces()
    run(relay(Upstream(["ab", 0.01, "cd", 0.2]).deltas(), sink, coalesce_s=5.0, hold_back=Window(3)))
    assert sink.texts == ["a", "bcd"]
    assert sink.times_s[1] - sink.times_s[0] > 0.15, "the first text that may go out goes at once"
    assert time.monotonic() - started_s < 2


def test_a_slow_sink_makes_pieces_longer_not_the_queue() -> None:
    upstream = Upstream([step for _ in range(200) for step in ("x", 0.001)])
    sink = Pieces(delay_s=0.05)
    started_s = time.monotonic()
    run(relay(upstream.deltas(), sink, coalesce_s=0.001))
    took_s = time.monotonic() - started_s
    assert len(sink.texts) <= took_s / 0.05 + 1
    assert max(map(len, sink.texts)) > 10
    assert sum(map(len, sink.texts)) == 200


def test_a_stuck_sink_stops_the_upstream_at_a_bound() -> None:
    upstream = Upstream(["x" * 1000, 0.0] * 1000)
    sink = Pieces(delay_s=0.3)

    async def scenario() -> None:
        task = asyncio.create_task(relay(upstream.deltas(), sink))
        await asyncio.sleep(0.2)
        assert 60 <= upstream.given <= 70
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())


def test_an_upstream_that_ends_without_a_finish_is_cut_and_its_text_is_kept() -> None:
    sink = Pieces()
    relayed = run(relay(Upstream(["ab", "cd"], finish=False).deltas(), sink))
    assert isinstance(relayed.error, CutStream)
    assert relayed.text == "".join(sink.texts) == "abcd"


@pytest.mark.parametrize("error", [LostLock("another attempt"), Unavailable("away"), ContentBlocked("no")])
def test_a_failing_sink_stops_reading_and_closes_the_upstream(error: Exception) -> None:
    upstream = Upstream(["a", 0.01] * 1000)
    sink = Pieces(fail_at=2, error=error)
    progress = Progress()
    with pytest.raises(type(error)) as caught:
        run(relay(upstream.deltas(), sink, coalesce_s=0.001, progress=progress))
    assert caught.value is error
    assert upstream.closed
    assert upstream.given < 20
    assert progress.text.startswith("".join(sink.texts))


def test_a_defect_of_the_upstream_rises_as_it_is() -> None:
    upstream = Upstream(["a", KeyError("defect")])
    with pytest.raises(KeyError):
        run(relay(upstream.deltas(), Pieces()))
    assert upstream.closed


def test_a_cancellation_sends_no_more_closes_the_upstream_and_leaves_the_partial_text() -> None:
    upstream = Upstream(["a", 0.02, "b", "c", 10.0, "never"])
    sink = Pieces()
    progress = Progress()

    async def scenario() -> None:
        task = asyncio.create_task(relay(upstream.deltas(), sink, coalesce_s=0.5, progress=progress))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = list(sink.texts)
        await asyncio.sleep(0.05)
        assert sink.texts == sent == ["a"]

    run(scenario())
    assert upstream.closed
    assert progress.text == "a"
    assert progress.model == "m"


def test_a_deadline_of_the_caller_is_a_time_out_there() -> None:
    upstream = Upstream(["a", 10.0])

    async def scenario() -> None:
        async with asyncio.timeout(0.05):
            await relay(upstream.deltas(), Pieces())

    with pytest.raises(TimeoutError):
        run(scenario())
    assert upstream.closed


@given(st.text("a\u00e9\U0001f600\U0001f468\u200d\u0301", max_size=20), st.data())
def test_halves_of_characters_never_go_out(text: str, data: st.DataObject) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    halves = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    pieces: list[str] = []
    while halves:
        count = data.draw(st.integers(1, 3))
        pieces.append("".join(halves[:count]))
        halves = halves[count:]
    window = PassThrough()
    out = [*(window.feed(piece) for piece in pieces), window.finish()]
    assert "".join(out) == text
    for piece in out:
        piece.encode()


def test_a_lone_half_becomes_a_replacement_character() -> None:
    window = PassThrough()
    assert [window.feed("a\ud83d"), window.feed("b"), window.feed("\udc00c\ud800"), window.finish()] == [
        "a",
        "\ufffdb",
        "\ufffdc",
        "\ufffd",
    ]


def test_tool_calls_are_joined_and_passed_on() -> None:
    fragments: list[dict[str, Any]] = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "find", "arguments": ""}},
        {"index": 1, "id": "c2", "function": {"name": "buy", "arguments": '{"n"'}},
        {"index": 0, "function": {"arguments": '{"q":1}'}},
        {"index": 1, "function": {"arguments": ":2}"}},
    ]

    class ToolPieces(Pieces):
        def __init__(self) -> None:
            super().__init__()
            self.fragments: list[dict[str, Any]] = []

        async def tool_calls(self, fragments: list[dict[str, Any]]) -> None:
            self.fragments += fragments

    async def deltas() -> AsyncGenerator[Delta]:
        yield Delta(text="hm")
        for fragment in fragments:
            yield Delta(tool_calls=[fragment])
        yield Delta(finish=Finish.TOOL_CALLS)

    sink = ToolPieces()
    relayed = run(relay(deltas(), sink))
    assert sink.fragments == fragments
    assert relayed.tool_calls == [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "buy", "arguments": '{"n":2}'}},
    ]
    assert run(relay(deltas(), Pieces())).tool_calls == relayed.tool_calls


# The conversation's sink, on a real Valkey.

TENANT = TenantId(new_id())


def sink_on(
    log: StreamLog,
    conversation: ConversationId,
    message: MessageId,
    attempt: int,
    on_missing: Callable[[], Awaitable[int]] | None = None,
) -> ConversationSink:
    return ConversationSink(
        log,
        tenant_id=TENANT,
        conversation_id=conversation,
        message_id=message,
        stream_id=message,
        attempt=attempt,
        on_missing=on_missing,
        animate=lambda text: "talk_explain" if "." in text else "talk_calm",
    )


async def frames(log: StreamLog, conversation: ConversationId) -> list[dict[str, Any]]:
    page = await log.read(TENANT, conversation, after_seq=0)
    return [json.loads(payload) for _, payload in page.events]


async def accept(log: StreamLog, conversation: ConversationId, message: MessageId) -> None:
    accepted = events.encode(
        events.MessageAccepted(), conversation_id=conversation, message_id=message, stream_id=message, ts=time.time()
    )
    await log.append(TENANT, conversation, message_id=message, attempt=1, events=[accepted], base_seq=0)


async def test_an_answer_goes_through_the_log_to_a_follower(valkey_url: str) -> None:
    async with asyncio.timeout(20), open_link(valkey_url) as link:
        log = StreamLog(link, prefix=f"t{new_id()}")
        conversation, message = ConversationId(new_id()), MessageId(new_id())
        await accept(log, conversation, message)
        async with (
            open_channel(valkey_url, log) as channel,
            channel.follow(TENANT, conversation, after_seq=0) as follower,
        ):
            sink = sink_on(log, conversation, message, 1)
            await sink.send(events.StreamStart(chatbot_id="c"))
            relayed = await relay(Upstream([step for n in range(30) for step in (f"w{n} ", 0.003)]).deltas(), sink)
            last_seq = await sink.send(events.StreamComplete(text=relayed.text), terminal=True)
            got = [item async for item in _until(follower, last_seq)]
        kinds = [type(event) for event in got]
        assert kinds[:2] == [events.MessageAccepted, events.StreamStart]
        assert kinds[-1] is events.StreamComplete
        chunks = [event for event in got if isinstance(event, events.StreamChunk)]
        assert [chunk.index for chunk in chunks] == list(range(relayed.chunks))
        assert "".join(chunk.text for chunk in chunks) == relayed.text == "".join(f"w{n} " for n in range(30))
        assert {chunk.animation for chunk in chunks} == {"talk_calm"}


async def _until(follower: Any, last_seq: int) -> AsyncGenerator[events.StreamEvent]:
    async for seq, payload in follower:
        yield events.decode(payload)
        if seq == last_seq:
            return


async def test_a_later_attempt_stops_the_earlier_one(valkey_url: str) -> None:
    async with asyncio.timeout(20), open_link(valkey_url) as link:
        log = StreamLog(link, prefix=f"t{new_id()}")
        conversation, message = ConversationId(new_id()), MessageId(new_id())
        await accept(log, conversation, message)
        upstream = Upstream(["x", 0.01] * 1000)
        first = asyncio.create_task(relay(upstream.deltas(), sink_on(log, conversation, message, 1)))
        await asyncio.sleep(0.1)
        second = sink_on(log, conversation, message, 2)
        await second.send(events.StreamReset(), events.StreamStart(chatbot_id="c"))
        with pytest.raises(LostLock):
            await first
        assert upstream.closed
        await relay(Upstream(["whole."]).deltas(), second)
        await second.send(events.StreamComplete(), terminal=True)
        shown = await frames(log, conversation)
        reset = next(at for at, frame in enumerate(shown) if frame["type"] == "stream_reset")
        assert [frame["type"] for frame in shown[reset:]] == [
            "stream_reset",
            "stream_start",
            "stream_chunk",
            "stream_complete",
        ]
        assert (shown[reset + 2]["index"], shown[reset + 2]["animation"]) == (0, "talk_explain")


async def test_a_log_wiped_under_an_answer_goes_on_with_the_whole_text(valkey_url: str) -> None:
    async with asyncio.timeout(20), open_link(valkey_url) as link:
        log = StreamLog(link, prefix=f"t{new_id()}")
        conversation, message = ConversationId(new_id()), MessageId(new_id())
        await accept(log, conversation, message)

        async def base() -> int:
            return 10_000

        sink = sink_on(log, conversation, message, 1, base)
        await sink.chunk("one ")
        await link.execute("DEL", *log.keys(TENANT, conversation))
        await sink.chunk("two ")
        await sink.chunk("three")
        assert await sink.send(events.StreamComplete(), terminal=True) == 10_003
        shown = await frames(log, conversation)
        assert [(frame["type"], frame.get("text", frame.get("chunk"))) for frame in shown] == [
            ("message_replace", "one two "),
            ("stream_chunk", "three"),
            ("stream_complete", None),
        ]


async def test_an_answer_outlives_a_valkey_that_is_away(valkey_url: str) -> None:
    async with asyncio.timeout(20), open_link(valkey_url, timeout_s=0.3) as link:
        log = StreamLog(link, prefix=f"t{new_id()}")
        conversation, message = ConversationId(new_id()), MessageId(new_id())
        await accept(log, conversation, message)
        sink = sink_on(log, conversation, message, 1)
        await sink.chunk("one ")
        there = link.endpoint
        link.endpoint = type(there)(path="/nowhere/valkey")
        assert link._wire is not None
        link._wire.abort()
        relayed = await relay(Upstream(["two ", 0.2, "three "]).deltas(), sink)
        assert (relayed.text, relayed.error) == ("two three ", None)
        with pytest.raises(Unavailable):
            await sink.send(events.StreamComplete(), terminal=True)
        link.endpoint = there
        await asyncio.sleep(0.7)
        await sink.chunk("four")
        await sink.send(events.StreamComplete(), terminal=True)
        shown = await frames(log, conversation)
        assert [(frame["type"], frame.get("text", frame.get("chunk"))) for frame in shown][1:] == [
            ("stream_chunk", "one "),
            ("message_replace", "one two three four"),
            ("stream_complete", None),
        ]


def test_a_delta_costs_microseconds() -> None:
    count = 20_000

    async def deltas() -> AsyncGenerator[Delta]:
        piece = Delta(text="word ")
        for number in range(count):
            yield piece
            if number % 20 == 0:
                await asyncio.sleep(0)
        yield Delta(finish=Finish.STOP)

    gc.collect()
    started_s = time.process_time()
    run(relay(deltas(), Pieces()))
    each_us = (time.process_time() - started_s) / count * 1e6
    assert each_us < 30, each_us  # 1 to 2 where this was written
