"""Knowledge of an earlier version comes through the change of its tables: nothing is lost, everything is found again."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import numpy as np
import pytest

from chatwright.adapters.postgres import open_database
from chatwright.adapters.postgres.migrate import load_migrations, migrate
from chatwright.domain.ids import DocumentId, TenantId, new_id
from chatwright.domain.scope import Scope
from chatwright.features import knowledge

BEFORE = 9
DATABASE = "before_knowledge"


def at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture
async def old_database(database_url: str, superuser_url: str) -> AsyncGenerator[str]:
    """The schema as it was before the change, empty."""
    admin: Any = await asyncpg.connect(superuser_url)
    await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE chatwright OWNER chatwright")
    url = at(database_url, DATABASE)
    owner: Any = await asyncpg.connect(url)
    await owner.execute(
        """CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
                                           applied_at timestamptz NOT NULL DEFAULT now())"""
    )
    for migration in load_migrations():
        if migration.version < BEFORE:
            await owner.execute(migration.sql)
            await owner.execute(
                "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                migration.version, migration.name, migration.sha256,
            )  # fmt: skip
    await owner.close()
    yield url
    await admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    await admin.close()


async def test_stored_documents_answer_on_and_are_queued_for_their_keywords(
    old_database: str, superuser_url: str
) -> None:
    tenant, base, document = new_id(), new_id(), new_id()
    vector = np.linspace(-1, 1, 384)
    vector /= np.linalg.norm(vector)
    old: Any = await asyncpg.connect(at(superuser_url, DATABASE))
    await old.execute("INSERT INTO tenants (id, name) VALUES ($1, 'Acme')", tenant)
    await old.execute(
        "INSERT INTO knowledge_bases (id, tenant_id, name, embedder, dimension) VALUES ($1, $2, 'kb', 'e', 384)",
        base, tenant,
    )  # fmt: skip
    await old.execute(
        """INSERT INTO documents (id, tenant_id, knowledge_base_id, title, media_type, text, content_hash, state, chunk_count)
           VALUES ($1, $2, $3, 'T', 'text/plain', 'Grüße', 'h', 'indexed', 1)""",
        document, tenant, base,
    )  # fmt: skip
    await old.execute(
        """INSERT INTO chunks (id, tenant_id, knowledge_base_id, document_id, ordinal, text, tokens, content_hash, embedding)
           VALUES ($1, $2, $3, $4, 0, 'Grüße', 1, 'c', $5::real[]::vector)""",
        new_id(), tenant, base, document, vector.tolist(),
    )  # fmt: skip
    await old.close()

    assert f"{BEFORE:04}_knowledge.sql" in await migrate(old_database)

    scope = Scope(tenant_id=TenantId(tenant))
    async with open_database(old_database, max_connections=2) as db:
        async with db.transaction(scope) as connection:
            (found,) = await knowledge.list_knowledge_bases(connection, scope)
            page = await knowledge.get_document(connection, scope, DocumentId(document))
            (chunk,) = await connection.fetch("SELECT embedding::real[] AS vector, keywords, term_keys FROM chunks")
        async with db.operator() as connection:
            outdated = await knowledge.list_outdated(connection, limit=10)
    assert (found.chunk_count, found.total_terms, found.next_embedder) == (1, 0, None)
    assert page is not None
    assert (page.size_bytes, page.chunks_done, page.chunks_total, page.source, page.source_key, page.original_key) == (
        7, 1, 1, "text", None, None,
    )  # fmt: skip
    np.testing.assert_allclose(chunk["vector"], vector, atol=1e-4)
    assert (chunk["keywords"], chunk["term_keys"]) == (None, None)
    assert outdated == [(tenant, document)]
