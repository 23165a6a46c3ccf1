/**
 * The shapes that the robot is made of: solids with their normals worked out (so that no seam shows), and the flat shapes of the face
 * that lie on the visor and change into one another. Called by `robot.ts`.
 *
 * Units: the robot is about 1.9 high. x goes to the viewer's right, y up, z towards the viewer.
 */

import { BufferGeometry, Float32BufferAttribute, Mesh, type Material } from "three";

export type Point = readonly [x: number, y: number, z: number];
export type Point2 = readonly [x: number, y: number];

/** Half axes and roundness (2: an ellipsoid; more: towards a box) of the head, around its middle. */
export const HEAD = { x: 0.47, y: 0.365, z: 0.37, power: 2.7 } as const;
/** Half axes and roundness of the visor, seen from the front. */
const VISOR = { x: 0.372, y: 0.252, power: 3.4, lift: 0.022 } as const;
/** How far the lights of the face lie above the glass. */
const ABOVE = 0.006;

export function solid(positions: number[], normals: number[] | null, index: number[]): BufferGeometry {
  const made = new BufferGeometry();
  made.setAttribute("position", new Float32BufferAttribute(positions, 3));
  made.setIndex(index);
  if (normals) made.setAttribute("normal", new Float32BufferAttribute(normals, 3));
  else made.computeVertexNormals();
  return made;
}

/** Triangles between `rings` rings of `sides` points each; the last point of a ring joins its first. */
function skin(rings: number, sides: number, closed = false): number[] {
  const index: number[] = [];
  for (let ring = 0; ring < (closed ? rings : rings - 1); ring++) {
    const next = (ring + 1) % rings;
    for (let side = 0; side < sides; side++) {
      const other = (side + 1) % sides;
      const [a, b, c, d] = [ring * sides + side, ring * sides + other, next * sides + side, next * sides + other];
      index.push(a, c, b, b, c, d);
    }
  }
  return index;
}

/** A rounded box or egg: |x/a|^power + |y/b|^power + |z/c|^power = 1, around the origin. */
export function pebble(a: number, b: number, c: number, power: number, sides: number): BufferGeometry {
  const rings = Math.ceil(sides * 0.6);
  const positions: number[] = [];
  const normals: number[] = [];
  const slope = (value: number, half: number): number => (Math.sign(value) * Math.abs(value / half) ** (power - 1)) / half;
  for (let ring = 0; ring <= rings; ring++) {
    const polar = (Math.PI * ring) / rings;
    for (let side = 0; side < sides; side++) {
      const turn = (2 * Math.PI * side) / sides;
      const [dx, dy, dz] = [Math.sin(polar) * Math.sin(turn) * a, Math.cos(polar) * b, Math.sin(polar) * Math.cos(turn) * c];
      const grow = (Math.abs(dx / a) ** power + Math.abs(dy / b) ** power + Math.abs(dz / c) ** power) ** (-1 / power);
      const [x, y, z] = [dx * grow, dy * grow, dz * grow];
      const [nx, ny, nz] = [slope(x, a), slope(y, b), slope(z, c)];
      const length = Math.hypot(nx, ny, nz);
      positions.push(x, y, z);
      normals.push(nx / length, ny / length, nz / length);
    }
  }
  return solid(positions, normals, skin(rings + 1, sides));
}

/** Rings of `radii` around `middles`, which run along `along`; a ring's first point lies towards `up`. */
function sweep(middles: readonly Point[], along: readonly Point[], radii: readonly number[], up: Point, sides: number, closed: boolean): BufferGeometry {
  const positions: number[] = [];
  const normals: number[] = [];
  const last = middles.length - 1;
  middles.forEach((middle, at) => {
    const t = along[at]!;
    const before = closed ? (at + last) % (last + 1) : Math.max(0, at - 1);
    const after = closed ? (at + 1) % (last + 1) : Math.min(last, at + 1);
    // The normal leans back by the slope of the radius along the line.
    const [p, q] = [middles[before]!, middles[after]!];
    const run = closed ? 1 : (q[0] - p[0]) * t[0] + (q[1] - p[1]) * t[1] + (q[2] - p[2]) * t[2];
    const rise = closed ? 0 : radii[after]! - radii[before]!;
    const steep = Math.hypot(run, rise) || 1;
    const dot = up[0] * t[0] + up[1] * t[1] + up[2] * t[2];
    const n = unit([up[0] - t[0] * dot, up[1] - t[1] * dot, up[2] - t[2] * dot]);
    const b: Point = [t[1] * n[2] - t[2] * n[1], t[2] * n[0] - t[0] * n[2], t[0] * n[1] - t[1] * n[0]];
    for (let side = 0; side < sides; side++) {
      const turn = (2 * Math.PI * side) / sides;
      for (let axis = 0; axis < 3; axis++) {
        const out = n[axis]! * Math.cos(turn) + b[axis]! * Math.sin(turn);
        positions.push(middle[axis]! + out * radii[at]!);
        normals.push((out * run - t[axis]! * rise) / steep);
      }
    }
  });
  const index = skin(middles.length, sides, closed);
  return solid(positions, normals, index.reverse());
}

