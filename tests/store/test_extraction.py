"""Extraction in a child process: what comes back, and what a hostile file cannot do to the process that asked."""

import asyncio
import contextlib
import io
import os
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from chatwright.adapters.documents import ExtractLimits, extract
from chatwright.adapters.documents.frames import Request
from chatwright.domain.documents import Extract
from chatwright.domain.errors import BadRequest, PayloadTooLarge, Unprocessable, UnsupportedMediaType
from tests.documents import writers
from tests.documents.writers import docx, lines, paragraph, pdf, xlsx

MIB = 1024 * 1024


async def extracted(folder: Path, data: bytes, *, name: str = "", limits: ExtractLimits | None = None) -> Extract:
    path = folder / "document"
    await asyncio.to_thread(path.write_bytes, data)
    return await extract(path, name=name, limits=limits)


def children() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ended while it was looked at
            if "documents.child" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def test_a_document_comes_back_whole(tmp_path: Path) -> None:
    texts = [f"Paragraph {number} with “quotes”, 中文 and a tab." for number in range(2_000)]
    found = await extracted(tmp_path, docx("".join(paragraph(text) for text in texts), title="Title"), name="x.docx")
    assert [block.text for block in found.blocks] == texts
    assert (found.title, found.pages, found.warnings) == ("Title", None, ())


async def test_a_title_comes_back_storable(tmp_path: Path) -> None:
    data = pdf([lines(["Some text to read."])], title="a\0 title\1")
    assert (await extracted(tmp_path, data)).title == "a title"
    halved = data.replace(b"(a\\000 title\\001)", b"<FEFFD8000041>    ")
    assert halved != data
    assert len((await extracted(tmp_path, halved)).blocks) == 1


async def test_a_refusal_is_the_readers_own(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMediaType, match="OCR"):
        await extracted(tmp_path, b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Unprocessable, match="damaged"):
        await extracted(tmp_path, b"PK\x03\x04")
    with pytest.raises(PayloadTooLarge, match="at most 1"):
        await extracted(tmp_path, pdf([lines(["a"]), lines(["b"])]), limits=ExtractLimits(max_pages=1))


async def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="longer than 0 s"):
        await extracted(tmp_path, pdf([lines(["x"])] * 300), limits=ExtractLimits(wall_s=0.05))
    assert children() == []


async def test_a_child_that_uses_too_much_processor_time_is_ended(tmp_path: Path) -> None:
    slow = docx("<w:tbl>" + ("<w:tr>" + f"<w:tc>{paragraph('cell')}</w:tc>" * 40 + "</w:tr>") * 12_000 + "</w:tbl>")
    limits = ExtractLimits(cpu_s=1, memory_bytes=2_000 * MIB, max_ratio=10_000)
    with pytest.raises(PayloadTooLarge, match="longer than 1 s"):
        await extracted(tmp_path, slow, limits=limits)


def flate_bomb() -> bytes:
    """A page whose contents unpack to 300 MB of words."""
    unit = b"BT /F1 9 Tf 1 0 0 1 50 500 Tm (hello world) Tj ET\n" * 20_000
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(unit) for _ in range(300)) + packer.flush()
    plain = pdf([[]])
    head, _, rest = plain.partition(b"7 0 obj\n")
    _, _, tail = rest.partition(b"endobj\n")
    stream = b"7 0 obj\n<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream\nendobj\n" % (len(data), data)
    return head + stream + tail


def far_corner() -> bytes:
    """Two cells, the second in the last row of the last column: half a terabyte if it were a grid."""
    with zipfile.ZipFile(io.BytesIO(xlsx({"S": [["a"]]}))) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    corner = b'</row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return writers.archive(parts | {sheet: parts[sheet].replace(b"</row>", corner)})


def one_paragraph() -> bytes:
    """A paragraph of millions of words, all of which stand in memory at once."""
    run = "".join(f"<w:r><w:t>{number:x}</w:t></w:r>" for number in range(4_000)) * 250
    return docx(f"<w:p>{run}</w:p>")


@pytest.mark.parametrize("make", [flate_bomb, far_corner, one_paragraph])
async def test_what_swells_is_stopped_within_its_memory(make: Callable[[], bytes], tmp_path: Path) -> None:
    limits = ExtractLimits(max_ratio=100_000)
    data = await asyncio.to_thread(make)
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            for child in children():
                try:
                    peak = max(peak, child.memory_info().rss)
                except psutil.Error:
                    continue
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch(), name="watch")
    try:
        with pytest.raises(PayloadTooLarge, match="memory"):
            await extracted(tmp_path, data, limits=limits)
    finally:
        watching.cancel()
    assert peak <= limits.memory_bytes
    assert children() == []


async def test_documents_beside_a_hostile_one_go_on(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
    good = docx(paragraph("Fine."))
    results = await asyncio.gather(
        *(extracted(folder, far_corner() if at == 1 else good) for at, folder in enumerate(folders)),
        return_exceptions=True,
    )
    assert [isinstance(result, BadRequest) for result in results] == [False, True, False, False]


async def test_a_cancelled_extraction_leaves_no_child(tmp_path: Path) -> None:
    data = pdf([lines([f"line {at} of the page"] * 40) for at in range(2_000)])
    task = asyncio.create_task(extracted(tmp_path, data), name="extract")
    while not children():
        await asyncio.sleep(0.01)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


async def test_memory_does_not_grow_with_the_number_of_pages(tmp_path: Path) -> None:
    page = lines([f"Some words of line {number}." for number in range(5)], top=500, step=50)
    found = await extracted(
        tmp_path, pdf([page] * 5_000), limits=ExtractLimits(memory_bytes=112 * MIB, max_characters=2_000_000)
    )
    assert found.pages == 5_000
    assert len(found.blocks) > 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="the bounds are Linux's")
@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.fork()",
        "import os; os.system('true')",
        "open('/tmp/written-by-a-reader', 'w')",
        "bytearray(400 * 1024 * 1024)",
    ],
)
async def test_a_confined_process_may_not(code: str) -> None:
    script = f"from chatwright.adapters.documents import child, ExtractLimits\nchild.confine(ExtractLimits())\n{code}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", script, stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode != 0
    assert b"PermissionError" in stderr or b"MemoryError" in stderr or process.returncode == -9


async def test_the_child_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATWRIGHT_SECRET", "s3cret")
    seen: set[str] = set()
    task = asyncio.create_task(extracted(tmp_path, pdf([lines(["x"] * 40)] * 1_000)), name="extract")
    while not task.done():
        for child in children():
            try:
                seen |= set(child.environ())
            except psutil.Error:
                continue
        await asyncio.sleep(0.01)
    await task
    assert "PYTHONUTF8" in seen
    assert "CHATWRIGHT_SECRET" not in seen


async def test_the_child_alone_speaks_in_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    await asyncio.to_thread(path.write_text, "Hello.")
    request = Request(path=str(path), media_type="", name="a.txt", limits=ExtractLimits())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "chatwright.adapters.documents.child", msgspec.json.encode(request).decode()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert stderr == b""
    assert msgspec.msgpack.decode(stdout[4 : 4 + int.from_bytes(stdout[:4], "big")])["type"] == "Blocks"
