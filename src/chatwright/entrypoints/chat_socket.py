"""One visitor's WebSocket (or a tenant's): frames in, stream events out.

The reader of frames is the connection's own task; each followed conversation has one more. Nothing is queued here: a
follower sends one frame and waits until the transport takes it, so what a slow reader costs is the transport's buffer,
and one that takes nothing for `send_timeout_s` is cut off.
Close codes: 4401 not (or no longer) authenticated, 4403 not allowed, 4408 no first frame in time, 1008 too many refused
frames, 1011 our fault, 1012 restart, 1013 no server of ours to ask.
"""

import asyncio
from collections.abc import Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

import structlog

from chatwright.domain.errors import (
    BadRequest,
    ChatwrightError,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    Unauthenticated,
    Unavailable,
)
from chatwright.domain.ids import ConversationId, MessageId, is_id, new_id
from chatwright.domain.messages import Draft
from chatwright.domain.scope import Scope
from chatwright.entrypoints.auth import Admin, Identity, TenantAdmin, Visitor, check_still, identify
from chatwright.entrypoints.call import Receive, Send, WebSettings, abort_connection, to_json
from chatwright.entrypoints.decoding import decode
from chatwright.entrypoints.failures import INTERNAL_MESSAGE, retry_after_s
from chatwright.entrypoints.following import follow_events, timestamp
from chatwright.entrypoints.origins import check_origin
from chatwright.entrypoints.wire import MESSAGE_TEXT_AT_MOST
from chatwright.entrypoints.wire_frames import (
    FRAME_BYTES_AT_MOST,
    AnyClientFrame,
    Auth,
    CancelMessage,
    ErrorFrame,
    MessageAccepted,
    Ping,
    Pong,
    Ready,
    Resume,
    SendMessage,
    client_frames,
)
from chatwright.features import conversations, credentials
from chatwright.pipeline import accept as flow
from chatwright.pipeline.services import Services

_LIVE_PRIORITY = 8
_KEY_CHECK_S = 0.5
_CLOSE_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


