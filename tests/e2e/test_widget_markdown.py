"""Answers as they grow, in a real browser: the end is that of the whole text, and what was finished stays as it is."""

import random
from typing import TYPE_CHECKING

from tests.e2e.test_widget_xss import markdown_module, page
from tests.e2e.widget_support import browser_marks

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["markdown_module", "page"]  # fixtures

pytestmark = browser_marks()

PIECES = [
    *(
        "a",
        "word ",
        "**",
        "*",
        "_",
        "`",
        "```",
        "```py\n",
        "~~",
        "[",
        "]",
        "(",
        ")",
        "](https://a.b/c)",
        "[1]",
        "[2][3]",
        "![",
    ),
    *(
        "\n",
        "\n\n",
        "\n- ",
        "\n  - ",
        "\n1. ",
        "\n   ",
        "\n> ",
        "\n>> ",
        "\n# ",
        "\n---\n",
        "\n===\n",
        "\n-",
        "\n1",
        "\n***\n",
    ),
    *(
        "\n| a | b |\n|---|---|\n| 1 | 2 |",
        "|",
        "\n    x",
        "\t",
        "<b>",
        "<br>",
        "&amp;",
        "\\",
        "https://ex.am/p?q=1 ",
        "a@b.cd ",
    ),
    *("é", "中文", "\u202e", "- [ ] x", "- [x] y", "!", "\n~~~\n", "  \n", "\r\n"),
]

GROW = """async ([texts, seed]) => {
  const { createMarkdown } = await import("/xss/entry.js");
  performance.now = () => 0;
  let state = seed;
  const random = () => (state = (state * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff;
  const cite = (n) => n > 9 ? null : Object.assign(document.createElement("button"), { textContent: n });
  const make = () => createMarkdown({ document, images: false, cite });
  const faults = [];
  let looked = 0;
  for (const text of texts) {
    const [whole, grown] = [document.createElement("div"), document.createElement("div")];
    (await make()).update(whole, text, true);
    const markdown = await make();
    const size = 1 + random() * (random() < 0.5 ? 4 : 60);
    for (let end = 0; end < text.length;) {
      end = Math.min(text.length, end + 1 + Math.floor(random() * size));
      markdown.update(grown, text.slice(0, end), false);
      if (random() < 0.3) {
        const fresh = document.createElement("div");
        (await make()).update(fresh, text.slice(0, end), false);
        looked += 1;
        if (fresh.innerHTML !== grown.innerHTML) faults.push(["between", text.slice(0, end), fresh.innerHTML, grown.innerHTML]);
      }
    }
    markdown.update(grown, text, true);
    if (grown.innerHTML !== whole.innerHTML) faults.push(["end", text, whole.innerHTML, grown.innerHTML]);
  }
  return [looked, faults.slice(0, 3)];
}"""


def test_the_result_does_not_depend_on_how_a_text_came(page: "Page", markdown_module: str) -> None:
    page.goto(markdown_module)
    chance = random.Random(90_210)
    texts = ["".join(chance.choice(PIECES) for _ in range(chance.randint(5, 60))) for _ in range(250)]
    looked, faults = page.evaluate(GROW, [texts, 7])
    assert faults == []
    assert looked > 1_000


def test_finished_blocks_and_a_selection_in_them_stay(page: "Page", markdown_module: str) -> None:
    page.goto(markdown_module)
    result = page.evaluate(
        """async () => {
          const { createMarkdown } = await import("/xss/entry.js");
          performance.now = () => 0;
          const markdown = await createMarkdown({ document, images: false, cite: () => null });
          const box = document.createElement("div");
          document.body.append(box);
          const text = "First *one* here.\\n\\n- item **a**\\n- item b\\n\\n```js\\nlet x = 1;\\nlet y = 2;\\n```\\n\\nLast words of it.";
          markdown.update(box, text.slice(0, 24), false);
          const first = box.firstElementChild;
          getSelection().selectAllChildren(first);
          let item = null, code = null;
          for (let end = 25; end <= text.length; end += 3) {
            markdown.update(box, text.slice(0, end), false);
            item ??= box.querySelector("li");
            code ??= box.querySelector("code")?.firstChild ?? null;
          }
          markdown.update(box, text, true);
          return [first === box.firstElementChild, String(getSelection()), item === box.querySelector("li"), code === box.querySelector("pre code").firstChild];
        }"""
    )
    assert result == [True, "First one here.", True, True]


def test_citations_come_when_their_sources_are_known(page: "Page", markdown_module: str) -> None:
    page.goto(markdown_module)
    result = page.evaluate(
        """async () => {
          const { createMarkdown } = await import("/xss/entry.js");
          let known = 0;
          const cite = (n) => n > known ? null : Object.assign(document.createElement("button"), { textContent: `source ${n}` });
          const markdown = await createMarkdown({ document, images: false, cite });
          const box = document.createElement("div");
          const text = "One [1], [2](https://x.invalid) and [3].\\n\\nTwo [1, 2].\\n\\n`[1]` \\\\[1\\\\]";
          markdown.update(box, text, false);
          const before = box.querySelectorAll("button").length;
          known = 2;
          markdown.update(box, text, true);
          const first = box.querySelector("button");
          markdown.update(box, text, true);
          return [before, first === box.querySelector("button"), box.innerText, box.querySelectorAll("a").length];
        }"""
    )
    before, kept, text, links = result
    assert before == 0
    assert kept, "a button that has the focus stays"
    assert text.replace("\n", "") == "One source 1, source 2 and [3].Two source 1source 2.[1] [1]"
    assert links == 0, "a citation's address is its source's"
