/** Materials of a stranger's model: cheaper ones for the low tier, and their freeing. Called by `stage.ts` and `model.ts`. */

import { type Material, type Mesh, MeshLambertMaterial, type MeshStandardMaterial, type Object3D, Texture } from "three";

/** What a Lambert material has of a standard one. */
const KEPT = [
  "color",
  "map",
  "alphaMap",
  "aoMap",
  "emissive",
  "emissiveMap",
  "emissiveIntensity",
  "opacity",
  "transparent",
  "alphaTest",
  "depthWrite",
  "side",
  "vertexColors",
  "name",
] as const;

/** Puts Lambert materials where standard ones are: a quarter of the work where the processor draws. */
export function cheapen(root: Object3D): void {
  const made = new Map<Material, Material>();
  const cheap = (material: Material): Material => {
    if ((material as Partial<MeshStandardMaterial>).isMeshStandardMaterial !== true) return material;
    const known = made.get(material) ?? toLambert(material as MeshStandardMaterial);
    made.set(material, known);
    return known;
  };
  for (const mesh of meshesOf(root)) {
    mesh.material = Array.isArray(mesh.material) ? mesh.material.map(cheap) : cheap(mesh.material);
  }
  const kept = new Set([...made.values()].flatMap(texturesOf));
  for (const material of made.keys()) {
    for (const texture of texturesOf(material)) if (!kept.has(texture)) freeTexture(texture);
    material.dispose();
  }
}

function toLambert(material: MeshStandardMaterial): MeshLambertMaterial {
  const lambert = new MeshLambertMaterial();
  for (const name of KEPT) Object.assign(lambert, { [name]: material[name] });
  return lambert;
}

export function meshesOf(root: Object3D): Mesh[] {
  const found: Mesh[] = [];
  root.traverse((object) => {
    if ((object as Partial<Mesh>).isMesh === true) found.push(object as Mesh);
  });
  return found;
}

/** Frees geometries, materials and textures below `root`. */
export function disposeTree(root: Object3D): void {
  for (const mesh of meshesOf(root)) {
    mesh.geometry.dispose();
    (mesh as Mesh & { skeleton?: { dispose(): void } }).skeleton?.dispose();
    for (const material of Array.isArray(mesh.material) ? mesh.material : [mesh.material]) {
      for (const texture of texturesOf(material)) freeTexture(texture);
      material.dispose();
    }
  }
}

function texturesOf(material: Material): Texture[] {
  const uniforms = (material as { uniforms?: Record<string, { value: unknown }> }).uniforms ?? {};
  const values: unknown[] = [...Object.values(material), ...Object.values(uniforms).map((uniform) => uniform.value)];
  return values.filter((value) => value instanceof Texture);
}

function freeTexture(texture: Texture): void {
  texture.dispose();
  const image: unknown = texture.image;
  if (typeof ImageBitmap !== "undefined" && image instanceof ImageBitmap) image.close();
}
