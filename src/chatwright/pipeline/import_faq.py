"""A draft of a FAQ out of an import: what visitors asked and agents answered, for somebody to review. Called by the
endpoint."""

import asyncio
from collections.abc import Sequence

from chatwright.domain.scope import Scope
from chatwright.features import imports
from chatwright.features.guard.pii import PersonalData
from chatwright.features.imports import Draft, Drafter, Exchanged
from chatwright.pipeline.services import Services

EXCHANGES_AT_MOST = 50_000
"""Looked at for one draft: a few seconds."""
_PAGE = 2_000


async def draft_faq(app: Services, scope: Scope, import_id: str, *, at_most: int) -> list[Draft]:
    """The most asked questions with their answers, without those that name a person or a single matter. Raises NotFound."""
    finder = PersonalData(imports.PERSONAL, lambda: ())
    drafter = Drafter(is_personal=lambda text: bool(finder.scan(text, 0, last=True).spans), at_most=at_most)
    async with app.db.transaction(scope) as db:
        one = await imports.get_import(db, scope, import_id)
    after: tuple[str, int] | None = None
    for _ in range(EXCHANGES_AT_MOST // _PAGE):
        async with app.db.transaction(scope) as db:
            page = await imports.list_answered(db, scope, one.id, after=after, limit=_PAGE)
        await asyncio.to_thread(_add, drafter, page)
        if len(page) < _PAGE:
            break
        after = (page[-1].conversation_id, page[-1].ordinal)
    return drafter.drafts()


def _add(drafter: Drafter, page: Sequence[Exchanged]) -> None:
    for exchange in page:
        drafter.add(
            exchange.said,
            exchange.answered or "",
            conversation_id=exchange.conversation_id,
            message_id=exchange.message_id,
        )
