"""What a run keeps of each target and of each call. State only; `service.py` moves it."""

from collections.abc import AsyncGenerator

from chatwright.domain.errors import ProviderError
from chatwright.domain.ids import CallId
from chatwright.domain.providers import Completion, Delta, Finish, Route, Usage
from chatwright.features.routing.gate import Admission
from chatwright.features.routing.target import Target


class Slot:
    """A target in one run. `spent`: it is not called again. `ready_s`: when it may be tried again after a failure."""

    __slots__ = ("passed_over", "ready_s", "refusal", "spent", "target", "tries")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.tries = 0
        self.ready_s = 0.0
        self.spent = False
        self.refusal: Admission | None = None  # what the gate said last, until a call is made
        self.passed_over = False  # booked as such


class Call:
    """One call. `head` are deltas that were read ahead, `said` is all that came in them and after them.

    `fair`: it was given the time that a provider may take. `state` is empty until the call has failed. `usage` is the
    provider's last word unless it is `partial`. `drained`: more is waited for, nothing that arrived is unread.
    `asked`: the request went out, or may have; `thought`: the model thought aloud.
    """

    __slots__ = (
        "admission",
        "asked",
        "closed",
        "completion",
        "drained",
        "error",
        "fair",
        "finish",
        "head",
        "id",
        "partial",
        "pieces",
        "route",
        "said",
        "shown_s",
        "slot",
        "started_s",
        "state",
        "thought",
        "usage",
        "visible",
        "whole",
    )

    def __init__(
        self, slot: Slot, admission: Admission, call_id: CallId, route: Route, started_s: float, *, whole: bool
    ) -> None:
        self.slot = slot
        self.admission = admission
        self.id = call_id
        self.route = route
        self.started_s = started_s
        self.whole = whole
        self.fair = True
        self.pieces: AsyncGenerator[Delta, None] | None = None
        self.head: tuple[Delta, ...] | list[Delta] = ()
        self.visible = False
        self.said: list[str] = []
        self.asked = False
        self.thought = False
        self.shown_s = 0.0  # when the first piece came
        self.drained = True
        self.partial = False
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.completion: Completion | None = None
        self.state = ""
        self.error: ProviderError | None = None
        self.closed = False
