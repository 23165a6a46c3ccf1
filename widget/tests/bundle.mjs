// Modules of the widget for a browser test: `node widget/tests/bundle.mjs src/ui/markdown.ts OUTDIR` writes OUTDIR/entry.js, an
// ES module with the module's exports, and the chunks that it loads later.

import path from "node:path";

import { bundle } from "../build.mjs";

const [entry, out] = process.argv.slice(2);
const file = path.resolve(import.meta.dirname, "..", entry);
await bundle({ entry: file }, { dir: path.resolve(out), format: "es", minify: true, entryFileNames: "[name].js", chunkFileNames: "[name].js" });
