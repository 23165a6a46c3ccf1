"""One leg of an import: rows are read, their messages understood in batches, and written, window after window.

A leg is what one job does in a minute; then the job goes back to the queue and the next leg goes on at the checkpoint, so
that other tenants' batches have their turn and a killed worker costs a few units. No job waits for another. The rows are
read in a thread of low priority while the window before is written. Called by `perform.py`; the stages after the rows are
`import_summaries.py` and `import_report.py`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC
from typing import Any

import asyncpg
import msgspec
import structlog

from chatwright.domain.errors import BadRequest, ChatwrightError, LostLock, NotFound, Unavailable
from chatwright.domain.guard import Verdict
from chatwright.domain.ids import ImportId, is_id
from chatwright.domain.jobs import Job
from chatwright.domain.scope import Scope
from chatwright.features import imports
from chatwright.features.guard.judging import RULES_ALONE
from chatwright.features.guard.pii import PersonalData
from chatwright.features.guard.signals import combine, find_signals
from chatwright.features.imports import Checkpoint, Import, Item, ItemMaker, Problem, RecordReader, Redact, Unit
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.guarding import note
from chatwright.pipeline.import_courtesy import LOOK_S, READING_REST, WRITING_REST, Courtesy
from chatwright.pipeline.import_deletion import go_on_deleting
from chatwright.pipeline.import_report import report_import
from chatwright.pipeline.import_summaries import order_conversations, summarise_conversations
from chatwright.pipeline.reading import encode, read_texts
from chatwright.pipeline.services import Services

LEG_S = 60.0
OVERTIME_S = 60.0
"""A window that was begun may take so much longer; what is left of it then is the next leg's."""
UNITS_A_WINDOW = 20
WINDOW_AT_MOST_BYTES = 16 * 1024 * 1024
"""Of rows that are in memory at once; the next window is read meanwhile, so twice that and what becomes of them."""
PROBLEMS_KEPT = 10_000
"""Rows that failed are all counted; so many are written down."""
READ_AT_MOST_CHARS = 2_000
"""Of a long text; the model reads no further anyway."""
_READ_AT_ONCE = 64
_READ_BESIDE_VISITORS = 1
"""Some 8 ms each: so long a visitor shares the processors with one."""
_ALWAYS = ("sentiment_score", "intent_confidence")
_REMEMBERED_TEXTS = 20_000
_REMEMBERED_CHARS = 200
_TRIES = 5
_ROWS_AT_ONCE = 100
_ROWS_AT_ONCE_BYTES = 64 * 1024
NICENESS = 10

log = structlog.get_logger(__name__)


async def run_import(app: Services, job: Job, import_id: ImportId) -> dict[str, Any]:
    """One leg: of an import, or of its deletion. Returns what became of it; one that was paused, ended or taken over is left
    alone.

    Raises Unfinished when there is more to do, and Unavailable when a server of ours is away: the job goes on later.
    """
    scope = job.scope
    async with app.db.transaction(scope) as db:
        one = await imports.take_up(db, scope, import_id)
    if one is None:
        is_gone = await go_on_deleting(app, scope, import_id)
        return {"import_id": import_id, "state": "deleted" if is_gone else "over"}
    until = time.monotonic() + LEG_S
    courtesy = Courtesy(app)
    try:
        if one.stage == "reading":
            one = await _Reading(app, scope, one, until, courtesy).run()
        if one.stage == "ordering":
            one = await order_conversations(app, scope, one, until, courtesy)
        if one.stage == "summarising":
            one = await summarise_conversations(app, scope, one, until, courtesy)
        if one.stage == "reporting":
            await report_import(app, scope, one)
    except LostLock:
        return {"import_id": import_id, "state": "left"}
    except (BadRequest, NotFound) as error:  # no later leg finds it better: the file is gone, or no file of rows
        async with app.db.transaction(scope) as db:
            await imports.end_import(db, scope, one.id, "failed", error=error.message, leg=one.leg)
        log.warning("import.failed", import_id=one.id, error=error.message)
        return {"import_id": import_id, "state": "failed", "error": error.message}
    async with app.db.transaction(scope) as db:
        now = await imports.get_import(db, scope, import_id)
    return {"import_id": import_id, "state": now.state, "rows_stored": now.rows_stored}


