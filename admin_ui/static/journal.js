// The journal: who did what and why, and whether its chain of hashes still holds.

import { byId, h, render } from "./dom.js";
import { isoTime, when } from "./format.js";

const STEP = 25;
let limit = STEP;
let changed = () => {};

export const onMore = (handler) => { changed = handler; };
export const path = () => `/admin/api/journal?limit=${limit}`;

byId("journal-more").addEventListener("click", () => {
  limit = Math.min(1000, limit + 4 * STEP);
  changed();
});

const row = (entry) => h("tr", {},
  h("td", { class: "n soft", "data-label": "No." }, entry.epoch),
  h("td", { "data-label": "Time" }, h("time", { datetime: isoTime(entry.at) }, when(entry.at))),
  h("td", { "data-label": "Who" }, entry.actor),
  h("td", { "data-label": "What" }, h("strong", {}, entry.action === "promoted" ? `promoted to ${entry.detail.to}` : entry.action), " ", h("span", { class: "subject" }, entry.subject)),
  h("td", { "data-label": "Why", class: "why" }, entry.reason));

export function showJournal({ entries, broken_at: broken, unsealed_at: unsealed }) {
  render(byId("seals"), [unsealed], () => unsealed === null ? ""
    : h("span", { class: "badge bad" }, `✗ not what no. ${unsealed} of the journal sealed: somebody changed the records`));
  const mark = byId("chain");
  render(mark, [broken, entries.length > 0], () => !entries.length ? ""
    : broken === null ? h("span", { class: "badge good" }, "✓ chain verified")
      : h("span", { class: "badge bad" }, `✗ chain broken at no. ${broken}: somebody changed the records`));
  byId("journal-more").hidden = entries.length < limit || limit >= 1000;
  render(byId("journal-list"), entries.map((entry) => entry.hash), () => entries.length
    ? h("table", { class: "journal" },
      h("caption", { class: "unseen" }, "Journal entries, newest first"),
      h("thead", {}, h("tr", {}, ["No.", "Time", "Who", "What", "Why"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, entries.map(row)))
    : h("p", { class: "empty" }, "Nothing has been decided yet."));
}
