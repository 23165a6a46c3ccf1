"""What the widget thinks goes over the wire is what the server sends: generated types are fresh, configuration agrees."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from chatwright.entrypoints.wire_widget import SuggestedAction
from chatwright.features.suggestions.policy import KINDS, Action
from chatwright.features.tenancy.widget import LOCALES

WIDGET = Path(__file__).parents[2] / "widget"


@pytest.fixture(scope="module")
def wire_types() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wire_types", WIDGET / "wire_types.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_types_are_fresh(wire_types: ModuleType) -> None:
    assert wire_types.TARGET.read_text("utf-8") == wire_types.generate(), "run python widget/wire_types.py"


def test_the_configuration_has_the_same_fields_and_types(wire_types: ModuleType) -> None:
    text = re.sub(r"/\*\*.*?\*/", "", (WIDGET / "src" / "config.ts").read_text("utf-8"), flags=re.DOTALL)
    aliases = dict(re.findall(r"export type (\w+) = ([^;]+);", text))
    interfaces = dict(re.findall(r"export interface (\w+) \{(.*?)\n\}", text, flags=re.DOTALL))
    assert set(interfaces) == set(wire_types.CONFIG)

    def parts(of: str) -> set[str]:
        return {inner for part in of.split(" | ") for inner in aliases.get(part, part).split(" | ")}

    for name, kind in wire_types.CONFIG.items():
        there = dict(re.findall(r"readonly (\w+)\??: ([^;]+);", interfaces[name]))
        sent = wire_types.interface_fields(kind)
        assert {field: parts(of) for field, of in there.items()} == {field: parts(of) for field, of in sent.items()}, (
            name
        )


def test_the_languages_are_the_same() -> None:
    found = re.search(r"LOCALES = \[(.*?)\]", (WIDGET / "src" / "config.ts").read_text("utf-8"))
    assert found is not None
    assert tuple(re.findall(r'"(\w+)"', found[1])) == LOCALES


def test_suggested_actions_are_as_they_are_shown() -> None:
    shown = Action(label="Call us", kind="handoff", value="tel:1").shown
    assert msgspec.to_builtins(msgspec.convert(shown, SuggestedAction)) == shown
    for kind in KINDS:
        msgspec.convert({**shown, "kind": kind}, SuggestedAction)
