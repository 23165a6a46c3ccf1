// API reference out of /openapi.json: grouped, searchable, with schemas and a curl line for each call.

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 5;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/assets/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

class Reader {
  constructor(spec) {
    this.spec = spec;
  }

  /** Follow `$ref`s; {} when one leads nowhere. */
  resolve(node) {
    let at = node;
    for (let hops = 0; at?.$ref && hops < 10; hops += 1) {
      at = at.$ref
        .replace(/^#\//, "")
        .split("/")
        .reduce((part, key) => part?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], this.spec);
    }
    return at ?? {};
  }

  name(node) {
    return node?.$ref?.split("/").pop();
  }

  /** A type in words, such as `string (date-time)`, `array of Source` or `"day" | "month"`. */
  kind(node) {
    const schema = this.resolve(node);
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    const choices = schema.anyOf ?? schema.oneOf;
    if (choices) return [...new Set(choices.map((choice) => this.kind(choice)))].join(" | ");
    if (schema.type === "array") return `array of ${this.name(schema.items) ?? this.kind(schema.items ?? {})}`;
    const type = Array.isArray(schema.type) ? schema.type.join(" | ") : (schema.type ?? "any");
    return schema.format ? `${type} (${schema.format})` : type;
  }

  limits(node) {
    const schema = this.resolve(node);
    const parts = [];
    if (schema.minLength !== undefined || schema.maxLength !== undefined) parts.push(`${schema.minLength ?? 0}–${schema.maxLength ?? "∞"} characters`);
    if (schema.minimum !== undefined) parts.push(`≥ ${schema.minimum}`);
    if (schema.maximum !== undefined) parts.push(`≤ ${schema.maximum}`);
    if (schema.pattern) parts.push(`pattern ${schema.pattern}`);
    if (schema.default !== undefined && schema.default !== null) parts.push(`default ${JSON.stringify(schema.default)}`);
    return parts.join(", ");
  }

  /** The objects inside a schema: through arrays and unions, without null. */
  objects(node) {
    const schema = this.resolve(node);
    if (schema.properties) return [schema];
    if (schema.type === "array" && schema.items) return this.objects(schema.items);
    return (schema.anyOf ?? schema.oneOf ?? schema.allOf ?? []).flatMap((choice) => this.objects(choice));
  }

  fields(node, depth = 0, seen = []) {
    const list = make("ul", "fields");
    for (const schema of this.objects(node)) {
      if (seen.includes(schema)) continue;
      for (const [key, value] of Object.entries(schema.properties)) {
        const required = schema.required?.includes(key);
        const about = [this.resolve(value).description, this.limits(value)].filter(Boolean).join(" · ");
        const item = make(
          "li",
          "",
          make("code", "", key),
          " ",
          make("span", "kind", this.kind(value)),
          required ? make("span", "required", " required") : null,
          about ? make("span", "about", about) : null,
        );
        if (depth < MAX_DEPTH && this.objects(value).length > 0) item.append(this.fields(value, depth + 1, [...seen, schema]));
        list.append(item);
      }
    }
    return list;
  }

  /** A small example value, for the curl line: required fields only, or the first three. */
  sample(node, depth = 0) {
    const schema = this.resolve(node);
    const given = schema.example ?? schema.examples?.[0] ?? schema.const ?? schema.enum?.[0];
    if (given !== undefined) return given;
    const choice = (schema.anyOf ?? schema.oneOf ?? schema.allOf)?.find((one) => this.resolve(one).type !== "null");
    if (choice) return this.sample(choice, depth);
    if (schema.properties && depth < 4) {
      const keys = schema.required?.length ? schema.required : Object.keys(schema.properties).slice(0, 3);
      return Object.fromEntries(keys.filter((key) => schema.properties[key]).map((key) => [key, this.sample(schema.properties[key], depth + 1)]));
    }
    switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
      case "array":
        return schema.items && depth < 4 ? [this.sample(schema.items, depth + 1)] : [];
      case "integer":
      case "number":
        return schema.minimum ?? 1;
      case "boolean":
        return true;
      case "object":
        return {};
      default:
        return "…";
    }
  }
}

function groupOf(path, operation) {
  if (operation.tags?.[0]) return operation.tags[0];
  const parts = path.split("/").filter((part) => part && part !== "api" && !/^v\d+$/.test(part));
  if (path.startsWith("/v1/")) return "OpenAI-compatible";
  return (parts[0] ?? "other").replace(/\.json$/, "").replaceAll("-", " ");
}

function isOpen(spec, operation) {
  return (operation.security ?? spec.security ?? []).length === 0;
}

function curl(reader, method, path, operation, body) {
  const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} ${location.origin}${path}`];
  if (!isOpen(reader.spec, operation)) lines.push('-H "Authorization: Bearer $CHATWRIGHT_KEY"');
  const json = body?.content?.["application/json"];
  if (json?.schema) {
    lines.push('-H "Content-Type: application/json"');
    lines.push(`-d '${JSON.stringify(json.example ?? reader.sample(json.schema), null, 2).replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}

