"""What a visitor's text says of its writer: read by the local models, or by the chatbot's cheap model where it asks for that.

Called by `answer.py` for each turn, and by `submit.py` and `perform.py` for texts alone. The local reading is there at once;
a language model's comes beside the answer, within its time-out or not at all, and is booked under its own purpose.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from chatwright.adapters.models import ModelUnavailable
from chatwright.adapters.models.encoded import Encoded
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError, ProviderError
from chatwright.domain.ids import ConversationId
from chatwright.domain.providers import Prompt, Turn
from chatwright.domain.reading import Reading
from chatwright.features.analysis.by_model import ANSWER_TOKENS, RESPONSE_FORMAT, RULES, by_of, question, read_answer
from chatwright.features.routing import ProviderRun
from chatwright.pipeline.books import CallBooks
from chatwright.pipeline.intents import custom_intent
from chatwright.pipeline.services import Services
from chatwright.pipeline.targets import chain_for, cheap_links

_log = structlog.get_logger(__name__)
PURPOSE = "reading"
TIMEOUT_S = 2.0
"""From the moment the model is asked. An answer that is ready before waits for the rest of it with its last event, never
with its text."""
_REFUSED = (400, 422)
"""How servers without structured output refuse it."""
_ON_LOOP = 2
"""So many texts are read between two breaths of the event loop, half a millisecond each; more go to a thread."""


class TurnReading:
    """A turn's reading: `local` now, `settled` at its end. Made by `begin_reading`."""

    def __init__(self, local: Reading, task: asyncio.Task[Reading | None] | None) -> None:
        self.local = local
        self._task = task

    @property
    def latest(self) -> Reading:
        """What is known by now: for whoever cannot wait."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or (read := task.result()) is None:
            return self.local
        return self._completed(read)

    async def settled(self) -> Reading:
        """The language model's reading if it comes in time, else the local one. Its custom intent is the local one's."""
        if self._task is None or self._task.cancelled():
            return self.local
        read = await asyncio.shield(self._task)  # whoever waits may be cancelled; `drop` decides about the call
        return self.local if read is None else self._completed(read)

    def _completed(self, read: Reading) -> Reading:
        return replace(
            read,
            custom_intent=self.local.custom_intent,
            custom_intent_confidence=self.local.custom_intent_confidence,
        )

    async def drop(self) -> None:
        """Stop what still runs; its call is booked as cancelled. Safe to call again, and before `settled`."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})


async def encode(app: Services, texts: Sequence[str], *, bulk: bool = False) -> Encoded | None:
    """One pass of the local model over `texts`; None where it cannot be had."""
    try:
        return await app.embedder.encode(texts, bulk=bulk)
    except ModelUnavailable:
        return None


async def read_texts(
    app: Services, texts: Sequence[str], encoded: Encoded | None, chatbot: Chatbot | None = None
) -> list[Reading]:
    """The local reading of each text, with `chatbot` by its own intents, too. `encoded` is of these texts, in their order."""
    if len(texts) <= _ON_LOOP:
        readings = _read(app, texts, encoded)
    else:
        readings = await asyncio.to_thread(_read, app, texts, encoded)
    if chatbot is None or encoded is None:
        return readings
    for n, (text, reading) in enumerate(zip(texts, readings, strict=True)):
        readings[n] = await _with_own_intent(app, chatbot, text, encoded[n : n + 1], reading)
        if n >= _ON_LOOP:
            await asyncio.sleep(0)  # a third of a millisecond each: others have their turn in between
    return readings


async def _with_own_intent(app: Services, chatbot: Chatbot, text: str, encoded: Encoded, reading: Reading) -> Reading:
    found = await custom_intent(app, chatbot, encoded, text)
    if found is None:
        return reading
    return replace(reading, custom_intent=found[0], custom_intent_confidence=found[1])


def _read(app: Services, texts: Sequence[str], encoded: Encoded | None) -> list[Reading]:
    return app.reader.read(texts, encoded)


async def start_reading(
    app: Services,
    chatbot: Chatbot,
    text: str,
    encoded: Encoded | None,
    *,
    conversation_id: ConversationId | None = None,
    visitor_id: str | None = None,
    import_id: str | None = None,
    local_only: bool = False,
) -> TurnReading:
    """Like `begin_reading`, by the chatbot's own intents, too. Their model is in memory: this waits for nothing but its first
    time in a process."""
    turn = begin_reading(
        app,
        chatbot,
        text,
        encoded,
        conversation_id=conversation_id,
        visitor_id=visitor_id,
        import_id=import_id,
        local_only=local_only,
    )
    if encoded is not None:
        try:
            turn.local = await _with_own_intent(app, chatbot, text, encoded, turn.local)
        except BaseException:
            await turn.drop()
            raise
    return turn


