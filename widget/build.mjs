// Builds the widget: `node widget/build.mjs [--out DIR]` writes what the server reads (default: the package's folder).
//
//   widget.js          the launcher: a classic script, all of it loaded by the host page
//   assets/*-HASH.js   the chat chunk and what it brings in later (3D stage, loaders, languages); cached for ever
//   robot.glb          our robot, for download and as a test model
//   files.json         which chunk brings in which, at once or later; bytes, gzip and brotli sizes of every file
//
// Each text has a .gz and a .br beside it, so that no server compresses anything twice. The folder is made anew beside
// the old one and moved into its place, so that a server which starts in between reads one or the other.

import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { transform as transformCss } from "lightningcss";
import { rolldown } from "rolldown";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.dirname(HERE);
const TARGET = "es2022";

/** `import css from "./panel.css?inline"`: the text of a style sheet, made small. */
const styles = {
  name: "styles-as-text",
  resolveId: {
    filter: { id: /\.css\?inline$/ },
    handler: (source, importer) => path.resolve(path.dirname(importer), source),
  },
  load: {
    filter: { id: /\.css\?inline$/ },
    async handler(id) {
      const filename = id.slice(0, -"?inline".length);
      const { code } = transformCss({ filename, code: await readFile(filename), minify: true });
      return { code: `export default ${JSON.stringify(code.toString())}`, moduleType: "js" };
    },
  },
};

/**
 * Texts without names: a language of src/locales becomes a list, and `T.name` (src/locales/keys.ts) the text's place in it. Names would
 * be a third of what a language weighs. The order is English's.
 */
const ENGLISH = path.join(HERE, "src/locales/en.ts");
const { texts: english } = await import(pathToFileURL(ENGLISH).href);
const names = Object.keys(english);
const texts = {
  name: "texts-without-names",
  load: {
    filter: { id: /[\\/]locales[\\/][a-z]{2}\.ts$/ },
    async handler(id) {
      const { texts: own } = await import(pathToFileURL(id).href);
      const lines = names.map((name) => own[name]);
      if (lines.some((line) => typeof line !== "string" || line.includes("\n"))) throw new Error(`${id}: a text is missing, or has lines`);
      return { code: `export const texts = ${JSON.stringify(lines.join("\n"))}.split("\\n");`, moduleType: "js" };
    },
  },
  transform: {
    filter: { code: /from "\.\.\/locales\/keys\.ts"/ },
    handler(code, id) {
      const placed = code.replace(/\bT\.(\w+)/g, (whole, name) => {
        if (!names.includes(name)) throw new Error(`${id}: ${whole} is no text`);
        return String(names.indexOf(name));
      });
      if (/\bT\[/.test(placed)) throw new Error(`${id}: T is only ever written as T.name`);
      return { code: placed };
    },
  },
};

/** Marks for a bundler: nobody bundles these files again. */
const unmarked = {
  name: "without-marks",
  generateBundle(_options, parts) {
    for (const part of Object.values(parts)) if (part.type === "chunk") part.code = part.code.replaceAll("/* @__PURE__ */", "");
  },
};

/** One bundle, written to `dir`. Returns its parts. A warning is an error: nobody reads warnings. */
export async function bundle(input, output, { define = {}, platform = "browser" } = {}) {
  const made = await rolldown({
    input,
    platform,
    preserveEntrySignatures: "allow-extension", // what chunks share stays in the entry: small files compress badly
    plugins: [styles, texts, unmarked],
    transform: { target: TARGET, define },
    checks: { pluginTimings: false }, // a busy machine is no fault of the sources
    onLog(level, log, pass) {
      if (level === "warn") throw new Error(log.message);
      pass(level, log);
    },
  });
  try {
    return (await made.write(output)).output;
  } finally {
    await made.close();
  }
}

/** The version in pyproject.toml: the one place where it stands. */
async function version() {
  const text = await readFile(path.join(ROOT, "pyproject.toml"), "utf8");
  return /^version = "([^"]+)"/m.exec(text)[1];
}

