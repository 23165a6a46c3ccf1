"""A chatbot's `widget`: how its chat window looks, what its avatar is, its words, and what it offers. Pure data with its
checks; `widget/src/config.ts` reads what comes of it.

`check_widget` stands where a tenant writes it; `WidgetLook.of` reads what is stored, for one language. What is not said
has a default, so that an empty object is a whole widget.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from chatwright.domain.errors import Unprocessable

Locale = Literal["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ar", "zh"]
LOCALES: tuple[Locale, ...] = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ar", "zh")
"""The languages that the widget itself speaks, the first where nothing else fits."""
Scheme = Literal["auto", "light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("auto", "light", "dark")
Position = Literal["right", "left"]
POSITIONS: tuple[Position, ...] = ("right", "left")
AvatarKind = Literal["robot", "face", "none", "model"]
AVATARS: tuple[AvatarKind, ...] = ("robot", "face", "none", "model")
Tier = Literal["auto", "full", "low", "2d", "text"]
TIERS: tuple[Tier, ...] = ("auto", "full", "low", "2d", "text")

ACCENT = "#4f46e5"
OFFSET_AT_MOST = 400
RADIUS_AT_MOST = 40
TEXT_AT_MOST = 500
URL_AT_MOST = 2_000
_CLIPS_AT_MOST = 50
_NAME_AT_MOST = 100
_COLOR = re.compile(r"#(?:[0-9a-fA-F]{3}){1,2}")
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_Fault = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours as #rrggbb, lengths in CSS pixels."""

    accent: str = ACCENT
    scheme: Scheme = "auto"
    position: Position = "right"
    offset_x: int = 20
    offset_y: int = 20
    radius: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarColors:
    shell: str = "#f4f6fb"
    accent: str = ACCENT
    glass: str = "#141a33"
    glow: str = "#7df3ff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Avatar:
    """`url`: a GLB or VRM, only with kind "model". `clips`: animation -> name of a clip in the model."""

    kind: AvatarKind = "robot"
    url: str | None = None
    clips: Mapping[str, str] = field(default_factory=dict[str, str])
    colors: AvatarColors = AvatarColors()
    tier: Tier = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The operator's own words in one language; None: the widget's."""

    title: str | None = None
    launcher: str | None = None
    placeholder: str | None = None
    error: str | None = None
    over_limit: str | None = None
    offline: str | None = None
    handoff: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What visitors may do beside chatting. `read_aloud` offers the button: nothing is spoken before it is pressed.
    `images`: pictures in answers are loaded."""

    feedback: bool = True
    transcript: bool = True
    read_aloud: bool = True
    images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WidgetLook:
    """A widget as one visitor gets it."""

    theme: Theme = Theme()
    avatar: Avatar = Avatar()
    texts: Texts = Texts()
    features: Features = Features()

    @classmethod
    def of(cls, fields: Mapping[str, Any], *, locale: str) -> "WidgetLook":
        """Read a stored widget for one of LOCALES. What cannot be meant is left out: no visitor is without a widget over it.
        An avatar's accent is the theme's where it has none of its own."""
        kept = {section: _kept(section, fields.get(section)) for section in _SECTIONS}
        accent = _long(kept["theme"].get("accent", ACCENT))
        theme: dict[str, Any] = {**kept["theme"], "accent": accent}
        avatar = kept["avatar"]
        colors = {name: _long(value) for name, value in avatar.pop("colors", {}).items()}
        if avatar.get("kind") != "model" or "url" not in avatar:
            avatar.pop("url", None)
            if avatar.get("kind") == "model":
                del avatar["kind"]
        return cls(
            theme=Theme(**theme),
            avatar=Avatar(colors=AvatarColors(**({"accent": accent} | colors)), **avatar),
            texts=Texts(**{name: _in_language(value, locale) for name, value in kept["texts"].items()}),
            features=Features(**kept["features"]),
        )


def check_widget(fields: Mapping[str, Any]) -> None:
    """Raise Unprocessable, naming the field, for a widget that cannot be meant."""
    for section, values in fields.items():
        rules = _SECTIONS.get(section)
        if rules is None:
            raise Unprocessable(
                f"no such field: {section!r}; there are {', '.join(_SECTIONS)}"[:300], param=f"widget.{section}"[:100]
            )
        if not isinstance(values, Mapping):
            raise Unprocessable(f"{section} is an object", param=f"widget.{section}")
        for name, value in cast("Mapping[str, Any]", values).items():
            rule = rules.get(name)
            fault = f"no such field: {name!r}; there are {', '.join(rules)}" if rule is None else rule(value)
            if fault is not None:
                raise Unprocessable(fault[:300], param=f"widget.{section}.{name}"[:100])
    avatar: Mapping[str, Any] = fields.get("avatar", {})
    if avatar.get("kind") == "model" and not avatar.get("url"):
        raise Unprocessable('an avatar of the kind "model" has a url', param="widget.avatar.url")
    if avatar.get("url") and avatar.get("kind") != "model":
        raise Unprocessable('only an avatar of the kind "model" has a url', param="widget.avatar.url")


