"""The child process that reads one document: `python -m chatwright.adapters.documents.child`, started by `extraction`.

It bounds itself before it reads a byte of the document: address space, processor time, no files written, no processes,
no network. It writes its blocks to standard output in frames: four bytes of length, then MessagePack.
"""

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from chatwright.adapters.documents.blocks import clean, squeeze
from chatwright.adapters.documents.frames import Blocks, Done, Failed, Frame, Request, out_of_memory
from chatwright.adapters.documents.limits import ExtractLimits, Notes
from chatwright.adapters.documents.reading import read_blocks
from chatwright.domain.documents import Block
from chatwright.domain.errors import BadRequest, PayloadTooLarge

_BLOCKS_PER_FRAME = 256
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.remove", "os.rename", "shutil.")  # fmt: skip


def main() -> int:
    request = msgspec.json.decode(sys.argv[1], type=Request)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # a library that prints must not write into the frames
    confine(request.limits)
    try:
        _read(request, out)
    except BadRequest as error:
        _send(out, Failed(code=error.code, message=error.message))
    except MemoryError:
        gc.collect()
        _send(out, Failed(code=PayloadTooLarge.code, message=out_of_memory(request.limits)))
    except RecursionError:
        _send(out, Failed(code="unprocessable", message="the file nests too deep to be read; simplify it"))
    except BrokenPipeError:
        return 1  # nobody waits for the blocks any more
    except Exception as error:  # noqa: BLE001 - a stranger's file made a library stumble: that is a damaged file
        sys.stderr.write(f"{type(error).__name__}: {error}\n"[:2_000])
        name = type(error).__name__
        _send(
            out,
            Failed(code="unprocessable", message=f"the file is damaged and cannot be read ({name}); export it again"),
        )
    return 0


def confine(limits: ExtractLimits) -> None:
    """Bound this process. What the system does not offer is left out: the parent's time limit still holds."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for name, value in (
        ("RLIMIT_AS", limits.memory_bytes),
        ("RLIMIT_CPU", limits.cpu_s),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 64),
    ):
        kind = getattr(resource, name, None)
        if kind is not None:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (value, value))
    if sys.platform == "linux":
        library: Any = ctypes.CDLL(None)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if library.unshare(_CLONE_NEWNET) != 0:  # root may; others need a user namespace of their own for it
            library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and _is_writing(arguments)):
        raise PermissionError(f"a document reader may not {event}")


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    mode = arguments[1] if len(arguments) > 1 else None
    return isinstance(mode, str) and not {"w", "a", "x", "+"}.isdisjoint(mode)


def _read(request: Request, out: BinaryIO | Any) -> None:
    notes = Notes()
    waiting: list[Block] = []
    for block in read_blocks(
        Path(request.path), media_type=request.media_type, name=request.name, limits=request.limits, notes=notes
    ):
        waiting.append(block)
        if len(waiting) >= _BLOCKS_PER_FRAME:
            _send(out, Blocks(blocks=waiting))
            waiting = []
    _send(out, Blocks(blocks=waiting))
    # As the blocks were: a title may hold what a database does not store.
    title, warnings = squeeze(clean(notes.title))[:500], [clean(warning) for warning in notes.warnings]
    _send(out, Done(title=title, language=notes.language, pages=notes.pages, warnings=warnings))


def _send(out: BinaryIO | Any, frame: Frame) -> None:
    data = msgspec.msgpack.encode(frame)
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[out.write(view) :]


if __name__ == "__main__":
    # os._exit: nothing is left to do, and a library's clean-up of half-read files is one more thing to go wrong.
    code = main()
    sys.stderr.flush()
    os._exit(code)
