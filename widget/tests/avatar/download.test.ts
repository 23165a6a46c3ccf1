import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { checkGlb, fetchModel, isVrm, MAX_BYTES, ModelError } from "../../src/avatar/download.ts";

/** A GLB with this JSON and nothing else. */
function glb(json: unknown): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(json));
  const padded = Math.ceil(text.length / 4) * 4;
  const bytes = new ArrayBuffer(20 + padded);
  const view = new DataView(bytes);
  [0x46546c67, 2, bytes.byteLength, padded, 0x4e4f534a].forEach((word, at) => view.setUint32(at * 4, word, true));
  new Uint8Array(bytes, 20).fill(0x20);
  new Uint8Array(bytes, 20).set(text);
  return bytes;
}

const refused = (bytes: ArrayBuffer, message: RegExp): void => {
  assert.throws(() => checkGlb(bytes), (error) => error instanceof ModelError && message.test(error.message));
};

test("the JSON of a whole file is returned", () => {
  assert.deepEqual(checkGlb(glb({ asset: { version: "2.0" } })), { asset: { version: "2.0" } });
});

test("what is no GLB is named as such", () => {
  const encode = (text: string) => new TextEncoder().encode(text).buffer as ArrayBuffer;
  refused(encode("<!doctype html><title>404</title>".padEnd(64)), /not a GLB/);
  refused(encode(""), /not a GLB/);
  refused(encode("glTF"), /not a GLB/);
});

test("old, cut and broken files are told apart", () => {
  const old = glb({});
  new DataView(old).setUint32(4, 1, true);
  refused(old, /glTF 2/);
  refused(glb({ long: "x".repeat(100) }).slice(0, 60), /cut off/);
  const broken = glb({ a: 1 });
  new Uint8Array(broken)[20] = 0x21;
  refused(broken, /broken/);
  const far = glb({ a: 1 });
  new DataView(far).setUint32(12, 0xfffffff0, true);
  refused(far, /broken/);
});

test("compression that we do not read is said by name", () => {
  refused(glb({ extensionsRequired: ["KHR_draco_mesh_compression"] }), /Draco/);
  refused(glb({ extensionsRequired: ["EXT_meshopt_compression"] }), /meshopt/);
  refused(glb({ extensionsRequired: ["KHR_texture_basisu"] }), /KTX2/);
  assert.ok(checkGlb(glb({ extensionsRequired: ["KHR_materials_unlit"] })));
});

test("a model may not fetch more files", () => {
  refused(glb({ buffers: [{ uri: "https://elsewhere.example/a.bin" }] }), /further files/);
});

test("a VRM is known by what it says, not by its name", () => {
  assert.ok(isVrm({ extensionsUsed: ["VRMC_vrm"] }) && isVrm({ extensionsUsed: ["KHR_materials_unlit", "VRM"] }));
  assert.ok(!isVrm({ extensionsUsed: ["VRMC_materials_mtoon"] }) && !isVrm({}));
});

async function served(listener: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/model.glb`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const fails = (url: string, message: RegExp): Promise<void> =>
  assert.rejects(fetchModel(url, new AbortController().signal), (error) => error instanceof ModelError && message.test(error.message));

test("a file comes with its bytes", async () => {
  await served(
    (_, reply) => reply.end(Buffer.from(glb({ scene: 3 }))),
    async (url) => {
      const { bytes, gltf } = await fetchModel(url, new AbortController().signal);
      assert.equal(bytes.byteLength, glb({ scene: 3 }).byteLength);
      assert.deepEqual(gltf, { scene: 3 });
    },
  );
});

test("an error of the server is said", async () => {
  await served((_, reply) => reply.writeHead(404).end("no"), (url) => fails(url, /answered 404/));
});

test("a file that says it is huge is not read", async () => {
  await served((_, reply) => reply.writeHead(200, { "content-length": MAX_BYTES + 1 }).flushHeaders(), (url) => fails(url, /larger than 25 MB/));
});

test("a file that does not say so is read up to the bound", async () => {
  let sent = 0;
  await served(
    (_, reply) => {
      const piece = Buffer.alloc(1 << 20);
      const more = (): void => {
        while (sent < 64 << 20 && !reply.destroyed) {
          sent += piece.length;
          if (!reply.write(piece)) return void reply.once("drain", more);
        }
        reply.end();
      };
      more();
    },
    async (url) => {
      await fails(url, /larger than 25 MB/);
      assert.ok(sent < 60 << 20, `${sent} bytes were taken`);
    },
  );
});

test("a server that is not there and addresses that are none", async () => {
  let gone = "";
  await served((_, reply) => reply.end(), async (url) => void (gone = url));
  await fails(gone, /could not be fetched/);
  await fails("javascript:alert(1)", /not an http address/);
  await fails("file:///etc/passwd", /not an http address/);
  await fails("::", /not an http address/);
});

test("who does not want it any more gets his own reason", async () => {
  const wanted = new AbortController();
  await served(
    () => wanted.abort(new Error("closed")),
    (url) => assert.rejects(fetchModel(url, wanted.signal), /closed/),
  );
});

test("what nobody wants any more is not asked for, and what is too large not read on", async () => {
  let asked = 0;
  let isCut = false;
  const server = createServer((_request, response) => {
    asked += 1;
    response.writeHead(200, { "content-length": String(MAX_BYTES + 1) });
    response.on("close", () => (isCut = true));
    response.write("x".repeat(1000));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m.glb`;
  try {
    const reason = new Error("another tier was chosen");
    await assert.rejects(fetchModel(url, AbortSignal.abort(reason)), reason);
    assert.equal(asked, 0);
    await assert.rejects(fetchModel(url, new AbortController().signal), /larger than/);
    for (let waits = 0; !isCut && waits < 200; waits += 1) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(isCut, "the rest is not sent");
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
