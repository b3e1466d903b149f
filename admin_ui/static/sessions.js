// Who is logged in, since when and from where, and ending it.

import { send } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, render } from "./dom.js";
import { count, isoTime, when } from "./format.js";

const NAMES = [["Edg", "Edge"], ["OPR", "Opera"], ["Firefox", "Firefox"], ["Chrome", "Chrome"], ["HeadlessChrome", "Chrome"],
  ["Version", "Safari"]];
const SYSTEMS = [["Windows", "Windows"], ["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"],
  ["Mac OS X", "macOS"], ["CrOS", "ChromeOS"], ["Linux", "Linux"]];
let changed = () => {};

export const onChange = (handler) => { changed = handler; };
export const path = () => "/admin/api/sessions";

// "Firefox 140 on Linux"; what is no browser we know says itself what it is.
function known(browser) {
  const system = SYSTEMS.find(([mark]) => browser.includes(mark));
  for (const [mark, name] of NAMES) {
    const version = new RegExp(`(?:^|\\W)${mark}/(\\d+)`).exec(browser);
    if (version) return `${name} ${version[1]}${system ? ` on ${system[1]}` : ""}`;
  }
  return browser || "unknown";
}

function end(text, body) {
  ask({ title: text.title, text: text.text, button: "End", danger: true,
    run: async (reason) => {
      const done = await send("/admin/api/sessions/end", { ...body, reason });
      changed();
      return done;
    } });
}

const endOne = (one) => end({ title: `End the session from ${one.address}?`,
  text: "At once, at every worker: whoever has it must log in again." }, { ids: [one.id] });

byId("sessions-end").addEventListener("click", () => end({ title: "End all other sessions?",
  text: "At once, at every worker: everybody but you must log in again." }, {}));

function idle(seconds) {
  if (seconds < 60) return "just now";
  const minutes = Math.round(seconds / 60);
  return `${count(minutes)} minute${minutes > 1 ? "s" : ""} ago`;
}

const row = (one) => h("tr", {},
  h("td", { "data-label": "Since" }, h("time", { datetime: isoTime(one.since) }, when(one.since))),
  h("td", { "data-label": "Last seen" }, h("time", { datetime: isoTime(one.seen) }, idle(one.idle_s)),
    one.seen_from !== one.address && h("span", { class: "badge warn" }, `from ${one.seen_from}`)),
  h("td", { "data-label": "Address" }, one.address),
  h("td", { "data-label": "Browser", class: "why", title: one.browser }, known(one.browser)),
  h("td", { "data-label": "", class: "act" }, one.this ? h("span", { class: "badge good" }, "this one")
    : h("button", { type: "button", "data-key": `end/${one.id}`, "aria-label": `End the session from ${one.address}`,
      on: { click: () => endOne(one) } }, "End")));

export function showSessions({ sessions }) {
  byId("sessions-end").hidden = sessions.every((one) => one.this);
  const shown = sessions.map((one) => [one.id, one.seen_from, idle(one.idle_s)]);
  render(byId("sessions-list"), shown, () => h("table", { class: "journal" },
    h("caption", { class: "unseen" }, "Sessions, last seen first"),
    h("thead", {}, h("tr", {}, ["Since", "Last seen", "Logged in from", "Browser", ""].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, sessions.map(row))));
}
