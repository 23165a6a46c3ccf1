// Ratings by day as bars: thumbs up rise above the line, thumbs down hang below it, so that the colour is not the only sign.

import { drawn, make } from "./dom.js";

const DAYS_AT_MOST = 100;

/** A moment's day in a time zone, such as 2026-01-31. */
export function dayIn(zone, moment) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(moment);
}

/** Each day from `first` to `last`, with 0 where nobody rated: [{day, up, down}]. */
export function daysFrom(counted, first, last) {
  const byDay = new Map(counted.map((one) => [one.day, one]));
  const days = [];
  const at = new Date(`${first}T00:00:00Z`);
  do {
    const day = at.toISOString().slice(0, 10);
    days.push(byDay.get(day) ?? { day, up: 0, down: 0 });
    at.setUTCDate(at.getUTCDate() + 1);
  } while (at.toISOString().slice(0, 10) <= last && days.length < DAYS_AT_MOST);
  return days;
}

/** One unit wide a day and as high as the largest counts; the page stretches it. */
export function chartOf(days) {
  const above = Math.max(1, ...days.map((one) => one.up));
  const below = Math.max(1, ...days.map((one) => one.down));
  const [up, down] = [sum(days, "up"), sum(days, "down")];
  const bars = days
    .filter((one) => one.up + one.down > 0)
    .map((one) =>
      drawn(
        "g",
        {},
        drawn("title", {}, `${one.day}: ${one.up} up, ${one.down} down`),
        bar("up", days.indexOf(one), above - one.up, one.up),
        bar("down", days.indexOf(one), above, one.down),
      ),
    );
  const label = `${up} thumbs up and ${down} thumbs down from ${days[0].day} to ${days.at(-1).day}; by day in the table below`;
  return drawn(
    "svg",
    { role: "img", "aria-label": label, viewBox: `0 0 ${days.length} ${above + below}`, preserveAspectRatio: "none" },
    ...bars,
    drawn("line", { class: "axis", x1: 0, x2: days.length, y1: above, y2: above, "vector-effect": "non-scaling-stroke" }),
  );
}

export function tableOf(days) {
  const head = ["Day", "Up", "Down"].map((name) => make("th", { scope: "col" }, name));
  const rows = days
    .filter((one) => one.up + one.down > 0)
    .map((one) => make("tr", {}, make("th", { scope: "row" }, one.day), make("td", {}, String(one.up)), make("td", {}, String(one.down))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows.reverse()));
}

function bar(kind, index, y, height) {
  return height ? drawn("rect", { class: kind, x: index + 0.14, width: 0.72, y, height }) : "";
}

function sum(days, name) {
  return days.reduce((all, one) => all + one[name], 0);
}