class _Closed(Exception):
    """The connection ends; `code` None: the client closed it."""

    def __init__(self, code: int | None, reason: str = "", *, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.is_slow = is_slow  # takes nothing, so it would not take a close frame either


async def serve_socket(
    app: Services, settings: WebSettings, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> None:
    """Serve one connection to its end (ASGI, scope type "websocket")."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if (await receive())["type"] != "websocket.connect":
        return
    await send({"type": "websocket.accept"})
    with app.metrics.open_sockets.track_inprogress():
        await _Session(app, settings, headers, receive, send).run()


class _Session:
    def __init__(
        self, app: Services, settings: WebSettings, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._settings = settings
        self._headers = headers
        self._receive = receive
        self._asgi_send = send
        self._id = new_id()
        self._scope: Scope | None = None
        self._visitor_id: str | None = None
        self._identity: Identity | None = None
        self._credential = ""
        self._group: asyncio.TaskGroup | None = None
        self._following: dict[ConversationId, asyncio.Task[None]] = {}

    async def run(self) -> None:
        closed = _Closed(1011, "internal error")
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._open()
                group.create_task(self._watch_credential(), name=f"socket {self._id} credential")
                await self._read_frames()
        except* _Closed as ends:
            closed = _first(ends)
        except* Exception as failures:
            log.exception("socket.failed", socket_id=self._id, exc_info=failures)
        if closed.is_slow:
            abort_connection(self._asgi_send)
        elif closed.code is not None:
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._asgi_send(
                        {"type": "websocket.close", "code": closed.code, "reason": closed.reason[:120]}
                    )
            except (OSError, RuntimeError, TimeoutError):
                pass  # gone already, or not reading: the server drops the connection when we return

    # Frames in -------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Take the first frame, which must say who speaks. Raises _Closed."""
        try:
            async with asyncio.timeout(self._settings.auth_timeout_s):
                raw = await self._next_frame()
        except TimeoutError:
            raise _Closed(4408, "no auth frame in time") from None
        try:
            frame = decode(client_frames, raw)
            if not isinstance(frame, Auth):
                raise Unauthenticated("the first frame must be auth")
            await self._authenticate(frame)
        except ChatwrightError as error:
            await self._refuse(error)
            code = {403: 4403, 503: 1013}.get(error.status, 4401)
            raise _Closed(code, error.message) from None

    async def _authenticate(self, frame: Auth) -> None:
        """Set who speaks, or renew the token. Raises Unauthenticated, NotFound for a token of somebody else, Forbidden for a
        visitor on a page that may not."""
        identity = await identify(self._app, frame.token)
        if isinstance(identity, Admin):
            raise Unauthenticated("an operator's key opens no socket; use a tenant's key or a visitor's token")
        visitor_id = identity.visitor_id if isinstance(identity, Visitor) else None
        if isinstance(identity, Visitor):
            await self._check_origin(identity)
        if self._scope is not None and (identity.scope != self._scope or visitor_id != self._visitor_id):
            raise NotFound("a connection stays with the visitor it was opened for", param="token")
        self._scope, self._visitor_id = identity.scope, visitor_id
        self._identity, self._credential = identity, frame.token
        shown = None if visitor_id is None else credentials.visitor_id_shown(visitor_id)
        await self._send(to_json(Ready(shown)))

    async def _check_origin(self, visitor: Visitor) -> None:
        """A token that got onto another site is of no use there. Browsers always send Origin; who sends none is no page.
        Raises Forbidden, NotFound for a chatbot that is gone."""
        origin, host = self._headers.get(b"origin"), self._headers.get(b"host")
        if origin is None:
            return
        chatbot = await self._app.chatbots.get(visitor.scope, visitor.scope.chatbot_id or "")
        named = None if host is None else host.decode("latin-1")
        check_origin(self._settings, chatbot, origin=origin.decode("latin-1"), host=named)

    async def _read_frames(self) -> None:
        """Handle frames one after the other until the connection closes. Always raises _Closed."""
        refused = 0
        while True:
            raw = await self._next_frame()
            frame: AnyClientFrame | None = None
            try:
                if len(raw) > FRAME_BYTES_AT_MOST:
                    raise PayloadTooLarge(f"a frame has at most {FRAME_BYTES_AT_MOST:,} bytes")
                frame = asked = decode(client_frames, raw)
                await self._handle(asked)
                refused = 0
            except ChatwrightError as error:
                await self._refuse(error, frame)
                refused += 1
                if refused > self._settings.socket_errors_at_most:
                    raise _Closed(1008, "too many refused frames") from None
            except _Closed:
                raise
            except Exception:
                # One frame's failure is not the connection's: other conversations on it go on.
                log.exception("socket.frame_failed", socket_id=self._id)
                await self._refuse(ChatwrightError(INTERNAL_MESSAGE), frame)

    async def _next_frame(self) -> bytes:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise _Closed(None)
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text.encode("utf-8", "surrogatepass")

    async def _handle(self, frame: AnyClientFrame) -> None:
        match frame:
            case Ping():
                await self._send(to_json(Pong(timestamp())))
            case SendMessage():
                await self._accept(frame)
            case CancelMessage():
                if not is_id(frame.message_id):
                    raise NotFound("no such message", param="message_id")
                await flow.cancel(self._app, self._speaker, MessageId(frame.message_id), visitor_id=self._visitor_id)
            case Resume():
                await self._resume(frame)
            case Auth():
                try:
                    await self._authenticate(frame)
                except Forbidden as error:
                    await self._refuse(error)
                    raise _Closed(4403, error.message) from None

    async def _accept(self, frame: SendMessage) -> None:
        scope = self._speaker
        if len(frame.text) > MESSAGE_TEXT_AT_MOST:
            raise PayloadTooLarge(
                f"the text has {len(frame.text):,} of {MESSAGE_TEXT_AT_MOST:,} characters", param="text"
            )
        conversation_id = chatbot_id = None
        if frame.conversation_id is not None:
            if not is_id(frame.conversation_id):
                raise NotFound("no such conversation", param="conversation_id")
            conversation_id = ConversationId(frame.conversation_id)
        else:
            name = frame.chatbot or scope.chatbot_id
            if name is None:
                raise BadRequest("name the chatbot, or the conversation to go on with", param="chatbot")
            chatbot_id = (await self._app.chatbots.get(scope, name)).id
        draft = Draft(
            text=frame.text,
            conversation_id=conversation_id,
            chatbot_id=chatbot_id,
            visitor_id=self._visitor_id,
            client_message_id=frame.client_message_id,
            priority=_LIVE_PRIORITY,
            key=self._identity.limited if isinstance(self._identity, TenantAdmin) else None,
            metadata=frame.metadata,
        )
        accepted = await flow.accept(self._app, scope, draft)
        if accepted.seq is None:
            # Accepted before, or the event log is away: the receipt comes from us, without a number.
            receipt = MessageAccepted(
                conversation_id=accepted.conversation_id,
                message_id=accepted.message_id,
                stream_id=accepted.stream_id,
                client_message_id=frame.client_message_id,
                replayed=accepted.replayed,
                ts=timestamp(),
            )
            await self._send(to_json(receipt))
        if accepted.conversation_id not in self._following:
            # The receipt is the event under `seq`; whoever follows already gets it there.
            self._follow(accepted.conversation_id, after_seq=max(0, (accepted.seq or 1) - 1))

    async def _resume(self, frame: Resume) -> None:
        scope = self._speaker
        conversation = None
        if is_id(frame.conversation_id):
            async with self._app.db.transaction(scope) as db:
                conversation = await conversations.get_conversation(
                    db, scope, ConversationId(frame.conversation_id), visitor_id=self._visitor_id
                )
        if conversation is None:
            raise NotFound("no such conversation", param="conversation_id")
        self._follow(conversation.id, after_seq=frame.after_seq)

    @property
    def _speaker(self) -> Scope:
        assert self._scope is not None  # set by the first frame
        return self._scope

    # Events out ------------------------------------------------------------------------------------------------------

    def _follow(self, conversation_id: ConversationId, *, after_seq: int) -> None:
        """Follow a conversation from `after_seq` on, instead of from where it was followed before."""
        assert self._group is not None
        before = self._following.pop(conversation_id, None)
        if before is not None:
            before.cancel()
        while len(self._following) >= self._settings.socket_follow_at_most:
            oldest = next(iter(self._following))
            self._following.pop(oldest).cancel()
        self._following[conversation_id] = self._group.create_task(
            self._relay(conversation_id, after_seq), name=f"socket {self._id} follows {conversation_id}"
        )

    async def _relay(self, conversation_id: ConversationId, after_seq: int) -> None:
        try:
            async with aclosing(
                follow_events(self._app, self._speaker, conversation_id, after_seq=after_seq)
            ) as frames:
                async for _, frame in frames:
                    await self._send(frame)
        except Unavailable as error:
            if self._following.get(conversation_id) is asyncio.current_task():
                del self._following[conversation_id]
            await self._send(to_json(_error_frame(error, conversation_id=conversation_id)))
            return
        raise _Closed(1012, "restart")  # the channel closed under us: this process ends

    async def _watch_credential(self) -> None:
        """A revoked key loses its open sockets too; so does a visitor whose token was not renewed in time."""
        while True:
            await asyncio.sleep(_KEY_CHECK_S)
            assert self._identity is not None
            try:
                await check_still(self._app, self._identity, self._credential)
            except Unauthenticated as error:
                raise _Closed(4401, error.message) from None
            except Unavailable:
                continue  # nobody can revoke anything while PostgreSQL is away

    async def _refuse(self, error: ChatwrightError, frame: AnyClientFrame | None = None) -> None:
        await self._send(
            to_json(
                _error_frame(
                    error,
                    client_message_id=getattr(frame, "client_message_id", None),
                    message_id=getattr(frame, "message_id", None),
                    conversation_id=getattr(frame, "conversation_id", None),
                )
            )
        )

    async def _send(self, data: bytes) -> None:
        """Send one frame. Raises _Closed when the client is gone, or takes nothing for the send time-out."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._asgi_send({"type": "websocket.send", "text": data.decode()})
        except TimeoutError:
            raise _Closed(1013, "too slow", is_slow=True) from None
        except (OSError, RuntimeError):  # uvicorn's ways to say that the client has gone
            raise _Closed(None) from None


def _error_frame(error: ChatwrightError, **names: str | None) -> ErrorFrame:
    wait_s = retry_after_s(error)
    message = error.message if error.status != 500 else INTERNAL_MESSAGE
    return ErrorFrame(error.code, message, error.param, retry_after_s=wait_s, **names)


def _first(group: BaseExceptionGroup[_Closed]) -> _Closed:
    """The first of the ends; one by the client itself wins over ours, which nobody would receive."""
    ends = [_first(end) if isinstance(end, BaseExceptionGroup) else end for end in group.exceptions]
    return next((end for end in ends if end.code is None), ends[0])
