"""The same pipeline without a queue: `/v1/chat/completions`. Stateless but for the ledger."""

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from chatwright.domain.errors import DeadlineExceeded
from chatwright.domain.ids import new_id
from chatwright.domain.limits import Standing
from chatwright.domain.providers import Delta, Finish, Prompt, Source, Turn
from chatwright.features import prompting
from chatwright.features.limits import Ticket
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.attachments import check_attachments
from chatwright.pipeline.books import CallBooks, measure_route, provider_label
from chatwright.pipeline.cache_asking import ask_behind
from chatwright.pipeline.caching import CacheResult, pieces
from chatwright.pipeline.filtering import Guarded, output_filter
from chatwright.pipeline.framing import canary_for
from chatwright.pipeline.grounding import abstains, shown, window
from chatwright.pipeline.guarding import advice_for, note_answer
from chatwright.pipeline.inquiry import (
    InlineAnswer,
    InlineRequest,
    Inquiry,
    answer_again,
    ask_caches,
    cleaned,
    keep_inline,
)
from chatwright.pipeline.knowledge import find_sources
from chatwright.pipeline.limits import admit_inline, release, room_tokens
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import hedges, spare_for, targets_for

_Result = TypeVar("_Result")


class InlineStream:
    """One streamed inline answer. `standing` is set before the first piece comes where rate limits apply, `cached` before
    it in any case, `answer` once `deltas()` has ended well."""

    def __init__(self, app: Services, request: InlineRequest) -> None:
        self._app = app
        self._request = request
        self.id = new_id()
        self.standing: Standing | None = None
        self.cached: CacheResult = "bypass"
        self.answer: InlineAnswer | None = None

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the answer's pieces. Raises ProviderError and others before the first piece or in the middle,
        DeadlineExceeded when the answer takes too long; closing the generator closes the call upstream at once."""
        deadline = asyncio.get_running_loop().time() + self._app.settings.answer_deadline_s
        ticket = await _admit(self._app, self._request)
        self.standing = ticket.standing if ticket else None
        spent: CallBooks | None = None
        inquiry = Inquiry()
        try:
            check_attachments(self._app.http.guard, self._request.turns, self._request.options)
            await ask_caches(self._app, self._request, inquiry, deadline)
            self.cached = inquiry.cached
            if inquiry.again is not None:
                for piece in pieces(inquiry.again.text):
                    yield Delta(text=piece)
                yield Delta(finish=inquiry.again.finish)
                self.answer = answer_again(self._app, self.id, inquiry, inquiry.again, self.standing)
                _check(self._app, self._request, inquiry)
                return
            run, books, prompt = await _prepare(self._app, self._request, inquiry, deadline)
            spent = books
            text: list[str] = []
            finish = Finish.OTHER
            started = time.perf_counter()
            first = True
            calls = False
            held = Guarded.of(self._request.chatbot, prompt)
            async with aclosing(run.deltas()) as deltas:
                while (delta := await _before(deadline, anext(deltas, None))) is not None:
                    if held is not None:
                        delta = held.through(delta)
                    if delta.text:
                        if first:
                            first = False
                            _first_token(self._app, self._request, run, time.perf_counter() - started)
                        text.append(delta.text)
                    finish = delta.finish or finish
                    calls = calls or delta.tool_calls is not None
                    yield delta
                    if held is not None and held.stopped:
                        break
            if held is not None and held.hits:
                note_answer(self._app, self._request.chatbot.scope, "".join(text), held.hits)
            measure_route(self._app, run)
            self.answer = _answer(self.id, "".join(text), finish, run, books, prompt, self._request, inquiry.cached)
            await keep_inline(self._app, inquiry, self.answer, run, books, prompt, calls=calls)
        finally:
            inquiry.close()
            release(self._app, ticket, spent.usage if spent else None)


def stream(app: Services, request: InlineRequest) -> InlineStream:
    return InlineStream(app, cleaned(request))


async def complete(app: Services, request: InlineRequest) -> InlineAnswer:
    """Answer in one piece. Raises ProviderError when every target failed, DeadlineExceeded when it takes too long,
    RateLimited before anything is done."""
    deadline = asyncio.get_running_loop().time() + app.settings.answer_deadline_s
    request = cleaned(request)
    ticket = await _admit(app, request)
    spent: CallBooks | None = None
    standing = ticket.standing if ticket else None
    inquiry = Inquiry()
    try:
        check_attachments(app.http.guard, request.turns, request.options)
        await ask_caches(app, request, inquiry, deadline)
        if inquiry.again is not None:
            _check(app, request, inquiry)
            return answer_again(app, new_id(), inquiry, inquiry.again, standing)
        run, books, prompt = await _prepare(app, request, inquiry, deadline)
        spent = books
        completion = await _before(deadline, run.complete())
        held = window(request.chatbot, prompt.sources, output_filter(request.chatbot, prompt, replaces=False))
        if held is not None:
            text = held.feed(completion.text) + held.finish()
            if held.stopped:
                completion = replace(completion, finish=Finish.CONTENT_FILTER, tool_calls=None)
            completion = replace(completion, text=text)
            if held.hits:
                note_answer(app, request.chatbot.scope, text, held.hits)
        measure_route(app, run)
        answer = _answer(
            new_id(), completion.text, completion.finish, run, books, prompt, request, inquiry.cached, standing
        )
        await keep_inline(app, inquiry, answer, run, books, prompt, calls=bool(completion.tool_calls))
    finally:
        inquiry.close()
        release(app, ticket, spent.usage if spent else None)
    return replace(answer, tool_calls=completion.tool_calls) if completion.tool_calls else answer


async def _admit(app: Services, request: InlineRequest) -> Ticket | None:
    chatbot = request.chatbot
    return await admit_inline(
        app,
        chatbot,
        request.key,
        chars=sum([len(turn.content) for turn in request.turns]),
        max_tokens=min(request.max_tokens or chatbot.max_tokens, chatbot.max_tokens),
        visitor_id=request.visitor_id,
    )


async def _before(deadline: float, step: Awaitable[_Result]) -> _Result:
    """`step`'s result. Raises DeadlineExceeded, having cancelled it, at `deadline` on the loop's clock."""
    timer = asyncio.timeout_at(deadline)
    try:
        async with timer:
            return await step
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise DeadlineExceeded("the answer took longer than it may") from error


async def _prepare(
    app: Services, request: InlineRequest, inquiry: Inquiry, deadline: float
) -> tuple[ProviderRun, CallBooks, Prompt]:
    chatbot, question = request.chatbot, request.question
    prompt = await _framed(app, request, inquiry)
    prompt_tokens = await app.tokens.prompt(prompt)
    # A caller's tools and pictures are knowledge of their own.
    knows_nothing = (
        abstains(chatbot, question, prompt.sources)
        and not request.options.get("tools")
        and all(turn.extra is None for turn in request.turns)
    )
    chain = await targets_for(app, chatbot, prompt.sources, prompt_tokens=prompt_tokens, local=knows_nothing)
    books = CallBooks(
        app,
        chatbot.scope,
        prompt_tokens=prompt_tokens,
        max_output_tokens=prompt.max_tokens or chatbot.max_tokens,
        visitor_id=request.visitor_id,
    )
    run = ProviderRun(
        chain.targets,
        prompt,
        books,
        gates=app.gates,
        max_calls=app.settings.max_provider_calls,
        deadline=deadline,
        prompt_tokens=prompt_tokens.tokens,
        hedging=hedges(app, chatbot),
        skipped=chain.skipped,
        patience_s=app.settings.provider_patience_s,
        spare=spare_for(app, chatbot, books, prompt_tokens=prompt_tokens),
    )
    return run, books, prompt


def _check(app: Services, request: InlineRequest, inquiry: Inquiry) -> None:
    ask_behind(app, inquiry.plan, inquiry.meaning, functools.partial(_framed, app, request, inquiry))


async def _framed(app: Services, request: InlineRequest, inquiry: Inquiry) -> Prompt:
    question = request.question
    sources = await find_sources(
        app, request.chatbot, question, request.turns[: request.asked_at], vector=inquiry.vector
    )
    return _prompt(app, request, question, sources, inquiry, canary=await canary_for(app, request.chatbot))


def _prompt(
    app: Services, request: InlineRequest, question: str, sources: Sequence[Source], inquiry: Inquiry, *, canary: str
) -> Prompt:
    """The caller's turns are kept as they are; persona goes in front, knowledge before the last user turn."""
    chatbot = request.chatbot
    temperature = request.temperature if request.temperature is not None else chatbot.temperature
    max_tokens = min(request.max_tokens or chatbot.max_tokens, chatbot.max_tokens)
    bare = not (chatbot.policy or sources or chatbot.system_prompt or chatbot.personality or chatbot.persona)
    if bare and inquiry.verdict.action != "advise":
        return Prompt(
            turns=request.turns,
            question=question,
            temperature=temperature,
            max_tokens=max_tokens,
            options=request.options,
            no_answer_text=chatbot.no_answer_text or prompting.DEFAULT_NO_ANSWER,
            stable_turns=len(request.turns) - 1,
            cache_key=chatbot.id,
        )
    framed = prompting.build(
        question=question,
        history=(),
        sources=sources,
        name=chatbot.name,
        system_prompt=chatbot.system_prompt,
        personality=chatbot.personality,
        policy=chatbot.policy,
        temperature=temperature,
        max_tokens=max_tokens,
        room_tokens=room_tokens(app, chatbot),
        no_answer_text=chatbot.no_answer_text,
        persona=prompting.Persona.of(chatbot.persona),
        canary=canary,
        advice=advice_for(inquiry.verdict, suspicious=[source.n for source in sources if source.suspicious]),
        cache_key=chatbot.id,
        count=app.tokens.count,
    )
    turns = list(request.turns)
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].role == "user":
            turns[index] = Turn("user", framed.turns[-1].content, turns[index].extra)
            break
    return replace(framed, turns=(framed.turns[0], *turns), options=request.options, stable_turns=len(request.turns))


def _answer(
    answer_id: str,
    text: str,
    finish: Finish,
    run: ProviderRun,
    books: CallBooks,
    prompt: Prompt,
    request: InlineRequest,
    cached: CacheResult,
    standing: Standing | None = None,
) -> InlineAnswer:
    assert run.route is not None
    return InlineAnswer(
        id=answer_id,
        text=text,
        finish=finish,
        usage=books.usage,
        provider=run.route.provider,
        model=run.route.model,
        attempts=run.attempts,
        cost_nano=books.cost_nano,
        cached=cached,
        sources=shown(request.chatbot, prompt.sources),
        standing=standing,
    )


def _first_token(app: Services, request: InlineRequest, run: ProviderRun, seconds: float) -> None:
    assert run.route is not None
    tenant = app.metrics.tenant(request.chatbot.tenant_id)
    provider = provider_label(app, run.route.provider)
    app.metrics.first_token_seconds.labels(tenant, provider, "inline").observe(seconds)
