"""Work that a tenant hands in apart from chat and documents: single jobs, searches, and dead letters."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from chatwright.adapters.queue import route
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import Conflict, NotFound, Unprocessable
from chatwright.domain.ids import DeadLetterId, JobId, KnowledgeBaseId, is_id, new_id
from chatwright.domain.jobs import JobType
from chatwright.domain.scope import Scope
from chatwright.features import conversations, jobs, tenancy
from chatwright.pipeline.accept import inspect
from chatwright.pipeline.analysing import TEXT_JOBS, texts_of
from chatwright.pipeline.enqueue import enqueue, enqueue_row
from chatwright.pipeline.knowledge import explain_search
from chatwright.pipeline.services import Services

DEFAULT_PRIORITY = 5
ROWS_AT_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """`score` is the relevance in 0..1, `explain` how it came about; `why_not` says why it would be no source."""

    document_id: str
    title: str
    url: str | None
    score: float
    text: str
    explain: dict[str, Any] = field(default_factory=dict[str, Any])
    why_not: str | None = None


async def submit_job(
    app: Services,
    scope: Scope,
    *,
    job_type: JobType,
    chatbot: Chatbot | None,
    payload: dict[str, Any],
    priority: int | None = None,
    deadline: datetime | None = None,
    cost_estimate_nano: int | None = None,
    idempotency_key: str | None = None,
) -> JobId:
    """Commit one job and queue it. Raises Unprocessable for a payload the type cannot work with, Conflict when the
    idempotency key was used for something else."""
    _check_payload(app, job_type, chatbot, payload)
    plan, _ = await app.chatbots.rating(scope.tenant_id)
    chosen = min(priority or DEFAULT_PRIORITY, tenancy.plan_of(plan).max_priority)
    queue = route(job_type, chosen)
    job_id = JobId(new_id())
    owner = chatbot.scope if chatbot is not None else scope
    async with app.db.transaction(scope) as db:
        if idempotency_key is not None:
            digest = hashlib.sha256(repr((job_type, payload, chosen)).encode()).digest()
            earlier = await conversations.remember_key(db, scope, f"job:{idempotency_key}", digest, {"id": job_id})
            if earlier is not None:
                if earlier.body_hash != digest or earlier.response is None:
                    raise Conflict("this Idempotency-Key was used for another request", param="Idempotency-Key")
                return JobId(earlier.response["id"])
        await jobs.insert_job(
            db,
            owner,
            job_id=job_id,
            job_type=job_type,
            queue=queue,
            priority=chosen,
            payload=payload,
            deadline_at=deadline,
            cost_estimate_nano=cost_estimate_nano,
        )
    await enqueue(app, scope, job_id=job_id, job_type=job_type, queue=queue, priority=chosen, generation=1)
    return job_id


async def search_knowledge(
    app: Services,
    scope: Scope,
    knowledge_base_id: KnowledgeBaseId,
    query: str,
    k: int,
    *,
    threshold: float | None = None,
) -> list[SearchHit]:
    """The `k` best passages with their scores, those below the threshold too (None: the platform's). Raises NotFound."""
    text = inspect(query, max_chars=app.settings.max_text_chars)
    return [
        SearchHit(
            document_id=found.hit.document_id,
            title=found.hit.title,
            url=found.hit.url,
            score=found.hit.relevance,
            text=found.hit.text,
            explain=found.explain,
            why_not=found.why_not,
        )
        for found in await explain_search(app, scope, knowledge_base_id, text, k=k, threshold=threshold)
    ]


async def replay_dead_letter(
    app: Services, scope: Scope, dead_letter_id: DeadLetterId, *, payload: dict[str, Any] | None = None
) -> JobId:
    """Run a dead job again as its next generation, with another payload if one is given. Doing it twice is doing it
    once. Raises NotFound, and Conflict for a discarded letter or a job that is under way again."""
    async with app.db.transaction(scope) as db:
        letter = await _letter(db, scope, dead_letter_id)
        if letter.state == "replayed":
            return letter.job_id
        if letter.state == "discarded":
            raise Conflict("this dead letter was discarded; it is not replayed any more")
        if letter.message_id is not None:
            await conversations.lock_conversation_of(db, scope, letter.message_id)
            await conversations.reopen(db, scope, letter.message_id, text=_edited_text(app, payload))
        row = await jobs.requeue(db, scope, letter.job_id, generation=letter.generation, payload=payload)
        if row is None:
            raise Conflict("the job is not at rest: it was replayed by another letter or is running")
        await jobs.mark_replayed(db, scope, dead_letter_id)
    if row["state"] == "queued":
        await enqueue_row(app, scope, dict(row))
    return letter.job_id


async def discard_dead_letter(app: Services, scope: Scope, dead_letter_id: DeadLetterId) -> None:
    """Put a dead letter aside for good. Raises NotFound, and Conflict for one that was replayed."""
    async with app.db.transaction(scope) as db:
        letter = await _letter(db, scope, dead_letter_id)
        if letter.state == "replayed":
            raise Conflict("this dead letter was replayed")
        await jobs.discard(db, scope, dead_letter_id)


def _edited_text(app: Services, payload: dict[str, Any] | None) -> str | None:
    """The text that an edited chat job is replayed with; None leaves the visitor's own."""
    if payload is None or "text" not in payload:
        return None
    if not isinstance(payload["text"], str):
        raise Unprocessable("`text` must be a string", param="payload.text")
    return inspect(payload["text"], max_chars=app.settings.max_text_chars)


async def _letter(db: Any, scope: Scope, dead_letter_id: DeadLetterId) -> jobs.DeadLetter:
    letter = await jobs.get_dead_letter(db, scope, dead_letter_id) if is_id(dead_letter_id) else None
    if letter is None:
        raise NotFound("no such dead letter")
    return letter


def check_rows(rows: list[Any], *, max_chars: int) -> list[str]:
    """The texts of an import batch: at most 100 rows, each with a `text`. Raises Unprocessable, or what `inspect` does."""
    if not 1 <= len(rows) <= ROWS_AT_MOST:
        raise Unprocessable(f"a batch has 1 to {ROWS_AT_MOST} rows, not {len(rows)}", param="payload.rows")
    texts: list[str] = []
    for at, row in enumerate(rows):
        text = cast("dict[str, Any]", row).get("text") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise Unprocessable("each row is an object with a `text`", param=f"payload.rows[{at}].text")
        texts.append(inspect(text, max_chars=max_chars))
    return texts


def _check_payload(app: Services, job_type: JobType, chatbot: Chatbot | None, payload: dict[str, Any]) -> None:
    """Refuse now what would fail later."""

    def need(name: str, kind: type) -> None:
        if not isinstance(payload.get(name), kind):
            raise Unprocessable(f"{job_type} needs `{name}` ({kind.__name__}) in its payload", param=f"payload.{name}")

    def need_id(name: str) -> None:
        if not is_id(payload[name]):
            raise Unprocessable(f"{job_type} needs an id of ours in `{name}`", param=f"payload.{name}")

    if job_type in TEXT_JOBS:
        texts_of(app, job_type, payload)
    elif job_type is JobType.KNOWLEDGE_SEARCH:
        need("query", str)
        inspect(payload["query"], max_chars=app.settings.max_text_chars)
        if chatbot is None:
            raise Unprocessable("knowledge_search needs a chatbot", param="chatbot")
    elif job_type is JobType.CONVERSATION_SUMMARY:
        need("conversation_id", str)
        need_id("conversation_id")
    elif job_type is JobType.DOCUMENT_INDEX:
        need("document_id", str)
        need_id("document_id")
    elif job_type is JobType.KNOWLEDGE_REEMBED:
        need("knowledge_base_id", str)
        need_id("knowledge_base_id")
    elif job_type is JobType.SITE_CRAWL:
        raise Unprocessable("send sitemaps and sites to POST /api/v1/knowledge-bases/{id}/documents", param="type")
    elif job_type is JobType.CHAT_RESPONSE:
        raise Unprocessable("send chat messages to POST /api/v1/conversations/{id}/messages", param="type")
    else:
        need("rows", list)
        check_rows(payload["rows"], max_chars=app.settings.max_text_chars)
