"""Hits that are checked: the visitor has the cached answer, and behind it the provider is asked the same.

`answer.py` and `inline.py` call `ask_behind` once the visitor's answer is out; `cache_learning.py` runs `ask_forever` in every
process that answers. What the provider says is seen by nobody: it is compared, learned from and booked. Everything is bounded,
and whatever does not fit is left out and counted: a check that is not made costs nothing but a lesson.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from chatwright.domain.errors import BudgetExceeded, ChatwrightError
from chatwright.domain.ids import new_id
from chatwright.domain.providers import Completion, Prompt
from chatwright.features.cache import CachedAnswer
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.cache_checks import PURPOSE
from chatwright.pipeline.caching import CachePlan, Made, keep
from chatwright.pipeline.ending import storable
from chatwright.pipeline.filtering import output_filter
from chatwright.pipeline.grounding import abstains, measure, shown, window
from chatwright.pipeline.meaning import Meaning, teach
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import EXTRACTIVE, targets_for

_log = structlog.get_logger(__name__)
AT_ONCE = 4
"""Checks that one process makes at once, so that they take little of its time and of the provider's limits."""
CHECK_S = 60.0
AFTER_S = 0.05
"""A check begins so much later than it was asked for: the visitor's answer is on its way by then."""

Framing = Callable[[], Awaitable[Prompt]]
"""Makes the prompt that the provider would have got, had there been no hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    plan: CachePlan
    meaning: Meaning
    framing: Framing


def ask_behind(app: Services, plan: CachePlan | None, meaning: Meaning, framing: Framing) -> None:
    """Have the provider asked as well, if the hit that was served is to be checked. Returns at once, never raises."""
    if plan is None or not meaning.is_checked or not plan.keeps:
        return
    if not app.semantic.ask(_Ask(plan=plan, meaning=meaning, framing=framing)):
        _lose(app, "full")


async def ask_forever(app: Services) -> None:
    """Make the checks that are asked for, until cancelled: then those under way are ended, and booked as they stand."""
    memory = app.semantic
    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(_ask_one_by_one(app), name=f"semantic.check-{number}")
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(len(memory.checks)):
                memory.checks.popleft()
                _lose(app, "stopped")


async def _ask_one_by_one(app: Services) -> None:
    memory = app.semantic
    while True:
        while not memory.checks:
            memory.check_came.clear()
            await memory.check_came.wait()
        ask = memory.checks.popleft()
        assert isinstance(ask, _Ask)
        memory.under_way += 1
        try:
            await _make(app, ask)
        except asyncio.CancelledError:
            _lose(app, "stopped")
            raise
        finally:
            memory.under_way -= 1


async def _make(app: Services, ask: _Ask) -> None:
    """One check, to its lesson. Raises CancelledError only."""
    try:
        await asyncio.sleep(AFTER_S)
        async with asyncio.timeout(CHECK_S):
            entry = await _answer(app, ask.plan, ask.framing)
        if entry is None or not await _is_current(app, ask.plan):
            _lose(app, "unusable")
            return
        await teach(app, ask.plan, ask.meaning, entry)
    except BudgetExceeded:
        _lose(app, "budget")
    except TimeoutError:
        _lose(app, "late")
    except ChatwrightError as error:
        _log.info("cache.not_checked", reason=str(error) or type(error).__name__)
        _lose(app, "failed")
    except Exception:  # noqa: BLE001 - whatever it is, the next check is another one
        _log.exception("cache.not_checked")
        _lose(app, "failed")


async def _answer(app: Services, plan: CachePlan, framing: Framing) -> CachedAnswer | None:
    """What the provider says to the question; None if that is nothing to compare with. Raises ProviderError,
    BudgetExceeded, Unavailable."""
    chatbot = plan.chatbot
    if not await _is_current(app, plan):
        return None
    prompt = await framing()
    if abstains(chatbot, plan.question, prompt.sources):
        return None
    prompt_tokens = await app.tokens.prompt(prompt)
    chain = await targets_for(app, chatbot, prompt.sources, prompt_tokens=prompt_tokens)
    books = CallBooks(
        app,
        chatbot.scope,
        prompt_tokens=prompt_tokens,
        max_output_tokens=prompt.max_tokens or chatbot.max_tokens,
        purpose=PURPOSE,
        import_id=plan.import_id,
    )
    run = ProviderRun(
        chain.targets[:1],  # an answer of the second choice says nothing about the first one's
        prompt,
        books,
        gates=app.gates,
        max_calls=1,
        deadline=asyncio.get_running_loop().time() + CHECK_S,
        prompt_tokens=prompt_tokens.tokens,
        patience_s=0.0,  # a key that has no room now has none for this
    )
    completion = await run.complete()
    made = _made(plan, prompt, run, books, completion)
    return None if made is None else keep(plan, None, made)


def _made(plan: CachePlan, prompt: Prompt, run: ProviderRun, books: CallBooks, completion: Completion) -> Made | None:
    """The completion as a visitor would have seen it; None if a filter would have ended it, or it calls tools."""
    chatbot, text = plan.chatbot, completion.text
    held = window(chatbot, prompt.sources, output_filter(chatbot, prompt, replaces=False))
    if held is not None:
        text = held.feed(text) + held.finish()
        if held.stopped:
            return None
    if completion.tool_calls or run.route is None:
        return None
    support, confidence = measure(text, prompt.sources, run.route.provider)
    return Made(
        answer_id=new_id(),
        text=text,
        finish=completion.finish,
        provider=run.route.provider,
        model=storable(completion.model or run.route.model),
        usage=books.usage,
        cost_nano=books.cost_nano,
        sources=shown(chatbot, prompt.sources),
        given=prompt.sources,
        confidence=confidence,
        grounding=support,
        degraded=books.cheap,
        abstained=run.route.provider == EXTRACTIVE and not support,
    )


async def _is_current(app: Services, plan: CachePlan) -> bool:
    """Whether the chatbot is as it was when it was asked: an answer under another configuration is no word on the old one."""
    now = await app.chatbots.get(plan.chatbot.scope, plan.chatbot.id)
    return (now.revision, now.knowledge_version) == (plan.scope.revision, plan.scope.knowledge_version)


def _lose(app: Services, reason: str) -> None:
    app.metrics.cache_checks_lost.labels(reason).inc()
