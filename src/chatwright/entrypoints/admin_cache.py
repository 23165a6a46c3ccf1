"""A chatbot's caches: figures, entries with where they came from, purges, seeds, and what people say of cached answers."""

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import BadRequest, NotFound, Unprocessable
from chatwright.domain.ids import is_id
from chatwright.domain.times import rfc3339
from chatwright.entrypoints.auth import tenant_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.entrypoints.once import once
from chatwright.entrypoints.wire import JsonObject, Request
from chatwright.features import tenancy
from chatwright.features.cache import CachedAnswer
from chatwright.pipeline import cache_admin, cache_seeds
from chatwright.pipeline.cache_admin import Wanted
from chatwright.pipeline.cache_feedback import note_feedback, reject_phrasing
from chatwright.pipeline.cache_seeds import Seed

_TEXT_AT_MOST = 2_000
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(min_length=1, max_length=_TEXT_AT_MOST)]
Question = Annotated[str, Meta(min_length=1, max_length=4_000)]


class CacheStatsReply(msgspec.Struct, frozen=True):
    """`exact` counts entries and bytes in Valkey, the chatbot's and (`platform_…`) everybody's. `semantic` counts classes,
    phrasings and answers; `state` is `on`, `stricter`, `suspended` or `off`. `false_hits` is the measured share of wrong
    answers among those given, with its 95 % interval; `rate` is null before the first check."""

    chatbot_id: str
    mode: str
    exact: JsonObject
    semantic: JsonObject
    false_hits: JsonObject


class CacheEntries(msgspec.Struct, frozen=True):
    """Classes of the semantic tier, or entries of the exact one, newest first. `next_cursor` goes back as ``?cursor=``."""

    items: list[JsonObject]
    next_cursor: str | None


class PurgeRequest(Request, frozen=True):
    """Which entries go: all that is set has to hold. `everything` stands alone. `kin`: also the answers of the same
    classes, and those made with the same documents. `forget`: also what was learned of their questions."""

    document_id: Id | None = None
    text: Text | None = None
    answer_id: Id | None = None
    class_id: Id | None = None
    everything: bool = False
    kin: bool = True
    forget: bool = False


class PurgeReply(msgspec.Struct, frozen=True):
    """How many entries of the exact tier, and how many answers and classes of the semantic one, are gone. `documents`:
    those whose answers went as kin."""

    exact: int
    answers: int
    classes: int
    documents: list[str]


class SeedBody(Request, frozen=True):
    """`phrasings`: other ways to ask the same."""

    question: Question
    answer: Annotated[str, Meta(min_length=1, max_length=16_000)]
    phrasings: Annotated[tuple[Question, ...], Meta(max_length=200)] = ()


class SeedRequest(Request, frozen=True):
    """Reviewed questions in `items`, or (`from_knowledge`) those of the chatbot's knowledge base whose answers stand in it,
    page by page: `after` is the reply's of the call before."""

    items: Annotated[tuple[SeedBody, ...], Meta(max_length=cache_seeds.AT_ONCE)] = ()
    from_knowledge: bool = False
    after: Id | None = None


class SeedReply(msgspec.Struct, frozen=True):
    """`classes` that are new, `renewed` ones that have another answer now, `phrasings` that are known. `left_out` says why
    a question was not taken. `after` goes into the next call, null at the end."""

    classes: int
    renewed: int
    phrasings: int
    left_out: list[JsonObject]
    after: str | None


class FeedbackRequest(Request, frozen=True):
    """What somebody says of an answer of a conversation: `good`, or wrong."""

    answer_id: Id
    good: bool


class FeedbackReply(msgspec.Struct, frozen=True):
    """`noted` is false where the caches have no part in the answer."""

    noted: bool


class RejectionRequest(Request, frozen=True):
    """A question, word for word, that the class `class_id` does not answer."""

    class_id: Id
    text: Question


class RejectionReply(msgspec.Struct, frozen=True):
    """`was_phrasing`: the class had learned it. `class_gone`: it was its only phrasing, and the class went with it."""

    was_phrasing: bool
    class_gone: bool


