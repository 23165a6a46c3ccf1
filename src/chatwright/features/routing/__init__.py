"""Which provider is called: preference, circuit breakers, limits of keys, one attempt budget, fallback before text."""

from chatwright.features.routing.breaker import State
from chatwright.features.routing.gate import Admission, GateState
from chatwright.features.routing.gates import Gates
from chatwright.features.routing.limits import KeyLimits
from chatwright.features.routing.service import ProviderRun
from chatwright.features.routing.target import Books, PassedOver, Spare, Target
from chatwright.features.routing.unreported import Reach, Trace, reach_of

__all__ = [
    "Admission",
    "Books",
    "GateState",
    "Gates",
    "KeyLimits",
    "PassedOver",
    "ProviderRun",
    "Reach",
    "Spare",
    "State",
    "Target",
    "Trace",
    "reach_of",
]
