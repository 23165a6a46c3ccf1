"""What stands between a provider's text and its reader: what a window over outgoing text must be, and the simplest one.

`stream.relay` feeds it; `grounding.Window` is the one that answers pass.
"""

from typing import Protocol, runtime_checkable


class HoldBack(Protocol):
    """A window over the text on its way out: what `feed` does not return yet, a later call may change or drop."""

    def feed(self, text: str) -> str:
        """Take new text, return what may go out now. May raise to stop the answer (e.g. ContentBlocked)."""
        ...

    def finish(self) -> str:
        """Return the rest: no text will follow."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A hold-back that may end an answer before its provider does."""

    @property
    def stopped(self) -> bool:
        """Whether nothing more goes out. What `feed` returned last is still to be shown."""
        ...


class PassThrough:
    """Holds nothing back but half a character: providers cut surrogate pairs, and half of one is no Unicode.

    Drops NUL, which PostgreSQL cannot store: an answer is stored as it was shown.
    """

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        if "\x00" in text:
            text = text.replace("\x00", "")
        if not self._half and text.isascii():
            return text
        text = self._half + text
        self._half = ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return _joined_pairs(text)

    def finish(self) -> str:
        rest, self._half = self._half, ""
        return _joined_pairs(rest)


def _joined_pairs(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
