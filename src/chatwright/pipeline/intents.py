"""A chatbot's own intents: set, shown, tried, and asked for each message.

`custom_intent` is part of reading a message: from memory, without a round trip, also where a chatbot has none. A change
is trained by a worker (`intent_training.py`); `watching_intents` is open in every process and takes new models in within a
second. Called by `answer.py`, `inline.py`, `submit.py` and `entrypoints/admin_intents.py`.
"""

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import structlog

from chatwright.adapters.models import Encoded
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.errors import ChatwrightError, NotFound, Unavailable, Unprocessable
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.analysis import intent_store as store
from chatwright.features.analysis.custom import THRESHOLD, CustomIntents, Verdict
from chatwright.features.analysis.intent_memory import Key
from chatwright.features.analysis.intent_store import CustomIntent
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
INTENTS_AT_MOST = 300
EXAMPLES_AT_MOST = 15_000
PER_INTENT_AT_MOST = 500
EXAMPLE_CHARACTERS = 500
LOAD_S = 0.5
"""How long a message waits for a model that is not in memory yet; then it is read without."""
PAUSE_S = 0.5
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

State = Literal["none", "training", "trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownIntents:
    """A chatbot's intents and their model. `figures`: what `Quality` holds, of the version that was trained last."""

    intents: tuple[CustomIntent, ...]
    state: State
    threshold: float
    trained_at: datetime | None
    figures: Mapping[str, Any]


async def custom_intent(app: Services, chatbot: Chatbot, encoded_row: Encoded, text: str) -> tuple[str, float] | None:
    """Which of the chatbot's own intents a message has, and the probability that it has; None if none holds.

    `encoded_row`: of this text alone. Never raises but CancelledError: an intent that cannot be told is none.
    """
    model = await _model_of(app, chatbot.scope)
    if model is None:
        return None
    verdict = model.read([text], encoded_row)[0]
    return (verdict.name, verdict.confidence) if verdict.holds else None


async def show_intents(app: Services, chatbot: Chatbot) -> ShownIntents:
    async with app.db.transaction(chatbot.scope) as db:
        intents = await store.list_intents(db, chatbot.scope)
        kept = await store.read_model(db, chatbot.scope, whole=False)
    trained = kept.trained_version == kept.version
    return ShownIntents(
        intents=tuple(intents),
        state="training" if not trained else "trained" if intents else "none",
        threshold=THRESHOLD,
        trained_at=kept.trained_at if intents else None,
        figures=kept.figures,
    )


async def set_intents(app: Services, chatbot: Chatbot, intents: Sequence[CustomIntent], *, actor: str) -> None:
    """Make these all of a chatbot's intents; none removes them. Raises Unprocessable for names or examples that cannot be."""
    wanted = checked(intents)
    async with app.db.transaction(chatbot.scope) as db:
        await store.raise_version(db, chatbot.scope)
        await store.remove_others(db, chatbot.scope, [intent.name for intent in wanted])
        await store.put_intents(db, chatbot.scope, wanted)
        await _record(db, chatbot, actor, "intents.set", {"intents": len(wanted)})
    await tell_changed(app, chatbot.scope)


async def set_intent(app: Services, chatbot: Chatbot, intent: CustomIntent, *, actor: str) -> None:
    """Add an intent, or give it other examples. Raises Unprocessable."""
    async with app.db.transaction(chatbot.scope) as db:
        await store.raise_version(db, chatbot.scope)
        others = [one for one in await store.list_intents(db, chatbot.scope) if one.name != intent.name]
        wanted = next(one for one in checked([*others, intent]) if one.name == intent.name)
        await store.put_intents(db, chatbot.scope, [wanted])
        await _record(db, chatbot, actor, "intents.set", {"intent": wanted.name, "examples": len(wanted.examples)})
    await tell_changed(app, chatbot.scope)


async def remove_intent(app: Services, chatbot: Chatbot, name: str, *, actor: str) -> None:
    """Raises NotFound if the chatbot has none of that name."""
    if not _NAME.fullmatch(name):
        raise NotFound("no such intent")
    async with app.db.transaction(chatbot.scope) as db:
        await store.raise_version(db, chatbot.scope)
        if not await store.remove_intent(db, chatbot.scope, name):
            raise NotFound("no such intent")
        await _record(db, chatbot, actor, "intents.removed", {"intent": name})
    await tell_changed(app, chatbot.scope)


async def try_intents(app: Services, chatbot: Chatbot, texts: Sequence[str]) -> list[Verdict]:
    """What the model in the database says of some texts, those below the threshold too. Raises NotFound without a model,
    ModelUnavailable."""
    async with app.db.transaction(chatbot.scope) as db:
        kept = await store.read_model(db, chatbot.scope)
    if kept.model is None:
        raise NotFound("this chatbot has no trained intents")
    model = await asyncio.to_thread(CustomIntents.from_bytes, kept.model)
    return await asyncio.to_thread(model.read, texts, await app.embedder.encode(texts))


def checked(intents: Sequence[CustomIntent]) -> list[CustomIntent]:
    """Intents with their examples tidied: trimmed, each once. Raises Unprocessable, naming the intent that cannot be."""
    if len(intents) > INTENTS_AT_MOST:
        raise Unprocessable(f"a chatbot has at most {INTENTS_AT_MOST} intents", param="intents")
    found: dict[str, CustomIntent] = {}
    owner: dict[str, str] = {}
    for intent in intents:
        if not _NAME.fullmatch(intent.name):
            raise Unprocessable(
                f"{intent.name[:70]!r} is no name of an intent: small letters, digits, `_`, `-` and `.`, at most 64",
                param="name",
            )
        if intent.name in found:
            raise Unprocessable(f"{intent.name} stands there twice", param="name")
        examples = list(dict.fromkeys(example.strip() for example in intent.examples if example.strip()))
        if not 1 <= len(examples) <= PER_INTENT_AT_MOST:
            raise Unprocessable(f"{intent.name} needs 1 to {PER_INTENT_AT_MOST} examples", param="examples")
        for example in examples:
            if len(example) > EXAMPLE_CHARACTERS or "\0" in example:
                raise Unprocessable(
                    f"an example of {intent.name} is longer than {EXAMPLE_CHARACTERS} characters or holds a NUL",
                    param="examples",
                )
            other = owner.setdefault(_folded(example), intent.name)
            if other != intent.name:
                raise Unprocessable(f"{example[:80]!r} is an example of {other} and of {intent.name}", param="examples")
        found[intent.name] = CustomIntent(name=intent.name, examples=tuple(examples))
    if sum(len(intent.examples) for intent in found.values()) > EXAMPLES_AT_MOST:
        raise Unprocessable(
            f"a chatbot's intents have at most {EXAMPLES_AT_MOST:,} examples together", param="examples"
        )
    return list(found.values())


@asynccontextmanager
async def watching_intents(app: Services) -> AsyncGenerator[None]:
    """Take in models that were trained anew while this is open."""
    tasks = [
        asyncio.create_task(_forever(app, _listen), name="intents.listen"),
        asyncio.create_task(_forever(app, _renew), name="intents.renew"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def tell_changed(app: Services, scope: Scope) -> None:
    """Have workers train, or every process read, this chatbot's model. One that does not hear it looks by itself."""
    assert scope.chatbot_id is not None
    app.intents.changed(scope.chatbot_id)
    with suppress(Unavailable):
        await app.channel.publish_intents(scope.chatbot_id)


async def _model_of(app: Services, scope: Scope) -> CustomIntents | None:
    key = _key(scope)
    if app.intents.holds(key):
        return app.intents.get(key)
    try:
        async with asyncio.timeout(LOAD_S):
            return await _load(app, key)
    except TimeoutError:
        # A large one on a busy machine: `watching_intents` takes its time, and the next messages have it.
        app.intents.want(key)
        _log.info("intents.not_read", chatbot_id=key[1], error="it is read beside the answers")
        return None
    except ChatwrightError as error:
        _log.info("intents.not_read", error=str(error))
        return None


async def _load(app: Services, key: Key) -> CustomIntents | None:
    scope, changes = Scope(tenant_id=key[0], chatbot_id=key[1]), app.intents.changes
    async with app.db.transaction(scope) as db:
        kept = await store.read_model(db, scope)
    model = None
    if kept.model is not None:
        try:
            model = await asyncio.to_thread(CustomIntents.from_bytes, kept.model)  # some ms of a large one
        except ValueError as error:  # another version's: the examples are there, it is trained anew
            _log.warning("intents.unreadable", chatbot_id=key[1], error=str(error))
            async with app.db.transaction(scope) as db:
                await store.raise_version(db, scope)
    app.intents.put(key, model, 0 if model is None else model.size_bytes)
    if app.intents.changes != changes:
        app.intents.stale.add(key)
        app.intents.came.set()
    return model


async def _listen(app: Services) -> None:
    async for chatbot_id in app.channel.intents():
        app.intents.changed(chatbot_id)


async def _renew(app: Services) -> None:
    while True:
        await app.intents.came.wait()
        app.intents.came.clear()
        for key in list(app.intents.stale):
            app.intents.stale.discard(key)  # first: a notice that comes while it is read is a new one
            try:
                await _load(app, key)
            except BaseException:
                app.intents.stale.add(key)
                raise


async def _forever(app: Services, work: Any) -> None:
    while True:
        try:
            await work(app)
        except (ChatwrightError, TimeoutError) as error:
            _log.info("intents.watch_failed", error=str(error) or type(error).__name__)
        except Exception:  # noqa: BLE001 - what is held serves on
            _log.exception("intents.watch_failed")
        await asyncio.sleep(PAUSE_S)
        if app.intents.stale:
            app.intents.came.set()


async def _record(db: Any, chatbot: Chatbot, actor: str, action: str, detail: Mapping[str, Any]) -> None:
    await tenancy.record(db, chatbot.scope.tenant_id, actor=actor, action=action, target=chatbot.id, detail=detail)


def _folded(example: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", example).casefold().split())


def _key(scope: Scope) -> Key:
    assert scope.chatbot_id is not None
    return scope.tenant_id, scope.chatbot_id
