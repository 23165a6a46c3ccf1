"""What the child process and its parent say to each other. Used by `child` and `extraction`."""

import msgspec

from chatwright.adapters.documents.limits import ExtractLimits
from chatwright.domain.documents import Block


class Request(msgspec.Struct, frozen=True):
    """What the child is to read; the last argument of its command line, as JSON."""

    path: str
    media_type: str
    name: str
    limits: ExtractLimits


class Blocks(msgspec.Struct, frozen=True, tag=True):
    blocks: list[Block]


class Done(msgspec.Struct, frozen=True, tag=True):
    title: str
    language: str | None
    pages: int | None
    warnings: list[str]


class Failed(msgspec.Struct, frozen=True, tag=True):
    code: str
    message: str


Frame = Blocks | Done | Failed


def out_of_memory(limits: ExtractLimits) -> str:
    return f"reading the document needs more than {limits.memory_bytes // 1024 // 1024:,} MiB of memory; split it"
