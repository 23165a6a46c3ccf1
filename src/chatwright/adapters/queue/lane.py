"""One queue as a worker sees it: what runs, what ended and is not yet told to Valkey, whether to look for more."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.adapters.queue.jobs import Done, Failed, Finish, Outcome, QueuedJob, RetryLater, encode_result
from chatwright.adapters.queue.names import QueueSpec

_MOST_FINISHES = 64  # per round trip: about 2 ms of Valkey's time
_MOST_FETCHED = 32


@dataclass(slots=True)
class Running:
    """A job whose handler runs. `token` proves our lock. `returning`: we cancelled it to hand it back; `lost`:
    another worker owns it now, so its end is nobody's business."""

    job: QueuedJob
    raw_id: bytes
    token: str
    lane: "Lane"
    task: "asyncio.Task[Any] | None" = None
    returning: bool = False
    lost: bool = False

    def finish(self, kind: str, text: str = "", number: int = 0) -> Finish:
        return Finish(kind, self.raw_id, self.token, text, number, self.job.started)


@dataclass(slots=True)
class Lane:
    spec: QueueSpec
    base: str
    maybe: bool = True
    """There may be a job that we have room for."""
    capped: bool = False
    """Jobs wait because their tenant is at its cap: look again when any job ends."""
    finishes: list[Finish] = field(default_factory=list[Finish])
    running: dict[str, Running] = field(default_factory=dict[str, Running])
    listen: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    def take_finishes(self) -> list[Finish]:
        taken, self.finishes = self.finishes[:_MOST_FINISHES], self.finishes[_MOST_FINISHES:]
        return taken

    def give_back(self, finishes: list[Finish]) -> None:
        """After a failed round trip: tell them again. What had arrived is refused then, which is harmless."""
        self.finishes[:0] = finishes


@dataclass(slots=True)
class Turn:
    """What one round trip does for a lane. `ends` is the count of ended jobs when it was planned."""

    lane: Lane
    finishes: list[Finish]
    wanted: int
    ends: int = 0


class Slots:
    """Who may hold how many of a worker's slots."""

    def __init__(self, lanes: list[Lane], *, concurrency: int, reserve: int) -> None:
        if concurrency < 1 or not 0 <= reserve < concurrency:
            raise ValueError("need concurrency >= 1 and 0 <= high_priority_reserve < concurrency")
        self._lanes = lanes
        self._concurrency = concurrency
        self._open = concurrency - reserve
        self.ends = 0
        """Jobs that ended here so far."""

    def room(self, lane: Lane, *, planned: int = 0, planned_open: int = 0) -> int:
        """Slots that `lane` may still fill; `planned` are given away already, `planned_open` of them unreserved."""
        free = self._concurrency - planned - sum(len(each.running) for each in self._lanes)
        if not lane.spec.reserved:
            taken = planned_open + sum(len(each.running) for each in self._lanes if not each.spec.reserved)
            share = max(1, int(self._open * lane.spec.share)) - len(lane.running)
            free = min(free, self._open - taken, share)
        return max(0, free)

    def plan(self, *, fetch: bool) -> list[Turn]:
        """What to do next, most urgent queue first; empty if there is nothing to do."""
        turns: list[Turn] = []
        planned = planned_open = 0
        for lane in self._lanes:
            wanted = 0
            if fetch and lane.maybe:
                wanted = min(_MOST_FETCHED, self.room(lane, planned=planned, planned_open=planned_open))
                planned += wanted
                planned_open += 0 if lane.spec.reserved else wanted
            if wanted or lane.finishes:
                turns.append(Turn(lane, lane.take_finishes(), wanted, self.ends))
                lane.maybe = lane.maybe and not wanted
        return turns


def give_back(turns: Sequence[Turn]) -> None:
    for turn in turns:
        turn.lane.give_back(turn.finishes)


def finish_of(running: Running, outcome: Outcome | Exception) -> Finish:
    match outcome:
        case Done(result):
            return running.finish("c", encode_result(result))
        case RetryLater(delay_s, reason):
            return running.finish("d", reason, max(1, round(delay_s * 1000)))
        case Failed(reason):
            return running.finish("f", reason)
        case Exception():
            return after_fault(running, type(outcome).__name__)
        case _:  # pyright: ignore[reportUnnecessaryComparison]  # a handler's types are only as good as its author
            return after_fault(running, f"the handler returned {type(outcome).__name__}")


def after_fault(running: Running, what: str) -> Finish:
    """Backoff of the queue, then failed. The reason names the class only: messages may hold visitors' words."""
    spec, attempt = running.lane.spec, running.job.failed_attempts + 1
    if attempt >= spec.attempts:
        return running.finish("f", f"{what} in attempt {attempt} of {spec.attempts}")
    delay_ms = max(1, round(spec.backoff_s * 1000 * 2 ** (attempt - 1)))
    return running.finish("a", what, delay_ms)
