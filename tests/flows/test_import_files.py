"""What imports keep in the object store, what is cleared away again, and how many may wait there."""

import pytest

from chatwright.domain.errors import Conflict
from chatwright.features import imports
from chatwright.pipeline import importing
from chatwright.pipeline.lost_files import remove_lost_files
from chatwright.pipeline.services import Services
from tests.flows.conftest import Shop, running_worker
from tests.flows.test_import_flow import chat, finished, pieces, start, table

YOUNG_S = -5.0  # every file counts as old


async def keys(app: Services) -> list[str]:
    return sorted([file.key async for page in app.files.list() for file in page])


async def fail(app: Services, shop: Shop, import_id: str, *, days_ago: int) -> None:
    async with app.db.transaction(shop.scope) as db:
        await db.execute(
            "UPDATE imports SET state = 'failed', finished_at = now() - make_interval(days => $3) "
            "WHERE tenant_id = $1 AND id = $2",
            shop.scope.tenant_id, import_id, days_ago,
        )  # fmt: skip


async def test_files_without_an_import_and_of_long_failed_ones_are_removed(app: Services, shop: Shop) -> None:
    lost = await importing.receive_file(app, shop.scope, pieces(table(chat(1))), name="lost.csv")
    waiting, failed, forgotten = [await start(app, shop, table(chat(number))) for number in (2, 3, 4)]
    await fail(app, shop, failed.id, days_ago=1)
    await fail(app, shop, forgotten.id, days_ago=31)

    assert await remove_lost_files(app) == 0, "they may be uploads under way"
    assert await remove_lost_files(app, older_than_s=YOUNG_S) == 2
    assert await keys(app) == sorted(str(one.file_key) for one in (waiting, failed))
    assert lost.key not in await keys(app)


async def test_reports_stay(app: Services, shop: Shop, valkey_url: str) -> None:
    one = await start(app, shop, table(chat(1)))
    async with running_worker(app, valkey_url):
        assert (await finished(app, shop.scope, one.id)).state == "done"
    before = await keys(app)
    assert len(before) == 3, "the page, its data and the errors"
    assert await remove_lost_files(app, older_than_s=YOUNG_S) == 0
    assert await keys(app) == before


async def test_paused_imports_have_a_bound_of_their_own(
    app: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MOST_PAUSED", 2)
    one, other = [await start(app, shop, table(chat(number))) for number in range(2)]
    for paused in (one, other):
        await importing.control_import(app, shop.scope, paused.id, "pause", actor="test")
    with pytest.raises(Conflict, match="paused"):
        await start(app, shop, table(chat(3)))
    await importing.control_import(app, shop.scope, one.id, "cancel", actor="test")
    await start(app, shop, table(chat(3)))
    async with app.db.transaction(shop.scope) as db:
        assert await imports.count_open(db, shop.scope) == (1, 1)
