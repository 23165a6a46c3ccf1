// Builds the page of `bench/poses.py`: `node widget/tools/poses.mjs OUT` writes OUT/poses.js.
import path from "node:path";
import { fileURLToPath } from "node:url";

import { bundle } from "../build.mjs";

const file = path.join(path.dirname(fileURLToPath(import.meta.url)), "poses.ts");
await bundle(file, { file: path.join(path.resolve(process.argv[2]), "poses.js"), format: "es" });
