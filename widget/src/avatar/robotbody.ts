/** Our robot as a body of the stage: which of its bones and morphs the layers may move (see `robot.ts`), and its shadow. */

import { CircleGeometry, Float32BufferAttribute, Group, Mesh, MeshBasicMaterial } from "three";
import type { AvatarColors } from "../config.ts";
import type { Body, Layers } from "./body.ts";
import { breathe } from "./breathe.ts";
import { buildClips } from "./clips.ts";
import { buildRobot, FRAMING } from "./robot.ts";

const SHADOW = { radius: 0.44, edges: 32, alpha: 0.34 } as const;

export async function makeRobotBody(colors: AvatarColors, cheap: boolean): Promise<Body> {
  const rig = buildRobot(colors, cheap);
  await breathe();
  const clips = buildClips(rig);
  const eyes = [rig.faces["eyeL"], rig.faces["eyeR"]].filter((mesh) => mesh !== undefined);
  const mouth = rig.faces["mouth"];
  const { gaze, eyes: both, hips } = rig.bones;
  const hipsY = hips?.position.y ?? 0;
  const shadow = makeShadow();
  const root = new Group();
  root.add(rig.root, shadow);
  return {
    root,
    clips,
    view: { x: 0, y: FRAMING.middleY, z: 0, width: FRAMING.width, height: FRAMING.height },
    start() {},
    layer(layers: Layers) {
      gaze?.rotation.set(layers.gazeY * -0.2, layers.gazeX * 0.32, 0);
      both?.position.set(layers.gazeX * 0.022, layers.gazeY * 0.014, both.position.z);
      shadow.scale.setScalar(Math.max(0.5, 1 - 1.6 * ((hips?.position.y ?? hipsY) - hipsY)));
      for (const eye of eyes) {
        const shut = value(eye, "closed") > 0.1 || value(eye, "happy") > 0.1;
        set(eye, "blink", shut ? 0 : layers.blink);
      }
      if (mouth === undefined) return;
      const room = Math.max(0, 1 - value(mouth, "talk"));
      set(mouth, "aa", Math.min(layers.mouth.open, room));
      set(mouth, "oh", Math.min(layers.mouth.round, room));
    },
    setColors: (next) => rig.setColors(next),
    dispose() {
      rig.dispose();
      shadow.geometry.dispose();
      shadow.material.dispose();
    },
  };
}

/** A soft spot on the ground, so that the robot does not hang in the air. Fades out by vertex colours: no image, no real shadow. */
function makeShadow(): Mesh<CircleGeometry, MeshBasicMaterial> {
  const geometry = new CircleGeometry(SHADOW.radius, SHADOW.edges);
  const colors = Array.from({ length: SHADOW.edges + 2 }, (_, at) => [1, 1, 1, at === 0 ? SHADOW.alpha : 0]).flat();
  geometry.setAttribute("color", new Float32BufferAttribute(colors, 4));
  const material = new MeshBasicMaterial({ color: 0x0d1433, transparent: true, vertexColors: true, depthWrite: false });
  const shadow = new Mesh(geometry, material);
  shadow.rotation.x = -Math.PI / 2;
  return shadow;
}

function value(mesh: Mesh, morph: string): number {
  const at = mesh.morphTargetDictionary?.[morph];
  return at === undefined ? 0 : (mesh.morphTargetInfluences?.[at] ?? 0);
}

function set(mesh: Mesh, morph: string, to: number): void {
  const at = mesh.morphTargetDictionary?.[morph];
  if (at !== undefined && mesh.morphTargetInfluences !== undefined) mesh.morphTargetInfluences[at] = to;
}
