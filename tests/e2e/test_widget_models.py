"""Models by address in a real browser: GLB and VRM, what they may hold, and the robot where one cannot be shown."""

import pytest
from playwright.sync_api import Page

from tests.e2e.avatar_page import base, built, complaints, context, draws, mount_drawn, page
from tests.e2e.widget_support import browser_marks

__all__ = ["base", "built", "complaints", "context", "page"]  # fixtures

NINE = ["idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain"]


pytestmark = browser_marks()


def colours_of(page: Page) -> list[list[int]]:
    """The distinct colours of the canvas's middle column, as it was drawn last."""
    return page.evaluate(
        """() => new Promise((resolve) => requestAnimationFrame(() => {
            const canvas = document.querySelector("canvas");
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(Math.floor(canvas.width / 2), 0, 1, canvas.height);
            const found = new Set();
            for (let i = 0; i < data.length; i += 4) found.add(Array.from(data.slice(i, i + 4)).join());
            resolve([...found].map((text) => text.split(",").map(Number)));
        }))"""
    )


@pytest.mark.parametrize(
    ("path", "because"),
    [
        ("/nothing.glb", "the server answered 404"),
        ("/page.html", "it is not a GLB file"),
        ("/cut.glb", "it is cut off"),
        ("/huge.glb", "it is larger than 25 MB"),
        ("/draco.glb", "it is compressed with Draco, which the widget does not read"),
        ("/elsewhere.glb", "it needs further files"),
        ("/heavy.glb", "it has more than 300,000 triangles"),
        ("/empty.glb", "there is nothing in it to draw"),
        ("javascript:alert(1)", "its address is not an http address"),
        ("http://localhost:PORT/box.glb", "it could not be fetched (address, CORS or CSP)"),
        ("https://elsewhere.example/box.glb", "it could not be fetched (address, CORS or CSP)"),
    ],
)
def test_the_robot_stands_in_for_a_model_that_cannot_be_shown(page: Page, base: str, path: str, because: str) -> None:
    url = path.replace("PORT", base.rpartition(":")[2])
    assert mount_drawn(page, kind="model", url=url)[-1] == ["low", f"model: {because}"]
    draws(page)


def test_our_robot_as_a_file_comes_back_with_its_nine_clips(page: Page, complaints: list[str]) -> None:
    assert mount_drawn(page, kind="model", url="/robot.glb")[-1] == ["low", "setting"]
    draws(page)
    clips = page.evaluate(
        """async () => {
            const { loadModel } = await avatarParts.load.model();
            const body = await loadModel("/robot.glb", {}, new AbortController().signal);
            const moved = [...body.clips].map(([name, { clip, loop }]) => [name, clip.tracks.length > 20, loop]);
            const { view } = body;
            body.dispose();
            return [moved, view.height > 1 && view.height < 3];
        }"""
    )
    loops = {"idle", "thinking", "talk_calm", "talk_explain"}
    assert clips == [[[name, True, name in loops] for name in NINE], True]
    assert complaints == []


def test_a_model_without_clips_breathes_and_nods(page: Page) -> None:
    mount_drawn(page, kind="model", url="/box.glb")
    names = page.evaluate(
        """async () => {
            const { loadModel } = await avatarParts.load.model();
            const body = await loadModel("/box.glb", {}, new AbortController().signal);
            return [...body.clips.values()].map(({ clip }) => [clip.name, clip.tracks.length, clip.validate()]);
        }"""
    )
    assert names == [[name, 2, True] for name in NINE]
    draws(page)


def test_images_inside_a_model_need_no_leave_of_the_csp(page: Page, complaints: list[str]) -> None:
    mount_drawn(page, kind="model", url="/textured.glb")
    assert any(abs(r - 220) < 8 and abs(g - 30) < 8 and abs(b - 40) < 8 and a == 255 for r, g, b, a in colours_of(page))
    assert complaints == []


def test_a_vrm_shows_moods_blinks_speaks_and_hangs_its_arms(page: Page, complaints: list[str]) -> None:
    assert mount_drawn(page, kind="model", url="/figure.vrm")[-1] == ["low", "setting"]
    found = page.evaluate(
        """async () => {
            const { loadModel } = await avatarParts.load.model();
            const body = await loadModel("/figure.vrm", {}, new AbortController().signal);
            let face;
            body.root.traverse((object) => { if (object.morphTargetDictionary?.happy !== undefined) face = object; });
            const shown = (mouth, blink) => {
                for (let i = 0; i < 90; i++) body.layer({ dt: 1 / 60, mouth, blink, gazeX: 1, gazeY: 0 });
                const of = (name) => Math.round(10 * face.morphTargetInfluences[face.morphTargetDictionary[name]]);
                return ["happy", "surprised", "blink", "aa"].map(of);
            };
            const shut = { open: 0, round: 0 };
            body.start("idle", false);
            const idle = shown(shut, 0);
            body.start("happy", false);
            const happy = shown(shut, 1);
            body.start("confused", false);
            const confused = shown(shut, 0);
            body.start("talk_calm", false);
            const talking = shown({ open: 0.8, round: 0 }, 1);
            const turned = [...body.clips].filter(([, { clip }]) => clip.tracks.length === 6).length;
            return { idle, happy, confused, talking, turned, height: body.view.height };
        }"""
    )
    # In tenths: happy, surprised, blink, aa. A face that laughs does not blink.
    assert found["idle"] == [0, 0, 0, 0]
    assert found["happy"] in ([8, 0, 0, 0], [9, 0, 0, 0])
    assert found["confused"][0] == 0
    assert found["confused"][1] >= 8
    assert found["talking"] == [0, 0, 10, 8]
    assert found["turned"] == len(NINE)
    assert 0.3 < found["height"] < 1.0, "head and shoulders, not the whole figure"
    assert complaints == []
