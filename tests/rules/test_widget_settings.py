"""A chatbot's widget: what may be written, and what comes of it for a visitor."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.domain.errors import Unprocessable
from chatwright.features.tenancy.widget import (
    ACCENT,
    LOCALES,
    AvatarColors,
    Theme,
    WidgetLook,
    check_widget,
    choose_locale,
    is_model_url,
)

FULL: dict[str, Any] = {
    "theme": {"accent": "#0Af", "scheme": "dark", "position": "left", "offset_x": 0, "offset_y": 400, "radius": 40},
    "avatar": {
        "kind": "model",
        "url": "https://cdn.example/robot.glb?v=2",
        "clips": {"wave": "Hello", "thumbs_up": "Like it"},
        "colors": {"glow": "#ABCDEF"},
        "tier": "low",
    },
    "texts": {"title": "Ask us", "error": {"en": "Sorry.", "de": "Verzeihung."}, "offline": None},
    "features": {"feedback": False, "transcript": True, "read_aloud": False, "images": True},
}


def test_nothing_said_is_a_whole_widget() -> None:
    check_widget({})
    look = WidgetLook.of({}, locale="en")
    assert (look.theme, look.avatar.kind, look.avatar.url) == (Theme(), "robot", None)
    assert (look.texts.title, look.features.feedback, look.features.images) == (None, True, False)


def test_what_is_said_comes_out_in_one_form_and_one_language() -> None:
    check_widget(FULL)
    look = WidgetLook.of(FULL, locale="de")
    assert (look.theme.accent, look.theme.scheme, look.theme.position, look.theme.radius) == (
        "#00aaff",
        "dark",
        "left",
        40,
    )
    assert (look.avatar.url, look.avatar.clips["wave"]) == ("https://cdn.example/robot.glb?v=2", "Hello")
    assert look.avatar.colors == AvatarColors(accent="#00aaff", glow="#abcdef")
    assert (look.texts.title, look.texts.error, look.texts.offline) == ("Ask us", "Verzeihung.", None)
    assert WidgetLook.of(FULL, locale="fr").texts.error is None  # the widget's own words in French
    assert look.features.images


def test_an_avatar_keeps_its_own_accent() -> None:
    fields = {"theme": {"accent": "#111111"}, "avatar": {"colors": {"accent": "#222222"}}}
    assert WidgetLook.of(fields, locale="en").avatar.colors.accent == "#222222"
    assert WidgetLook.of({"theme": {"accent": "#111111"}}, locale="en").avatar.colors.accent == "#111111"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"colour": {}}, "widget.colour"),
        ({"theme": []}, "widget.theme"),
        ({"theme": None}, "widget.theme"),
        ({"theme": {"color": "#fff"}}, "widget.theme.color"),
        ({"theme": {"accent": "red"}}, "widget.theme.accent"),
        ({"theme": {"accent": "#ffff"}}, "widget.theme.accent"),
        ({"theme": {"accent": "#fff;}"}}, "widget.theme.accent"),
        ({"theme": {"accent": "#ffffff\n"}}, "widget.theme.accent"),
        ({"theme": {"scheme": "night"}}, "widget.theme.scheme"),
        ({"theme": {"scheme": []}}, "widget.theme.scheme"),
        ({"theme": {"position": "top"}}, "widget.theme.position"),
        ({"theme": {"offset_x": -1}}, "widget.theme.offset_x"),
        ({"theme": {"offset_y": 401}}, "widget.theme.offset_y"),
        ({"theme": {"radius": 4.5}}, "widget.theme.radius"),
        ({"theme": {"radius": True}}, "widget.theme.radius"),
        ({"avatar": {"kind": "model"}}, "widget.avatar.url"),
        ({"avatar": {"kind": "model", "url": None}}, "widget.avatar.url"),
        ({"avatar": {"url": "https://x.example/a.glb"}}, "widget.avatar.url"),
        ({"avatar": {"kind": "robot", "url": "https://x.example/a.glb"}}, "widget.avatar.url"),
        ({"avatar": {"kind": "model", "url": "http://x.example/a.glb"}}, "widget.avatar.url"),
        ({"avatar": {"kind": "model", "url": "javascript:alert(1)"}}, "widget.avatar.url"),
        ({"avatar": {"kind": "model", "url": 7}}, "widget.avatar.url"),
        ({"avatar": {"clips": ["wave"]}}, "widget.avatar.clips"),
        ({"avatar": {"clips": {"wave": 1}}}, "widget.avatar.clips"),
        ({"avatar": {"clips": {"wave": ""}}}, "widget.avatar.clips"),
        ({"avatar": {"clips": {f"c{n}": "x" for n in range(51)}}}, "widget.avatar.clips"),
        ({"avatar": {"colors": {"skin": "#fff"}}}, "widget.avatar.colors"),
        ({"avatar": {"colors": {"shell": 1}}}, "widget.avatar.colors"),
        ({"avatar": {"colors": "#fff"}}, "widget.avatar.colors"),
        ({"avatar": {"tier": "3d"}}, "widget.avatar.tier"),
        ({"texts": {"headline": "x"}}, "widget.texts.headline"),
        ({"texts": {"title": 1}}, "widget.texts.title"),
        ({"texts": {"title": "x" * 501}}, "widget.texts.title"),
        ({"texts": {"title": "two\nlines"}}, "widget.texts.title"),
        ({"texts": {"title": {"tlh": "nuqneH"}}}, "widget.texts.title"),
        ({"texts": {"title": {"de": None}}}, "widget.texts.title"),
        ({"features": {"feedback": 1}}, "widget.features.feedback"),
        ({"features": {"cookies": True}}, "widget.features.cookies"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        check_widget(fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://cdn.example/a.glb", True),
        ("https://cdn.example:8443/a%20b.vrm?x=1#y", True),
        ("http://localhost:5173/a.glb", True),
        ("http://127.0.0.1/a.glb", True),
        ("http://[::1]:80/a.glb", True),
        ("/widget/robot.glb", True),
        ("http://cdn.example/a.glb", False),
        ("http://127.0.0.1.evil.example/a.glb", False),
        ("http://[::1];sandbox/a.glb", False),
        ("http://a[::1]/a.glb", False),
        ("//cdn.example/a.glb", False),
        ("///cdn.example/a.glb", False),
        ("/\\cdn.example/a.glb", False),
        ("https:///a.glb", False),
        ("https://user:word@cdn.example/a.glb", False),
        ("https://cdn.example:port/a.glb", False),
        ("https://cdn.example/a b.glb", False),
        ("https://cdn.example/\x00", False),
        ("data:model/gltf-binary;base64,AA", False),
        ("blob:https://cdn.example/1", False),
        ("robot.glb", False),
        ("", False),
        ("https://cdn.example/" + "a" * 2_000, False),
    ],
)
def test_where_a_model_may_come_from(url: str, good: bool) -> None:
    assert is_model_url(url) is good


def test_the_language_is_the_first_that_fits() -> None:
    assert choose_locale(["de-AT"], ["en"]) == "de"
    assert choose_locale(["pt_BR", "en"], []) == "pt"
    assert choose_locale(["ja", "FR"], ["en"]) == "fr"
    assert choose_locale(["ja"], ["zh-Hant", "en"]) == "zh"
    assert choose_locale([], []) == choose_locale(["", "tlh"], ["xx"]) == "en"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*(name for section in FULL.values() for name in section), "else"])
SECTIONS = st.dictionaries(
    st.sampled_from([*FULL, "else"]), st.dictionaries(NAMES, JSON, max_size=4) | JSON, max_size=4
)


@given(fields=SECTIONS, locale=st.sampled_from(LOCALES))
def test_whatever_is_stored_gives_a_widget(fields: dict[str, Any], locale: str) -> None:
    look = WidgetLook.of(fields, locale=locale)
    assert len(look.theme.accent) == len(ACCENT)
    assert (look.avatar.kind == "model") == (look.avatar.url is not None)


@given(fields=SECTIONS)
def test_whatever_is_written_is_taken_or_refused_by_name(fields: dict[str, Any]) -> None:
    named = "widget."
    try:
        check_widget(fields)
    except Unprocessable as refused:
        named = refused.param or ""
    assert named.startswith("widget.")