async def fail_import(app: Services, job: Job, error: ChatwrightError) -> None:
    """The job of an import is dead: say so where people look. The import can be resumed."""
    import_id = job.payload.get("import_id")
    if isinstance(import_id, str) and is_id(import_id) and "rows" not in job.payload:
        async with app.db.transaction(job.scope) as db:
            await imports.end_import(db, job.scope, ImportId(import_id), "failed", error=error.message)


def redactor(kinds: Sequence[imports.Personal]) -> Redact | None:
    """Takes personal data of these kinds out of texts; None where there is nothing to take out."""
    if not kinds:
        return None
    finder = PersonalData(kinds, lambda: ())

    def redact(text: str) -> str:
        spans = finder.scan(text, 0, last=True).spans
        parts: list[str] = []
        at = 0
        for span in spans:
            if span.start >= at:
                parts += (text[at : span.start], f"[{span.rule}]")
                at = span.end
        return "".join([*parts, text[at:]]) if parts else text

    return redact


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """Rows read, cut into units; `after` is where the next one begins. `is_last`: there is none."""

    units: list[Unit]
    after: Checkpoint
    recoded: int
    is_last: bool


class _Reading:
    """The stage in which rows become messages."""

    def __init__(self, app: Services, scope: Scope, one: Import, until: float, courtesy: Courtesy) -> None:
        self._app = app
        self._scope = scope
        self._one = one
        self._until = until
        self._now = one.created_at.astimezone(UTC)
        self._read: dict[str, _Read] = {}
        self._redact = redactor(one.options.redact)
        self._courtesy = courtesy
        self._done: set[int] = set()

    async def run(self) -> Import:
        """Read to the end and return the import in its next stage. Raises Unfinished, LostLock, Unavailable."""
        app, one = self._app, self._one
        if one.file_key is None:
            raise NotFound("the import's file is gone")
        file = await app.files.open(one.file_key)
        async with app.db.transaction(self._scope) as db:
            self._done = await imports.list_units(db, self._scope, one.id)
        maker = ItemMaker(
            tenant_id=self._scope.tenant_id,
            chatbot_id=one.chatbot_id,
            source=one.source,
            columns=one.columns,
            dialect=one.dialect,
            redact=self._redact,
        )
        loop = asyncio.get_running_loop()
        kept_problems = one.problems_kept
        with ThreadPoolExecutor(1, "import-rows", initializer=_yield_cpu) as thread:
            try:
                reader = await loop.run_in_executor(
                    thread,
                    lambda: imports.open_records(file, one.dialect, offset=one.offset_bytes, number=one.rows_before),
                )
                number = one.next_window
                coming = loop.run_in_executor(thread, self._window, reader, maker, number, kept_problems)
                while True:
                    began = time.monotonic()
                    window = await coming
                    if not window.is_last:
                        number += 1
                        kept_problems += sum(unit.kept_problems for unit in window.units)
                        coming = loop.run_in_executor(thread, self._window, reader, maker, number, kept_problems)
                    await self._write(window)
                    async with app.db.transaction(self._scope) as db:
                        worked_s = time.monotonic() - began
                        rows = await imports.advance(
                            db, self._scope, one, window.after, recoded=window.recoded, worked_s=worked_s
                        )
                        if window.is_last:
                            one = await imports.set_stage(db, self._scope, one, "ordering")
                    for outcome, count in rows.items():
                        app.metrics.import_rows.labels(outcome).inc(count)
                    if window.is_last:
                        return one
                    if time.monotonic() > self._until:
                        raise Unfinished("the import goes on")
            finally:
                await asyncio.shield(loop.run_in_executor(thread, file.close))

    def _window(self, reader: RecordReader, maker: ItemMaker, number: int, kept_problems: int) -> _Window:
        """Read one window; in a thread. What is read depends on the file alone, never on when."""
        one, recoded = self._one, reader.recoded
        rows, made = self._rows(reader, maker, one.unit_rows * UNITS_A_WINDOW)
        items = imports.without_twins(made.items)
        units = [
            Unit(number=number * imports.UNITS_AT_MOST + place, items=group, rows=len({item.number for item in group}))
            for place, group in enumerate(imports.into_units(imports.in_order(items), one.unit_rows))
        ] or [Unit(number=number * imports.UNITS_AT_MOST, items=(), rows=0)]
        # The first unit answers for the rows of its window that are in no unit.
        elsewhere = rows - sum(unit.rows for unit in units)
        skipped = dict(made.skipped)
        if doubles := elsewhere - len(made.problems) - sum(skipped.values()):
            skipped["duplicate"] = skipped.get("duplicate", 0) + doubles
        units[0] = msgspec.structs.replace(
            units[0],
            rows=units[0].rows + elsewhere,
            problems=[_redacted(problem, self._redact) for problem in made.problems],
            skipped=skipped,
            kept_problems=max(0, min(len(made.problems), PROBLEMS_KEPT - kept_problems)),
        )
        return _Window(
            units=units,
            after=Checkpoint(
                window=number + 1,
                offset_bytes=reader.offset,
                rows_before=reader.number,
                units_before=(number + 1) * imports.UNITS_AT_MOST,
            ),
            recoded=reader.recoded - recoded,
            is_last=not rows or reader.is_over,
        )

    def _rows(self, reader: RecordReader, maker: ItemMaker, at_most: int) -> tuple[int, imports.Reading]:
        """(rows, what came of them) of the next window, read piece by piece: this thread shares the interpreter with those
        who answer visitors, whatever its niceness."""
        rows, begin = 0, reader.offset
        items: list[Item] = []
        problems: list[Problem] = []
        skipped: dict[str, int] = {}
        while rows < at_most and not reader.is_over and (left := WINDOW_AT_MOST_BYTES + begin - reader.offset) > 0:
            began = time.monotonic()
            records = reader.read(min(_ROWS_AT_ONCE, at_most - rows), at_most_bytes=min(_ROWS_AT_ONCE_BYTES, left))
            made = maker.make(records)
            rows += len(records)
            items += made.items
            problems += made.problems
            for reason, count in made.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
            self._courtesy.rest_of_thread(time.monotonic() - began)
        return rows, imports.Reading(items=items, problems=problems, skipped=skipped)

    async def _write(self, window: _Window) -> None:
        """Write the window's units, a few at a time, without those that an earlier leg wrote. Raises Unfinished when that
        takes too long for this leg, and what writing one raises."""
        waiting = deque(unit for unit in window.units if unit.number not in self._done)
        at_once = max(1, self._app.settings.import_batches_at_once)

        async def lane(place: int) -> None:
            while waiting and time.monotonic() < self._until + OVERTIME_S:
                if place and await self._courtesy.are_visitors_waiting():
                    await asyncio.sleep(LOOK_S)  # the first lane alone goes on, slowly
                    continue
                unit = waiting.popleft() if waiting else None
                if unit is None:
                    return
                await self._write_one(unit)

        try:
            async with asyncio.TaskGroup() as lanes:
                for place in range(min(at_once, len(waiting))):
                    lanes.create_task(lane(place), name=f"import-lane-{place}")
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        if waiting:
            raise Unfinished("the import goes on")

    async def _write_one(self, unit: Unit) -> None:
        understood = await self._understand(unit.items)
        for attempt in range(_TRIES):
            try:
                async with self._courtesy.step(WRITING_REST), self._app.db.transaction(self._scope) as db:
                    written = await imports.write_unit(
                        db,
                        self._scope,
                        self._one,
                        unit,
                        visitor_texts=understood.visitor_texts,
                        agent_texts=understood.agent_texts,
                        labels=understood.labels,
                        attacks=understood.attacks,
                        now=self._now,
                    )
            except asyncpg.UniqueViolationError as error:  # another import writes the same conversations
                if attempt + 1 == _TRIES:
                    raise Unavailable("another import writes the same conversations; it is tried again") from error
                await asyncio.sleep(0.05 * 2**attempt)
                continue
            if written.has_lost:
                raise LostLock("the import was paused, or another worker took it up")
            return

    async def _understand(self, items: Sequence[Item]) -> "_Understood":
        """Each text is read once; short ones are remembered. What it returns is the unit's own: other lanes forget
        what they remember while this one writes."""
        options = self._one.options
        if not options.is_reading:
            return _Understood()
        visitors = {item.text for item in items if item.side == "visitor"}
        agents = {item.text for item in items if item.side == "agent"} if options.sentiment else set[str]()
        known = {text: self._read[text] for text in visitors | agents if text in self._read}
        unknown = sorted((visitors | agents) - known.keys())
        while unknown:
            is_making_way = await self._courtesy.are_visitors_waiting()
            at_once = _READ_BESIDE_VISITORS if is_making_way else _READ_AT_ONCE
            part, unknown = unknown[:at_once], unknown[at_once:]
            cut = [text[:READ_AT_MOST_CHARS] for text in part]
            async with self._courtesy.step(READING_REST):
                readings = await read_texts(self._app, cut, await encode(self._app, cut, bulk=True))
                attacks = await asyncio.to_thread(_attacks, cut)
            for text, reading, attack in zip(part, readings, attacks, strict=True):
                known[text] = read = _read(asdict(reading), attack)
                if attack is not None and text in visitors:
                    note(self._app, self._scope, text, attack)
                if len(text) <= _REMEMBERED_CHARS and (attack is None or text in visitors):  # an agent's is not noted
                    self._read[text] = read
        if len(self._read) > _REMEMBERED_TEXTS:
            self._read.clear()
        return _Understood(
            visitor_texts={text: known[text].of_visitor for text in visitors},
            agent_texts={text: known[text].of_agent for text in agents},
            labels={
                **{known[text].of_visitor: known[text].label for text in visitors},
                **{known[text].of_agent: known[text].tone for text in agents},
            },
            attacks={text for text in visitors if known[text].is_attack},
        )


