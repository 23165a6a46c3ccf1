/** Light and camera of the stage. The full tier adds reflections of a small painted room, made by code: no image to download. */

import {
  BackSide,
  Color,
  DirectionalLight,
  HemisphereLight,
  Mesh,
  MeshBasicMaterial,
  type PerspectiveCamera,
  PMREMGenerator,
  Scene,
  SphereGeometry,
  type WebGLRenderer,
} from "three";
import type { View } from "./body.ts";

const MARGIN = 1.06;

/** Sky, key and rim light. */
export function addLights(scene: Scene, cheap: boolean): void {
  const key = new DirectionalLight(0xffffff, cheap ? 1.75 : 2.1);
  key.position.set(1.4, 2.6, 3);
  const rim = new DirectionalLight(0xaebdff, cheap ? 1.1 : 1.6);
  rim.position.set(-2.4, 1.8, -1.8);
  scene.add(new HemisphereLight(0xffffff, 0x8d97c6, cheap ? 1.7 : 0.55), key, rim);
}

/** How bright the painted room lights the body. */
export const ROOM_LIGHT = 0.55;

/** Lamps of the painted room: colour, brightness, place, radius. */
const LAMPS = [
  [0xffffff, 3.2, 0.6, 4, 2, 1.5],
  [0xa9bcff, 1.6, -4, 1.2, 1, 1.1],
  [0xffe0cc, 1.5, 4, 0.6, 2, 0.9],
  [0x323a5e, 1, 0, -4.4, 0, 3],
] as const;

/** The room as an environment map. The caller disposes of it. */
export function makeEnvironment(renderer: WebGLRenderer): ReturnType<PMREMGenerator["fromScene"]> {
  const room = new Scene();
  room.add(new Mesh(new SphereGeometry(6, 16, 12), new MeshBasicMaterial({ color: 0xb4bfdd, side: BackSide })));
  for (const [color, brightness, x, y, z, radius] of LAMPS) {
    const lamp = new Mesh(
      new SphereGeometry(radius, 12, 8),
      new MeshBasicMaterial({ color: new Color(color).multiplyScalar(brightness) }),
    );
    lamp.position.set(x, y, z);
    room.add(lamp);
  }
  const generator = new PMREMGenerator(renderer);
  const target = generator.fromScene(room, 0.04);
  generator.dispose();
  room.traverse((object) => {
    if (!(object instanceof Mesh)) return;
    object.geometry.dispose();
    (object.material as MeshBasicMaterial).dispose();
  });
  return target;
}

/** Puts the camera where the whole of `view` is seen in a window of `aspect` (width / height). */
export function frame(camera: PerspectiveCamera, view: View, aspect: number): void {
  const half = Math.tan((camera.fov * Math.PI) / 360);
  const height = Math.max(view.height, view.width / Math.max(aspect, 0.01)) * MARGIN;
  const distance = height / 2 / half;
  camera.aspect = aspect;
  camera.near = Math.max(0.01, distance - view.width - view.height);
  camera.far = distance + 2 * (view.width + view.height);
  camera.position.set(view.x, view.y + height * 0.035, view.z + distance);
  camera.lookAt(view.x, view.y, view.z);
  camera.updateProjectionMatrix();
}
