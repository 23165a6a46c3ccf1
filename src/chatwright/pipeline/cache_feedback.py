"""What people say of a cached answer: a thumbs down, or an operator's word that it was wrong or that a question is another one.

Called by whoever takes such a word in. It teaches the semantic tier; the exact tier drops its copy.
"""

from dataclasses import dataclass

from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import NotFound
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.cache import CachedAnswer, CachePolicy, normalise, store
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.checks import Check
from chatwright.features.cache.listing_store import Filter, find_served, list_classes, purge_answers
from chatwright.features.cache.memory import key_of
from chatwright.features.cache.router_store import note_purged
from chatwright.features.cache.store import Question, phrasing_digest
from chatwright.pipeline.cache_checks import measure, record_check, tell_changed
from chatwright.pipeline.services import Services


async def note_feedback(app: Services, scope: Scope, answer_id: str, *, good: bool) -> bool:
    """Take in what somebody said of the answer `answer_id` of `scope`'s chatbot. Returns False where the caches have no part
    in it. Raises NotFound, Unavailable, ModelUnavailable.

    A wrong answer that the tier gave makes its question a rejected neighbour of the class; a wrong answer that a provider
    gave, and the tier learned, is forgotten: the class's next question is answered anew. The exact tier's copy goes in any
    case: else the very same question would be given the very same answer. A good word changes nothing: who
    is content seldom says so, so it would say little about the rest.
    """
    assert scope.chatbot_id is not None
    async with app.db.transaction(scope) as db:
        served = await find_served(db, scope, answer_id)
    if served is None:
        return False
    if good:
        return bool(served.classes)
    asked, said = phrasing_digest(normalise(served.question)), answer_digest(served.text)

    def is_copy(entry: CachedAnswer) -> bool:
        if entry.answer_id == answer_id:
            return True
        return answer_digest(entry.text) == said and phrasing_digest(normalise(entry.question)) == asked

    dropped = await app.cache.purge(scope.tenant_id, scope.chatbot_id, matches=is_copy)
    if not served.classes:
        return dropped > 0
    chatbot = await app.chatbots.get(scope, scope.chatbot_id)
    vector = (await app.embedder.embed_queries([served.question]))[0]
    question = Question.of(served.question, normalise(served.question), vector)
    figures = None
    async with app.db.transaction(scope) as db:
        await store.lock(db, scope)
        if served.cached == "semantic":
            for class_id in served.classes:
                if await store.unsettle(db, scope, question, class_id):
                    await store.reject(db, scope, question, class_id, "feedback")
            check = Check(outcome="different", drawn="feedback", share=1.0)
            bound = CachePolicy.of(chatbot.cache_policy).max_error
            figures, _, _ = await record_check(
                db, scope, served.classes[0], check, judge="visitor", confidence=1.0, max_error=bound
            )
        else:
            for class_id in served.classes:
                await purge_answers(db, scope, Filter(class_id=class_id))
        await note_purged(db, scope)
    if figures is not None:
        measure(app, scope, "different", figures)
    await tell_changed(app, scope)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """What came of a rejection. `was_phrasing`: the class had the question among its phrasings; `class_gone`: it was the only
    one, and the class went with it."""

    was_phrasing: bool
    class_gone: bool


async def reject_phrasing(app: Services, chatbot: Chatbot, class_id: str, text: str, *, actor: str) -> Rejected:
    """Have a question never be given a class's answer again, in either tier. Raises NotFound, Unavailable, ModelUnavailable.

    A verified phrasing is taken out of the class; any other question becomes its rejected neighbour. What the question asks
    instead is learned when it is asked the next time.
    """
    scope = chatbot.scope
    vector = (await app.embedder.embed_queries([text]))[0]
    question = Question.of(text, normalise(text), vector)
    async with app.db.transaction(scope) as db:
        await store.lock(db, scope)
        found = await list_classes(db, scope, Filter(class_id=class_id), limit=1)
        if not found:
            raise NotFound("no such class of this chatbot")
        settled = await store.find_settled(db, scope, question.digest)
        was_phrasing = settled is not None and settled.class_id == class_id
        class_gone = not await store.unsettle(db, scope, question, class_id)
        if not class_gone:
            await store.reject(db, scope, question, class_id, "operator")
        await note_purged(db, scope)
        # Never the words: an audit log is no place for what visitors said.
        detail = {"class_id": class_id, "was_phrasing": was_phrasing}
        await tenancy.record(
            db, chatbot.tenant_id, actor=actor, action="cache.rejected", target=chatbot.id, detail=detail
        )
    known = app.semantic.get(key_of(scope))
    if known is not None:  # at once here; the others read it anew when they are told
        known.reject(question.digest, found[0].label)
    await tell_changed(app, scope)
    await app.cache.purge(
        chatbot.tenant_id,
        chatbot.id,
        matches=lambda entry: phrasing_digest(normalise(entry.question)) == question.digest,
    )
    return Rejected(was_phrasing=was_phrasing, class_gone=class_gone)