_purge = msgspec.json.Decoder(PurgeRequest)
_seed = msgspec.json.Decoder(SeedRequest)
_feedback = msgspec.json.Decoder(FeedbackRequest)
_rejection = msgspec.json.Decoder(RejectionRequest)


async def show_stats(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    shown = await cache_admin.read_stats(call.app, chatbot)
    return json_reply(
        CacheStatsReply(
            chatbot_id=chatbot.id,
            mode=shown.mode,
            exact={
                "entries": shown.exact_entries,
                "bytes": shown.exact_bytes,
                "platform_entries": shown.platform_entries,
                "platform_bytes": shown.platform_bytes,
            },
            semantic={"state": shown.state, **asdict(shown.semantic)},
            false_hits={"max_error": shown.max_error, **asdict(shown.false_hits)},
        )
    )


async def list_entries(call: Call) -> Reply:
    """Of the semantic tier unless `?tier=exact`."""
    chatbot = await _chatbot(call)
    wanted = _wanted(**{name: call.query(name) for name in ("document_id", "text", "answer_id", "class_id")})
    tier, limit = call.query("tier") or "semantic", call.query_int("limit", 50, low=1, high=200)
    cursor = call.query_int("cursor", -1, low=0, high=2**31 - 1)
    if tier == "semantic":
        before = None if cursor < 0 else cursor
        listed = await cache_admin.list_classes(call.app, chatbot, wanted, before=before, limit=limit)
        last = str(listed[-1].label) if len(listed) == limit else None
        return json_reply(CacheEntries([_class_shown(asdict(one)) for one in listed], last))
    if tier != "exact":
        raise BadRequest("tier is exact or semantic", param="tier")
    kept, at = await cache_admin.list_exact(call.app, chatbot, wanted, offset=max(0, cursor), limit=limit)
    items = [{"key": one.key, "ttl_s": round(one.ttl_s), **_answer_shown(one.entry)} for one in kept]
    return json_reply(CacheEntries(items, None if at is None else str(at)))


async def purge(call: Call) -> Reply:
    tenant, chatbot = tenant_of(call), await _chatbot(call)
    body = await call.json(_purge)
    wanted = _wanted(document_id=body.document_id, text=body.text, answer_id=body.answer_id, class_id=body.class_id)
    if wanted.is_everything != body.everything:
        raise Unprocessable(
            "say what is to be purged: document_id, text, answer_id or class_id; or everything, and nothing else",
            param="everything",
        )
    gone = await cache_admin.purge(call.app, chatbot, wanted, actor=tenant.actor, kin=body.kin, forget=body.forget)
    return json_reply(PurgeReply(gone.exact, gone.answers, gone.classes, list(gone.documents)))


async def seed(call: Call) -> Reply:
    tenant, chatbot = tenant_of(call), await _chatbot(call)
    call.require_json()
    raw = await call.body()
    body = decode(_seed, raw)
    if bool(body.items) == body.from_knowledge:
        raise Unprocessable("give items, or from_knowledge: true", param="items")
    if body.after is not None and not is_id(body.after):
        raise Unprocessable("after is what the call before replied", param="after")

    async def work() -> Reply:
        if body.from_knowledge:
            done = await cache_seeds.sow_knowledge(call.app, chatbot, after=body.after, actor=tenant.actor)
        else:
            seeds = [Seed(questions=(item.question, *item.phrasings), answer=item.answer) for item in body.items]
            done = await cache_seeds.sow(call.app, chatbot, seeds, actor=tenant.actor)
        left_out = [asdict(one) for one in done.left_out]
        return json_reply(SeedReply(done.classes, done.renewed, done.phrasings, left_out, done.after), status=201)

    return await once(call, tenant.scope, raw, work)


async def feedback(call: Call) -> Reply:
    chatbot = await _chatbot(call)
    body = await call.json(_feedback)
    if not is_id(body.answer_id):
        raise Unprocessable("answer_id is the id of an answer", param="answer_id")
    return json_reply(FeedbackReply(await note_feedback(call.app, chatbot.scope, body.answer_id, good=body.good)))


async def reject(call: Call) -> Reply:
    tenant, chatbot = tenant_of(call), await _chatbot(call)
    body = await call.json(_rejection)
    if not is_id(body.class_id):
        raise Unprocessable("class_id is the id of a class", param="class_id")
    if not body.text.strip():
        raise Unprocessable("text is a question", param="text")
    done = await reject_phrasing(call.app, chatbot, body.class_id, body.text, actor=tenant.actor)
    return json_reply(RejectionReply(done.was_phrasing, done.class_gone))


async def _chatbot(call: Call) -> Chatbot:
    """As it is now, not as it was a moment ago: a seed is taught for this revision and knowledge. Raises NotFound."""
    scope = tenant_of(call).scope
    async with call.app.db.transaction(scope) as db:
        chatbot = await tenancy.get_chatbot(db, scope, call.params["chatbot"])
    if chatbot is None:
        raise NotFound("no such chatbot")
    return chatbot


def _wanted(**given: str | None) -> Wanted:
    """Raises Unprocessable for an id that cannot be one, and for too long or empty a text."""
    for name, value in given.items():
        if value is None:
            continue
        if name == "text":
            if not value.strip() or len(value) > _TEXT_AT_MOST:
                raise Unprocessable(f"text has 1 to {_TEXT_AT_MOST:,} characters", param="text")
        elif not is_id(value):
            raise Unprocessable(f"this is no {name} of ours", param=name)
    return Wanted(**given)


def _class_shown(listed: dict[str, Any]) -> JsonObject:
    """A class for people and scripts: of each answer its text, what it cost and where it came from."""
    answers = [answer | _answer_shown(answer.pop("entry")) for answer in listed["answers"]]
    return listed | {"answers": answers}


def _answer_shown(entry: CachedAnswer) -> JsonObject:
    made_at = rfc3339(entry.created_at, timespec="seconds")
    return {
        "question": entry.question,
        "text": entry.text,
        "provider": entry.provider,
        "model": entry.model,
        "cost_nano": entry.cost_nano,
        "sources": [
            {"n": source.n, "document_id": source.document_id, "title": source.title, "url": source.url}
            for source in entry.sources
        ],
        "provenance": {
            "answer_id": entry.answer_id or None,
            "document_ids": list(entry.document_ids),
            "chunk_ids": list(entry.chunk_ids),
            "revision": entry.revision,
            "knowledge_version": entry.knowledge_version,
            "made_at": made_at,
        },
    }


_CACHE = "/api/v1/chatbots/{chatbot}/cache"
_FILTERS = (
    ("document_id", "made with this document"),
    ("text", "in the question, a phrasing or the answer"),
    ("answer_id", "made of this answer, or saying the same as it"),
    ("class_id", "this class"),
)
ENDPOINTS = (
    Endpoint(
        method="GET", path=_CACHE, handle=show_stats, access=Access.TENANT,
        summary="What a chatbot's caches hold, and how often they are wrong", tag="cache", response=CacheStatsReply,
    ),
    Endpoint(
        method="GET", path=_CACHE + "/entries", handle=list_entries, access=Access.TENANT,
        summary="Entries with where they came from", tag="cache", response=CacheEntries,
        query=(
            ("tier", "semantic (the default) or exact"), *_FILTERS,
            ("cursor", "next_cursor of the page before"), ("limit", "1 to 200, default 50"),
        ),
    ),
    Endpoint(
        method="POST", path=_CACHE + "/purge", handle=purge, access=Access.TENANT,
        summary="Purge entries, with their kin", tag="cache", request=PurgeRequest, response=PurgeReply,
    ),
    Endpoint(
        method="POST", path=_CACHE + "/seeds", handle=seed, access=Access.TENANT,
        summary="Teach reviewed questions and answers", tag="cache", status=201, request=SeedRequest,
        response=SeedReply, creates=True,
    ),
    Endpoint(
        method="POST", path=_CACHE + "/feedback", handle=feedback, access=Access.TENANT,
        summary="Say that an answer was good or wrong", tag="cache", request=FeedbackRequest, response=FeedbackReply,
    ),
    Endpoint(
        method="POST", path=_CACHE + "/rejections", handle=reject, access=Access.TENANT,
        summary="Say that a class does not answer a question", tag="cache", request=RejectionRequest,
        response=RejectionReply,
    ),
)  # fmt: skip
