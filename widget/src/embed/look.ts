/** The page's attributes worked into the chatbot's config, and the config as CSS variables. */

import type { AvatarConfig, AvatarKind, Position, Scheme, TierSetting, WidgetConfig } from "../config.ts";
import { inkOn, toHex } from "./colors.ts";

/** How the launcher looks while the server cannot be asked. */
const PLAIN: Pick<WidgetConfig, "theme" | "avatar"> = {
  theme: { accent: "#4f46e5", scheme: "auto", position: "right", offset_x: 20, offset_y: 20, radius: 20 },
  avatar: { kind: "robot", url: null, clips: {}, tier: "auto", colors: { shell: "#f4f6fb", accent: "#4f46e5", glass: "#141a33", glow: "#7df3ff" } },
};

/** The attributes that `work` reads; observed by the element. */
export const LOOKS = ["scheme", "accent", "position", "avatar", "clips", "tier", "shell", "glass", "glow"] as const;

type Look = Pick<WidgetConfig, "theme" | "avatar">;

/** `config` with what the element's attributes say instead; null: not known yet. Values without sense are passed over. */
export function work<T extends Look>(config: T, element: HTMLElement): T;
export function work(config: null, element: HTMLElement): Look;
export function work(known: Look | null, element: HTMLElement): Look {
  const config = known ?? PLAIN;
  const color = (value: string | null, other: string): string => toHex(value) ?? other;
  const get = (name: (typeof LOOKS)[number]): string | null => element.getAttribute(name);
  const oneOf = <T extends string>(value: string | null, choices: RegExp, other: T): T =>
    value && choices.test(value) ? (value as T) : other;
  const own = getComputedStyle(element).getPropertyValue("--chatwright-accent");
  const accent = color(own, color(get("accent"), config.theme.accent));
  const recolored = accent !== config.theme.accent && config.avatar.colors.accent === config.theme.accent;
  const colors = config.avatar.colors;
  return {
    ...config,
    theme: {
      ...config.theme,
      accent,
      scheme: oneOf<Scheme>(get("scheme"), /^(auto|light|dark)$/, config.theme.scheme),
      position: oneOf<Position>(get("position"), /^(right|left)$/, config.theme.position),
    },
    avatar: {
      ...figure(config.avatar, get("avatar"), get("clips")),
      tier: oneOf<TierSetting>(get("tier"), /^(auto|full|low|2d|text)$/, config.avatar.tier),
      colors: {
        shell: color(get("shell"), colors.shell),
        accent: recolored ? accent : colors.accent,
        glass: color(get("glass"), colors.glass),
        glow: color(get("glow"), colors.glow),
      },
    },
  };
}

function figure(config: AvatarConfig, wanted: string | null, clips: string | null): AvatarConfig {
  if (!wanted) return config;
  if (/^(robot|face|none)$/.test(wanted)) return { ...config, kind: wanted as AvatarKind, url: null };
  try {
    const map = clips ? (JSON.parse(clips) as Record<string, string>) : config.clips;
    return { ...config, kind: "model", url: new URL(wanted, document.baseURI).href, clips: map };
  } catch {
    return config; // neither an address nor a map
  }
}

/** The style sheet of one element: the colours and distances of its config. Everything is a number or a checked colour. */
export function variables({ theme, avatar }: Look): string {
  const hex = (value: string, other: string): string => toHex(value) ?? other;
  const px = (name: string, value: number): string => `var(--chatwright-${name},${Number(value) || 0}px)`;
  const accent = hex(theme.accent, PLAIN.theme.accent);
  const { shell, glass, glow } = PLAIN.avatar.colors;
  const values = {
    accent,
    "on-accent": inkOn(accent),
    radius: px("radius", theme.radius),
    x: px("offset-x", theme.offset_x),
    y: px("offset-y", theme.offset_y),
    shell: hex(avatar.colors.shell, shell),
    glass: hex(avatar.colors.glass, glass),
    glow: hex(avatar.colors.glow, glow),
  };
  const lines = Object.entries(values).map(([name, value]) => `--cw-${name}:${value};`);
  return `:host{${lines.join("")}}`;
}