function code(text) {
  const pre = make("pre", "", make("code", "", text));
  pre.tabIndex = 0;
  const copy = make("button", "icon-button", icon("copy"));
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the command");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; // no clipboard on plain http: the text can be selected
    }
    copy.replaceChildren(icon("check"));
    setTimeout(() => copy.replaceChildren(icon("copy")), 1500);
  });
  return make("div", "sample", pre, copy);
}

function fill(detail, reader, method, path, operation, shared) {
  if (operation.description) detail.append(make("p", "", operation.description));
  const parameters = [...shared, ...(operation.parameters ?? [])].map((one) => reader.resolve(one));
  if (parameters.length > 0) {
    detail.append(make("h3", "", "Parameters"));
    const list = make("ul", "fields");
    for (const { name, in: place, required, schema = {}, description } of parameters) {
      const about = [description, reader.limits(schema)].filter(Boolean).join(" · ");
      list.append(
        make(
          "li",
          "",
          make("code", "", name),
          " ",
          make("span", "kind", `${place}, ${reader.kind(schema)}`),
          required ? make("span", "required", " required") : null,
          about ? make("span", "about", about) : null,
        ),
      );
    }
    detail.append(list);
  }
  const body = operation.requestBody ? reader.resolve(operation.requestBody) : null;
  for (const [type, { schema = {} }] of Object.entries(body?.content ?? {})) {
    detail.append(make("h3", "", `Body · ${type}`), reader.fields(schema));
  }
  for (const [status, given] of Object.entries(operation.responses ?? {})) {
    const response = reader.resolve(given);
    detail.append(make("h3", "", `Answer ${status}`), response.description ? make("p", "kind", response.description) : "");
    // Errors all have one shape: their fields are shown once in the guide, not under each call.
    if (!/^[45]|default/.test(status)) {
      for (const { schema } of Object.values(response.content ?? {})) if (schema) detail.append(reader.fields(schema));
    }
  }
  detail.append(make("h3", "", "Try it"), code(curl(reader, method, path, operation, body)));
}

function operationView(reader, method, path, operation, shared) {
  const badge = make("span", "method", method.toUpperCase());
  badge.dataset.method = method;
  const summary = make("summary", "", badge, make("code", "", path), make("span", "what", operation.summary ?? ""));
  const view = make("details", "operation", summary);
  view.id = `${method}${path.replaceAll(/[^A-Za-z0-9]+/g, "-")}`;
  view.dataset.text = [method, path, operation.summary, operation.description, operation.operationId].join(" ").toLowerCase();
  view.addEventListener("toggle", () => {
    if (!view.open || view.dataset.filled) return;
    view.dataset.filled = "yes"; // built on first opening: a large description stays quick
    const detail = make("div", "detail");
    fill(detail, reader, method, path, operation, shared);
    view.append(detail);
  });
  return view;
}

function search(words) {
  const terms = words.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const group of document.querySelectorAll(".group")) {
    let inGroup = 0;
    for (const one of group.querySelectorAll(".operation")) {
      const match = terms.every((term) => one.dataset.text.includes(term));
      one.hidden = !match;
      if (match) inGroup += 1;
    }
    group.hidden = inGroup === 0;
    found += inGroup;
  }
  $("nothing").hidden = found > 0;
  $("found").textContent = terms.length > 0 ? `${found} calls found` : "";
}

function draw(spec) {
  const reader = new Reader(spec);
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths ?? {})) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const group = groupOf(path, operation);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(operationView(reader, method, path, operation, item.parameters ?? []));
    }
  }
  $("title").textContent = `${spec.info?.title ?? "API"} ${spec.info?.version ?? ""}`.trim();
  const about = spec.info?.description ?? "Calls are grouped by what they are about. Keys go into the Authorization header.";
  $("about").replaceChildren(...about.split("`").map((part, at) => (at % 2 ? make("code", "", part) : part)));
  for (const [name, views] of groups) {
    const id = `group-${name.replaceAll(/[^A-Za-z0-9]+/g, "-")}`;
    const link = make("a", "", name, make("small", "", String(views.length)));
    link.href = `#${id}`;
    $("groups").append(make("li", "", link));
    const section = make("section", "group", make("h2", "", name), ...views);
    section.id = id;
    $("operations").append(section);
  }
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target?.tagName === "DETAILS") target.open = true;
  target?.scrollIntoView();
}

async function main() {
  $("search").addEventListener("input", (event) => search(event.target.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== $("search")) {
      event.preventDefault();
      $("search").focus();
    }
  });
  try {
    const reply = await fetch("/openapi.json");
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    draw(await reply.json());
  } catch (error) {
    $("about").textContent = `The description could not be loaded (${error.message}).`;
  }
}

main();
