/**
 * Our robot, built of three.js primitives: no download, four colours. Owns geometry, materials and bones; `clips.ts` moves it, the
 * stage draws it.
 *
 * Who may set what. Clips (the mixer) own the rotation and position of the bones they name, the scale of the props and the morphs
 * eye*.{closed,happy,squint,wide} and mouth.{smile,grin,frown,talk,wavy}. The stage owns what no clip drives, and sets it to absolute
 * values each frame (the mixer writes only what changes, so adding to a driven value would pile up):
 *   bones.gaze (rotation: turns the head), bones.eyes (position: x and y shift both eyes), eye*.blink, mouth.aa and mouth.oh.
 * `closed` is a shut eye like `blink`, `talk` an open mouth like `aa`: leave out a blink while closed or happy is above 0.1, and give aa at
 * most 1 - talk.
 *
 * R is the robot's right, which the viewer sees on the left. It stands on y = 0 and looks along +z.
 */

import { Color, Group, Mesh, MeshBasicMaterial, MeshLambertMaterial, MeshStandardMaterial, Object3D } from "three";
import type { BufferGeometry, Material } from "three";
import type { AvatarColors } from "../config.ts";
import { arc, bezel, card, gleam, HEAD, light, merge, outline, pebble, pipe, plate, round, turned, visor, visorZ } from "./robot_shapes.ts";
import type { Outline, Point, Point2 } from "./robot_shapes.ts";

export interface Rig {
  readonly root: Group;
  readonly bones: Record<string, Object3D>;
  readonly faces: Record<string, Mesh>;
  setColors(colors: AvatarColors): void;
  dispose(): void;
}

/** What a camera should show: a box around the robot, raised arms and props included, in units. */
export const FRAMING = { middleY: 0.98, height: 1.96, width: 1.96 } as const;

/** Lengths of the arm, which `clips.ts` bends to reach a point. In the chest's space; x is for the robot's left. */
export const ARM = { shoulder: [0.315, 0.17, 0] as Point, upper: 0.225, fore: 0.215 } as const;

/** Middle of the head above the bone that turns it. */
const HEAD_Y = 0.36;
const EYE = { x: 0.15, y: 0.03, w: 0.056, h: 0.086 } as const;

const eyeShapes: Readonly<Record<string, Outline>> = {
  open: outline((u) => [u * EYE.w, EYE.h * round(u), -EYE.h * round(u)]),
  blink: outline((u) => [u * EYE.w * 1.1, 0.013 * round(u), -0.013 * round(u)]),
  closed: outline((u) => {
    const y = 0.045 * u * u - 0.035;
    return [u * EYE.w * 1.35, y + 0.017 * round(u), y - 0.017 * round(u)];
  }),
  happy: outline((u) => {
    const y = 0.05 - 0.085 * u * u;
    return [u * EYE.w * 1.45, y + 0.021 * round(u), y - 0.021 * round(u)];
  }),
  squint: outline((u) => [u * EYE.w * 1.1, 0.03 * round(u), -0.045 * round(u)]),
  wide: outline((u) => [u * EYE.w * 1.18, EYE.h * 1.16 * round(u, 2.3), -EYE.h * 1.16 * round(u, 2.3)]),
};

const stroke = (width: number, thick: number, y: (u: number) => number): Outline =>
  outline((u) => [u * width, y(u) + thick * round(u), y(u) - thick * round(u)]);

const mouthShapes: Readonly<Record<string, Outline>> = {
  neutral: stroke(0.06, 0.012, (u) => 0.006 * u * u),
  smile: stroke(0.1, 0.015, (u) => 0.056 * u * u - 0.026),
  grin: outline((u) => [u * 0.115, 0.03 + 0.008 * u * u, 0.03 + 0.008 * u * u - 0.105 * round(u, 2)]),
  frown: stroke(0.07, 0.013, (u) => 0.018 - 0.04 * u * u),
  talk: outline((u) => [u * 0.074, 0.022 * round(u, 3), -0.072 * round(u, 2.2)]),
  aa: outline((u) => [u * 0.074, 0.022 * round(u, 3), -0.072 * round(u, 2.2)]),
  oh: outline((u) => [u * 0.042, 0.036 * round(u, 2), -0.044 * round(u, 2)]),
  wavy: stroke(0.095, 0.014, (u) => 0.021 * Math.sin(u * 6.6)),
};

/** The body's outline: an egg that is wider below, from `from` to `to` in radians of its half turn (0: the bottom). */
function egg(from: number, to: number, steps: number, grow = 0): Point2[] {
  return Array.from({ length: steps + 1 }, (_, at): Point2 => {
    const turn = from + ((to - from) * at) / steps;
    return [Math.sin(turn) ** 0.8 * (0.275 + 0.05 * Math.cos(turn)) + grow, -Math.cos(turn) * 0.335];
  });
}

