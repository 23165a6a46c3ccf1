"""Which rate limits a request meets, and what it takes from them: its tenant's, chatbot's, visitor's and key's.

A request without any limit costs no round trip. Messages are let in at accept and settled by whoever ends them; calls to
`/v1` are let in and settled in one process; batch jobs are let in by the worker, and wait where they are not.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BadRequest, ChatwrightError, NotFound, PayloadTooLarge, RateLimited
from chatwright.domain.ids import ChatbotId, ConversationId, MessageId, TenantId, new_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.limits import LimitedKey, Limits, limits_in
from chatwright.domain.messages import Answer, Draft
from chatwright.domain.providers import Usage
from chatwright.domain.scope import Scope
from chatwright.features import conversations, prompting, tenancy
from chatwright.features.limits import Rule, Ticket
from chatwright.pipeline.services import Services

_MARGIN_S = 5.0
_LEAST_ROOM = 200
RATINGS_A_MINUTE = 30
"""More than a hurried visitor says of answers."""
_BATCH_JOBS = (JobType.CSV_IMPORT_BATCH, JobType.CONVERSATION_SUMMARY)
"""What nobody sits and waits for, and comes in masses."""


async def admit_inline(
    app: Services,
    chatbot: Chatbot,
    key: LimitedKey | None,
    *,
    chars: int,
    max_tokens: int,
    visitor_id: str | None = None,
) -> Ticket | None:
    """Let one `/v1` completion in; None where nothing is limited. Hand it to `release`.

    `chars`: of the prompt as it came. `visitor_id`: whom the caller asks for, if it says so. Raises RateLimited, BadRequest for a prompt longer than the plan allows.
    """
    at_most = tenancy.plan_of(chatbot.plan).max_context_tokens
    if chars // 4 > at_most:
        raise BadRequest(
            f"the messages have about {chars // 4:,} tokens; the plan {chatbot.plan} allows {at_most:,}",
            param="messages",
        )
    rules = _rules(chatbot.plan, chatbot, visitor_id=visitor_id, key=key)
    if not rules:
        return None
    return await _admit(
        app,
        chatbot.tenant_id,
        rules,
        tokens=chars // 4 + max_tokens,
        member=new_id(),
        hold_s=app.settings.answer_deadline_s + _MARGIN_S,
    )


async def admit_embedding(app: Services, scope: Scope, key: LimitedKey | None, *, tokens: int) -> Ticket | None:
    """Let one call to `/v1/embeddings` in, like `admit_inline`. It belongs to no chatbot, so no visitor's limits apply."""
    plan, _ = await app.chatbots.rating(scope.tenant_id)
    rules = _rules(plan, None, tenant_id=scope.tenant_id, key=key)
    if not rules:
        return None
    hold_s = app.settings.answer_deadline_s + _MARGIN_S
    return await _admit(app, scope.tenant_id, rules, tokens=tokens, member=new_id(), hold_s=hold_s)


def release(app: Services, ticket: Ticket | None, usage: Usage | None) -> None:
    """The request has ended, well or badly; `usage` None: it came to no call."""
    if ticket is not None:
        app.limiter.release(ticket, 0 if usage is None else usage.input_tokens + usage.output_tokens)


async def admit_message(
    app: Services, scope: Scope, draft: Draft, text: str, message_id: MessageId
) -> tuple[Ticket | None, int]:
    """Let a visitor's message in: (the ticket or None, the priority that the tenant's plan allows).

    Raises RateLimited, PayloadTooLarge for a text longer than the plan's longest prompt, NotFound for a conversation
    that is not the caller's, Unavailable.
    """
    plan, has_limits = await app.chatbots.rating(scope.tenant_id)
    granted = tenancy.plan_of(plan)
    # No script has more than a token for each character: most texts need not be counted to be known to fit.
    if (
        len(text) > granted.max_context_tokens
        and (length := prompting.estimate_tokens(text)) > granted.max_context_tokens
    ):
        raise PayloadTooLarge(
            f"the text has about {length:,} tokens; the plan {plan} allows prompts of {granted.max_context_tokens:,}",
            param="text",
        )
    priority = min(draft.priority, granted.max_priority)
    if not has_limits and draft.key is None and granted.limits == _NONE:
        return None, priority
    chatbot_id, visitor_id = scope.chatbot_id or draft.chatbot_id, draft.visitor_id
    if draft.conversation_id is not None and (chatbot_id is None or visitor_id is None):
        chatbot_id, visitor_id = await _owners(app, scope, draft)
    if chatbot_id is None:
        raise NotFound("no such conversation")
    chatbot = await app.chatbots.get(scope, chatbot_id)
    rules = _rules(plan, chatbot, visitor_id=visitor_id, key=draft.key)
    if not rules:
        return None, priority
    ticket = await _admit(
        app,
        scope.tenant_id,
        rules,
        tokens=prompting.estimate_tokens(text) + chatbot.max_tokens,
        member=message_id,
        # It may lie in the queue for as long as an answer may take, and then take that long.
        hold_s=2 * app.settings.answer_deadline_s,
        keep_record=True,
    )
    return ticket, priority


