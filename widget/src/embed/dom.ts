/** Making elements without markup: host pages may forbid it (Trusted Types), and nothing here is ever parsed. */

type Attributes = Readonly<Record<string, string | number>>;

function fill<E extends Element>(element: E, attributes: Attributes, children: readonly (Node | string)[]): E {
  for (const name in attributes) element.setAttribute(name, String(attributes[name]));
  element.append(...children);
  return element;
}

export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** The robot's face in a few thick strokes; its colours and its blink come from launcher.css. */
export function tinyFace(): SVGSVGElement {
  const stroke = (name: string, width: number, d: string): SVGPathElement => svg("path", { class: name, "stroke-width": width, d });
  return svg(
    "svg",
    { class: "cw-face", viewBox: "0 0 60 60", "aria-hidden": "true" },
    stroke("cw-ear", 2.6, "M30 13V8"),
    stroke("cw-glow", 7, "M30 6.500h.01"),
    stroke("cw-ear", 8, "M7 29v6M53 29v6"),
    stroke("cw-shell", 34, "M24 29h12v6H24z"),
    stroke("cw-glass", 24, "M25 30h10v3H25z"),
    svg("g", {}, stroke("cw-glow cw-eyes", 7, "M23.500 26.500v4M36.500 26.500v4"), stroke("cw-glow", 2.6, "M25.500 38q4.500 3.600 9 0")),
  );
}

export function icon(path: string): SVGSVGElement {
  return svg("svg", { class: "cw-icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: path }));
}
