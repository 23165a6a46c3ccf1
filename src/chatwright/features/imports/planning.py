"""What an import would bring, before anything is stored: counts, samples of what would fail, what summaries may cost. Pure."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from chatwright.features.imports.items import ItemMaker, Problem
from chatwright.features.imports.records import Record

SAMPLES = 5
PROBLEMS_SHOWN = 20
_CONVERSATIONS_COUNTED = 5_000_000
_SAMPLE_CHARS = 120


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` of which `failed` and `skipped` would not be stored; `characters` of texts. `is_whole`: the whole file was
    looked at, else a beginning of `bytes` bytes. `sample`: some messages as they would be stored."""

    rows: int
    failed: int
    skipped: dict[str, int]
    conversations: int
    messages: int
    visitor_messages: int
    characters: int
    bytes: int
    is_whole: bool
    problems: list[Problem]
    sample: list[dict[str, str]]


class Planner:
    """Counts rows as they come; `maker` makes their messages."""

    def __init__(self, maker: ItemMaker) -> None:
        self._maker = maker
        self._rows = self._failed = self._messages = self._visitors = self._characters = 0
        self._skipped: dict[str, int] = {}
        self._problems: list[Problem] = []
        self._sample: list[dict[str, str]] = []
        self._conversations: set[bytes] = set()

    def add(self, records: Sequence[Record]) -> None:
        made = self._maker.make(records)
        self._rows += len(records)
        self._failed += len(made.problems)
        self._problems += made.problems[: PROBLEMS_SHOWN - len(self._problems)]
        for reason, count in made.skipped.items():
            self._skipped[reason] = self._skipped.get(reason, 0) + count
        self._messages += len(made.items)
        for item in made.items:
            self._visitors += item.side == "visitor"
            self._characters += len(item.text)
            if len(self._conversations) < _CONVERSATIONS_COUNTED:
                self._conversations.add(blake2b(item.conversation_id.encode(), digest_size=8).digest())
            if len(self._sample) < SAMPLES:
                self._sample.append(
                    {
                        "conversation": item.conversation_id,
                        "role": item.side,
                        "text": item.text[:_SAMPLE_CHARS],
                        "time": item.at.isoformat() if item.at else "",
                        "visitor": item.visitor,
                    }
                )

    def plan(self, *, size_bytes: int, is_whole: bool) -> Plan:
        return Plan(
            rows=self._rows,
            failed=self._failed,
            skipped=self._skipped,
            conversations=len(self._conversations),
            messages=self._messages,
            visitor_messages=self._visitors,
            characters=self._characters,
            bytes=size_bytes,
            is_whole=is_whole,
            problems=self._problems,
            sample=self._sample,
        )
