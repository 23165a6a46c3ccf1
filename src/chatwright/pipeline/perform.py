"""Runs one claimed job to its end, whatever its type, and decides what follows a failure."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog

from chatwright.adapters.queue import QUEUES, QueueName
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import (
    ChatwrightError,
    DeadlineExceeded,
    NotFound,
    ProviderError,
    RateLimited,
    Retry,
    Unavailable,
    Unprocessable,
)
from chatwright.domain.ids import ConversationId, CrawlId, DocumentId, ImportId, KnowledgeBaseId, is_id
from chatwright.domain.jobs import Job, JobType
from chatwright.domain.messages import MessageState
from chatwright.features import crawling, jobs, knowledge
from chatwright.features.conversations import LoadedTurn
from chatwright.pipeline.analysing import analyze, run_text_job
from chatwright.pipeline.answer import answer
from chatwright.pipeline.apology import with_apology
from chatwright.pipeline.bulk import fail_import, run_import
from chatwright.pipeline.bursts import gather
from chatwright.pipeline.crawl import crawl_site
from chatwright.pipeline.embedding_batches import Unfinished
from chatwright.pipeline.ending import Ending, end_message, words_of
from chatwright.pipeline.index import index_document
from chatwright.pipeline.limits import admit_job
from chatwright.pipeline.reembed import reembed
from chatwright.pipeline.services import Services
from chatwright.pipeline.submit import check_rows, search_knowledge
from chatwright.pipeline.summary import summarise

_log = structlog.get_logger(__name__)
_SHARE_OF_TIME = 0.95
"""Of a queue's time-out: the work ends itself before the consumer ends it."""
_MOST_AWAY_DELAY_S = 60.0


class _TookTooLong(DeadlineExceeded):
    retry = Retry.LATER


async def perform(app: Services, job: Job, turn: LoadedTurn | None = None) -> Any:
    """Do the job's work and mark it done. Returns its result; raises what the work raised.

    `turn` is a chat job's turn if the claim loaded it along.
    """
    if job.type is JobType.CHAT_RESPONSE:
        await answer(app, job, await gather(app, job, turn))
        return None
    await admit_job(app, job)
    result = await _work_in_time(app, job)
    async with app.db.transaction(job.scope) as db:
        await jobs.finish(db, job, result)
    return result


async def settle_failure(app: Services, job: Job, error: ChatwrightError) -> float | None:
    """Decide and store what follows `error`. Returns seconds until the next attempt, or None: the job is at rest now.

    A server of ours being away costs no attempt; what stays away is asked for less and less often. What can never succeed, and what has used up its queue's attempts,
    becomes a dead letter; a chat message then ends as failed and its followers are told.
    """
    policy = QUEUES[QueueName(job.queue)]
    ours_away = isinstance(error, (Unavailable, RateLimited))  # neither is the job's fault: it waits
    passing = error.retry is not Retry.NEVER and getattr(error, "retriable", True)
    again = passing and not getattr(error, "final", False) and job.failures + 1 < policy.attempts
    if ours_away or again:
        delay_s = _away_delay_s(job) if ours_away else policy.backoff_s * 2**job.failures
        if isinstance(error, RateLimited):
            delay_s = error.retry_after_s
        elif isinstance(error, Unfinished):
            delay_s = error.delay_s
        async with app.db.transaction(job.scope) as db:
            await jobs.retry(db, job, delay_s=delay_s, counts=not ours_away, code=error.code, message=words_of(error))
        return delay_s
    if job.type is JobType.CHAT_RESPONSE:
        ending = Ending(state=MessageState.FAILED, error=error, dead_letter=True, retriable=passing)
        await end_message(app, job, await with_apology(app, job, ending), last_seq=0)
    else:
        async with app.db.transaction(job.scope) as db:
            if await jobs.fail(db, job, state="failed", code=error.code, message=words_of(error)):
                await jobs.add_dead_letter(db, job, reason=words_of(error), error_class=_class(error))
                # A payload may come from a foreign producer or an edited dead letter: it need not name a document.
                document_id = job.payload.get("document_id")
                if job.type is JobType.DOCUMENT_INDEX and isinstance(document_id, str) and is_id(document_id):
                    await knowledge.set_document_state(
                        db, job.scope, DocumentId(document_id), "failed", error=words_of(error)
                    )
                crawl_id = job.payload.get("crawl_id")
                if job.type is JobType.SITE_CRAWL and isinstance(crawl_id, str) and is_id(crawl_id):
                    await crawling.finish_crawl(db, job.scope, CrawlId(crawl_id), "failed", error=words_of(error))
        if job.type is JobType.CSV_IMPORT_BATCH:
            await fail_import(app, job, error)
    _log.warning("job.dead", job_id=job.id, job_type=job.type, code=error.code, error=error.message)
    return None