def begin_reading(
    app: Services,
    chatbot: Chatbot,
    text: str,
    encoded: Encoded | None,
    *,
    conversation_id: ConversationId | None = None,
    visitor_id: str | None = None,
    import_id: str | None = None,
    local_only: bool = False,
) -> TurnReading:
    """Read one turn locally, and have the chatbot's cheap model begin to read it where its policy says so.

    `local_only`: no model is asked, because the answer costs nothing either. Whoever began it ends it with `drop`.
    """
    local = _read(app, [text], encoded)[0]
    if local_only or by_of(chatbot.reading_policy) == "local":
        return TurnReading(local, None)
    work = _by_model(app, chatbot, text, conversation_id, visitor_id, import_id)
    return TurnReading(local, asyncio.create_task(work, name="turn-reading"))


async def read_turn(
    app: Services,
    chatbot: Chatbot,
    text: str,
    encoded: Encoded | None,
    *,
    conversation_id: ConversationId | None = None,
    visitor_id: str | None = None,
) -> Reading:
    """The turn's reading, as its chatbot wants it; waits at most `TIMEOUT_S` seconds. Never raises but CancelledError."""
    turn = await start_reading(app, chatbot, text, encoded, conversation_id=conversation_id, visitor_id=visitor_id)
    try:
        return await turn.settled()
    finally:
        await turn.drop()


async def _by_model(
    app: Services,
    chatbot: Chatbot,
    text: str,
    conversation_id: ConversationId | None,
    visitor_id: str | None,
    import_id: str | None,
) -> Reading | None:
    """None where there is no model, no budget has room, it does not answer in time, or says something else."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _ask(app, chatbot, text, conversation_id, visitor_id, import_id)
    except (ChatwrightError, TimeoutError) as error:
        reason = getattr(error, "error_class", None) or getattr(error, "code", "timeout")
        _log.info("reading.by_local", chatbot_id=chatbot.id, reason=reason)
        return None
    except Exception:  # noqa: BLE001 - no answer is lost, or paid for twice, over what was read beside it
        _log.exception("reading.by_local", chatbot_id=chatbot.id)
        return None
    read = None if answer is None else read_answer(answer)
    if read is None and answer is not None:
        _log.info("reading.by_local", chatbot_id=chatbot.id, reason="no_reading")
    return read


async def _ask(
    app: Services,
    chatbot: Chatbot,
    text: str,
    conversation_id: ConversationId | None,
    visitor_id: str | None,
    import_id: str | None,
) -> str | None:
    """What the cheap model says; None where there is none. Raises ProviderError, BudgetExceeded, Unavailable."""
    links = cheap_links(app, chatbot)
    if not links:
        return None
    asked = question(text)
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    # A server that refuses the form is asked once more without it: the rules ask for JSON, too.
    for options in ({"response_format": RESPONSE_FORMAT}, {}):
        prompt = Prompt(
            turns=(Turn("system", RULES), Turn("user", asked)),
            question=asked,
            max_tokens=ANSWER_TOKENS,
            temperature=0.0,
            stable_turns=1,
            options=options,
        )
        prompt_tokens = await app.tokens.prompt(prompt)
        chain = await chain_for(app, chatbot.scope, links, prompt_tokens=prompt_tokens, with_extractive=False)
        if not chain.targets:
            return None
        # No message id: what answers a message counts its calls, and this one is none of them.
        books = CallBooks(
            app,
            chatbot.scope,
            prompt_tokens=prompt_tokens,
            max_output_tokens=ANSWER_TOKENS,
            conversation_id=conversation_id,
            purpose=PURPOSE,
            visitor_id=visitor_id,
            import_id=import_id,
        )
        run = ProviderRun(
            chain.targets,
            prompt,
            books,
            gates=app.gates,
            max_calls=1,
            deadline=deadline,
            prompt_tokens=prompt_tokens.tokens,
            patience_s=0.0,
        )
        try:
            return (await run.complete()).text
        except ProviderError as error:
            if not options or error.upstream_status not in _REFUSED:
                raise
    return None
