/** Style sheets by script: a strict CSP allows them, and all panels of a page share them. */

const made = new Map<string, CSSStyleSheet>();

/** Have `root` follow the rules of `css`, once. */
export function adopt(root: ShadowRoot, css: string): void {
  const sheet = made.get(css) ?? new CSSStyleSheet();
  if (!made.has(css)) sheet.replaceSync(css);
  made.set(css, sheet);
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
}
