/**
 * Plays one clip at a time on a body and blends into it from the pose that the body has now, wherever it is: in the middle of
 * another blend, or of the same clip. Reactions end in the base loop. Owned by `stage.ts`; `layers.ts` comes after it.
 *
 * A blend starts from a snapshot of the pose, so that one clip is evaluated per frame and nothing can be left half-way. The mixer
 * writes only what changed since its last frame: what the blend (or a layer) wrote over it is put back before it goes on.
 */

import { type AnimationAction, AnimationMixer, LoopOnce, LoopRepeat, type Mesh, type Object3D, PropertyBinding, Quaternion } from "three";
import type { Clip } from "./clips.ts";

const FADE_S = 0.32;

/** Position, rotation and scale of one object, and its morphs. */
const PER_OBJECT = 10;

export class Player {
  readonly #mixer: AnimationMixer;
  readonly #actions = new Map<string, AnimationAction>();
  readonly #clips: ReadonlyMap<string, Clip>;
  readonly #objects: readonly Object3D[];
  /** What the mixer wrote last, and what the blend starts from. */
  readonly #pose: Float32Array;
  readonly #from: Float32Array;
  readonly #a = new Quaternion();
  readonly #b = new Quaternion();
  #current: AnimationAction | null = null;
  #base = "idle";
  #fadeS = 0;
  #fadedS = 0;

  constructor(root: Object3D, clips: ReadonlyMap<string, Clip>) {
    this.#mixer = new AnimationMixer(root);
    this.#clips = clips;
    this.#objects = animated(root, clips);
    let size = 0;
    for (const object of this.#objects) size += PER_OBJECT + (morphs(object)?.length ?? 0);
    this.#pose = new Float32Array(size);
    this.#from = new Float32Array(size);
    for (const [name, clip] of clips) {
      const action = this.#mixer.clipAction(clip.clip);
      action.setLoop(clip.loop ? LoopRepeat : LoopOnce, clip.loop ? Infinity : 1);
      action.clampWhenFinished = true;
      this.#actions.set(name, action);
    }
    this.#read(this.#pose);
    this.#mixer.addEventListener("finished", () => this.play(this.#base));
  }

  /** Start `name` (idle if the body has no such clip), blending from the present pose. A loop that plays already goes on. */
  play(name: string, fadeS = FADE_S): void {
    const found = this.#clips.has(name) ? name : "idle";
    const clip = this.#clips.get(found);
    const action = this.#actions.get(found);
    if (clip?.loop === true) this.#base = name === "thinking" ? "idle" : found;
    if (action === undefined || clip === undefined || (action === this.#current && clip.loop)) return;
    this.#read(this.#from);
    this.#fadeS = this.#current === null ? 0 : fadeS;
    this.#fadedS = 0;
    this.#write(this.#pose);
    this.#current?.stop();
    action.reset().play();
    // Stopping put back what the clip had found.
    this.#read(this.#pose);
    this.#current = action;
  }

  /** Stand still in the telling pose of `name`. */
  pose(name: string): void {
    const found = this.#clips.has(name) ? name : "idle";
    const action = this.#actions.get(found);
    if (action === undefined) return;
    this.#write(this.#pose);
    this.#mixer.stopAllAction();
    action.reset().play();
    this.#mixer.setTime(0);
    action.time = this.#clips.get(found)?.stillAt ?? 0;
    this.#mixer.update(0);
    this.#read(this.#pose);
    this.#fadeS = 0;
    this.#current = action;
  }

  /** Go on by `dt` seconds. */
  update(dt: number): void {
    this.#write(this.#pose);
    this.#mixer.update(dt);
    this.#read(this.#pose);
    if (this.#fadedS >= this.#fadeS) return;
    this.#fadedS += dt;
    const part = Math.min(1, this.#fadedS / this.#fadeS);
    if (part < 1) this.#blend(part * part * (3 - 2 * part));
  }

  dispose(): void {
    this.#mixer.stopAllAction();
    this.#mixer.uncacheRoot(this.#mixer.getRoot() as Object3D);
    this.#actions.clear();
  }

  #read(into: Float32Array): void {
    let at = 0;
    for (const object of this.#objects) {
      object.position.toArray(into, at);
      object.quaternion.toArray(into, at + 3);
      object.scale.toArray(into, at + 7);
      at += PER_OBJECT;
      for (const value of morphs(object) ?? []) into[at++] = value;
    }
  }

  #write(from: Float32Array): void {
    let at = 0;
    for (const object of this.#objects) {
      object.position.fromArray(from, at);
      object.quaternion.fromArray(from, at + 3);
      object.scale.fromArray(from, at + 7);
      at += PER_OBJECT;
      const influences = morphs(object);
      if (influences !== undefined) for (let i = 0; i < influences.length; i++) influences[i] = from[at++] ?? 0;
    }
  }

  /** The present pose becomes `part` of itself and the rest of what the blend started from. */
  #blend(part: number): void {
    const from = this.#from;
    const mix = (before: number, now: number): number => before + (now - before) * part;
    let at = 0;
    for (const object of this.#objects) {
      const { position, quaternion, scale } = object;
      position.set(mix(from[at] ?? 0, position.x), mix(from[at + 1] ?? 0, position.y), mix(from[at + 2] ?? 0, position.z));
      quaternion.copy(this.#a.fromArray(from, at + 3).slerp(this.#b.copy(quaternion), part));
      scale.set(mix(from[at + 7] ?? 1, scale.x), mix(from[at + 8] ?? 1, scale.y), mix(from[at + 9] ?? 1, scale.z));
      at += PER_OBJECT;
      const influences = morphs(object);
      if (influences === undefined) continue;
      for (let i = 0; i < influences.length; i++) influences[i] = mix(from[at++] ?? 0, influences[i] ?? 0);
    }
  }
}

function morphs(object: Object3D): number[] | undefined {
  return (object as Partial<Mesh>).morphTargetInfluences;
}

/** The objects that any of the clips moves. */
function animated(root: Object3D, clips: ReadonlyMap<string, Clip>): Object3D[] {
  const found = new Set<Object3D>();
  for (const { clip } of clips.values()) {
    for (const track of clip.tracks) {
      const name = PropertyBinding.parseTrackName(track.name).nodeName;
      const object: unknown = PropertyBinding.findNode(root, name);
      if (object !== null && object !== undefined) found.add(object as Object3D);
    }
  }
  return [...found];
}
