// The console: who signs in, and which room is shown. There is one room so far, feedback.

import { adviceOn, Api, keepKey, keptKey, Refused } from "./api.js";
import { FeedbackRoom } from "./feedback.js";

const $ = (id) => document.getElementById(id);
let room = null;

function complain(text) {
  $("sign-in-fault").textContent = text;
  $("sign-in-fault").hidden = text === "";
  $("key").setAttribute("aria-invalid", String(text !== ""));
}

/** Back to the door; `why` is said there. */
function signOut(why = "") {
  keepKey(null);
  room?.close();
  room = null;
  $("feedback").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  $("key").value = "";
  complain(why);
  $("key").focus();
}

async function signIn(key) {
  const api = new Api(key);
  let chatbots;
  try {
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Refused(401, ""); // no header can carry it
    chatbots = await api.chatbots();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    signOut(adviceOn(error, key));
    return;
  }
  keepKey(key);
  $("key").value = "";
  complain("");
  $("sign-in").hidden = true;
  $("sign-out").hidden = false;
  $("feedback").hidden = false;
  room = new FeedbackRoom(api, chatbots, { refused: (error) => signOut(adviceOn(error, key)) });
  $("feedback-title").focus();
  await room.load();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("sign-in").querySelector("[type=submit]");
  if (button.disabled) return;
  button.disabled = true;
  try {
    await signIn($("key").value.trim());
  } finally {
    button.disabled = false;
  }
});
$("sign-out").addEventListener("click", () => signOut());

const kept = keptKey();
if (kept === null) signOut();
else signIn(kept);
