"""Bounds of one extraction, and what a reader notes beside its blocks. Values; used by every module of this adapter."""

from dataclasses import dataclass, field
from typing import NoReturn

from chatwright.domain.errors import PayloadTooLarge

MIB = 1024 * 1024
MAX_WARNINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractLimits:
    """What reading one document may take.

    `memory_bytes` bounds the address space of the child process, of which the interpreter and the libraries map some
    150 MiB before they read anything. `max_unpacked_bytes`, `max_ratio` and `max_members` bound what an archive (DOCX,
    PPTX, XLSX, EPUB) says it unpacks to. `max_characters` bounds the text that comes out.
    """

    wall_s: float = 180.0
    cpu_s: int = 120
    memory_bytes: int = 224 * MIB
    max_file_bytes: int = 200 * MIB
    max_pages: int = 5_000
    max_characters: int = 20_000_000
    max_blocks: int = 500_000
    max_unpacked_bytes: int = 400 * MIB
    max_ratio: int = 300
    max_members: int = 10_000


@dataclass(slots=True)
class Notes:
    """What a reader finds out beside the blocks. Filled while they are read; complete when the last one is."""

    title: str = ""
    language: str | None = None
    pages: int | None = None
    warnings: list[str] = field(default_factory=list[str])

    def warn(self, warning: str) -> None:
        if warning not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(warning)

    def set_language(self, tag: str | None) -> None:
        """Take a language tag such as `de-CH`; anything else is left out."""
        short = (tag or "").strip().replace("_", "-").partition("-")[0].lower()
        if len(short) == 2 and short.isascii() and short.isalpha():
            self.language = short


def too_many_pages(pages: int, limits: ExtractLimits, what: str = "pages") -> NoReturn:
    raise PayloadTooLarge(f"the document has {pages:,} {what}, at most {limits.max_pages:,} can be read; split it")
