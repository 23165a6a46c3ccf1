// Shows one page of the documentation that ships with the product: /guide/how-to/back-up renders /guide/how-to/back-up.md.

import { parse, render } from "./markdown.js";

const slugOf = (text) =>
  text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s-]/gu, "")
    .trim()
    .replaceAll(/\s+/g, "-");

async function main() {
  const page = document.getElementById("page");
  const path = location.pathname.replace(/\/+$/, "").replace(/^\/guide$/, "/guide/README");
  try {
    const reply = await fetch(`${path}.md`);
    if (!reply.ok) throw new Error(reply.status === 404 ? "There is no such page." : `HTTP ${reply.status}`);
    const text = (await reply.text()).replaceAll(/<!--[\s\S]*?-->/g, "");
    const base = new URL(`${path}.md`, location.origin).href;
    page.replaceChildren(render(document, parse(text), { breaks: false, base, headingOffset: 0 }));
    for (const picture of page.querySelectorAll("img")) picture.src = picture.src.replace("/guide/docs/", "/guide/");
    for (const heading of page.querySelectorAll("h1, h2, h3")) heading.id = slugOf(heading.textContent);
    for (const link of page.querySelectorAll("a")) {
      // Links between pages name the Markdown file; here they lead to its page.
      if (link.origin === location.origin) link.pathname = link.pathname.replace(/\.md$/, "").replace("/guide/docs/", "/guide/");
    }
    document.title = `${page.querySelector("h1")?.textContent ?? "Guide"} · chatwright`;
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  } catch (error) {
    page.textContent = `This page could not be shown. ${error.message}`;
  } finally {
    page.removeAttribute("aria-busy");
  }
}

main();
