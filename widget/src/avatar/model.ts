/**
 * A stranger's GLB as a body: its clips by `clipmap.ts`, blink and mouth where its morphs allow it, a turn of the head, and small
 * movements of the whole where it brings no clips. Loaded only for avatars of kind "model". VRM files go on to `vrm.ts`.
 */

import { type AnimationClip, Box3, Group, type Object3D, Quaternion, Vector3 } from "three";
import { type GLTF, GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import type { Body, Layers, View } from "./body.ts";
import { EXPRESSIONS, findSource } from "./clipmap.ts";
import type { Clip } from "./clips.ts";
import { fetchModel, isVrm, ModelError } from "./download.ts";
import { wholeGestures } from "./gestures.ts";
import { disposeTree, meshesOf } from "./materials.ts";
import { Morphs } from "./morphs.ts";
import { readImagesFromFile } from "./textures.ts";
import { ANIMATIONS, type AnimationName } from "./types.ts";

/** More than a chat needs, and more than software rendering can bear. */
const MAX_TRIANGLES = 300_000;
const LOOPS: ReadonlySet<string> = new Set(["idle", "thinking", "talk_calm", "talk_explain"]);
const PIVOT = "chatwright_pivot";

/** Rejects with `ModelError`, or with the signal's reason. */
export async function loadModel(url: string, map: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Body> {
  const { bytes, gltf } = await fetchModel(url, signal);
  const loader = new GLTFLoader();
  loader.register(readImagesFromFile);
  const vrm = isVrm(gltf) ? await import("./vrm.ts") : null;
  vrm?.register(loader);
  let file: GLTF;
  try {
    file = await loader.parseAsync(bytes, "");
  } catch (error) {
    throw new ModelError(`it cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  try {
    signal.throwIfAborted();
    checkWeight(file.scene);
    return vrm?.makeBody(file, map) ?? makeGlbBody(file, map);
  } catch (error) {
    disposeTree(file.scene);
    throw error;
  }
}

function checkWeight(root: Object3D): void {
  let triangles = 0;
  for (const { geometry } of meshesOf(root)) triangles += (geometry.index ?? geometry.getAttribute("position")).count / 3;
  if (triangles === 0) throw new ModelError("there is nothing in it to draw");
  if (triangles > MAX_TRIANGLES) throw new ModelError(`it has more than ${MAX_TRIANGLES / 1000},000 triangles`);
}

/** For each animation the file's own clip, else null; and the expression that shows the mood. */
export function assign(
  clips: readonly AnimationClip[],
  expressions: readonly string[],
  map: Readonly<Record<string, string>>,
  gestures: ReadonlyMap<AnimationName, Clip>,
): { clips: Map<string, Clip>; moods: Map<string, string> } {
  const names = clips.map((clip) => clip.name);
  const found = new Map<string, Clip>();
  const moods = new Map<string, string>();
  for (const animation of ANIMATIONS) {
    const source = findSource(animation, names, expressions, map);
    const clip = source.kind === "clip" ? clips.find((one) => one.name === source.name) : undefined;
    const gesture = gestures.get(animation);
    if (clip !== undefined) {
      found.set(animation, { clip: copied(clip, animation), loop: LOOPS.has(animation), stillAt: clip.duration / 2 });
    } else if (gesture !== undefined) found.set(animation, gesture);
    const mood = source.kind === "expression" ? source.name : EXPRESSIONS[animation].find((one) => expressions.includes(one));
    if (mood !== undefined) moods.set(animation, mood);
  }
  return { clips: found, moods };
}

/** One clip may stand for two animations: the mixer keeps one action per clip. */
function copied(clip: AnimationClip, name: string): AnimationClip {
  const copy = clip.clone();
  copy.name = name;
  return copy;
}

function makeGlbBody(file: GLTF, map: Readonly<Record<string, string>>): Body {
  const pivot = new Group();
  pivot.name = PIVOT;
  pivot.add(file.scene);
  const root = new Group();
  root.add(pivot);
  root.updateMatrixWorld(true);
  const box = new Box3().setFromObject(root);
  const size = box.getSize(new Vector3());
  const head = findHead(file.scene);
  const morphs = new Morphs(file.scene, file.animations);
  const { clips, moods } = assign(file.animations, morphs.names, map, wholeGestures(PIVOT, size.y));
  const turn = new Quaternion();
  const place = new Quaternion();
  const gaze = new Vector3();
  const rest = head?.quaternion.clone();
  const driven = head !== null && file.animations.some((clip) => clip.tracks.some((track) => track.name === `${head.name}.quaternion`));
  return {
    root,
    clips,
    view: viewOf(box, size, head),
    start: (name, still) => morphs.mood(moods.get(name) ?? null, still),
    layer(layers: Layers) {
      morphs.layer(layers);
      if (head === null || rest === undefined || layers.dt === 0) return;
      // Turned in the space of the model: the axes of a stranger's bone may lie anywhere.
      gaze.set(-layers.gazeY * 0.18, layers.gazeX * 0.3, 0);
      turn.set(gaze.x / 2, gaze.y / 2, 0, 1).normalize();
      head.parent?.getWorldQuaternion(place);
      turn.premultiply(place.clone().invert()).multiply(place);
      head.quaternion.copy(driven ? head.quaternion : rest).premultiply(turn);
    },
    setColors() {},
    dispose: () => disposeTree(root),
  };
}

function findHead(root: Object3D): Object3D | null {
  let found: Object3D | null = null;
  root.traverse((object) => {
    if (found === null && /(^|[:_.\s])(gaze|head)$/i.test(object.name)) found = object;
  });
  return found;
}

/** All of it; of a figure as tall as a person the upper part. */
function viewOf(box: Box3, size: Vector3, head: Object3D | null): View {
  const middle = box.getCenter(new Vector3());
  const headY = head?.getWorldPosition(new Vector3()).y ?? box.min.y;
  if (headY > box.min.y + 0.75 * size.y) return bust(box.max.y, headY, middle.x, box.max.z, size.y);
  return { x: middle.x, y: middle.y, z: box.max.z, width: size.x * 1.1, height: size.y * 1.1 };
}

/** The upper part of a figure of `height` whose head begins at `headY`: as much as the hands need to be seen when they speak. */
export function bust(topY: number, headY: number, x: number, z: number, height: number): View {
  const bottomY = headY - height * 0.29;
  const tall = (topY - bottomY) * 1.08;
  return { x, y: bottomY + tall / 2, z, width: height * 0.55, height: tall };
}