export function unit(p: Point): Point {
  const length = Math.hypot(p[0], p[1], p[2]) || 1;
  return [p[0] / length, p[1] / length, p[2] / length];
}

/** A pipe with round ends along a line of points; `up` must not run along it. */
export function pipe(line: readonly Point[], radius: number, sides: number, closed = false, up: Point = [0, 0, 1]): BufferGeometry {
  const last = line.length - 1;
  const along = line.map((_, at) => {
    const p = line[closed ? (at + last) % (last + 1) : Math.max(0, at - 1)]!;
    const q = line[closed ? (at + 1) % (last + 1) : Math.min(last, at + 1)]!;
    return unit([q[0] - p[0], q[1] - p[1], q[2] - p[2]]);
  });
  if (closed) return sweep(line, along, line.map(() => radius), up, sides, true);
  const steps = 3;
  const end = (at: number, sign: number, step: number): [Point, Point, number] => {
    const [p, t] = [line[at]!, along[at]!];
    const turn = (step / steps) * (Math.PI / 2);
    const reach = sign * radius * Math.sin(turn);
    return [[p[0] + t[0] * reach, p[1] + t[1] * reach, p[2] + t[2] * reach], t, radius * Math.cos(turn)];
  };
  const rings: [Point, Point, number][] = [];
  for (let step = steps; step > 0; step--) rings.push(end(0, -1, step));
  line.forEach((p, at) => rings.push([p, along[at]!, radius]));
  for (let step = 1; step <= steps; step++) rings.push(end(last, 1, step));
  return sweep(rings.map((r) => r[0]), rings.map((r) => r[1]), rings.map((r) => r[2]), up, sides, false);
}

/** A body turned on a lathe around the y axis, from a profile of (radius, y), bottom to top. */
export function turned(profile: readonly Point2[], sides: number): BufferGeometry {
  const middles = profile.map(([, y]): Point => [0, y, 0]);
  return sweep(middles, middles.map((): Point => [0, 1, 0]), profile.map(([r]) => r), [0, 0, 1], sides, false);
}

/** Points of an arc in the xy plane, angles in degrees from the x axis. */
export function arc(x: number, y: number, radius: number, from: number, to: number, steps: number, z = 0): Point[] {
  return Array.from({ length: steps + 1 }, (_, at) => {
    const angle = ((from + ((to - from) * at) / steps) * Math.PI) / 180;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle), z];
  });
}

/** Outline of a card with round corners, counter-clockwise. */
export function card(a: number, b: number, corner: number, z = 0): Point[] {
  return [0, 90, 180, 270].flatMap((from) => {
    const x = (from === 0 || from === 270 ? 1 : -1) * (a - corner);
    return arc(x, (from < 180 ? 1 : -1) * (b - corner), corner, from, from + 90, 5, z);
  });
}

/** The face of such a card. */
export function plate(line: readonly Point[]): BufferGeometry {
  const middle = [0, 1, 2].map((axis) => line.reduce((sum, point) => sum + point[axis]!, 0) / line.length);
  const index = line.flatMap((_, at) => [0, at + 1, ((at + 1) % line.length) + 1]);
  return solid([...middle, ...line.flat()], null, index);
}

/** Height of the visor over the head's middle. */
export function visorZ(x: number, y: number): number {
  const inside = Math.max(0.02, 1 - Math.abs(x / HEAD.x) ** HEAD.power - Math.abs(y / HEAD.y) ** HEAD.power);
  const edge = Math.abs(x / VISOR.x) ** VISOR.power + Math.abs(y / VISOR.y) ** VISOR.power;
  return HEAD.z * inside ** (1 / HEAD.power) + VISOR.lift * (1 - Math.min(1, edge) ** 2);
}

