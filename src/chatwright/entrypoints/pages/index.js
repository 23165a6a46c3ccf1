// Landing page: says whether the product is ready, and keeps saying it.

const EVERY_MS = 5000;

async function check() {
  const badge = document.getElementById("health");
  const text = document.getElementById("health-text");
  let state = "bad";
  let words = "The server does not answer";
  try {
    const reply = await fetch("/health/ready", { signal: AbortSignal.timeout(4000) });
    state = reply.ok ? "ok" : "bad";
    words = reply.ok ? "Ready: messages are accepted and answered" : "Not ready: see /health/ready";
  } catch {
    // The words above say it.
  }
  badge.dataset.state = state;
  if (text.textContent !== words) text.textContent = words; // unchanged text must not be read out again
  setTimeout(check, EVERY_MS);
}

check();