/** One entry's modules, split where they import() one another. Returns {file: {name, entry, imports, later}}. */
async function buildModules(out, name, source, define) {
  const parts = await bundle(
    { [name]: path.join(HERE, source) },
    {
      dir: out,
      format: "es",
      minify: true,
      entryFileNames: "assets/[name]-[hash:6].js",
      chunkFileNames: "assets/[name]-[hash:6].js",
    },
    { define },
  );
  return Object.fromEntries(
    parts
      .filter((part) => part.type === "chunk")
      .map((part) => [part.fileName, { name: part.name, entry: part.isEntry, imports: part.imports, later: part.dynamicImports }]),
  );
}

/** The launcher: one classic script that knows the names of what it brings in. */
async function buildLauncher(out, define) {
  const file = path.join(HERE, "src/embed/launcher.ts");
  await bundle(file, { file: path.join(out, "widget.js"), format: "iife", minify: true }, { define });
}

/** Our robot as GLB, made by the same code that draws it. */
async function buildRobot(out, scratch) {
  const file = path.join(scratch, "export.mjs");
  await bundle(path.join(HERE, "src/avatar/export.ts"), { file, format: "es" }, { platform: "node" });
  const { exportRobot } = await import(pathToFileURL(file).href);
  await writeFile(path.join(out, "robot.glb"), await exportRobot());
}

async function* filesBelow(folder, prefix = "") {
  for (const entry of (await readdir(folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.isDirectory()) yield* filesBelow(path.join(folder, entry.name), `${prefix}${entry.name}/`);
    else yield prefix + entry.name;
  }
}

/** The smallest of several: which length of block suits a file is found by trying. */
function gzipped(body) {
  const made = [5, 6, 7, 8, 9].map((memLevel) => gzipSync(body, { level: 9, memLevel }));
  return made.reduce((least, one) => (one.length < least.length ? one : least));
}

/** Compressed siblings and the list of what there is. */
async function compress(out) {
  const files = {};
  for await (const name of filesBelow(out)) {
    const file = path.join(out, name);
    const body = await readFile(file);
    const gz = gzipped(body);
    const br = brotliCompressSync(body, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length },
    });
    await writeFile(`${file}.gz`, gz);
    await writeFile(`${file}.br`, br);
    files[name] = { bytes: body.length, gzip: gz.length, brotli: br.length, sha256: createHash("sha256").update(body).digest("hex") };
  }
  return files;
}

/** Build into `out`, which is replaced as a whole. Returns the list of files. */
export async function buildWidget(out) {
  await mkdir(path.dirname(out), { recursive: true });
  const fresh = await mkdtemp(`${out}.new-`);
  // Below the sources, so that whatever stays outside the bundle is still found in node_modules.
  const scratch = await mkdtemp(path.join(HERE, ".scratch-"));
  try {
    const known = { __VERSION__: JSON.stringify(await version()) };
    const chunks = {
      ...(await buildModules(fresh, "chat", "src/ui/panel.ts", known)),
      ...(await buildModules(fresh, "extras", "src/embed/extras.ts", known)), // nothing shared: it comes without the chat
    };
    const [chat, extras] = ["chat", "extras"].map((name) => Object.keys(chunks).find((file) => chunks[file].name === name));
    await buildLauncher(fresh, { ...known, __CHAT_FILE__: JSON.stringify(chat), __EXTRAS_FILE__: JSON.stringify(extras) });
    await buildRobot(fresh, scratch);
    const files = await compress(fresh);
    await writeFile(path.join(fresh, "files.json"), `${JSON.stringify({ chat, chunks, files }, null, 1)}\n`);
    const old = `${out}.old-${process.pid}`;
    await rename(out, old).catch((error) => {
      if (error.code !== "ENOENT") throw error;
    });
    await chmod(fresh, 0o755); // made for its owner alone
    await rename(fresh, out);
    await rm(old, { recursive: true, force: true });
    return files;
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(scratch, { recursive: true, force: true });
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const at = process.argv.indexOf("--out");
  const out = path.resolve(at > 0 ? process.argv[at + 1] : path.join(ROOT, "src/chatwright/widget"));
  const started = performance.now();
  const files = await buildWidget(out);
  if (!process.argv.includes("--quiet")) {
    for (const [name, { bytes, gzip, brotli }] of Object.entries(files)) {
      console.log(`${name.padEnd(36)} ${String(bytes).padStart(9)} B  ${String(gzip).padStart(8)} gz  ${String(brotli).padStart(8)} br`);
    }
    console.log(`${path.relative(process.cwd(), out) || "."} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
}