function onVisor(turn: number, r: number): Point2 {
  const [c, s] = [Math.cos(turn), Math.sin(turn)];
  const grow = r * (Math.abs(c) ** VISOR.power + Math.abs(s) ** VISOR.power) ** (-1 / VISOR.power);
  return [c * grow * VISOR.x, s * grow * VISOR.y];
}

/** The glass, around the head's middle. */
export function visor(sides: number): BufferGeometry {
  const positions: number[] = [];
  const rings = Math.ceil(sides / 4);
  for (let ring = 0; ring <= rings + 1; ring++) {
    for (let side = 0; side < sides; side++) {
      const [x, y] = onVisor((2 * Math.PI * side) / sides, Math.min(1, ring / rings));
      positions.push(x, y, visorZ(x, y) - (ring > rings ? 0.03 : 0));
    }
  }
  return solid(positions, null, skin(rings + 2, sides));
}

/** The rim around the glass. */
export function bezel(sides: number, radius: number): BufferGeometry {
  const line = Array.from({ length: sides }, (_, at): Point => {
    const [x, y] = onVisor((2 * Math.PI * at) / sides, 1.0);
    return [x, y, visorZ(x, y) + 0.002];
  });
  return pipe(line, radius, 6, true);
}

/** A gleam on the upper edge of the glass, for light without reflections. */
export function gleam(): BufferGeometry {
  const positions: number[] = [];
  const steps = 12;
  for (let at = 0; at <= steps; at++) {
    const turn = (0.16 + (0.2 * at) / steps) * Math.PI;
    const thick = 0.05 * Math.sin((Math.PI * at) / steps);
    for (const r of [0.9, 0.9 - thick]) {
      const [x, y] = onVisor(turn, r);
      positions.push(x, y, visorZ(x, y) + ABOVE / 2);
    }
  }
  const index: number[] = [];
  for (let at = 0; at < steps; at++) index.push(at * 2, at * 2 + 2, at * 2 + 1, at * 2 + 1, at * 2 + 2, at * 2 + 3);
  return solid(positions, null, index);
}

/** A flat shape as its upper and lower line: y of both for each x, from left to right. */
export type Outline = readonly (readonly [x: number, top: number, bottom: number])[];

const COLUMNS = 24;

export function outline(line: (u: number) => readonly [x: number, top: number, bottom: number]): Outline {
  return Array.from({ length: COLUMNS + 1 }, (_, at) => line((at / COLUMNS) * 2 - 1));
}

/** Half height of a rounded end at u in -1..1. */
export function round(u: number, power = 2.6): number {
  return Math.max(0, 1 - Math.abs(u) ** power) ** (1 / power);
}

/** A light of the face that changes between shapes: the first is its base, the others its morph targets by name. */
export function light(name: string, material: Material, x: number, y: number, shapes: Readonly<Record<string, Outline>>): Mesh {
  const rows = [0, 0.5, 1];
  // The light may be moved (gaze): it is laid on the glass where it rests.
  const points = (shape: Outline): number[] =>
    shape.flatMap(([px, top, bottom]) =>
      rows.flatMap((row) => {
        const py = top + (bottom - top) * row;
        return [px, py, visorZ(px + x, py + y) + ABOVE];
      }),
    );
  const [base, ...others] = Object.entries(shapes);
  const resting = points(base![1]);
  const index: number[] = [];
  for (let at = 0; at < COLUMNS; at++) {
    for (let row = 0; row < 2; row++) {
      const a = at * 3 + row;
      index.push(a, a + 1, a + 3, a + 1, a + 4, a + 3);
    }
  }
  const made = solid(resting, null, index);
  made.morphTargetsRelative = true;
  made.morphAttributes.position = others.map(([target, shape]) => {
    const moved = new Float32BufferAttribute(points(shape).map((value, at) => value - resting[at]!), 3);
    moved.name = target;
    return moved;
  });
  const mesh = new Mesh(made, material);
  mesh.name = name;
  mesh.updateMorphTargets();
  mesh.frustumCulled = false;
  return mesh;
}

/** One geometry out of several, with positions and normals only; the parts are disposed of. */
export function merge(parts: readonly BufferGeometry[]): BufferGeometry {
  const positions: number[] = [];
  const normals: number[] = [];
  const index: number[] = [];
  for (const part of parts) {
    const start = positions.length / 3;
    for (const value of part.getAttribute("position").array) positions.push(value);
    for (const value of part.getAttribute("normal").array) normals.push(value);
    for (const value of part.getIndex()!.array) index.push(start + value);
    part.dispose();
  }
  return solid(positions, normals, index);
}
