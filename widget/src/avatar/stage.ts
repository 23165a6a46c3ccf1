/**
 * The 3D stage: renderer, scene, loop. Loaded on its own when a panel opens (`index.ts`); everything of three.js is behind it.
 *
 * It draws only while somebody can see it: active, on screen, in a visible tab. Under reduced motion it draws one frame per
 * animation. `dispose` frees every buffer and gives the context back.
 */

import { type Mesh, NeutralToneMapping, NoToneMapping, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import type { AvatarColors, AvatarConfig } from "../config.ts";
import type { Body } from "./body.ts";
import { breathe } from "./breathe.ts";
import { firstRatio, FrameWatch, Sharpness } from "./framewatch.ts";
import { Life, STILL } from "./layers.ts";
import { addLights, frame, makeEnvironment, ROOM_LIGHT } from "./lights.ts";
import { cheapen, meshesOf } from "./materials.ts";
import { Player } from "./player.ts";
import { makeRobotBody } from "./robotbody.ts";
import type { Choice } from "./tiers.ts";
import type { Figure } from "./types.ts";

export interface StageOptions {
  readonly container: HTMLElement;
  readonly config: AvatarConfig;
  readonly colors: AvatarColors;
  readonly tier: "full" | "low";
  readonly reducedMotion: boolean;
  /** Whether the processor draws. */
  readonly isSoftware: boolean;
  /** The animation to begin with. */
  readonly playing: string;
  /** Whether drawing is wanted now; `setActive` changes it. */
  readonly active: boolean;
  /** The frames are too slow for this tier. Not called when the caller does not want to hear (a tier that somebody set). */
  readonly onSlow: ((choice: Choice) => void) | null;
  /** The context is gone; the stage has stopped. `back`: the browser gives it again. */
  readonly onLost: (back: Promise<void>) => void;
  /** Ends the making of a stage that nobody wants any more. */
  readonly signal: AbortSignal;
}

export interface Stage extends Figure {
  readonly canvas: HTMLCanvasElement;
  /** From the renderer's making to the first frame on the screen; downloads not counted. */
  readonly firstFrameMs: number;
  /** Why the robot stands here instead of the model that was asked for; null: nothing of the kind. */
  readonly instead: string | null;
  readonly frames: number;
  /** Geometries, textures and programs that the renderer holds. */
  held(): { geometries: number; textures: number; programs: number };
}

/** Coarse pointers are phones: half the frames are enough. */
const CAP_FPS = 30;
const FREE_FPS = 60;
/** Idle for so long: nobody needs 60 frames a second of breathing. */
const CALM_AFTER_MS = 6000;
const WINDOW_MS = 500;
/** How often and how long the shaders are waited for; after that the page waits for them. */
const FENCE_MS = 4;
const FENCE_TRIES = 500;
/** A frame after a pause does not jump. */
const MAX_STEP_S = 0.1;

/** Makes a stage whose first frame is drawn. Rejects when WebGL does, or with the signal's reason. */
export async function createStage(options: StageOptions): Promise<Stage> {
  const { body, instead } = await makeBody(options);
  let live: LiveStage | null = null;
  try {
    options.signal.throwIfAborted();
    await breathe();
    live = new LiveStage(options, body, instead);
    await live.warm();
    options.signal.throwIfAborted();
    return live;
  } catch (error) {
    if (live === null) body.dispose();
    else live.dispose();
    throw error;
  }
}

async function makeBody(options: StageOptions): Promise<{ body: Body; instead: string | null }> {
  const { config } = options;
  if (config.kind === "model" && config.url !== null) {
    try {
      const { loadModel } = await import("./model.ts");
      const body = await loadModel(config.url, config.clips, options.signal);
      if (options.tier === "low") cheapen(body.root);
      return { body, instead: null };
    } catch (error) {
      options.signal.throwIfAborted();
      const instead = error instanceof Error ? error.message : String(error);
      return { body: await makeRobotBody(options.colors, options.tier === "low"), instead };
    }
  }
  return { body: await makeRobotBody(options.colors, options.tier === "low"), instead: null };
}

class LiveStage implements Stage {
  readonly tier: "full" | "low";
  readonly canvas: HTMLCanvasElement;
  readonly instead: string | null;
  firstFrameMs = 0;
  frames = 0;

  readonly #options: StageOptions;
  readonly #body: Body;
  readonly #renderer: WebGLRenderer;
  readonly #scene = new Scene();
  readonly #camera = new PerspectiveCamera(24, 1, 0.1, 50);
  readonly #player: Player;
  readonly #life = new Life();
  readonly #watch: FrameWatch;
  readonly #sharpness: Sharpness | null;
  readonly #seen: IntersectionObserver;
  readonly #sized: ResizeObserver;
  readonly #coarse: boolean;
  readonly #madeMs: number;
  #environment: ReturnType<typeof makeEnvironment> | null = null;
  #ratio: number;
  #active: boolean;
  #onScreen = true;
  #ready = false;
  #gone = false;
  #request = 0;
  #lastMs = 0;
  #busyMs = 0;
  #playing: string;
  #windowMs = 0;
  #windowFrames = 0;

  constructor(options: StageOptions, body: Body, instead: string | null) {
    this.#madeMs = performance.now();
    this.#options = options;
    this.#body = body;
    this.tier = options.tier;
    this.instead = instead;
    this.#active = options.active;
    this.#playing = options.playing;
    this.#watch = new FrameWatch(options.tier);
    const full = options.tier === "full";
    this.canvas = options.container.ownerDocument.createElement("canvas");
    this.#renderer = new WebGLRenderer({ canvas: this.canvas, alpha: true, antialias: full, powerPreference: "low-power" });
    this.#renderer.toneMapping = full ? NeutralToneMapping : NoToneMapping;
    this.#ratio = firstRatio(this.tier, globalThis.devicePixelRatio, options.reducedMotion);
    // Where the processor draws, every pixel is taken from the page.
    this.#sharpness = full || options.isSoftware ? null : new Sharpness(this.#ratio);
    addLights(this.#scene, !full);
    this.#scene.add(body.root);
    this.#player = new Player(body.root, body.clips);
    this.#coarse = globalThis.matchMedia("(pointer: coarse)").matches;
    this.canvas.addEventListener("webglcontextlost", this.#onLost);
    this.#seen = new IntersectionObserver((entries) => {
      this.#onScreen = entries.at(-1)?.isIntersecting ?? true;
      this.#wake();
    });
    this.#sized = new ResizeObserver(this.#resize);
    globalThis.addEventListener("resize", this.#resize); // a zoom need not change the container's CSS pixels
    this.canvas.ownerDocument.addEventListener("visibilitychange", this.#wake);
  }

  /** Compile the shaders, then draw the first frame; the canvas is in the page when this is done. */
  async warm(): Promise<void> {
    if (this.tier === "full") {
      this.#environment = makeEnvironment(this.#renderer);
      this.#scene.environment = this.#environment.texture;
      this.#scene.environmentIntensity = ROOM_LIGHT;
      await breathe();
    }
    this.canvas.ariaHidden = "true";
    const { style } = this.canvas;
    style.position = "absolute";
    style.inset = "0";
    style.width = style.height = "100%";
    style.opacity = "0";
    this.#options.container.append(this.canvas);
    this.#size();
    this.#start(0);
    await this.#compile();
    if (this.#gone || this.#options.signal.aborted) throw new Error("the WebGL context was lost");
    await breathe();
    this.#step(0);
    await this.#settled();
    await shown();
    this.firstFrameMs = performance.now() - this.#madeMs;
    this.#ready = true;
    this.#seen.observe(this.canvas);
    this.#sized.observe(this.#options.container);
    this.#wake();
    // A page in the background draws late, however fast the machine.
    if (!this.canvas.ownerDocument.hidden) this.#tell(this.#watch.first(this.firstFrameMs));
  }

  /**
   * Shaders, beside the page's own work where the browser can. One mesh of each kind after the other is drawn then, behind the
   * face: the first frame of all of them at once would be one long task.
   */
  async #compile(): Promise<void> {
    if (this.#renderer.extensions.has("KHR_parallel_shader_compile")) await this.#renderer.compileAsync(this.#scene, this.#camera);
    const meshes = meshesOf(this.#body.root);
    const kinds = new Map(meshes.map((mesh) => [kindOf(mesh), mesh]));
    for (const mesh of meshes) mesh.layers.disableAll();
    for (const mesh of kinds.values()) {
      mesh.layers.set(0);
      await breathe();
      if (this.#gone || this.#options.signal.aborted) return;
      this.#renderer.render(this.#scene, this.#camera);
      await this.#settled();
    }
    for (const mesh of meshes) mesh.layers.set(0);
  }

  /** All that was asked of WebGL is drawn. Asked for again and again: a page that waits for it otherwise stands still meanwhile. */
  async #settled(): Promise<void> {
    const gl = this.#renderer.getContext() as WebGL2RenderingContext;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (fence === null) return;
    gl.flush();
    for (let tries = 0; tries < FENCE_TRIES && !this.#options.signal.aborted; tries++) {
      if (gl.clientWaitSync(fence, 0, 0) !== gl.TIMEOUT_EXPIRED) break;
      await new Promise((resolve) => setTimeout(resolve, FENCE_MS));
    }
    gl.deleteSync(fence);
  }

  play(name: string): void {
    this.#playing = name;
    this.#busyMs = performance.now();
    this.#start();
    if (this.#options.reducedMotion && this.#ready) this.#step(0);
  }

  speak(level: number): void {
    this.#busyMs = performance.now();
    this.#life.speak(level);
  }

  look(x: number, y: number): void {
    this.#life.look(x, y);
  }

  setColors(colors: AvatarColors): void {
    this.#body.setColors(colors);
    if (this.#ready && !this.#gone) this.#step(0);
  }

  setActive(active: boolean): void {
    this.#active = active;
    this.#wake();
  }

  held(): { geometries: number; textures: number; programs: number } {
    const { memory, programs } = this.#renderer.info;
    return { geometries: memory.geometries, textures: memory.textures, programs: programs?.length ?? 0 };
  }

  dispose(): void {
    this.#gone = true;
    cancelAnimationFrame(this.#request);
    this.#seen.disconnect();
    this.#sized.disconnect();
    globalThis.removeEventListener("resize", this.#resize);
    this.canvas.ownerDocument.removeEventListener("visibilitychange", this.#wake);
    this.canvas.removeEventListener("webglcontextlost", this.#onLost);
    this.#player.dispose();
    this.#scene.clear();
    this.#body.dispose();
    this.#environment?.dispose();
    this.#renderer.dispose();
    if (!this.#renderer.getContext().isContextLost()) this.#renderer.forceContextLoss();
    this.canvas.remove();
  }

  #start(fadeS?: number): void {
    const still = this.#options.reducedMotion;
    this.#body.start(this.#playing, still);
    if (still) this.#player.pose(this.#playing);
    else this.#player.play(this.#playing, fadeS);
  }

  readonly #wake = (): void => {
    cancelAnimationFrame(this.#request);
    this.#windowMs = this.#windowFrames = 0;
    const seen = this.#active && this.#onScreen && !this.canvas.ownerDocument.hidden;
    if (!seen || !this.#ready || this.#gone || this.#options.reducedMotion) return;
    this.#lastMs = performance.now();
    this.#request = requestAnimationFrame(this.#tick);
  };

  readonly #tick = (nowMs: number): void => {
    this.#request = requestAnimationFrame(this.#tick);
    const calm = this.#coarse || (this.#playing === "idle" && nowMs - this.#busyMs > CALM_AFTER_MS);
    const cap = calm ? CAP_FPS : FREE_FPS;
    const passed = nowMs - this.#lastMs;
    // A third of a frame early is on time: requests come at the screen's rate, not at ours.
    if (passed < 667 / cap) return;
    this.#lastMs = nowMs;
    this.#step(Math.min(MAX_STEP_S, passed / 1000));
    this.#windowMs += passed;
    this.#windowFrames += 1;
    if (this.#windowMs < WINDOW_MS) return;
    this.#tell(this.#watch.window(this.#windowFrames, this.#windowMs, cap));
    const sharper = this.#sharpness?.window(this.#windowFrames, this.#windowMs, cap, globalThis.devicePixelRatio) ?? null;
    if (sharper !== null) {
      this.#ratio = sharper;
      this.#resize();
    }
    this.#windowMs = this.#windowFrames = 0;
  };

  #tell(choice: Choice | null): void {
    if (choice !== null) this.#options.onSlow?.(choice);
  }

  #step(dt: number): void {
    const still = this.#options.reducedMotion;
    if (!still) this.#player.update(dt);
    this.#body.layer(still ? STILL : this.#life.update(dt));
    this.#renderer.render(this.#scene, this.#camera);
    this.frames += 1;
  }

  #size(): void {
    const { clientWidth, clientHeight } = this.#options.container;
    const width = Math.max(1, clientWidth);
    const height = Math.max(1, clientHeight);
    // The ratio of the screen changes, too: with the zoom, or the window on another one.
    this.#renderer.setPixelRatio(this.tier === "full" ? firstRatio("full", globalThis.devicePixelRatio, false) : this.#ratio);
    this.#renderer.setSize(width, height, false);
    frame(this.#camera, this.#body.view, width / height);
  }

  readonly #resize = (): void => {
    if (!this.#ready || this.#gone || this.#options.container.clientWidth === 0) return;
    this.#size();
    this.#step(0);
  };

  readonly #onLost = (event: Event): void => {
    event.preventDefault();
    if (this.#gone) return;
    this.#gone = true;
    cancelAnimationFrame(this.#request);
    const back = new Promise<void>((resolve) => {
      const restored = (): void => {
        this.#renderer.getContext().getExtension("WEBGL_lose_context")?.loseContext(); // another canvas goes on; a browser has but a few contexts
        resolve();
      };
      this.canvas.addEventListener("webglcontextrestored", restored, { once: true });
    });
    if (this.#ready) this.#options.onLost(back);
  };
}

/** Meshes of one kind share a shader. */
function kindOf(mesh: Mesh): string {
  const { type, vertexColors } = Array.isArray(mesh.material) ? (mesh.material[0] ?? {}) : mesh.material;
  return `${type} ${vertexColors} ${mesh.morphTargetInfluences?.length} ${mesh.type}`;
}

/** The frame after the one that is being drawn; soon in a page that draws none. */
function shown(): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1500);
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        clearTimeout(timer);
        resolve();
      }),
    );
  });
}
