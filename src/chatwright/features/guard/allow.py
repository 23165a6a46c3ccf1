"""What a tenant says is no attack, and how a text is recognised again without being kept. Pure.

An entry of the allow list is a rule and a mark. Under the rule `*` the mark is of a whole text, and whatever was found in
such a text counts for nothing; under any other rule it is of a span, which that rule may then find anywhere.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from chatwright.domain.guard import Finding

WHOLE_TEXT = "*"
AT_MOST = 1_000
"""Entries of one tenant: they stand in the memory of every process."""
_MARK_BYTES = 16
_APART = re.compile(r"[\W_]+")

Allowed = frozenset[tuple[str, bytes]]


def mark_of(text: str) -> bytes:
    """16 bytes that name `text`: equal for texts that differ in case, white space or punctuation only."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _APART.sub(" ", plain).strip() or " ".join(plain.split())
    return hashlib.sha256(words.encode("utf-8", "replace")).digest()[:_MARK_BYTES]


def is_text_allowed(allowed: Allowed, text: str) -> bool:
    """Whether the whole of `text` is on the list."""
    return bool(allowed) and (WHOLE_TEXT, mark_of(text)) in allowed


def without_allowed(allowed: Allowed, text: str, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that are left: none for a text that is on the list, else those whose span is not."""
    if not allowed or not findings:
        return tuple(findings)
    if is_text_allowed(allowed, text):
        return ()
    return tuple(
        finding for finding in findings if (finding.rule, mark_of(text[finding.start : finding.end])) not in allowed
    )
