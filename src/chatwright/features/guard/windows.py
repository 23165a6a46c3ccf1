"""Cuts a text into the pieces that the model reads one by one: an order hidden in a long letter must not drown in it. Pure."""

from chatwright.domain.language import split_sentences

WHOLE = 480
"""Characters: a text no longer than this is read as one."""
WINDOW = 320
OPENING = 1_000
"""A long text's beginning is read as one, too: whoever sets a stage for a role does it over many sentences."""
MAX_WINDOWS = 128


def windows(text: str, *, at_most: int = MAX_WINDOWS) -> list[str]:
    """The text alone, or its opening and then pieces of some `WINDOW` characters that share a sentence with the one before.

    Of a text with more pieces than `at_most` evenly chosen ones are read: the bound on what a text may cost.
    """
    if len(text) <= WHOLE:
        return [text]
    pieces = [text[:OPENING], *_pack(text)]
    if len(pieces) <= at_most:
        return pieces
    return [pieces[index * len(pieces) // at_most] for index in range(at_most)]


def _pack(text: str) -> list[str]:
    packed: list[str] = []
    held: list[str] = []
    length = 0
    for sentence in _sentences(text):
        if held and length + len(sentence) > WINDOW:
            packed.append(" ".join(held))
            held = held[-1:] if len(held[-1]) <= WINDOW // 2 else []
            length = sum(len(one) for one in held)
        held.append(sentence)
        length += len(sentence)
    packed.append(" ".join(held))
    return packed


def _sentences(text: str) -> list[str]:
    """Sentences of each line, none longer than a window."""
    cut: list[str] = []
    for line in text.splitlines():
        for sentence in split_sentences(line):
            cut += [sentence[at : at + WINDOW] for at in range(0, len(sentence), WINDOW)]
    return cut or [text[at : at + WINDOW] for at in range(0, len(text), WINDOW)]
