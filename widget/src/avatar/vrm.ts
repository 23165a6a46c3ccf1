/**
 * A VRM avatar as a body: moods, blink and mouth by its expressions, eyes by its look-at, hair and clothes by its spring bones,
 * gestures of our own on its humanoid bones. Loaded only when a model says that it is a VRM (`model.ts`).
 */

import { type VRM, VRMLoaderPlugin, VRMUtils } from "@pixiv/three-vrm";
import { Box3, Group, Object3D, Vector3 } from "three";
import type { GLTF, GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import type { Body, Layers } from "./body.ts";
import { ModelError } from "./download.ts";
import { humanGestures } from "./humanoid.ts";
import { disposeTree } from "./materials.ts";
import { assign, bust } from "./model.ts";

const MOOD_PER_S = 6;
/** A face at full weight of an expression looks like a mask. */
const MOOD_WEIGHT = 0.85;
/** Expressions that narrow the eyes: a blink over them closes them twice. */
const EYES_SHUT = 0.3;

export function register(loader: GLTFLoader): void {
  loader.register((parser) => new VRMLoaderPlugin(parser));
}

export function makeBody(file: GLTF, map: Readonly<Record<string, string>>): Body {
  const vrm = file.userData["vrm"] as VRM | undefined;
  if (vrm === undefined) throw new ModelError("its VRM part cannot be read");
  VRMUtils.rotateVRM0(vrm);
  const root = new Group();
  const target = new Object3D();
  root.add(vrm.scene, target);
  root.updateMatrixWorld(true);
  const box = new Box3().setFromObject(vrm.scene);
  const size = box.getSize(new Vector3());
  const head = vrm.humanoid.getRawBoneNode("head")?.getWorldPosition(new Vector3()) ?? new Vector3(0, box.max.y - size.y * 0.13, 0);
  const nodes: Record<string, string> = {};
  for (const bone of Object.keys(vrm.humanoid.humanBones)) {
    const node = vrm.humanoid.getNormalizedBoneNode(bone as Parameters<VRM["humanoid"]["getNormalizedBoneNode"]>[0]);
    if (node !== null) nodes[bone] = node.name;
  }
  const faces = vrm.expressionManager ?? null;
  const names = faces?.expressions.map((expression) => expression.expressionName) ?? [];
  const gestures = humanGestures(nodes, vrm.meta.metaVersion === "0" ? -1 : 1);
  const { clips, moods } = assign(file.animations, names, map, gestures);
  if (vrm.lookAt) vrm.lookAt.target = target;
  const weights = new Map<string, number>();
  let mood: string | null = null;
  let first = true;
  return {
    root,
    clips,
    view: bust(box.max.y, head.y, head.x, head.z, size.y),
    start(name, still) {
      mood = moods.get(name) ?? null;
      if (mood !== null && !weights.has(mood)) weights.set(mood, 0);
      if (still) for (const one of weights.keys()) weights.set(one, one === mood ? MOOD_WEIGHT : 0);
    },
    layer({ dt, blink, mouth, gazeX, gazeY }: Layers) {
      let busy = 0;
      for (const [name, weight] of weights) {
        const next = weight + ((name === mood ? MOOD_WEIGHT : 0) - weight) * Math.min(1, dt * MOOD_PER_S);
        weights.set(name, next);
        faces?.setValue(name, next);
        busy = Math.max(busy, next);
      }
      faces?.setValue("blink", busy > EYES_SHUT ? 0 : blink);
      faces?.setValue("aa", mouth.open);
      faces?.setValue("oh", mouth.round);
      target.position.set(head.x + gazeX * 0.8, head.y + gazeY * 0.5, head.z + 1.5);
      // Spring bones that start in a pose they were not made in would swing once through the figure.
      if (first) vrm.springBoneManager?.reset();
      first = false;
      vrm.update(dt);
    },
    setColors() {},
    dispose() {
      VRMUtils.deepDispose(vrm.scene);
      disposeTree(root);
    },
  };
}