async def settle_message(app: Services, job: Job, answer: Answer | None) -> None:
    """A message has ended: give back what was taken for it. Without an answer its tokens stay taken; they come back
    within the minute. Never raises: what is not given back ends by itself."""
    if job.message_id is None:
        return
    try:
        # The message's own record says what it took, from its key and its visitor too. Where the tenant has no limits at
        # all there is none, and nobody asks for it.
        plan, has_limits = await app.chatbots.rating(job.scope.tenant_id)
        if has_limits or tenancy.plan_of(plan).limits != _NONE:
            used = None if answer is None else answer.usage.input_tokens + answer.usage.output_tokens
            await app.limiter.settle_message(job.scope.tenant_id, job.message_id, used_tokens=used)
    except (ChatwrightError, TimeoutError):
        return


async def admit_job(app: Services, job: Job) -> None:
    """Let one run of a batch job in. Raises RateLimited: the job waits until it fits, and no attempt is counted."""
    if job.type not in _BATCH_JOBS or "keep_upto" in job.payload:
        return  # what a conversation remembers was let in with its messages
    plan, has_limits = await app.chatbots.rating(job.scope.tenant_id)
    chatbot = None
    if has_limits and job.scope.chatbot_id is not None:
        chatbot = await app.chatbots.get(job.scope, job.scope.chatbot_id)
    rules = [
        Rule(rule.kind, rule.id, Limits(requests_per_minute=rule.limits.requests_per_minute))
        for rule in _rules(plan, chatbot, tenant_id=job.scope.tenant_id)
    ]
    await _admit(app, job.scope.tenant_id, rules, tokens=0, member=job.id, hold_s=0.0)


async def admit_rating(app: Services, scope: Scope, conversation_id: ConversationId, *, visitor_id: str | None) -> None:
    """Let one word on an answer in. A bound of its own for each visitor (a tenant that rates for them: each conversation),
    which takes nothing of what messages may. Raises RateLimited."""
    whose = conversation_id if visitor_id is None else f"{scope.chatbot_id}:{_digest(visitor_id)}"
    rule = Rule("visitor", f"ratings:{whose}", Limits(requests_per_minute=RATINGS_A_MINUTE))
    await _admit(app, scope.tenant_id, [rule], tokens=0, member=new_id(), hold_s=0.0)


def room_tokens(app: Services, chatbot: Chatbot) -> int:
    """How long a prompt may be that we build: the operator's bound, the plan's, or what the chatbot's first model holds
    beside its answer, whichever is tightest."""
    room = min(app.settings.room_tokens, tenancy.plan_of(chatbot.plan).max_context_tokens)
    if chatbot.providers:
        link = chatbot.providers[0]
        context = app.catalogue.model(link.provider, link.model).context_tokens
        if context is not None and context < room + chatbot.max_tokens + room // 4:
            # Models count in their own ways: a quarter more than we do, most of them.
            room = max(_LEAST_ROOM, (context - chatbot.max_tokens) * 4 // 5)
    return room


def _rules(
    plan: str,
    chatbot: Chatbot | None,
    *,
    tenant_id: TenantId | None = None,
    visitor_id: str | None = None,
    key: LimitedKey | None = None,
) -> list[Rule]:
    rules: list[Rule] = []
    limits = tenancy.plan_of(plan).limits
    if limits is not _NONE and limits != _NONE:
        rules.append(Rule("tenant", tenant_id or (chatbot.tenant_id if chatbot else ""), limits))
    if chatbot is not None and chatbot.limits:
        limits = limits_in(chatbot.limits)
        if limits != _NONE:
            rules.append(Rule("chatbot", chatbot.id, limits))
        if visitor_id is not None and (limits := _visitor_limits(chatbot.limits)) != _NONE:
            rules.append(Rule("visitor", f"{chatbot.id}:{_digest(visitor_id)}", limits))
    if key is not None and key.limits != _NONE:
        rules.append(Rule("key", key.id, key.limits))
    return rules


_NONE = Limits()


def _digest(visitor_id: str) -> str:
    """Tenants choose visitors' ids: any text, of any length."""
    return blake2b(visitor_id.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _visitor_limits(fields: Mapping[str, Any]) -> Limits:
    """A chatbot's limits for each of its visitors: those whose names begin with `visitor_`."""
    start = "visitor_"
    return limits_in({name[len(start) :]: value for name, value in fields.items() if name.startswith(start)})


async def _admit(
    app: Services,
    tenant_id: TenantId,
    rules: Sequence[Rule],
    *,
    tokens: int,
    member: str,
    hold_s: float,
    keep_record: bool = False,
) -> Ticket:
    """`Limiter.admit`, its refusals counted."""
    try:
        return await app.limiter.admit(
            tenant_id, rules, tokens=tokens, member=member, hold_s=hold_s, keep_record=keep_record
        )
    except RateLimited as error:
        app.metrics.refusals.labels(error.scope or "other", error.unit or "other").inc()
        raise


async def _owners(app: Services, scope: Scope, draft: Draft) -> tuple[ChatbotId, str]:
    """The conversation's chatbot and visitor. Raises NotFound if it is not the caller's."""
    assert draft.conversation_id is not None
    async with app.db.transaction(scope) as db:
        found = await conversations.get_conversation(db, scope, draft.conversation_id, visitor_id=draft.visitor_id)
    if found is None:
        raise NotFound("no such conversation")
    return found.chatbot_id, found.visitor_id
