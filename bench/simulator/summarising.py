"""The answer of a model that is asked for a summary and makes one by rules: of a fixed size, and forgetful. Pure.

What a visitor said last pushes out what they said first, also what stood in the summary before: so it shows what a
conversation remembers by other means.
"""

import re

_VISITOR = re.compile(r"^Visitor: (.*)$", re.MULTILINE)
_BEFORE = re.compile(r"<summary>\n(.*?)\n</summary>", re.DOTALL)
_FIRST_SENTENCE = re.compile(r"^.*?[.!?。！？](?=\s|$)|^.+$", re.DOTALL)


def summarised(prompt: str, characters: int) -> str:
    """The last `characters` of: the summary in `prompt`, then the first sentence of each of the visitor's messages."""
    before = _BEFORE.search(prompt)
    said = [match[0].strip() for text in _VISITOR.findall(prompt) if (match := _FIRST_SENTENCE.match(text))]
    whole = " ".join([*([before[1]] if before else []), *said])
    return whole[-characters:].strip() or "Nothing was said."
