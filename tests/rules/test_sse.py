"""The SSE parser: what comes out must not depend on how the bytes arrive."""

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.adapters.providers.sse import SseEvent, SseParser, SseTooLarge


def read(pieces: list[bytes], *, limit: int = 1 << 20) -> list[tuple[bytes, bytes]]:
    parser = SseParser(limit)
    events: list[SseEvent] = []
    for piece in pieces:
        events += parser.feed(piece)
    events += parser.finish()
    return [(event.name, event.data) for event in events]


def split_at(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


def by_the_book(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The standard's algorithm, line by line, on the whole input; and the last event without its blank line."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    found: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for line in [*re.split(rb"\r\n|\r|\n", raw), b""]:
        if line:
            key, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value
            continue
        if b"\n".join(data):
            found.append((name, b"\n".join(data)))
        name, data = b"", []
    return found


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from(
    [b"data: {}", b"data:x", b"data", b"data: ", b"event: error", b": comment", b":", b"id: 7", b"retry: 1", b"", b"", b"",
     "data: grüße 日本".encode(), b"data:  two spaces", b"other: field", b"data: a: b"]
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    end = draw(line_ends)
    mixed = draw(st.booleans())
    body = b"".join(line + (draw(line_ends) if mixed else end) for line in draw(st.lists(lines, max_size=30)))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + body


@given(raw=streams(), cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_events_follow_the_standard_however_the_bytes_arrive(raw: bytes, cuts: list[int]) -> None:
    expected = by_the_book(raw)
    assert read([raw]) == expected
    assert read(split_at(raw, cuts)) == expected
    assert read([raw[i : i + 1] for i in range(len(raw))]) == expected


@given(raw=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_give_the_same_events_at_any_cut(raw: bytes, cuts: list[int]) -> None:
    assert read(split_at(raw, cuts)) == read([raw]) == by_the_book(raw)


@given(
    frames=st.lists(st.text(max_size=40).filter(lambda text: text and not {"\r", "\n"} & set(text))),
    size=st.integers(1, 9),
)
def test_payloads_come_back_whole(frames: list[str], size: int) -> None:
    raw = b"".join(f"data: {frame}\n\n".encode() for frame in frames)
    assert [data.decode() for _, data in read([raw[i : i + size] for i in range(0, len(raw), size)])] == frames


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert read([b"data: a\n\ndata: [DONE]"]) == [(b"", b"a"), (b"", b"[DONE]")]


def test_a_lone_carriage_return_before_a_line_feed_in_the_next_bytes_is_one_line_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r\n") == []
    assert parser.feed(b"\r\n") == [SseEvent(b"", b"a\nb")]


def test_an_endless_event_is_refused() -> None:
    parser = SseParser(1000)
    parser.feed(b"data: fine\n\n")
    for _ in range(62):
        parser.feed(b"data: 0123456789")
    with pytest.raises(SseTooLarge):
        parser.feed(b"data: 0123456789")
    with pytest.raises(SseTooLarge):
        SseParser(1000).feed(b"x" * 1001)


def test_single_bytes_of_a_large_event_cost_linear_time() -> None:
    def took_s(size: int) -> float:
        parser = SseParser(1 << 22)
        raw = b"data: " + b"x" * size + b"\n\n"
        start = time.process_time()
        for i in range(len(raw)):
            parser.feed(raw[i : i + 1])
        return time.process_time() - start

    took_s(1000)
    # Ten times the bytes: about ten times the work; a parser that looks at everything again would need a hundred.
    assert took_s(200_000) < 40 * took_s(20_000)
