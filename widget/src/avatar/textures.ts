/**
 * Images of a model, decoded from its own bytes. GLTFLoader makes blob: addresses for them, which a strict CSP forbids; and
 * textures come in sizes for games, where the avatar has a few hundred pixels. Registered by `model.ts`.
 */

import { Texture } from "three";
import type { GLTFLoaderPlugin, GLTFParser } from "three/examples/jsm/loaders/GLTFLoader.js";
import type { ImageEntry } from "./download.ts";

const MAX_PIXELS = 1024;

interface OpenParser {
  json: { images?: readonly ImageEntry[] };
  loadImageSource(index: number): Promise<Texture>;
}

/** A plug-in that replaces how the loader reads images; images outside the file are left out. */
export function readImagesFromFile(parser: GLTFParser): GLTFLoaderPlugin {
  const open = parser as unknown as OpenParser;
  const images = new Map<number, Promise<ImageBitmap>>();
  open.loadImageSource = async (index) => {
    const image = images.get(index) ?? decode(parser, open.json.images?.[index]);
    images.set(index, image);
    const texture = new Texture(await image);
    texture.needsUpdate = true;
    return texture;
  };
  return { name: "chatwright_images" };
}

async function decode(parser: GLTFParser, image: ImageEntry | undefined): Promise<ImageBitmap> {
  const blob = await readBlob(parser, image);
  // As stored: the loader says itself how colours and alpha are meant.
  const full = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const shrink = MAX_PIXELS / Math.max(full.width, full.height);
  if (shrink >= 1) return full;
  const small = await createImageBitmap(full, {
    resizeWidth: Math.max(1, Math.round(full.width * shrink)),
    resizeHeight: Math.max(1, Math.round(full.height * shrink)),
    resizeQuality: "medium",
    premultiplyAlpha: "none",
  });
  full.close();
  return small;
}

async function readBlob(parser: GLTFParser, image: ImageEntry | undefined): Promise<Blob> {
  if (image?.bufferView !== undefined) {
    const bytes = (await parser.getDependency("bufferView", image.bufferView)) as ArrayBuffer;
    return new Blob([bytes], { type: image.mimeType ?? "image/png" });
  }
  const data = /^data:(image\/[a-z+]+);base64,(.*)$/s.exec(image?.uri ?? "");
  if (data === null) throw new Error("an image outside the file");
  const bytes = Uint8Array.from(atob(data[2] ?? ""), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: data[1] ?? "" });
}
