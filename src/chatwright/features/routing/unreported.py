"""What a call may have used although no report of its usage came. Pure.

`service.py` makes a `Trace` of each such call, and the books make an estimate of it that is not below what the provider
charges: it reads the prompt before anything else, and it charges for all that it wrote, whoever still listened. How far a
provider came is known only where everything it writes is seen as it is written, and was read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chatwright.domain.errors import ProviderError

IN_FLIGHT_TOKENS = 64
"""Written by the time that a provider notices that nobody listens: what a fast one writes in a third of a second."""
IN_FLIGHT_S = 2.0
_BROKEN = frozenset({"transport", "timeout", "cut_stream", "malformed", "broken_answer"})
"""Failures after which the provider may have done its work, or be at it still."""


class Reach(StrEnum):
    """How far a call can have come."""

    NOTHING = "nothing"
    """No request reached the provider, or it refused it: nothing is charged."""
    PROMPT = "prompt"
    """The prompt was read; of an answer there is at most what was under way."""
    SAID = "said"
    """The answer was read as it was written."""
    ALL = "all"
    """Nobody knows: as much may have been written as was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is known of a call whose usage was not reported, or only in part.

    `texts` are all pieces of the answer that came, `pieces` their number, `took_s` the seconds since the first one.
    `ended`: the provider ended the answer itself, so nothing more was under way.
    """

    reach: Reach
    texts: Sequence[str] = ()
    pieces: int = 0
    took_s: float = 0.0
    ended: bool = False

    def output_tokens(self, said: int, *, at_most: int) -> int:
        """The most that the answer can have. `said`: the most tokens that its `texts` are, `at_most`: what was allowed."""
        match self.reach:
            case Reach.NOTHING:
                return 0
            case Reach.ALL:
                return at_most
            case Reach.PROMPT | Reach.SAID:
                # A provider may send each token in a piece of its own, and none in two.
                written = max(said, self.pieces)
                if not self.ended:
                    pace = written / self.took_s if self.took_s > 0 else 0.0
                    written += max(IN_FLIGHT_TOKENS, round(min(pace * IN_FLIGHT_S, at_most)))
                return min(written, at_most)


def reach_of(
    error: ProviderError | None, *, whole: bool, begun: bool, ended: bool, open_book: bool, drained: bool
) -> Reach:
    """How far a call came that ended with `error`, or was left (None).

    `whole`: its answer was to come in one piece; `begun`: a piece of it came; `ended`: its end came. `open_book`: all
    that the model writes is seen as it is written. `drained`: everything that had arrived was read.
    """
    if error is not None and not begun and _costs_nothing(error):
        return Reach.NOTHING
    if error is not None and error.error_class not in _BROKEN:
        # The provider says itself that it gives no answer, or no more of it.
        return Reach.PROMPT if not begun else Reach.SAID if open_book else Reach.ALL
    if not open_book:
        return Reach.ALL
    if ended:
        return Reach.SAID
    if whole:
        return Reach.ALL
    if not begun:
        # A stream that broke off once its headers were there may have been written to its end.
        return Reach.PROMPT if error is None or error.error_class in ("transport", "timeout") else Reach.ALL
    # A connection that broke takes along what was under way, and that is counted by the answer's pace.
    heard = drained if error is None else error.error_class == "cut_stream"
    return Reach.SAID if heard else Reach.ALL


def _costs_nothing(error: ProviderError) -> bool:
    if not error.sent:
        return True
    if error.upstream_status is None:
        return error.error_class not in _BROKEN
    return error.upstream_status >= 300
