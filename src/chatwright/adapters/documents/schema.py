"""Questions and answers that a page's structured data (schema.org, JSON-LD) holds. Pure; used by `html`."""

from typing import Any, cast

import msgspec
from selectolax.lexbor import LexborHTMLParser

from chatwright.adapters.documents.blocks import clean, squeeze

MAX_PAIRS = 2_000
_MAX_NODES = 20_000


def schema_pairs(tree: LexborHTMLParser) -> list[tuple[str, str]]:
    """(question, answer as HTML) of every FAQPage on the page, in order. What is no valid JSON holds none."""
    pairs: list[tuple[str, str]] = []
    for script in tree.css('script[type="application/ld+json"]'):
        try:
            found: object = msgspec.json.decode(script.text().encode("utf-8", "replace"))
        except (msgspec.DecodeError, RecursionError):
            continue
        pairs += _pairs(found)
        if len(pairs) >= MAX_PAIRS:
            break
    return pairs[:MAX_PAIRS]


def _pairs(found: object) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    waiting: list[object] = [found]
    for _ in range(_MAX_NODES):
        if not waiting:
            break
        node = waiting.pop()
        if isinstance(node, list):
            waiting += cast("list[object]", node)[::-1]
        elif isinstance(node, dict):
            entry = cast("dict[str, Any]", node)
            if entry.get("@type") == "Question":
                question, answer = entry.get("name"), _text(entry.get("acceptedAnswer"))
                if isinstance(question, str) and question.strip() and answer:
                    pairs.append((squeeze(clean(question))[:300], clean(answer)))
            else:
                waiting += list(entry.values())[::-1]
    return pairs


def _text(answer: object) -> str:
    if isinstance(answer, list):
        answer = cast("list[object]", answer)[0] if answer else None
    text = cast("dict[str, Any]", answer).get("text") if isinstance(answer, dict) else None
    return text if isinstance(text, str) else ""
