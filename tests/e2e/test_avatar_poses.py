"""The robot's pictures in a real browser: nine animations that differ in every tier, and what the SVG face does besides.

The page is that of `bench/poses.py`.
"""

import base64
import itertools
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from bench import poses
from tests.e2e.widget_node import need_packages
from tests.e2e.widget_support import browser_marks

NINE = ("idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain")
SIZE = 160
# The part of a picture that tells two animations apart; a hand is about 0.015, the closest pair (wave, thumbs_up) 0.027.
DIFFER_AT_LEAST = 0.02

# Pixels of each cell of a sheet that differ from those of each other cell, as a part of the cell.
COMPARE = """
async ([png, size]) => {
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(image.width, image.height);
    const brush = canvas.getContext("2d");
    brush.drawImage(image, 0, 0);
    const cells = [];
    for (let at = 0; at < 9; at++) cells.push(brush.getImageData((at % 3) * size, Math.floor(at / 3) * size, size, size).data);
    return cells.map((one) => cells.map((other) => {
        let differ = 0;
        for (let at = 0; at < one.length; at += 4) {
            const far = Math.abs(one[at] - other[at]) + Math.abs(one[at + 1] - other[at + 1]) + Math.abs(one[at + 2] - other[at + 2]);
            if (far > 90) differ++;
        }
        return differ / (size * size);
    }));
}
"""

pytestmark = browser_marks()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    need_packages()
    folder: Path = tmp_path_factory.mktemp("poses")
    poses.build_page(folder)
    with poses.serve(folder) as found:
        yield found


@pytest.fixture
def page(chromium: Browser) -> Generator[Page]:
    opened = chromium.new_page(viewport={"width": 3 * SIZE, "height": 3 * SIZE})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    yield opened
    opened.close()
    assert errors == []


@pytest.mark.parametrize("tier", ["full", "low", "2d"])
def test_that_no_two_animations_look_alike(page: Page, address: str, tier: str) -> None:
    poses.show(page, address, {"tier": tier, "size": str(SIZE), "names": "0"})
    picture = base64.b64encode(page.locator("body").screenshot()).decode()
    differ: list[list[float]] = page.evaluate(COMPARE, [picture, SIZE])
    pairs = {(NINE[a], NINE[b]): differ[a][b] for a, b in itertools.combinations(range(9), 2)}
    closest = min(pairs, key=lambda pair: pairs[pair])
    assert pairs[closest] > DIFFER_AT_LEAST, f"{closest}: {pairs[closest]:.3f}"


def test_that_colours_reach_the_picture(page: Page, address: str) -> None:
    pictures: list[bytes] = []
    for accent in ("#4f5bd5", "#0a7d4f"):
        poses.show(page, address, {"tier": "2d", "size": str(SIZE), "names": "0", "accent": accent})
        pictures.append(page.locator("body").screenshot())
    assert pictures[0] != pictures[1]
    page.evaluate("faces[0].setColors({ shell: '#fff', accent: '#c00', glass: '#000', glow: '#0f0' })")
    fill = "(part) => getComputedStyle(document.querySelector('div > div').shadowRoot.querySelector(part)).fill"
    assert page.evaluate(fill, ".a") == "rgb(204, 0, 0)"
    assert page.evaluate(fill, ".l") == "rgb(0, 255, 0)"


def test_that_the_face_stands_still_where_motion_is_not_wanted(page: Page, address: str) -> None:
    running = "document.querySelector('div > div').shadowRoot.getAnimations().map((one) => one.playState)"
    poses.show(page, address, {"tier": "2d", "size": str(SIZE)})
    assert page.evaluate(running) == []
    poses.show(page, address, {"tier": "2d", "size": str(SIZE), "moving": "50"})
    assert "running" in page.evaluate(running)
    page.evaluate("faces[0].setActive(false)")
    assert set(page.evaluate(running)) == {"paused"}
    page.evaluate("faces[0].setActive(true)")
    assert "running" in page.evaluate(running)


def test_that_the_mouth_opens_with_speech_and_falls_shut_by_itself(page: Page, address: str) -> None:
    poses.show(page, address, {"tier": "2d", "size": str(SIZE), "moving": "1"})
    mouth = "(part) => getComputedStyle(document.querySelector('div > div').shadowRoot.querySelector(part)).opacity"
    assert (page.evaluate(mouth, ".talk"), page.evaluate(mouth, ".smile")) == ("0", "1")
    page.evaluate("globalThis.voice = setInterval(() => faces[0].speak(0.8), 50)")  # until it was seen
    page.wait_for_function(f"({mouth})('.talk') === '1' && ({mouth})('.smile') === '0'", timeout=5000)
    page.evaluate("clearInterval(voice)")
    page.wait_for_function(f"({mouth})('.talk') === '0'", timeout=5000)
    page.wait_for_function(f"({mouth})('.smile') === '1'", timeout=5000)


def test_that_the_mouth_stays_as_it_is_for_whoever_asked_for_less_motion(page: Page, address: str) -> None:
    poses.show(page, address, {"tier": "2d", "size": str(SIZE)})
    before = page.locator("body").screenshot()
    page.evaluate("faces[0].speak(0.8)")
    assert page.locator("body").screenshot() == before


def test_that_unknown_names_are_drawn_as_idle_and_nothing_is_left_behind(page: Page, address: str) -> None:
    poses.show(page, address, {"tier": "2d", "size": str(SIZE), "names": "0", "order": "idle"})
    idle = page.locator("body").screenshot()
    page.evaluate("faces[0].play('somersault')")
    assert page.locator("body").screenshot() == idle
    page.evaluate("faces[0].play('happy')")
    assert page.locator("body").screenshot() != idle
    page.evaluate("faces[0].dispose()")
    assert page.locator("svg").count() == 0
