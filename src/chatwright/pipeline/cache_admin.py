"""A chatbot's caches as their operator sees them: figures, entries with where they came from, purges of both tiers.

A poisoned answer is purged with its kin: all answers of its class, and all that were made with a document that it was made
with. Other processes hear of it at once; none gives such an answer a second later. Called by `entrypoints/admin_cache.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import structlog

from chatwright.adapters.postgres import Connection
from chatwright.domain.chatbot import Chatbot
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.cache import (
    CachedAnswer,
    CachePolicy,
    Kept,
    listing_store,
    mode_word,
    normalise,
    purge_store,
    store,
)
from chatwright.features.cache.agreement import answer_digest
from chatwright.features.cache.checks import Figures, figures
from chatwright.features.cache.listing_store import Filter, ListedClass, SemanticStats
from chatwright.features.cache.purge_store import KeptAnswer
from chatwright.features.cache.router_store import list_checks, note_purged
from chatwright.features.cache.store import phrasing_digest
from chatwright.pipeline.cache_checks import tell_changed
from chatwright.pipeline.services import Services

_log = structlog.get_logger(__name__)
SemanticState = Literal["off", "on", "stricter", "suspended"]
_STATES: tuple[SemanticState, ...] = ("on", "stricter", "stricter", "suspended")
_EXACT_PAGE = 200
EXACT_AT_MOST = 1_000
"""Entries of the exact tier that one look goes through for those that are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFigures:
    """What a chatbot's caches hold. `mode` is the chatbot's, by its word on the wire; `state` is the semantic tier's: it
    suspends itself while its checks find too many wrong answers. Bytes are those of Valkey."""

    mode: str
    exact_entries: int
    exact_bytes: int
    platform_entries: int
    platform_bytes: int
    state: SemanticState
    semantic: SemanticStats
    false_hits: Figures
    max_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are meant: all that is set has to hold; nothing set means every entry.

    `text` stands in the question, a verified phrasing or the answer, in any case and spacing. `answer_id` is the answer that an entry
    was made of, or any answer of a conversation that says the same. `document_id` is a document that it was made with.
    """

    document_id: str | None = None
    text: str | None = None
    answer_id: str | None = None
    class_id: str | None = None

    @property
    def is_everything(self) -> bool:
        return self.document_id is None and self.text is None and self.answer_id is None and self.class_id is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How many entries of the exact tier, answers and classes of the semantic one went. `documents`: those whose answers
    went as kin."""

    exact: int
    answers: int
    classes: int
    documents: tuple[str, ...] = ()


async def read_stats(app: Services, chatbot: Chatbot) -> CacheFigures:
    """Raises Unavailable."""
    scope, policy = chatbot.scope, CachePolicy.of(chatbot.cache_policy)
    exact = await app.cache.stats(chatbot.tenant_id, chatbot.id)
    async with app.db.transaction(scope) as db:
        semantic = await listing_store.read_stats(db, scope)
        checks = await list_checks(db, scope)
    is_off = policy.mode == "off" or not policy.semantic
    return CacheFigures(
        mode=mode_word(policy.mode),
        exact_entries=exact.chatbot_entries,
        exact_bytes=exact.chatbot_bytes,
        platform_entries=exact.entries,
        platform_bytes=exact.bytes,
        state="off" if is_off else _STATES[semantic.strictness],
        semantic=semantic,
        false_hits=figures(checks),
        max_error=policy.max_error,
    )