def choose_locale(wanted: Sequence[str], spoken: Sequence[str]) -> Locale:
    """The widget's language: the first of `wanted`, then of the chatbot's own (`spoken`), that it speaks. Tags such as
    `de-AT` or `pt_BR` stand for their language."""
    for tag in (*wanted, *spoken):
        language = re.split(r"[-_]", tag.strip().lower(), maxsplit=1)[0]
        for locale in LOCALES:
            if locale == language:
                return locale
    return LOCALES[0]


def is_model_url(url: str) -> bool:
    """Whether a page may load a model from there: https, http of this machine, or a path of the chat server's own."""
    if len(url) > URL_AT_MOST or not url.isprintable() or re.search(r"[\s\\\"'<>]", url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not parts.scheme and not parts.netloc:
        return url.startswith("/") and not url.startswith("//")  # browsers read ///host as a host
    if not host or "@" in parts.netloc:
        return False
    # The whole of it, not `hostname`: of "[::1];sandbox" that is "::1", and this goes into a policy (web_frame.py).
    is_here = _LOOPBACK.fullmatch(parts.netloc.lower()) is not None
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)


def _kept(section: str, values: Any) -> dict[str, Any]:
    """The fields of a section that can be meant; null is as good as not said."""
    if not isinstance(values, Mapping):
        return {}
    rules = _SECTIONS[section]
    return {
        name: value
        for name, value in cast("Mapping[str, Any]", values).items()
        if value is not None and name in rules and rules[name](value) is None
    }


def _long(color: str) -> str:
    """#rgb or #rrggbb -> #rrggbb in lower case."""
    digits = color[1:].lower()
    return f"#{digits}" if len(digits) == 6 else f"#{''.join(digit * 2 for digit in digits)}"


def _in_language(value: str | Mapping[str, str], locale: str) -> str | None:
    """One text for all, or the one for this language."""
    return (value if isinstance(value, str) else value.get(locale, "")) or None


# What a field may hold: each says what is wrong with a value, or None ----------------------------------------------


def _color(value: Any) -> str | None:
    good = isinstance(value, str) and _COLOR.fullmatch(value)
    return None if good else "a colour is #rgb or #rrggbb"


def _choice(choices: Sequence[str]) -> _Fault:
    return lambda value: None if value in choices else f"this is one of {', '.join(choices)}"


def _length(at_most: int) -> _Fault:
    def fault(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= at_most
        return None if good else f"this is a whole number of pixels from 0 to {at_most}"

    return fault


def _switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else "this is true or false"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        for language, text in cast("Mapping[str, Any]", value).items():
            if language not in LOCALES:
                return f"the widget does not speak {language!r}; its languages are {', '.join(LOCALES)}"
            if (fault := _words(text)) is not None:
                return fault
        return None
    return _words(value)


def _words(text: Any) -> str | None:
    good = isinstance(text, str) and len(text) <= TEXT_AT_MOST and not _CONTROLS.search(text)
    return None if good else f"a text has at most {TEXT_AT_MOST} characters, on one line; or one for each language"


def _url(value: Any) -> str | None:
    good = value is None or (isinstance(value, str) and is_model_url(value))
    return None if good else "a model's url is https://…, or a path of this server such as /widget/robot.glb"


def _clips(value: Any) -> str | None:
    good = (
        isinstance(value, Mapping)
        and len(cast("Mapping[str, Any]", value)) <= _CLIPS_AT_MOST
        and all(
            isinstance(one, str) and 0 < len(one) <= _NAME_AT_MOST and one.isprintable()
            for pair in cast("Mapping[str, Any]", value).items()
            for one in pair
        )
    )
    return None if good else f"clips is an object: animation -> clip of the model, at most {_CLIPS_AT_MOST}"


def _colors(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"colors is an object with {', '.join(AvatarColors.__slots__)}"
    for name, color in cast("Mapping[str, Any]", value).items():
        if name not in AvatarColors.__slots__:
            return f"no such colour: {name!r}; there are {', '.join(AvatarColors.__slots__)}"
        if (fault := _color(color)) is not None:
            return fault
    return None


_SECTIONS: Mapping[str, Mapping[str, _Fault]] = {
    "theme": {
        "accent": _color,
        "scheme": _choice(SCHEMES),
        "position": _choice(POSITIONS),
        "offset_x": _length(OFFSET_AT_MOST),
        "offset_y": _length(OFFSET_AT_MOST),
        "radius": _length(RADIUS_AT_MOST),
    },
    "avatar": {
        "kind": _choice(AVATARS),
        "url": _url,
        "clips": _clips,
        "colors": _colors,
        "tier": _choice(TIERS),
    },
    "texts": dict.fromkeys(Texts.__slots__, _text),
    "features": dict.fromkeys(Features.__slots__, _switch),
}
