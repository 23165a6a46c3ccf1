/**
 * Which way of drawing a machine gets, and when it gets a lesser one. Pure: `index.ts` brings the facts.
 *
 * Order: what the operator (or the playground) set, then what the visitor's browser asks for (save data), then what this
 * machine was found to manage on an earlier visit, then what its renderer is called.
 */

import type { AvatarKind, TierSetting } from "../config.ts";
import type { Tier } from "./types.ts";

/** Machines and drivers change. */
const SAVED_FOR_MS = 7 * 24 * 3600 * 1000;

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|microsoft basic render|apple software|lavapipe/i;

export function isSoftware(renderer: string): boolean {
  return SOFTWARE.test(renderer);
}

export interface Machine {
  /** UNMASKED_RENDERER, "" if the browser hides it; null: no WebGL 2. */
  readonly renderer: string | null;
  /** navigator.deviceMemory in GiB, 0 if the browser does not say. */
  readonly memoryGib: number;
  /** The visitor asks for few bytes. */
  readonly saveData: boolean;
  /** What `toSaved` returned on an earlier visit. */
  readonly saved: string | null;
  readonly nowMs: number;
}

export interface Choice {
  readonly tier: Tier;
  /** A word for logs and `onTier`; see docs/reference/widget.md. */
  readonly reason: string;
}

/** Whether WebGL has to be asked at all. */
export function wantsStage(setting: TierSetting, kind: AvatarKind): boolean {
  return kind !== "none" && kind !== "face" && setting !== "2d" && setting !== "text";
}

export function chooseTier(setting: TierSetting, kind: AvatarKind, machine: Machine): Choice {
  if (kind === "none" || setting === "text") return { tier: "text", reason: "setting" };
  if (kind === "face" || setting === "2d") return { tier: "2d", reason: "setting" };
  if (machine.renderer === null) return { tier: "2d", reason: "no-webgl" };
  if (setting !== "auto") return { tier: setting, reason: "setting" };
  if (machine.saveData) return { tier: "2d", reason: "save-data" };
  const saved = fromSaved(machine.saved, machine.renderer, machine.nowMs);
  if (saved !== null) return { tier: saved, reason: "measured-before" };
  if (isSoftware(machine.renderer)) return { tier: "low", reason: "software-renderer" };
  if (machine.memoryGib > 0 && machine.memoryGib <= 2) return { tier: "low", reason: "little-memory" };
  return { tier: "full", reason: "capable" };
}

/** The text to keep for `Machine.saved`. */
export function toSaved(tier: "low" | "2d", renderer: string, nowMs: number): string {
  return `${tier} ${nowMs} ${renderer}`;
}

/** What an earlier visit found; null when it is old, of another renderer, or not ours. */
export function fromSaved(saved: string | null, renderer: string, nowMs: number): "low" | "2d" | null {
  const found = /^(low|2d) (\d{1,16}) (.*)$/s.exec(saved ?? "");
  if (found === null || found[3] !== renderer) return null;
  const age = nowMs - Number(found[2]);
  return age >= 0 && age < SAVED_FOR_MS ? (found[1] as "low" | "2d") : null;
}
