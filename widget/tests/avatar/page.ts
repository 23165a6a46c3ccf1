/** What the browser tests of the avatar load into their page (tests/e2e/test_widget_avatar.py): its parts, within reach. */

import { mountAvatar } from "../../src/avatar/index.ts";

/** The avatar's own dynamic imports stay what they are: chunks that come when they are needed. */
const load = {
  model: () => import("../../src/avatar/model.ts"),
  stage: () => import("../../src/avatar/stage.ts"),
  three: () => import("three"),
};

Object.assign(globalThis, { avatarParts: { load, mountAvatar } });
