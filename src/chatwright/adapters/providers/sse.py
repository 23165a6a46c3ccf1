"""Server-sent events out of bytes that arrive cut anywhere. Pure; used by the wire formats of this folder.

Follows the parsing rules of the HTML standard (LF, CRLF and CR line ends, comments, several data lines, a byte order
mark), with one leniency: `finish` also gives the last event of a stream that lacks its blank line. `id` and `retry`
are not used by any provider and are skipped. No UTF-8 is decoded here: a payload is handed on as bytes, whole.
"""

from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_PREFIX = b"data: "
_NAMED = b"event: "
# What the constructor of a named tuple calls, at half of its price.
_new = tuple.__new__


class SseEvent(NamedTuple):
    """One event. `name` is empty for the usual nameless one; `data` are its data lines joined by LF, never empty."""

    name: bytes
    data: bytes


class SseTooLarge(ValueError):
    """One event is longer than the limit; nothing more can be read from this stream."""


class SseParser:
    """Feed bytes, get the events that they complete. Linear in the bytes, also when they come one by one."""

    __slots__ = ("_after_cr", "_max_event_bytes", "_searched", "_started", "_tail")

    def __init__(self, max_event_bytes: int = 4 * 1024 * 1024) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail = bytearray()
        """Bytes of an event that has no blank line yet; line ends already LF."""
        self._searched = 0
        """How far `_tail` is known to hold no blank line."""
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes; return the events completed by them, in order. Raises SseTooLarge."""
        if b"\r" in data or self._after_cr:
            data = self._with_lf(data)
        tail = self._tail
        if tail or not self._started:
            tail += data
            if not self._started and not self._start():
                return []
            end = tail.find(b"\n\n", self._searched)
            if end < 0:
                self._searched = max(0, len(tail) - 1)
                self._check_size(len(tail))
                return []
            data = bytes(tail)
            tail.clear()
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        if rest:
            self._check_size(len(rest))
            tail += rest
        self._searched = max(0, len(rest) - 1)
        events: list[SseEvent] = []
        for block in blocks:
            # The form of nearly every provider's nearly every event.
            if block.startswith(_PREFIX) and b"\n" not in block and len(block) > 6:
                events.append(_new(SseEvent, (b"", block[6:])))
                continue
            if block.startswith(_NAMED):
                # The form of those that name their events: one line for the name, one for the data.
                name, _, line = block[7:].partition(b"\n")
                if line.startswith(_PREFIX) and b"\n" not in line and len(line) > 6:
                    events.append(_new(SseEvent, (name, line[6:])))
                    continue
            if (event := _parse(block)) is not None:
                events.append(event)
        return events

    def finish(self) -> list[SseEvent]:
        """The end of the bytes: the event that waits for its blank line, if there is one."""
        block = bytes(self._tail)
        self._tail.clear()
        event = _parse(block.removeprefix(_BOM) if not self._started else block)
        return [] if event is None else [event]

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            # The LF of a CRLF whose CR ended the last bytes: that line end is already counted.
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _start(self) -> bool:
        """Drop a byte order mark; False while it is open whether there is one."""
        tail = self._tail
        if len(tail) < 3 and _BOM.startswith(tail):
            return False
        if tail.startswith(_BOM):
            del tail[:3]
        self._started = True
        return True

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise SseTooLarge(f"an event is longer than {self._max_event_bytes} bytes")


def _parse(block: bytes) -> SseEvent | None:
    """One event's lines, by the book. None if they hold no data."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    joined = b"\n".join(data)
    return SseEvent(name, joined) if joined else None
