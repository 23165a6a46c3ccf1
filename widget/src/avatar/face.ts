/**
 * The robot as SVG: shown at once while the 3D stage loads, and for good where it cannot run (tier "2d"). Same proportions as the 3D
 * robot in a window of the same size, so that one can take the other's place. No three.js here; called by `index.ts`.
 *
 * The states are rules of `face.css` for the `class` of the drawing: this file draws every part once and names the state.
 */

import type { AvatarColors } from "../config.ts";
import css from "./face.css?inline";
import type { Figure } from "./types.ts";

/** class, outline; or class, children. */
type Part = readonly [name: string, what: string | readonly Part[]];

const round = (name: string, x: number, y: number, r: number, ry = r): Part => [name, `M${x - r} ${y}a${r} ${ry} 0 0 1 ${2 * r} 0a${r} ${ry} 0 0 1 ${-2 * r} 0`];
const star = (name: string, x: number, y: number): Part => [name, `M${x} ${y}l2 8 8 2-8 2-2 8-2-8-8-2 8-2z`];
const box = (name: string, x: number, y: number, w: number, h: number, r: number): Part => [
  name,
  `M${x - w / 2 + r} ${y - h / 2}h${w - 2 * r}q${r} 0 ${r} ${r}v${h - 2 * r}q0 ${r} ${-r} ${r}h${2 * r - w}q${-r} 0 ${-r} ${-r}v${2 * r - h}q0 ${-r} ${r} ${-r}`,
];
const eye = (side: string, x: number): Part => [
  `eye ${side}`,
  [box("l lid", x, 76, 11, 17, 5.5), ["o joy", `M${x - 7} 79q7-12 14 0`], ["o shut", `M${x - 7} 77q7 8 14 0`]],
];
const arm = (side: string, mirrored: string): Part => [mirrored, [[
  `arm ${side}`,
  [
    ["bone", "M0 3V21"],
    round("s", 0, 0, 7.5),
    ["fore", [["s", "M-4 0Q0-3 4 0L9 17Q0 22-9 17Z"], ["hand", [
      ["a flat", "M-6 2Q-8 12-5 19Q0 26 4 19Q6 17 6 13Q10 17 11 13L7 4Q4-1-6 2"],
      ["open", [box("a", 0, 9, 16, 15, 6), ["f", "M-5.4 12L-8 22M0 12V25M5.4 12L8 22M-5 8L-13 12"]]],
      ["fist", [box("a", 1, 10, 20, 17, 7), ["t", "M-4 10V26"], ["n", "M3 7H10M3 12.5H10"]]],
      ["point", [box("a", 0, 9, 16, 14, 6), ["f", "M-3 8V29M-6 7L4 10"]]],
    ]]]],
  ],
]]];

