"""Provider choice and fallback before the first visible text."""

from chatwright.features.routing.rules import Step, next_step
from chatwright.features.routing.service import Books, ProviderRun, Target

__all__ = ["Books", "ProviderRun", "Step", "Target", "next_step"]
