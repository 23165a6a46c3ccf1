/**
 * Our robot as a GLB file, with its nine clips: a download for those who want to change it, and the model that tests load by
 * address. Called by `widget/build.mjs` in Node, where three.js' exporter misses two things of a browser.
 */

import type { BufferGeometry, Mesh } from "three";
import { GLTFExporter } from "three/examples/jsm/exporters/GLTFExporter.js";
import type { AvatarColors } from "../config.ts";
import { buildClips } from "./clips.ts";
import { buildRobot } from "./robot.ts";

/** The colours of a chatbot that nobody has set any for. */
export const COLORS: AvatarColors = { shell: "#f3f5fb", accent: "#5b6cff", glass: "#141a33", glow: "#7df3ff" };

export async function exportRobot(colors: AvatarColors = COLORS): Promise<Uint8Array> {
  const rig = buildRobot(colors, false);
  const animations = [...buildClips(rig).values()].map((clip) => clip.clip);
  rig.root.traverse((object) => mendNormals((object as Partial<Mesh>).geometry));
  const restore = bringReader();
  try {
    // Props are hidden by their scale and stay in the file, whatever clip plays first.
    const file = await new GLTFExporter().parseAsync(rig.root, { binary: true, animations, onlyVisible: false });
    return new Uint8Array(file as ArrayBuffer);
  } finally {
    restore();
    rig.dispose();
  }
}

/** glTF asks for normals of length one; the tip of a lathe may have none at all. */
function mendNormals(geometry: BufferGeometry | undefined): void {
  const normal = geometry?.getAttribute("normal");
  if (geometry === undefined || normal === undefined) return;
  geometry.normalizeNormals();
  for (let i = 0; i < normal.count; i++) {
    if (Math.hypot(normal.getX(i), normal.getY(i), normal.getZ(i)) < 0.5) normal.setXYZ(i, 0, 1, 0);
  }
}

/** The part of FileReader that the exporter asks for, for as long as it runs. Node has Blob, but no reader of it. */
function bringReader(): () => void {
  const scope = globalThis as { FileReader?: unknown };
  if (scope.FileReader !== undefined) return () => {};
  class BlobReader {
    result: ArrayBuffer | string | null = null;
    onloadend: (() => void) | null = null;

    readAsArrayBuffer(blob: Blob): void {
      void blob.arrayBuffer().then((bytes) => {
        this.result = bytes;
        this.onloadend?.();
      });
    }

    readAsDataURL(blob: Blob): void {
      void blob.arrayBuffer().then((bytes) => {
        const letters = Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
        this.result = `data:${blob.type};base64,${btoa(letters)}`;
        this.onloadend?.();
      });
    }
  }
  scope.FileReader = BlobReader;
  return () => {
    delete scope.FileReader;
  };
}
