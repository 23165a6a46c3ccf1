/** As much of a DOM as `markdown.ts` draws with: nodes that can be counted and written out, without a browser. */

class PaperNode {
  parent: PaperElement | null = null;

  get firstChild(): PaperNode | null {
    return null;
  }

  remove(): void {
    this.parent?.removeChild(this);
  }

  replaceWith(other: PaperNode): void {
    const { parent } = this;
    if (!parent) return;
    other.remove();
    parent.childNodes[parent.childNodes.indexOf(this)] = other;
    other.parent = parent;
    this.parent = null;
  }
}

export class PaperText extends PaperNode {
  readonly nodeType = 3;
  data: string;

  constructor(data: string) {
    super();
    this.data = data;
  }

  get length(): number {
    return this.data.length;
  }

  get textContent(): string {
    return this.data;
  }

  appendData(more: string): void {
    this.data += more;
  }
}

export class PaperElement extends PaperNode {
  readonly nodeType = 1;
  readonly childNodes: PaperNode[] = [];
  readonly attributes = new Map<string, string>();
  readonly dataset: Record<string, string> = {};
  readonly name: string;
  className = "";
  dir = "";
  role = "";
  ariaLabel = "";
  tabIndex = -1;

  constructor(name: string) {
    super();
    this.name = name;
  }

  readonly classList = {
    contains: (one: string): boolean => this.className.split(" ").includes(one),
    toggle: (one: string, on: boolean): void => {
      const others = this.className.split(" ").filter((known) => known !== one && known !== "");
      this.className = [...others, ...(on ? [one] : [])].join(" ");
    },
  };

  override get firstChild(): PaperNode | null {
    return this.childNodes[0] ?? null;
  }

  get textContent(): string {
    return this.childNodes.map((child) => (child as PaperText | PaperElement).textContent).join("");
  }

  set textContent(text: string) {
    this.replaceChildren(...(text === "" ? [] : [text]));
  }

  append(...children: (PaperNode | string)[]): void {
    for (const child of children) {
      const node = typeof child === "string" ? new PaperText(child) : child;
      node.remove();
      node.parent = this;
      this.childNodes.push(node);
    }
  }

  replaceChildren(...children: (PaperNode | string)[]): void {
    for (const child of this.childNodes.splice(0)) child.parent = null;
    this.append(...children);
  }

  removeChild(child: PaperNode): void {
    // From the end: that is where a growing text changes.
    this.childNodes.splice(this.childNodes.lastIndexOf(child), 1);
    child.parent = null;
  }

  setAttribute(name: string, value: string): void {
    this.attributes.set(name, value);
  }

  /** Of selectors it knows "[data-cite]", with ":not(.cited)" or without. */
  querySelectorAll(selector: string): PaperElement[] {
    const found: PaperElement[] = [];
    for (const child of this.childNodes) {
      if (!(child instanceof PaperElement)) continue;
      if (child.dataset["cite"] !== undefined && !(selector.endsWith(":not(.cited)") && child.classList.contains("cited"))) found.push(child);
      found.push(...child.querySelectorAll(selector));
    }
    return found;
  }

  /** Everything that is to be seen, texts that touch as one. */
  get written(): string {
    const { name, className, dir, role, ariaLabel, tabIndex, dataset } = this;
    const said = JSON.stringify([className, dir, role, ariaLabel, tabIndex, dataset, [...this.attributes]]);
    return `<${name} ${said}>${this.childNodes.map((child) => (child instanceof PaperElement ? child.written : (child as PaperText).data)).join("")}</${name}>`;
  }
}

/** A document and how many nodes it has made. */
export class Paper {
  made = 0;

  createElement(name: string): PaperElement {
    this.made += 1;
    return new PaperElement(name);
  }

  createTextNode(text: string): PaperText {
    this.made += 1;
    return new PaperText(text);
  }
}
