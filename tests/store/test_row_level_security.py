"""PostgreSQL itself keeps tenants apart: tried as the two roles, without any of our code in between."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from chatwright.domain.ids import new_id

# Every table that holds tenants' data, with one row of it; $1 is the row's id, $2 the tenant. `parents` first.
ROWS = {
    "knowledge_bases": "(id, tenant_id, name, embedder, dimension) VALUES ($1, $2, 'b', 'e', 384)",
    "documents": """(id, tenant_id, knowledge_base_id, title, media_type, text, content_hash)
                    VALUES ($1, $2, {knowledge_bases}, 't', 'text/plain', 'secret', '')""",
    "chunks": """(id, tenant_id, knowledge_base_id, document_id, ordinal, text, tokens, content_hash, embedding)
                 VALUES ($1, $2, {knowledge_bases}, {documents}, 0, 'secret', 1, '', array_fill(0, ARRAY[384])::halfvec)""",
    "knowledge_terms": "(tenant_id, knowledge_base_id, term_key, documents) VALUES ($2, {knowledge_bases}, hashtext(($1::uuid)::text), 1)",
    "staged_vectors": """(tenant_id, document_id, embedder, content_hash, embedding)
                         VALUES ($2, {documents}, ($1::uuid)::text, '', array_fill(0, ARRAY[384])::halfvec)""",
    "crawls": """(id, tenant_id, knowledge_base_id, kind, url, max_pages)
                 VALUES ($1, $2, {knowledge_bases}, 'site', 'https://secret.example/', 1)""",
    "crawl_pages": """(tenant_id, crawl_id, ordinal, url)
                      VALUES ($2, {crawls}, 1, ($1::uuid)::text)""",
    "chatbots": "(id, tenant_id, slug, name, widget_id) VALUES ($1, $2, 'help', 'Help', 'cw_pub_' || ($1::uuid)::text)",
    "conversations": "(id, tenant_id, chatbot_id, visitor_id) VALUES ($1, $2, {chatbots}, 'v')",
    "conversation_summaries": "(tenant_id, conversation_id, text) VALUES ($2, {conversations}, ($1::uuid)::text)",
    "messages": """(id, tenant_id, chatbot_id, conversation_id, ordinal, text)
                   VALUES ($1, $2, {chatbots}, {conversations}, 1, 'secret')""",
    "answers": """(id, tenant_id, chatbot_id, conversation_id, message_id, attempt, text, provider, model)
                  VALUES ($1, $2, {chatbots}, {conversations}, {messages}, 1, 'secret', 'p', 'm')""",
    "feedback": """(id, tenant_id, chatbot_id, conversation_id, message_id, answer_id, visitor_id, rating, comment)
                   VALUES ($1, $2, {chatbots}, {conversations}, {messages}, {answers}, 'v', 'down', 'secret')""",
    "jobs": "(id, tenant_id, type, queue, priority) VALUES ($1, $2, 't', 'q', 5)",
    "idempotency_keys": "(tenant_id, key, body_hash) VALUES ($2, ($1::uuid)::text, '')",
    "calls": "(id, tenant_id, provider, model) VALUES ($1, $2, 'p', 'm')",
    "dead_letters": """(id, tenant_id, job_id, generation, job_type, reason, error_class, attempts)
                       VALUES ($1, $2, $1, 1, 't', 'r', 'c', 1)""",
    "audit_log": "(id, tenant_id, actor, action) VALUES ($1, $2, 'a', 'b')",
    "api_keys": "(id, tenant_id, kind, hash, prefix) VALUES ($1, $2, 'tenant', ($1::uuid)::text::bytea, 'p')",
    "provider_keys": "(id, tenant_id, provider, sealed, sealed_by) VALUES ($1, $2, 'openai', 'secret', 'k1')",
    "alerts": """(id, tenant_id, kind, level, subject, period, message)
                 VALUES ($1, $2, 'k', 'warning', 's', 'p', 'secret')""",
    "budgets": """(id, tenant_id, scope, scope_id, period, limit_nano, action)
                  VALUES ($1, $2, 'visitor', ($1::uuid)::text, 'day', 1, 'block')""",
    "budget_periods": """(id, tenant_id, budget_id, starts_at, ends_at)
                         VALUES ($1, $2, {budgets}, now(), now() + interval '1 day')""",
    "key_usage": """(key_id, tenant_id, provider, opened_at, calls, failures, cost_nano)
                    VALUES (($1::uuid)::text, $2, 'openai', now(), 1, 0, 1)""",
    "webhooks": "(id, tenant_id, kind, target, events) VALUES ($1, $2, 'email', 'secret', '{{*}}')",
    "alert_deliveries": "(alert_id, tenant_id, webhook_id, created_at) VALUES ({alerts}, $2, {webhooks}, uuid_extract_timestamp($1))",
    "cache_classes": "(id, tenant_id, chatbot_id, label) VALUES ($1, $2, {chatbots}, 0)",
    "cache_phrasings": """(id, tenant_id, chatbot_id, class_id, verdict, origin, text, digest, vector)
                          VALUES ($1, $2, {chatbots}, {cache_classes}, 'verified', 'miss', 'secret', '',
                                  array_fill(0, ARRAY[384])::halfvec)""",
    "cache_answers": """(tenant_id, chatbot_id, class_id, scope_digest, content, text_digest, answer_id, expires_at)
                        VALUES ($2, {chatbots}, {cache_classes}, '', 'secret', '', $1, now())""",
    "cache_checks": """(id, tenant_id, chatbot_id, class_id, drawn, outcome, judge, share, confidence)
                       VALUES ($1, $2, {chatbots}, {cache_classes}, 'uniform', 'same', 'text', 1, 1)""",
    "cache_routers": "(tenant_id, chatbot_id, labels) VALUES ($2, {chatbots}, length(($1::uuid)::text))",
    "imports": """(id, tenant_id, chatbot_id, source, name, size_bytes, dialect, columns, options, unit_rows)
                  VALUES ($1, $2, {chatbots}, 's', 'secret', 1, '{{}}', '{{}}', '{{}}', 100)""",
    "import_units": "(tenant_id, import_id, unit) VALUES ($2, {imports}, hashtext(($1::uuid)::text))",
    "import_counts": "(tenant_id, import_id, kind, name, n) VALUES ($2, {imports}, 'k', ($1::uuid)::text, 1)",
    "import_problems": """(tenant_id, import_id, number, reason, raw)
                          VALUES ($2, {imports}, hashtext(($1::uuid)::text), 'r', 'secret')""",
    "import_conversations": """(tenant_id, conversation_id, import_id, first_at, last_at)
                               VALUES ($2, {conversations}, {imports}, now(), uuid_extract_timestamp($1))""",
    "import_presets": "(tenant_id, name, columns) VALUES ($2, ($1::uuid)::text, '{{}}')",
    "custom_intents": """(tenant_id, chatbot_id, name, examples)
                         VALUES ($2, {chatbots}, 'i', ARRAY['secret ' || ($1::uuid)::text])""",
    "intent_models": "(tenant_id, chatbot_id, version) VALUES ($2, {chatbots}, length(($1::uuid)::text))",
    "guard_events": """(id, tenant_id, direction, rule, verdict, excerpt, text_mark, span_mark)
                       VALUES ($1, $2, 'input', 'r', 'flag', 'secret', '', '')""",
    "guard_allowed": "(id, tenant_id, rule, mark, excerpt) VALUES ($1, $2, '*', '', 'secret')",
    "guard_policies": "(tenant_id, policy) VALUES ($2, jsonb_build_object('refusal_text', ($1::uuid)::text))",
}
APPEND_ONLY = {"audit_log"}
READ_ONLY = {"alert_deliveries"}
# The operators' role: what it may do, table by table. What is not here it cannot touch at all.
OPERATORS = {
    "tenants": {"SELECT", "INSERT", "UPDATE"},
    "api_keys": {"SELECT", "INSERT", "UPDATE"},
    "jobs": {"DELETE"},  # and single columns, see below
    "calls": {"SELECT", "INSERT", "UPDATE"},
    "dead_letters": {"SELECT"},
    "idempotency_keys": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "audit_log": {"SELECT", "INSERT"},
    "chatbots": {"SELECT"},
    "installation_secrets": {"SELECT", "INSERT"},
    "provider_keys": {"SELECT", "INSERT", "UPDATE"},
    "alerts": {"SELECT", "INSERT"},
    "key_usage": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "budgets": {"SELECT"},
    "budget_periods": {"SELECT", "INSERT", "UPDATE"},
    "chores": {"SELECT", "INSERT", "UPDATE"},
    "webhooks": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "alert_deliveries": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "guard_events": {"DELETE"},
}
# Of these it may read single columns: ids and states.
OPERATORS_COLUMNS = {"knowledge_bases", "documents", "cache_routers", "guard_policies", "intent_models", "messages"}


@asynccontextmanager
async def acting(url: str, role: str, tenant_id: str | None = None) -> AsyncGenerator[Any]:
    connection: Any = await asyncpg.connect(url, server_settings={"role": role})
    try:
        async with connection.transaction():
            if tenant_id is not None:
                await connection.execute("SELECT set_config('chatwright.tenant_id', $1, true)", tenant_id)
            yield connection
    finally:
        await connection.close()


@pytest.fixture
async def tenants(database_url: str, superuser_url: str) -> dict[str, dict[str, str]]:
    """Two tenants with one row in every table: {tenant: {table: id}}."""
    found: dict[str, dict[str, str]] = {}
    connection: Any = await asyncpg.connect(superuser_url)
    try:
        for name in ("mine", "theirs"):
            tenant_id = new_id()
            await connection.execute("INSERT INTO tenants (id, name) VALUES ($1, $2)", tenant_id, name)
            ids = {"tenants": tenant_id}
            for table, values in ROWS.items():
                ids[table] = new_id()
                parents = {parent: f"'{one}'" for parent, one in ids.items()}
                await connection.execute(f"INSERT INTO {table} {values.format(**parents)}", ids[table], tenant_id)
            found[name] = ids
    finally:
        await connection.close()
    del database_url  # the same database
    return found


async def test_every_table_is_in_this_test_and_forces_its_policies(database_url: str) -> None:
    """A table added later without row-level security fails here, not in production."""
    async with acting(database_url, "chatwright") as db:
        tables = await db.fetch(
            """SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class
                WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"""
        )
        kinds = await db.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
        )
        definers = await db.fetch(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        )
    open_ones = {row["relname"] for row in tables if not (row["relrowsecurity"] and row["relforcerowsecurity"])}
    # No tenant's data; no grant to the tenants' role.
    assert open_ones == {"installation_secrets", "schema_migrations", "chores"}
    assert {row["relname"] for row in tables} - open_ones == {*ROWS, "tenants"}
    assert kinds == [], "views read past the policies"
    # One definer function: it compares the tenant itself, and its owner can read no words (see below).
    assert [row["proname"] for row in definers] == ["worded_chunks"]


async def test_a_tenant_sees_its_own_rows_only(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    mine = tenants["mine"]
    async with acting(database_url, "chatwright_app", mine["tenants"]) as db:
        for table in ROWS:
            rows = await db.fetch(f"SELECT tenant_id FROM {table}")
            assert [str(row["tenant_id"]) for row in rows] == [mine["tenants"]], table
        assert [str(row["id"]) for row in await db.fetch("SELECT id FROM tenants")] == [mine["tenants"]]


async def test_a_tenant_changes_nothing_of_another(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    mine, theirs = tenants["mine"]["tenants"], tenants["theirs"]["tenants"]
    async with acting(database_url, "chatwright_app", mine) as db:
        for table in ROWS.keys() - APPEND_ONLY - READ_ONLY:
            for statement in (
                "UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = $1",
                "DELETE FROM {} WHERE tenant_id = $1",
            ):
                assert (await db.execute(statement.format(table), theirs)).endswith(" 0"), table
    for table, values in ROWS.items():
        parents = {parent: f"'{one}'" for parent, one in tenants["theirs"].items()}
        async with acting(database_url, "chatwright_app", mine) as db:
            refusal = "permission denied" if table in READ_ONLY else "row-level security"
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=refusal):
                async with db.transaction():
                    await db.execute(f"INSERT INTO {table} {values.format(**parents)}", new_id(), theirs)
            if table not in APPEND_ONLY:
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ForeignKeyViolationError)):
                    async with db.transaction():  # give a row of one's own away
                        await db.execute(f"UPDATE {table} SET tenant_id = $1 WHERE tenant_id = $2", theirs, mine)


async def test_a_row_cannot_hang_on_another_tenants_row(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    """Foreign keys are checked past the policies, so they have to carry the tenant themselves."""
    mine, theirs = tenants["mine"]["tenants"], tenants["theirs"]
    for table in (
        "documents",
        "chunks",
        "knowledge_terms",
        "staged_vectors",
        "crawls",
        "crawl_pages",
        "conversations",
        "messages",
        "answers",
        "budget_periods",
        "cache_classes",
        "cache_phrasings",
        "cache_answers",
        "cache_checks",
        "cache_routers",
        "imports",
        "import_units",
        "import_counts",
        "import_problems",
        "import_conversations",
    ):
        parents = {parent: f"'{one}'" for parent, one in theirs.items()}
        async with acting(database_url, "chatwright_app", mine) as db:
            with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError)) as caught:
                await db.execute(f"INSERT INTO {table} {ROWS[table].format(**parents)}", new_id(), mine)
            if isinstance(caught.value, asyncpg.UniqueViolationError):
                assert table == "answers"  # one answer per message, whoever asks


async def test_without_a_tenant_there_is_nothing(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    for setting in (None, ""):
        async with acting(database_url, "chatwright_app", setting) as db:
            for table in (*ROWS, "tenants"):
                assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    async with acting(database_url, "chatwright") as db:  # not even the owner reads past the policies
        for table in (*ROWS, "tenants"):
            assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    del tenants


async def test_the_setting_ends_with_its_transaction(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    connection: Any = await asyncpg.connect(database_url, server_settings={"role": "chatwright_app"})
    try:
        await connection.execute(
            f"BEGIN; SELECT set_config('chatwright.tenant_id', '{tenants['mine']['tenants']}', true); COMMIT"
        )
        assert await connection.fetchval("SELECT count(*) FROM messages") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["chatwright_app", "chatwright_ops"])
async def test_neither_role_may_more_than_it_was_given(database_url: str, role: str) -> None:
    async with acting(database_url, "chatwright") as db:
        row = await db.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", role)
        privileges = await db.fetch(
            """SELECT table_name, privilege_type FROM information_schema.role_table_grants
                WHERE grantee = $1 AND table_schema = 'public'""",
            role,
        )
        owned = await db.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1::regrole", role)
        others = await db.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole", role)
    assert row is not None
    for power in ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole", "rolreplication", "rolcanlogin"):
        assert row[power] is False, power
    assert (owned, others) == (0, 0)
    found: dict[str, set[str]] = {}
    for privilege in privileges:
        found.setdefault(privilege["table_name"], set()).add(privilege["privilege_type"])
    everything = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    tables = dict.fromkeys(ROWS, everything) | {table: {"SELECT"} for table in READ_ONLY}
    tables |= {"tenants": {"SELECT"}, "audit_log": {"SELECT", "INSERT"}}
    assert found == (tables if role == "chatwright_app" else OPERATORS)
    async with acting(database_url, role) as db:
        for statement in ("CREATE TABLE public.x (id int)", "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
                          "CREATE POLICY x ON messages USING (true)", "TRUNCATE messages", "COPY messages TO '/dev/null'",
                          "SELECT pg_read_file('PG_VERSION')"):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with db.transaction():
                    await db.execute(statement)


async def test_operators_read_no_visitors_words(database_url: str, tenants: dict[str, dict[str, str]]) -> None:
    async with acting(database_url, "chatwright_ops") as db:
        for table in (*ROWS, "tenants"):
            if table in OPERATORS or table in OPERATORS_COLUMNS:
                assert await db.fetchval(f"SELECT count(*) FROM {table}") == 2, table
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with db.transaction():
                    await db.execute(f"SELECT 1 FROM {table}")
        for statement in (
            "SELECT payload FROM jobs",
            "SELECT result FROM jobs",
            "SELECT error FROM jobs",
            "UPDATE jobs SET payload = '{}'",
            "UPDATE jobs SET state = 'done'",
            "SELECT text FROM messages",
            "SELECT conversation_id FROM messages",
            "UPDATE messages SET cancel_asked_at = now()",
            "SELECT title FROM documents",
            "SELECT text FROM documents",
            "SELECT name FROM knowledge_bases",
            "SELECT router FROM cache_routers",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with db.transaction():
                    await db.execute(statement)
    del tenants


async def test_the_policies_are_the_ones_we_know(database_url: str) -> None:
    async with acting(database_url, "chatwright") as db:
        policies = await db.fetch("SELECT tablename, policyname, roles::text[], cmd, qual, with_check FROM pg_policies")
    for policy in policies:
        if policy["policyname"] == "operators":
            assert policy["roles"] == ["chatwright_ops"]
            continue
        if policy["policyname"] == "searched":
            assert (policy["tablename"], policy["roles"], policy["cmd"]) == ("chunks", ["chatwright_search"], "SELECT")
            continue
        assert (policy["policyname"], policy["roles"]) == ("tenant_only", ["chatwright_app"])
        column = "id" if policy["tablename"] == "tenants" else "tenant_id"
        assert re.match(rf"\({column} = \( SELECT .*current_setting\('chatwright.tenant_id'", policy["qual"])
    assert (
        len(policies) == len(ROWS) + 1 + len(OPERATORS) - 2 + len(OPERATORS_COLUMNS) + 1
    )  # installation_secrets and chores have none; `searched`
