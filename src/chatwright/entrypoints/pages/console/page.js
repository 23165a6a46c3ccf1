// The console: who signs in, and which room is shown. The address names the room: /console#guard.

import { adviceOn, Api, keepKey, keptKey, Refused } from "./api.js";
import { CacheRoom } from "./cache.js";
import { FeedbackRoom } from "./feedback.js";
import { GuardRoom } from "./guard.js";
import { IntentsRoom } from "./intents.js";

const ROOMS = { feedback: FeedbackRoom, guard: GuardRoom, cache: CacheRoom, intents: IntentsRoom };
const FIRST = "feedback";
const $ = (id) => document.getElementById(id);
const links = [...document.querySelectorAll("#rooms a")];
const sections = [...document.querySelectorAll("section[data-guide]")];
const { title, guide } = { title: document.title, guide: $("guide").getAttribute("href") };
let desk = null; // of who is signed in
let room = null;

/** Show that somebody is signed in, or nobody, or that it is not known yet. */
function show(state) {
  $("waiting").hidden = state !== "waiting";
  $("sign-in").hidden = state !== "out";
  for (const id of ["rooms", "sign-out"]) $(id).hidden = state !== "in";
}

function leave() {
  room?.close();
  room = null;
  for (const section of sections) section.hidden = true;
}

/** Into the room that the address names. */
function enter() {
  leave();
  const name = Object.hasOwn(ROOMS, location.hash.slice(1)) ? location.hash.slice(1) : FIRST;
  const section = $(name);
  const heading = section.querySelector("h1");
  section.hidden = false;
  for (const link of links) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${heading.textContent} · ${title}`;
  $("guide").href = section.dataset.guide;
  room = new ROOMS[name](section, desk);
  heading.focus();
  room.load();
}

/** Back to the door; `why` is said there. `key` stays in its field where it is not the key's fault. */
function signOut(why = "", key = "") {
  if (!key) keepKey(null);
  leave();
  desk = null;
  document.title = title;
  $("guide").href = guide;
  show("out");
  $("key").value = key;
  $("sign-in-fault").textContent = why;
  $("sign-in-fault").hidden = why === "";
  $("key").setAttribute("aria-invalid", String(why !== "" && !key));
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
    signOut(adviceOn(error, key), error.isOfKey ? "" : key);
    return;
  }
  keepKey(key);
  $("key").value = "";
  desk = { api, chatbots, chatbot: "", refused: (error) => signOut(adviceOn(error, key)) };
  show("in");
  enter();
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
addEventListener("hashchange", () => desk && enter());

const kept = keptKey();
if (kept === null) signOut();
else {
  show("waiting");
  signIn(kept);
}