async def list_classes(
    app: Services, chatbot: Chatbot, wanted: Wanted, *, before: int | None, limit: int
) -> list[ListedClass]:
    """Classes of the semantic tier, newest first, those with a label below `before`. Raises Unavailable."""
    scope = chatbot.scope
    async with app.db.transaction(scope) as db:
        meant = await _meaning(db, scope, wanted)
        if wanted.text is None and wanted.answer_id is None:
            filtered = Filter(document_id=wanted.document_id, class_id=wanted.class_id)
            return await listing_store.list_classes(db, scope, filtered, before=before, limit=limit)
        # What an answer says cannot be asked of the database: classes are found first, then read one by one.
        found = {one.class_id for one in await purge_store.list_answers(db, scope) if meant.answer(one)}
        found |= meant.classes
        listed = [
            one
            for class_id in found
            for one in await listing_store.list_classes(db, scope, Filter(class_id=class_id), before=before, limit=1)
        ]
    return sorted(listed, key=lambda one: -one.label)[:limit]


async def list_exact(
    app: Services, chatbot: Chatbot, wanted: Wanted, *, offset: int, limit: int
) -> tuple[list[Kept], int | None]:
    """(entries of the exact tier, newest first, where to go on or None). Goes through `EXACT_AT_MOST` at most, so that a
    page may hold fewer than `limit` and still not be the last. Raises Unavailable."""
    async with app.db.transaction(chatbot.scope) as db:
        meant = await _meaning(db, chatbot.scope, wanted)
    found: list[Kept] = []
    at = offset
    while at < offset + EXACT_AT_MOST:
        page = await app.cache.entries(chatbot.tenant_id, chatbot.id, offset=at, limit=_EXACT_PAGE)
        for place, kept in enumerate(page):
            if meant.entry(kept.entry):
                found.append(kept)
                if len(found) == limit:
                    return found, at + place + 1
        at += _EXACT_PAGE
        if not page:
            return found, None
    return found, at


