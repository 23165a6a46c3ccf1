"""Reading and animation set -> animation name; a reply's sentences -> cues."""

from chatwright.features.animation.cues import Cues
from chatwright.features.animation.rules import choose, while_streaming
from chatwright.features.animation.sets import ANIMATIONS, AnimationSet, check_animation_set
from chatwright.features.animation.tones import Tone, tone_of

__all__ = [
    "ANIMATIONS",
    "AnimationSet",
    "Cues",
    "Tone",
    "check_animation_set",
    "choose",
    "tone_of",
    "while_streaming",
]
