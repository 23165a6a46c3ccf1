"""Documents read in a process of their own: files of many formats → blocks."""

from typing import TYPE_CHECKING, Any

from chatwright.adapters.documents.limits import ExtractLimits
from chatwright.adapters.documents.sniff import READABLE

if TYPE_CHECKING:
    from chatwright.adapters.documents.extraction import extract

__all__ = ["READABLE", "ExtractLimits", "extract"]


def __getattr__(name: str) -> Any:
    # Not imported with the package: the child process imports it as well, and starts in half the time without asyncio.
    if name == "extract":
        from chatwright.adapters.documents.extraction import extract

        return extract
    raise AttributeError(name)
