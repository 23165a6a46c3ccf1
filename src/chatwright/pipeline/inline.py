"""The same pipeline without a queue: `/v1/chat/completions` and `/v1/embeddings`. Stateless but for the ledger."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from chatwright.domain.chatbot import Chatbot, ProviderLink
from chatwright.domain.errors import DeadlineExceeded, NotFound, ProviderError
from chatwright.domain.ids import new_id
from chatwright.domain.limits import LimitedKey, Standing
from chatwright.domain.providers import Delta, Finish, Prompt, Source, Turn, Usage
from chatwright.domain.scope import Scope
from chatwright.features import prompting
from chatwright.features.limits import Ticket
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.attachments import check_attachments
from chatwright.pipeline.books import CallBooks, measure_route, provider_label
from chatwright.pipeline.knowledge import find_sources
from chatwright.pipeline.limits import admit_embedding, admit_inline, release, room_tokens
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import chain_for, hedges, spare_for, targets_for

LOCAL_EMBEDDER = "chatwright-embed"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineRequest:
    """`turns` as the caller sent them, ending with the question; `options` are passed through to the provider."""

    chatbot: Chatbot
    turns: tuple[Turn, ...]
    key: LimitedKey | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineAnswer:
    """`attempts` counts provider calls, `cost_nano` is None when no price is known."""

    id: str
    text: str
    finish: Finish
    usage: Usage
    provider: str
    model: str
    attempts: int
    cost_nano: int | None
    cached: str = "bypass"
    tool_calls: list[dict[str, Any]] | None = None
    sources: Sequence[Source] = ()
    standing: Standing | None = None


class InlineStream:
    """One streamed inline answer. `standing` is set before the first piece comes where rate limits apply, `answer` once
    `deltas()` has ended well."""

    def __init__(self, app: Services, request: InlineRequest) -> None:
        self._app = app
        self._request = request
        self.id = new_id()
        self.standing: Standing | None = None
        self.answer: InlineAnswer | None = None

    async def deltas(self) -> AsyncGenerator[Delta]:
        """Yield the answer's pieces. Raises ProviderError and others before the first piece or in the middle,
        DeadlineExceeded when the answer takes too long; closing the generator closes the call upstream at once."""
        deadline = asyncio.get_running_loop().time() + self._app.settings.answer_deadline_s
        ticket = await _admit(self._app, self._request)
        self.standing = ticket.standing if ticket else None
        spent: CallBooks | None = None
        try:
            run, books, prompt = await _prepare(self._app, self._request, deadline)
            spent = books
            text: list[str] = []
            finish = Finish.OTHER
            started = time.perf_counter()
            first = True
            async with aclosing(run.deltas()) as deltas:
                while (delta := await _before(deadline, anext(deltas, None))) is not None:
                    if delta.text:
                        if first:
                            first = False
                            _first_token(self._app, self._request, run, time.perf_counter() - started)
                        text.append(delta.text)
                    finish = delta.finish or finish
                    yield delta
        finally:
            release(self._app, ticket, spent.usage if spent else None)
        measure_route(self._app, run)
        self.answer = _answer(self.id, "".join(text), finish, run, books, prompt)


def stream(app: Services, request: InlineRequest) -> InlineStream:
    return InlineStream(app, request)


async def complete(app: Services, request: InlineRequest) -> InlineAnswer:
    """Answer in one piece. Raises ProviderError when every target failed, DeadlineExceeded when it takes too long,
    RateLimited before anything is done."""
    deadline = asyncio.get_running_loop().time() + app.settings.answer_deadline_s
    ticket = await _admit(app, request)
    spent: CallBooks | None = None
    try:
        run, books, prompt = await _prepare(app, request, deadline)
        spent = books
        completion = await _before(deadline, run.complete())
    finally:
        release(app, ticket, spent.usage if spent else None)
    measure_route(app, run)
    standing = ticket.standing if ticket else None
    answer = _answer(new_id(), completion.text, completion.finish, run, books, prompt, standing)
    return replace(answer, tool_calls=completion.tool_calls) if completion.tool_calls else answer


async def embed(
    app: Services, scope: Scope, texts: Sequence[str], model: str, *, key: LimitedKey | None = None
) -> tuple[list[list[float]], Usage, str, Standing | None]:
    """One vector per text, by the local embedder (`chatwright-embed`) or by `provider/model`.

    Raises NotFound for a model that is not configured, RateLimited before anything is done.
    """
    tokens = sum(prompting.estimate_tokens(text) for text in texts)
    ticket = await admit_embedding(app, scope, key, tokens=tokens)
    spent: Usage | None = None
    try:
        vectors, usage, name = await _embed(app, scope, texts, model)
        spent = usage
    finally:
        release(app, ticket, spent)
    return vectors, usage, name, ticket.standing if ticket else None


async def _embed(app: Services, scope: Scope, texts: Sequence[str], model: str) -> tuple[list[list[float]], Usage, str]:
    if model == LOCAL_EMBEDDER:
        vectors = await app.embedder.embed(texts)
        tokens = sum(prompting.estimate_tokens(text) for text in texts)
        return vectors.tolist(), Usage(input_tokens=tokens, estimated=True), LOCAL_EMBEDDER
    provider, _, name = model.partition("/")
    if not name:
        raise NotFound(f"no embedding model {model!r}; use {LOCAL_EMBEDDER} or provider/model", param="model")
    chain = await chain_for(app, scope, [ProviderLink(provider=provider, model=name)], with_extractive=False)
    if not chain.targets:
        if chain.skipped[0].error_class == "not_configured":
            raise NotFound(chain.skipped[0].message, param="model")
        raise chain.skipped[0]
    target = chain.targets[0]
    tokens = sum(prompting.estimate_tokens(text) for text in texts)
    books = CallBooks(app, scope, prompt_tokens=tokens, max_output_tokens=0, purpose="embedding")
    call_id = await books.open(target.route)
    state, usage, failed = "cancelled", None, None
    try:
        embeddings = await target.wire.embed(replace(target.route, call_id=call_id), texts)
        usage = embeddings.usage or Usage(input_tokens=tokens, estimated=True)
        state = "ok"
    except ProviderError as error:
        state, usage, failed = "failed", error.usage, error
        raise
    finally:
        books.close(call_id, target.route, state, usage, failed)
    return embeddings.vectors, usage or Usage(), embeddings.model or name


async def _admit(app: Services, request: InlineRequest) -> Ticket | None:
    chatbot = request.chatbot
    return await admit_inline(
        app,
        chatbot,
        request.key,
        chars=sum([len(turn.content) for turn in request.turns]),
        max_tokens=min(request.max_tokens or chatbot.max_tokens, chatbot.max_tokens),
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


async def _prepare(app: Services, request: InlineRequest, deadline: float) -> tuple[ProviderRun, CallBooks, Prompt]:
    chatbot = request.chatbot
    check_attachments(app.http.guard, request.turns, request.options)
    question = next((turn.content for turn in reversed(request.turns) if turn.role == "user"), "")
    app.metrics.cache_requests.labels("bypass").inc()
    sources = await find_sources(app, chatbot, question)
    prompt = _prompt(app, request, question, sources)
    prompt_tokens = sum(len(turn.content) for turn in prompt.turns) // 3 + 8
    chain = await targets_for(app, chatbot, sources, prompt_tokens=prompt_tokens)
    books = CallBooks(
        app,
        chatbot.scope,
        prompt_tokens=prompt_tokens,
        max_output_tokens=prompt.max_tokens or chatbot.max_tokens,
    )
    run = ProviderRun(
        chain.targets,
        prompt,
        books,
        gates=app.gates,
        max_calls=app.settings.max_provider_calls,
        deadline=deadline,
        prompt_tokens=prompt_tokens,
        hedging=hedges(app, chatbot),
        skipped=chain.skipped,
        patience_s=app.settings.provider_patience_s,
        spare=spare_for(app, chatbot, books, prompt_tokens=prompt_tokens),
    )
    return run, books, prompt


def _prompt(app: Services, request: InlineRequest, question: str, sources: Sequence[Source]) -> Prompt:
    """The caller's turns are kept as they are; persona goes in front, knowledge before the last user turn."""
    chatbot = request.chatbot
    temperature = request.temperature if request.temperature is not None else chatbot.temperature
    max_tokens = min(request.max_tokens or chatbot.max_tokens, chatbot.max_tokens)
    if not sources and not chatbot.system_prompt and not chatbot.personality:
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
        with_knowledge=bool(sources),
        temperature=temperature,
        max_tokens=max_tokens,
        room_tokens=room_tokens(app, chatbot),
        no_answer_text=chatbot.no_answer_text,
        cache_key=chatbot.id,
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
        sources=prompt.sources,
        standing=standing,
    )


def _first_token(app: Services, request: InlineRequest, run: ProviderRun, seconds: float) -> None:
    assert run.route is not None
    tenant = app.metrics.tenant(request.chatbot.tenant_id)
    provider = provider_label(app, run.route.provider)
    app.metrics.first_token_seconds.labels(tenant, provider, "inline").observe(seconds)
