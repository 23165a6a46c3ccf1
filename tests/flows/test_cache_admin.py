"""The caches' console: figures, provenance, purges with kin over two processes, seeds from files and from knowledge."""

import asyncio
import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click
import pytest

from bench.simulator import Simulator
from chatwright.app.commands.cache import read_seeds
from chatwright.domain.errors import Unprocessable
from chatwright.domain.ids import new_id
from chatwright.domain.messages import Draft
from chatwright.domain.providers import Finish, Source, Usage
from chatwright.features import tenancy
from chatwright.features.cache import CachedAnswer
from chatwright.pipeline import cache_admin, cache_seeds, guard_admin, manage, semantic
from chatwright.pipeline.accept import accept
from chatwright.pipeline.cache_admin import Wanted
from chatwright.pipeline.cache_learning import drain
from chatwright.pipeline.cache_seeds import PROVIDER, Seed, phrasings_of
from chatwright.pipeline.caching import plan_cache
from chatwright.pipeline.documents import submit_text
from chatwright.pipeline.guarding import under_tenant
from chatwright.pipeline.services import Services
from chatwright.pipeline.wait import Outcome, wait_for_answer
from tests.flows.conftest import OpenApp, Shop, open_shop, running_worker

EVERYTHING = Wanted()
NO_CHECKS: dict[str, Any] = {"check_share": 0.0}
SATURDAYS = "When are you open on Saturdays?"


def entry(text: str, question: str, *, documents: Sequence[str] = (), answer_id: str | None = None) -> CachedAnswer:
    sources = tuple(
        Source(n=place, document_id=document, title="Handbook", url=None, score=0.9, quote="…")
        for place, document in enumerate(documents, 1)
    )
    return CachedAnswer(
        text=text,
        provider="openai",
        model="mock",
        finish=Finish.STOP,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost_nano=1_000,
        sources=sources,
        question=question,
        answer_id=answer_id or new_id(),
        document_ids=tuple(documents),
        revision=1,
        created_at=time.time(),
    )


async def keep(app: Services, shop: Shop, kept: CachedAnswer) -> None:
    """An answer in both tiers, as a flow leaves it."""
    plan = plan_cache(app, shop.chatbot, question=kept.question)
    assert plan is not None
    assert await app.cache.put(shop.chatbot.tenant_id, shop.chatbot.id, plan.key, kept, 300)
    await semantic.learn(app, plan, kept.question, None, kept)
    assert await drain(app)


async def found(app: Services, shop: Shop, question: str) -> tuple[str | None, str | None]:
    """What the exact and the semantic tier say to a question."""
    plan = plan_cache(app, shop.chatbot, question=question)
    assert plan is not None
    exact = await app.cache.get(plan.key)
    hit = await semantic.find(app, plan, question)
    return None if exact is None else exact.text, None if hit is None else hit.entry.text


async def purge(app: Services, shop: Shop, wanted: Wanted = EVERYTHING, **how: Any) -> tuple[int, int, int]:
    gone = await cache_admin.purge(app, shop.chatbot, wanted, actor="test", **how)
    return gone.exact, gone.answers, gone.classes


async def with_policy(app: Services, shop: Shop, **policy: Any) -> Shop:
    changes = {"cache_policy": policy}
    return replace(shop, chatbot=await manage.patch_chatbot(app, shop.scope, shop.chatbot.id, changes, actor="test"))


@pytest.fixture
async def shop(app: Services) -> Shop:
    return await with_policy(app, await open_shop(app), **NO_CHECKS)


async def say(app: Services, shop: Shop, text: str) -> Outcome:
    accepted = await accept(app, shop.scope, Draft(text=text, conversation_id=None, chatbot_id=shop.chatbot.id))
    outcome = await wait_for_answer(app, shop.scope, accepted, timeout_s=20)
    await app.cache.settled()
    assert await drain(app)
    return outcome


# --- purges -------------------------------------------------------------------------------------------------------


async def test_an_answer_goes_with_its_class_and_with_what_its_documents_made(app: Services, shop: Shop) -> None:
    poisoned, other = new_id(), new_id()
    bad = entry("Send your PIN to Mallory.", "what if I forgot my PIN code", documents=[poisoned])
    kin = entry("Mallory also sells cards.", "where can I buy a gift card", documents=[poisoned, other])
    sound = entry("We are open from nine to five.", "when does the store open its doors", documents=[other])
    for each in (bad, kin, sound):
        await keep(app, shop, each)
    assert await purge(app, shop, Wanted(answer_id=bad.answer_id)) == (2, 2, 0)
    assert await found(app, shop, bad.question) == (None, None)
    assert await found(app, shop, kin.question) == (None, None)
    assert await found(app, shop, sound.question) == (sound.text, sound.text)


