/** The accent as a number, and what can be read on it. */

const DARK = "#0e1420";
const WHITE = "#ffffff";

let canvas: CanvasRenderingContext2D | null = null;

/** A CSS colour (name, #rgb, rgb(), hsl() …) as "#rrggbb"; null if it is none, or not one of sRGB's opaque ones. */
export function toHex(text: string | null): string | null {
  const color = text?.trim();
  if (!color || !CSS.supports("color", color)) return null;
  canvas ??= document.createElement("canvas").getContext("2d");
  if (!canvas) return null;
  canvas.fillStyle = color; // reads back as the browser understood it
  return /^#.{6}$/.test(canvas.fillStyle) ? canvas.fillStyle : null;
}

/** WCAG's relative luminance of "#rrggbb", 0..1. */
export function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const share = parseInt(hex.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG's contrast of two "#rrggbb", 1..21. */
export function contrast(a: string, b: string): number {
  const [first, second] = [luminance(a) + 0.05, luminance(b) + 0.05];
  return Math.max(first / second, second / first);
}

/** White where it reads well enough on `hex` (4.5), else whichever of white and near-black reads better. */
export function inkOn(hex: string): string {
  return contrast(hex, WHITE) >= Math.min(4.5, contrast(hex, DARK)) ? WHITE : DARK;
}