async def purge(
    app: Services, chatbot: Chatbot, wanted: Wanted, *, actor: str, kin: bool = True, forget: bool = False
) -> Purged:
    """Purge what is meant, from both tiers and in all processes within a second. Raises Unavailable.

    With `kin` also every answer of the same classes, and every answer made with a document that one of them was made with.
    With `forget` the classes go with all that was learned of them; else their questions are merely answered anew. With
    nothing wanted every answer goes.
    """
    scope = chatbot.scope
    with_kin = kin and not wanted.is_everything
    async with app.db.transaction(scope) as db:
        meant = await _meaning(db, scope, wanted)
    # What is meant itself goes at once, before anybody is waited for.
    documents: set[str] = set()
    exact = await _drop_exact(app, chatbot, meant.entry, made_with=documents)
    async with app.db.transaction(scope) as db:
        await store.lock(db, scope)
        meant = await _meaning(db, scope, wanted)
        answers = await purge_store.list_answers(db, scope)
        direct = [one for one in answers if meant.answer(one)]
        classes = {one.class_id for one in direct} | meant.classes
        documents.update(*(one.entry.document_ids for one in direct if one.entry is not None))
        if not with_kin:
            documents.clear()
        gone = [one for one in answers if _goes(one, meant, classes if with_kin else set(), documents)]
        asked = await purge_store.phrased(db, scope, list(classes)) if with_kin and classes else set[bytes]()
        forgotten = 0
        if forget:
            every = await purge_store.every_class(db, scope) if wanted.is_everything else list(classes)
            forgotten = await purge_store.drop_classes(db, scope, every)
        if wanted.is_everything and forget:
            await listing_store.forget_nobody(db, scope)
        await purge_store.drop_answers(db, scope, gone)
        await note_purged(db, scope)
        detail = {name: value for name in ("document_id", "answer_id", "class_id") if (value := getattr(wanted, name))}
        # Never the words: an audit log is no place for what visitors said.
        detail |= {
            "by_text": wanted.text is not None,
            "kin": kin,
            "forget": forget,
            "answers": len(gone),
            "classes": forgotten,
        }
        await tenancy.record(
            db, chatbot.tenant_id, actor=actor, action="cache.purged", target=chatbot.id, detail=detail
        )
    await tell_changed(app, scope)
    exact += await _drop_exact(app, chatbot, _matching(meant, asked, documents))
    _log.info("cache.purged", chatbot_id=chatbot.id, exact=exact, answers=len(gone), classes=forgotten)
    return Purged(exact=exact, answers=len(gone), classes=forgotten, documents=tuple(sorted(documents)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meant:
    """`Wanted`, made ready to be compared with entries. `classes` are those whose phrasings or id are meant, `asked` the
    digests of their phrasings, `said` the digest of the answer that was named."""

    wanted: Wanted
    classes: set[str] = field(default_factory=set[str])
    asked: set[bytes] = field(default_factory=set[bytes])
    said: bytes | None = None

    def answer(self, kept: KeptAnswer) -> bool:
        """Whether an answer of the semantic tier is meant; one that cannot be read may be anything."""
        if kept.entry is None:
            return True
        wanted = self.wanted
        if wanted.class_id is not None and kept.class_id != wanted.class_id:
            return False
        return self._says(kept.entry, asked=kept.class_id in self.classes)

    def entry(self, entry: CachedAnswer) -> bool:
        """Whether an entry of the exact tier is meant: it has no class, but a question that may stand in one."""
        if self.wanted.is_everything:
            return True
        asked = bool(self.asked) and phrasing_digest(normalise(entry.question)) in self.asked
        return (self.wanted.class_id is None or asked) and self._says(entry, asked=asked)

    def _says(self, entry: CachedAnswer, *, asked: bool) -> bool:
        wanted = self.wanted
        if wanted.document_id is not None and wanted.document_id not in entry.document_ids:
            return False
        if wanted.answer_id not in (None, entry.answer_id) and (
            self.said is None or answer_digest(entry.text) != self.said
        ):
            return False
        if wanted.text is not None and not asked:
            text = _plain(wanted.text).casefold()
            return text in _plain(entry.question).casefold() or text in _plain(entry.text).casefold()
        return True


async def _meaning(db: Connection, scope: Scope, wanted: Wanted) -> _Meant:
    classes: set[str] = set()
    if wanted.class_id is not None:
        classes.add(wanted.class_id)
    if wanted.text is not None:
        asked = await purge_store.classes_asked(db, scope, _plain(wanted.text))
        classes = asked if wanted.class_id is None else classes & asked
    said = None if wanted.answer_id is None else await purge_store.said(db, scope, wanted.answer_id)
    return _Meant(
        wanted=wanted,
        classes=classes,
        asked=await purge_store.phrased(db, scope, list(classes)) if classes else set(),
        said=None if said is None else answer_digest(said),
    )


def _plain(text: str) -> str:
    """Without what one asks and another forgets: runs of spaces, the mark at the end."""
    return " ".join(text.split()).rstrip("?!. ") or text


def _goes(one: KeptAnswer, meant: _Meant, classes: set[str], documents: set[str]) -> bool:
    """Whether an answer of the semantic tier goes: it is meant, or it is kin of one that is."""
    if one.class_id in classes or meant.answer(one):
        return True
    return one.entry is not None and not documents.isdisjoint(one.entry.document_ids)


def _matching(meant: _Meant, asked: set[bytes], documents: set[str]) -> Callable[[CachedAnswer], bool]:
    """The same for the exact tier. `asked`: digests of the phrasings of the classes whose answers go."""

    def goes(entry: CachedAnswer) -> bool:
        if meant.entry(entry) or not documents.isdisjoint(entry.document_ids):
            return True
        return bool(asked) and phrasing_digest(normalise(entry.question)) in asked

    return goes


async def _drop_exact(
    app: Services, chatbot: Chatbot, goes: Callable[[CachedAnswer], bool], *, made_with: set[str] | None = None
) -> int:
    """Drop entries of the exact tier; `made_with` gets the documents that they were made with. Returns how many."""

    def matches(entry: CachedAnswer) -> bool:
        if not goes(entry):
            return False
        if made_with is not None:
            made_with.update(entry.document_ids)
        return True

    return await app.cache.purge(chatbot.tenant_id, chatbot.id, matches=matches)
