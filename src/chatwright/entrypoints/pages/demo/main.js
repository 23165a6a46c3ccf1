// Puts the parts together: chatbot from the address, connection, conversation state, view.

import { Conversation } from "./conversation.js";
import { ChatConnection } from "./socket.js";
import { View } from "./view.js";

const CONFIG_RETRY_MS = 3000;

function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** The chatbot's public settings, tried until the server answers. Null when there is no such chatbot. */
async function loadConfig(slug, view) {
  for (;;) {
    try {
      const reply = await fetch(`/demo/${encodeURIComponent(slug)}/config.json`, { signal: AbortSignal.timeout(10_000) });
      if (reply.ok) return await reply.json();
      if (reply.status === 404) return null;
    } catch {
      // Server not up yet, or no network.
    }
    view.status("reconnecting");
    await new Promise((resolve) => setTimeout(resolve, CONFIG_RETRY_MS));
  }
}

async function main() {
  const slug = decodeURIComponent(location.pathname.replace(/\/+$/, "").split("/").pop() ?? "");
  const conversation = new Conversation();
  let connection = null;

  const view = new View({
    send: (text) => connection?.send(text),
    stop: () => {
      for (const turn of conversation.active) {
        connection?.cancel({ messageId: turn.messageId, clientMessageId: turn.clientId });
      }
    },
    retry: (turn) => {
      const { text } = turn;
      if (turn.messageId === null) {
        // Never accepted: the new try takes its place.
        conversation.turns = conversation.turns.filter((one) => one !== turn);
        view.reset(conversation.turns);
      } else {
        turn.error = null;
        view.update([turn], () => conversation.turns);
      }
      connection?.send(text);
    },
    startOver: () => connection?.startOver(),
  });

  const config = await loadConfig(slug, view);
  if (config === null) {
    view.fatal("There is no chatbot at this address.");
    return;
  }
  view.introduce(config.chatbot);

  const show = () => conversation.turns;
  const emit = (event) => {
    switch (event.type) {
      case "status":
        if (event.state === "online" || navigator.onLine) view.status(event.state, { retryInMs: event.retry_in_ms });
        else view.status("offline");
        view.update(conversation.active, show);
        break;
      case "fatal":
        view.fatal(
          event.code === "forbidden"
            ? "This page is not allowed to use the chatbot. Its address has to be on the chatbot's list of allowed origins."
            : "This chatbot is not available.",
        );
        break;
      case "history":
      case "cleared":
        conversation.apply(event);
        view.reset(conversation.turns);
        break;
      default:
        view.update(conversation.apply(event), show);
    }
  };
  connection = new ChatConnection({ slug, widgetId: config.widget_id, base: location.origin, storage: storage(), emit });

  addEventListener("online", () => connection.wake());
  addEventListener("offline", () => view.status("offline"));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) connection.wake();
  });
  addEventListener("pagehide", (event) => {
    if (!event.persisted) connection.close();
  });
  await connection.run();
}

main();