class _Read(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A text that was read: JSON for either side's row, `sentiment|intent` and `sentiment|` for the counts."""

    of_visitor: str
    of_agent: str
    label: str
    tone: str
    is_attack: bool


class _Understood(msgspec.Struct, frozen=True, kw_only=True):
    """Of one unit: readings as JSON by text, labels by that JSON, visitors' texts that read like an attack."""

    visitor_texts: dict[str, str] = {}
    agent_texts: dict[str, str] = {}
    labels: dict[str, str] = {}
    attacks: set[str] = set()


def _read(reading: dict[str, Any], attack: Verdict | None) -> _Read:
    of_visitor = {name: value for name, value in reading.items() if value is not None or name in _ALWAYS}
    of_agent = {name: reading[name] for name in ("sentiment", "sentiment_score", "by")}
    return _Read(
        of_visitor=msgspec.json.encode(of_visitor).decode(),
        of_agent=msgspec.json.encode(of_agent).decode(),
        label=f"{reading['sentiment']}|{reading['intent']}",
        tone=f"{reading['sentiment']}|",
        is_attack=attack is not None,
    )


def _attacks(texts: Sequence[str]) -> list[Verdict | None]:
    """What rules alone are sure is an attack on the model, for the guard's log: later prompts may hold these texts."""
    found = [find_signals(text) for text in texts]
    return [Verdict(action="flag", findings=one) if combine(one) >= RULES_ALONE else None for one in found]


def _redacted(problem: Problem, redact: Redact | None) -> Problem:
    """The reason, too: it quotes the cell that was wrong, and cells of a ragged row stand under any column."""
    if redact is None:
        return problem
    return msgspec.structs.replace(problem, reason=redact(problem.reason), raw=redact(problem.raw))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _yield_cpu() -> None:
    """Linux gives each thread a niceness of its own; elsewhere the thread is like the others."""
    import os
    import sys
    import threading

    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
