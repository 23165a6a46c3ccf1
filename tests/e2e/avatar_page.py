"""The avatar alone on a page, drawn by software: the page, what it is served with, and the hand that works it.

Used by `test_widget_avatar.py` and `test_widget_models.py`. The page is `widget/tests/avatar/page.ts`, built here; it is served
under a CSP as strict as a host page's can be. `page` opens it, `complaints` lists script errors and breaches of that CSP.
"""

import http.server
import subprocess
import threading
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.e2e.widget_models import box_glb, minimal_vrm, textured_glb
from tests.e2e.widget_node import WIDGET, need_node, need_packages

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' http://localhost:*"
PAGE = b"""<!doctype html><meta charset=utf-8><link rel=stylesheet href=/page.css><div id=box></div><div id=deep></div>
<script type=module src=/page.js></script>"""
STYLES = b"body{margin:0;background:#fff}#box{width:360px;height:240px}#deep{height:3000px}"
COLORS = {"shell": "#f3f5fb", "accent": "#5b6cff", "glass": "#141a33", "glow": "#7df3ff"}
WITHIN_S = 30.0

# Counts the frames that WebGL draws: three.js clears once for each.
COUNT_FRAMES = """
    globalThis.frames3d = 0;
    const clear = WebGL2RenderingContext.prototype.clear;
    WebGL2RenderingContext.prototype.clear = function (mask) { globalThis.frames3d += 1; return clear.call(this, mask); };
"""


class Handler(http.server.SimpleHTTPRequestHandler):
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
    need_packages()
    out = tmp_path_factory.mktemp("avatar")
    command = [need_node(), WIDGET / "tests/avatar/build.mjs", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(built), extra=extra))
    thread = threading.Thread(target=server.serve_forever, name="avatar-page", daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def context(chromium: Browser) -> Generator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 360, "height": 240})
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
    until(page, "globalThis.avatarParts !== undefined")
    return page


def until(page: Page, condition: str, within_s: float = WITHIN_S) -> None:
    """Wait until the expression is true; Playwright's own waiting evaluates strings in the page, which its CSP forbids."""
    give_up_at = time.monotonic() + within_s
    while not page.evaluate(condition):
        assert time.monotonic() < give_up_at, f"{condition}: {page.evaluate('globalThis.tiers')}"
        page.wait_for_timeout(40)


def mount(page: Page, *, kind: str = "robot", tier: str = "low", url: str | None = None, reduced: bool = False) -> None:
    """Put an avatar into the page as `avatar`; `tiers` lists what onTier was told."""
    config = {"kind": kind, "url": url, "clips": {}, "colors": COLORS, "tier": tier}
    page.evaluate(
        """([config, reducedMotion]) => {
            globalThis.tiers = [];
            const container = document.querySelector("#box");
            const onTier = (tier, reason) => tiers.push([tier, reason]);
            globalThis.avatar = avatarParts.mountAvatar({ container, config, reducedMotion, onTier });
        }""",
        [config, reduced],
    )


def mount_drawn(page: Page, **more: Any) -> list[list[str]]:
    """Mount, and wait until the stage is shown. Returns the tiers so far."""
    mount(page, **more)
    until(page, "['low', 'full'].includes(avatar.tier)")
    until(page, "document.querySelectorAll('#box > *').length === 1")
    return page.evaluate("tiers")


def draws(page: Page) -> None:
    """It goes on drawing, however slowly."""
    before = page.evaluate("frames3d")
    until(page, f"frames3d > {before + 3}")


def drawn_frames(page: Page, for_ms: int = 600) -> int:
    before = page.evaluate("frames3d")
    page.wait_for_timeout(for_ms)
    return page.evaluate("frames3d") - before


def wait_still(page: Page) -> int:
    """Until nothing was drawn for a while. Returns how many frames were drawn before."""
    give_up_at = time.monotonic() + WITHIN_S
    while drawn_frames(page) > 0:
        assert time.monotonic() < give_up_at, "it goes on drawing"
    return page.evaluate("frames3d")
