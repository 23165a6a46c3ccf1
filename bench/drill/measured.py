"""One number of a scenario with its limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`value` must be at most `limit`; nan (it could not be taken) is not."""

    name: str
    value: float
    unit: str
    limit: float
    samples: int = 0
    note: str = ""

    @property
    def held(self) -> bool:
        return self.value <= self.limit
