"""A file → what can be read of it, in a child process that may fail, hang or swell without harm to this one.

Called by the indexing job. The child (`child`) bounds itself; this side bounds its time and what it may send.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import structlog

from chatwright.adapters.documents.frames import Blocks, Done, Failed, Frame, Request, out_of_memory
from chatwright.adapters.documents.limits import ExtractLimits
from chatwright.domain.documents import Block, Extract
from chatwright.domain.errors import (
    BadRequest,
    ContentBlocked,
    PayloadTooLarge,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)

_MAX_FRAME_BYTES = 64 * 1024 * 1024
_MAX_STDERR_BYTES = 4_096
_ERRORS: dict[str, type[BadRequest]] = {
    kind.code: kind for kind in (BadRequest, ContentBlocked, PayloadTooLarge, UnsupportedMediaType, Unprocessable)
}
_TIMED_OUT = "reading the document takes longer than {seconds:,.0f} s; split it, or export it anew"

log = structlog.get_logger(__name__)


async def extract(path: Path, *, media_type: str = "", name: str = "", limits: ExtractLimits | None = None) -> Extract:
    """Read a file of any kind that `sniff` knows.

    `media_type` and `name` are what the sender claims; they decide only between kinds of text and give a charset.
    Raises UnsupportedMediaType, Unprocessable and PayloadTooLarge with a message for the document's owner, who has to
    change the file; Unavailable if no process could be started, which may pass.
    """
    bounds = limits or ExtractLimits()
    request = Request(path=str(path), media_type=media_type[:300], name=Path(name).name[-300:], limits=bounds)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the working directory is no module
            "-B",
            "-m",
            "chatwright.adapters.documents.child",
            msgspec.json.encode(request).decode(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable("no process could be started to read the document") from error
    try:
        async with asyncio.timeout(bounds.wall_s):
            return await _collect(process, bounds)
    except TimeoutError as error:
        raise PayloadTooLarge(_TIMED_OUT.format(seconds=bounds.wall_s)) from error
    finally:
        await _end(process)


def _environment() -> dict[str, str]:
    """No keys, no proxies: only what the interpreter needs to find its modules."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME") if name in os.environ}
    # One arena: each thread's own maps 64 MiB of address space, which is what is bounded.
    return kept | {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


async def _collect(process: asyncio.subprocess.Process, limits: ExtractLimits) -> Extract:
    assert process.stdout is not None
    decoder = msgspec.msgpack.Decoder(Frame)
    blocks: list[Block] = []
    received = 0
    most = limits.max_characters * 4 + limits.max_blocks * 160
    done: Done | None = None
    try:
        while done is None:
            size = int.from_bytes(await process.stdout.readexactly(4), "big")
            received += size
            if size > _MAX_FRAME_BYTES or received > most:
                raise PayloadTooLarge(f"the document has more than {limits.max_characters:,} characters; split it")
            match decoder.decode(await process.stdout.readexactly(size)):
                case Blocks(blocks=more):
                    blocks += more
                case Failed(code=code, message=message):
                    raise _ERRORS.get(code, Unprocessable)(message)
                case Done() as last:
                    done = last
                case _:  # the decoder makes no others
                    raise Unprocessable("the document's reader sent something else than blocks")
    except (asyncio.IncompleteReadError, msgspec.DecodeError) as error:
        raise await _died(process, limits) from error
    return Extract(
        title=done.title,
        blocks=tuple(blocks),
        language=done.language,
        pages=done.pages,
        warnings=tuple(done.warnings),
    )


async def _died(process: asyncio.subprocess.Process, limits: ExtractLimits) -> BadRequest:
    """Why a child ended without saying so: a library crashed, or the system enforced a bound."""
    assert process.stderr is not None
    said = (await process.stderr.read(_MAX_STDERR_BYTES)).decode("utf-8", "replace")
    code = await process.wait()
    log.warning("document.reader_died", exit_code=code, stderr=said[-500:])
    if code in {-signal.SIGXCPU, -signal.SIGKILL} and "memory" not in said:
        return PayloadTooLarge(_TIMED_OUT.format(seconds=limits.cpu_s))
    if "memory" in said.lower() or code in {-signal.SIGABRT, -signal.SIGTRAP, -signal.SIGILL}:
        return PayloadTooLarge(out_of_memory(limits))
    return Unprocessable("the file is damaged: its reader broke on it; export it again")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no child behind, also when cancelled."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # It is dead or dying: the wait is the kernel's, and short.
    await asyncio.shield(process.wait())
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