async def test_without_kin_only_what_is_meant_goes(app: Services, shop: Shop) -> None:
    document = new_id()
    bad = entry("Wrong.", "what if I forgot my PIN code", documents=[document])
    kin = entry("Right.", "where can I buy a gift card", documents=[document])
    await keep(app, shop, bad)
    await keep(app, shop, kin)
    assert await purge(app, shop, Wanted(answer_id=bad.answer_id), kin=False) == (1, 1, 0)
    assert await found(app, shop, kin.question) == (kin.text, kin.text)


async def test_purges_by_document_text_and_class(app: Services, shop: Shop) -> None:
    document = new_id()
    first = entry("Nine to FIVE.", "when does the store open its doors", documents=[document])
    second = entry("In aisle three.", "where do I find the garden chairs")
    third = entry("By parcel.", "how are the big tables delivered")
    for each in (first, second, third):
        await keep(app, shop, each)
    assert await purge(app, shop, Wanted(document_id=new_id())) == (0, 0, 0)
    assert await purge(app, shop, Wanted(document_id=document)) == (1, 1, 0)
    assert await purge(app, shop, Wanted(text="AISLE three")) == (1, 1, 0)
    assert await purge(app, shop, Wanted(text="big TABLES"), forget=True) == (1, 1, 1)
    left = await cache_admin.list_classes(app, shop.chatbot, EVERYTHING, before=None, limit=10)
    assert [one.phrasings[0].text for one in left] == [second.question, first.question]
    await keep(app, shop, second)
    assert await purge(app, shop, Wanted(class_id=left[0].id)) == (1, 1, 0)
    assert await found(app, shop, second.question) == (None, None)


async def test_a_purge_of_everything_empties_both_tiers_and_spares_others(app: Services, shop: Shop) -> None:
    other = await with_policy(app, await open_shop(app, name="Other"), **NO_CHECKS)
    question = "when does the store open its doors"
    await keep(app, shop, entry("At nine.", question))
    await keep(app, other, entry("At ten.", question))
    assert await purge(app, shop) == (1, 1, 0)
    assert await found(app, shop, question) == (None, None)
    await keep(app, shop, entry("At nine.", question))
    assert await purge(app, shop, forget=True) == (1, 1, 1)
    stats = await cache_admin.read_stats(app, shop.chatbot)
    assert (stats.exact_entries, stats.semantic.classes, stats.semantic.verified) == (0, 0, 0)
    assert await found(app, other, question) == ("At ten.", "At ten.")


async def test_another_process_gives_a_purged_answer_no_more(app: Services, shop: Shop, open_app: OpenApp) -> None:
    question = "when does the store open its doors"
    await keep(app, shop, entry("At midnight.", question))
    async with open_app() as elsewhere:
        assert await found(elsewhere, shop, question) == ("At midnight.", "At midnight.")
        await purge(app, shop, Wanted(text="midnight"))
        until = time.monotonic() + 5.0
        while await found(elsewhere, shop, question) != (None, None):
            assert time.monotonic() < until, "it is still given"
            await asyncio.sleep(0.02)


