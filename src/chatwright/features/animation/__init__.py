"""Reading and animation set -> animation name."""

from chatwright.features.animation.rules import ANIMATIONS, choose, while_streaming

__all__ = ["ANIMATIONS", "choose", "while_streaming"]
