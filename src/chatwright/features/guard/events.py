"""What the guard tells of one text, and the line in which such events wait to be written. No I/O.

`pipeline/guarding.py` makes them, `pipeline/guard_log.py` takes them out of the line and writes them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatwright.domain.guard import Verdict
from chatwright.domain.ids import new_id
from chatwright.domain.scope import Scope
from chatwright.features.guard.allow import mark_of

Direction = Literal["input", "document", "metadata", "output", "leak"]
EventVerdict = Literal["flag", "advise", "block", "mask", "stop"]
DIRECTIONS: tuple[Direction, ...] = ("input", "document", "metadata", "output", "leak")
VERDICTS: tuple[EventVerdict, ...] = ("flag", "advise", "block", "mask", "stop")

EXCERPT_AT_MOST = 120
MODEL_RULE = "model"
"""Stands for the score where no rule tripped."""
LINE_AT_MOST = 10_000
"""Events that wait in one process; more than these are counted and dropped."""
_CONTEXT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardEvent:
    """One verdict on one text. `rule` and the span are the weightiest finding's; `score` is the model's, None where none
    read the text. `text_mark` and `span_mark` name text and span without repeating them (`allow.mark_of`)."""

    id: str
    scope: Scope
    direction: Direction
    rule: str
    rules: tuple[str, ...]
    verdict: EventVerdict
    score: float | None
    span_start: int
    span_end: int
    excerpt: str
    text_mark: bytes
    span_mark: bytes
    conversation_id: str | None = None
    message_id: str | None = None
    document_id: str | None = None


def event_of(
    scope: Scope,
    text: str,
    verdict: Verdict,
    *,
    direction: Direction = "input",
    action: EventVerdict | None = None,
    conversation_id: str | None = None,
    message_id: str | None = None,
    document_id: str | None = None,
) -> GuardEvent | None:
    """The event of a verdict on `text`; None for one that lets it through. `action`: what was done, if not the verdict's.

    The weightiest finding is the one of the highest score, the first among equals; without findings the whole text is
    the span.
    """
    done: EventVerdict
    if action is not None:
        done = action
    elif verdict.action != "allow":
        done = verdict.action
    else:
        return None
    top = max(verdict.findings, key=lambda finding: finding.score or 0.0, default=None)
    start, end = (0, len(text)) if top is None else (top.start, top.end)
    span = text[start:end]
    return GuardEvent(
        id=new_id(),
        scope=scope,
        direction=direction,
        rule=MODEL_RULE if top is None else top.rule,
        rules=verdict.signals or (MODEL_RULE,),
        verdict=done,
        score=verdict.score,
        span_start=start,
        span_end=end,
        excerpt=excerpt_of(text, start, end),
        text_mark=mark_of(text),
        span_mark=mark_of(span),
        conversation_id=conversation_id,
        message_id=message_id,
        document_id=document_id,
    )


def excerpt_of(text: str, start: int = 0, end: int | None = None) -> str:
    """At most 120 characters to judge by: the span with a little of what stands around it, on one line."""
    end = len(text) if end is None else end
    room = max(0, EXCERPT_AT_MOST - (end - start))
    before = min(_CONTEXT, room // 2)
    piece = text[max(0, start - before) : max(0, start - before) + 4 * EXCERPT_AT_MOST]
    flat = " ".join(piece.replace("\x00", "").encode("utf-8", "replace").decode().split())
    return flat if len(flat) <= EXCERPT_AT_MOST else flat[: EXCERPT_AT_MOST - 1] + "…"


@dataclass(slots=True)
class EventLine:
    """Events on their way to the log. `put` never waits; what finds no room is counted in `lost`."""

    waiting: deque[GuardEvent] = field(default_factory=deque[GuardEvent])
    came: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    lost: int = 0
    closed: bool = False
    put_at_s: float = 0.0

    def put(self, event: GuardEvent) -> bool:
        """Take an event. False: there was no room, it is lost."""
        if len(self.waiting) >= LINE_AT_MOST:
            self.lost += 1
            return False
        self.waiting.append(event)
        self.put_at_s = time.monotonic()
        self.came.set()
        return True

    def take(self, at_most: int) -> list[GuardEvent]:
        """The oldest events, out of the line."""
        taken = [self.waiting.popleft() for _ in range(min(at_most, len(self.waiting)))]
        self.under_way += len(taken)
        return taken

    def done(self, events: Sequence[GuardEvent]) -> None:
        self.under_way -= len(events)

    def put_back(self, events: Sequence[GuardEvent]) -> None:
        """What could not be written goes in front again."""
        self.under_way -= len(events)
        self.waiting.extendleft(reversed(events))

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.under_way

    def close(self) -> None:
        self.closed = True
        self.came.set()
