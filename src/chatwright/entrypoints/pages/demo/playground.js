// The playground's state and what it comes to: attributes of the widget, the snippet, the command. No DOM here.

export const ANIMATIONS = ["idle", "wave", "happy", "thumbs_up", "nod", "thinking", "confused", "talk_calm", "talk_explain"];
export const TIERS = ["auto", "full", "low", "2d", "text"];
export const LANGUAGES = {
  "": "The visitor's",
  en: "English",
  de: "Deutsch",
  fr: "Français",
  es: "Español",
  it: "Italiano",
  pt: "Português",
  nl: "Nederlands",
  pl: "Polski",
  ar: "العربية",
  zh: "中文",
};
/** Ready-made colours: [name, accent, shell, glow]. */
export const PRESETS = [
  ["Indigo", "#4f46e5", "#f4f6fb", "#7df3ff"],
  ["Forest", "#0f766e", "#f3faf6", "#9ff7c8"],
  ["Coral", "#d9480f", "#fff6f0", "#ffd27a"],
  ["Plum", "#a21caf", "#fdf4ff", "#ffb3f5"],
  ["Night", "#1f2937", "#39435a", "#7dd3fc"],
  ["Honey", "#eab308", "#fffbea", "#ffe08a"],
];

/** What can be chosen with its attribute's name; "" or the config's value: nothing is said. */
export const ATTRIBUTES = ["mode", "position", "scheme", "locale", "accent", "shell", "glow", "tier"];

/** The choices of a chatbot as its config has them. */
export function choicesOf(config) {
  return {
    mode: "floating",
    position: config.theme.position,
    scheme: config.theme.scheme,
    locale: "",
    accent: config.theme.accent,
    shell: config.avatar.colors.shell,
    glow: config.avatar.colors.glow,
    tier: config.avatar.tier,
  };
}

/** The attributes that differ from what the chatbot has anyway. */
export function changed(choices, own) {
  return Object.fromEntries(ATTRIBUTES.filter((name) => choices[name] !== own[name]).map((name) => [name, choices[name]]));
}

/** The line for a page. */
export function snippet(origin, widgetId, attributes) {
  const extra = Object.entries(attributes).map(([name, value]) => ` data-${name}="${value}"`);
  return `<script async src="${origin}/widget.js" data-chatbot="${widgetId}"${extra.join("")}></script>`;
}

/** The command that gives the chatbot these looks for good; null when there is nothing to set. */
export function command(slug, attributes) {
  const only = (names) => Object.fromEntries(names.filter((name) => name in attributes).map((name) => [name, attributes[name]]));
  const filled = (parts) => Object.fromEntries(Object.entries(parts).filter(([, part]) => Object.keys(part).length));
  const theme = only(["accent", "scheme", "position"]);
  const avatar = { ...filled({ colors: only(["shell", "glow"]) }), ...only(["tier"]) };
  const widget = filled({ theme, avatar });
  return Object.keys(widget).length ? `chatwright chatbot set ${slug} 'widget=${JSON.stringify(widget)}'` : null;
}

const DARK = "#0e1420";

function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** White where it reads well on "#rrggbb" (WCAG's 4.5), else whichever of white and near-black reads better: as the widget does. */
export function inkOn(hex) {
  const own = luminance(hex) + 0.05;
  return 1.05 / own >= Math.min(4.5, own / (luminance(DARK) + 0.05)) ? "#ffffff" : DARK;
}
