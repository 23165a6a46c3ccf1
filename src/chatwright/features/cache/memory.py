"""What one process remembers of the semantic caches: routers and phrasings of the chatbots asked last, answers for a moment,
and the lessons that wait to be learned. Bounded in everything; lost without harm.

Owned by `app/services.py`; read and filled by `pipeline/semantic.py`, emptied by `pipeline/cache_learning.py`. For one
event loop.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from chatwright.domain.ids import ChatbotId, TenantId
from chatwright.domain.scope import Scope
from chatwright.features.cache.answer_store import ReadyAnswer
from chatwright.features.cache.checks import CheckWindow
from chatwright.features.cache.guards import ClassGuards, Guards
from chatwright.features.cache.router import Route, Router
from chatwright.features.cache.router_store import Learned
from chatwright.features.cache.store import Vector

ROUTERS_AT_MOST_BYTES = 192 * 1024 * 1024
CHATBOTS_AT_MOST = 500
LOOK_AGAIN_S = 5.0
"""A memory this old is compared with the database's version, should a notice have been lost."""
ANSWER_S = 0.5
"""How long an answer is given again without a look at the database: less than a purge may take."""
ANSWERS_AT_MOST = 2_000
GUARDS_AT_MOST = 30_000
ROUTES_AT_MOST = 2_000
LESSONS_AT_MOST = 5_000
CHECKS_AT_MOST = 64
"""That wait for their provider."""
TEXTS_PER_CLASS = 60
"""Phrasings of a class that a question is compared with, newest first."""

Key = tuple[TenantId, ChatbotId]
_V = TypeVar("_V")


@dataclass(slots=True)
class Known:
    """One chatbot's classes as this process knows them. `labels` and `rejected` grow by what it learns itself."""

    version: int
    strictness: int
    router: Router | None
    size_bytes: int
    labels: dict[bytes, int]
    rejected: set[tuple[bytes, int]]
    texts: dict[int, tuple[str, ...]]
    looked_at_s: float
    trained_at_s: float = 0.0
    guards: dict[int, ClassGuards] = field(default_factory=dict[int, ClassGuards])
    """Of the classes that were looked at."""

    @classmethod
    def of(cls, learned: Learned, router: Router | None, now_s: float) -> "Known":
        return cls(
            version=learned.version,
            strictness=learned.strictness,
            router=router,
            size_bytes=len(learned.router or b"") + 300 * len(learned.labels),
            labels=dict(learned.labels),
            rejected=set(learned.rejected),
            texts=dict(learned.texts),
            looked_at_s=now_s,
            trained_at_s=learned.trained_at_s,
        )

    def inherit(self, older: "Known") -> None:
        """Take over what was worked out for classes that are as they were."""
        self.guards = {
            label: guards
            for label, guards in older.guards.items()
            if self.texts.get(label, ())[:TEXTS_PER_CLASS] == older.texts.get(label, ())[:TEXTS_PER_CLASS]
        }

    @property
    def is_empty(self) -> bool:
        return self.router is None and not self.labels

    def settle(self, question_digest: bytes, text: str, label: int) -> None:
        """Take in a phrasing that was just verified."""
        self.labels[question_digest] = label
        self.rejected.discard((question_digest, label))
        self.texts[label] = (text, *self.texts.get(label, ()))[:TEXTS_PER_CLASS]
        self.guards.pop(label, None)

    def reject(self, question_digest: bytes, label: int) -> None:
        self.rejected.add((question_digest, label))
        if self.labels.get(question_digest) == label:
            del self.labels[question_digest]


