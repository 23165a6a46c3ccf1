"""Objects in a folder, read from any place on; links, which a folder does not give."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatwright.adapters.files import open_files
from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import new_id


async def stream(data: bytes) -> AsyncGenerator[bytes]:
    yield data


async def test_a_file_is_read_from_any_place_on(tmp_path: Path) -> None:
    data = b"".join(b"line %08d\n" % number for number in range(400_000))
    key = f"tenants/{new_id()}/imports/x/rows"
    async with open_files("", folder=tmp_path / "files") as files:
        await files.put(key, stream(data), limit_bytes=1 << 30)
        opened = await files.open(key)

        def read() -> tuple[bytes, int, bytes, bytes]:
            opened.seek(14 * 300_000)
            line, place = opened.readline(), opened.tell()
            opened.seek(0, 2)
            return line, place, opened.read(), data[: 14 * 7]

        line, place, end, _ = await asyncio.to_thread(read)
        assert (line, place, end) == (b"line 00300000\n", 14 * 300_001, b"")
        await files.delete(key)
        with pytest.raises((NotFound, Unavailable)):
            await asyncio.to_thread(lambda: opened.seek(0) or opened.read(10))
        with pytest.raises(NotFound):
            await files.open(key)
        with pytest.raises(ValueError, match="no key"):
            await files.open("../x")


async def test_a_folder_gives_no_links(tmp_path: Path) -> None:
    async with open_files("", folder=tmp_path / "files") as files:
        assert await files.link(f"tenants/{new_id()}/imports/x/report.html", expires_s=60) is None
