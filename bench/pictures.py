"""`python -m bench.pictures`: the pictures of the demo page and the widget in docs/images, drawn anew.

Needs a running `make up` and Chromium. Each picture is a visit of its own: a question is asked by the keyboard, and the picture
is taken once the answer is whole and the avatar has come to rest.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from bench.browser import ARGUMENTS, CHROMIUM, MISSING

QUESTION = "What happens if a worker crashes?"
ANSWER_WITHIN_MS = 60_000
STAGE_WITHIN_MS = 60_000
# The stage has come in behind the face, and the last animation has played: it is told when it begins and lasts three seconds at most.
AT_REST = "() => ['full', 'low'].includes(globalThis.tier) && performance.now() - globalThis.toldMs > 3_500"
TELL = """
addEventListener("chatwright:tier", (event) => { globalThis.tier = event.detail.tier; globalThis.toldMs = performance.now(); }, true);
addEventListener("chatwright:animation", () => { globalThis.toldMs = performance.now(); }, true);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One visit, without motion, so that pictures repeat. `attributes` go to the element before it is opened."""

    name: str
    width: int = 1280
    height: int = 800
    scale: float = 1.0
    scheme: str = "light"
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    question: str | None = QUESTION
    is_phone: bool = False
    only_panel: bool = False


PICTURES = (
    Picture(name="demo"),
    Picture(name="widget-light", only_panel=True, scale=1.5),
    Picture(name="widget-dark", only_panel=True, scale=1.5, scheme="dark"),
    Picture(name="widget-greeting", only_panel=True, scale=1.5, question=None),
    Picture(name="widget-rtl", only_panel=True, scale=1.5, attributes={"locale": "ar"}, question=None),
    Picture(name="widget-phone", width=375, height=667, scale=1.5, is_phone=True),
)


def take(browser: Browser, base_url: str, picture: Picture, folder: Path) -> Path:
    """Returns the file."""
    options: dict[str, Any] = {"is_mobile": True, "has_touch": True} if picture.is_phone else {}
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        device_scale_factor=picture.scale,
        color_scheme="dark" if picture.scheme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-US",
        **options,
    )
    page = context.new_page()
    page.add_init_script(TELL)
    page.goto(f"{base_url}/demo")
    element = page.locator("chatwright-chat").first
    for name, value in picture.attributes.items():
        element.evaluate("(one, pair) => one.setAttribute(pair[0], pair[1])", [name, value])
    element.locator("[part~=launcher]").first.click()
    panel = element.locator("section[part~=panel]")
    panel.wait_for(state="visible")
    if picture.question is not None:
        _ask(page, panel, picture.question)
    page.wait_for_function(AT_REST, timeout=STAGE_WITHIN_MS)
    file = folder / f"{picture.name}.png"
    target = panel if picture.only_panel else page
    target.screenshot(path=file, timeout=ANSWER_WITHIN_MS)
    context.close()
    return file


def _ask(page: Page, panel: Any, question: str) -> None:
    page.evaluate(
        "() => { window.done = false; document.addEventListener('chatwright:answered', () => { window.done = true; }); }"
    )
    box = panel.get_by_role("textbox").first
    box.fill(question)
    box.press("Enter")
    page.wait_for_function("() => window.done", timeout=ANSWER_WITHIN_MS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080", help="of a running `make up`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    parser.add_argument("names", nargs="*", help="of the pictures; none: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {picture.name for picture in PICTURES}:
        parser.error(
            f"no picture is called {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in PICTURES)}"
        )
    if CHROMIUM is None:
        sys.exit(MISSING)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for picture in PICTURES:
            if not arguments.names or picture.name in arguments.names:
                print(take(browser, arguments.base_url, picture, arguments.out))
        browser.close()


if __name__ == "__main__":
    main()
