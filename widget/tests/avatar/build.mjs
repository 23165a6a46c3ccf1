// Builds page.ts, and the robot as robot.glb, for the browser tests: `node widget/tests/avatar/build.mjs OUT_DIR`.

import { rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { bundle } from "../../build.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2]);

const names = { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" };
await bundle({ page: path.join(HERE, "page.ts") }, { dir: out, format: "es", minify: true, ...names });

const file = path.join(out, "export.mjs");
await bundle(path.join(HERE, "../../src/avatar/export.ts"), { file, format: "es" }, { platform: "node" });
const { exportRobot } = await import(pathToFileURL(file).href);
await writeFile(path.join(out, "robot.glb"), await exportRobot());
await rm(file);
