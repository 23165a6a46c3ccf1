// Elements without markup: text goes in as text nodes. And the few small ones that several rooms draw.

const SVG = "http://www.w3.org/2000/svg";
const count = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** An element with attributes and children; "" is no child. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function drawn(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function icon(name) {
  return drawn("svg", { class: "icon", "aria-hidden": "true" }, drawn("use", { href: `/assets/icons.svg#${name}` }));
}

export function button(words, press, kind = "") {
  const made = make("button", { class: `button small ${kind}`, type: "button" }, words);
  made.addEventListener("click", () => press(made));
  return made;
}

/** Words for those who hear the page, where others see it. */
export function unseen(words) {
  return make("span", { class: "visually-hidden" }, words);
}

/** One of the figures at the head of a room: its name, a value, and small words below it. */
export function figure(name, value, about = "") {
  return make("div", { class: "sheet" }, make("dt", {}, name), make("dd", {}, value, about ? make("small", {}, about) : ""));
}

export function when(text) {
  return make("time", { datetime: text }, moment.format(new Date(text)));
}

export function number(value) {
  return count.format(value);
}

/** "1 answer", "2 answers". */
export function several(value, noun) {
  return `${count.format(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function percent(share, digits = 0) {
  return `${(share * 100).toFixed(digits)} %`;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== ""));
  return element;
}
