"""A visitor's word on an answer -> stored; a thumb down -> the caches hear of it, once. Called by `entrypoints/feedback.py`."""

from contextlib import suppress

import structlog

from chatwright.domain.errors import ChatwrightError, NotFound
from chatwright.domain.ids import ConversationId, MessageId
from chatwright.domain.scope import Scope
from chatwright.features import feedback
from chatwright.features.feedback import COMMENT_AT_MOST, Rating, Saved
from chatwright.features.guard.cleaning import clean
from chatwright.pipeline.cache_feedback import note_feedback
from chatwright.pipeline.limits import admit_rating
from chatwright.pipeline.services import Services

_TELLING_S = 60.0
"""Longer than the caches take; after it somebody else may tell them."""

log = structlog.get_logger(__name__)


async def rate(
    app: Services,
    scope: Scope,
    conversation_id: ConversationId,
    message_id: MessageId,
    *,
    visitor_id: str | None,
    rating: Rating | None,
    comment: str = "",
) -> Saved:
    """Store what is said of the answer to a message: the latest word stands, None takes it back with its comment.

    The comment is a stranger's text, cleaned as messages are. Raises NotFound where there is no such answer, or it is not
    this visitor's; RateLimited for one who says more than anybody has to say.
    """
    await admit_rating(app, scope, conversation_id, visitor_id=visitor_id)
    said = clean(comment).text.strip()[:COMMENT_AT_MOST] if rating is not None else ""
    async with app.db.transaction(scope) as db:
        saved = await feedback.save_rating(
            db, scope, conversation_id, message_id, visitor_id=visitor_id, rating=rating, comment=said
        )
    if saved is None:
        raise NotFound("there is no answer to this message")
    if rating is not None and rating != saved.before:
        app.metrics.feedback.labels(rating).inc()
    if rating == "down" and not saved.noted:
        await _tell_caches(app, Scope(tenant_id=scope.tenant_id, chatbot_id=saved.chatbot_id), saved)
    return saved


async def _tell_caches(app: Services, scope: Scope, saved: Saved) -> None:
    """Their own rules decide what follows. Whoever rates is not made to wait for their trouble: what fails now is tried again
    with the next thumb down on this answer."""
    async with app.db.transaction(scope) as db:
        if not await feedback.claim_telling(db, scope, saved.id, lease_s=_TELLING_S):
            return
    noted = False
    try:
        await note_feedback(app, scope, saved.answer_id, good=False)
        noted = True
    except Exception as error:  # a rating that is stored does not fail over what else was to follow from it
        is_known = isinstance(error, ChatwrightError)
        log.warning("feedback.not_noted", answer_id=saved.answer_id, error=str(error), exc_info=not is_known)
    with suppress(ChatwrightError, TimeoutError):  # then the claim ends by itself
        async with app.db.transaction(scope) as db:
            await feedback.end_telling(db, scope, saved.id, noted=noted)
