"""Steps of a summary on PostgreSQL: one job at a time, each message once, nothing that was forgotten comes back."""

from collections.abc import AsyncGenerator

import pytest

from chatwright.adapters.postgres import Database, open_database
from chatwright.domain.ids import ChatbotId, ConversationId, JobId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import memory
from chatwright.features.memory import Fact, Step, Summary

TENANT = "INSERT INTO tenants (id, name) VALUES ($1, 'Shop')"
CHATBOT = (
    "INSERT INTO chatbots (id, tenant_id, slug, name, widget_id) VALUES ($1, $2, 'help', 'Help', ($1::uuid)::text)"
)
CONVERSATION = """
INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id, next_ordinal) VALUES ($1, $2, $3, 'ada', 7)
"""
MESSAGE = """
INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text, state) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
ONE, TWO = JobId(new_id()), JobId(new_id())


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:
    async with open_database(database_url) as opened:
        yield opened


async def make(db: Database) -> tuple[Scope, ConversationId]:
    """A conversation of six messages, the last one still open."""
    scope = Scope(tenant_id=TenantId(new_id()), chatbot_id=ChatbotId(new_id()))
    conversation_id = ConversationId(new_id())
    async with db.operator() as ops:
        await ops.execute(TENANT, scope.tenant_id)
    async with db.transaction(scope) as tx:
        await tx.execute(CHATBOT, scope.chatbot_id, scope.tenant_id)
        await tx.execute(CONVERSATION, conversation_id, scope.tenant_id, scope.chatbot_id)
        for ordinal in range(1, 7):
            state = "accepted" if ordinal == 6 else "answered"
            await tx.execute(
                MESSAGE, new_id(), scope.tenant_id, scope.chatbot_id, conversation_id, ordinal, f"text {ordinal}", state
            )
    return scope, conversation_id


async def begin(
    db: Database, scope: Scope, conversation_id: ConversationId, job: JobId, *, upto: int = 6, lease_s: float = 30.0
) -> Step | None:
    async with db.transaction(scope) as tx:
        return await memory.begin_step(tx, scope, conversation_id, job, upto=upto, at_most=2, lease_s=lease_s)


async def keep(db: Database, scope: Scope, conversation_id: ConversationId, step: Step) -> bool:
    upto = step.exchanges[-1].ordinal
    summary = Summary(covers_upto=upto, facts=(Fact(upto, 5, 1, f"fact {upto}"),), gist="gist", made_by="local")
    async with db.transaction(scope) as tx:
        return await memory.keep_step(tx, scope, conversation_id, step, summary, text=f"- fact {upto}", tokens=4)


async def kept(db: Database, scope: Scope, conversation_id: ConversationId) -> memory.Kept | None:
    async with db.transaction(scope) as tx:
        return await memory.load_kept(tx, scope, conversation_id)


async def test_steps_follow_one_another_up_to_the_first_open_message(db: Database) -> None:
    scope, conversation_id = await make(db)
    seen: list[list[int]] = []
    while (step := await begin(db, scope, conversation_id, ONE)) is not None:
        seen.append([one.ordinal for one in step.exchanges])
        assert await keep(db, scope, conversation_id, step)
    assert seen == [[1, 2], [3, 4], [5]]
    found = await kept(db, scope, conversation_id)
    assert found is not None
    assert (found.summary.covers_upto, found.steps, found.text, found.summary.facts[0].text) == (
        5,
        3,
        "- fact 5",
        "fact 5",
    )


async def test_one_job_at_a_time_is_at_a_step(db: Database) -> None:
    scope, conversation_id = await make(db)
    first = await begin(db, scope, conversation_id, ONE)
    assert first is not None
    assert await begin(db, scope, conversation_id, TWO) is None
    assert await begin(db, scope, conversation_id, ONE) == first  # its next attempt
    assert await keep(db, scope, conversation_id, first)
    second = await begin(db, scope, conversation_id, TWO)
    assert second is not None
    assert second.since == 2


async def test_a_step_whose_job_is_gone_is_taken_over_and_kept_once(db: Database) -> None:
    scope, conversation_id = await make(db)
    lost = await begin(db, scope, conversation_id, ONE, lease_s=0.0)
    again = await begin(db, scope, conversation_id, TWO)
    assert lost is not None
    assert again is not None
    assert again == lost
    assert await keep(db, scope, conversation_id, again)
    assert not await keep(db, scope, conversation_id, lost)
    found = await kept(db, scope, conversation_id)
    assert found is not None
    assert found.steps == 1


async def test_a_boundary_takes_the_summary_and_the_step_that_is_being_made(db: Database) -> None:
    scope, conversation_id = await make(db)
    step = await begin(db, scope, conversation_id, ONE)
    assert step is not None
    assert await keep(db, scope, conversation_id, step)
    step = await begin(db, scope, conversation_id, ONE)
    assert step is not None
    async with db.transaction(scope) as tx:
        assert await memory.draw_boundary(tx, scope, conversation_id, visitor_id="eve") is None
        assert await memory.draw_boundary(tx, scope, conversation_id, visitor_id="ada") == 6
    assert await kept(db, scope, conversation_id) is None
    assert not await keep(db, scope, conversation_id, step)
    assert await kept(db, scope, conversation_id) is None
    assert await begin(db, scope, conversation_id, ONE) is None


async def test_another_tenant_sees_nothing(db: Database) -> None:
    scope, conversation_id = await make(db)
    step = await begin(db, scope, conversation_id, ONE)
    assert step is not None
    assert await keep(db, scope, conversation_id, step)
    other, _ = await make(db)
    assert await kept(db, other, conversation_id) is None
    assert await begin(db, other, conversation_id, TWO) is None
    async with db.transaction(other) as tx:
        assert await memory.draw_boundary(tx, other, conversation_id, visitor_id=None) is None
        assert await memory.load_rest(tx, other, conversation_id, at_most=10) == ()