class SemanticMemory:
    """One per process. Its reader is `pipeline/cache_learning.py`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.known: OrderedDict[Key, Known] = OrderedDict()
        self.stale: set[Key] = set()
        """Chatbots of which something newer is known to be there."""
        self.wanted: set[Key] = set()
        """Of these, those that were asked for again."""
        self.loading: dict[Key, asyncio.Lock] = {}
        self.uses: dict[Key, dict[int, int]] = {}
        self.lessons: deque[object] = deque()
        self.lost = 0
        """Lessons that found no room."""
        self.checks: deque[object] = deque()
        """Hits whose provider is still to be asked. Made and read by `pipeline/cache_asking.py`."""
        self.under_way = 0
        self.came = asyncio.Event()
        """A lesson."""
        self.check_came = asyncio.Event()
        self.asked = asyncio.Event()
        """For something newer."""
        self.closed = False
        self._windows: OrderedDict[Key, CheckWindow] = OrderedDict()
        self._answers: OrderedDict[tuple[Key, int, bytes], tuple[float, ReadyAnswer]] = OrderedDict()
        self._routes: OrderedDict[tuple[Key, bytes], tuple[int, Route]] = OrderedDict()
        self._guards: OrderedDict[str, Guards] = OrderedDict()

    def get(self, key: Key) -> Known | None:
        """What is known of a chatbot, None until it is read."""
        known = self.known.get(key)
        if known is not None:
            self.known.move_to_end(key)
        return known

    def put(self, key: Key, known: Known) -> None:
        self.known[key] = known
        self.known.move_to_end(key)
        while len(self.known) > 1 and (
            len(self.known) > CHATBOTS_AT_MOST
            or sum(one.size_bytes for one in self.known.values()) > ROUTERS_AT_MOST_BYTES
        ):
            self.known.popitem(last=False)

    def changed(self, chatbot_id: ChatbotId | None) -> None:
        """Note that something changed at a chatbot, or (None) that it may have at any."""
        keys = [key for key in self.known if chatbot_id is None or key[1] == chatbot_id]
        self.stale.update(keys)
        for answer in [answer for answer in self._answers if chatbot_id is None or answer[0][1] == chatbot_id]:
            del self._answers[answer]

    def window(self, key: Key) -> CheckWindow:
        """What this process's questions of a chatbot cost in checks lately."""
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = CheckWindow()
            if len(self._windows) > CHATBOTS_AT_MOST:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        return window

    def answer(self, key: Key, label: int, scope_digest: bytes) -> ReadyAnswer | None:
        """A class's answer, if the database was asked for it a moment ago."""
        found = self._answers.get((key, label, scope_digest))
        return found[1] if found is not None and found[0] > self.clock() else None

    def keep_answer(self, key: Key, label: int, scope_digest: bytes, answer: ReadyAnswer, *, since_s: float) -> None:
        """`since_s`: on this clock, when the database was asked."""
        self._answers[key, label, scope_digest] = (since_s + min(ANSWER_S, answer.lasts_s), answer)
        self._answers.move_to_end((key, label, scope_digest))
        while len(self._answers) > ANSWERS_AT_MOST:
            self._answers.popitem(last=False)

    def drop_answers(self, key: Key, label: int) -> None:
        """Have the database asked for a class's answer: it was just found wrong."""
        for kept in [kept for kept in self._answers if kept[:2] == (key, label)]:
            del self._answers[kept]

    def route(self, key: Key, known: Known, question_digest: bytes, text: str, vector: Vector) -> Route | None:
        """What the chatbot's router says of a question; None without one. Asked by the flow, and again by the learner soon
        after: a large router takes a millisecond."""
        if known.router is None:
            return None
        found = self._routes.get((key, question_digest))
        if found is not None and found[0] == known.version:
            return found[1]
        route = known.router.route(text, vector)
        self._routes[key, question_digest] = (known.version, route)
        if len(self._routes) > ROUTES_AT_MOST:
            self._routes.popitem(last=False)
        return route

    def guards_of(self, known: Known, label: int) -> ClassGuards:
        """What a class's phrasings state together, worked out once. A class of 50 phrasings takes some milliseconds the
        first time."""
        guards = known.guards.get(label)
        if guards is None:
            texts = known.texts.get(label, ())[:TEXTS_PER_CLASS]
            guards = known.guards[label] = ClassGuards.of(
                _remembered(self._guards, text, Guards.of, GUARDS_AT_MOST) for text in texts
            )
        return guards

    def used(self, key: Key, label: int) -> None:
        """Note a hit."""
        uses = self.uses.setdefault(key, {})
        uses[label] = uses.get(label, 0) + 1

    def offer(self, lesson: object) -> None:
        """Put a lesson into the line; the oldest goes when it is full."""
        if len(self.lessons) >= LESSONS_AT_MOST:
            self.lessons.popleft()
            self.lost += 1
        self.lessons.append(lesson)
        self.came.set()

    def ask(self, check: object) -> bool:
        """Put a check into its line. Returns False where there is no room."""
        if self.closed or len(self.checks) >= CHECKS_AT_MOST:
            return False
        self.checks.append(check)
        self.check_came.set()
        return True

    def close(self) -> None:
        """Have the learner stop after the step that it is at."""
        self.closed = True
        self.came.set()
        self.asked.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was offered is checked and learned."""
        return not self.lessons and not self.checks and not self.under_way and not self.wanted


def key_of(scope: Scope) -> Key:
    assert scope.chatbot_id is not None
    return scope.tenant_id, scope.chatbot_id


def _remembered(memory: "OrderedDict[str, _V]", text: str, make: Callable[[str], _V], at_most: int) -> _V:
    found = memory.get(text)
    if found is None:
        found = memory[text] = make(text)
        if len(memory) > at_most:
            memory.popitem(last=False)
    else:
        memory.move_to_end(text)
    return found
