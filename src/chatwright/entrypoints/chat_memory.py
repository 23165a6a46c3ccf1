"""What a conversation remembers, over REST: read its summary, or have it forget what was said so far.

Visitors have a say over their own conversations, a tenant's key over all of the tenant's.
"""

import msgspec

from chatwright.domain.errors import NotFound
from chatwright.domain.ids import ConversationId, is_id
from chatwright.entrypoints.auth import speaker_of
from chatwright.entrypoints.call import Call, Reply, json_reply
from chatwright.entrypoints.endpoint import Access, Endpoint
from chatwright.features import conversations, memory
from chatwright.pipeline.memory import forget


class ResetReply(msgspec.Struct, frozen=True):
    """`forgotten_upto`: ordinal of the last message that no later prompt holds."""

    conversation_id: str
    forgotten_upto: int


class SummaryReply(msgspec.Struct, frozen=True):
    """`covers_upto`: ordinal of the last message that stands in `text`; 0 and an empty text while there is none."""

    conversation_id: str
    covers_upto: int
    text: str
    made_by: str
    tokens: int


async def reset(call: Call) -> Reply:
    scope, visitor_id = speaker_of(call)
    conversation_id = _id(call)
    upto = await forget(call.app, scope, conversation_id, visitor_id=visitor_id)
    return json_reply(ResetReply(conversation_id, upto))


async def summary(call: Call) -> Reply:
    scope, visitor_id = speaker_of(call)
    conversation_id = _id(call)
    async with call.app.db.transaction(scope) as db:
        known = await conversations.get_conversation(db, scope, conversation_id, visitor_id=visitor_id)
        kept = await memory.load_kept(db, scope, conversation_id)
    if known is None:
        raise NotFound("no such conversation")
    if kept is None:
        return json_reply(SummaryReply(conversation_id, 0, "", "", 0))
    made = kept.summary
    return json_reply(SummaryReply(conversation_id, made.covers_upto, kept.text, made.made_by, kept.tokens))


def _id(call: Call) -> ConversationId:
    conversation_id = call.params["conversation_id"]
    if not is_id(conversation_id):
        raise NotFound("no such conversation")
    return ConversationId(conversation_id)


_ID = "/api/v1/conversations/{conversation_id}"
ENDPOINTS = (
    Endpoint(
        method="POST", path=_ID + "/reset", handle=reset, access=Access.VISITOR,
        summary="Forget what was said so far: no later prompt holds it. The transcript stays", tag="conversations",
        response=ResetReply, widget=True,
    ),
    Endpoint(
        method="GET", path=_ID + "/summary", handle=summary, access=Access.VISITOR,
        summary="What the conversation remembers of the messages before the latest ones", tag="conversations",
        response=SummaryReply, widget=True,
    ),
)  # fmt: skip
