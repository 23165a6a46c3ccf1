"""What the semantic cache learns, on a real PostgreSQL: one place per question, bounds, leases, purges, tenants apart."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.ids import new_id
from chatwright.domain.providers import Finish, Usage
from chatwright.domain.scope import Scope
from chatwright.features import tenancy
from chatwright.features.cache import (
    CachedAnswer,
    answer_store,
    listing_store,
    normalise,
    purge_store,
    router_store,
    store,
)
from chatwright.features.cache.checks import Check
from chatwright.features.cache.listing_store import Filter
from chatwright.features.cache.store import Question
from chatwright.features.credentials import new_widget_id

SCOPE_A, SCOPE_B = b"a" * 16, b"b" * 16


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, min_connections=1, max_connections=10) as database:
        yield database


async def a_chatbot(db: Database) -> Scope:
    async with db.operator() as connection:
        tenant = await tenancy.create_tenant(connection, name="A", plan="standard", time_zone="UTC", weight=1.0)
    scope = Scope(tenant_id=tenant.id)
    async with db.transaction(scope) as connection:
        chatbot = await tenancy.create_chatbot(
            connection, scope, tenancy.NewChatbot(name="Help", slug="help", widget_id=new_widget_id())
        )
    return chatbot.scope


@pytest.fixture
async def scope(db: Database) -> Scope:
    return await a_chatbot(db)


def vector_of(number: int) -> np.ndarray:
    vector = np.random.default_rng(number).normal(size=384).astype(np.float32)
    return vector / np.linalg.norm(vector)


def question(text: str, number: int = 0) -> Question:
    return Question.of(text, normalise(text), vector_of(number))


def entry(text: str = "Within 14 days.", **how: object) -> CachedAnswer:
    fields = {"text": text, "provider": "openai", "model": "m", "finish": Finish.STOP, "usage": Usage(), "cost_nano": 5}
    return CachedAnswer(**(fields | how))  # type: ignore[arg-type]


async def a_class(db: Database, scope: Scope, *texts: str, answer: CachedAnswer | None = None, number: int = 0) -> str:
    async with db.transaction(scope) as connection:
        await store.lock(connection, scope)
        class_id, _ = await store.add_class(connection, scope)
        for place, text in enumerate(texts):
            await store.settle(connection, scope, question(text, number + place), class_id, "miss")
        if answer is not None:
            await answer_store.put_answer(connection, scope, class_id, SCOPE_A, answer, lifetime_s=60)
    return class_id


async def classes(db: Database, scope: Scope, **how: str) -> list[listing_store.ListedClass]:
    async with db.transaction(scope) as connection:
        return await listing_store.list_classes(connection, scope, Filter(**how))


async def test_an_answer_is_served_under_its_scope_only(db: Database, scope: Scope) -> None:
    await a_class(db, scope, "return policy", answer=entry())
    found = await answer_store.read_answer(db, scope, 0, SCOPE_A)
    assert found is not None
    assert found.entry.text == "Within 14 days."
    assert 0 < found.lasts_s <= 60
    assert await answer_store.read_answer(db, scope, 0, SCOPE_B) is None
    assert await answer_store.read_answer(db, scope, 1, SCOPE_A) is None
    assert await answer_store.read_answer(db, await a_chatbot(db), 0, SCOPE_A) is None
    elsewhere = Scope(tenant_id=(await a_chatbot(db)).tenant_id, chatbot_id=scope.chatbot_id)
    assert await answer_store.read_answer(db, elsewhere, 0, SCOPE_A) is None


async def test_an_answer_ends(db: Database, scope: Scope) -> None:
    class_id = await a_class(db, scope, "return policy")
    async with db.transaction(scope) as connection:
        await answer_store.put_answer(connection, scope, class_id, SCOPE_A, entry(), lifetime_s=0.05)
    await asyncio.sleep(0.1)
    assert await answer_store.read_answer(db, scope, 0, SCOPE_A) is None
    async with db.transaction(scope) as connection:  # a provider said the same again
        await answer_store.confirm_answer(connection, scope, class_id, SCOPE_A, lifetime_s=60)
    found = await answer_store.read_answer(db, scope, 0, SCOPE_A)
    assert found is not None
    assert found.agreed == 1


async def test_the_newest_scopes_are_kept(db: Database, scope: Scope) -> None:
    class_id = await a_class(db, scope, "return policy")
    for number in range(answer_store.SCOPES_PER_CLASS + 2):
        async with db.transaction(scope) as connection:
            await answer_store.put_answer(connection, scope, class_id, bytes([number]) * 16, entry(), lifetime_s=60)
    (found,) = await classes(db, scope)
    assert sorted(answer.scope for answer in found.answers) == [bytes([number]).hex() * 16 for number in range(2, 6)]


async def test_a_question_has_one_place(db: Database, scope: Scope) -> None:
    first = await a_class(db, scope, "Return policy?")
    second = await a_class(db, scope, "warranty")
    asked = question("return policy?")
    async with db.transaction(scope) as connection:
        await store.settle(connection, scope, asked, second, "check")
        standing = await store.look(
            connection, scope, [first], scope_digest=SCOPE_A, answer_text="-", question=asked, asked_at_s=0
        )
    assert (standing.is_settled, standing.class_id, standing.label) == (True, second, 1)
    assert (standing.alive, standing.twins, standing.purged) == ({}, {}, False)
    assert [one.id for one in await classes(db, scope)] == [second]  # the first one lost its only phrasing
    assert first != second


async def test_a_rejection_ends_when_the_question_turns_out_to_belong(db: Database, scope: Scope) -> None:
    class_id = await a_class(db, scope, "warranty")
    asked = question("guarantee", 5)
    async with db.transaction(scope) as connection:
        await store.reject(connection, scope, asked, class_id, "check")
        await store.reject(connection, scope, asked, class_id, "check")
        learned = await router_store.read_learned(connection, scope)
        assert learned.rejected == {(asked.digest, 0)}
        examples = await router_store.list_examples(connection, scope)
        assert [(one.text, one.label) for one in examples] == [("warranty", 0), ("guarantee", None)]
        await store.settle(connection, scope, asked, class_id, "operator")
        learned = await router_store.read_learned(connection, scope)
        examples = await router_store.list_examples(connection, scope)
    assert learned.rejected == frozenset()
    assert learned.labels[asked.digest] == 0
    assert {(one.text, one.label) for one in examples} == {("guarantee", 0), ("warranty", 0)}


async def test_vectors_come_back_as_they_were(db: Database, scope: Scope) -> None:
    await a_class(db, scope, "warranty", number=9)
    async with db.transaction(scope) as connection:
        (example,) = await router_store.list_examples(connection, scope)
    assert np.abs(example.vector - vector_of(9)).max() < 1e-3
    assert example.vector.dtype == np.float32


async def test_candidates_are_near_or_named_or_say_the_very_same(db: Database, scope: Scope) -> None:
    near = await a_class(db, scope, "near", answer=entry("one"), number=1)
    named = await a_class(db, scope, "named", number=20)
    twin = await a_class(db, scope, "twin", answer=entry("Two!"), number=30)
    await a_class(db, scope, "far", answer=entry("three"), number=40)
    asked = Question.of("asked", "asked", vector_of(1))
    async with db.transaction(scope) as connection:
        found = await store.find_candidates(
            connection, scope, asked, scope_digest=SCOPE_A, labels=[1], answer_text="two", near=1
        )
        elsewhere = await store.find_candidates(
            connection, scope, asked, scope_digest=SCOPE_B, labels=[], answer_text="two", near=2
        )
    by_id = {one.class_id: one for one in found}
    assert set(by_id) == {near, named, twin}
    assert by_id[near].cosine > 0.99
    assert by_id[near].fresh
    assert by_id[named].entry is None
    assert not by_id[named].fresh
    assert all(one.entry is None for one in elsewhere)


async def test_labels_are_never_given_twice(db: Database, scope: Scope) -> None:
    gone = await a_class(db, scope, "one")
    async with db.transaction(scope) as connection:
        assert await purge_store.drop_classes(connection, scope, [gone]) == 1
    await a_class(db, scope, "two")
    assert [one.label for one in await classes(db, scope)] == [1]


async def test_two_classes_become_one(db: Database, scope: Scope) -> None:
    keep = await a_class(db, scope, "one", "uno", answer=entry())
    other = await a_class(db, scope, "eins", "ein", answer=entry("else"), number=10)
    async with db.transaction(scope) as connection:
        await store.reject(connection, scope, question("eins", 10), keep, "miss")
        await store.merge_classes(connection, scope, keep, other)
        learned = await router_store.read_learned(connection, scope)
    assert set(learned.labels.values()) == {0}
    assert len(learned.labels) == 4
    assert learned.rejected == frozenset()
    (left,) = await classes(db, scope)
    assert [answer.entry.text for answer in left.answers] == ["Within 14 days."]


async def test_one_trains_at_a_time_and_what_came_meanwhile_is_due_again(db: Database, scope: Scope) -> None:
    async def due() -> list[Scope]:
        async with db.operator() as connection:
            return await router_store.list_due(connection, limit=10)

    await a_class(db, scope, "one", "two", "three")
    assert await due() == []  # too little yet
    await a_class(db, scope, "four", number=10)
    assert await due() == [scope]

    async def take() -> router_store.Taken | None:
        async with db.transaction(scope) as connection:
            return await router_store.take(connection, scope, lease_s=60)

    taken = [one for one in await asyncio.gather(*(take() for _ in range(5))) if one is not None]
    assert [one.labels for one in taken] == [4]
    assert await due() == []
    await a_class(db, scope, *(f"more {number}" for number in range(router_store.MORE_LABELS)), number=20)
    async with db.transaction(scope) as connection:
        await router_store.keep_router(
            connection, scope, b"r", labels=4, examples=4, max_error=0.02, threshold=0.5, figures={}
        )
        learned = await router_store.read_learned(connection, scope)
    assert (learned.router, learned.version) == (b"r", 1)
    assert await due() == [scope]


async def test_a_dead_trainers_lease_runs_out(db: Database, scope: Scope) -> None:
    await a_class(db, scope, "one", "two", "three", "four")
    async with db.transaction(scope) as connection:
        assert await router_store.take(connection, scope, lease_s=0.01) is not None
    await asyncio.sleep(0.05)
    async with db.transaction(scope) as connection:
        assert await router_store.take(connection, scope, lease_s=60) is not None


async def test_what_nobody_asks_goes_first_and_is_remembered_as_no_class(db: Database, scope: Scope) -> None:
    used = await a_class(db, scope, "asked often")
    large = await a_class(db, scope, "many", "phrasings", number=5)
    for number in range(4):
        await a_class(db, scope, f"once {number}", number=10 + number)
    async with db.transaction(scope) as connection:
        await store.use_classes(connection, scope, {0: 3})
        gone = await router_store.trim(connection, scope, classes_at_most=4)
        learned = await router_store.list_examples(connection, scope)
    assert len(gone) == 2
    left = {one.id: one.hits for one in await classes(db, scope)}
    assert left[used] == 3
    assert large in left
    assert [one.text for one in learned if one.label is None] == ["once 0", "once 1"]


async def test_phrasings_are_bounded(db: Database, scope: Scope) -> None:
    class_id = await a_class(db, scope)
    async with db.transaction(scope) as connection:
        await store.settle(connection, scope, question("a seed"), class_id, "seed")
        for number in range(router_store.PER_CLASS_AT_MOST + 10):
            await store.settle(connection, scope, question(f"asked {number}"), class_id, "miss")
        await router_store.trim(connection, scope)
        learned = await router_store.read_learned(connection, scope)
    texts = learned.texts[0]
    assert len(texts) == router_store.PER_CLASS_AT_MOST
    assert "a seed" in texts
    assert "asked 69" in texts
    assert "asked 0" not in texts


async def test_purges_find_a_document_a_text_an_answer_and_its_kin(db: Database, scope: Scope) -> None:
    document, answer_id = new_id(), new_id()
    first = await a_class(db, scope, "return policy", answer=entry(document_ids=(document,), answer_id=answer_id))
    second = await a_class(
        db, scope, "warranty", answer=entry("Two years.", document_ids=(document, new_id())), number=5
    )
    third = await a_class(db, scope, "opening hours", answer=entry("Never."), number=9)
    assert [one.id for one in await classes(db, scope, document_id=document)] == [second, first]
    assert [one.id for one in await classes(db, scope, text="WARR")] == [second]
    assert [one.id for one in await classes(db, scope, text="never")] == [third]
    assert [one.id for one in await classes(db, scope, answer_id=answer_id)] == [first]
    async with db.transaction(scope) as connection:
        gone = await listing_store.purge_answers(connection, scope, Filter(document_id=document))
        stats = await listing_store.read_stats(connection, scope)
    assert sorted(gone) == sorted([first, second])
    assert (stats.classes, stats.answers, stats.verified) == (3, 1, 3)
    assert await answer_store.read_answer(db, scope, 0, SCOPE_A) is None


async def test_checks_are_listed_newest_first(db: Database, scope: Scope) -> None:
    for outcome in ("same", "different", "unknown"):
        check = Check(outcome=outcome, drawn="uniform", share=0.25)  # type: ignore[arg-type]
        async with db.transaction(scope) as connection:
            await router_store.add_check(connection, scope, new_id(), check, judge="text", confidence=0.9)
        await asyncio.sleep(0.002)  # ids sort by the millisecond
    async with db.transaction(scope) as connection:
        found = await router_store.list_checks(connection, scope)
    assert [(one.outcome, one.share) for one in found] == [("unknown", 0.25), ("different", 0.25), ("same", 0.25)]


async def test_everything_goes_with_the_chatbot(db: Database, scope: Scope) -> None:
    await a_class(db, scope, "one", answer=entry())
    async with db.transaction(scope) as connection:
        assert scope.chatbot_id is not None
        await connection.execute(
            "DELETE FROM chatbots WHERE tenant_id = $1 AND id = $2", scope.tenant_id, scope.chatbot_id
        )
        for table in ("cache_classes", "cache_phrasings", "cache_answers", "cache_routers"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
