"""What of a chunk is embedded: its text without Markdown's marks, under its title and headings. Pure.

Used where chunks are made and where stored ones are embedded again: both must say the same.
"""

import re

MAX_CONTEXT_CHARACTERS = 160
HEADING_SEPARATOR = " › "

_LINK = re.compile(r"\[([^\[\]\n]{1,400})\]\([^()\s]{0,2000}(?:\s[^()\n]{0,400})?\)")
_MARKS = re.compile(r"(?<!\w)(\*\*|__|\*|_)(?=\S)([^*_\n]{1,400})(?<=\S)\1(?!\w)")


def embedding_text(*, title: str, heading: str, text: str, question: str | None = None) -> str:
    """The text to embed; a chunk with a `question` is led by it, because that is what visitors' words are like.

    The question then is the nearest heading, or stands in `text` before the answer.
    """
    context = _context(title, heading)
    body = plain(text)
    if question is not None and not body.startswith(asked := plain(question)) and not heading.endswith(asked):
        body = f"{asked}\n{body}"
    return f"{context}\n{body}" if context else body


def plain(text: str) -> str:
    """Markdown's inline marks off: they tell a vector nothing."""
    return _MARKS.sub(r"\2", _LINK.sub(r"\1", text)).replace("`", "")


def _context(title: str, heading: str) -> str:
    """Title and headings for the embedding, the nearest heading kept whole as far as it fits."""
    context = HEADING_SEPARATOR.join(part for part in (title.strip(), heading) if part)
    return context if len(context) <= MAX_CONTEXT_CHARACTERS else context[-MAX_CONTEXT_CHARACTERS:].partition(" ")[2]
