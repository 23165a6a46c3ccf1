/** Shades of the accent that can be read: any colour may be an accent, and every text has to stand out. Pure. */

import { contrast, inkOn } from "../embed/colors.ts";

/** Backgrounds of the panel, "#rrggbb"; `panel.css` has the same. */
export const LIGHT_BACK = "#ffffff";
export const DARK_BACK = "#151a26";
/** The surface of answers and buttons, a little away from the background: text has to be read on it, too. */
export const LIGHT_SURFACE = "#eef1f7";
export const DARK_SURFACE = "#262d3f";

const ENOUGH = 4.6;

function mix(hex: string, other: string, share: number): string {
  const part = (at: number): string => {
    const [a, b] = [parseInt(hex.slice(at, at + 2), 16), parseInt(other.slice(at, at + 2), 16)];
    return Math.round(a + (b - a) * share)
      .toString(16)
      .padStart(2, "0");
  };
  return `#${part(1)}${part(3)}${part(5)}`;
}

/** `accent` ("#rrggbb"), moved towards black or white just so far that it can be read as text on all of `backs`. */
export function readable(accent: string, backs: readonly string[], towards: string): string {
  for (let share = 0; share < 1; share += 0.05) {
    const shade = mix(accent, towards, share);
    if (backs.every((back) => contrast(shade, back) >= ENOUGH)) return shade;
  }
  return towards;
}

/** The accent as a colour of text in both schemes. */
export function inks(accent: string): { light: string; dark: string } {
  return {
    light: readable(accent, [LIGHT_BACK, LIGHT_SURFACE], "#000000"),
    dark: readable(accent, [DARK_BACK, DARK_SURFACE], "#ffffff"),
  };
}

/** The accent as a surface, and the text on it. Of middling greys neither white nor black stands out enough: those get darker. */
export function solid(accent: string): { back: string; text: string } {
  let back = accent;
  for (let share = 0.03; contrast(back, inkOn(back)) < ENOUGH && share < 1; share += 0.03) back = mix(accent, "#000000", share);
  return { back, text: inkOn(back) };
}

/** The shades of an accent as CSS variables of the panel. */
export function variables(accent: string): Record<string, string> {
  const { light, dark } = inks(accent);
  const { back, text } = solid(accent);
  return { "--ink-light": light, "--ink-dark": dark, "--solid": back, "--on-solid": text };
}
