// A safe subset of Markdown. `parse` is pure (text -> tree); `render` builds DOM nodes with textContent only, so no
// answer of a model can become markup. Links: http, https and mailto; anything else shows as plain text.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])\s*(?:\1\s*){2,}$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-{1,}:?\s*(?:\|\s*:?-{1,}:?\s*)*\|?\s*$/;
const MAX_DEPTH = 6;
const SPAN_AT_MOST = 2000;

/** Whether a link target may be followed. `base` set: relative targets of our own pages are allowed too. */
export function safeHref(href, base) {
  try {
    const url = base ? new URL(href, base) : new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** Read Markdown into a tree of blocks: {t:"p"|"h"|"pre"|"ul"|"ol"|"quote"|"table"|"hr", …}. Never throws. */
export function parse(text) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}

function blocks(lines, depth) {
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const fence = FENCE.exec(line);
    if (fence) {
      const body = [];
      at += 1;
      // An unclosed fence runs to the end: that is what a half-streamed answer looks like.
      while (at < lines.length && !lines[at].trim().startsWith(fence[1])) body.push(lines[at++]);
      at += 1;
      out.push({ t: "pre", lang: fence[2], text: body.join("\n") });
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      out.push({ t: "h", level: heading[1].length, c: inline(heading[2]) });
      at += 1;
      continue;
    }
    if (RULE.test(line)) {
      out.push({ t: "hr" });
      at += 1;
      continue;
    }
    if (/^ {0,3}>/.test(line) && depth < MAX_DEPTH) {
      const body = [];
      while (at < lines.length && /^ {0,3}>/.test(lines[at])) body.push(lines[at++].replace(/^ {0,3}> ?/, ""));
      out.push({ t: "quote", c: blocks(body, depth + 1) });
      continue;
    }
    if (line.includes("|") && at + 1 < lines.length && TABLE_RULE.test(lines[at + 1]) && lines[at + 1].includes("-")) {
      const head = cells(line);
      at += 2;
      const rows = [];
      while (at < lines.length && lines[at].trim() && lines[at].includes("|")) rows.push(cells(lines[at++]));
      out.push({ t: "table", head: head.map(inline), rows: rows.map((row) => row.map(inline)) });
      continue;
    }
    if (ITEM.test(line) && depth < MAX_DEPTH) {
      const [list, next] = listAt(lines, at, depth);
      out.push(list);
      at = next;
      continue;
    }
    const body = [];
    while (at < lines.length && lines[at].trim() && !(body.length > 0 && startsBlock(lines[at]))) body.push(lines[at++].trim());
    out.push({ t: "p", c: inline(body.join("\n")) });
  }
  return out;
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || /^ {0,3}>/.test(line) || ITEM.test(line);
}

function listAt(lines, start, depth) {
  const first = ITEM.exec(lines[start]);
  const indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  const items = [];
  let at = start;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (!item || item[1].length !== indent || /\d/.test(item[2]) !== ordered) break;
    const body = [item[3]];
    const inner = item[1].length + item[2].length + 1;
    at += 1;
    while (at < lines.length) {
      const line = lines[at];
      const width = line.length - line.trimStart().length;
      if (!line.trim()) {
        // A blank line belongs to the item only when an indented line follows.
        const next = lines[at + 1];
        if (next === undefined || !next.trim() || next.length - next.trimStart().length <= indent) break;
        body.push("");
      } else if (width > indent) {
        body.push(line.slice(Math.min(width, inner)));
      } else if (startsBlock(line)) {
        break;
      } else {
        body.push(line.trim());
      }
      at += 1;
    }
    items.push(blocks(body, depth + 1));
    // Blank lines between items do not end the list.
    let ahead = at;
    while (ahead < lines.length && !lines[ahead].trim()) ahead += 1;
    const following = ahead < lines.length ? ITEM.exec(lines[ahead]) : null;
    if (following && following[1].length === indent && /\d/.test(following[2]) === ordered) at = ahead;
  }
  return [{ t: ordered ? "ol" : "ul", start: ordered ? Number.parseInt(first[2], 10) : 1, items }, at];
}

