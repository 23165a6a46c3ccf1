"""Files in a folder of this machine, as an object store keeps them: whole or not at all, by tenants' keys."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatwright.adapters.files import Files, open_files
from chatwright.domain.errors import NotFound, PayloadTooLarge

MEGABYTE = 1_000_000
# Fixed: names of parametrized tests have to be the same in every process.
TENANT, OTHER = (f"tenants/0190c0de-0000-7000-8000-00000000000{number}" for number in (1, 2))


@pytest.fixture
async def files(tmp_path: Path) -> AsyncGenerator[Files]:
    async with open_files("", folder=tmp_path / "files") as opened:
        yield opened


async def stream(*parts: bytes, fail: Exception | None = None) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part
    if fail is not None:
        raise fail


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


async def test_what_was_put_is_fetched_byte_for_byte(files: Files, tmp_path: Path) -> None:
    for number, parts in enumerate(((), (b"small",), (b"a" * MEGABYTE,) * 17, (b"b" * 12 * MEGABYTE, b"", b"c"))):
        key = f"{TENANT}/knowledge/x/{number}"
        size = await files.put(key, stream(*parts), limit_bytes=100 * MEGABYTE)
        assert await files.fetch(key, tmp_path / "back") == size == sum(map(len, parts))
        assert (tmp_path / "back").read_bytes() == b"".join(parts)


@pytest.mark.parametrize("before", [1, 12])
async def test_a_stream_that_fails_or_is_too_large_leaves_nothing(files: Files, tmp_path: Path, before: int) -> None:
    key = f"{TENANT}/knowledge/x"
    parts = [b"x" * MEGABYTE] * before
    with pytest.raises(ZeroDivisionError):
        await files.put(key, stream(*parts, fail=ZeroDivisionError()), limit_bytes=100 * MEGABYTE)
    with pytest.raises(PayloadTooLarge, match=r"0\.5 MB"):
        await files.put(key, stream(*parts), limit_bytes=MEGABYTE // 2)
    with pytest.raises(NotFound):
        await files.fetch(key, tmp_path / "back")
    assert left(tmp_path) == []


async def test_a_cancelled_stream_leaves_nothing(files: Files, tmp_path: Path) -> None:
    waits = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        yield b"x" * 12 * MEGABYTE
        waits.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(files.put(f"{TENANT}/knowledge/x", endless(), limit_bytes=100 * MEGABYTE))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while left(tmp_path):
            await asyncio.sleep(0.02)


async def test_files_are_listed_and_deleted_by_whole_segments(files: Files, tmp_path: Path) -> None:
    keys = [
        f"{TENANT}/knowledge/ab/1",
        f"{TENANT}/knowledge/ab/2",
        f"{TENANT}/knowledge/abc/3",
        f"{OTHER}/knowledge/ab/1",
    ]
    for key in keys:
        await files.put(key, stream(b"x"), limit_bytes=10)
    assert sorted([file.key async for page in files.list() for file in page]) == sorted(keys)
    assert sorted([file.key async for page in files.list(TENANT) for file in page]) == sorted(keys[:3])
    assert await files.delete_prefix(f"{TENANT}/knowledge/ab") == 2
    assert sorted([file.key async for page in files.list() for file in page]) == sorted(keys[2:])
    await files.delete(keys[0], keys[2], keys[1], keys[3])  # some are gone already
    assert [page async for page in files.list()] == []
    assert await files.delete_prefix(TENANT) == 0
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "key", ["", "x", "/etc/passwd", f"{TENANT}/../../x", f"{TENANT}/./x", f"{TENANT}//x", "tenants/", f"{TENANT}/a b"]
)
async def test_a_key_of_no_tenant_is_refused(files: Files, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await files.put(key, stream(b"x"), limit_bytes=10)
    with pytest.raises(ValueError, match="no key"):
        await files.fetch(key, tmp_path / "back")
    with pytest.raises(ValueError, match="no key"):
        await files.delete_prefix(key)


async def test_nothing_is_made_before_a_file_is_stored(tmp_path: Path) -> None:
    async with open_files(f"file://{tmp_path}/there", folder=tmp_path / "files") as files:
        assert list(tmp_path.iterdir()) == []
        await files.put(f"{TENANT}/knowledge/x", stream(b"x"), limit_bytes=10)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("url", ["ftp://x/y", "bucket", "file://host/folder", "file:folder", "https://x/y"])
async def test_an_address_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"s3://|file:///"):
        async with open_files(url, folder=tmp_path):
            pass