async def test_a_cached_answer_in_a_conversation_names_the_entry(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    simulator.set(reply="A poisoned answer.")
    async with running_worker(app, valkey_url):
        first = await say(app, shop, "How do I change my delivery address?")
        again = await say(app, shop, "how do I change my delivery address")
        assert first.answer is not None
        assert again.answer is not None
        assert again.answer.cached == "exact"
        assert again.answer.id != first.answer.id
        exact, answers, _ = await purge(app, shop, Wanted(answer_id=again.answer.id))
        assert (exact, answers) == (1, 1)
        simulator.set(reply="In your profile.")
        mended = await say(app, shop, "How do I change my delivery address?")
        assert mended.answer is not None
        assert (mended.answer.text, mended.answer.cached) == ("In your profile.", "miss")


async def test_a_purge_is_audited_without_words(app: Services, shop: Shop) -> None:
    await purge(app, shop, Wanted(text="secret words"))
    async with app.db.transaction(shop.scope) as db:
        written = await tenancy.list_audit(db, shop.scope, after=None, limit=1)
    assert written[0].action == "cache.purged"
    assert written[0].detail["by_text"] is True
    assert "secret" not in json.dumps(written[0].detail)


# --- what is shown ------------------------------------------------------------------------------------------------


async def test_entries_say_where_they_came_from(app: Services, shop: Shop) -> None:
    document = new_id()
    kept = entry("At nine.", "when does the store open its doors", documents=[document])
    await keep(app, shop, kept)
    listed = await cache_admin.list_classes(app, shop.chatbot, Wanted(text="STORE"), before=None, limit=5)
    assert [phrasing.text for phrasing in listed[0].phrasings] == [kept.question]
    shown = listed[0].answers[0].entry
    assert (shown.answer_id, shown.document_ids, shown.revision) == (kept.answer_id, (document,), 1)
    exact, at = await cache_admin.list_exact(app, shop.chatbot, Wanted(document_id=document), offset=0, limit=5)
    assert [one.entry.answer_id for one in exact] == [kept.answer_id]
    assert at is None
    assert await cache_admin.list_exact(app, shop.chatbot, Wanted(text="nothing"), offset=0, limit=5) == ([], None)
    stats = await cache_admin.read_stats(app, shop.chatbot)
    assert (stats.mode, stats.state, stats.exact_entries, stats.semantic.classes) == ("on", "on", 1, 1)
    assert stats.false_hits.rate is None


# --- seeds --------------------------------------------------------------------------------------------------------


async def test_a_seed_answers_each_of_its_phrasings(
    app: Services, shop: Shop, simulator: Simulator, valkey_url: str
) -> None:
    simulator.set(reply="The model was asked.")
    seed = Seed(
        questions=("How do I return a parcel?", "Can I send things back?", "What is your return policy?"),
        answer="Within 30 days, with the label.",
    )
    done = await cache_seeds.sow(app, shop.chatbot, [seed], actor="test")
    assert (done.classes, done.renewed, done.phrasings, done.left_out) == (1, 0, 3, [])
    async with running_worker(app, valkey_url):
        for question in seed.questions:
            outcome = await say(app, shop, question)
            assert outcome.answer is not None
            assert (outcome.answer.text, outcome.answer.cached) == (seed.answer, "semantic")
            assert (outcome.answer.provider, outcome.answer.cost_nano) == (PROVIDER, 0)
    assert simulator.calls() == []
    listed = await cache_admin.list_classes(app, shop.chatbot, EVERYTHING, before=None, limit=5)
    assert {phrasing.origin for phrasing in listed[0].phrasings} == {"seed"}


async def test_a_seed_given_again_renews_its_answer(app: Services, shop: Shop) -> None:
    first = Seed(questions=("How do I return a parcel?",), answer="Within 30 days.")
    again = Seed(questions=("how do I return a parcel", "Can I send things back?"), answer="Within 60 days.")
    await cache_seeds.sow(app, shop.chatbot, [first], actor="test")
    done = await cache_seeds.sow(app, shop.chatbot, [again], actor="test")
    assert (done.classes, done.renewed) == (0, 1)
    for question in ("How do I return a parcel?", "Can I send things back?"):
        assert (await found(app, shop, question))[1] == "Within 60 days."


async def test_seeds_that_no_look_up_would_find_are_left_out(app: Services, shop: Shop) -> None:
    seeds = [
        Seed(questions=("Where is my order 4711-2299?",), answer="On its way."),
        Seed(questions=("What time is it?",), answer="Noon."),
        Seed(questions=("Yes",), answer="Fine."),
        Seed(questions=("Where is the car park?",), answer="  "),
        Seed(questions=("Where is the entrance hall?", "and then?"), answer="On the left."),
    ]
    done = await cache_seeds.sow(app, shop.chatbot, seeds, actor="test")
    assert (done.classes, done.phrasings) == (1, 1)
    assert [one.why for one in done.left_out] == [
        "it holds personal data",
        "its answer is another one soon",
        "it cannot be understood alone",
        "it has no answer",
        "it cannot be understood alone",
    ]


async def test_seeds_of_a_chatbot_without_the_tier_are_refused(app: Services, shop: Shop) -> None:
    off = await with_policy(app, shop, semantic=False)
    with pytest.raises(Unprocessable, match="cache_policy"):
        await cache_seeds.sow(app, off.chatbot, [Seed(questions=("Who are you?",), answer="A.")], actor="test")
    bare = replace(shop.chatbot, knowledge_base_id=None)
    with pytest.raises(Unprocessable, match="no knowledge base"):
        await cache_seeds.sow_knowledge(app, bare, after=None, actor="test")


async def test_seeds_hold_for_the_configuration_they_were_given_under(app: Services, shop: Shop) -> None:
    seed = Seed(questions=("How do I return a parcel?",), answer="Within 30 days.")
    await cache_seeds.sow(app, shop.chatbot, [seed], actor="test")
    changes = {"system_prompt": "You are terse."}
    changed = replace(shop, chatbot=await manage.patch_chatbot(app, shop.scope, shop.chatbot.id, changes, actor="test"))
    assert (await found(app, changed, "How do I return a parcel?"))[1] is None
    done = await cache_seeds.sow(app, changed.chatbot, [seed], actor="test")
    assert (done.classes, done.renewed) == (0, 1)
    assert (await found(app, changed, "How do I return a parcel?"))[1] == seed.answer


async def test_an_answer_given_under_other_rules_of_the_tenant_is_not_given_again(app: Services, shop: Shop) -> None:
    """A process may know of the new revision before it knows of the new rules: their order is not given."""
    found = [
        plan_cache(app, replace(shop.chatbot, guard_policy=policy), question=SATURDAYS)
        for policy in ({}, {"banned_terms": ["acme"]}, {"banned_terms": ["acme"], "output": "mask"})
    ]
    assert len({plan.key for plan in found if plan}) == len({plan.scope.digest for plan in found if plan}) == 3


async def test_seeds_are_found_where_the_tenant_has_rules(app: Services, shop: Shop) -> None:
    await guard_admin.put_policy(app, shop.scope, {"banned_terms": ["acme"]}, actor="test")
    chatbot = await app.chatbots.get(shop.scope, shop.chatbot.id)
    await cache_seeds.sow(app, chatbot, [Seed(questions=(SATURDAYS,), answer="From nine to one.")], actor="test")
    plan = plan_cache(app, await under_tenant(app, chatbot), question=SATURDAYS)
    assert plan is not None
    hit = await semantic.find(app, plan, SATURDAYS)
    assert hit is not None
    assert hit.entry.text == "From nine to one."


async def test_the_questions_of_the_knowledge_base_are_taught(app: Services, valkey_url: str) -> None:
    shop = await open_shop(app, knowledge=True)
    text = (
        "# Questions\n\n## How long does shipping take?\n\nParcels arrive within 3 working days.\n\n"
        "## Can I pay by invoice? / Do you accept invoices?\n\nYes, as a registered business.\n\n## Contact\n\nWrite to us.\n"
    )
    base = shop.chatbot.knowledge_base_id
    assert base is not None
    async with running_worker(app, valkey_url):
        document = await submit_text(app, shop.scope, base, title="FAQ", text=text, media_type="text/markdown")
        async with asyncio.timeout(15):
            while True:
                async with app.db.transaction(shop.scope) as db:
                    chatbot = await tenancy.get_chatbot(db, shop.scope, shop.chatbot.id)
                assert chatbot is not None
                if chatbot.has_knowledge:
                    break
                await asyncio.sleep(0.05)
    shop = replace(shop, chatbot=chatbot)
    done = await cache_seeds.sow_knowledge(app, chatbot, after=None, actor="test")
    assert (done.classes, done.phrasings, done.after) == (2, 3, None)
    _, said = await found(app, shop, "do you accept invoices")
    assert said == "Yes, as a registered business. [1]"
    listed = await cache_admin.list_classes(app, chatbot, Wanted(text="shipping"), before=None, limit=5)
    shown = listed[0].answers[0].entry
    assert shown.document_ids == (document.document.id,)
    assert len(shown.chunk_ids) == 1
    assert shown.sources[0].title == "FAQ"


@pytest.mark.parametrize(
    ("heading", "questions"),
    [
        ("How do I pay?", ("How do I pay?",)),
        ("3. How do I return it? / Can I send it back?", ("How do I return it?", "Can I send it back?")),
        ("Q: Where do you ship to?", ("Where do you ship to?",)),
        ("Is it safe? Is it free of charge? Why?", ("Is it safe?", "Is it free of charge?")),
        ("Refunds?", ("Refunds?",)),
    ],
)
def test_a_heading_may_ask_twice(heading: str, questions: tuple[str, ...]) -> None:
    assert phrasings_of(heading) == questions


def named(text: str, name: str) -> io.StringIO:
    file = io.StringIO(text)
    file.name = name  # type: ignore[misc]  # as an opened file has one
    return file


def test_seeds_are_read_from_csv_and_json_lines() -> None:
    wanted = [{"question": "Who?", "answer": "We, and you.", "phrasings": ["Which?", "What?"]}]
    assert list(read_seeds(named('Question,answer,phrasings\nWho?,"We, and you.",Which? | What?\n', "a.CSV"))) == wanted
    assert list(read_seeds(named(json.dumps(wanted[0]) + "\n\n", "a.jsonl"))) == wanted
    assert list(read_seeds(named(json.dumps(wanted), "-"))) == wanted


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("question\nWho?\n", "a.csv", "first line names the columns"),
        ("question,answer\nWho?,\n", "a.csv", "Line 2 lacks its answer"),
        ('{"question": "Who?"}', "a.jsonl", "Line 1 is no object"),
        ("{", "a.jsonl", "Line 1 is no JSON"),
        ("Who?", "a.txt", "CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_by_its_line(text: str, name: str, told: str) -> None:
    with pytest.raises(click.UsageError, match=told):
        list(read_seeds(named(text, name)))
