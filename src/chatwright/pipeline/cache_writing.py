"""Where a lesson is written: a phrasing of a class, a rejected neighbour, a class of its own, or an answer made new.

Called by `cache_learning.py`, under the chatbot's lock. What two processes learn at the same moment is
put together here: classes that went meanwhile are not written to, and one that has the very answer by now is the one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chatwright.adapters.postgres import Connection
from chatwright.domain.scope import Scope
from chatwright.features.cache import answer_store, store
from chatwright.features.cache.agreement import Agreement, agreement
from chatwright.features.cache.checks import Check, Figures
from chatwright.features.cache.memory import Known
from chatwright.features.cache.router_store import raise_version
from chatwright.features.cache.store import Origin, Question, Standing, Vector
from chatwright.pipeline.cache_checks import Compared, record_check
from chatwright.pipeline.semantic import Lesson

MERGE_FROM = 0.5
"""Cosine of a question and two classes with one answer from which they are one class."""
REJECT_FROM = 0.5
"""Cosine from which a neighbour with another answer is worth remembering as one that is not meant."""


@dataclass(slots=True, kw_only=True)
class Pen:
    """Writes one lesson. Afterwards: `label` is the class that the question now belongs to (None: it was not settled),
    `rejected` those it does not belong to, `outcome` and `figures` of the check if it was one, `changed` whether other
    processes have to look again."""

    scope: Scope
    lesson: Lesson
    question: Question
    answer_vector: Vector | None
    label: int | None = None
    rejected: list[int] = field(default_factory=list[int])
    outcome: Agreement | None = None
    figures: Figures | None = None
    changed: bool = False
    _standing: Standing | None = None

    @property
    def origin(self) -> Origin:
        return "miss" if self.lesson.hit is None else "check"

    @property
    def share(self) -> float:
        return 1.0 if self.lesson.hit is None else self.lesson.hit.share

    async def write(self, db: Connection, compared: Sequence[Compared], routed: int | None) -> None:
        """Write it down, under `store.lock`. `routed`: the class that would have been served, had it an answer under this scope."""
        lesson, scope = self.lesson, self.scope
        asked_of = [one.candidate.class_id for one in compared]
        if lesson.hit is not None:
            asked_of.append(lesson.hit.class_id)
        standing = await store.look(
            db,
            scope,
            asked_of,
            scope_digest=lesson.scope_digest,
            answer_text=lesson.entry.text,
            question=self.question,
            asked_at_s=lesson.asked_at_s,
        )
        if standing.purged:
            return  # it may have been made of the very thing that was purged
        self._standing = standing
        compared = [one for one in compared if one.candidate.class_id in standing.alive]
        of_class, twins = standing.class_id, standing.twins
        await self._check(db, compared, standing)
        same = {one.candidate.class_id: one for one in compared if one.verdict == "same"}
        if same or twins:
            await self._join(db, same, twins, of_class)
        elif of_class is not None:
            # The very question again, and another answer: the newest one counts.
            self.label = standing.label
            await self._put(db, of_class)
        elif routed is not None:
            # The class as it is known answers this; what it answers has to be said anew since something changed.
            await self._refresh(db, routed)
        elif self.outcome != "unknown" and lesson.begins:
            await self._found(db, compared)
        if self.changed:
            await raise_version(db, scope)

    def tell(self, known: Known) -> None:
        """Have this process's memory know it at once."""
        for label in self.rejected:
            known.reject(self.question.digest, label)
        if self.label is not None:
            known.settle(self.question.digest, self.question.text, self.label)

    async def _check(self, db: Connection, compared: Sequence[Compared], standing: Standing) -> None:
        """What the hit that was checked comes to."""
        hit = self.lesson.hit
        if hit is None:
            return
        own = next((one for one in compared if one.candidate.class_id == hit.class_id), None)
        if own is not None:
            outcome, judge = own.verdict, own.judge
        else:  # equal texts, or the class has lost its answer since: what it had said is compared
            outcome, judge = agreement(hit.entry.text, self.lesson.entry.text), "text"
        self.outcome = outcome
        if hit.class_id in standing.alive and outcome != "unknown":
            await store.note_checked(db, self.scope, hit.class_id, agreed=outcome == "same")
        if hit.class_id in standing.alive and outcome == "different" and standing.class_id != hit.class_id:
            await self._reject(db, hit.class_id, hit.label)
            if own is not None and own.candidate.agreed == 0:
                # Nobody ever confirmed it: maybe the answer is what is wrong. Its class is asked anew.
                await answer_store.drop_answer(db, self.scope, hit.class_id, self.lesson.scope_digest)
        check = Check(outcome=outcome, drawn=hit.drawn, share=hit.share)
        self.figures, _, changed = await record_check(
            db,
            self.scope,
            hit.class_id,
            check,
            judge=judge,
            confidence=hit.confidence,
            max_error=self.lesson.max_error,
        )
        self.changed = self.changed or changed

    async def _join(
        self, db: Connection, same: dict[str, Compared], twins: dict[str, int], of_class: str | None
    ) -> None:
        """The answer is a class's own: the question is one more phrasing of it. Two such classes are one."""
        ranked = sorted(same.values(), key=lambda one: (one.candidate.class_id != of_class, -one.candidate.phrasings))
        if ranked:
            keep_id, self.label = ranked[0].candidate.class_id, ranked[0].candidate.label
        else:  # the oldest is what routers know
            keep_id = of_class if of_class in twins else min(twins, key=lambda class_id: twins[class_id])
            self.label = twins[keep_id]
        for one in ranked[1:]:
            # Far apart they may share some empty phrase only, and both may be asked for more another day.
            if one.judge != "local" and one.candidate.cosine >= MERGE_FROM:
                await store.merge_classes(db, self.scope, keep_id, one.candidate.class_id)
                self.changed = True
        await store.settle(
            db, self.scope, self.question, keep_id, self.origin, share=self.share, standing=self._standing
        )
        await answer_store.confirm_answer(
            db, self.scope, keep_id, self.lesson.scope_digest, lifetime_s=self.lesson.lifetime_s
        )

    async def _refresh(self, db: Connection, label: int) -> None:
        class_id = await store.find_class(db, self.scope, label)
        if class_id is not None:
            await self._put(db, class_id)

    async def _found(self, db: Connection, compared: Sequence[Compared]) -> None:
        """Nothing known answers it: a class of its own, and no phrasing of the nearest that looked like it."""
        nearest = max(
            (one for one in compared if one.verdict == "different"), key=lambda one: one.candidate.cosine, default=None
        )
        if nearest is not None and nearest.candidate.cosine >= REJECT_FROM:
            await self._reject(db, nearest.candidate.class_id, nearest.candidate.label)
        class_id, self.label = await store.add_class(db, self.scope)
        await store.settle(db, self.scope, self.question, class_id, self.origin, share=self.share)
        await self._put(db, class_id)

    async def _reject(self, db: Connection, class_id: str, label: int) -> None:
        if label in self.rejected:
            return
        await store.reject(db, self.scope, self.question, class_id, self.origin, share=self.share)
        self.rejected.append(label)

    async def _put(self, db: Connection, class_id: str) -> None:
        if not self.lesson.begins:
            return
        await answer_store.put_answer(
            db,
            self.scope,
            class_id,
            self.lesson.scope_digest,
            self.lesson.entry,
            lifetime_s=self.lesson.lifetime_s,
            vector=self.answer_vector,
        )
