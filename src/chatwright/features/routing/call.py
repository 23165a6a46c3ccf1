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
    """One call. `head` are deltas that were read ahead, `said` counts the characters that came.

    `fair`: it was given the time that a provider may take. `state` is empty until the call has failed.
    """

    __slots__ = (
        "admission",
        "closed",
        "completion",
        "error",
        "fair",
        "finish",
        "head",
        "id",
        "pieces",
        "route",
        "said",
        "slot",
        "started_s",
        "state",
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
        self.said = 0
        self.usage: Usage | None = None
        self.finish: Finish | None = None
        self.completion: Completion | None = None
        self.state = ""
        self.error: ProviderError | None = None
        self.closed = False
