"""A test of the widget that could not run for want of Node is skipped on somebody's machine, and fails in CI."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import widget_node


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Node and without the packages."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(widget_node, "PACKAGES", tmp_path / "widget" / "node_modules")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("need", "what"),
    [
        (widget_node.need_node, "Node"),
        (widget_node.need_packages, "widget/node_modules"),
        (widget_node.need_axe, "widget/node_modules"),
    ],
)
def test_what_is_missing_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, need: Callable[[], object], what: str
) -> None:
    words = f"{what} is not installed: make install"
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=words):
        need()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=words):
        need()


def test_what_the_messages_tell_to_run_is_there() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    assert "\ninstall: .venv/.dev .venv/.widget-dev" in makefile