def _away_delay_s(job: Job) -> float:
    """A visitor waits, and no longer than the answer's deadline; other jobs have time and may have no deadline."""
    return 1.0 if job.type is JobType.CHAT_RESPONSE else min(_MOST_AWAY_DELAY_S, 2.0 ** min(job.attempt - 1, 10))


async def _work_in_time(app: Services, job: Job) -> Any:
    """Raises DeadlineExceeded when the job's own deadline has passed, or its queue's time is over: that one counts as
    a failed attempt. The consumer's time-out behind it would only end the task, and the job would run for ever."""
    limit_s = _SHARE_OF_TIME * QUEUES[QueueName(job.queue)].timeout_s
    own_s = limit_s if job.deadline_at_s is None else job.deadline_at_s - time.time()
    if own_s <= 0:
        raise DeadlineExceeded("the job's deadline passed before it was run")
    timer = asyncio.timeout(min(limit_s, own_s))
    try:
        async with timer:
            return await _work(app, job)
    except TimeoutError as error:
        if not timer.expired():
            raise
        if own_s < limit_s:
            raise DeadlineExceeded("the job's deadline passed while it ran") from error
        raise _TookTooLong(f"the job took longer than the {limit_s:g} s that its queue allows") from error


async def _work(app: Services, job: Job) -> Any:
    payload = job.payload
    match job.type:
        case JobType.SENTIMENT_ANALYSIS | JobType.INTENT_CLASSIFICATION | JobType.ANIMATION_SELECTION:
            return await run_text_job(app, job, await _chatbot(app, job))
        case JobType.KNOWLEDGE_SEARCH:
            return await _search(app, job, payload)
        case JobType.CONVERSATION_SUMMARY:
            return await summarise(app, job, ConversationId(_id(payload, "conversation_id")))
        case JobType.DOCUMENT_INDEX:
            document_id = DocumentId(_id(payload, "document_id"))
            indexed = await index_document(app, job.scope, document_id)
            return {
                "document_id": document_id,
                "chunks": indexed.chunks if indexed else 0,
                "embedded": indexed.embedded if indexed else 0,
            }
        case JobType.KNOWLEDGE_REEMBED:
            base_id = KnowledgeBaseId(_id(payload, "knowledge_base_id"))
            return {"knowledge_base_id": base_id, "embedded": await reembed(app, job.scope, base_id)}
        case JobType.SITE_CRAWL:
            return await crawl_site(app, job, CrawlId(_id(payload, "crawl_id")))
        case JobType.CSV_IMPORT_BATCH if "rows" not in payload:
            return await run_import(app, job, ImportId(_id(payload, "import_id")))
        case JobType.CSV_IMPORT_BATCH:
            rows = payload.get("rows")
            texts = check_rows(rows if isinstance(rows, list) else [], max_chars=app.settings.max_text_chars)
            return {"results": await analyze(app, job.scope, texts, await _chatbot(app, job))}
        case JobType.CHAT_RESPONSE:
            raise AssertionError("chat jobs are answered, see perform")


def _text(payload: Mapping[str, Any], name: str) -> str:
    """A text out of a payload, into which a foreign producer may put anything. Raises Unprocessable."""
    value = payload.get(name)
    if not isinstance(value, str):
        raise Unprocessable(f"the payload needs `{name}`, a text", param=f"payload.{name}")
    return value


def _id(payload: Mapping[str, Any], name: str) -> str:
    """An id out of a payload. Raises Unprocessable: no later attempt will find one there."""
    value = payload.get(name)
    if not isinstance(value, str) or not is_id(value):
        raise Unprocessable(f"the payload's `{name}` is no id of ours", param=f"payload.{name}")
    return value


async def _chatbot(app: Services, job: Job) -> Chatbot | None:
    """The chatbot that the job names, None where it names none."""
    return None if job.scope.chatbot_id is None else await app.chatbots.get(job.scope, job.scope.chatbot_id)


async def _search(app: Services, job: Job, payload: Mapping[str, Any]) -> dict[str, Any]:
    if job.scope.chatbot_id is None:
        raise NotFound("the job names no chatbot")
    chatbot = await app.chatbots.get(job.scope, job.scope.chatbot_id)
    if chatbot.knowledge_base_id is None:
        return {"results": []}
    k = payload.get("k")
    hits = await search_knowledge(
        app,
        job.scope,
        chatbot.knowledge_base_id,
        _text(payload, "query"),
        k if isinstance(k, int) and 0 < k <= 50 else 5,
    )
    return {
        "results": [
            {
                "document_id": hit.document_id,
                "title": hit.title,
                "url": hit.url,
                "score": hit.score,
                "text": hit.text,
                "explain": hit.explain,
            }
            for hit in hits
        ]
    }


def _class(error: ChatwrightError) -> str:
    return error.error_class if isinstance(error, ProviderError) else error.code