/** A point of the headset's band: over the head's top, where the direction (x, y) leaves it. */
function band(x: number, y: number): Point {
  const grow = (Math.abs(x / HEAD.x) ** HEAD.power + Math.abs(y / HEAD.y) ** HEAD.power) ** (-1 / HEAD.power) + 0.012;
  return [x * grow, y * grow, 0];
}

/** `cheap`: Lambert and fewer segments, for machines that draw in software. */
export function buildRobot(colors: AvatarColors, cheap: boolean): Rig {
  const surface = (name: string, roughness: number, metalness: number): MeshLambertMaterial | MeshStandardMaterial => {
    const made = cheap ? new MeshLambertMaterial() : new MeshStandardMaterial({ roughness, metalness });
    made.name = name;
    return made;
  };
  const plain = (name: string): MeshBasicMaterial => {
    const made = new MeshBasicMaterial({ toneMapped: false });
    made.name = name;
    return made;
  };
  const shell = surface("shell", 0.36, 0.02);
  const accent = surface("accent", 0.4, 0.06);
  const glass = surface("glass", 0.22, 0.3);
  const joint = surface("joint", 0.55, 0.25);
  const glow = plain("glow");
  const mark = plain("mark");
  const shine = plain("shine");
  Object.assign(shine, { transparent: true, opacity: 0.16, depthWrite: false });
  const materials: Material[] = [shell, accent, glass, joint, glow, mark, shine];

  const root = new Group();
  root.name = "Robot";
  const bones: Record<string, Object3D> = {};
  const faces: Record<string, Mesh> = {};
  const bone = (name: string, parent: Object3D, x = 0, y = 0, z = 0): Object3D => {
    const made = new Object3D();
    made.name = name;
    made.position.set(x, y, z);
    parent.add(made);
    bones[name] = made;
    return made;
  };
  // Solids are collected and become one mesh for each bone and material: fewer draw calls.
  const heap = new Map<Object3D, Map<Material, BufferGeometry[]>>();
  const put = (to: Object3D, material: Material, part: BufferGeometry, x = 0, y = 0, z = 0): void => {
    const parts = heap.get(to) ?? new Map<Material, BufferGeometry[]>();
    heap.set(to, parts);
    const list = parts.get(material) ?? [];
    parts.set(material, list);
    list.push(part.translate(x, y, z));
  };
  const fine = (segments: number): number => (cheap ? Math.max(6, Math.round(segments * 0.6)) : segments);
  const ball = (radius: number, sides = 18): BufferGeometry => pebble(radius, radius, radius, 2, fine(sides));

  const hips = bone("hips", root, 0, 0.46);
  const chest = bone("chest", hips);

  // Body: bowl, groove, egg, neck; on its front a badge, a speech bubble with three lights.
  put(chest, accent, turned([...egg(0.01, 0.86, 8), ...egg(0.865, 0.88, 1, -0.03)], fine(36)));
  put(chest, joint, turned(egg(0.84, 0.98, 2, -0.012), fine(36)));
  put(chest, shell, turned([...egg(0.955, 0.97, 1, -0.014), ...egg(0.97, Math.PI - 0.02, 20)], fine(40)));
  put(chest, joint, turned([[0.1, 0.29], [0.105, 0.34], [0.095, 0.4]], fine(24)));
  put(chest, accent, pipe(arc(0, 0, 0.118, 0, 350, fine(28)), 0.022, fine(10), true).rotateX(Math.PI / 2), 0, 0.318);
  const badge: BufferGeometry[] = [pebble(0.092, 0.066, 0.03, 2.6, fine(24)), pebble(0.024, 0.034, 0.02, 1.6, fine(10)).rotateZ(-0.5).translate(-0.045, -0.062, 0)];
  for (const part of badge) put(chest, glass, part.rotateX(-0.1), 0, 0.03, 0.268);
  for (const x of [-0.042, 0, 0.042]) put(chest, glow, pebble(0.0145, 0.0145, 0.008, 2, fine(12)).rotateX(-0.1), x, 0.034, 0.298);

  // Head: shell, visor, a headset from ear to ear, an antenna.
  const gaze = bone("gaze", chest, 0, 0.37, 0);
  const head = bone("head", gaze);
  put(head, shell, pebble(HEAD.x, HEAD.y, HEAD.z, HEAD.power, fine(48)), 0, HEAD_Y);
  put(head, glass, visor(fine(56)), 0, HEAD_Y);
  put(head, joint, bezel(fine(64), 0.011), 0, HEAD_Y);
  if (cheap) put(head, shine, gleam(), 0, HEAD_Y);
  for (const side of [-1, 1]) {
    const ear: readonly Point2[] = [[0.02, -0.04], [0.145, -0.04], [0.158, -0.02], [0.158, 0.02], [0.142, 0.05], [0.09, 0.058]];
    put(head, accent, turned(ear, fine(28)).rotateZ(-side * (Math.PI / 2)), side * 0.475, HEAD_Y - 0.01);
    const cap: readonly Point2[] = [[0.082, 0.045], [0.084, 0.066], [0.06, 0.076], [0, 0.08]];
    put(head, shell, turned(cap, fine(24)).rotateZ(-side * (Math.PI / 2)), side * 0.475, HEAD_Y - 0.01);
  }
  put(head, accent, pipe(arc(0, 0, 1, 0, 180, fine(40)).map(([x, y]): Point => band(x, y)), 0.026, fine(10)), 0, HEAD_Y);
  const antenna = bone("antenna", head, 0, HEAD_Y + HEAD.y - 0.01);
  put(antenna, joint, turned([[0.06, -0.01], [0.055, 0.015], [0.03, 0.03], [0.016, 0.04], [0.014, 0.12]], fine(16)));
  put(antenna, glow, ball(0.05), 0, 0.15);

  const face = bone("face", head, 0, HEAD_Y);
  const eyes = bone("eyes", face);
  for (const [letter, side] of [["R", -1], ["L", 1]] as const) {
    const eye = light(`eye${letter}`, glow, side * EYE.x, EYE.y, eyeShapes);
    bone(`eye${letter}_j`, eyes, side * EYE.x, EYE.y).add(eye);
    faces[`eye${letter}`] = eye;
    const [x, y] = [side * EYE.x, 0.155];
    const brow = bone(`brow${letter}`, face, x, y, visorZ(x, y) + 0.008);
    const line = [-1, -0.5, 0, 0.5, 1].map((u): Point => [u * 0.042, 0.01 * (1 - u * u), visorZ(x + u * 0.042, y) - visorZ(x, y)]);
    put(brow, glow, pipe(line, 0.0115, fine(8)));
  }
  const mouth = light("mouth", glow, 0, -0.115, mouthShapes);
  mouth.position.set(0, -0.115, 0);
  face.add(mouth);
  faces.mouth = mouth;

  for (const [letter, side] of [["R", -1], ["L", 1]] as const) {
    const arm = bone(`arm${letter}`, chest, side * ARM.shoulder[0], ARM.shoulder[1], ARM.shoulder[2]);
    put(arm, shell, ball(0.082, 20));
    put(arm, joint, pipe([[0, -0.05, 0], [0, -ARM.upper, 0]], 0.044, fine(14)));
    const fore = bone(`fore${letter}`, arm, 0, -ARM.upper);
    const sleeve: readonly Point2[] = [[0, -0.195], [0.075, -0.2], [0.092, -0.208], [0.098, -0.195], [0.09, -0.11], [0.074, -0.04], [0.05, 0.0], [0, 0.012]];
    put(fore, shell, turned(sleeve, fine(24)));
    const hand = bone(`hand${letter}`, fore, 0, -ARM.fore);
    hand.scale.setScalar(1.12);
    put(hand, joint, ball(0.052, 14), 0, -0.008);
    put(hand, accent, pebble(0.056, 0.08, 0.088, 2.5, fine(22)), 0, -0.068);
    const finger = (name: string, tip: string, at: readonly number[]): void => {
      const base = bone(`${name}${letter}`, hand, 0, -0.128);
      const end = bone(`${tip}${letter}`, base, 0, -0.05);
      for (const z of at) {
        put(base, accent, pipe([[0, 0.01, z], [0, -0.05, z]], 0.031, fine(12)));
        put(end, accent, pipe([[0, 0, z], [0, -0.042, z]], 0.03, fine(12)));
      }
    };
    finger("index", "indexTip", [0.056]);
    finger("fingers", "tips", [0, -0.054]);
    const thumb = bone(`thumb${letter}`, hand, -side * 0.012, -0.04, 0.07);
    put(thumb, accent, pipe([[0, 0.01, 0], [0, -0.09, 0]], 0.041, fine(12)));
  }

  // Props: nothing (scale 0) but in the clip that shows them.
  const prop = (name: string, x: number, y: number, z: number): Object3D => {
    const made = bone(name, hips, x, y, z);
    made.scale.setScalar(0);
    // Spares the renderer what nobody sees, without a track that would jump in the middle of a blend.
    Object.defineProperty(made, "visible", { get: () => made.scale.x > 0.02, set: () => undefined });
    return made;
  };
  const rim = (a: number, b: number, power: number): BufferGeometry =>
    pipe(
      Array.from({ length: fine(40) }, (_, at): Point => {
        const turn = (2 * Math.PI * at) / fine(40);
        const [c, s] = [Math.cos(turn), Math.sin(turn)];
        const grow = (Math.abs(c) ** power + Math.abs(s) ** power) ** (-1 / power);
        return [c * grow * a, s * grow * b, 0];
      }),
      0.011,
      6,
      true,
    );
  const lights = (parent: Object3D, name: string, make: () => BufferGeometry, apart: number, z: number, y = 0): void => {
    for (const at of [0, 1, 2]) put(bone(`${name}${at + 1}`, parent, (at - 1) * apart, y, z), glow, make());
  };

  const thought = prop("thought", 0.66, 1.22, 0.2);
  put(thought, glass, pebble(0.225, 0.145, 0.05, 2.6, fine(26)));
  put(thought, mark, rim(0.225, 0.145, 2.6));
  put(thought, glass, ball(0.05, 14), -0.13, -0.2, 0);
  put(thought, glass, ball(0.032, 12), -0.2, -0.28, 0);
  lights(thought, "dot", () => ball(0.036, 14), 0.12, 0.05);

  const question = prop("question", 0.62, 1.16, 0.1);
  put(question, mark, pipe([...arc(0, 0.1, 0.092, 165, -55, 14), [0.004, -0.02, 0], [0, -0.07, 0]], 0.034, fine(12)));
  put(question, mark, ball(0.042, 14), 0, -0.17);

  const panel = prop("panel", 0.7, 0.59, 0.26);
  put(panel, glass, plate(card(0.23, 0.19, 0.05)));
  put(panel, mark, pipe(card(0.23, 0.19, 0.05), 0.011, 6, true));
  put(panel, glow, pipe([[-0.15, 0.125, 0.018], [0.06, 0.125, 0.018]], 0.014, 8));
  lights(panel, "bar", () => plate(card(0.036, 0.09, 0.016)).translate(0, 0.09, 0), 0.11, 0.012, -0.13);

  const speech = prop("speech", 0.72, 0.92, 0.3);
  put(speech, glass, pebble(0.19, 0.13, 0.045, 3, fine(24)));
  put(speech, glass, pebble(0.042, 0.088, 0.048, 1.6, fine(14)).rotateZ(-0.75), -0.152, -0.112, 0.004);
  put(speech, mark, rim(0.19, 0.13, 3));
  lights(speech, "wave", () => plate(card(0.021, 0.075, 0.02)), 0.085, 0.053);

  const nods = prop("nods", 0, 0.72, 0.1);
  for (const side of [-1, 1]) {
    const line = arc(0, 0, 0.68, 24, -16, 10).map(([x, y, z]): Point => [side * x, y, z]);
    const [ex, ey] = line[line.length - 1]!;
    put(nods, mark, pipe(line, 0.022, fine(8)));
    put(nods, mark, pipe([[ex + 0.075, ey + 0.085, 0], [ex, ey, 0], [ex - 0.075, ey + 0.085, 0]], 0.022, fine(8)));
  }

  const waves = prop("waves", -0.7, 0.56, 0.2);
  for (const radius of [0.19, 0.26]) {
    put(waves, mark, pipe(arc(0, 0, radius, 128, 178, 6), 0.019, fine(8)));
  }

  const sparks = prop("sparks", 0, 0.72, 0);
  for (const [x, y, size, material] of [[-0.78, 0.28, 1, mark], [-0.36, 0.56, 0.7, glow], [0.34, 0.57, 1, mark], [0.8, 0.3, 0.8, glow], [-0.78, -0.28, 0.6, glow], [0.76, -0.2, 0.75, mark]] as const) {
    for (const turn of [0, Math.PI / 2]) put(sparks, material, pebble(0.028 * size, 0.1 * size, 0.02 * size, 1.15, 6).rotateZ(turn), x, y, 0);
  }

  for (const [to, parts] of heap) {
    for (const [material, list] of parts) {
      const mesh = new Mesh(merge(list), material);
      mesh.name = `${to.name}_${material.name}`;
      to.add(mesh);
    }
  }

  const rig: Rig = {
    root,
    bones,
    faces,
    setColors(to) {
      shell.color.set(to.shell);
      accent.color.set(to.accent);
      glass.color.set(to.glass);
      glow.color.set(to.glow);
      mark.color.set(to.accent).lerp(glow.color, 0.06);
      joint.color.set(to.glass).lerp(new Color(to.shell), 0.09);
      shine.color.set(0xffffff);
    },
    dispose() {
      root.traverse((part) => (part as Mesh).geometry?.dispose());
      for (const material of materials) material.dispose();
    },
  };
  rig.setColors(colors);
  return rig;
}
