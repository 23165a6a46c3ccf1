/** Moods, blink and mouth by the morph targets of a stranger's GLB, under the names that models use. Called by `model.ts`. */

import type { AnimationClip, Mesh, Object3D } from "three";
import type { Layers } from "./body.ts";

const BLINK = ["blink", "eyesClosed", "eyeBlinkLeft", "eyeBlinkRight", "eyeBlink_L", "eyeBlink_R", "Fcl_EYE_Close"];
const OPEN = ["aa", "mouthOpen", "jawOpen", "viseme_aa", "A", "Fcl_MTH_A"];
const ROUND = ["oh", "viseme_O", "O", "Fcl_MTH_O"];
const MOOD_PER_S = 6;

interface Target {
  readonly mesh: Mesh;
  readonly at: number;
  /** A clip moves it, too: the larger of both shows. */
  readonly driven: boolean;
}

export class Morphs {
  readonly #targets = new Map<string, Target[]>();
  readonly #weights = new Map<string, number>();
  #mood: string | null = null;

  constructor(root: Object3D, clips: readonly AnimationClip[]) {
    const driven = new Set(
      clips.flatMap((clip) => clip.tracks.map((track) => track.name)).filter((name) => name.includes(".morphTargetInfluences")),
    );
    root.traverse((object) => {
      const mesh = object as Mesh;
      for (const [name, at] of Object.entries(mesh.morphTargetDictionary ?? {})) {
        const targets = this.#targets.get(name) ?? [];
        targets.push({ mesh, at, driven: [...driven].some((track) => track.startsWith(`${mesh.name}.`)) });
        this.#targets.set(name, targets);
      }
    });
  }

  get names(): string[] {
    return [...this.#targets.keys()];
  }

  /** Let the morph called `name` show the mood; null: none does. */
  mood(name: string | null, still: boolean): void {
    this.#mood = name;
    if (name !== null && !this.#weights.has(name)) this.#weights.set(name, 0);
    if (still) for (const one of this.#weights.keys()) this.#weights.set(one, one === name ? 1 : 0);
  }

  layer({ dt, blink, mouth }: Layers): void {
    for (const [name, weight] of this.#weights) {
      const next = weight + ((name === this.#mood ? 1 : 0) - weight) * Math.min(1, dt * MOOD_PER_S);
      this.#weights.set(name, next);
      this.#set(name, next);
    }
    for (const name of BLINK) this.#set(name, blink);
    for (const name of OPEN) this.#set(name, mouth.open);
    for (const name of ROUND) this.#set(name, mouth.round);
  }

  #set(name: string, weight: number): void {
    for (const { mesh, at, driven } of this.#targets.get(name) ?? []) {
      const influences = mesh.morphTargetInfluences;
      if (influences !== undefined) influences[at] = driven ? Math.max(influences[at] ?? 0, weight) : weight;
    }
  }
}