function cells(line) {
  // `\|` and a bar inside a code span are text, not a border.
  const out = [];
  let cell = "";
  let code = false;
  const body = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  for (let at = 0; at < body.length; at += 1) {
    if (body[at] === "\\" && body[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (body[at] === "|" && !code) {
      out.push(cell.trim());
      cell = "";
    } else {
      if (body[at] === "`") code = !code;
      cell += body[at];
    }
  }
  out.push(cell.trim());
  return out;
}

/** Read one run of text: strings and {t:"b"|"i"|"s"|"code"|"a"|"cite"|"br", …}. */
export function inline(text, depth = 0) {
  const out = [];
  let plain = "";
  const flush = () => {
    if (plain) out.push(plain);
    plain = "";
  };
  const push = (node) => {
    flush();
    out.push(node);
  };
  let at = 0;
  while (at < text.length) {
    const char = text[at];
    if (char === "\\" && at + 1 < text.length && /[\\`*_{}[\]()#+\-.!|<>~]/.test(text[at + 1])) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (char === "\n") {
      push({ t: "br" });
      at += 1;
      continue;
    }
    if (char === "`") {
      const ticks = /^`+/.exec(text.slice(at, at + 8))[0];
      const end = text.indexOf(ticks, at + ticks.length);
      if (end > 0) {
        push({ t: "code", text: text.slice(at + ticks.length, end).replace(/^ (.+) $/, "$1") });
        at = end + ticks.length;
        continue;
      }
    }
    if (depth < MAX_DEPTH && (char === "*" || char === "_" || char === "~")) {
      const span = emphasis(text, at, depth);
      if (span) {
        push(span.node);
        at = span.next;
        continue;
      }
    }
    if (char === "!" && text[at + 1] === "[") {
      // A picture becomes a link to it: loading one that a model names would tell its server about the visitor.
      const picture = linkAt(text, at + 1, depth);
      if (picture) {
        push({ ...picture.node, picture: true });
        at = picture.next;
        continue;
      }
    }
    if (char === "[") {
      const cite = /^\[(\d{1,3})\](?!\()/.exec(text.slice(at, at + 6));
      if (cite) {
        push({ t: "cite", n: Number.parseInt(cite[1], 10) });
        at += cite[0].length;
        continue;
      }
      const link = linkAt(text, at, depth);
      if (link) {
        push(link.node);
        at = link.next;
        continue;
      }
    }
    if (char === "<") {
      const auto = /^<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/.exec(text.slice(at, at + 2010));
      if (auto) {
        push({ t: "a", href: auto[1], c: [auto[1].replace(/^mailto:/, "")] });
        at += auto[0].length;
        continue;
      }
    }
    if (char === "h" && (at === 0 || !/\w/.test(text[at - 1]))) {
      const bare = /^https?:\/\/[^\s<>"'`\]]{1,2000}/.exec(text.slice(at, at + 2010));
      if (bare) {
        let url = bare[0].replace(/[.,;:!?*_]+$/, "");
        if (url.endsWith(")") && !url.includes("(")) url = url.slice(0, -1).replace(/[.,;:!?]+$/, "");
        push({ t: "a", href: url, c: [url] });
        at += url.length;
        continue;
      }
    }
    plain += char;
    at += 1;
  }
  flush();
  return out;
}

function emphasis(text, at, depth) {
  const char = text[at];
  const double = text[at + 1] === char;
  if (char === "~" && !double) return null;
  const mark = double ? char + char : char;
  const from = at + mark.length;
  if (from >= text.length || /\s/.test(text[from])) return null;
  if (char === "_" && at > 0 && /\w/.test(text[at - 1])) return null;
  let end = text.indexOf(mark, from + 1);
  while (end > 0 && end - from <= SPAN_AT_MOST) {
    if (double && text[end + 2] === char) end += 1; // "***" closes the inner mark first
    const after = text[end + mark.length];
    const inDouble = !double && (after === char || text[end - 1] === char);
    if (!/\s/.test(text[end - 1]) && !inDouble && !(char === "_" && after !== undefined && /\w/.test(after))) break;
    end = text.indexOf(mark, end + (inDouble ? 2 : 1));
  }
  if (end <= 0 || end - from > SPAN_AT_MOST) return null;
  const kind = char === "~" ? "s" : double ? "b" : "i";
  return { node: { t: kind, c: inline(text.slice(from, end), depth + 1) }, next: end + mark.length };
}

function linkAt(text, at, depth) {
  if (depth >= MAX_DEPTH) return null;
  const middle = text.indexOf("](", at);
  if (middle < 0 || middle - at > 500 || text.slice(at + 1, middle).includes("\n\n")) return null;
  let end = middle + 2;
  for (let open = 1; end < text.length && end - middle < 2000; end += 1) {
    if (text[end] === "(") open += 1;
    else if (text[end] === ")" && --open === 0) break;
  }
  if (text[end] !== ")") return null;
  const target = text.slice(middle + 2, end).trim();
  const href = /^<?([^\s<>]+)>?(?:\s+["'(].*)?$/.exec(target);
  if (!href) return null;
  return { node: { t: "a", href: href[1], c: inline(text.slice(at + 1, middle), depth + 1) }, next: end + 1 };
}

const SPANS = { b: "strong", i: "em", s: "s" };

/**
 * Build nodes for a tree of `parse`.
 * `cite(n)` returns a node for a citation mark or null (then it shows as text); `breaks` keeps single line ends;
 * `base` allows links relative to it; `headingOffset` moves headings down so that they fit the page's outline.
 */
export function render(doc, tree, { cite = () => null, breaks = true, base = null, headingOffset = 2 } = {}) {
  const spans = (list) => list.map((node) => span(node));
  const element = (name, children) => {
    const made = doc.createElement(name);
    made.append(...children);
    return made;
  };
  const span = (node) => {
    if (typeof node === "string") return doc.createTextNode(node);
    switch (node.t) {
      case "br":
        return breaks ? doc.createElement("br") : doc.createTextNode(" ");
      case "code":
        return element("code", [node.text]);
      case "cite":
        return cite(node.n) ?? doc.createTextNode(`[${node.n}]`);
      case "a": {
        const href = safeHref(node.href, base);
        if (!href) return element("span", spans(node.c));
        if (node.picture && base && new URL(href).origin === new URL(base).origin) {
          const picture = doc.createElement("img");
          picture.src = href;
          picture.alt = node.c.filter((part) => typeof part === "string").join("");
          return picture;
        }
        const link = element("a", spans(node.c));
        link.href = href;
        if (!base || new URL(href).origin !== new URL(base).origin) {
          link.rel = "noopener noreferrer nofollow";
          link.target = "_blank";
        }
        return link;
      }
      default:
        return element(SPANS[node.t], spans(node.c));
    }
  };
  const block = (node) => {
    switch (node.t) {
      case "p":
        return element("p", spans(node.c));
      case "h":
        return element(`h${Math.min(6, node.level + headingOffset)}`, spans(node.c));
      case "pre": {
        const pre = element("pre", [element("code", [node.text])]);
        pre.tabIndex = 0;
        if (node.lang) pre.dataset.lang = node.lang;
        return pre;
      }
      case "ul":
      case "ol": {
        const list = element(node.t, node.items.map((item) => element("li", tight(item))));
        if (node.t === "ol" && node.start !== 1) list.start = node.start;
        return list;
      }
      case "quote":
        return element("blockquote", node.c.map(block));
      case "table": {
        const row = (name, list) => element("tr", list.map((cell) => element(name, spans(cell))));
        const head = element("thead", [row("th", node.head)]);
        const table = element("table", [head, element("tbody", node.rows.map((cellsOfRow) => row("td", cellsOfRow)))]);
        const frame = element("div", [table]);
        frame.className = "table";
        return frame;
      }
      default:
        return doc.createElement("hr");
    }
  };
  // One paragraph in a list item needs no <p> around it.
  const tight = (item) => item.flatMap((node, index) => (node.t === "p" && index === 0 ? spans(node.c) : [block(node)]));
  const fragment = doc.createDocumentFragment();
  fragment.append(...tree.map(block));
  return fragment;
}
