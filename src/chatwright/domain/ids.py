"""Identifiers: one type per kind of row, all UUID version 7 in canonical text form.

Version 7 sorts by creation time, so primary keys append to the right-hand edge of their index.
"""

import os
import re
import time
from typing import NewType

TenantId = NewType("TenantId", str)
ChatbotId = NewType("ChatbotId", str)
ApiKeyId = NewType("ApiKeyId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
AnswerId = NewType("AnswerId", str)
JobId = NewType("JobId", str)
CallId = NewType("CallId", str)
KnowledgeBaseId = NewType("KnowledgeBaseId", str)
DocumentId = NewType("DocumentId", str)
ChunkId = NewType("ChunkId", str)
CrawlId = NewType("CrawlId", str)
DeadLetterId = NewType("DeadLetterId", str)
ImportId = NewType("ImportId", str)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """Make a UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    stamp_ms = time.time_ns() // 1_000_000
    tail = int.from_bytes(os.urandom(10))
    high = (stamp_ms << 16) | 0x7000 | (tail >> 68)
    low = (0b10 << 62) | (tail & 0x3FFF_FFFF_FFFF_FFFF)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Whether `text` can be an identifier of ours; anything else is unknown by definition (404, never 500)."""
    return _CANONICAL.fullmatch(text) is not None
