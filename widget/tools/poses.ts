/**
 * Page of `bench/poses.py`: draws the nine animations into one picture. Not part of the widget.
 *
 * `?tier=full|low|2d`, `&size=` pixels of a picture, `&scheme=light|dark`, `&names=0`: without captions, `&order=a,b,c`: these animations in
 * this order, `&shell=`, `&accent=`, `&glass=`, `&glow=`: colours. 3D: `&frames=N`, strips of N moments of each animation instead of the
 * most telling one. 2D: `&moving=MS`, with motion, ready after so many milliseconds.
 */

import { AnimationMixer, NeutralToneMapping, NoToneMapping, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { buildClips } from "../src/avatar/clips.ts";
import { mountFace } from "../src/avatar/face.ts";
import { addLights, frame, makeEnvironment } from "../src/avatar/lights.ts";
import { buildRobot, FRAMING } from "../src/avatar/robot.ts";
import { ANIMATIONS, type AnimationName, type Figure } from "../src/avatar/types.ts";

const query = new URLSearchParams(location.search);
const tier = query.get("tier") ?? "full";
const size = Number(query.get("size") ?? 320);
const frames = Number(query.get("frames") ?? 0);
const dark = query.get("scheme") === "dark";
const captions = query.get("names") !== "0";
const order = (query.get("order")?.split(",") ?? [...ANIMATIONS]) as AnimationName[];
const colors = {
  shell: query.get("shell") ?? "#f4f6fb",
  accent: query.get("accent") ?? "#4f5bd5",
  glass: query.get("glass") ?? "#141a33",
  glow: query.get("glow") ?? "#7df3ff",
};

const columns = frames || (order.length % 3 === 0 ? 3 : order.length);
document.body.style.cssText = `margin:0;display:grid;width:${columns * size}px;grid-template-columns:repeat(${columns},${size}px);font:12px system-ui;color:${dark ? "#cdd3ee" : "#30365a"};background:${dark ? "#0f1220" : "#fff"}`;

function cell(caption: string): HTMLElement {
  const box = document.createElement("div");
  box.style.cssText = `position:relative;width:${size}px;height:${size}px;overflow:hidden;background:${dark ? "radial-gradient(circle at 50% 35%,#2a3052,#141829)" : "radial-gradient(circle at 50% 35%,#ffffff,#dfe4f6)"}`;
  document.body.append(box);
  if (captions) {
    const text = document.createElement("span");
    text.textContent = caption;
    text.style.cssText = "position:absolute;left:10px;top:8px";
    box.append(text);
  }
  return box;
}

async function draw3d(): Promise<void> {
  const cheap = tier === "low";
  const renderer = new WebGLRenderer({ alpha: true, antialias: !cheap, preserveDrawingBuffer: true });
  renderer.setSize(size, size, false);
  renderer.toneMapping = cheap ? NoToneMapping : NeutralToneMapping;
  const scene = new Scene();
  addLights(scene, cheap);
  if (!cheap) {
    scene.environment = makeEnvironment(renderer).texture;
    scene.environmentIntensity = 0.7;
  }
  const camera = new PerspectiveCamera(28, 1, 0.1, 30);
  frame(camera, { x: 0, y: FRAMING.middleY, z: 0, width: FRAMING.width, height: FRAMING.height }, 1);
  const rig = buildRobot(colors, cheap);
  scene.add(rig.root);
  const clips = buildClips(rig);
  const mixer = new AnimationMixer(rig.root);
  const took: number[] = [];
  for (const name of order) {
    const { clip, stillAt } = clips.get(name)!;
    const times = frames ? Array.from({ length: frames }, (_, at) => (clip.duration * at) / (frames - 1 || 1)) : [stillAt];
    for (const time of times) {
      mixer.stopAllAction();
      mixer.clipAction(clip).reset().play();
      mixer.setTime(Math.min(time, clip.duration - 1e-4));
      const start = performance.now();
      renderer.render(scene, camera);
      renderer.getContext().finish();
      took.push(performance.now() - start);
      const copy = document.createElement("canvas");
      copy.width = copy.height = size;
      copy.getContext("2d")!.drawImage(renderer.domElement, 0, 0);
      cell(`${name}${frames ? ` ${time.toFixed(2)} s` : ""}`).append(copy);
    }
  }
  const ms = took.sort((a, b) => a - b)[took.length >> 1]!;
  document.title = JSON.stringify({ triangles: renderer.info.render.triangles, calls: renderer.info.render.calls, ms: Math.round(ms * 10) / 10 });
}

/** For tests, which find them as `faces`. */
const faces: Figure[] = [];
Object.assign(globalThis, { faces });

async function draw2d(): Promise<void> {
  for (const name of order) {
    const figure = mountFace(cell(name), colors, !query.has("moving"));
    figure.play(name);
    faces.push(figure);
  }
  await new Promise((done) => setTimeout(done, Number(query.get("moving") ?? 300)));
  document.title = "{}";
}

await (tier === "2d" ? draw2d() : draw3d());
document.body.dataset["ready"] = "yes";