const ROBOT: readonly Part[] = [
  ["bob", [
    ["g", "M92 112H108V122H92Z"],
    ["s", "M100 118C116 118 127 141 127 157C127 173 115 182 100 182S73 173 73 157C73 141 84 118 100 118Z"],
    ["a", "M75 167Q100 177 125 167C121 177 112 182 100 182S79 177 75 167Z"],
    round("a", 100, 120, 12, 3.5),
    box("g", 100, 148, 18, 13, 5),
    ["g", "M93 152L92 158L99 154Z"],
    round("l", 95.5, 148, 1.5), round("l", 100, 148, 1.5), round("l", 104.5, 148, 1.5),
    ["head", [
      ["bone", "M100 46V34"],
      round("l bulb", 100, 31, 5),
      box("a", 54, 81, 9, 31, 4), box("a", 146, 81, 9, 31, 4),
      box("s", 100, 80, 92, 72, 34),
      ["band", "M56 70Q58 43 100 43T144 70"],
      box("g", 100, 80, 74, 51, 20),
      ["gaze", [
        ["eyes", [eye("er", 85), eye("el", 115)]],
        ["o browr", "M80 63Q85 61 90 63"], ["o browl", "M110 63Q115 61 120 63"],
        ["o smile", "M90 90Q100 99 110 90"],
        ["l grin", "M88 88Q100 90 112 88Q110 100 100 100T88 88"],
        ["o flat", "M95 94Q100 91 106 93"],
        ["o wavy", "M89 94Q92 88 95 92T100 92T105 92T111 91"],
        ["l talk", "M92 88Q100 87 108 88Q109 99 100 99T92 88"],
      ]],
    ]],
    arm("r", "R"), arm("", "L"),
  ]],
  ["prop thought", [box("g", 164, 37, 44, 28, 13), round("g", 152, 57, 4.5), round("g", 145, 65, 3), round("l d1", 153, 37, 3.5), round("l d2", 164, 37, 3.5), round("l d3", 175, 37, 3.5)]],
  ["prop ask", [["k", "M151 33A9.5 9.5 0 1 1 163 43Q160 45 160 51"], round("a", 160, 61, 4)]],
  ["prop panel", [box("g", 168, 97, 44, 37, 6), ["o", "M155 86H174"], ["u", "M157 109V104M168 109V98M179 109V92"]]],
  ["prop speech", [["g", "M161 53h16q10 0 10 10v6q0 10-10 10h-14L146 84Q151 78 151 69v-6q0-10 10-10"], ["u d1", "M160 63V69"], ["u d2", "M169 60V72"], ["u d3", "M178 63V69"]]],
  ["prop nods", [["k", "M40 54Q32 74 36 94M29 88L36 95L42 87M160 54Q168 74 164 94M158 87L164 95L171 88"]]],
  ["prop waves", [["k", "M22 84Q19 92 20 101M14 80Q10 92 11 105"]]],
  ["prop sparks", [star("a", 26, 40), star("a", 150, 14), star("l", 174, 42), star("l", 58, 14)]],
];

/** Mounts the drawing as the last child of `container`, which it fills. */
export function mountFace(container: HTMLElement, colors: AvatarColors, reducedMotion: boolean): Figure {
  const page = container.ownerDocument;
  // A shadow root of its own: its rules meet nobody else's, and style sheets made by script pass a strict CSP.
  const host = page.createElement("div");
  host.ariaHidden = "true";
  const root = host.attachShadow({ mode: "open" });
  const Sheet = (page.defaultView ?? window).CSSStyleSheet;
  const sheet = new Sheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  const make = (tag: string): SVGElement => page.createElementNS("http://www.w3.org/2000/svg", tag) as SVGElement;
  const draw = (parts: readonly Part[], into: SVGElement): SVGElement => {
    for (const [name, what] of parts) {
      const part = make(typeof what === "string" ? "path" : "g");
      part.setAttribute("class", name);
      if (typeof what === "string") part.setAttribute("d", what);
      else draw(what, part);
      into.append(part);
    }
    return into;
  };
  const svg = draw(ROBOT, make("svg"));
  svg.setAttribute("viewBox", "0 0 200 200");
  root.append(svg);
  // What the rules go by: the state, and what is added to it.
  let playing = "idle";
  const also = new Set(reducedMotion ? ["still"] : []);
  const show = (): void => svg.setAttribute("class", [playing, ...also].join(" "));
  const toggle = (name: string, on: boolean): void => {
    also[on ? "add" : "delete"](name);
    show();
  };
  let hush: ReturnType<typeof setTimeout> | undefined;
  const set = (name: string, value: string | number): void => svg.style.setProperty(name, `${value}`);
  const figure: Figure = {
    tier: "2d",
    play(name) {
      // A name without rules is drawn as idle, which needs none.
      playing = name;
      show();
    },
    speak(level) {
      if (reducedMotion) return; // the mouth of a talking pose is open
      clearTimeout(hush);
      const loud = level > 0.05;
      toggle("loud", loud);
      if (!loud) return;
      set("--open", Math.min(1, level));
      hush = setTimeout(() => toggle("loud", false), 320);
    },
    look(x, y) {
      set("--x", x);
      set("--y", -y);
    },
    setColors(to) {
      for (const name of ["shell", "accent", "glass", "glow"] as const) set(`--${name}`, to[name]);
    },
    setActive(active) {
      toggle("paused", !active);
    },
    dispose() {
      clearTimeout(hush);
      host.remove();
    },
  };
  figure.setColors(colors);
  figure.play("idle");
  container.append(host);
  return figure;
}
