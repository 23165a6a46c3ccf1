"""What people say of a cached answer: a thumbs down, or an operator's word that it was wrong.

Called by whoever takes such a word in. It teaches the semantic tier; the exact tier's entry is purged by its own verb.
"""

from chatwright.domain.scope import Scope
from chatwright.features.cache import CachePolicy, normalise, store
from chatwright.features.cache.checks import Check
from chatwright.features.cache.listing_store import Filter, find_served, purge_answers
from chatwright.features.cache.router_store import note_purged
from chatwright.features.cache.store import Question
from chatwright.pipeline.cache_checks import measure, record_check, tell_changed
from chatwright.pipeline.services import Services


async def note_feedback(app: Services, scope: Scope, answer_id: str, *, good: bool) -> bool:
    """Take in what somebody said of the answer `answer_id` of `scope`'s chatbot. Returns False where the semantic cache
    has no part in it. Raises NotFound, Unavailable, ModelUnavailable.

    A wrong answer that the tier gave makes its question a rejected neighbour of the class; a wrong answer that a provider
    gave, and the tier learned, is forgotten: the class's next question is answered anew. A good word changes nothing: who
    is content seldom says so, so it would say little about the rest.
    """
    assert scope.chatbot_id is not None
    async with app.db.transaction(scope) as db:
        served = await find_served(db, scope, answer_id)
    if served is None or not served.classes:
        return False
    if good:
        return True
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
